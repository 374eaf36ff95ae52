import jax
import numpy as np
import pytest

from soar_jax.sampling.sampler import SamplingSettings, sample
from soar_jax.types import PromptBatch, TrainBatch


@pytest.fixture(scope="session")
def batch(tiny_model, tiny_params):
    prompts = PromptBatch(tokens=np.array([[5, 3, 7, 2], [4, 8, 0, 0]], np.int32), lengths=np.array([4, 2], np.int32))
    settings = SamplingSettings(max_completion_tokens=5, temperature=0.8, top_p=1.0, stop_ids=(1,), pad_id=0)
    rollouts = sample(
        tiny_params, prompts, key=jax.random.key(0), model=tiny_model, settings=settings, samples_per_prompt=3
    )
    return TrainBatch(rollouts=rollouts, advantages=np.array([0.5, 0.0, -0.5, 1.0, -1.0, 0.0], np.float32))
