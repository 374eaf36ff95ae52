"""The learning curve: which panels it has, and what they say."""

import json

import pytest
from matplotlib.figure import Figure

from soar_jax.runs import plots
from tests.configs import make_config

ROWS = [
    {"outer_step": 0, "rewards": [0.0, 0.1], "mean_reward": 0.05, "validation_accuracy": 0.0, "promoted": False},
    {"outer_step": 1, "rewards": [0.2, 0.1], "mean_reward": 0.15, "validation_accuracy": 0.3, "promoted": True},
]


@pytest.mark.parametrize(
    ("method", "changes", "expected"),
    [
        ("soar_math", {}, ["students' improvement\non hard train", "baseline student,\nhard validation (pass@1)"]),
        (
            "soar_math",
            {"hard_subset.validation_share": 0.0},
            ["students' improvement\non hard train", "baseline student,\nhard train (pass@1)"],
        ),
        ("no_promotion", {}, ["students' improvement\non hard train"]),
        ("intrinsic_teacher", {}, ["questions' rewards"]),
    ],
)
def test_the_learning_curve_shows_what_the_run_does(tmp_path, monkeypatch, method, changes, expected):
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    shown, save = [], Figure.savefig

    def look_and_save(figure, *arguments, **options):
        shown.extend(axes.get_ylabel() for axes in figure.axes)
        steps = figure.axes[-1].get_xticks()
        assert list(steps) == [int(step) for step in steps]
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", look_and_save)
    plots.learning_curve(tmp_path, make_config(method, **changes))
    assert shown == expected
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
