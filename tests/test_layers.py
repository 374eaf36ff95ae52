"""Imports point one way: a file imports only from its own layer or from layers above it in docs/design.md."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "soar_jax"
LAYERS = [
    ("types", "rng", "settings"),
    ("parallel",),
    ("model",),
    ("grading",),
    ("problems",),
    ("sampling",),
    ("rl",),
    ("evaluation",),
    ("reporting",),
    ("checkpointing",),
    ("pretraining",),
    ("planning",),
    ("soar",),
    ("scheduling",),
    ("program",),
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
OUTSIDE = {"configs", "experiments", "benchmarks", "tests"}  # they import from it, never the other way


def imported(source):
    """What a source imports, by full names: `from a import b` is a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports have full names"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of_the_package():
    for path in PACKAGE.rglob("*.py"):
        yield from ((path, name) for name in imported(path.read_text()))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import soar_jax.soar.job", ["soar_jax.runs.run"]),
        ("import soar_jax.rng as r, tests", ["soar_jax.rng", "tests"]),
        ("from soar_jax import rng, types", ["soar_jax.rng", "soar_jax.types"]),
        ("from soar_jax.model.config import A as B", ["soar_jax.model.config.A"]),
        ("def f():\n    from configs import scales", ["configs.scales"]),
    ],
)
def test_every_form_of_import_is_seen(source, names):
    assert list(imported(source)) == names


def test_no_module_imports_from_a_layer_below_its_own():
    for path, name in imports_of_the_package():
        layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        top, *parts = name.split(".")
        if top == "soar_jax" and layer != "__init__":
            assert parts, f"{path} imports all of soar_jax"
            assert RANK[parts[0]] <= RANK[layer], f"{path} imports {name}"


def test_the_package_imports_nothing_of_what_is_built_on_it():
    assert not [(path, name) for path, name in imports_of_the_package() if name.split(".")[0] in OUTSIDE]
