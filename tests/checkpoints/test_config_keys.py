"""Keys of a checkpoint's config that change its mathematics are applied or refused."""

import pytest

from soar_jax.checkpoints import config_json, families
from soar_jax.checkpoints.config_keys import check_keys
from soar_jax.checkpoints.known_shapes import KNOWN_SHAPES
from soar_jax.errors import SettingsError

LLAMA = KNOWN_SHAPES["HuggingFaceTB/SmolLM2-135M-Instruct"]
QWEN2 = KNOWN_SHAPES["Qwen/Qwen2.5-1.5B-Instruct"]
GEMMA3 = {
    "model_type": "gemma3_text",
    "vocab_size": 262144,
    "hidden_size": 1152,
    "intermediate_size": 6912,
    "num_hidden_layers": 26,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 32768,
    "query_pre_attn_scalar": 256,
    "sliding_window": 512,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
# Keys that published checkpoints have beside their sizes.
SMOLLM2 = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.041666666666666664,
    "is_llama_config": True,
    "mlp_bias": False,
    "pad_token_id": 2,
    "pretraining_tp": 1,
    "rope_interleaved": False,
    "rope_scaling": None,
    "torch_dtype": "bfloat16",
    "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
    "transformers_version": "4.42.3",
    "use_cache": True,
}
QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.1,
    "max_window_layers": 21,
    "sliding_window": 32768,
    "use_mrope": False,
    "use_sliding_window": False,
    "layer_types": ["full_attention"] * 28,
    "dtype": "bfloat16",
    "_name_or_path": "x",
    "unsloth_fixed": True,
    "unsloth_version": "2025.1",
}
GEMMA = {
    "architectures": ["Gemma3ForCausalLM"],
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "cache_implementation": "hybrid",
    "hidden_activation": "gelu_pytorch_tanh",
    "rope_local_base_freq": 10000,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window_pattern": 6,
    "_sliding_window_pattern": 6,
    "use_bidirectional_attention": False,
    "eos_token_id": [1, 106],
}


@pytest.mark.parametrize(("sizes", "keys"), [(LLAMA, SMOLLM2), (QWEN2, QWEN), (GEMMA3, GEMMA)])
def test_keys_of_published_checkpoints_pass(sizes, keys):
    assert config_json.from_hugging_face(sizes | keys) == config_json.from_hugging_face(sizes)


@pytest.mark.parametrize("source", KNOWN_SHAPES)
def test_known_shapes_pass(source):
    assert config_json.from_hugging_face(KNOWN_SHAPES[source]).family == KNOWN_SHAPES[source]["model_type"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("partial_rotary_factor", 0.5),
        ("partial_rotary_factor", 0.0),
        ("logits_scaling", 8.0),
        ("logit_scale", 0.0625),
        ("residual_multiplier", 0.22),
        ("attention_multiplier", 0.0078125),
        ("attention_multiplier", 1.0),
        ("embedding_multiplier", 12.0),
        ("final_logit_softcapping", 30.0),
        ("attn_logit_softcapping", 50.0),
        ("clip_qkv", 8.0),
        ("use_qk_norm", True),
        ("attention_bias", True),
        ("mlp_bias", True),
        ("no_rope_layers", [1, 1, 1, 0]),
        ("no_rope_layer_interval", 4),
        ("sliding_window", 4096),
        ("use_sliding_window", True),
        ("rope_interleaved", True),
        ("use_rope", False),
        ("is_causal", False),
        ("num_experts", 8),
        ("scale_emb", 12),
        ("scale_depth", 1.4),
        ("layer_norm_eps", 1e-5),
        ("original_max_position_embeddings", 4096),
        ("per_layer_config", {"0": {"num_attention_heads": 2}}),
        ("auto_map", {"AutoModelForCausalLM": "modeling.Model"}),
        ("is_encoder_decoder", True),
        ("a_key_of_the_future", "x" * 1000),
    ],
)
def test_a_key_that_changes_the_mathematics_is_refused(key, value):
    with pytest.raises(SettingsError, match=rf"config.json sets '{key}' to .*, which is not supported") as raised:
        config_json.from_hugging_face(LLAMA | {key: value})
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 250


@pytest.mark.parametrize("key", ["partial_rotary_factor", "logits_scaling", "residual_multiplier", "use_rope"])
def test_a_neutral_value_passes(key):
    assert config_json.from_hugging_face(LLAMA | {key: 1}) == config_json.from_hugging_face(LLAMA)


