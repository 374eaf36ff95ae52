import json

from soar_jax.soar.promotion import StepOutcome
from soar_jax.soar.state import Progress, Promotion


def test_progress_survives_json():
    progress = Progress(
        outer_step=4,
        window=(StepOutcome(3, 0.1, 0.2, 1),),
        window_questions=((("q", "a"),),),
        promotions=(Promotion(2, 1, 0, 0.3, 0.4, (("q", "a"), ("r", "b"))),),
        best_promotion=1,
        best_validation=0.4,
        file_sizes={"ledger": 10},
    )
    assert Progress.from_json(json.loads(json.dumps(progress.to_json()))) == progress
