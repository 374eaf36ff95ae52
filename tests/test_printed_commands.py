"""Commands that README and docs print: programs, flags, config keys and extras that exist. None is run here."""

import ast
import importlib.util
import re
import shlex
import tomllib

import pytest

from soar_jax.config.cross_rules import UNSET
from soar_jax.config.methods import method_config
from soar_jax.config.reading import read_config
from soar_jax.errors import SettingsError
from tests.conftest import ROOT
from tests.test_docs import PAGES

CLI = ROOT / "soar_jax" / "cli"
PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b|\$|…|mine\.py")  # of a reader's own values
FLAG_MAKERS = re.compile(r"(?:DEFINE_\w+|define_\w+)$")


def printed():
    """(page, words) of each command in indented or fenced code; a line that ends with a backslash continues."""
    for page, text in PAGES.items():
        code = re.findall(r"(?:^(?:    .*)?$\n)+|^```.*?^```$", text, re.MULTILINE | re.DOTALL)
        for line in "\n".join(code).replace("\\\n", " ").splitlines():
            for part in line.strip().split(" && "):
                if re.match(r"soar-jax |python (experiments|benchmarks)/|python -m |make |pip install ", part):
                    yield page, shlex.split(part, comments=True)


COMMANDS = [pytest.param(page, words, id=f"{page}: {' '.join(words)[:60]}") for page, words in printed()]


def flags_of(path):
    """Names of the flags that a program or one of its modules defines."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    makers = [call for call in calls if FLAG_MAKERS.search(ast.unparse(call.func)) and call.args]
    return {argument.value for call in makers for argument in call.args[:1] if isinstance(argument, ast.Constant)}


def known_flags(path):
    return flags_of(path) | flags_of(CLI / "command.py") | {"config", "help", "help_config", "verbosity"}


def check_config(name, overrides):
    """The config of a command can be made, with its overrides."""
    method, _, scale = name.removeprefix("configs/").partition(":")
    config = method_config(method.removesuffix(".py"), scale)
    for key, text in overrides.items():
        value = config
        for part in key.split("."):
            assert part in value, f"no config key {key}"
            value = value[part]
        if not PLACEHOLDER.search(text):
            read = text if isinstance(value, str) else ast.literal_eval(text.capitalize() if text == "true" else text)
            config.update_from_flattened_dict({key: read})
    if config.source_run == UNSET:
        config.source_run = "runs/soar"
    read_config(config)


@pytest.mark.parametrize(("page", "words"), COMMANDS)
def test_a_printed_command_can_be_started(page, words):
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets
    elif words[0] == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for own in re.findall(r"(?:\.|soar-jax)\[([\w,]+)\]", " ".join(words)):
            assert set(own.split(",")) <= extras.keys()
    elif words[1] == "-m":
        assert importlib.util.find_spec(words[2]) is not None
    else:
        path = CLI / f"{words[1]}.py" if words[0] == "soar-jax" else ROOT / words[1]
        assert path.is_file(), words[1]
        program = path if path.parent in (CLI, ROOT / "benchmarks") else CLI / path.name
        check_flags(program, [word for word in words[2:] if word.startswith("--")])


def check_flags(program, given):
    values = dict((word.removeprefix("--") + "=").split("=", 1) for word in given)
    values = {name: value.removesuffix("=") for name, value in values.items()}
    if program.parent == CLI:
        known = known_flags(program)
        names = {name.split(".")[0] for name in values}
        assert {name for name in names - known if name.removeprefix("no") not in known} == set()
    config = values.pop("config", "")
    if config and not PLACEHOLDER.search(config) and "pretrain" not in config:
        overrides = {
            name.removeprefix("config."): value or "true"
            for name, value in values.items()
            if name.startswith("config.")
        }
        check_config(config, overrides)


@pytest.mark.parametrize(
    "line",
    [
        "soar-jax walk --config=soar_math",
        "soar-jax run --confg=soar_math",
        "soar-jax run --config=soar_meth",
        "soar-jax run --config=soar_math:nona",
        "soar-jax run --config=soar_math --config.outer.num_dataset=4",
        "soar-jax run --config=soar_math --config.outer.num_datasets=0",
        "python experiments/walk.py",
        "python -m soar_jax.walking",
        "make walk",
        "pip install -e '.[walk]'",
    ],
)
def test_a_command_that_cannot_be_started_is_seen(line):
    with pytest.raises((AssertionError, SettingsError)):
        test_a_printed_command_can_be_started("README.md", shlex.split(line))


def test_commands_are_found_on_many_pages():
    assert len(COMMANDS) > 40
    assert len({page for page, _ in printed()}) > 8
