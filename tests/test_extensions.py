"""Extensions in a user's own config file, which is loaded by `--config=FILE`."""

import contextlib
import dataclasses
import json
import sys

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from soar_jax.config import read_config
from soar_jax.config.reading import one_line_errors
from soar_jax.errors import SettingsError
from soar_jax.problems.sources import load_problems
from soar_jax.registry import EXTENSION_POINTS, registry
from soar_jax.runs.calls import Sizes, run_calls
from soar_jax.soar import teacher_rewards
from soar_jax.soar.promotion import StepOutcome, decide
from soar_jax.soar.teacher import Datasets
from soar_jax.soar.teacher_rewards import Votes
from soar_jax.types import QuestionAnswer
from tests.configs import make_config

PROMOTION_RULE = """
from soar_jax.config import method_config
from soar_jax.soar.promotion import PROMOTION_RULES, Decision


@PROMOTION_RULES.register("any_gain")
def any_gain(window, settings):
    gained = window[-1].best_reward > 0
    return Decision(promoted_step=window[-1].outer_step if gained else None, window=window, moving_average=0.0)


def get_config(scale="nano"):
    config = method_config("soar_math", scale)
    config.promotion.rule = "any_gain"
    return config
"""

TEACHER_REWARD = """
from soar_jax.config import method_config
from soar_jax.soar.teacher_rewards import question_reward


@question_reward("hardest")
def hardest(votes, questions):
    return 1.0 - votes.agreement


def get_config(scale="nano"):
    config = method_config("intrinsic_teacher", scale)
    config.teacher.reward = "hardest"
    return config
"""

FINAL_STUDENT = """
from soar_jax.config import method_config
from soar_jax.soar.final_students import FINAL_STUDENTS


@FINAL_STUDENTS.register("mine", FACT=True)
def mine(setup, search, stages, hooks):
    raise AssertionError("only a run trains them")


def get_config(scale="nano"):
    config = method_config("METHOD", scale)
    config.final.students = ("mine",)
    config.final.validate_every = 20
    return config
"""

BENCHMARK = """
import pathlib

from soar_jax.config import method_config
from soar_jax.problems.benchmarks import BENCHMARKS, NotGradableError, ProblemFields


@BENCHMARKS.register("quiz")
def quiz(row, fields):
    if row["open"]:
        raise NotGradableError("open questions")
    return ProblemFields(question=row["ask"], answer=row["solution"], subject="quiz", level=row["stars"])


def get_config(scale="nano"):
    config = method_config("hard_only", scale)
    config.problems.update(source="quiz", path=str(pathlib.Path(__file__).with_name("quiz.jsonl")), levels=(1, 2))
    return config
"""


@pytest.fixture
def load(tmp_path):
    """Loads the text of a config file as a program's flag does; what it registers is forgotten after the test."""
    registries = [registry(key) for key in EXTENSION_POINTS]
    before = [tuple(each) for each in registries]

    def load(text, scale="nano"):
        path = tmp_path / "mine.py"
        path.write_text(text)
        values = flags.FlagValues()
        config_flags.DEFINE_config_file("config", flag_values=values)
        argv = ["program", f"--config={path}:{scale}", "--config.seed=7"]
        patch.setattr(sys, "argv", argv)  # where the flag looks for overrides
        with one_line_errors():
            values(argv)
        return read_config(values.config)

    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        for each in registries:
            stack.enter_context(each.temporarily())
        yield load
    assert [tuple(each) for each in registries] == before


def test_a_promotion_rule_of_a_users_file_decides(load):
    message = r"promotion.rule is 'any_gain'; choose one of moving_average, moving_average_literal, never$"
    with pytest.raises(SettingsError, match=message):
        make_config(**{"promotion.rule": "any_gain"})
    config = load(PROMOTION_RULE)
    assert (config.promotion.rule, config.scale, config.seed) == ("any_gain", "nano", 7)
    for best, promoted_step in ((0.0, None), (0.1, 4)):
        outcome = StepOutcome(outer_step=4, mean_reward=0.0, best_reward=best, best_dataset=0)
        assert decide((), outcome, config.promotion).promoted_step == promoted_step


def test_a_teacher_reward_of_a_users_file_rewards(load, nano_setup, monkeypatch):
    config = load(TEACHER_REWARD)
    assert not config.trains_students
    votes = Votes(agreement=np.array([0.25, 0.0, 1.0, 0.5]), majority=np.ones(4), majority_answers=("1",) * 4)
    monkeypatch.setattr(teacher_rewards, "solve", lambda *_, step: votes)
    item = QuestionAnswer(question="q", answer="1")
    datasets = Datasets(rollouts=None, items=((item, None), (item, item)))
    setup = dataclasses.replace(nano_setup, config=config)
    rewards, _ = teacher_rewards.rewards_by_votes(setup, None, datasets, step=0)
    assert rewards.tolist() == [[0.75, 0.0], [0.0, 0.5]]


def load_final_student(load, fact, method):
    return load(FINAL_STUDENT.replace("FACT", fact).replace("METHOD", method))


def calls_of(config, kind):
    """The calls of a run that trains a kind of final students, by the rest of their phases' names."""
    config = dataclasses.replace(config, final=dataclasses.replace(config.final, students=(kind,)))
    calls = run_calls(config, Sizes(hard_share=0.5, num_promotions=2, accepted_share=1.0))
    phases = [call.phase for call in calls]
    names = [phase.name.removeprefix(f"{kind}: ") for phase in phases]
    return [
        dataclasses.replace(call, phase=dataclasses.replace(phase, name=name))
        for call, phase, name in zip(calls, phases, names, strict=True)
    ]


@pytest.mark.parametrize(
    ("fact", "method", "twin"),
    [
        ("needs_curriculum", "soar_math", "curriculum"),
        ("starts_promoted", "soar_math", "promoted"),
        ("writes_questions", "serl", "self_play"),
    ],
)
def test_facts_of_a_users_final_student_are_planned(load, fact, method, twin):
    """As those of the package's kind with the same fact."""
    config = load_final_student(load, fact, method)
    assert calls_of(config, "mine") == calls_of(config, twin) != calls_of(config, "hard_only")


@pytest.mark.parametrize(
    ("fact", "method", "message"),
    [
        ("needs_curriculum", "hard_only", "final.students names mine, but curriculum.source is 'none'"),
        ("starts_promoted", "base_teacher", "final.students names 'mine', but .* nobody is promoted"),
        ("writes_questions", "base_teacher", "final.students names 'mine', whose questions are its own"),
    ],
)
def test_facts_of_a_users_final_student_are_rules(load, fact, method, message):
    with pytest.raises(SettingsError, match=message):
        load_final_student(load, fact, method)


def test_a_benchmark_of_a_users_file_is_loaded(load, tmp_path):
    rows = [{"ask": f"q{n}", "solution": str(n), "stars": 1 + n % 3, "open": n == 0} for n in range(6)]
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = load(BENCHMARK)
    problems = load_problems(config.problems, "problems", 10)
    found = sorted((problem.question, problem.answer, problem.level) for problem in problems)
    assert found == [("q1", "1", 2), ("q3", "3", 1), ("q4", "4", 2)]
    assert {problem.id.partition("-")[0] for problem in problems} == {"quiz"}


def test_a_name_that_is_taken_is_refused(load):
    with pytest.raises(SettingsError, match=r"promotion.rule: 'moving_average' is registered twice"):
        load(PROMOTION_RULE.replace('register("any_gain")', 'register("moving_average")'))
