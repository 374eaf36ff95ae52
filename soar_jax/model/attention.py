"""Grouped-query attention: a plain einsum form for every platform, and fused kernels for full rows on TPU and GPU.

The kernels never materialise the scores [T, S] and skip causally masked blocks. Einsum letters as in `decoder.py`.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask
from jax.sharding import Mesh, PartitionSpec

from soar_jax.config.sections import AUTO, ModelSection
from soar_jax.errors import require
from soar_jax.model.config import ModelConfig
from soar_jax.model.kv_cache import KVCache
from soar_jax.parallel.mesh import DATA, FSDP, TENSOR
from soar_jax.parallel.sharding import COMPUTE_RULES, partition

PLAIN, SPLASH, CUDNN = "plain", "splash", "cudnn"
_NEEDS = {SPLASH: "tpu", CUDNN: "gpu"}  # platform of each kernel
_MAX_CUDNN_HEAD_DIM = 128  # on every GPU; the newer ones take 256
_MIN_CUDNN_CAPABILITY = 8.0  # Ampere
_MASKED = -1e30  # finite: a fully masked row gives no NaN
_LANES = 128  # the number of slots in the TPU kernel is a multiple of this
_BLOCKS = (512, 256, 128)  # its block sizes in slots; the largest that divides the row is used


def check(section: ModelSection, mesh: Mesh) -> None:
    """Checks what a config's section `model` says of attention, before a model is loaded.

    Raises:
      SettingsError: the kernel is not there on the mesh's devices, or not for the dtype.
    """
    name, platform = section.attention, mesh.devices.flat[0].platform
    require(
        name not in _NEEDS or platform == _NEEDS[name],
        f"model.attention is {name!r}, a kernel of the platform {_NEEDS.get(name)!r}, but the devices are {platform!r};"
        " choose 'auto'",
    )
    require(
        name != CUDNN or section.dtype == "bfloat16",
        f"model.attention='cudnn' needs model.dtype='bfloat16', not {section.dtype!r}; choose 'auto'",
    )


def _has_cudnn_attention(device: Any) -> bool:
    """Whether a GPU is one for cuDNN's attention; those of other vendors have no such number."""
    try:
        return float(getattr(device, "compute_capability", "")) >= _MIN_CUDNN_CAPABILITY
    except ValueError:
        return False


def choose(section: ModelSection, model: ModelConfig, mesh: Mesh) -> ModelConfig:
    """The model, set to attend as a config's section `model` says on a mesh's devices.

    "auto" is the kernel of the devices where it can do the model, and plain elsewhere. No kernel can do layers with
    windows; cuDNN's needs an NVIDIA GPU of compute capability 8.0, and can do bfloat16 and heads of 8, 16, ... 128
    dimensions.

    On a TPU a deep model's layers are scanned in decoding, too, which compiles several times faster. Its compiler reads
    a layer's weights and cache from the stacked arrays, where that of a CPU copies them first.

    Raises:
      SettingsError: the kernel cannot do this model.
    """
    name, has_windows = section.attention, bool(model.layers_with_window)
    device = mesh.devices.flat[0]
    fits_cudnn = model.head_dim % 8 == 0 and model.head_dim <= _MAX_CUDNN_HEAD_DIM
    if name == AUTO:
        takes_cudnn = fits_cudnn and model.dtype == "bfloat16" and _has_cudnn_attention(device)
        kernels = {"tpu": SPLASH, "gpu": CUDNN if takes_cudnn else PLAIN}
        name = PLAIN if has_windows else kernels.get(device.platform, PLAIN)
    require(name == PLAIN or not has_windows, f"model.attention={name!r} cannot do layers with windows; choose 'auto'")
    require(
        name != CUDNN or fits_cudnn,
        f"model.attention='cudnn' cannot do heads of {model.head_dim} dimensions, only of multiples of 8 up to "
        f"{_MAX_CUDNN_HEAD_DIM}; choose 'auto'",
    )
    scans_decoding = model.scans_layers and device.platform == "tpu"
    return dataclasses.replace(model, attention=name, int8_cache=section.int8_cache, scans_decoding=scans_decoding)


def attend(query: jax.Array, cache: KVCache, mask: jax.Array, scale: float) -> jax.Array:
    """Computes grouped-query attention; the softmax is float32.

    Args:
      query: [B, N, T, H].
      cache: keys [B, K, H, S] and values [B, K, S, H]; K divides N.
      mask: [B, T, S] bool, true where a query attends to a key.
      scale: factor on the scores.

    Returns:
      [B, N, T, H] in the query's dtype.
    """
    batch, num_heads, steps, head_dim = query.shape
    query = query.reshape(batch, cache.key.shape[1], -1, steps, head_dim)
    key, value = cache.key.astype(query.dtype), cache.value.astype(query.dtype)
    scores = jnp.einsum("bkgth,bkhs->bkgts", query, key, preferred_element_type=jnp.float32)
    scores = _scale_slots(scores, cache.key_scale)
    scores = jnp.where(mask[:, None, None], scores * scale, _MASKED)
    weights = _scale_slots(jax.nn.softmax(scores, axis=-1), cache.value_scale).astype(query.dtype)
    attended = jnp.einsum("bkgts,bksh->bkgth", weights, value)
    return attended.reshape(batch, num_heads, steps, head_dim)


