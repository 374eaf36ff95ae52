"""Computes FLOPs and bytes of a decoder from its shape alone.

A product of an [A, B] and a [B, C] matrix is 2·A·B·C FLOPs. Norms, softmax, RoPE and the embedding are not counted:
together they are about a percent of a large model. A token's *context* is the number of keys that it attends to,
including its own.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from soar_jax.config.policy_sections import LoRASection
from soar_jax.model import kv_cache
from soar_jax.model.config import ModelConfig
from soar_jax.model.lora import UNEMBEDDING
from soar_jax.model.parameters import num_input_axes, num_parameters, parameter_table

_ADAM_BYTES = 12  # float32 parameter and two moments


def matrix_parameters(config: ModelConfig) -> int:
    """Returns the parameters in matrix products of one token: of the layers and the unembedding, tied or not."""
    return _layer_parameters(config) + config.d_model * config.vocab_size


def adapter_parameters(config: ModelConfig, lora_config: LoRASection) -> int:
    """Returns the parameters of LoRA adapters: rank · (inputs + outputs) of each adapted matrix."""
    table, total = parameter_table(config), 0
    for name in lora_config.layers:
        is_top = name == UNEMBEDDING
        shape = table[name].shape if is_top else table["layers"][name].shape[1:]
        inputs, outputs = math.prod(shape[: num_input_axes(name)]), math.prod(shape[num_input_axes(name) :])
        total += (1 if is_top else config.num_layers) * lora_config.rank * (inputs + outputs)
    return total


def prefill_flops(config: ModelConfig, prompt_tokens: int) -> int:
    """Returns the FLOPs to prefill a prompt: the layers for all tokens, the logits for the last."""
    layers = 2 * prompt_tokens * _layer_parameters(config) + _attention_flops(config, 1, prompt_tokens)
    return layers + _unembedding_flops(config)


def decode_flops(config: ModelConfig, prompt_tokens: int, completion_tokens: int) -> int:
    """Returns the FLOPs to decode a completion after prefill; its last token is sampled but never decoded from."""
    read = completion_tokens - 1
    return 2 * read * matrix_parameters(config) + _attention_flops(config, prompt_tokens + 1, prompt_tokens + read)


def training_flops(
    config: ModelConfig,
    prompt_tokens: int,
    completion_tokens: int,
    remat: str = "none",
    lora_config: LoRASection | None = None,
    num_completions: int = 1,
) -> int:
    """Returns the FLOPs of the policy gradient of a prompt with its completions, forward and backward.

    The backward pass has one product for the gradient of a matrix's input and one for that of the matrix; a frozen
    matrix under LoRA needs only the first. Logits are computed for completion tokens only, and twice, since
    `rl/losses.py` recomputes them in the backward pass.

    Args:
      remat: of decoder.REMAT_POLICIES: what is recomputed too, all of the layers or, with 'dots', attention alone.
      lora_config: adapters that are trained instead of the model.
      num_completions: that share the prompt; 0 is the prompt alone.
    """
    tokens, again = prompt_tokens + num_completions * (completion_tokens - 1), int(remat == "layers")
    passes = 2 if lora_config else 3
    layers = (passes + again) * 2 * tokens * _layer_parameters(config)
    attention = (3 + int(remat != "none")) * _row_attention_flops(
        config, prompt_tokens, completion_tokens, num_completions=num_completions
    )
    logits = (passes + 1) * num_completions * completion_tokens * _unembedding_flops(config)
    adapters = (3 + again) * 2 * tokens * adapter_parameters(config, lora_config) if lora_config else 0
    return layers + attention + logits + adapters


def useful_training_flops(
    config: ModelConfig,
    prompt_tokens: int,
    completion_tokens: int,
    lora_config: LoRASection | None = None,
    num_completions: int = 1,
) -> int:
    """Returns `training_flops` without recomputation, as MFU counts them."""
    once = training_flops(
        config,
        prompt_tokens,
        completion_tokens,
        lora_config=lora_config,
        num_completions=num_completions,
    )
    return once - num_completions * completion_tokens * _unembedding_flops(config)


def reference_flops(config: ModelConfig, prompt_tokens: int, completion_tokens: int, num_completions: int = 1) -> int:
    """Returns the FLOPs of the log-probabilities of a prompt's completions under the reference policy."""
    tokens = prompt_tokens + num_completions * (completion_tokens - 1)
    layers = 2 * tokens * _layer_parameters(config)
    attention = _row_attention_flops(config, prompt_tokens, completion_tokens, num_completions=num_completions)
    return layers + attention + num_completions * completion_tokens * _unembedding_flops(config)


