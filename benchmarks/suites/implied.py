"""Counts FLOPs and bytes of compiled TPU programs, and the time of a run that they imply. Runs nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks import workloads
from benchmarks.options import Options
from benchmarks.report import Section
from soar_jax import parallel
from soar_jax.checkpoints import known_shapes
from soar_jax.config import method_config, read_config
from soar_jax.config.run_config import RunConfig
from soar_jax.model import decoder, kv_cache
from soar_jax.model.config import ModelConfig
from soar_jax.model.kv_cache import KVCache
from soar_jax.model.parameters import abstract_params
from soar_jax.planning import compile_check
from soar_jax.planning.plan import Assumptions, Plan, make_plan
from soar_jax.rl.losses import policy_gradient_loss
from soar_jax.runs.calls import STEP, Sizes
from soar_jax.telemetry import costs
from soar_jax.telemetry.devices import Device, parse_topology
from soar_jax.types import PromptBatch, RolloutBatch, TrainBatch

READS = ()
SCALE, TOPOLOGIES = "llama3.2-3b", ("v6e:4x4", "v5p:2x2x4", "h100:8", "h100:32")
BANDWIDTH_SHARE, MFU = 0.7, 0.5
SOME_LAYERS = (2, 4)  # unrolled, so that the compiler counts each layer; more layers are extrapolated linearly
SLOTS = 64  # as many as are chosen on v6e:4x4
# Changes to the shipped config.
_SHORT = {"student.max_completion_tokens": 512, "teacher.max_completion_tokens": 512}
VARIANTS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "LoRA 32": {"lora.rank": 32},
    "LoRA 32, int8 cache": {"lora.rank": 32, "model.int8_cache": True},
    "512 tokens": _SHORT,
    "512 tokens, LoRA 32": _SHORT | {"lora.rank": 32},
}
# Mean completion as fraction of the limit, and fraction of rows with a signal.
ASSUMED = ((0.5, 1.0), (0.39, 0.5))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """A step on one chip; its work is counted from the model's shape and by the compiler."""

    name: str
    counted_flops: float
    counted_bytes: float
    lower: Callable[[ModelConfig], jax.stages.Lowered]

    def row(self, model: ModelConfig, device: Device) -> dict[str, Any]:
        """Makes a row of a table."""
        flops, moved = (self._compiled(model, key) for key in ("flops", "bytes accessed"))
        seconds = max(flops / device.peak_flops / MFU, moved / device.bandwidth / BANDWIDTH_SHARE)
        return {
            "step": self.name,
            "Tflop counted": self.counted_flops / 1e12,
            "Tflop compiled": flops / 1e12,
            "GB counted": self.counted_bytes / 1e9,
            "GB compiled": moved / 1e9,
            "implied ms": 1e3 * seconds,
        }

    def _compiled(self, model: ModelConfig, key: str) -> float:
        few, more = (self._analysis(dataclasses.replace(model, num_layers=count))[key] for count in SOME_LAYERS)
        per_layer = (more - few) / (SOME_LAYERS[1] - SOME_LAYERS[0])
        return few + per_layer * (model.num_layers - SOME_LAYERS[0])

    def _analysis(self, model: ModelConfig) -> dict[str, float]:
        analysis = self.lower(model).compile().cost_analysis()
        assert analysis is not None
        return analysis


def measure(options: Options) -> Iterator[Section]:
    """Yields a table of steps compiled for one chip, and a table of runs."""
    jax.config.update("jax_enable_compilation_cache", False)  # without a TPU, its programs cannot be read back
    config = _config({})
    device, chips = compile_check.topology_devices(TOPOLOGIES[0])
    mesh = parallel.make_mesh(1, devices=chips[:1])
    model = known_shapes.shape_of(config.model.source, config.model.dtype)
    prompt = sorted(config.prompts.bucket_tokens)[1]
    with_int8 = dataclasses.replace(model, int8_cache=True)
    yield Section(
        title=f"{SCALE} on one {device.title}, compiled and not run",
        rows=[
            _decode_step(mesh, config, model=model, prompt=prompt).row(model, device),
            _decode_step(mesh, config, model=with_int8, prompt=prompt).row(with_int8, device),
            _update(mesh, config, model=model, prompt=prompt).row(model, device),
        ],
        note=f"Implied: the longer of compiled FLOPs at {MFU:.0%} of the peak and bytes at {BANDWIDTH_SHARE:.0%}. "
        "Compiled bytes are the compiler's estimate. It counts the operands of a product about three times, since a "
        "nested fusion that passes them on counts as a read and a write.",
    )
    yield Section(
        title=f"a run of configs/soar_math.py:{SCALE}, calculated from counted operations and bytes",
        rows=[
            _plan_row(name, topology, model, mean=mean, trained=trained)
            for name in VARIANTS
            for mean, trained in ASSUMED
            for topology in TOPOLOGIES
        ],
        note=f"{MFU:.0%} of peak FLOPs, {BANDWIDTH_SHARE:.0%} of peak bandwidth, with final students and tests. Rows "
        "without a signal are not trained on. The paper's run took 1,536-1,920 GPU-hours.",
    )


