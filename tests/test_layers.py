"""Imports point one way: a file imports only from its own layer or from layers above it in docs/design.md."""

import ast
import pathlib

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


def test_no_module_imports_from_a_layer_below_its_own():
    for path in PACKAGE.rglob("*.py"):
        layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if layer == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("soar_jax"):
                continue
            parts = node.module.split(".")[1:]
            for name in [parts[0]] if parts else [alias.name for alias in node.names]:
                assert RANK[name] <= RANK[layer], f"{path} imports soar_jax.{name}"
