"""docs/paper.md: its settings are those of the configs, and its commands can be started."""

import ast
import itertools
import pathlib
import re
import shlex

import pytest

from soar_jax.config.cross_rules import UNSET
from soar_jax.config.methods import method_config
from soar_jax.config.reading import read_config
from soar_jax.config.reference import keys
from soar_jax.config.run_config import RunConfig
from soar_jax.config.scales import scale_config
from soar_jax.studies import study

PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "paper.md").read_text()
TEXTS = {"prompts.student", "prompts.teacher", "prompts.from_seed", "prompts.answer_request"}  # too long for a table


def section(title):
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def table_rows(text):
    rows = [line.strip().strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows]


def settings():
    rows = [row for row in table_rows(section("Settings")) if re.fullmatch(r"`[a-z_.0-9]+`", row[0])]
    return {row[0].strip("`"): row[1:] for row in rows}


def commands():
    found = (row[1].strip("`") for row in table_rows(section("Tables and figures")) if len(row) == 2)
    return [command for command in found if command.startswith(("reproduce ", "python "))]


def value_of(config, key):
    for part in key.split("."):
        config = config[part]
    return config


@pytest.mark.parametrize(("column", "scale"), [(1, "llama3.2-3b"), (2, "nano")])
def test_the_settings_are_those_of_the_scales(column, scale):
    config = scale_config(scale).to_dict()
    for key, cells in settings().items():
        if key not in TEXTS:
            assert ast.literal_eval(cells[column].strip("`")) == value_of(config, key), key


def test_every_key_that_the_paper_sets_is_in_the_table():
    of_paper = {key.name: key.paper for key in keys(RunConfig()) if key.paper}
    table = settings()
    assert of_paper.keys() <= table.keys()
    assert {key: cells[0] for key, cells in table.items() if cells[0] != "not said"} == of_paper


def test_departures_and_choices_of_our_own_have_a_reason():
    for key, (paper, ours, nano, reason) in settings().items():
        if ours != nano or paper == "not said":
            assert len(reason) > 5, key


def test_the_larger_scale_departs_in_nothing_but_its_model():
    small, large = (scale_config(scale).to_dict() for scale in ("llama3.2-3b", "llama3.1-8b"))
    for config in (small, large):
        config["model"].pop("source")
        config.pop("scale")
    assert small == large


def test_every_table_of_results_has_commands():
    lines = section("Tables and figures")
    for number in (1, 2, 3, 4, 5, 6, 7, 8, 9):
        assert re.search(rf"^\| Table {number}:", lines, re.MULTILINE), number


@pytest.mark.parametrize("command", commands())
def test_a_command_starts(command):
    words = shlex.split(command)
    flags = dict(word.removeprefix("--").split("=", 1) for word in words if word.startswith("--") and "=" in word)
    if words[0] == "reproduce":
        values = re.findall(r"--set=(\S+)", command)
        sweeps = [study.parse_sweep(text) for text in re.findall(r"--sweep=(\S+)", command)]
        assert study.parse_seeds(flags["seeds"])
        for method, variant in itertools.product(flags["methods"].split(","), itertools.product(*sweeps)):
            check(method, flags["scale"], [*values, *variant])
    else:
        program = pathlib.Path(__file__).parents[1] / words[1]
        assert program.is_file()
        path, _, scale = flags.pop("config").partition(":")
        assert (pathlib.Path(__file__).parents[1] / path).is_file()
        overrides = [f"{key.removeprefix('config.')}={value}" for key, value in flags.items() if "." in key]
        check(pathlib.Path(path).stem, scale, overrides)


def check(method, scale, overrides):
    config = method_config(method, scale)
    if config.source_run == UNSET:
        config.source_run = "runs/soar"
    for override in overrides:
        key, _, text = override.partition("=")
        value = text if isinstance(value_of(config, key), str) else ast.literal_eval(text)
        config.update_from_flattened_dict({key: value})
    read_config(config)
