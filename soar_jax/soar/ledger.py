"""The question ledger: a row for every question that was ever asked, and what its step's questions are like."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from soar_jax.evaluation.diversity import distinct_share, vendi_score
from soar_jax.evaluation.quality import judge_by_facts
from soar_jax.problems import sources
from soar_jax.runs.build import Setup
from soar_jax.soar.teacher import Datasets
from soar_jax.types import QuestionAnswer


def question_row(setup: Setup, item: QuestionAnswer | None) -> dict[str, Any]:
    """A question, its answer, and all that the problems' source knows about them; nulls where it knows nothing."""
    row: dict[str, Any] = {"question": item.question if item else None, "answer": item.answer if item else None}
    row |= dict.fromkeys(("true_answer", "subject", "level", "well_posed", "right"))
    facts = sources.facts(setup.config.problems.source, item.question) if item else None
    if item is not None and facts is not None:
        row |= {"true_answer": facts.true_answer, "subject": facts.subject, "level": facts.level}
        judgement = judge_by_facts(facts, item.answer)
        row |= {"well_posed": judgement.well_posed, "right": judgement.right}
    return row


def rows(
    setup: Setup, datasets: Datasets, rewards: np.ndarray, solve_rates: np.ndarray, step: int
) -> list[dict[str, Any]]:
    """One row a rollout of the step's g * n, in order; unparsable ones have null question and answer.

    Args:
      rewards: [g, n] of each rollout.
      solve_rates: [g, n] share of student samples that agreed with the teacher's answer; nan where never asked.
    """
    return [
        {"outer_step": step, "dataset": dataset, "index": index}
        | question_row(setup, item)
        | {
            "solve_rate": None if np.isnan(solve_rates[dataset, index]) else float(solve_rates[dataset, index]),
            "reward": float(rewards[dataset, index]),
            "promoted": 0,  # 1 when this dataset's student was promoted; one digit, so it can be set in place
        }
        for dataset, items in enumerate(datasets.items)
        for index, item in enumerate(items)
    ]


def analyse(setup: Setup, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Diversity and make-up of the parsable questions among rows of a ledger or curriculum."""
    written = [row for row in rows if row["question"] is not None]
    questions = [row["question"] for row in written]
    return {
        "subjects": dict(Counter(row["subject"] for row in written if row["subject"])),
        "levels": {str(level): count for level, count in _count_levels(written)},
        "right_share": _share(written, "right"),
        "well_posed_share": _share(written, "well_posed"),
        "vendi": vendi_score(setup.embedder.embed(questions)) if questions else 0.0,
        "distinct_share": distinct_share(questions),
    }


def _count_levels(rows: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return sorted(Counter(row["level"] for row in rows if row["level"] is not None).items())


def _share(rows: list[dict[str, Any]], name: str) -> float | None:
    known = [row[name] for row in rows if row[name] is not None]
    return float(np.mean(known)) if known else None
