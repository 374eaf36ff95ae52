"""What each device holds during a run, computed from shapes and shardings alone."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from soar_jax.model import layout, lora
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase, LoRASettings
from soar_jax.model.parameters import Params, abstract_params, map_table, parameter_table
from soar_jax import parallel
from soar_jax.rl.train_step import OptimizerSettings, TrainState, init_train_state, make_optimizer


def shaped(tree: Any, shardings: Any) -> Any:
    """`jax.ShapeDtypeStruct`s of a pytree of arrays or shapes, each with its sharding."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree, shardings
    )


def bytes_a_device(tree: Any) -> int:
    """Bytes of a pytree that one device holds; its leaves have shape, dtype and sharding."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policies:
    """The run's policies as shapes with shardings: what `runs/build.py` and `rl/population.py` make, without data."""

    mesh: Mesh
    model: ModelConfig
    adapting: LoRASettings | None  # None where the whole model is trained

    def frozen(self) -> FrozenBase | None:
        """What adapters lie on."""
        if self.adapting is None:
            return None
        base = abstract_params(self.model)
        scale: Any = jax.ShapeDtypeStruct((), jnp.float32, sharding=NamedSharding(self.mesh, parallel.REPLICATED))
        return FrozenBase(shaped(base, layout.shardings(self.mesh, self.model, base)), scale)

    def weights(self) -> Params:
        """One policy."""
        weights = self._weights()
        return shaped(weights, layout.shardings(self.mesh, self.model, weights))

    def state(self, optimizer: OptimizerSettings) -> TrainState:
        """One policy with its optimiser."""
        return self._state(optimizer, self._weights(), 0)

    def population(self, optimizer: OptimizerSettings, size: int) -> TrainState:
        """`size` students with their optimisers: leaves [size, ...]."""
        stacked = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape), leaf.dtype), self._weights())
        return self._state(optimizer, stacked, size)

    def _weights(self) -> Params:
        adapting = self.adapting
        if adapting is not None:
            key = jax.eval_shape(lambda: jax.random.key(0))
            return jax.eval_shape(lambda key: lora.init_adapters(adapting, self.model, key), key)
        return map_table(lambda spec: jax.ShapeDtypeStruct(spec.shape, jnp.float32), parameter_table(self.model))

    def _state(self, optimizer: OptimizerSettings, weights: Params, size: int) -> TrainState:
        adam, num_stacked = make_optimizer(optimizer), int(size > 0)

        def init(weights: Params) -> TrainState:
            return init_train_state(weights, adam)

        state = jax.eval_shape(jax.vmap(init) if size else init, weights)
        own = layout.shardings(self.mesh, self.model, weights=state.weights, num_stacked=num_stacked)
        rest = layout.state_shardings(self.mesh, adam, opt_state=state.opt_state, weight_shardings=own, num_stacked=num_stacked)
        return shaped(state, TrainState(weights=own, opt_state=rest))
