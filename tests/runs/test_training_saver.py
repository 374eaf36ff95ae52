"""Final students of the embedded model that are stopped in training and continued."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
from etils import epath

from soar_jax.checkpoints.base_model import params_sha256
from soar_jax.errors import InterruptedRunError
from soar_jax.problems import arithmetic
from soar_jax.runs.build import build
from soar_jax.runs.context import RunClock
from soar_jax.runs.training_saver import FOLDER, RunTrainingSaver
from soar_jax.soar.curricula import Stage
from soar_jax.soar.final_trainer import Hooks, Start, train_through
from soar_jax.types import QuestionAnswer
from tests.configs import make_config

SMALL = {
    "final.num_replicas": 2,
    "final.num_steps": 5,
    "curriculum.warm_start_steps": 2,
    "final.test_every": 2,
    "final.warmup_steps": 1,
    "student.schedule": "cosine",
    "inner.questions_per_step": 2,
    "inner.group_size": 4,
    "evaluation.pass_at": (1,),
}


@pytest.fixture(scope="module")
def setup(nano_model):
    return build(make_config(**SMALL), nano_model)


def make_questions(count, level):
    problems = arithmetic.generate_problems(np.random.default_rng(level), (level,), count)
    return tuple(QuestionAnswer(question=problem.question, answer=problem.answer) for problem in problems)


@pytest.fixture
def start(setup, tmp_path):
    """Starts the training as a process does; may stop it after some episodes. Returns students, tokens, lines."""
    easy, hard = make_questions(3, level=3), make_questions(5, level=4)
    stages = (
        Stage(name="easy", questions=easy, num_steps=3, is_synthetic=True),
        Stage(name="hard train", questions=hard, num_steps=2, is_synthetic=False),
    )

    def start(num_episodes=100):
        phases = []

        def phase(name):
            if len(phases) == num_episodes:
                raise InterruptedRunError
            phases.append(name)
            return contextlib.nullcontext()

        def test(weights):
            count = int(params_sha256(weights)[:4], 16)  # tells any two weights apart
            return {"hard_test": {"num_samples": 2**16, "ids": ["p"], "num_correct": [[count], [0]]}}

        lines = []
        context = SimpleNamespace(
            setup=setup,
            workdir=epath.Path(tmp_path),
            clock=RunClock(),
            display=SimpleNamespace(say=lines.append),
        )
        tokens_before, saver = setup.meter.num_tokens, RunTrainingSaver(context, "curriculum")
        split = SimpleNamespace(validation=())
        hooks = Hooks(phase=phase, test=test, saver=saver)
        policy = Start(name="curriculum", weights=setup.base_weights)
        try:
            students = train_through(setup, policy, stages=stages, split=split, hooks=hooks)
        finally:
            saver.close()
        return students, setup.meter.num_tokens - tokens_before, lines

    return start


@pytest.mark.slow
def test_stopped_training_ends_as_if_it_had_not_been(start, tmp_path):
    whole, num_tokens, lines = start()
    assert lines == []
    assert [*whole.tests] == [2, 4, 5]
    folder = tmp_path / FOLDER / "curriculum"
    assert [path.name for path in folder.iterdir()] == ["4"]  # the newest alone
    epath.Path(folder).rmtree()

    for _ in range(2):  # before student step 3, and from step 2 on before step 4
        with pytest.raises(InterruptedRunError):
            start(num_episodes=2)
    again, again_tokens, lines = start()
    assert lines == ["resuming curriculum after student step 4"]
    assert again_tokens == num_tokens
    assert (again.tests, again.curve) == (whole.tests, whole.curve)
    np.testing.assert_array_equal(again.rewards, whole.rewards)


@pytest.mark.slow
def test_training_stopped_before_its_first_test_begins_anew(start, tmp_path):
    with pytest.raises(InterruptedRunError):
        start(num_episodes=0)
    assert not (tmp_path / FOLDER).exists()
    _, _, lines = start()
    assert lines == []
