import json
import sys

import pyarrow
import pyarrow.parquet
import pytest

from soar_jax.config.sections import FieldsSection
from soar_jax.errors import SettingsError
from soar_jax.problems import benchmarks
from soar_jax.problems.rows import field_names, read_rows

ROWS = [
    {"question": 'a, "b"\nc?', "answer": "007"},
    {"question": "é?", "answer": "1/2"},
    {"question": "none?", "answer": ""},
]
NAMES = FieldsSection(question="question", answer="answer")


def test_csv_fields_stay_texts(tmp_path):
    (tmp_path / "rows.csv").write_text('\ufeffquestion,answer\n"a, ""b""\nc?",007\né?,1/2\nnone?,\n', encoding="utf-8")
    assert list(read_rows(str(tmp_path / "rows.csv"))) == ROWS
    loaded = benchmarks.load("jsonl", str(tmp_path / "rows.csv"), NAMES)
    assert [(problem.question, problem.answer) for problem in loaded.problems] == [
        ('a, "b"\nc?', "007"),
        ("é?", "1/2"),
    ]
    assert loaded.left_out == {"without question or answer": 1}


def test_short_and_long_lines_of_csv(tmp_path):
    (tmp_path / "rows.CSV").write_text("question,answer\na\nb,1,2,3\n")
    assert list(read_rows(str(tmp_path / "rows.CSV"))) == [{"question": "a"}, {"question": "b", "answer": "1"}]


def test_switches_of_csv_are_read(tmp_path):
    (tmp_path / "harp.csv").write_text(
        "problem,answer,subject,level,multiple_choice_only\np,1,algebra,5,False\nq,2,algebra,5,True\n"
    )
    loaded = benchmarks.load("harp", str(tmp_path / "harp.csv"), FieldsSection())
    assert [problem.question for problem in loaded.problems] == ["p"]
    assert loaded.left_out == {"multiple choice only": 1}


def test_parquet_keeps_nested_values(tmp_path):
    rows = [
        {"prompt": [{"content": "x"}], "reward_model": {"ground_truth": "1"}, "score": 2.5},
        {"prompt": [{"content": "y"}], "reward_model": {"ground_truth": "2"}, "score": float("nan")},
    ]
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    names = FieldsSection(question="prompt.0.content", answer="reward_model.ground_truth")
    loaded = benchmarks.load("jsonl", str(path), names)
    assert [(problem.question, problem.answer) for problem in loaded.problems] == [("x", "1"), ("y", "2")]
    scores = benchmarks.load("jsonl", str(path), FieldsSection(question="prompt.0.content", answer="score"))
    assert [problem.answer for problem in scores.problems] == ["2.5"]
    assert scores.left_out == {"with an answer that is no text or number": 1}


@pytest.mark.parametrize("kept", [0, 3, 100])
def test_a_broken_parquet_file_is_one_line(tmp_path, kept):
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SettingsError, match=r"rows\.parquet is broken \(") as error:
        list(read_rows(str(path)))
    assert "\n" not in str(error.value)


def test_a_csv_field_without_end_is_one_line(tmp_path):
    (tmp_path / "rows.csv").write_text('question,answer\n"a' + "b" * 200_000)
    with pytest.raises(SettingsError, match=r"rows\.csv is broken \(field larger than field limit"):
        list(read_rows(str(tmp_path / "rows.csv")))


def test_parquet_without_its_library_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "rows.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SettingsError, match=r"rows\.parquet needs: pip install pyarrow; or convert it to JSON lines$"):
        list(read_rows(str(tmp_path / "rows.parquet")))


@pytest.mark.parametrize("suffix", [".gz", ".xlsx", ".arrow"])
def test_files_of_other_kinds_are_refused_by_name(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(b"\x1f\x8b")
    with pytest.raises(SettingsError, match=rf"rows\{suffix}: \{suffix} files are not read; convert it to JSON lines"):
        read_rows(str(path))


def test_lines_that_are_no_objects_are_counted(tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n".join(["[1]", "nonsense", json.dumps(ROWS[0])]))
    loaded = benchmarks.load("jsonl", str(tmp_path / "rows.jsonl"), NAMES)
    assert loaded.left_out == {"without a JSON object": 2}


def test_the_names_of_a_row_are_bounded():
    assert field_names({"a": {"b": 1, "c": 2}, "d": {}, "e": [1]}) == "a.b, a.c, d, e"
    text = field_names({"x" * 1000 + str(number): 1 for number in range(1000)})
    assert len(text) < 1000
    assert text.endswith(", …")
