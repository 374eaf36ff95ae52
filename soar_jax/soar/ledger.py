"""The question ledger: one row per rollout of the teacher, and statistics of a set of questions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from soar_jax.evaluation.diversity import distinct_share, vendi_score
from soar_jax.evaluation.quality import judge_by_facts
from soar_jax.problems import sources
from soar_jax.soar.setup import Setup
from soar_jax.soar.teacher import Datasets
from soar_jax.types import QuestionAnswer


def question_row(setup: Setup, item: QuestionAnswer | None) -> dict[str, Any]:
    """Makes the fields of a question; facts that the problems' source does not know are None."""
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
    """Makes one row per rollout of a step, in order; question and answer are None if unparsable.

    Args:
      rewards: [g, n] reward of each rollout.
      solve_rates: [g, n] fraction of student answers that equal the teacher's; NaN if there are none.
    """
    return [
        {"outer_step": step, "dataset": dataset, "index": index}
        | question_row(setup, item)
        | {
            "solve_rate": None if np.isnan(solve_rates[dataset, index]) else float(solve_rates[dataset, index]),
            "reward": float(rewards[dataset, index]),
        }
        for dataset, items in enumerate(datasets.items)
        for index, item in enumerate(items)
    ]


def analyse(setup: Setup, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Computes diversity and composition of the parsable questions in rows of a ledger or curriculum."""
    written = [row for row in rows if row["question"] is not None]
    questions = [row["question"] for row in written]
    levels = sorted(Counter(row["level"] for row in written if row["level"] is not None).items())
    return {
        "subjects": dict(Counter(row["subject"] for row in written if row["subject"])),
        "levels": {str(level): count for level, count in levels},
        "right_share": _fraction(written, "right"),
        "well_posed_share": _fraction(written, "well_posed"),
        "vendi": vendi_score(setup.embedder.embed(questions)) if questions else 0.0,
        "distinct_share": distinct_share(questions),
    }


def _fraction(rows: list[dict[str, Any]], name: str) -> float | None:
    """Returns the fraction of rows in which a field is true, among those in which it is known."""
    known = [row[name] for row in rows if row[name] is not None]
    return float(np.mean(known)) if known else None
