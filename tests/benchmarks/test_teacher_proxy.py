import numpy as np
import pytest

from benchmarks.teacher_proxy import Search, StudentTable, draw_rewards, is_useful, make_config, search, summary_row
from soar_jax.problems.arithmetic import Dial
from soar_jax.runs.build import build
from soar_jax.types import QuestionAnswer

# Level 6 is solved by students of datasets with a useful question, nothing else by any.
TABLE = StudentTable(levels=(6, 7, 8), accuracy=np.array([[[0.0, 0.0, 0.0]] * 2, [[1.0, 0.0, 0.0]] * 2]))


def test_reward_is_the_share_of_the_problems_that_students_solve():
    config = make_config("problems.levels=[6,6,6,7]", seed=0)
    rewards = draw_rewards(config, TABLE, [0, 1, 5], step=0)
    assert rewards[0] == 0
    assert rewards[1] == rewards[2] == pytest.approx(0.75, abs=0.2)  # more useful questions than in the table: its last


def test_variant_changes_the_config():
    config = make_config("teacher.kl_coef=0.001 teacher.train=false teacher.schedule=cosine", seed=7)
    assert (config.seed, config.method, config.outer.num_datasets) == (7, "soar_math", 16)
    assert (config.teacher.kl_coef, config.teacher.train, config.teacher.schedule) == (0.001, False, "cosine")


def test_useful_questions_are_long_and_right():
    dial = Dial(digits=(3, 1, 4), operations=("rotate",) * 3)
    assert is_useful(QuestionAnswer(question=dial.text(), answer="3 1 4"))
    assert not is_useful(QuestionAnswer(question=dial.text(), answer="3 1 5"))


def test_summary_counts_the_promoted_seeds():
    found = [
        Search(seed=seed, promoted_step=step, useful=(0.5,), best_rewards=(0.0,))
        for seed, step in enumerate((4, 8, None))
    ]
    assert summary_row("", found) == "| as shipped | 2 of 3 | 6 | 0.50 |"


@pytest.mark.slow
def test_search_ends_at_the_first_promotion(nano_model):
    variant = "num_outer_steps=2 outer.num_datasets=2 outer.questions_per_dataset=2 promotion.window=1"
    everyone = StudentTable(levels=(6, 7, 8), accuracy=np.ones((1, 1, 3)))
    found = search(build(make_config(variant, seed=0), nano_model), everyone)
    assert (found.promoted_step, found.best_rewards) == (1, (1.0,))
    nobody = StudentTable(levels=(6, 7, 8), accuracy=np.zeros((1, 1, 3)))
    found = search(build(make_config(variant, seed=0), nano_model), nobody)
    assert (found.promoted_step, found.best_rewards) == (None, (0.0, 0.0))
