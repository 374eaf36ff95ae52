"""Judges a run's questions if the problems' source cannot judge them exactly."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from etils import epath

from soar_jax.errors import require
from soar_jax.evaluation.judge_endpoint import EndpointJudge
from soar_jax.evaluation.quality import Judge, Judgement, SelfConsistencyJudge
from soar_jax.parallel import processes
from soar_jax.rng import stream_generator, stream_key
from soar_jax.sampling.text import Draw
from soar_jax.soar.setup import Setup
from soar_jax.storage import files
from soar_jax.storage.records import read_lines, replace_text, to_line
from soar_jax.types import QuestionAnswer


def make_judge(setup: Setup, workdir: epath.Path) -> Judge | None:
    """Makes the judge `analysis.judge`; None for "none", and for "world", whose judgements are in the ledger.

    Raises:
      SettingsError: the endpoint's address, key or library is missing, or the workdir cannot hold its cache.
    """
    config = setup.config
    analysis = config.analysis
    if analysis.judge == "endpoint":
        require(
            not files.is_in_bucket(workdir),
            f"analysis.judge is 'endpoint', which appends to a cache on disk; choose a local --workdir, not {workdir}",
        )
        return EndpointJudge(analysis.judge_model, workdir / "judge_cache.jsonl", show_progress=setup.show_progress)
    if analysis.judge == "self_consistency":
        return SelfConsistencyJudge(
            evaluator=setup.evaluator,
            weights=setup.base_weights,
            draw=Draw(
                key=stream_key(config.seed, "judge"),
                settings=setup.student.sampling,
                num_samples=analysis.judge_samples,
            ),
            agreement=analysis.judge_agreement,
        )
    return None


def judge_questions(setup: Setup, workdir: epath.Path, judge: Judge) -> int:
    """Judges a random sample of a run's questions, those of the final students first.

    Writes all judgements to `judgements.jsonl`, and those of final students' questions also to `curriculum.jsonl`,
    except where the problems' source has judged.

    Returns:
      The number of questions that the judge failed on.
    """
    pairs = _pick(setup, workdir)
    judgements = _judged(judge, pairs)
    rows = [
        {"question": pair.question, "answer": pair.answer, "judge": setup.config.analysis.judge}
        | dataclasses.asdict(judgement)
        for pair, judgement in zip(pairs, judgements, strict=True)
    ]
    replace_text(workdir / "judgements.jsonl", "".join(map(to_line, rows)))
    judged = {pair: dataclasses.asdict(judgement) for pair, judgement in zip(pairs, judgements, strict=True)}
    curriculum = read_lines(workdir / "curriculum.jsonl")
    if curriculum:
        rows = [
            row | judged.get(QuestionAnswer(question=row["question"], answer=row["answer"]), {})
            if row["well_posed"] is None
            else row
            for row in curriculum
        ]
        replace_text(workdir / "curriculum.jsonl", "".join(map(to_line, rows)))
    return judge.num_failures


def _judged(judge: Judge, pairs: Sequence[QuestionAnswer]) -> list[Judgement]:
    """Judges the pairs; only the main process calls an endpoint, which costs money."""
    if not isinstance(judge, EndpointJudge):
        return judge.judge(pairs)

    def call() -> Any:
        return [dataclasses.asdict(judgement) for judgement in judge.judge(pairs)], judge.num_failures

    judgements, judge.num_failures = processes.broadcast_from_main(call)
    return [Judgement(**values) for values in judgements]


def _pick(setup: Setup, workdir: epath.Path) -> list[QuestionAnswer]:
    """Samples at most `analysis.judge_questions` distinct pairs, those of the final students first."""
    distinct: dict[QuestionAnswer, None] = {}  # in order
    for number, name in enumerate(("curriculum.jsonl", "ledger.jsonl")):
        rows = [row for row in read_lines(workdir / name) if row["question"] is not None]
        order = stream_generator(setup.config.seed, "judge", number).permutation(len(rows))
        distinct |= dict.fromkeys(QuestionAnswer(question=rows[i]["question"], answer=rows[i]["answer"]) for i in order)
    return list(distinct)[: setup.config.analysis.judge_questions]
