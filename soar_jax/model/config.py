"""Architecture of a decoder: its sizes and constants."""

from __future__ import annotations

import dataclasses

_MAX_UNROLLED_LAYERS = 4  # shallow models run faster unrolled, deep ones compile faster scanned


@dataclasses.dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """RoPE scaling for longer contexts.

    "linear" divides all frequencies by `factor`. "llama3" and "yarn" keep high ones, divide low ones, and blend in
    between: by the number of turns in the original context, or by place between the frequencies of `fast_turns` and
    `slow_turns`.
    """

    kind: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 1.0
    original_max_position_tokens: int = 0
    fast_turns: float = 32.0  # beta_fast of YaRN
    slow_turns: float = 1.0  # beta_slow
    rotation_factor: float = 1.0  # on rotated queries and keys; the attention factor of YaRN


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and constants of a decoder; hashable, so that it can be a static jit argument. Defaults are Llama's."""

    vocab_size: int  # V
    d_model: int  # D
    hidden_dim: int  # F, of the gated feed-forward layer
    num_layers: int
    num_heads: int  # N, query heads
    num_kv_heads: int  # K, key and value heads; divides N
    head_dim: int  # H
    rope_theta: float
    norm_eps: float
    tie_embeddings: bool
    max_position_tokens: int  # longest sequence it was trained for
    dtype: str = "float32"  # of parameters and activations; softmax and norms are float32
    attention: str = "plain"  # kernel for full rows: or "splash", "cudnn" (`attention.choose`)
    int8_cache: bool = False  # KV cache in int8 with scales (`kv_cache.py`)
    scans_decoding: bool = False  # decoding too scans the layers (`attention.choose`)
    family: str = "llama"  # of `checkpoints/families.py`: sets the tensor names of its checkpoints
    rope_scaling: RopeScaling | None = None
    activation: str = "silu"  # or "gelu", the tanh approximation
    has_qkv_bias: bool = False
    has_qk_norm: bool = False  # RMS norm of each query and key head
    qk_norm_joins_heads: bool = False  # that norm is over all heads together
    has_pre_norms: bool = True  # norms before attention and feed-forward
    has_post_norms: bool = False  # norms after attention and feed-forward
    norm_plus_one: bool = False  # norms scale by 1 + weight
    scale_embeddings: bool = False  # by sqrt(d_model)
    query_scale: float = 0.0  # factor on attention scores; 0 means head_dim ** -0.5
    window_tokens: int = 0  # sliding window of `layers_with_window`
    layers_with_window: tuple[int, ...] = ()
    window_rope_theta: float = 0.0  # of `layers_with_window`, which have no rope scaling
    layers_without_rope: tuple[int, ...] = ()  # with full attention

    @property
    def scans_layers(self) -> bool:
        """Whether training scans the layers."""
        return self.num_layers > _MAX_UNROLLED_LAYERS
