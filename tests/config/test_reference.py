import subprocess
import sys

from soar_jax.config.reference import keys, markdown, table
from soar_jax.config.run_config import RunConfig
from soar_jax.registry import EXTENSION_POINTS, registry
from tests.configs import make_config
from tests.conftest import ROOT


def test_page_of_the_documentation_is_the_reference():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == markdown(), "write it again: python -m soar_jax.config > docs/configuration.md"


def test_module_prints_the_page():
    done = subprocess.run([sys.executable, "-m", "soar_jax.config"], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.decode() == markdown()


def test_every_key_is_listed_once_in_a_row_of_five_cells():
    rows = [line for line in markdown().splitlines() if line.startswith("| `")]
    names = [key.name for key in keys(RunConfig())]
    assert [row.split("`")[1] for row in rows] == names
    assert len(set(names)) == len(names)
    assert {row.count("|") for row in rows} == {6}
    assert markdown().splitlines().count("|---|---|---|---|---|") == 1


def test_help_ends_with_the_choices_of_a_key():
    helps = {key.name: key.help for key in keys(RunConfig())}
    assert helps["promotion.statistic"] == "statistic of a step's g rewards; choices: mean, best"
    assert "choices" not in helps["promotion.window"]
    for key in EXTENSION_POINTS.keys() - {"method", "model.source"}:
        before = "arithmetic, " if key == "problems.source" else ""
        assert helps[key].endswith(f"; choices: {before}{', '.join(registry(key))}")


def test_table_shows_the_values_of_a_config():
    lines = table(make_config("serl", seed=41)).splitlines()
    assert lines[0].startswith("config of serl:nano; ")
    assert "seed=41  (int)" in lines
    assert "sampling.max_slots=64  (int) *" in lines
    position = lines.index("outer.num_datasets=16  (int)")
    assert lines[position + 1 : position + 3] == ["    g: datasets of an outer step", "    paper: 4 (Table 3)"]
    assert max(len(line) for line in lines if line.startswith("    ")) <= 100