def _config(changes: dict[str, Any]) -> RunConfig:
    config = method_config("soar_math", SCALE)
    config.update_from_flattened_dict(changes)
    return read_config(config).for_platform("tpu")


def _plan_row(name: str, topology: str, model: ModelConfig, mean: float, trained: float) -> dict[str, Any]:
    config = _config(VARIANTS[name])
    assumed = Assumptions(
        sizes=Sizes(hard_share=0.2, num_promotions=4, accepted_share=1.0),
        completion_share=mean,
        prompt_tokens=0,
        trained_share=trained,
        mfu=MFU,
        bandwidth_share=BANDWIDTH_SHARE,
        tokens_per_s=0.0,
    )
    plan: Plan = make_plan(config, model, topology=parse_topology(topology), assumed=assumed)
    step = [cost for phase, cost in plan.phases if phase.part == STEP]
    return {
        "config": name,
        "topology": topology,
        "tokens a completion": round(mean * config.student.max_completion_tokens),
        "rows with a signal, %": 100 * trained,
        "sampling s a step": sum(cost.sampling_s for cost in step),
        "training s a step": sum(cost.training_s for cost in step),
        "hours": plan.total.seconds / 3600,
        "chip-hours": plan.chip_hours,
        "H100-hours": plan.h100_hours,
    }


def _decode_step(mesh: Mesh, config: RunConfig, model: ModelConfig, prompt: int) -> Step:
    """Decodes one token in each of a device's slots, with the ring at its full size."""
    rows, slots = SLOTS, prompt + config.student.max_completion_tokens - 1

    def lower(model: ModelConfig) -> jax.stages.Lowered:
        # Many parameters: the arrays of a decoding step, which jax.jit takes by position.
        def step(params: Any, token: Any, positions: Any, seen: Any, cache: Any, slot: Any, key_positions: Any) -> Any:
            hidden, cache = decoder.hidden_states(
                params,
                model,
                tokens=token,
                positions=positions,
                key_valid=seen,
                cache=cache,
                first_slot=slot,
                key_positions=key_positions,
            )
            return decoder.logits(params, model, hidden[:, 0]), cache

        on_chip = _Chip(mesh=mesh)
        params = jax.eval_shape(lambda params: decoder.decoding_params(params, model), abstract_params(model))
        heads = rows, model.num_kv_heads
        key: Any = on_chip.array((*heads, model.head_dim, slots), model.dtype)
        value: Any = on_chip.array((*heads, slots, model.head_dim), model.dtype)
        one_layer = KVCache(key, value)
        if model.int8_cache:
            one_layer = on_chip.place(jax.eval_shape(kv_cache.quantize, one_layer))
        return jax.jit(step, donate_argnums=4).lower(
            on_chip.place(params),
            on_chip.array((rows, 1), jnp.int32),
            on_chip.array((rows, 1), jnp.int32),
            on_chip.array((rows, slots), jnp.bool_),
            (one_layer,) * model.num_layers,
            on_chip.array((), jnp.int32),
            on_chip.array((rows, slots), jnp.int32),
        )

    flops = rows * costs.decode_flops(model, slots - 1, 2)
    moved = costs.matrix_bytes(model) + rows * slots * costs.cache_bytes_per_token(model)
    name = f"decode a token of {rows} rows" + ", int8 cache" * model.int8_cache
    return Step(name=name, counted_flops=flops, counted_bytes=moved, lower=lower)


def _update(mesh: Mesh, config: RunConfig, model: ModelConfig, prompt: int) -> Step:
    """Computes the gradient of a micro-batch of completions at their limit, with layers recomputed."""
    rows, completion = config.student.rows_per_micro_batch, config.student.max_completion_tokens
    loss = workloads.loss(rows * completion, "layers")  # one chunk: the compiler counts a loop's body once

    def lower(model: ModelConfig) -> jax.stages.Lowered:
        on_chip = _Chip(mesh=mesh)
        prompts = PromptBatch(
            tokens=on_chip.array((rows, prompt), jnp.int32), lengths=on_chip.array((rows,), jnp.int32)
        )
        tokens, logprobs = (on_chip.array((rows, completion), dtype) for dtype in (jnp.int32, jnp.float32))
        rollouts = RolloutBatch(
            prompts=prompts,
            prompt_of=on_chip.array((rows,), jnp.int32),
            tokens=tokens,
            lengths=on_chip.array((rows,), jnp.int32),
            sampler_logprobs=logprobs,
        )
        batch = TrainBatch(rollouts=rollouts, advantages=on_chip.array((rows,), jnp.float32))
        gradient = jax.grad(lambda params, batch: policy_gradient_loss(params, batch, model=model, settings=loss)[0])
        return jax.jit(gradient).lower(on_chip.place(abstract_params(model)), batch)

    flops = rows * costs.training_flops(model, prompt, completion, remat="layers")
    return Step(
        name=f"gradient of {rows} rows", counted_flops=flops, counted_bytes=2 * costs.weight_bytes(model), lower=lower
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Chip:
    """Makes shapes of arrays on one chip."""

    mesh: Mesh

    def array(self, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(self.mesh, PartitionSpec()))

    def place(self, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: self.array(leaf.shape, leaf.dtype), tree)
