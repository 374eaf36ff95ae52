import dataclasses
import threading

import jax.numpy as jnp
import numpy as np

from soar_jax.telemetry import costs
from soar_jax.telemetry.meter import TrainedRows, Work, WorkMeter


def test_work_is_counted_per_phase_and_taken_once(tiny_model):
    meter = WorkMeter(tiny_model)
    rows = TrainedRows(num_rows=6, num_prompts=2, prompt_tokens=5.0, completion_tokens=3.0)
    with meter.phase("sampling"):
        meter.add_prefill(np.array([4, 6]))
        meter.add_completions(np.full(8, 5), np.full(8, 3), num_slots=4)
    with meter.phase("training"):
        meter.add_training(rows)
        meter.add_training(dataclasses.replace(rows, num_rows=0, num_prompts=0))
    with meter.phase("comparing"):
        meter.add_reference(rows)
    taken = meter.take()
    decode = 2 * costs.prefill_flops(tiny_model, 5) + 8 * costs.decode_flops(tiny_model, 5, 3)
    read = 24 / 4 * costs.matrix_bytes(tiny_model) + 24 * 6.5 * costs.cache_bytes_per_token(tiny_model)
    assert taken["sampling"] == Work(sampled_tokens=24, flops=decode, decoding_bytes=read)
    assert taken["comparing"] == Work(flops=2 * costs.reference_flops(tiny_model, 5, 3, num_completions=3))
    trained = costs.useful_training_flops(tiny_model, 5, 3, num_completions=3)
    assert taken["training"] == Work(flops=2 * trained)
    assert meter.take() == {}
    assert meter.num_tokens == 24
    assert meter.num_flops == sum(work.flops for work in taken.values())


class Result:
    """A result that is ready when the test sets `ready`."""

    def __init__(self):
        self.ready = threading.Event()

    def block_until_ready(self):
        assert self.ready.wait(30)


def test_take_waits_for_started_programs(tiny_model):
    meter, result = WorkMeter(tiny_model), Result()
    with meter.phase("sampling"):
        meter.watch(result)
    taken = []
    taking = threading.Thread(target=lambda: taken.append(meter.take()))
    taking.start()
    taking.join(0.05)
    assert not taken
    result.ready.set()
    taking.join(30)
    assert taken[0]["sampling"].busy_s >= 0.05
    meter.watch(jnp.ones(3))
    assert meter.take()[""].busy_s < 30