@pytest.mark.parametrize(
    ("sizes", "change", "message"),
    [
        (QWEN2, {"use_sliding_window": True}, "sets 'use_sliding_window' to True"),
        (QWEN2, {"layer_types": ["sliding_attention"] * 28}, r"layer_types \['sliding_attention'\] are not supported"),
        (GEMMA3, {"layer_types": ["chunked_attention"] * 26}, r"layer_types \['chunked_attention'\] are not supported"),
        (GEMMA3, {"hidden_act": "silu"}, "hidden_act is 'silu', but hidden_activation is 'gelu_pytorch_tanh'"),
        (LLAMA, {"architectures": ["LlamaBidirectionalModel"]}, "not LlamaForCausalLM"),
        (LLAMA | {"model_type": "smollm3"}, {"no_rope_layers": [1, 0]}, "2 no_rope_layers for 30 layers"),
        (LLAMA | {"model_type": "smollm3"}, {"use_sliding_window": True}, "sets 'use_sliding_window' to True"),
        (
            LLAMA | {"model_type": "olmo3", "sliding_window": 8},
            {"layer_types": ["full_attention"]},
            "1 layer_types for 30",
        ),
        (LLAMA | {"model_type": "phi3"}, {"partial_rotary_factor": 0.75}, "sets 'partial_rotary_factor' to 0.75"),
        (
            LLAMA | {"model_type": "phi3"},
            {"rope_scaling": {"type": "longrope"}},
            "rope_type 'longrope' is not supported",
        ),
        (
            LLAMA | {"model_type": "mistral", "sliding_window": 8},
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            "has sliding_window and rope_scaling",
        ),
        (LLAMA | {"model_type": "phi3"}, {"rope_scaling": YARN}, "rope_scaling of a phi3 model is not supported"),
        (LLAMA, {"rope_scaling": YARN | {"truncate": False}}, "sets 'truncate'"),
        (LLAMA, {"rope_scaling": YARN | {"mscale": 0.7}}, "the yarn RoPE of config.json sets 'mscale' to 0.7"),
        (LLAMA, {"rope_scaling": YARN | {"factor": 1e999}}, "a value that is no size"),
        (LLAMA, {"rope_scaling": YARN | {"factor": -1.0}}, "a value that is no size"),
        (LLAMA, {"rope_scaling": YARN | {"original_max_position_embeddings": 0}}, "a value that is no size"),
        (LLAMA, {"rope_scaling": YARN, "rope_theta": 1.0}, "a value that is no size"),
        (LLAMA | {"model_type": "mistral"}, {"sliding_window": -3}, "a value that is no size"),
        (LLAMA, {"quantization": {"bits": 4}}, "has a quantization, and quantised"),
        (LLAMA, {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_type 'dynamic' is not supported"),
        (LLAMA, {"rope_scaling": {"type": "linear", "factor": 2.0, "mscale": 0.7}}, "the linear RoPE .* sets 'mscale'"),
        (
            LLAMA,
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
            "the default RoPE of config.json sets 'partial_rotary_factor' to 0.5",
        ),
        (
            LLAMA,
            {"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"type": "linear", "factor": 2.0}},
            "rope_parameters and rope_scaling differ",
        ),
        (
            GEMMA3,
            {"rope_parameters": {"full_attention": {}, "sliding_attention": {"rope_type": "linear", "factor": 2.0}}},
            "rope_type 'linear' of layers with sliding windows",
        ),
    ],
)
def test_values_that_cannot_be_computed_are_refused(sizes, change, message):
    with pytest.raises(SettingsError, match=message):
        config_json.from_hugging_face(sizes | change)


def test_keys_that_are_left_out_have_their_familys_default():
    sparse = {key: value for key, value in GEMMA3.items() if key != "head_dim"}
    found = config_json.from_hugging_face(sparse)
    assert (found.head_dim, found.activation, found.tie_embeddings) == (256, "gelu", True)


FAMILIES = ["Llama", "Qwen2", "Qwen3", "Gemma3Text", "Mistral", "SmolLM3", "Olmo2", "Olmo3", "Phi3"]
TINY = {
    "vocab_size": 60,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 8,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
}


def as_transformers_reads(config_class, raw):
    """The same config with each default written out."""
    return config_class.from_dict(raw).to_dict()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_key_has_the_default_of_its_own_family(family):
    transformers = pytest.importorskip("transformers")
    config_class = getattr(transformers, f"{family}Config")
    whole = config_class(**TINY).to_dict()
    plain = {key: value for key, value in whole.items() if key not in ("layer_types", "rope_parameters")}
    never = {"model_type", "hidden_size", "num_hidden_layers"}
    applied = (*config_json.APPLIED_KEYS, *families.FAMILIES[whole["model_type"]].keys)
    keys = sorted(set(applied) & set(plain) - never)
    assert {"rms_norm_eps", "num_key_value_heads", "max_position_embeddings", "vocab_size"} <= set(keys)
    for key in keys:
        sparse = {name: value for name, value in plain.items() if name != key}
        expected = config_json.from_hugging_face(as_transformers_reads(config_class, sparse))
        assert config_json.from_hugging_face(sparse) == expected, key
    bare = {key: plain[key] for key in never}
    assert config_json.from_hugging_face(bare) == config_json.from_hugging_face(
        as_transformers_reads(config_class, bare)
    )


def test_null_is_a_default_too_unless_it_has_a_meaning():
    found = config_json.from_hugging_face(GEMMA3 | {"head_dim": None, "hidden_activation": None, "rms_norm_eps": None})
    assert (found.head_dim, found.activation, found.norm_eps) == (256, "gelu", 1e-6)
    mistral = LLAMA | {"model_type": "mistral", "num_key_value_heads": None, "sliding_window": None}
    found = config_json.from_hugging_face(mistral)
    assert (found.num_kv_heads, found.layers_with_window) == (found.num_heads, ())
    del mistral["num_key_value_heads"], mistral["sliding_window"]
    with pytest.raises(SettingsError, match="no size"):  # 8 do not divide its 9 heads
        config_json.from_hugging_face(mistral)
    found = config_json.from_hugging_face(mistral | {"num_attention_heads": 16})
    assert (found.num_kv_heads, found.window_tokens) == (8, 4096)


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers"])
def test_sizes_without_default_are_named(key):
    with pytest.raises(SettingsError, match=f"config.json lacks '{key}'; is it a llama checkpoint"):
        config_json.from_hugging_face({name: value for name, value in LLAMA.items() if name != key})


@pytest.mark.parametrize(
    "architectures",
    [
        ["LlamaForSequenceClassification"],
        ["LlamaModel"],
        "LlamaModel",
        ["LlamaForCausalLM", "LlamaForTokenClassification"],
        [None],
        {"LlamaModel": 1},
        ["x" * 10_000],
    ],
)
def test_architectures_that_are_no_causal_model_are_refused(architectures):
    with pytest.raises(SettingsError, match=r"names the architecture .*, not LlamaForCausalLM") as raised:
        config_json.from_hugging_face(LLAMA | {"architectures": architectures})
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("architectures", [None, [], "LlamaForCausalLM", ["LLaMAForCausalLM"]])
def test_the_causal_model_passes(architectures):
    assert config_json.from_hugging_face(LLAMA | {"architectures": architectures}).family == "llama"


@pytest.mark.parametrize("family", FAMILIES)
def test_all_keys_of_the_config_classes_pass(family):
    transformers = pytest.importorskip("transformers")
    raw = getattr(transformers, f"{family}Config")().to_dict()
    assert config_json.from_hugging_face(raw).vocab_size == raw["vocab_size"]


@pytest.mark.parametrize("kin", ["Granite", "MiniCPM3", "SmolLM3", "Gemma2", "StableLm", "Phi3", "Cohere", "Olmo3"])
def test_the_mathematics_of_near_kin_is_refused(kin):
    """Configs of other classes that share most of Llama's keys, with a value of each that is not neutral."""
    transformers = pytest.importorskip("transformers")
    changes = {"Granite": {"logits_scaling": 8.0}, "Phi3": {"partial_rotary_factor": 0.5}}
    raw = getattr(transformers, f"{kin}Config")(**changes.get(kin, {})).to_dict()
    raw |= {"model_type": "llama", "architectures": None, "rms_norm_eps": 1e-6, "hidden_act": "silu"}
    with pytest.raises(SettingsError, match="not supported"):
        config_json.from_hugging_face(raw)


def test_the_place_of_a_key_is_named():
    with pytest.raises(SettingsError, match=r"m\.gguf sets 'logit_scale' to 0\.5"):
        check_keys({"logit_scale": 0.5, "size": 3}, ("size",), "m.gguf")
