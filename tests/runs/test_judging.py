"""Judgements reach the files that the summary and the report are made of."""

import json
from types import SimpleNamespace

import ml_collections
import pytest
from etils import epath

from configs.soar_math import get_config
from soar_jax.evaluation.quality import Judgement
from soar_jax.settings import SettingsError
from soar_jax.runs import judging


class Judge:
    """Knows sums."""

    num_failures = 0

    def judge(self, pairs):
        return [Judgement(well_posed="+" in pair.question, right=pair.answer == str(total(pair.question))) for pair in pairs]


def total(question):
    return sum(int(part) for part in question.split("+"))


class Setup:
    config = ml_collections.FrozenConfigDict(get_config())


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_final_students_questions_are_judged_where_they_stand(tmp_path):
    unknown = {"well_posed": None, "right": None}
    asked = [
        {"stage": 1, "question": "1+1", "answer": "2"} | unknown,
        {"stage": 1, "question": "3", "answer": "4"} | unknown,
    ]
    write(tmp_path / "curriculum.jsonl", asked)
    write(tmp_path / "ledger.jsonl", [{"question": "2+2", "answer": "5"}, {"question": None, "answer": None}])
    assert judging.judge_questions(Setup, epath.Path(tmp_path), Judge()) == 0
    first, second = read(tmp_path / "curriculum.jsonl")
    assert first == asked[0] | {"well_posed": True, "right": True}
    assert second == asked[1] | {"well_posed": False, "right": False}
    judged = {(row["question"], row["right"]) for row in read(tmp_path / "judgements.jsonl")}
    assert judged == {("1+1", True), ("3", False), ("2+2", False)}


def test_a_run_without_a_curriculum_gets_none(tmp_path):
    judging.judge_questions(Setup, epath.Path(tmp_path), Judge())
    assert not (tmp_path / "curriculum.jsonl").exists()


def test_what_the_source_knows_stays(tmp_path):
    write(tmp_path / "curriculum.jsonl", [{"question": "1+1", "answer": "2", "well_posed": False, "right": None}])
    judging.judge_questions(Setup, epath.Path(tmp_path), Judge())
    (row,) = read(tmp_path / "curriculum.jsonl")
    assert (row["well_posed"], row["right"]) == (False, None)


def setup_with(**changes):
    config = get_config()
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return SimpleNamespace(config=ml_collections.FrozenConfigDict(config))


@pytest.mark.parametrize("source", ["math", "jsonl"])
def test_the_world_judges_no_benchmark(tmp_path, source):
    setup = setup_with(problems__source=source, analysis__judge="world")
    with pytest.raises(SettingsError, match=f"analysis.judge is 'world', but problems.source '{source}' cannot judge"):
        judging.make_judge(setup, epath.Path(tmp_path))


def test_an_endpoints_judgements_are_not_kept_in_a_bucket():
    setup = setup_with(analysis__judge="endpoint", analysis__judge_model="m")
    with pytest.raises(
        SettingsError, match=r"appends to a cache on disk; choose a local --workdir, not gs://bucket/run$"
    ):
        judging.make_judge(setup, epath.Path("gs://bucket/run"))


@pytest.mark.parametrize("judge", ["world", "none"])
def test_what_the_ledger_knows_needs_no_judge(tmp_path, judge):
    assert judging.make_judge(setup_with(analysis__judge=judge), epath.Path(tmp_path)) is None


def test_no_judge_is_one_for_every_source(tmp_path):
    assert judging.make_judge(setup_with(problems__source="math", analysis__judge="none"), epath.Path(tmp_path)) is None
