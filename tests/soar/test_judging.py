"""Judgements reach the files that the summary and the report are made of."""

import json

import ml_collections
from etils import epath

from configs.soar_math import get_config
from soar_jax.evaluation.quality import Judgement
from soar_jax.soar import judging


class Judge:
    """Knows sums."""

    num_failures = 0

    def judge(self, pairs):
        return [Judgement("+" in pair.question, pair.answer == str(total(pair.question))) for pair in pairs]


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
