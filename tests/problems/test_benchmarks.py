import json
import pathlib
import sys
import zipfile
from types import SimpleNamespace

import pytest

from soar_jax.config.sections import FieldsSection, SourceSection
from soar_jax.errors import SettingsError
from soar_jax.grading.grader import Grader, Verdict
from soar_jax.problems import benchmarks, sources

NO_FIELDS = FieldsSection()
ROWS = {
    "math": [
        {"problem": "a?", "solution": r"so $\boxed{\frac{1}{2}}$", "type": "Algebra", "level": "Level 3"},
        {"problem": "b?", "solution": "…", "answer": "7", "subject": "Geometry", "level": 5},
        {"problem": "c?", "solution": "nothing boxed", "type": "Algebra", "level": "Level 1"},
        {"problem": "d?", "solution": r"\boxed{1}", "type": "Algebra", "level": "Level ?"},
        {"problem": "a?", "solution": r"\boxed{2}", "type": "Algebra", "level": "Level 3"},
        {"problem": "e?", "solution": r"\boxed{2} or \boxed{3}", "type": "Algebra", "level": "Level 3"},
        {"problem": "f?", "solution": r"\boxed{ 2 }, so \boxed{2}", "type": "Algebra", "level": "Level 3"},
        {"problem": "g?", "answer": 0, "type": "Algebra", "level": "Level 3"},
    ],
    "gsm8k": [{"question": "q?", "answer": "1+1\n#### 1,234"}, {"question": "r?", "answer": "none"}, {"question": 5}],
    "harp": [
        {"problem": "p", "subject": "algebra", "level": 6, "answer": "12", "multiple_choice_only": False},
        {"problem": "q", "subject": "algebra", "level": 6, "answer": None},
        {"problem": "r", "subject": "algebra", "level": 6, "answer": "(A)", "multiple_choice_only": True},
    ],
    "olympiadbench": [
        {"context": "c", "question": "q", "final_answer": ["$5$"], "answer_type": "Numerical", "unit": "cm",
         "subfield": "Geometry", "is_multiple_answer": False, "error": None},
        {"question": "r", "final_answer": ["$1$", "$2$"], "answer_type": "Numerical", "subfield": "Algebra"},
        {"question": "v", "final_answer": ["$1$,$2$"], "answer_type": "Numerical", "subfield": "Algebra",
         "is_multiple_answer": True},
        {"question": "w", "final_answer": ["1", "2"], "answer_type": "Numerical", "subfield": "Algebra", "unit": "cm"},
        {"question": "x", "final_answer": "['1']", "answer_type": "Numerical", "subfield": "Algebra"},
        {"question": "s", "final_answer": ["1"], "answer_type": "Numerical", "subfield": "Algebra", "error": "1e-1"},
        {"question": "t", "final_answer": [], "answer_type": "Numerical", "subfield": "Algebra"},
        {"question": "u", "final_answer": ["x"], "answer_type": "Human", "subfield": "Algebra"},
    ],
}  # fmt: skip
EXPECTED = {
    "math": (
        [
            ("a?", r"\frac{1}{2}", "Algebra", 3),
            ("b?", "7", "Geometry", 5),
            ("f?", "2", "Algebra", 3),
            ("g?", "0", "Algebra", 3),
        ],
        {
            "without a boxed answer": 1,
            "with a level that is no number": 1,
            "a question twice": 1,
            "several answers": 1,
        },
    ),
    "gsm8k": (
        [("q?", "1234", "grade school", 1)],
        {"without a final answer": 1, "without the field 'answer' (such a row has question)": 1},
    ),
    "harp": ([("p", "12", "algebra", 6)], {"proofs": 1, "multiple choice only": 1}),
    "olympiadbench": (
        [("c\n\nq", r"5 \text{cm}", "Geometry", 1), ("r", "1, 2", "Algebra", 1), ("v", "1,2", "Algebra", 1)],
        {
            "several answers with a unit": 1,
            "fields of another kind": 1,
            "answers with a tolerance": 1,
            "proofs": 1,
            "answers of other types": 1,
        },
    ),
}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("name", ROWS)
def test_rows_become_problems_or_are_counted(tmp_path, name):
    loaded = benchmarks.load(name, write(tmp_path / "rows.jsonl", ROWS[name]), NO_FIELDS)
    problems, left_out = EXPECTED[name]
    assert [(p.question, p.answer, p.subject, p.level) for p in loaded.problems] == problems
    assert loaded.left_out == left_out


