"""The page of results is made of the newest rows of results.jsonl, and studies add rows to it."""

import json

import numpy as np
import pytest

from benchmarks import record_study, results
from benchmarks.report import FOLDER
from soar_jax.errors import SettingsError
from soar_jax.report.read import read_runs
from soar_jax.report.scores import find, group_runs, scores
from tests.report.conftest import write_run


def row(suite, table, date="2026-01-01 10:00", **values):
    environment = {"date": date, "cpu": "a CPU", "commit": "abc1234"}
    return {"suite": suite, "table": table, **values, "command": "python run.py", "environment": environment}


def study_row(name, mean, date):
    measured = {"mean": mean, "sd": 1.0, "low": mean - 1, "high": mean + 1}
    return row(results.STUDY, f"nano, {results.HARD_TEST}", date, row=name, seeds=3, **{"pass@1": measured})


def test_the_page_is_made_from_the_rows():
    text = (FOLDER / "RESULTS.md").read_text("utf-8")
    assert text == results.page(results.read()), "run: python benchmarks/results.py"
    assert len(text.splitlines()) <= 150


def test_shown_columns_are_those_of_the_rows():
    newest = results.newest(results.read()).values()
    for entry in results.SHOWN:
        tables = [rows for rows in newest if rows[0]["suite"] == entry.suite and entry.only in rows[0]["table"]]
        assert tables or entry.suite == "gpu", entry.suite
        for table in tables:
            assert set(entry.columns) <= table[0].keys()


def test_the_newest_rows_of_a_table_win():
    newer = [row("grading", "pairs", "2026-01-02 09:00", side=side, x=2.0) for side in ("a", "b")]
    older = [row("grading", "pairs", "2026-01-01 12:00", side=side, x=1.0) for side in ("a", "b", "c")]
    other = row("grading", "sets", "2025-01-01 12:00", side="a", x=3.0)
    assert list(results.newest([*newer, *older, other]).values()) == [newer, [other]]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("nano: an outer step of 5.0 s, 17,002 tokens/s of the whole step", "nano: an outer step of 5.6 s, idle 7.3%"),
        ("smollm2: an RLOO step of 8 prompts x 16 samples", "smollm2: an RLOO step of 4 prompts of 15 tokens"),
    ],
)
def test_other_figures_in_a_title_make_no_other_table(older, newer):
    rows = [row("suite", title, date) for title, date in ((older, "2026-01-01"), (newer, "2026-01-02"))]
    assert list(results.newest(rows).values()) == [rows[1:]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SmolLM2-135M: sampling, 512 rows", "SmolLM2-135M: 16 LoRA students"),
        ("smollm2: 32 rows", "smollm3: 32 rows"),
        ("limits of 2 x cpu", "limits of 4 x cpu"),
    ],
)
def test_other_words_or_models_make_another_table(one, other):
    assert len(results.newest([row("suite", one), row("suite", other)])) == 2


def test_the_newest_row_of_each_name_is_shown_of_a_study():
    rows = [study_row("PS", 10.0, "2026-01-01"), study_row("PQ", 20.0, "2026-01-01")]
    text = results.page([study_row("PS", 30.0, "2026-01-02 10:00"), *rows])
    assert text.index("| PS | 3 | 30.0 [29.0, 31.0] |") < text.index("| PQ | 3 | 20.0 [19.0, 21.0] |")
    assert "10.0" not in text


def test_tables_of_a_suite_are_one_with_their_common_title():
    tables = [row("sampler", f"{name}: tokens/s", batch=4, soar_jax=rate) for name, rate in (("a", 1.5), ("b", 2.5))]
    text = results.page(tables)
    assert "- a: tokens/s; b: tokens/s: `python run.py`, 2026-01-01 10:00, a CPU, commit abc1234\n" in text
    assert "| table | batch | soar_jax |\n| --- | --- | --- |\n| a | 4 | 1.5 |\n| b | 4 | 2.5 |\n" in text


def test_a_table_of_an_unknown_suite_is_printed_with_all():
    rows = [row("juggling", "three balls", date, balls=3) for date in ("2026-01-01", "2026-01-02")]
    assert "--all` shows: juggling (1).\n" in results.page(rows)
    text = results.everything([*rows, row("gpu", "both", a=1), row("gpu", "both", b=2.5)])
    assert text.count("## juggling: three balls\n") == 2
    assert "| a | b |\n| --- | --- |\n| 1 | – |\n| – | 2.5 |\n" in text


def test_every_row_of_the_file_is_printed_with_all():
    rows = results.read()
    printed = [line for line in results.everything(rows).splitlines() if line.startswith("| ")]
    assert len(printed) - 2 * sum(line.startswith("| ---") for line in printed) == len(rows)


@pytest.fixture
def runs(tmp_path):
    for method in ("soar_math", "hard_only"):
        for seed in (0, 1):
            write_run(tmp_path / "runs" / method / f"seed{seed}", method, seed)
    return read_runs([tmp_path / "runs"])


def test_a_study_is_recorded(tmp_path, runs):
    record_study.record(runs, ["soar_math"], "python reproduce.py", folder=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text("utf-8").splitlines()]
    assert {each["table"] for each in rows} == {f"nano, {results.HARD_TEST}"}
    by_name = {each["row"]: each for each in rows}
    assert list(by_name) == ["SOAR: PS", "SOAR: trained teacher", "SOAR: PQ"]
    found = by_name["SOAR: PQ"]
    assert (found["suite"], found["seeds"], found["student steps"]) == ("study", 2, "30")
    assert (found["command"], found["environment"]["date"][:2]) == ("python reproduce.py", "20")
    expected = scores(find(group_runs(runs), "soar_math"), "curriculum", test="hard_test", k=8)
    assert found["pass@8"]["mean"] == expected.interval().mean
    assert found["pass@8"]["sd"] == expected.interval().sd
    assert found["pass@8"]["by_seed"] == [np.mean(values) for values in expected.by_seed.values()]
    assert f"| SOAR: PQ | 2 | {found['pass@1']['mean']:.1f} [" in (tmp_path / "RESULTS.md").read_text("utf-8")


def test_all_methods_of_the_folders_are_recorded_by_default(runs):
    names = [each["row"] for each in record_study.study_rows(group_runs(runs), ["hard_only", "soar_math"])]
    assert names == ["base model", "Hard-Only", "SOAR: PS", "SOAR: trained teacher", "SOAR: PQ"]


def test_a_method_without_a_run_is_an_error(tmp_path, runs):
    with pytest.raises(SettingsError, match="--methods is 'serl'; choose one of hard_only, soar_math"):
        record_study.record(runs, ["serl"], "", folder=tmp_path)
    assert not (tmp_path / "results.jsonl").exists()


def test_runs_of_several_scales_are_an_error(tmp_path):
    write_run(tmp_path / "a", "hard_only", 0)
    write_run(tmp_path / "b", "soar_math", 0, scale="smollm2-135m")
    with pytest.raises(SettingsError, match="several scales, nano, smollm2-135m"):
        record_study.record(read_runs([tmp_path]), [], "", folder=tmp_path)
