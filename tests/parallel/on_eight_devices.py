"""Run with 8 CPU devices by `test_parity.py`: what one policy and a population compute on a mesh, as JSON."""

import json
import sys

from soar_jax.parallel import mesh as parallel

parallel.set_num_cpu_devices(8)

import jax  # noqa: E402
import numpy as np  # noqa: E402

from soar_jax.model import layout, lora  # noqa: E402
from soar_jax.model.loading import load_model, params_sha256  # noqa: E402
from soar_jax.model.lora import Frozen, LoRASettings  # noqa: E402
from soar_jax.parallel import hosts  # noqa: E402
from soar_jax.rl.losses import LossSettings  # noqa: E402
from soar_jax.rl.population import init_policy, init_population, update_policy, update_population  # noqa: E402
from soar_jax.rl.train_step import OptimizerSettings  # noqa: E402
from soar_jax.sampling import programs  # noqa: E402
from soar_jax.sampling.sampler import SamplingSettings  # noqa: E402
from soar_jax.types import PromptBatch, TrainBatch  # noqa: E402

ADAM = OptimizerSettings(1e-3, 0.9, 0.99, 1e-3, 1.0)
LOSS = LossSettings(temperature=1.0, clip_ratio=0.0, kl_coef=0.0, chunk_tokens=64)
POPULATION, PROMPTS, SAMPLES = 8, 8, 2


def main(sizes: list[int], adapting: bool) -> None:
    mesh = parallel.make_mesh(*sizes)
    base = load_model("embedded:nano", "float32", mesh=mesh)
    weights, frozen = base.params, None
    if adapting:
        settings = LoRASettings(4, 1.0, lora.LAYERS)
        adapters = jax.tree.map(lambda leaf: leaf + 0.01, lora.init_adapters(settings, base.config, jax.random.key(1)))
        weights = layout.place(mesh, base.config, adapters)
        frozen = Frozen(base.params, parallel.replicate(mesh, np.float32(1.0)))
    rows = [base.tokenizer.encode_prompt(f"exam dial {n} 2 3 rotate add reverse . . . . . ?") for n in range(PROMPTS)]
    prompts = PromptBatch(np.array(rows, np.int32), np.full(PROMPTS, len(rows[0]), np.int32))
    stop = SamplingSettings(20, 1.0, 1.0, base.tokenizer.stop_ids, base.tokenizer.pad_id)
    options = {"mesh": mesh, "model": base.config, "samples_per_prompt": SAMPLES, "max_slots": 16}
    rollouts = programs.sample_policy(
        weights, frozen, parallel.split(mesh, prompts), jax.random.key(0), 0, settings=stop, **options
    )
    greedy = SamplingSettings(20, 0.0, 1.0, base.tokenizer.stop_ids, base.tokenizer.pad_id)
    answers = programs.sample_policy(
        weights, frozen, parallel.split(mesh, prompts), jax.random.key(0), 0, settings=greedy, **options
    )
    advantages = np.linspace(-1, 1, PROMPTS * SAMPLES).astype(np.float32)
    batch = parallel.replicate(mesh, TrainBatch(jax.tree.map(hosts.fetch, rollouts), advantages))
    update = {"mesh": mesh, "model": base.config, "loss": LOSS, "optimizer": ADAM, "rows_per_micro_batch": 8}
    state = init_policy(weights, mesh=mesh, model=base.config, optimizer=ADAM)
    state, metrics = update_policy(state, batch, None, frozen, **update)

    many = PromptBatch(*(np.stack([leaf] * POPULATION) for leaf in (prompts.tokens, prompts.lengths)))
    states = init_population(weights, mesh=mesh, model=base.config, optimizer=ADAM, size=POPULATION)
    keys = jax.random.split(jax.random.key(5), POPULATION)
    one_each = programs.sample_population(
        states.weights, frozen, parallel.split(mesh, many), keys, 0, settings=stop, population_batch=1, **options
    )
    batches = TrainBatch(one_each, parallel.split(mesh, np.stack([advantages] * POPULATION)))
    states, population_metrics = update_population(states, batches, None, frozen, population_batch=1, **update)
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    held = max(leaf.addressable_shards[0].data.size for leaf in jax.tree.leaves(base.params))
    print(
        json.dumps(
            {
                "tokens": hosts.fetch(rollouts.tokens).tolist(),
                "greedy": hosts.fetch(answers.tokens).tolist(),
                "logprobs": hosts.fetch(rollouts.sampler_logprobs).tolist(),
                "loss": float(metrics["loss"]),
                "grad_norm": float(metrics["grad_norm"]),
                "first_moments": [np.abs(hosts.fetch(leaf)).sum().item() for leaf in moments],
                "weights": [hosts.fetch(leaf).ravel()[:50].tolist() for leaf in jax.tree.leaves(state.weights)],
                "population_tokens": hosts.fetch(one_each.tokens).tolist(),
                "population_loss": hosts.fetch(population_metrics["loss"]).tolist(),
                "students": [
                    hosts.fetch(leaf)[:, ..., :2].ravel()[:64].tolist() for leaf in jax.tree.leaves(states.weights)
                ],
                "base_sha256": params_sha256(base.params),
                "largest_part": int(held),
            }
        )
    )


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1].split("x")], sys.argv[2] == "lora")
