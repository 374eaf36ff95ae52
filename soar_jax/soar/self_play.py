"""SeRL (arXiv 2505.20347): students write their own questions from seed problems and label them by majority vote."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence

import jax
import numpy as np

from soar_jax.evaluation.hard_subset import HardSplit
from soar_jax.integers import ceil_div
from soar_jax.model.parameters import Params
from soar_jax.problems.prompts import parse_question
from soar_jax.rng import stream_generator, stream_key
from soar_jax.sampling.text import Draw
from soar_jax.soar.curricula import Questions, Stage
from soar_jax.soar.final_trainer import FinalStudents, FinalTrainer, Hooks, Start, last_step
from soar_jax.soar.setup import Setup
from soar_jax.soar.teacher_rewards import sample_votes
from soar_jax.types import Problem, PromptBatch, QuestionAnswer

_MAX_OPENING_CHARACTERS = 80  # a prompt contains the opening up to twice, and must fit a bucket


def train_by_self_play(setup: Setup, split: HardSplit, hooks: Hooks) -> FinalStudents:
    """Trains replicas on their own questions, with hard train problems as seeds.

    In every episode, each replica

    1. completes the openings of random seed problems to questions,
    2. drops questions that resemble a seed or an earlier question,
    3. samples answers to the others, and keeps questions whose majority is within `self_play.agreement`,
    4. trains on these with the majority answer as label.

    Raises:
      NotFiniteError: a loss or gradient is not finite.
    """
    config = setup.config
    trainer = FinalTrainer(
        setup,
        Start(name="self-play", weights=setup.base_weights),
        split=split,
        hooks=dataclasses.replace(hooks, saver=None),  # the questions of its episodes are not saved
        warmup_steps=config.final.warmup_steps,
    )
    known = [[problem.question for problem in split.train] for _ in range(config.final.num_replicas)]
    stages = []
    for episode in range(ceil_div(last_step(config), config.inner.num_steps)):
        with hooks.phase("writing questions from seeds"):
            written = _sample_questions(setup, trainer.states.weights, seeds=split.train, episode=episode)
        with hooks.phase("filtering questions by vote"):
            new = [
                new_questions(items, seen, config.self_play.max_similarity)
                for items, seen in zip(written, known, strict=True)
            ]
            kept = label_by_vote(setup, trainer.states.weights, questions=new, episode=episode)
        for seen, items in zip(known, kept, strict=True):
            seen.extend(item.question for item in items)
        stage = Stage(
            name=f"self-play {episode + 1}", questions=kept[0], num_steps=config.inner.num_steps, is_synthetic=True
        )
        trainer.train(kept, stage)
        stages.append(stage)
    return trainer.finish(tuple(stages))


def _sample_questions(setup: Setup, weights: Params, seeds: Sequence[Problem], episode: int) -> list[list[str]]:
    """Samples each replica's questions from openings of seeds: [replicas][at most questions_per_episode]."""
    config = setup.config
    replicas, count = config.final.num_replicas, config.self_play.questions_per_episode
    picks = stream_generator(config.seed, "self_play_seeds", episode).integers(len(seeds), size=(replicas, count))
    openings = [cut_opening(seeds[index].question, config.prompts.opening_words) for index in picks.ravel().tolist()]
    # In a chat the completion begins with the opening; without one the prompt ends with it.
    prompts = setup.sampler.encode_prompts(
        [config.prompts.from_seed.replace("{opening}", opening) for opening in openings],
        openings if config.prompts.chat else (),
    )
    keys = jax.random.split(stream_key(config.seed, "self_play_write", episode), replicas)
    draw = Draw(key=keys, settings=setup.teacher.sampling, num_samples=1)
    rollouts = setup.sampler.sample(weights, _per_replica(prompts, replicas), draw)
    texts = setup.sampler.texts(rollouts)
    questions = [
        read_question(setup, join_opening(*parts, config.prompts.chat)) for parts in zip(openings, texts, strict=True)
    ]
    return [[*filter(None, questions[start : start + count])] for start in range(0, len(questions), count)]


def cut_opening(question: str, num_words: int) -> str:
    """Returns the first words of a question, at most `_MAX_OPENING_CHARACTERS` characters."""
    return " ".join(question.split()[:num_words])[:_MAX_OPENING_CHARACTERS]


def join_opening(opening: str, text: str, is_chat: bool) -> str:
    """Joins an opening and its completion by a space, except if a chat's completion begins with a space or mark."""
    return opening + ("" if is_chat and not text[:1].isalnum() else " ") + text


def read_question(setup: Setup, text: str) -> str | None:
    """Parses the question of an opening and its completion; None if there is none or it does not fit a prompt."""
    question = parse_question(setup.sampler.prompts, text, setup.grader.extraction)
    return question if question and setup.sampler.fits(question) else None


def new_questions(questions: Sequence[str], seen: Sequence[str], max_similarity: float) -> list[str]:
    """Drops questions that resemble one already seen or an earlier one of the list."""
    kept: list[str] = []
    for question in questions:
        if all(similarity(question, other) <= max_similarity for other in (*seen, *kept)):
            kept.append(question)
    return kept


def similarity(one: str, other: str) -> float:
    """Computes the fraction of words that two questions have in common, in order; 1 if they are equal."""
    return difflib.SequenceMatcher(None, one.split(), other.split(), autojunk=False).ratio()


def _per_replica(prompts: PromptBatch, replicas: int) -> PromptBatch:
    """Reshapes prompts [replicas * Q, ...] to [replicas, Q, ...]."""
    return jax.tree.map(lambda leaf: np.reshape(leaf, (replicas, -1, *leaf.shape[1:])), prompts)


def label_by_vote(setup: Setup, weights: Params, questions: list[list[str]], episode: int) -> list[Questions]:
    """Labels each replica's questions with its majority answers; keeps those with `self_play.agreement`."""
    config = setup.config
    replicas, count = config.final.num_replicas, config.self_play.questions_per_episode
    filled = [[*items, *[""] * (count - len(items))] for items in questions]  # for one compiled shape
    prompts = setup.sampler.encode_questions([question for items in filled for question in items])
    keys = jax.random.split(stream_key(config.seed, "self_play_label", episode), replicas)
    draw = Draw(key=keys, settings=setup.student.sampling, num_samples=config.self_play.label_samples)
    references = [""] * (replicas * count)
    votes = sample_votes(setup, weights, _per_replica(prompts, replicas), draw=draw, references=references)
    low, high = config.self_play.agreement
    labelled = [
        QuestionAnswer(question=question, answer=answer) if question and answer and low <= majority <= high else None
        for question, answer, majority in zip(
            (question for items in filled for question in items), votes.majority_answers, votes.majority, strict=True
        )
    ]
    return [tuple(filter(None, labelled[start : start + count])) for start in range(0, len(labelled), count)]
