"""Writes the model card of an exported policy, the README.md that the Hugging Face hub shows."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

from etils import epath

from soar_jax.checkpoints import hub
from soar_jax.checkpoints.base_model import EMBEDDED
from soar_jax.checkpoints.gguf_file import GGUFFile
from soar_jax.runs.policies import Policy
from soar_jax.runs.saved_run import saved_config

_TAGS = ("soar", "soar_jax", "arxiv:2601.18778")
_TESTS = {"hard_test": "hard test problems", "transfer": "transfer problems"}
_ROWS = {"student": "promoted_student", "teacher": "trained_teacher"}  # of the tables, by role
_PATH_KEYS = ("source", "path", "curated_path", "source_run")
_LICENCE_KEYS = ("license", "license_name", "license_link")
_LICENCE = re.compile(r"[\w.:/ +()-]{1,200}")
_BROKEN = (AttributeError, KeyError, TypeError, ValueError, OSError, RecursionError)


def model_card(source: str, policy: Policy, name: str) -> str:
    """Makes the card: front matter, origin, licence, how to load; for a run's policy also its results and config.

    Args:
      source: the policy's name, as in `policies.load`.
      name: of the exported model: its repository on the hub, or its folder.
    """
    workdir = policy.workdir
    config = saved_config(workdir) or {} if workdir is not None else {}
    base = str(config["model"]["source"]) if config else source
    licence = _licence(base)
    parts = [_front_matter(base, licence), f"# {name.rpartition('/')[2]}", _origin(policy, config, base)]
    parts += [_licence_text(licence), _loading(policy, name)]
    if workdir is not None:
        parts += [_results(workdir, policy.role), _config_text(config)]
    return "\n\n".join(parts) + "\n"


def _front_matter(base: str, licence: dict[str, Any]) -> str:
    """The YAML that the hub reads."""
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=base if _is_on_hub(base) else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=list(_TAGS),
        **licence,
    )
    return f"---\n{data.to_yaml()}\n---"


def _licence(base: str) -> dict[str, Any]:
    """The licence that the base model's files name; "unknown" if they name none."""
    if base == EMBEDDED:
        return {"license": "apache-2.0"}  # that of this package
    path = pathlib.Path(base).expanduser()
    found = {"license": GGUFFile(path).fields.get("general.license")} if path.is_file() else hub.card_data(base)
    named = {key: value for key in _LICENCE_KEYS if isinstance(value := found.get(key), str)}
    named = {key: value for key, value in named.items() if _LICENCE.fullmatch(value)}
    return named if "license" in named else {"license": "unknown"}


def _origin(policy: Policy, config: dict[str, Any], base: str) -> str:
    model = f"[{base}](https://huggingface.co/{base})" if _is_on_hub(base) else f"`{_without_folders(base)}`"
    if not config:
        return f"The model {model} as a folder of transformers, written by `soar_jax`. It was not trained further."
    return (
        f"A policy of a run of SOAR ([arXiv 2601.18778](https://arxiv.org/abs/2601.18778)), trained by `soar_jax`: "
        f"the {policy.role}. Adapters, if there were any, are merged.\n\n"
        f"| | |\n|---|---|\n| base model | {model} |\n| method | `{config['method']}` |\n"
        f"| scale | `{config.get('scale', '')}` |\n| seed | {config.get('seed')} |"
    )


def _licence_text(licence: dict[str, Any]) -> str:
    if licence["license"] == "unknown":
        said = "Unknown: the files of the base model name none. Ask its authors before you share this model."
    else:
        said = f"That of the base model: {licence.get('license_name', licence['license'])}."
    return f"## Licence\n\n{said}"


def _loading(policy: Policy, name: str) -> str:
    chat = bool(policy.model.tokenizer.backend.chat_template)
    prompt = "The tokenizer has a chat template." if chat else "The tokenizer has no chat template."
    return (
        "## Load\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'model = AutoModelForCausalLM.from_pretrained("{name}")\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")\n```\n\n{prompt}'
    )


def _results(workdir: epath.Path, role: str) -> str:
    """Tables of pass@k from the run's summary."""
    try:
        policies = json.loads((workdir / "summary.json").read_text(encoding="utf-8"))["policies"]
        tables = [_table(policies, test, title) for test, title in _TESTS.items()]
    except _BROKEN:
        return "## Results\n\nThe run was not finished when this was written, so it has none."
    row = _ROWS.get(role.partition(",")[0], "")
    own = f"This model is `{row}`. " if row in policies else ""
    return "\n\n".join(["## Results", f"{own}The run measured them itself, in percent.", *filter(None, tables)])


def _table(policies: dict[str, Any], test: str, title: str) -> str:
    """A Markdown table of a test, empty if no policy was tested on it."""
    rows = {name: tests[test] for name, tests in policies.items() if test in tests}
    if not rows:
        return ""
    first = next(iter(rows.values()))
    ks = [key for key in first if key.startswith("pass@")]
    lines = [f"| {first['num_problems']} {title} | {' | '.join(ks)} |", f"|---|{'---|' * len(ks)}"]
    lines += [f"| `{name}` | {' | '.join(f'{100 * row[k]:.1f}' for k in ks)} |" for name, row in rows.items()]
    return "\n".join(lines)


def _config_text(config: dict[str, Any]) -> str:
    text = json.dumps(_shareable(config), indent=2, ensure_ascii=False)
    return f"## Config\n\n```json\n{text}\n```"


def _shareable(config: dict[str, Any]) -> dict[str, Any]:
    """A config without the folders of the machine that it was run on."""
    return {
        key: _shareable(value)
        if isinstance(value, dict)
        else _without_folders(value)
        if key in _PATH_KEYS and isinstance(value, str)
        else value
        for key, value in config.items()
    }


def _without_folders(text: str) -> str:
    """The last part of a path; a name on a hub as it is."""
    is_name = text.startswith(("hf:", "tfds:")) or _is_on_hub(text)
    return text if is_name else text.rstrip("/").rpartition("/")[2]


def _is_on_hub(source: str) -> bool:
    return hub.is_id(source) and not pathlib.Path(source).exists()
