import pytest

from soar_jax.evaluation.quality import Judgement, judge_by_facts, judge_by_votes
from soar_jax.problems import arithmetic


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("sum 3 1 4 . . . . . . . .", "8", Judgement(well_posed=True, right=True)),
        ("sum 3 1 4 . . . . . . . .", " 8 ", Judgement(well_posed=True, right=True)),
        ("sum 3 1 4 . . . . . . . .", "9", Judgement(well_posed=True, right=False)),
        ("coin 3 1 4 . . . . . . . .", "1", Judgement(well_posed=False, right=False)),
        ("sum rotate", "1", Judgement(well_posed=False, right=False)),
    ],
)
def test_facts_give_exact_judgements(question, answer, expected):
    assert judge_by_facts(arithmetic.facts(question), answer) == expected


@pytest.mark.parametrize(
    ("votes", "answer", "expected"),
    [
        (["1", "1", "2", None], "1", Judgement(well_posed=True, right=True)),
        (["1", "1", "2", None], "2", Judgement(well_posed=True, right=False)),
        (["1", "2", "3", None], "1", Judgement(well_posed=False, right=False)),
        ([None, None, None, None], "1", Judgement(well_posed=False, right=False)),
    ],
)
def test_majority_needs_the_agreed_fraction_of_all_samples(votes, answer, expected):
    assert judge_by_votes(votes, answer, agreement=0.5) == expected
