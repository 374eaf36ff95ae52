"""The question ledger: a row for every question that was ever asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from soar_jax.problems import loading
from soar_jax.soar.setup import Setup
from soar_jax.soar.student import Episode
from soar_jax.soar.teacher import Datasets


def rows(setup: Setup, datasets: Datasets, episode: Episode, rewards: np.ndarray, step: int) -> list[dict[str, Any]]:
    """One row a rollout of the step's g * n, in order; `rewards` are the g dataset rewards.

    Unparsable rollouts have a row too, with null question and answer. `solve_rate` is the share of
    student samples that agreed with the teacher's answer; null where the question was never asked.
    """
    repeats = setup.config.outer.students_per_dataset
    result = []
    for dataset, items in enumerate(datasets.items):
        members = range(dataset * repeats, (dataset + 1) * repeats)
        asked = np.sum([episode.stats.asked[member] for member in members], axis=0)
        agreed = np.sum([episode.stats.agreed[member] for member in members], axis=0)
        place = 0  # among the dataset's parsable questions
        for index, item in enumerate(items):
            row: dict[str, Any] = {
                "outer_step": step,
                "dataset": dataset,
                "index": index,
                "question": item.question if item else None,
                "answer": item.answer if item else None,
                "true_answer": None,
                "subject": None,
                "level": None,
                "solve_rate": None,
                "reward": float(rewards[dataset]),
                "promoted": 0,  # 1 when this dataset's student was promoted; one digit, so it can be set in place
            }
            if item is not None:
                facts = loading.facts(setup.config.problems.source, item.question)
                if facts is not None:
                    row |= {"true_answer": facts.true_answer, "subject": facts.subject, "level": facts.level}
                if asked[place]:
                    row["solve_rate"] = float(agreed[place] / asked[place])
                place += 1
            result.append(row)
    return result
