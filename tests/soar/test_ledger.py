from types import SimpleNamespace

import numpy as np
import pytest

from soar_jax.problems import arithmetic
from soar_jax.soar import ledger
from soar_jax.soar.teacher import Datasets
from soar_jax.types import QuestionAnswer
from tests.configs import make_config

DIAL = arithmetic.Dial(digits=(3, 1, 4), operations=("rotate",)).text()
FACTS = ("true_answer", "subject", "level", "well_posed", "right")
ITEM = QuestionAnswer(question=DIAL, answer="1 4 3")


def make_setup(**changes):
    embedder = SimpleNamespace(embed=lambda questions: np.eye(8)[: len(questions)])
    return SimpleNamespace(config=make_config(**changes), embedder=embedder)


def test_a_row_has_the_facts_of_the_arithmetic_world():
    row = ledger.question_row(make_setup(), ITEM)
    assert row == {"question": DIAL, "answer": "1 4 3"} | dict(
        zip(FACTS, ("1 4 3", "dial", 1, True, True), strict=True)
    )
    assert not ledger.question_row(make_setup(), QuestionAnswer(question=DIAL, answer="0 0 0"))["right"]


def test_a_row_is_null_where_the_source_knows_nothing():
    empty = dict.fromkeys(FACTS)
    assert ledger.question_row(make_setup(), None) == {"question": None, "answer": None} | empty
    row = ledger.question_row(make_setup(**{"problems.source": "math"}), ITEM)
    assert row == {"question": DIAL, "answer": "1 4 3"} | empty


def test_rows_are_in_the_order_of_the_rollouts():
    datasets = Datasets(rollouts=None, items=((ITEM, None), (ITEM, ITEM)))
    rewards, rates = np.array([[0.5, 0.0], [1.0, -1.0]]), np.array([[0.25, np.nan], [1.0, np.nan]])
    rows = ledger.rows(make_setup(), datasets, rewards, solve_rates=rates, step=3)
    assert [(row["outer_step"], row["dataset"], row["index"]) for row in rows] == [
        (3, dataset, index) for dataset in (0, 1) for index in (0, 1)
    ]
    assert [row["question"] for row in rows] == [DIAL, None, DIAL, DIAL]
    assert [(row["reward"], row["solve_rate"]) for row in rows] == [(0.5, 0.25), (0.0, None), (1.0, 1.0), (-1.0, None)]


def test_analysis_counts_parsable_questions_alone():
    setup = make_setup()
    items = (ITEM, QuestionAnswer(question=DIAL, answer="0 0 0"), None, QuestionAnswer(question="nonsense", answer="1"))
    found = ledger.analyse(setup, [ledger.question_row(setup, item) for item in items])
    assert (found["subjects"], found["levels"]) == ({"dial": 2, "malformed": 1}, {"0": 1, "1": 2})
    assert found["right_share"] == 1 / 3
    assert found["well_posed_share"] == 2 / 3
    assert found["distinct_share"] == 2 / 3
    np.testing.assert_allclose(found["vendi"], 3.0)
    np.testing.assert_allclose(found["cosine_distance"], 1.0)
    nothing = ledger.analyse(setup, [ledger.question_row(setup, None)])
    assert nothing == {
        "subjects": {},
        "levels": {},
        "right_share": None,
        "well_posed_share": None,
        "vendi": 0.0,
        "cosine_distance": 0.0,
        "distinct_share": 0.0,
    }


def curriculum_rows(setup):
    classes = ("none", "ambiguous", "none", None)
    items = (QuestionAnswer(question=f"{DIAL} {number}", answer="1") for number in range(len(classes)))
    pairs = zip(items, classes, strict=True)
    return [ledger.question_row(setup, item) | {"error_class": error_class} for item, error_class in pairs]


def test_a_curriculum_has_shares_of_error_classes():
    setup = make_setup()
    found = ledger.analyse_curriculum(setup, curriculum_rows(setup))
    assert found["error_classes"] == {"ambiguous": 1 / 3, "none": 2 / 3}
    assert ledger.analyse_curriculum(setup, [ledger.question_row(setup, ITEM)])["error_classes"] == {}


def test_a_curriculum_is_brought_to_the_configs_size():
    setup = make_setup(**{"analysis.vendi_size": 0})
    as_it_is = ledger.analyse_curriculum(setup, curriculum_rows(setup))
    assert (as_it_is["vendi"], as_it_is["vendi_sd"], as_it_is["vendi_size"]) == (pytest.approx(4), None, 4)
    sized = make_setup(**{"analysis.vendi_size": 3, "analysis.vendi_draws": 50})
    found = ledger.analyse_curriculum(sized, curriculum_rows(sized))
    assert found == ledger.analyse_curriculum(sized, curriculum_rows(sized))
    assert found["vendi_size"] == 3
    assert 1 < found["vendi"] < 3
    assert found["vendi_sd"] > 0