def _scale_slots(x: jax.Array, scale: jax.Array | None) -> jax.Array:
    """Multiplies x [B, K, G, T, S] by the scales [B, K, S] of an int8 cache; a float cache has none."""
    return x if scale is None else x * scale[:, :, None, None]


def attend_to_row(
    kernel: str, query: jax.Array, key: jax.Array, value: jax.Array, key_valid: jax.Array, scale: float
) -> jax.Array:
    """Computes causal `attend` over rows by a fused kernel: queries see the valid slots up to their own.

    Args:
      kernel: SPLASH or CUDNN.
      query: [B, N, T, H], of the last T slots.
      key, value: [B, K, H, S] and [B, K, S, H]; K divides N.
      key_valid: [B, S] bool.
      scale: factor on the scores.

    Returns:
      [B, N, T, H]; undefined for queries that see no valid slot.
    """
    function = functools.partial({SPLASH: _splash, CUDNN: _cudnn}[kernel], scale=scale)
    arguments = query, jnp.swapaxes(key, 2, 3), value, key_valid
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return function(*arguments)
    # The compiler cannot partition kernels, so each device runs one on its shard of rows and heads.
    heads = partition(mesh, COMPUTE_RULES, shape=query.shape, logical_axes=("rows", "heads", None, None))
    return jax.shard_map(
        function,
        in_specs=(heads, heads, heads, PartitionSpec(heads[0])),
        out_specs=heads,
        axis_names={DATA, FSDP, TENSOR} - set(mesh.manual_axes),
        check_vma=False,
    )(*arguments)


def _splash(query: jax.Array, key: jax.Array, value: jax.Array, key_valid: jax.Array, scale: float) -> jax.Array:
    _, num_heads, num_queries, _ = query.shape
    first = key.shape[2] - num_queries  # slot of the first query
    padding = -num_queries % _LANES
    num_slots = first + num_queries + padding
    more = -num_slots % _LANES
    query = (query.astype(jnp.float32) * scale).astype(query.dtype)
    rows = [
        jnp.pad(x, ((0, 0), (0, 0), (0, count), (0, 0)))
        for x, count in ((query, padding), (key, padding + more), (value, padding + more))
    ]
    # Padding is a separate segment: in the kernel every query must see at least one key, here its own.
    segment = jnp.pad(key_valid.astype(jnp.int32), ((0, 0), (0, padding + more)))
    block_q, block_kv = (
        next(size for size in _BLOCKS if total % size == 0) for total in (num_queries + padding, num_slots + more)
    )
    sizes = splash.BlockSizes(
        block_q=block_q,
        block_kv=block_kv,
        block_q_dkv=block_q,
        block_kv_dkv=block_kv,
        block_q_dq=block_q,
        block_kv_dq=block_kv,
    )
    causal = splash_attention_mask.CausalMask((num_queries + padding, num_slots + more), offset=first)
    kernel = splash.make_splash_mha_single_device(
        splash_attention_mask.MultiHeadMask([causal] * num_heads), block_sizes=sizes
    )
    of_queries = segment[:, first : first + num_queries + padding]
    return jax.vmap(kernel)(*rows, splash.SegmentIds(of_queries, segment))[:, :, :num_queries]


def _cudnn(query: jax.Array, key: jax.Array, value: jax.Array, key_valid: jax.Array, scale: float) -> jax.Array:
    num_queries = query.shape[2]
    first = key.shape[2] - num_queries  # slot of the first query
    # cuDNN's backward pass needs even numbers.
    query, key, value = (
        jnp.pad(jnp.swapaxes(x, 1, 2), ((0, 0), (0, x.shape[2] % 2), (0, 0), (0, 0))) for x in (query, key, value)
    )
    valid = jnp.pad(key_valid, ((0, 0), (0, key_valid.shape[1] % 2)))
    slots = first + jnp.arange(query.shape[1])
    mask = valid[:, None, None, :] & (jnp.arange(valid.shape[1]) <= slots[:, None])  # [B, 1, T, S]
    attended = jax.nn.dot_product_attention(query, key, value, mask=mask, scale=scale, implementation="cudnn")
    return jnp.swapaxes(attended[:, :num_queries], 1, 2)
