"""Which properties of a dataset go with its reward: rank correlations within outer steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from soar_jax.problems import arithmetic
from soar_jax.report.read import Run

Row = Mapping[str, Any]

# Properties of a question, by the words for a dataset's sum or share of them; None where it is not known.
PROPERTIES: dict[str, Callable[[Row], bool | None]] = {
    "share of right answers": lambda row: row.get("right"),
    "share of well-posed questions": lambda row: row.get("well_posed"),
    "share of useful questions": lambda row: (
        None
        if row.get("right") is None or row.get("level") is None
        else arithmetic.is_useful(str(row.get("subject")), row["level"], row["right"])
    ),
}


def within_steps(run: Run, of_question: Callable[[Row], bool | None]) -> float | None:
    """Rank correlation of a dataset's share of questions that have a property with its reward; None without any.

    Ranks are taken within each outer step and centred there, then pooled over steps. Ranks over a whole run would mix
    in time: shares and rewards both change as the teacher learns.
    """
    from scipy.stats import rankdata

    pairs = []
    for shares, rewards in _by_step(run, of_question).values():
        if len(set(shares)) > 1 and len(set(rewards)) > 1:
            pairs.append([_centred(rankdata(values)) for values in (shares, rewards)])
    if not pairs:
        return None
    x, y = np.concatenate(pairs, axis=1)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def _centred(ranks: np.ndarray) -> np.ndarray:
    return ranks - ranks.mean()


def _by_step(run: Run, of_question: Callable[[Row], bool | None]) -> dict[int, tuple[Sequence[float], Sequence[float]]]:
    """Shares and rewards of the datasets of each outer step."""
    datasets: dict[int, dict[int, list[tuple[bool, float]]]] = {}
    for row in run.ledger:
        found = of_question(row)
        if found is not None:
            datasets.setdefault(row["outer_step"], {}).setdefault(row["dataset"], []).append((found, row["reward"]))
    return {
        step: (
            [float(np.mean([found for found, _ in rows])) for rows in by_dataset.values()],
            [rows[0][1] for rows in by_dataset.values()],
        )
        for step, by_dataset in datasets.items()
    }
