import json
from types import SimpleNamespace

import pytest

from soar_jax.soar import state
from soar_jax.soar.promotion import StepOutcome
from soar_jax.soar.state import Progress, Promotion, initial_progress
from tests.configs import make_config


@pytest.fixture
def progress():
    return Progress(
        outer_step=4,
        window=(StepOutcome(outer_step=3, mean_reward=0.1, best_reward=0.2, best_dataset=1),),
        window_questions=((("q", "a"),),),
        promotions=(
            Promotion(
                outer_step=2,
                source_step=1,
                dataset=0,
                reward=0.3,
                validation_accuracy=0.4,
                questions=(("q", "a"), ("r", "b")),
                num_steps=15,
            ),
        ),
        best_promotion=1,
        best_validation=0.4,
        file_sizes={"ledger": 10},
    )


def test_progress_survives_json(progress):
    assert Progress.from_json(json.loads(json.dumps(progress.to_json()))) == progress


def test_promotions_of_old_records_have_no_number_of_steps(progress):
    raw = progress.to_json()
    del raw["promotions"][0]["num_steps"]
    assert Progress.from_json(raw).promotions[0].num_steps == 0


@pytest.mark.parametrize(("method", "accuracy"), [("soar_math", 0.03), ("no_promotion", 0.03), ("base_teacher", 0.0)])
def test_the_base_model_is_measured_before_the_first_step(monkeypatch, method, accuracy):
    """Where students are measured against it: not in a method without an outer loop."""
    monkeypatch.setattr(state, "selection_accuracy", lambda setup, weights, split: 0.03)
    progress = initial_progress(SimpleNamespace(config=make_config(method), base_weights=None), None)
    assert (progress.baseline_validation, progress.best_validation) == (accuracy, accuracy)
