"""Shows that a change left every number as it was: records a set of runs, and compares two such records.

    python benchmarks/same_numbers.py --out=before                    # at the commit before
    python benchmarks/same_numbers.py --out=after --against=before    # at the commit after, on the same machine

The runs are whole programs, started as a user starts them: the embedded model whole, every method at a tiny size, a
random language model with adapters, chat template, tags, boxed answers and the algebra grader, two meshes, and two
processes. Compared are the hash of the final state, metrics, ledger, results and summary; what depends on the clock or
on how a run was started is not. Finished runs are not run again. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

ROOT = pathlib.Path(__file__).parent.parent
COMPARED_LINES = ("metrics.jsonl", "ledger.jsonl", "curriculum.jsonl", "transfer.jsonl")
CLOCK_KEYS = {"wall_s", "search_s", "peak_rss_gib", "compilations", "compilations_s", "programs", "command", "config"}
DERIVED_KEYS = {"promoted"}  # of the ledger's rows: read off the promotions

METHODS = (
    "soar_math",
    "no_promotion",
    "frozen_teacher",
    "intrinsic_teacher",
    "triangle_teacher",
    "r_zero_teacher",
    "absolute_zero_teacher",
    "base_teacher",
    "hard_only",
    "hard_only_large_group",
    "serl",
    "curated",
)
WITHOUT_OUTER_LOOP = ("base_teacher", "hard_only", "hard_only_large_group", "serl", "curated")

TINY = {
    "num_outer_steps": 3,
    "outer.num_datasets": 4,
    "outer.questions_per_dataset": 4,
    "outer.num_reward_questions": 4,
    "outer.reward_samples": 16,
    "inner.num_steps": 2,
    "inner.questions_per_step": 2,
    "inner.group_size": 4,
    "student.learning_rate": 3e-3,
    "student.adam_eps": 1e-5,
    "problems.levels": (2, 3),
    "hard_subset.num_candidates": 32,
    "hard_subset.num_samples": 2,
    "hard_subset.samples_per_round": 2,
    "evaluation.num_samples": 32,
    "evaluation.problems_per_call": 4,
    "evaluation.validation_samples": 4,
    "curriculum.levels": (3,),
    "curriculum.num_questions": 4,
    "final.num_steps": 4,
    "curriculum.warm_start_steps": 2,
    "final.validate_every": 2,
    "final.num_replicas": 4,
    "transfer.num_problems": 4,
    "promotion.rule": "moving_average_literal",  # promotes also what gained nothing
    "promotion.threshold": -1.0,
    "promotion.window": 2,
    "self_play.questions_per_episode": 4,
    "self_play.label_samples": 4,
    "self_play.agreement": (0.0, 1.0),
    "seed": 1,
}
LANGUAGE_MODEL = {
    "num_outer_steps": 2,
    "lora.rank": 4,
    "model.dtype": "float32",
    "outer.students_per_dataset": 2,
    "outer.num_reward_questions": 4,
    "inner.students_at_once": 4,
    "prompts.chat": True,
    "prompts.system": "sum",
    "prompts.student": "{question} \\boxed{",
    "prompts.teacher": "{subject}",
    "prompts.teacher_opening": "<question> ",
    "prompts.teacher_format": "tags",
    "prompts.subjects": ("sum", "ask"),
    "prompts.bucket_tokens": (8, 24),
    "grading.extraction": ("boxed", "last_number"),
    "grading.equivalence": "math",
    "student.max_completion_tokens": 8,
    "teacher.max_completion_tokens": 16,
    "student.completion_buckets": 2,
    "student.remat": "layers",
    "student.kl_coef": 0.01,
    "teacher.kl_coef": 0.01,
    "student.learning_rate": 0.05,
    "teacher.learning_rate": 0.05,
    "problems.source": "jsonl",
    "problems.levels": (),
    "problems.fields.question": "question",
    "problems.fields.answer": "answer",
    "transfer.source": "jsonl",
    "transfer.levels": (),
    "transfer.fields.question": "question",
    "transfer.fields.answer": "answer",
    "curriculum.schedule": "mixed",
    "promotion.student": "step_best",
    "final.students": ("curriculum", "random_answers", "hard_only"),
    "analysis.judge": "self_consistency",
    "analysis.judge_questions": 6,
    "analysis.judge_samples": 4,
    "mesh.cpu_devices": 1,
}
ONE_DEVICE = {"mesh.cpu_devices": 1}
EIGHT_DEVICES = {"mesh.cpu_devices": 8, "mesh.population": 2, "mesh.fsdp": 2, "mesh.tensor": 2, "inner.group_size": 16}


def cases(folder: pathlib.Path) -> dict[str, list[list[str]]]:
    """Commands of every run by its name; more than one where several processes work as one."""
    made: dict[str, list[list[str]]] = {"nano": [_command("soar_math", {})]}
    for method in METHODS:
        more = {"num_outer_steps": 0} if method in WITHOUT_OUTER_LOOP else {}
        made[f"method_{method}"] = [_command(method, TINY | more)]
    model, problems, others = _language_model(folder)
    files = {"model.source": model, "problems.path": problems, "transfer.path": others}
    made["language_model"] = [_command("soar_math", TINY | LANGUAGE_MODEL | files)]
    made["language_model_whole"] = [_command("soar_math", TINY | LANGUAGE_MODEL | files | {"lora.rank": 0})]
    made["mesh_1x1x1x1"] = [_command("soar_math", TINY | ONE_DEVICE)]
    made["mesh_2x1x2x2"] = [_command("soar_math", TINY | EIGHT_DEVICES)]
    address = f"--coordinator=127.0.0.1:{_free_port()}"
    made["two_processes"] = [
        [*_command("soar_math", TINY), address, "--num_processes=2", f"--process_id={number}"] for number in (0, 1)
    ]
    return made


def _command(method: str, overrides: dict[str, Any]) -> list[str]:
    flags = [f"--config.{key}={value}" for key, value in overrides.items()]
    return [sys.executable, "experiments/run.py", f"--config=configs/{method}.py", *flags]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _language_model(folder: pathlib.Path) -> tuple[str, str, str]:
    """Writes a random Llama whose few tokens often make tags and boxes, and problems for it; their paths."""
    model = folder.resolve() / "random_model"
    model.mkdir(parents=True, exist_ok=True)
    words = ["<pad>", "<bos>", "<eos>", "<unk>", "<question>", "</question>", "<answer>", "</answer>", "\\boxed{", "}"]
    words += [*map(str, range(10)), "+", "sum", "ask", "user", "\\frac12", "0.5"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(model / "tokenizer.json"))
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (model / "tokenizer_config.json").write_text(
        json.dumps(special | {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64})
    )
    (model / "chat_template.jinja").write_text("{% for turn in messages %}{{ turn.content }} {% endfor %}user ")
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(words),
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "max_position_embeddings": 64,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    (model / "config.json").write_text(json.dumps(config | sizes))
    save_file(_random_weights(len(words)), model / "model.safetensors")
    paths = []
    for name, first in (("problems", 0), ("transfer", 40)):
        rows = [{"question": f"{n // 10} + {n % 10}", "answer": str((n // 10 + n % 10) % 10)} for n in range(40)]
        path = folder.resolve() / f"{name}.jsonl"
        rows = [row | {"question": f"{row['question']} + {first // 40}"} for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths.append(str(path))
    return str(model), paths[0], paths[1]


def _random_weights(vocab: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, 32), "lm_head.weight": (vocab, 32)}
    for layer in range(2):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}self_attn.{name}_proj.weight": (rows, 32) for name, rows in (("q", 32), ("k", 16), ("v", 16))}
        shapes |= {f"{at}self_attn.o_proj.weight": (32, 32), f"{at}mlp.down_proj.weight": (32, 48)}
        shapes |= {f"{at}mlp.{name}_proj.weight": (48, 32) for name in ("gate", "up")}
    weights = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    norms = [
        f"model.layers.{layer}.{name}_layernorm.weight" for layer in range(2) for name in ("input", "post_attention")
    ]
    return weights | {name: np.ones(32, np.float32) for name in (*norms, "model.norm.weight")}


def record(out: pathlib.Path, only: str) -> None:
    """Makes the runs that are not finished, each in a folder of its own."""
    for name, commands in cases(out).items():
        workdir = out / name
        if only not in name or (workdir / "summary.json").exists():
            continue
        print(f"running {name}", flush=True)
        processes = [_start([*command, f"--workdir={workdir.resolve()}"], out / f"{name}.log") for command in commands]
        codes = [process.wait() for process in processes]
        if any(codes):
            sys.exit(f"error: {name} ended with {codes}; see {out / f'{name}.log'}")


def _start(command: list[str], log: pathlib.Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    with log.open("ab") as file:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)


def content(workdir: pathlib.Path) -> dict[str, Any]:
    """All that must not change of a run, by file."""
    found: dict[str, Any] = {}
    for name in COMPARED_LINES:
        if (workdir / name).exists():
            rows = [json.loads(line) for line in (workdir / name).read_text().splitlines()]
            dropped = DERIVED_KEYS if name == "ledger.jsonl" else set()
            found[name] = [{key: value for key, value in row.items() if key not in dropped} for row in rows]
    for path in sorted((workdir / "results").glob("*.json")):
        found[f"results/{path.name}"] = _without_clock(json.loads(path.read_text()))
    found["summary.json"] = _without_clock(json.loads((workdir / "summary.json").read_text()))
    return found


def _without_clock(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in CLOCK_KEYS}


def differences(one: Any, other: Any, name: str = "") -> Iterator[str]:
    """Where two contents differ, by path; floats are equal only to the bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{name}.{key}".strip("."))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{name}[{number}]")
    elif one != other and not (one != one and other != other):
        yield f"{name}: {str(other)[:60]} before, {str(one)[:60]} now"


def main() -> None:
    """Records, and compares where a record to compare with is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the record")
    parser.add_argument("--against", type=pathlib.Path, help="folder of the record to compare with")
    parser.add_argument("--only", default="", help="only runs whose names hold this")
    arguments = parser.parse_args()
    record(arguments.out, arguments.only)
    if arguments.against is None:
        return
    num_different = 0
    for name in cases(arguments.out):
        if arguments.only not in name:
            continue
        found = list(differences(content(arguments.out / name), content(arguments.against / name)))
        print(f"{name}: {'equal' if not found else f'{len(found)} values differ'}")
        print("".join(f"  {line}\n" for line in found[:5]), end="")
        num_different += bool(found)
    sys.exit(1 if num_different else 0)


if __name__ == "__main__":
    main()
