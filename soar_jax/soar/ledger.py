"""The question ledger: one row per rollout of the teacher, and statistics of a set of questions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from soar_jax.evaluation.diversity import (
    bootstrapped_vendi_score,
    distinct_share,
    mean_cosine_distance,
    vendi_score,
)
from soar_jax.evaluation.quality import judge_by_facts
from soar_jax.problems import sources
from soar_jax.rng import stream_generator
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
    setup: Setup, datasets: Datasets, rewards: np.ndarray, *, solve_rates: np.ndarray, step: int
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
    """Computes diversity and composition of the parsable questions of an outer step.

    The Vendi score is that of the questions as they are: steps have about the same number of them, and draws would
    cost more than they tell.
    """
    questions, composition = _composition(rows)
    embeddings = _embed(setup, questions)
    distance = mean_cosine_distance(embeddings)
    return composition | {"vendi": vendi_score(embeddings), "cosine_distance": distance}


def analyse_curriculum(setup: Setup, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Computes diversity, composition and judgements of the questions of final students.

    Sets of all methods are brought to `analysis.vendi_size` questions (paper, Table 1). `error_classes` has the share
    of each of the judge's classes among the questions that it gave one.
    """
    questions, composition = _composition(rows)
    embeddings, analysis = _embed(setup, questions), setup.config.analysis
    classes = Counter(row["error_class"] for row in rows if row.get("error_class"))
    found = {
        "vendi": vendi_score(embeddings) if not analysis.vendi_size else None,
        "vendi_sd": None,
        "vendi_size": analysis.vendi_size or len(questions),
        "cosine_distance": mean_cosine_distance(embeddings),
        "error_classes": {name: count / classes.total() for name, count in sorted(classes.items())},
    }
    if analysis.vendi_size:
        draws = stream_generator(setup.config.seed, "vendi")
        found["vendi"], found["vendi_sd"] = bootstrapped_vendi_score(
            embeddings, analysis.vendi_size, analysis.vendi_draws, generator=draws
        )
    return composition | found


def _composition(rows: list[dict[str, Any]]) -> tuple[list[str], dict[str, Any]]:
    """Returns the parsable questions of rows, and what they are made of."""
    written = [row for row in rows if row["question"] is not None]
    questions = [row["question"] for row in written]
    levels = sorted(Counter(row["level"] for row in written if row["level"] is not None).items())
    return questions, {
        "subjects": dict(Counter(row["subject"] for row in written if row["subject"])),
        "levels": {str(level): count for level, count in levels},
        "right_share": _fraction(written, "right"),
        "well_posed_share": _fraction(written, "well_posed"),
        "distinct_share": distinct_share(questions),
    }


def _embed(setup: Setup, questions: list[str]) -> np.ndarray:
    """Embeds questions, [N, E]; no questions need no embedder."""
    return setup.embedder.embed(questions) if questions else np.zeros((0, 1))


def _fraction(rows: list[dict[str, Any]], name: str) -> float | None:
    """Returns the fraction of rows in which a field is true, among those in which it is known."""
    known = [row[name] for row in rows if row[name] is not None]
    return float(np.mean(known)) if known else None