def weight_bytes(config: ModelConfig) -> int:
    """Returns the bytes of all parameters in the decoder's compute dtype."""
    return num_parameters(config) * _itemsize(config)


def matrix_bytes(config: ModelConfig) -> int:
    """Returns the bytes of weights that a decoding step reads, independent of its rows."""
    return matrix_parameters(config) * _itemsize(config)


def cache_bytes_per_token(config: ModelConfig) -> int:
    """Returns the bytes of a token in the KV cache of all layers, including int8 scales."""
    per_head = config.head_dim * _itemsize(config)
    if config.int8_cache:
        per_head = config.head_dim + kv_cache.SCALE_DTYPE.dtype.itemsize
    return 2 * config.num_layers * config.num_kv_heads * per_head


def product_bytes_per_token(config: ModelConfig, lora_config: LoRASection | None = None) -> int:
    """Returns the bytes of the results of a token's matrix products in all layers, which `remat` "dots" keeps.

    Where adapters are trained, the products of the base and of the adapters are both float32.
    """
    table = parameter_table(config)["layers"].values()
    outputs = sum(math.prod(spec.shape) // spec.fan_in for spec in table if spec.fan_in)
    return outputs * (2 * 4 if lora_config else _itemsize(config))


def training_state_bytes(config: ModelConfig, lora_config: LoRASection | None = None) -> int:
    """Returns the bytes of one policy's training state: trained parameters and optimizer moments, in float32."""
    return _ADAM_BYTES * (adapter_parameters(config, lora_config) if lora_config else num_parameters(config))


def _layer_parameters(config: ModelConfig) -> int:
    return sum(math.prod(spec.shape) for spec in parameter_table(config)["layers"].values() if spec.fan_in)


def _unembedding_flops(config: ModelConfig) -> int:
    return 2 * config.d_model * config.vocab_size


def _attention_flops(config: ModelConfig, first: int, last: int) -> int:
    """Returns the FLOPs of attention in all layers for tokens at contexts `first` to `last`, bounded by windows."""
    with_window = len(config.layers_with_window)
    full = _sum_up_to(last) - _sum_up_to(first - 1)
    near = _sum_up_to(last, config.window_tokens) - _sum_up_to(first - 1, config.window_tokens)
    keys = (config.num_layers - with_window) * full + with_window * near
    return 4 * config.num_heads * config.head_dim * keys


def _row_attention_flops(config: ModelConfig, prompt_tokens: int, completion_tokens: int, num_completions: int) -> int:
    """Returns the FLOPs of attention for the tokens of a prompt, and of completions without their last tokens."""
    prompt = _attention_flops(config, 1, prompt_tokens)
    if num_completions == 0:
        return prompt
    return prompt + num_completions * _attention_flops(config, prompt_tokens + 1, prompt_tokens + completion_tokens - 1)


def _sum_up_to(last: int, bound: int | None = None) -> int:
    """Sum of min(n, bound) over n = 1 .. last."""
    within = last if bound is None else min(last, bound)
    return within * (within + 1) // 2 + (last - within) * within


def _itemsize(config: ModelConfig) -> int:
    return jnp.dtype(config.dtype).itemsize