def test_ids_depend_on_the_question_alone(tmp_path):
    first = benchmarks.load("math", write(tmp_path / "1.jsonl", ROWS["math"][:2]), NO_FIELDS)
    second = benchmarks.load("math", write(tmp_path / "2.jsonl", ROWS["math"][1::-1]), NO_FIELDS)
    assert {p.question: p.id for p in first.problems} == {p.question: p.id for p in second.problems}


def test_a_zip_and_a_list_are_read_like_lines(tmp_path):
    with zipfile.ZipFile(tmp_path / "HARP.jsonl.zip", "w") as archive:
        archive.writestr("HARP.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS["harp"]))
        archive.writestr("__MACOSX/HARP.jsonl", "junk")
        archive.writestr("readme.txt", "junk")
    (tmp_path / "harp.json").write_text(json.dumps(ROWS["harp"]))
    zipped = benchmarks.load("harp", str(tmp_path / "HARP.jsonl.zip"), NO_FIELDS)
    assert zipped == benchmarks.load("harp", str(tmp_path / "harp.json"), NO_FIELDS)
    with zipfile.ZipFile(tmp_path / "each.zip", "w") as archive:  # one file per problem, the original layout of MATH
        for number, row in enumerate(ROWS["harp"]):
            archive.writestr(f"test/{number}.json", json.dumps(row, indent=4))
    assert zipped.problems == benchmarks.load("harp", str(tmp_path / "each.zip"), NO_FIELDS).problems
    (tmp_path / "lines.json").write_text("".join(json.dumps(row) + "\n" for row in ROWS["harp"]))
    assert zipped == benchmarks.load("harp", str(tmp_path / "lines.json"), NO_FIELDS)
    assert len(zipped.problems) == 1


def test_a_byte_order_mark_costs_no_row(tmp_path):
    rows = [{"question": f"{number} + {number}", "answer": f"#### {2 * number}"} for number in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8-sig")
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8-sig")
    for name in ("rows.jsonl", "rows.json"):
        assert len(benchmarks.load("gsm8k", str(tmp_path / name), NO_FIELDS).problems) == 3


def test_any_file_by_its_fields(tmp_path):
    path = write(tmp_path / "own.jsonl", [{"q": "x", "a": 5, "topic": "t", "hard": "4"}, {"q": "y"}])
    names = FieldsSection(question="q", answer="a", subject="topic", level="hard")
    loaded = benchmarks.load("jsonl", path, names)
    assert [(p.question, p.answer, p.subject, p.level) for p in loaded.problems] == [("x", "5", "t", 4)]


def test_ungradable_rows_are_left_out(tmp_path):
    rows = [
        {"question": "a", "answer": "1"},
        {"question": " A\n", "answer": "1"},  # differs only in case and layout
        {"question": "b", "answer": None},
        {"question": None, "answer": "1"},
        {"question": "c", "answer": "\ud835"},
        {"question": "\ud835", "answer": "1"},
        {"question": "d", "answer": "1" + " " * 2000 + "x"},
    ]
    names = FieldsSection(question="question", answer="answer")
    loaded = benchmarks.load("jsonl", write(tmp_path / "own.jsonl", rows), names)
    assert [problem.question for problem in loaded.problems] == ["a"]
    reasons = {"a question twice": 1, "without question or answer": 2, "without valid text": 2, "too long": 1}
    assert loaded.left_out == reasons


QA = FieldsSection(question="question", answer="answer")


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (r"First 1+1, so $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        ("He has 1+1 = 2.\n#### 2", "2"),
        (r"\fbox{3}", "3"),
        ("x+1", "x+1"),
        (0, "0"),
        (0.5, "0.5"),
    ],
)
def test_the_answer_is_taken_out_of_a_solution(tmp_path, answer, gold):
    path = write(tmp_path / "own.jsonl", [{"question": "q", "answer": answer}])
    loaded = benchmarks.load("jsonl", path, QA)
    assert [problem.answer for problem in loaded.problems] == [gold]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (float("nan"), "with an answer that is no text or number"),
        (float("inf"), "with an answer that is no text or number"),
        (True, "with an answer that is no text or number"),
        (["5"], "with an answer that is no text or number"),
        ({"value": 5}, "with an answer that is no text or number"),
        ("proof", "proofs"),
        ("Proof", "proofs"),
        ("notfound", "without question or answer"),
        ("NaN", "without question or answer"),
        ("", "without question or answer"),
        (None, "without question or answer"),
        (r"so \boxed{5", "without question or answer"),
        (r"\boxed{2} or \boxed{3}", "several answers"),
    ],
)
def test_a_value_that_is_no_answer_is_left_out(tmp_path, answer, reason):
    rows = [{"question": "q", "answer": answer}, {"question": "r", "answer": "1"}]
    loaded = benchmarks.load("jsonl", write(tmp_path / "own.jsonl", rows), QA)
    assert [problem.question for problem in loaded.problems] == ["r"]
    assert loaded.left_out == {reason: 1}


