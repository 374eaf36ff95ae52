"""Embeddings of questions, for diversity measures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from soar_jax import parallel
from soar_jax.config.fields import SENTENCE_TRANSFORMERS
from soar_jax.errors import SettingsError
from soar_jax.model import decoder
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import FrozenBase, decoder_params
from soar_jax.model.parameters import Params
from soar_jax.parallel import processes
from soar_jax.parallel.ahead import ahead_jit
from soar_jax.sampling.text import TextSampler
from soar_jax.types import PromptBatch


class Embedder(Protocol):
    """Turns texts into vectors."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Returns [len(texts), E] float32."""


@ahead_jit(static_argnames=("mesh", "model"))
def mean_pooled(
    weights: Params, frozen_base: FrozenBase | None, prompts: PromptBatch, *, mesh: Mesh, model: ModelConfig
) -> jax.Array:
    """Mean of the final hidden states over a text's tokens: [B, D] float32, with B divisible by the mesh size."""

    def pool(weights: Params, frozen_base: FrozenBase | None, prompts: PromptBatch) -> jax.Array:
        params = decoder_params(weights, frozen_base, model)
        valid = jnp.arange(prompts.tokens.shape[1]) < prompts.lengths[:, None]  # [B, T]
        positions = jnp.broadcast_to(jnp.arange(prompts.tokens.shape[1]), prompts.tokens.shape)
        hidden, _ = decoder.hidden_states(params, model, tokens=prompts.tokens, positions=positions, key_valid=valid)
        total = jnp.where(valid[..., None], hidden, 0).astype(jnp.float32).sum(axis=1)
        return total / prompts.lengths[:, None]

    in_specs = (parallel.REPLICATED, parallel.REPLICATED, parallel.BY_POPULATION)
    return parallel.shard_over_population(mesh, pool, in_specs=in_specs, out_specs=parallel.BY_POPULATION)(
        weights, frozen_base, prompts
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelEmbedder:
    """Mean-pooled hidden states of a policy; texts are encoded without prompt or chat template."""

    sampler: TextSampler
    weights: Params
    rows_per_call: int  # texts are padded to a multiple of it: one compiled shape per prompt bucket

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        sampler = self.sampler
        padded = [*texts, *[""] * (-len(texts) % self.rows_per_call)]
        empty = np.zeros((0, sampler.model.d_model), np.float32)  # for no texts
        pending: list[jax.Array] = []
        for start in range(0, len(padded), self.rows_per_call):
            prompts = parallel.shard_population(
                sampler.mesh, sampler.encode(padded[start : start + self.rows_per_call])
            )
            pooled = mean_pooled(self.weights, sampler.frozen_base, prompts, mesh=sampler.mesh, model=sampler.model)
            sampler.meter.watch(pooled)
            pending.append(pooled)
        return np.concatenate([empty, *map(processes.to_host, pending)])[: len(texts)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CentredEmbedder:
    """Subtracts a mean vector.

    Hidden states have a large common component, so all cosine similarities are near 1 (arXiv 1909.00512); without it
    they distinguish texts.
    """

    embedder: Embedder
    centre: np.ndarray  # [E]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return self.embedder.embed(texts) - self.centre


@dataclasses.dataclass(frozen=True, kw_only=True)
class SentenceTransformerEmbedder:
    """Embeds with a model of the sentence-transformers library."""

    model: Any

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.asarray(self.model.encode(list(texts), show_progress_bar=False), np.float32)


def make_embedder(name: str, sampler: TextSampler, weights: Params, rows_per_call: int) -> Embedder:
    """Makes the embedder that `analysis.embeddings` names: "model", or "sentence-transformers:NAME_OR_FOLDER".

    Raises:
      SettingsError: the library or model is missing.
    """
    if name == "model":
        return ModelEmbedder(sampler=sampler, weights=weights, rows_per_call=rows_per_call)
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise SettingsError(
            f"analysis.embeddings is {name!r}, which needs: pip install 'soar-jax[embeddings]'"
        ) from None
    model_name = name.removeprefix(SENTENCE_TRANSFORMERS)
    try:
        return SentenceTransformerEmbedder(model=SentenceTransformer(model_name, device="cpu"))
    except Exception as error:  # the library raises many types when it cannot load a model
        raise SettingsError(
            f"cannot load analysis.embeddings {name!r} ({type(error).__name__}); give a folder or use 'model'"
        ) from error
