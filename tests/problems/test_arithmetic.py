import numpy as np
import pytest

from soar_jax.config.sections import ARITHMETIC_TOPICS, MAX_ARITHMETIC_LEVEL
from soar_jax.problems import arithmetic


def pad(text):
    return text + " ." * (1 + arithmetic.NUM_SLOTS - len(text.split()))


@pytest.mark.parametrize(
    ("question", "subject", "level", "answer"),
    [
        ("dial 3 1 4 rotate", "dial", 1, "1 4 3"),
        ("dial 3 1 4 reverse first+second", "dial", 2, "5 1 3"),
        ("dial 9 8 7 second+third complement triple", "dial", 3, "0 2 6"),
        ("sum 9 8 7", "sum", 1, "4"),
        ("largest 2 9 4", "largest", 1, "9"),
        ("backwards 2 9 4", "backwards", 1, "4 9 2"),
        ("count 7 7 7 7 7", "count", 1, "5"),
        ("coin 1 2 3", "coin", 1, None),
    ],
)
def test_facts_by_hand(question, subject, level, answer):
    facts = arithmetic.facts(pad(question))
    assert (facts.subject, facts.level, facts.true_answer) == (subject, level, answer)


@pytest.mark.parametrize(
    "question",
    [
        "",
        "dial",
        "dial 3 1 4 rotate",  # too few slots
        pad("dial 3 1 rotate"),
        pad("dial 3 1 4"),
        pad("dial 3 1 4 . rotate"),
        pad("dial 3 1 4 spin"),
        pad("sum 1 2"),
        pad("sum 1 2 rotate"),
        pad("count"),
        pad("coin 1"),
        "dial ٣ 1 4 rotate" + " ." * 7,
        "dial " * 5000,
    ],
)
def test_other_text_is_malformed(question):
    assert arithmetic.facts(question) == arithmetic.QuestionFacts(subject="malformed", level=0, true_answer=None)


def test_the_config_knows_the_topics_and_levels_of_problems():
    assert tuple(arithmetic.WORKED_TOPICS) == ARITHMETIC_TOPICS
    assert arithmetic.MAX_OPERATIONS == MAX_ARITHMETIC_LEVEL


def test_a_worked_answer_shows_every_state():
    dial = arithmetic.Dial(digits=(3, 1, 4), operations=("rotate", "complement"))
    assert dial.worked() == "> 1 4 3 = 8 5 6"
    assert arithmetic.Dial(digits=(3, 1, 4), operations=("rotate",)).worked() == "> = 1 4 3"


def test_generated_problems_differ_and_cycle_over_levels():
    problems = arithmetic.generate_problems(np.random.default_rng(0), (6, 8), 50)
    assert len({problem.id for problem in problems}) == 50
    assert [problem.level for problem in problems[:4]] == [6, 8, 6, 8]
    for problem in problems:
        facts = arithmetic.facts(problem.question)
        assert (facts.level, facts.true_answer) == (problem.level, problem.answer)