def test_a_question_that_is_no_text_is_left_out(tmp_path):
    rows = [{"question": [{"role": "user"}], "answer": 1}, {"question": 5, "answer": 1}, {"question": "r", "answer": 1}]
    loaded = benchmarks.load("jsonl", write(tmp_path / "own.jsonl", rows), QA)
    assert loaded.left_out == {"with a question that is no text": 2}


def test_missing_fields_are_named_with_those_of_a_row(tmp_path):
    rows = [{"prompt": "x", "reward_model": {"ground_truth": "1"}}, {"prompt": "y", "question": "z"}]
    path = write(tmp_path / "own.jsonl", rows)
    message = (
        r"\(1 without the field 'question' \(such a row has prompt, reward_model\.ground_truth\), "
        r"1 without the field 'answer' \(such a row has prompt, question\)\)$"
    )
    with pytest.raises(SettingsError, match=message):
        benchmarks.load("jsonl", path, QA)


def test_nested_fields_are_named_by_their_path(tmp_path):
    row = {
        "prompt": [{"role": "user", "content": "x"}],
        "reward_model": {"ground_truth": "1"},
        "extra.level": 4,
    }
    names = FieldsSection(question="prompt.0.content", answer="reward_model.ground_truth", level="extra.level")
    (problem,) = benchmarks.load("jsonl", write(tmp_path / "own.jsonl", [row]), names).problems
    assert (problem.question, problem.answer, problem.level) == ("x", "1", 4)


@pytest.mark.parametrize("path", ["prompt.5.content", "prompt.x", "reward_model.no", "reward_model.ground_truth.0"])
def test_a_path_that_leads_nowhere_is_a_missing_field(tmp_path, path):
    row = {"prompt": [{"content": "x"}], "reward_model": {"ground_truth": 1}}
    names = FieldsSection(question="prompt.0.content", answer=path)
    with pytest.raises(SettingsError, match=rf"1 without the field '{path}' \(such a row has prompt, reward_model"):
        benchmarks.load("jsonl", write(tmp_path / "own.jsonl", [row]), names)


@pytest.mark.parametrize("content", ["", "\n\n", "not json\n", "[" * 100_000 + "\n", "[1, 2]\n", '{"problem": {}}\n'])
def test_a_file_without_rows_is_one_line(tmp_path, content):
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(SettingsError, match="has no row that can be graded as 'math'"):
        benchmarks.load("math", str(tmp_path / "rows.jsonl"), NO_FIELDS)


def test_the_home_of_a_missing_benchmark_is_named(tmp_path):
    path = tmp_path / "HARP.jsonl.zip"
    with pytest.raises(SettingsError, match=f"no benchmark file {path}; HARP's authors' GitHub repository has it"):
        benchmarks.load("harp", str(path), NO_FIELDS)


