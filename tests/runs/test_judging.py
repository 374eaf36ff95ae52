"""Judgements, and the files that they are written to."""

import json
from types import SimpleNamespace

import pytest
from etils import epath

from soar_jax.errors import SettingsError
from soar_jax.evaluation.quality import Judgement
from soar_jax.runs import judging
from tests.configs import make_config


class Judge:
    """Judges sums."""

    num_failures = 0

    def judge(self, pairs):
        return [self.judge_one(pair.question, pair.answer) for pair in pairs]

    def judge_one(self, question, answer):
        right = answer == str(total(question))
        return Judgement(well_posed="+" in question, right=right, error_class="none" if right else None)


def total(question):
    return sum(int(part) for part in question.split("+"))


def make_setup(**changes):
    return SimpleNamespace(config=make_config(**changes))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_final_questions_are_judged_in_their_own_file(tmp_path):
    unknown = {"well_posed": None, "right": None}
    asked = [
        {"stage": 1, "question": "1+1", "answer": "2"} | unknown,
        {"stage": 1, "question": "3", "answer": "4"} | unknown,
    ]
    write(tmp_path / "curriculum.jsonl", asked)
    write(tmp_path / "ledger.jsonl", [{"question": "2+2", "answer": "5"}, {"question": None, "answer": None}])
    assert judging.judge_questions(make_setup(), epath.Path(tmp_path), Judge()) == 0
    first, second = read(tmp_path / "curriculum.jsonl")
    assert first == asked[0] | {"well_posed": True, "right": True, "error_class": "none", "verified_answer": None}
    assert second == asked[1] | {"well_posed": False, "right": False, "error_class": None, "verified_answer": None}
    judged = {(row["question"], row["right"], row["error_class"]) for row in read(tmp_path / "judgements.jsonl")}
    assert judged == {("1+1", True, "none"), ("3", False, None), ("2+2", False, None)}


def test_without_a_curriculum_no_file_is_written(tmp_path):
    judging.judge_questions(make_setup(), epath.Path(tmp_path), Judge())
    assert not (tmp_path / "curriculum.jsonl").exists()


def test_judgements_of_the_source_are_kept(tmp_path):
    write(tmp_path / "curriculum.jsonl", [{"question": "1+1", "answer": "2", "well_posed": False, "right": None}])
    judging.judge_questions(make_setup(), epath.Path(tmp_path), Judge())
    (row,) = read(tmp_path / "curriculum.jsonl")
    assert (row["well_posed"], row["right"]) == (False, None)


def test_an_endpoints_cache_in_a_bucket_is_refused():
    setup = make_setup(**{"analysis.judge": "endpoint", "analysis.judge_model": "m"})
    with pytest.raises(
        SettingsError, match=r"appends to a cache on disk; choose a local --workdir, not gs://bucket/run$"
    ):
        judging.make_judge(setup, epath.Path("gs://bucket/run"))


@pytest.mark.parametrize("judge", ["world", "none"])
def test_judgements_in_the_ledger_need_no_judge(tmp_path, judge):
    assert judging.make_judge(make_setup(**{"analysis.judge": judge}), epath.Path(tmp_path)) is None


def test_no_judge_is_one_for_every_source(tmp_path):
    setup = make_setup(**{"problems.source": "math", "analysis.judge": "none"})
    assert judging.make_judge(setup, epath.Path(tmp_path)) is None
