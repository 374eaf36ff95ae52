"""The headers of the files in `configs/`: command, hardware, time, expected result, and what the method shows."""

import ast
import re

import pytest

from tests.conftest import ROOT

HEADERS = {
    path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    for path in sorted((ROOT / "configs").glob("*.py"))
    if path.stem != "__init__"
}
ROW = re.compile(r"\b([\d.]+)(?: s|% pass@1) \(row `([^`]+)`\)")


def fact(header, name):
    (found,) = re.findall(rf"^{name}: (.+)$", header, re.MULTILINE)
    return found


def table(heading):
    """Rows of the table of the nano study under a heading: values by column, by the row's name."""
    section = (ROOT / "benchmarks" / "nano_study.md").read_text(encoding="utf-8").partition(f"\n### {heading}\n")[2]
    lines = [line.strip("| ") for line in section.partition("\n|")[2].partition("\n\n")[0].splitlines()]
    columns, _, *rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    return {row[0]: dict(zip(columns[-len(row) + 1 :], row[1:], strict=True)) for row in rows}


@pytest.mark.parametrize("name", HEADERS)
def test_header_says_what_to_run_and_to_expect(name):
    header = HEADERS[name]
    assert f"    python experiments/{'pretrain' if name == 'pretrain_nano' else 'run'}.py --config=configs/" in header
    assert fact(header, "Hardware") in ("2 CPU cores", "accelerators, see docs/devices.md")
    assert fact(header, "Time") == "not measured" or re.search(r"\d", fact(header, "Time"))
    assert fact(header, "Expect")
    assert len(fact(header, "Shows").split()) >= 4


@pytest.mark.parametrize("name", [name for name, header in HEADERS.items() if "(row `" in header])
def test_figures_of_a_header_are_those_of_the_study(name):
    """After a new study: bring the headers up to date with its tables."""
    seconds, row = ROW.fullmatch(fact(HEADERS[name], "Time")).groups()
    assert seconds == table("Total compute")[row]["seconds"]
    pass_at_1, row = ROW.fullmatch(fact(HEADERS[name], "Expect")).groups()
    assert pass_at_1 == table("Hard test problems solved within k samples, %")[row]["pass@1"].split()[0]
    assert "Rows are those of benchmarks/nano_study.md" in HEADERS[name]