# Real rows of the benchmarks, which are no part of the project: a folder beside the checkout, where there is one.
SAMPLES = pathlib.Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize(
    ("name", "file", "gradable", "left_out"),
    [
        ("math", "math500_odd.jsonl", 250, {}),
        ("gsm8k", "gsm8k_train.jsonl", 7473, {}),
        ("olympiadbench", "olympiadbench_sample.jsonl", 40, {}),
    ],
)
def test_real_rows(name, file, gradable, left_out):
    if not (SAMPLES / file).exists():
        pytest.skip(f"{file} is not there: real rows are no part of the project")
    loaded = benchmarks.load(name, str(SAMPLES / file), NO_FIELDS)
    assert len(loaded.problems) == gradable
    assert loaded.left_out == left_out


def test_several_answers_are_right_in_any_order(tmp_path):
    rows = [
        {"question": str(number), "final_answer": answers, "answer_type": "Numerical", "subfield": "Algebra",
         "is_multiple_answer": True}
        for number, answers in enumerate((["$8$,$4$"], ["19,0,1"], ["(2,32), (8,18)"], ["$\\frac{1}{2}$", "$-3$"]))
    ]  # fmt: skip
    problems = benchmarks.load("olympiadbench", write(tmp_path / "rows.jsonl", rows), NO_FIELDS).problems
    golds = [problem.answer for problem in problems]
    grader = Grader(extraction=("boxed",), equivalence="math")
    right, wrong = ["4, 8", "0,1,19", "(8,18), (2,32)", "-3, 0.5"], ["8", "0,1", "(2,32)", "-3"]
    assert grader.compare(right, golds) == [Verdict.CORRECT] * 4
    assert grader.compare(wrong, golds) == [Verdict.WRONG] * 4


def test_real_rows_of_harp_in_its_zip(tmp_path):
    """The sample has proofs only; one of them with an answer is read."""
    file = SAMPLES / "harp_format_sample.jsonl"
    if not file.exists():
        pytest.skip(f"{file.name} is not there: real rows are no part of the project")
    first, *others = file.read_text().splitlines()
    with zipfile.ZipFile(tmp_path / "HARP.jsonl.zip", "w") as archive:
        archive.writestr("HARP.jsonl", "\n".join([json.dumps(json.loads(first) | {"answer": "12"}), *others]))
    loaded = benchmarks.load("harp", str(tmp_path / "HARP.jsonl.zip"), NO_FIELDS)
    assert [(problem.answer, problem.subject, problem.level) for problem in loaded.problems] == [
        ("12", "number_theory", 7)
    ]
    assert loaded.left_out == {"proofs": 4}


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(SettingsError, match="there is no benchmark file"):
        benchmarks.load("math", str(tmp_path / "no.jsonl"), NO_FIELDS)
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04junk")
    with pytest.raises(SettingsError, match="is broken"):
        benchmarks.load("math", str(tmp_path / "bad.zip"), NO_FIELDS)
    with zipfile.ZipFile(tmp_path / "cut.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.jsonl", json.dumps(ROWS["harp"][0]) * 1000)
    damaged = bytearray((tmp_path / "cut.zip").read_bytes())
    damaged[45:60] = b"\xff" * 15  # in the member's data
    (tmp_path / "cut.zip").write_bytes(damaged)
    with pytest.raises(SettingsError, match="is broken"):
        benchmarks.load("harp", str(tmp_path / "cut.zip"), NO_FIELDS)
    (tmp_path / "bad.json").write_text("[1")
    with pytest.raises(SettingsError, match="no row that can be graded as 'math'"):
        benchmarks.load("math", str(tmp_path / "bad.json"), NO_FIELDS)


@pytest.fixture
def hub(monkeypatch):
    """A fake hub with one data set of two configs; returns the recorded calls."""
    calls = []

    def load_dataset(name, config, split):
        calls.append((name, config, split))
        return [{"question": f"{config} {split}", "answer": "#### 1"}]

    names = {"owner/set": ["easy", "hard"]}
    fake = SimpleNamespace(load_dataset=load_dataset, get_dataset_config_names=names.__getitem__)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return calls


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("owner/set", [("easy", "train"), ("hard", "train")]),
        ("owner/set:hard", [("hard", "train")]),
        ("owner/set:hard:test", [("hard", "test")]),
        ("owner/set::test", [("easy", "test"), ("hard", "test")]),
    ],
)
def test_the_hub_gives_one_config_or_all(hub, place, expected):
    problems = benchmarks.load("gsm8k", f"hf:{place}", NO_FIELDS).problems
    assert hub == [("owner/set", *each) for each in expected]
    assert [problem.question for problem in problems] == [" ".join(each) for each in expected]


SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)


@pytest.mark.parametrize(("place", "split"), [("::test", "test"), ("", "train")])
def test_a_split_of_all_subjects_of_math(monkeypatch, place, split):
    """As it is on the hub: a config for each subject, each with both splits."""

    def load_dataset(name, subject, split):
        row = {"problem": f"{subject} {split}?", "level": "Level 5", "type": subject, "solution": r"It is $\boxed{7}$."}
        return [row, row | {"problem": f"{subject} {split} again?", "level": "Level 1"}]

    names = {"EleutherAI/hendrycks_math": list(SUBJECTS)}
    fake = SimpleNamespace(load_dataset=load_dataset, get_dataset_config_names=names.__getitem__)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    loaded = benchmarks.load("math", f"hf:EleutherAI/hendrycks_math{place}", NO_FIELDS)
    expected = [f"{subject} {split}{again}?" for subject in SUBJECTS for again in ("", " again")]
    assert [problem.question for problem in loaded.problems] == expected
    assert {(problem.answer, problem.level) for problem in loaded.problems} == {("7", 5), ("7", 1)}
    assert loaded.left_out == {}


def test_a_failed_hub_download_is_one_line(hub, monkeypatch):
    with pytest.raises(SettingsError, match=r"^cannot fetch hf:owner/no \(KeyError\); check the name, or give a file$"):
        benchmarks.load("gsm8k", "hf:owner/no", NO_FIELDS)

    def broken(*_, **__):
        yield {"question": "q", "answer": "#### 1"}
        raise ConnectionError("many\nlines")

    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", broken)
    with pytest.raises(SettingsError, match=r"^cannot fetch hf:owner/set \(ConnectionError\); check the name"):
        benchmarks.load("gsm8k", "hf:owner/set", NO_FIELDS)


def test_a_hub_without_its_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SettingsError, match=r"^hf:owner/set needs: pip install 'soar-jax\[hub\]'$"):
        benchmarks.load("gsm8k", "hf:owner/set", NO_FIELDS)


@pytest.mark.parametrize(("place", "expected"), [("gsm8k", ("gsm8k", "train")), ("gsm8k:test", ("gsm8k", "test"))])
def test_tensorflow_datasets_rows_are_decoded(monkeypatch, place, expected):
    calls = []

    def data_source(name, split):
        calls.append((name, split))
        return [{"question": "é?".encode(), "answer": b"#### 1", "number": 3}]

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", SimpleNamespace(data_source=data_source))
    (problem,) = benchmarks.load("gsm8k", f"tfds:{place}", NO_FIELDS).problems
    assert (problem.question, problem.answer) == ("é?", "1")
    assert calls == [expected]


def test_a_failed_tensorflow_download_is_one_line(monkeypatch):
    def data_source(name, split):
        raise ValueError("many\nlines")

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", SimpleNamespace(data_source=data_source))
    with pytest.raises(SettingsError, match=r"^cannot fetch tfds:gsm8k:no \(ValueError\); check the name, or give a"):
        benchmarks.load("gsm8k", "tfds:gsm8k:no", NO_FIELDS)


@pytest.mark.parametrize(
    ("levels", "count", "beyond"), [((), 3, 2), ((1, 3), 3, 1), ((1,), 3, 0), ((1,), 2, 0), ((), 0, 5)]
)
def test_problems_beyond_a_count_are_the_unused_ones(tmp_path, levels, count, beyond):
    rows = [{"problem": f"{n}?", "answer": "1", "type": "t", "level": level} for n, level in enumerate((1, 1, 2, 3, 3))]
    path = write(tmp_path / "rows.jsonl", rows)
    section = SourceSection(source="math", path=path, levels=levels, seed=0)
    assert sources.num_beyond(section, count) == beyond
    taken = len(sources.load_problems(section, "problems", count))
    everything = len(sources.load_problems(section, "problems", 100))
    assert taken + beyond == everything


def test_no_arithmetic_problem_is_beyond_a_count():
    assert sources.num_beyond(SourceSection(source="arithmetic", levels=(3,)), 1) == 0
