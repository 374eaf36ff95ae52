"""Samples and updates policies on a mesh of 8 CPU devices and prints the results as JSON for `test_parity.py`."""

import dataclasses
import json
import sys

from soar_jax import parallel

parallel.set_num_cpu_devices(8)

import jax  # noqa: E402
import numpy as np  # noqa: E402

from soar_jax.checkpoints.base_model import load_model, params_sha256  # noqa: E402
from soar_jax.config.policy_sections import LoRASection  # noqa: E402
from soar_jax.model import layout, lora  # noqa: E402
from soar_jax.model.lora import FrozenBase  # noqa: E402
from soar_jax.model.rounding import cast_params  # noqa: E402
from soar_jax.parallel import processes  # noqa: E402
from soar_jax.rl.losses import LossSettings  # noqa: E402
from soar_jax.rl.population import (  # noqa: E402
    init_policy,
    init_population,
    policy_kl,
    population_kl,
    update_policy,
    update_population,
)
from soar_jax.rl.train_step import OptimizerSettings  # noqa: E402
from soar_jax.sampling import sharded  # noqa: E402
from soar_jax.sampling.sampler import SamplingSettings  # noqa: E402
from soar_jax.types import PromptBatch, TrainBatch  # noqa: E402

ADAM = OptimizerSettings(b1=0.9, b2=0.99, eps=1e-3, weight_decay=0.0, max_grad_norm=1.0)
LEARNING_RATE = 1e-3
LOSS = LossSettings(temperature=1.0, clip_ratio=0.0, kl_coef=0.0, chunk_tokens=64)
POPULATION, PROMPTS, SAMPLES = 8, 8, 2


def main(sizes: list[int], uses_lora: bool) -> None:
    mesh = parallel.make_mesh(*sizes)
    base = load_model("embedded:nano", "float32", mesh=mesh)
    weights, frozen_base = base.params, None
    if uses_lora:
        settings = LoRASection(rank=4, scale=1.0, layers=lora.LAYERS)
        adapters = jax.tree.map(lambda leaf: leaf + 0.01, lora.init_adapters(settings, base.config, jax.random.key(1)))
        weights = layout.shard_params(mesh, base.config, adapters)
        frozen_base = FrozenBase(base.params, parallel.replicate(mesh, np.float32(1.0)))
    rows = [base.tokenizer.encode_prompt(f"exam dial {n} 2 3 rotate add reverse . . . . . ?") for n in range(PROMPTS)]
    prompts = PromptBatch(tokens=np.array(rows, np.int32), lengths=np.full(PROMPTS, len(rows[0]), np.int32))
    sampled = SamplingSettings(
        max_completion_tokens=20,
        temperature=1.0,
        top_p=1.0,
        stop_ids=base.tokenizer.stop_ids,
        pad_id=base.tokenizer.pad_id,
    )
    options = {"mesh": mesh, "model": base.config, "samples_per_prompt": SAMPLES, "max_slots": 16}
    rollouts, answers = (
        sharded.sample_policy(
            weights,
            frozen_base,
            prompts=parallel.shard_population(mesh, prompts),
            key=jax.random.key(0),
            first_prompt=0,
            settings=settings,
            **options,
        )
        for settings in (sampled, dataclasses.replace(sampled, temperature=0.0))
    )
    advantages = np.linspace(-1, 1, PROMPTS * SAMPLES).astype(np.float32)
    batch = parallel.replicate(
        mesh, TrainBatch(rollouts=jax.tree.map(processes.to_host, rollouts), advantages=advantages)
    )
    update = {"mesh": mesh, "model": base.config, "loss": LOSS, "optimizer": ADAM, "rows_per_micro_batch": 8}
    state = init_policy(weights, mesh=mesh, model=base.config, optimizer=ADAM)
    state, metrics = update_policy(
        state, batch, reference=None, frozen_base=frozen_base, learning_rate=LEARNING_RATE, **update
    )

    many = jax.tree.map(lambda leaf: np.stack([leaf] * POPULATION), prompts)
    states = init_population(weights, mesh=mesh, model=base.config, optimizer=ADAM, size=POPULATION)
    keys = jax.random.split(jax.random.key(5), POPULATION)
    one_each = sharded.sample_population(
        states.weights,
        frozen_base,
        prompts=parallel.shard_population(mesh, many),
        keys=keys,
        first_prompt=0,
        settings=sampled,
        population_batch=1,
        **options,
    )
    batches = TrainBatch(
        rollouts=one_each, advantages=parallel.shard_population(mesh, np.stack([advantages] * POPULATION))
    )
    states, population_metrics = update_population(
        states,
        batches,
        reference=None,
        frozen_base=frozen_base,
        learning_rate=LEARNING_RATE,
        population_batch=1,
        **update,
    )
    reference = jax.tree.map(lambda leaf: leaf * 1.05, weights)
    compare = {name: value for name, value in update.items() if name != "optimizer"}
    kl = policy_kl(batch.rollouts, reference, frozen_base, **compare)
    students_kl = population_kl(one_each, reference, frozen_base, **compare)
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    largest_shard = max(leaf.addressable_shards[0].data.size for leaf in jax.tree.leaves(base.params))
    print(
        json.dumps(
            {
                "tokens": processes.to_host(rollouts.tokens).tolist(),
                "greedy": processes.to_host(answers.tokens).tolist(),
                "logprobs": processes.to_host(rollouts.sampler_logprobs).tolist(),
                "loss": float(metrics["loss"]),
                "grad_norm": float(metrics["grad_norm"]),
                "first_moments": [np.abs(processes.to_host(leaf)).sum().item() for leaf in moments],
                "weights": [processes.to_host(leaf).ravel()[:50].tolist() for leaf in jax.tree.leaves(state.weights)],
                "population_tokens": processes.to_host(one_each.tokens).tolist(),
                "kl": processes.to_host(kl).tolist(),
                "population_kl": processes.to_host(students_kl).tolist(),
                "population_loss": processes.to_host(population_metrics["loss"]).tolist(),
                "students": [
                    processes.to_host(leaf)[:, ..., :2].ravel()[:64].tolist()
                    for leaf in jax.tree.leaves(states.weights)
                ],
                "base_sha256": params_sha256(base.params),
                "bfloat16_sha256": params_sha256(jax.jit(cast_params, static_argnums=1)(base.params, "bfloat16")),
                "largest_shard": int(largest_shard),
            }
        )
    )


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1].split("x")], sys.argv[2] == "lora")
