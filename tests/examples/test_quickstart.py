"""The notebook: its form, and its cells from first to last in a fresh process."""

import ast
import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

NOTEBOOK = json.loads((ROOT / "examples" / "quickstart.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
SOURCES = ["".join(cell["source"]) for cell in CODE]


def test_outputs_are_stripped():
    assert [(cell["outputs"], cell["execution_count"]) for cell in CODE] == [([], None)] * len(CODE)
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])


def test_the_notebook_uses_the_functions_for_notebooks_alone():
    imported = set()
    for node in ast.walk(ast.parse("\n".join(SOURCES))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported == {"soar_jax", "matplotlib"}


@pytest.mark.slow
def test_all_cells_run_in_a_fresh_process(tmp_path):
    """Values of last lines are printed, as a notebook shows them."""
    script = tmp_path / "cells.py"
    lines = []
    for source in SOURCES:
        *before, last = ast.parse(source).body
        shown = ast.unparse(last)
        lines += [*map(ast.unparse, before), f"print({shown})" if isinstance(last, ast.Expr) else shown]
    script.write_text("\n".join(lines), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "everything is in runs/quickstart" in done.stdout
    assert done.stdout.splitlines()[-1] == "correct"
