"""What a decoder costs, counted from its shape alone: floating-point operations and bytes.

A product of an [A, B] and a [B, C] matrix is 2·A·B·C operations. Norms, softmax, rotations and the embedding look-up
are left out: together they are about a percent of a large model. A token's *context* is the number of keys that it
looks at, its own counted.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from soar_jax.model import kv_cache
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import UNEMBEDDING, LoRASettings
from soar_jax.model.parameters import num_input_axes, num_parameters, parameter_table

_ADAM_BYTES = 12  # a trained parameter and its two moments, in float32


def matrix_parameters(config: ModelConfig) -> int:
    """Parameters that a token is multiplied with: the layers' matrices, and the unembedding, tied or not."""
    return _layer_parameters(config) + config.d_model * config.vocab_size


def adapter_parameters(config: ModelConfig, adapting: LoRASettings) -> int:
    """Trained parameters of low-rank adapters: rank · (inputs + outputs) of every adapted matrix."""
    table, total = parameter_table(config), 0
    for name in adapting.layers:
        is_top = name == UNEMBEDDING
        shape = table[name].shape if is_top else table["layers"][name].shape[1:]
        inputs, outputs = math.prod(shape[: num_input_axes(name)]), math.prod(shape[num_input_axes(name) :])
        total += (1 if is_top else config.num_layers) * adapting.rank * (inputs + outputs)
    return total


def forward_flops(config: ModelConfig, context: int) -> int:
    """Operations of one token's next-token logits, at a context."""
    return 2 * matrix_parameters(config) + _attention_flops(config, context, context)


def prefill_flops(config: ModelConfig, prompt_tokens: int) -> int:
    """Operations of a prompt: all its tokens through the layers, the last one to logits."""
    layers = 2 * prompt_tokens * _layer_parameters(config) + _attention_flops(config, 1, prompt_tokens)
    return layers + _unembedding_flops(config)


def decode_flops(config: ModelConfig, prompt_tokens: int, completion_tokens: int) -> int:
    """Operations of a completion behind a prefilled prompt; its last token is drawn but never read."""
    read = completion_tokens - 1
    return 2 * read * matrix_parameters(config) + _attention_flops(config, prompt_tokens + 1, prompt_tokens + read)


def training_flops(
    config: ModelConfig,
    prompt_tokens: int,
    completion_tokens: int,
    rematerialised: bool,
    adapting: LoRASettings | None = None,
) -> int:
    """Operations of a row's policy-gradient, forward and backward.

    The backward pass takes a product for the gradient of a matrix's input and one for that of the matrix; a frozen
    matrix under adapters needs only the first. Logits are made of completion tokens alone, and always twice, because
    `rl/losses.py` makes them again in the backward pass.

    Args:
      rematerialised: whether the layers are computed twice too.
      adapting: the adapters that are trained instead of the model.
    """
    tokens, again = prompt_tokens + completion_tokens - 1, int(rematerialised)
    passes = 2 if adapting else 3
    layers = (passes + again) * 2 * tokens * _layer_parameters(config)
    attention = (3 + again) * _attention_flops(config, 1, tokens)
    logits = (passes + 1) * completion_tokens * _unembedding_flops(config)
    adapters = (3 + again) * 2 * tokens * adapter_parameters(config, adapting) if adapting else 0
    return layers + attention + logits + adapters


def useful_training_flops(
    config: ModelConfig, prompt_tokens: int, completion_tokens: int, adapting: LoRASettings | None = None
) -> int:
    """`training_flops` without what is computed twice: what MFU counts."""
    once = training_flops(config, prompt_tokens, completion_tokens, rematerialised=False, adapting=adapting)
    return once - completion_tokens * _unembedding_flops(config)


def reference_flops(config: ModelConfig, prompt_tokens: int, completion_tokens: int) -> int:
    """Operations of a row's log-probabilities under a policy that is not trained (the KL term's)."""
    tokens = prompt_tokens + completion_tokens - 1
    layers = 2 * tokens * _layer_parameters(config) + _attention_flops(config, 1, tokens)
    return layers + completion_tokens * _unembedding_flops(config)


def weight_bytes(config: ModelConfig) -> int:
    """Bytes of all parameters in the dtype that the decoder computes in."""
    return num_parameters(config) * _itemsize(config)


def matrix_bytes(config: ModelConfig) -> int:
    """Bytes of weights that a decoding step reads, however many rows it decodes."""
    return matrix_parameters(config) * _itemsize(config)


def cache_bytes_per_token(config: ModelConfig) -> int:
    """Bytes of a token's keys and values in all layers, with their scales where they are rounded."""
    per_head = config.head_dim * _itemsize(config)
    if config.int8_cache:
        per_head = config.head_dim + kv_cache.SCALE_DTYPE.dtype.itemsize
    return 2 * config.num_layers * config.num_kv_heads * per_head


def training_state_bytes(config: ModelConfig, adapting: LoRASettings | None = None) -> int:
    """Bytes that one policy in training keeps: what is trained and its optimiser's moments, in float32."""
    return _ADAM_BYTES * (adapter_parameters(config, adapting) if adapting else num_parameters(config))


def _layer_parameters(config: ModelConfig) -> int:
    return sum(math.prod(spec.shape) for spec in parameter_table(config)["layers"].values() if spec.fan_in)


def _unembedding_flops(config: ModelConfig) -> int:
    return 2 * config.d_model * config.vocab_size


def _attention_flops(config: ModelConfig, first: int, last: int) -> int:
    """Scores and weighted sums of tokens at contexts `first` to `last`, in all layers; windows bound the context."""
    with_window = len(config.layers_with_window)
    full = _sum_up_to(last) - _sum_up_to(first - 1)
    near = _sum_up_to(last, config.window_tokens) - _sum_up_to(first - 1, config.window_tokens)
    keys = (config.num_layers - with_window) * full + with_window * near
    return 4 * config.num_heads * config.head_dim * keys


def _sum_up_to(last: int, bound: int | None = None) -> int:
    """Sum of min(n, bound) over n = 1 .. last."""
    within = last if bound is None else min(last, bound)
    return within * (within + 1) // 2 + (last - within) * within


def _itemsize(config: ModelConfig) -> int:
    return jnp.dtype(config.dtype).itemsize
