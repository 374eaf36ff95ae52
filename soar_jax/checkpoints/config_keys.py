"""Keys of a checkpoint's config: a key that may change what the model computes is applied or refused.

A key passes if it is applied, if it is known to have no effect on logits, or if its value turns it off.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Collection, Mapping
from typing import Any

from soar_jax.errors import require

# Of transformers' config classes, old and new ones, and of tools that write checkpoints.
_NO_EFFECT = """
    model_type architectures dtype torch_dtype torchscript use_bfloat16 use_cache return_dict return_dict_in_generate
    output_attentions output_hidden_states output_scores output_router_logits tie_last_hidden_states
    initializer_range initializer_factor pretraining_tp chunk_size_feed_forward gradient_checkpointing
    attention_dropout hidden_dropout hidden_dropout_prob attention_probs_dropout_prob resid_pdrop embd_pdrop
    attn_pdrop residual_dropout embedding_dropout classifier_dropout z_loss_coefficient is_decoder is_llama_config
    name_or_path finetuning_task task_specific_params problem_type num_labels id2label label2id tokenizer_class prefix
    max_length min_length max_new_tokens max_sequence_length model_max_length seq_length do_sample early_stopping
    num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p repetition_penalty length_penalty
    no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences remove_invalid_values
    exponential_decay_length_penalty suppress_tokens begin_suppress_tokens
    num_logits_to_keep cache_implementation attn_implementation license
"""
# Such as _name_or_path, unsloth_version, transformers.js_config, bos_token_id.
_NO_EFFECT_NAME = re.compile(r"(?:_|unsloth|transformers[._]).*|\w+_token_(?:id|index)")
# Factors, which have no effect at 1. (Granite's attention_multiplier is none: it replaces another factor.)
_FACTORS = """
    partial_rotary_factor rotary_pct rope_percent rotary_percentage rope_ratio attention_factor rope.scaling.attn_factor
    embedding_multiplier residual_multiplier lm_head_multiplier logits_scaling logit_scale scale_emb embedding_scale
    residual_scale
"""
# Switches, which have no effect when they are on.
_SWITCHES = "use_rope is_causal causal attention.causal scale_attn_weights use_rms_norm"


def check_keys(raw: Mapping[str, Any], applied: Collection[str], where: str) -> None:
    """Checks that no key of a config changes the mathematics unless it is applied.

    Args:
      raw: keys and values.
      applied: the keys that are applied, or checked elsewhere.
      where: what holds the keys, for the message.

    Raises:
      SettingsError: a key is neither applied, nor known to have no effect, nor off.
    """
    for key, value in raw.items():
        has_effect = key not in applied and key not in _NO_EFFECT.split() and not _NO_EFFECT_NAME.fullmatch(key)
        require(
            not has_effect or _is_off(key, value),
            f"{where} sets {key[:80]!r} to {reprlib.repr(value)}, which is not supported, as it may change what "
            "the model computes; if it has no effect on this model, remove it from the file",
        )


def _is_off(key: str, value: Any) -> bool:
    if key in _FACTORS.split() or key in _SWITCHES.split():
        return value is None or value == 1
    return not value
