"""Samples and updates policies on a mesh of 8 CPU devices and prints the results as JSON for `test_parity.py`."""

import dataclasses
import json
import sys
from typing import Any

from soar_jax import parallel

parallel.set_num_cpu_devices(8)

import jax  # noqa: E402
import numpy as np  # noqa: E402

from soar_jax.checkpoints.base_model import LoadedModel, load_model, params_sha256  # noqa: E402
from soar_jax.config.policy_sections import LoRASection  # noqa: E402
from soar_jax.model import layout, lora  # noqa: E402
from soar_jax.model.lora import FrozenBase  # noqa: E402
from soar_jax.model.rounding import cast_params  # noqa: E402
from soar_jax.parallel import processes  # noqa: E402
from soar_jax.rl.losses import LossSettings  # noqa: E402
from soar_jax.rl.population import (  # noqa: E402
    init_policy,
    init_population,
    policy_reference_logprobs,
    population_reference_logprobs,
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
ADVANTAGES = np.linspace(-1, 1, PROMPTS * SAMPLES).astype(np.float32)


def main(sizes: list[int], uses_lora: bool) -> None:
    mesh = parallel.make_mesh(*sizes)
    base = load_model("embedded:nano", "float32", mesh=mesh)
    weights, frozen_base = base.params, None
    if uses_lora:
        settings = LoRASection(rank=4, scale=1.0, layers=lora.LAYERS)
        adapters = jax.tree.map(lambda leaf: leaf + 0.01, lora.init_adapters(settings, base.config, jax.random.key(1)))
        weights = layout.shard_params(mesh, base.config, adapters)
        frozen_base = FrozenBase(base.params, parallel.replicate(mesh, np.float32(1.0)))
    policy = Policy(mesh=mesh, base=base, weights=weights, frozen_base=frozen_base)
    largest_shard = max(leaf.addressable_shards[0].data.size for leaf in jax.tree.leaves(base.params))
    found = one_policy(policy) | population(policy)
    found |= {
        "base_sha256": params_sha256(base.params),
        "bfloat16_sha256": params_sha256(jax.jit(cast_params, static_argnums=1)(base.params, "bfloat16")),
        "largest_shard": int(largest_shard),
    }
    print(json.dumps(found))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """What is sampled and updated, and the arguments of the programs that do so."""

    mesh: Any
    base: LoadedModel
    weights: Any
    frozen_base: FrozenBase | None

    @property
    def prompts(self) -> PromptBatch:
        tokenizer = self.base.tokenizer
        rows = [tokenizer.encode_prompt(f"exam dial {n} 2 3 rotate add reverse . . . . . ?") for n in range(PROMPTS)]
        return PromptBatch(tokens=np.array(rows, np.int32), lengths=np.full(PROMPTS, len(rows[0]), np.int32))

    @property
    def sampling(self) -> dict[str, Any]:
        settings = SamplingSettings(
            max_completion_tokens=20,
            temperature=1.0,
            top_p=1.0,
            stop_ids=self.base.tokenizer.stop_ids,
            pad_id=self.base.tokenizer.pad_id,
        )
        sizes = {"samples_per_prompt": SAMPLES, "max_slots": 16, "first_prompt": 0}
        return {"mesh": self.mesh, "model": self.base.config, "settings": settings, **sizes}

    @property
    def evaluating(self) -> dict[str, Any]:
        return {"mesh": self.mesh, "model": self.base.config, "loss": LOSS, "rows_per_micro_batch": 8}

    @property
    def updating(self) -> dict[str, Any]:
        more = {"frozen_base": self.frozen_base, "learning_rate": LEARNING_RATE, "optimizer": ADAM}
        return self.evaluating | more

    @property
    def reference(self) -> Any:
        return jax.tree.map(lambda leaf: leaf * 1.05, self.weights)


def one_policy(policy: Policy) -> dict[str, Any]:
    """Samples with and without a temperature, and updates on the first samples."""
    mesh, weights, sampling = policy.mesh, policy.weights, policy.sampling
    greedy = {"settings": dataclasses.replace(sampling["settings"], temperature=0.0)}
    prompts = parallel.shard_population(mesh, policy.prompts)
    rollouts, answers = (
        sharded.sample_policy(weights, policy.frozen_base, prompts=prompts, key=jax.random.key(0), **options)
        for options in (sampling, sampling | greedy)
    )
    batch = parallel.replicate(
        mesh, TrainBatch(rollouts=jax.tree.map(processes.to_host, rollouts), advantages=ADVANTAGES)
    )
    state = init_policy(weights, mesh=mesh, model=policy.base.config, optimizer=ADAM)
    state, metrics = update_policy(state, batch, **policy.updating)
    reference = policy_reference_logprobs(batch.rollouts, policy.reference, policy.frozen_base, **policy.evaluating)
    moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    return {
        "tokens": processes.to_host(rollouts.tokens).tolist(),
        "greedy": processes.to_host(answers.tokens).tolist(),
        "logprobs": processes.to_host(rollouts.sampler_logprobs).tolist(),
        "loss": float(metrics["loss"]),
        "grad_norm": float(metrics["grad_norm"]),
        "first_moments": [np.abs(processes.to_host(leaf)).sum().item() for leaf in moments],
        "weights": [processes.to_host(leaf).ravel()[:50].tolist() for leaf in jax.tree.leaves(state.weights)],
        "reference": processes.to_host(reference).tolist(),
    }


def population(policy: Policy) -> dict[str, Any]:
    """Samples and updates students that begin as copies of the policy."""
    mesh, model = policy.mesh, policy.base.config
    many, advantages = (
        parallel.shard_population(mesh, jax.tree.map(lambda leaf: np.stack([leaf] * POPULATION), one))
        for one in (policy.prompts, ADVANTAGES)
    )
    states = init_population(policy.weights, mesh=mesh, model=model, optimizer=ADAM, size=POPULATION)
    keys = jax.random.split(jax.random.key(5), POPULATION)
    rollouts = sharded.sample_population(
        states.weights, policy.frozen_base, prompts=many, keys=keys, population_batch=1, **policy.sampling
    )
    batches = TrainBatch(rollouts=rollouts, advantages=advantages)
    states, metrics = update_population(states, batches, population_batch=1, **policy.updating)
    reference = population_reference_logprobs(rollouts, policy.reference, policy.frozen_base, **policy.evaluating)
    return {
        "population_tokens": processes.to_host(rollouts.tokens).tolist(),
        "population_reference": processes.to_host(reference).tolist(),
        "population_loss": processes.to_host(metrics["loss"]).tolist(),
        "students": [
            processes.to_host(leaf)[:, ..., :2].ravel()[:64].tolist() for leaf in jax.tree.leaves(states.weights)
        ],
    }


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1].split("x")], sys.argv[2] == "lora")
