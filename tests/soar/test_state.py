import json

from soar_jax.soar.promotion import StepOutcome
from soar_jax.soar.state import Progress, Promotion


def test_progress_survives_json():
    progress = Progress(
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
            ),
        ),
        best_promotion=1,
        best_validation=0.4,
        file_sizes={"ledger": 10},
    )
    assert Progress.from_json(json.loads(json.dumps(progress.to_json()))) == progress
