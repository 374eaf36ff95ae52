"""SeRL (arXiv 2505.20347): students that write their own questions from seed problems and label them by vote."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import jax
import numpy as np

from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.model.parameters import Params
from soar_jax.problems.prompts import question_alone
from soar_jax.rng import stream_generator, stream_key
from soar_jax.runs.build import Setup
from soar_jax.runs.display import Phase
from soar_jax.soar.curricula import Questions, Stage
from soar_jax.soar.final_students import FinalStudents, Follower
from soar_jax.soar.inner_loop import Curriculum
from soar_jax.soar.intrinsic_rewards import count_votes
from soar_jax.types import Problem, PromptBatch, QuestionAnswer

_MAX_OPENING_CHARACTERS = 80  # it stands in a prompt up to twice, and the prompt must fit into a bucket


def train_by_self_play(setup: Setup, split: HardSplit, phase: Phase) -> tuple[FinalStudents, tuple[Stage, ...]]:
    """Trains replicas on questions of their own; hard train problems are the seeds.

    Every episode each replica continues the openings of a few seeds to questions, drops those
    that resemble a seed or an earlier question, answers the others several times, keeps those
    whose majority is neither too weak nor too strong, and trains on them with the majority
    answer as label.

    Returns:
      The students, and what the first replica was trained on, a stage an episode.

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    config = setup.config
    follower = Follower(setup, "self-play", start=setup.start, steps_before=0, split=split, phase=phase)
    known = [[problem.question for problem in split.train] for _ in range(config.final.num_replicas)]
    stages = []
    for episode in range(config.final.num_steps // config.inner.num_steps):
        with phase("writing questions from seeds"):
            written = _write(setup, follower.states.weights, seeds=split.train, episode=episode)
        with phase("filtering questions by vote"):
            new = [
                _new_ones(items, seen, config.self_play.max_similarity)
                for items, seen in zip(written, known, strict=True)
            ]
            kept = _label(setup, follower.states.weights, questions=new, episode=episode)
        for seen, items in zip(known, kept, strict=True):
            seen.extend(item.question for item in items)
        stage = Stage(
            name=f"self-play {episode + 1}", questions=kept[0], num_steps=config.inner.num_steps, is_synthetic=True
        )
        follower.train(Curriculum(questions=tuple(kept)), stage)
        stages.append(stage)
    return follower.students(), tuple(stages)


def _write(setup: Setup, params: Params, seeds: Sequence[Problem], episode: int) -> list[list[str]]:
    """Questions that each replica writes from openings of seeds: [replicas][at most questions_per_episode]."""
    config = setup.config
    replicas, count = config.final.num_replicas, config.self_play.questions_per_episode
    picks = stream_generator(config.seed, "self_play_seeds", episode).integers(len(seeds), size=(replicas, count))
    openings = [_opening(seeds[index].question, config.prompts.opening_words) for index in picks.ravel().tolist()]
    # In a chat the answer begins with the opening; elsewhere the prompt ends with it.
    prompts = setup.sampler.encode_prompts(
        [config.prompts.from_seed.replace("{opening}", opening) for opening in openings],
        openings if config.prompts.chat else (),
    )
    keys = jax.random.split(stream_key(config.seed, "self_play_write", episode), replicas)
    rollouts = setup.sampler.sample_population(
        params, _per_replica(prompts, replicas), keys=keys, settings=setup.teacher.sampling, samples_per_prompt=1
    )
    texts = setup.sampler.texts(rollouts)
    questions = [_read(setup, _joined(*parts, config.prompts.chat)) for parts in zip(openings, texts, strict=True)]
    return [[*filter(None, questions[start : start + count])] for start in range(0, len(questions), count)]


def _opening(question: str, num_words: int) -> str:
    """The first words of a question; not more where words are long, or nothing stands between them."""
    return " ".join(question.split()[:num_words])[:_MAX_OPENING_CHARACTERS]


def _joined(opening: str, text: str, is_chat: bool) -> str:
    """An opening and its continuation, which in a chat may begin with a mark or with its own blank."""
    return opening + ("" if is_chat and not text[:1].isalnum() else " ") + text


def _read(setup: Setup, text: str) -> str | None:
    """The question in an opening and its continuation; None where there is none that can be asked."""
    question = question_alone(setup.sampler.prompts, text, setup.grader.extraction)
    return question if question and setup.sampler.fits(question) else None


def _new_ones(questions: Sequence[str], seen: Sequence[str], max_similarity: float) -> list[str]:
    """Questions that resemble neither an earlier one of the list nor one already seen."""
    kept: list[str] = []
    for question in questions:
        if all(similarity(question, other) <= max_similarity for other in (*seen, *kept)):
            kept.append(question)
    return kept


def similarity(one: str, other: str) -> float:
    """Share of words that two questions have in common, in order: 1 for equal ones."""
    return difflib.SequenceMatcher(None, one.split(), other.split(), autojunk=False).ratio()


def _per_replica(prompts: PromptBatch, replicas: int) -> PromptBatch:
    """[replicas * Q, ...] as [replicas, Q, ...]."""
    return jax.tree.map(lambda leaf: np.reshape(leaf, (replicas, -1, *leaf.shape[1:])), prompts)


def _label(setup: Setup, params: Params, questions: list[list[str]], episode: int) -> list[Questions]:
    """Each replica's questions with its own majority answers, without those it agrees too little or too much on."""
    config = setup.config
    replicas, count = config.final.num_replicas, config.self_play.questions_per_episode
    samples = config.self_play.label_samples
    filled = [[*items, *[""] * (count - len(items))] for items in questions]  # one compiled shape
    prompts = setup.sampler.encode_questions([question for items in filled for question in items])
    keys = jax.random.split(stream_key(config.seed, "self_play_label", episode), replicas)
    rollouts = setup.sampler.sample_population(
        params, _per_replica(prompts, replicas), keys=keys, settings=setup.student.sampling, samples_per_prompt=samples
    )
    votes = count_votes(*setup.grader.votes(setup.sampler.texts(rollouts), [""] * (replicas * count)))
    low, high = config.self_play.agreement
    labelled = [
        QuestionAnswer(question=question, answer=answer) if question and answer and low <= share <= high else None
        for question, answer, share in zip(
            (question for items in filled for question in items), votes.majority_answers, votes.majority, strict=True
        )
    ]
    return [tuple(filter(None, labelled[start : start + count])) for start in range(0, len(labelled), count)]
