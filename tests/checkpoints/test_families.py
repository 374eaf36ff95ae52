"""Compares each model family with transformers, on tiny random checkpoints written by transformers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from soar_jax import parallel
from soar_jax.checkpoints import config_json, hugging_face
from soar_jax.checkpoints.safetensors_folder import SafetensorsFolder
from soar_jax.errors import SettingsError
from soar_jax.model import decoder
from soar_jax.model.kv_cache import KVCache

torch = pytest.importorskip("torch", reason="torch is not installed: the parity with transformers is not checked")
transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_hidden_layers": 3,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64}
CHECKPOINTS = {
    "llama": ("Llama", {"tie_word_embeddings": False}),
    "llama_tied": ("Llama", {"tie_word_embeddings": True}),
    "llama3": ("Llama", {"rope_theta": 500000.0, "rope_scaling": LLAMA3_ROPE, "tie_word_embeddings": True}),
    "linear_rope": ("Llama", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    "yarn": ("Llama", {"rope_scaling": YARN}),
    "deep_llama": ("Llama", {"num_hidden_layers": 7}),  # its layers are scanned
    "qwen2": ("Qwen2", {"tie_word_embeddings": True, "rope_theta": 1e6}),
    "qwen3": ("Qwen3", {"tie_word_embeddings": True, "rope_theta": 1e6}),
    "gemma3": ("Gemma3Text", {"num_hidden_layers": 7, "sliding_window": 8, "query_pre_attn_scalar": 24}),
    "shallow_gemma3": (
        "Gemma3Text",
        {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"] * 2, "num_hidden_layers": 4},
    ),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral_with_window": ("Mistral", {"sliding_window": 6, "num_hidden_layers": 6}),
    "smollm3": ("SmolLM3", {"num_hidden_layers": 6}),
    "shallow_smollm3": ("SmolLM3", {"no_rope_layers": [1, 0, 1], "tie_word_embeddings": False}),
    "olmo2": ("Olmo2", {"num_hidden_layers": 6}),
    "smollm3_yarn": ("SmolLM3", {"num_hidden_layers": 5, "rope_scaling": YARN}),
    "olmo3_yarn": (
        "Olmo3",
        {
            "num_hidden_layers": 5,
            "sliding_window": 8,
            "rope_scaling": YARN | {"attention_factor": 1.2, "beta_fast": 8.0},
        },
    ),
    "olmo3": ("Olmo3", {"num_hidden_layers": 6, "sliding_window": 8}),
    "shallow_olmo3": (
        "Olmo3",
        {
            "sliding_window": 5,
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 1e4},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e3},
            },
        },
    ),
    "phi3": ("Phi3", {"rope_theta": 250000.0}),
    "phi3_with_window": ("Phi3", {"sliding_window": 7, "num_hidden_layers": 6}),
}
CLASSES = {
    "Llama": "LlamaForCausalLM",
    "Qwen2": "Qwen2ForCausalLM",
    "Qwen3": "Qwen3ForCausalLM",
    "Gemma3Text": "Gemma3ForCausalLM",
    "Mistral": "MistralForCausalLM",
    "SmolLM3": "SmolLM3ForCausalLM",
    "Olmo2": "Olmo2ForCausalLM",
    "Olmo3": "Olmo3ForCausalLM",
    "Phi3": "Phi3ForCausalLM",
}


def reference(name, seed=0):
    family, changes = CHECKPOINTS[name]
    torch.manual_seed(seed)
    config = getattr(transformers, f"{family}Config")(**(SIZES | changes))
    model = getattr(transformers, CLASSES[family])(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():  # also norms and biases, whose initial values hide mistakes
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module", params=CHECKPOINTS)
def pair(request, tmp_path_factory):
    """A model of transformers, and its config and params loaded from its sharded checkpoint."""
    folder = tmp_path_factory.mktemp(request.param)
    theirs = reference(request.param)
    theirs.save_pretrained(folder, max_shard_size="20KB")
    assert (folder / "model.safetensors.index.json").exists()
    config = hugging_face.read_config(folder, "float32")
    return theirs, config, hugging_face.load_params(SafetensorsFolder(folder), config, "float32")


def padded(rng, lengths, vocab):
    tokens = np.zeros((len(lengths), max(lengths)), np.int64)
    valid = np.arange(max(lengths)) < np.array(lengths)[:, None]
    tokens[valid] = rng.integers(3, vocab, valid.sum())
    return tokens, valid


def test_logits_of_padded_batches_equal_transformers(pair):
    theirs, config, params = pair
    tokens, valid = padded(np.random.default_rng(1), (40, 17, 3, 29), config.vocab_size)
    positions = np.tile(np.arange(tokens.shape[1]), (len(tokens), 1))
    hidden, _ = decoder.hidden_states(
        params, config, tokens=jnp.array(tokens), positions=jnp.array(positions), key_valid=jnp.array(valid)
    )
    ours = np.asarray(decoder.logits(params, config, hidden))
    with torch.no_grad():
        expected = theirs(torch.tensor(tokens), attention_mask=torch.tensor(valid).long()).logits.numpy()
    assert np.abs(ours - expected)[valid].max() <= 2e-4


@pytest.mark.slow
def test_cached_decoding_equals_the_full_forward(pair):
    _, config, params = pair
    tokens = jnp.array(np.random.default_rng(2).integers(3, config.vocab_size, (2, 20)))
    positions, valid = jnp.tile(jnp.arange(20), (2, 1)), jnp.ones((2, 20), bool)
    full, _ = decoder.hidden_states(params, config, tokens=tokens, positions=positions, key_valid=valid)
    params = decoder.decoding_params(params, config)  # as the sampler does
    _, cache = decoder.hidden_states(
        params, config, tokens=tokens[:, :12], positions=positions[:, :12], key_valid=valid[:, :12], keep_cache=True
    )
    cache = tuple(
        KVCache(
            jnp.pad(layer.key, ((0, 0), (0, 0), (0, 0), (0, 8))), jnp.pad(layer.value, ((0, 0), (0, 0), (0, 8), (0, 0)))
        )
        for layer in cache
    )
    for slot in range(12, 20):
        step, cache = decoder.hidden_states(
            params,
            config,
            tokens=tokens[:, slot : slot + 1],
            positions=positions[:, slot : slot + 1],
            key_valid=valid,
            cache=cache,
            first_slot=slot,
        )
        np.testing.assert_allclose(step[:, 0], full[:, slot], atol=1e-5)


def test_a_saved_model_has_the_same_logits_in_transformers(pair, tmp_path):
    theirs, config, params = pair
    raw = config_json.to_hugging_face(config, bos_id=1, eos_id=2, pad_id=0)
    hugging_face.save_params(tmp_path, params, config=config, raw_config=raw)
    loaded, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    tokens = torch.tensor(np.random.default_rng(3).integers(3, config.vocab_size, (2, 50)))
    with torch.no_grad():
        difference = (loaded(tokens).logits - theirs(tokens).logits).abs().max()
    assert difference <= 1e-5
    assert hugging_face.read_config(tmp_path, "float32") == config


@pytest.mark.parametrize("name", ["llama", "olmo3", "phi3", "smollm3"])
def test_a_model_loads_onto_a_mesh_as_onto_the_host(tmp_path, name):
    reference(name).save_pretrained(tmp_path)
    config = hugging_face.read_config(tmp_path, "float32")
    source, mesh = SafetensorsFolder(tmp_path), parallel.make_mesh(1, 1, 1, 2)
    sharded = hugging_face.load_params(source, config, "float32", mesh=mesh)
    jax.tree.map(np.testing.assert_array_equal, sharded, hugging_face.load_params(source, config, "float32"))
    assert not sharded["layers"]["query"].is_fully_replicated
    assert sharded["layers"]["query"].addressable_shards[0].data.shape[2] == 2  # of 4 heads


def test_a_fused_tensor_of_another_shape_is_refused(tmp_path):
    reference("phi3").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    name = "model.layers.1.self_attn.qkv_proj.weight"
    safetensors.numpy.save_file(tensors | {name: tensors[name][:-16]}, path)
    config = hugging_face.read_config(tmp_path, "float32")
    message = rf"tensor {name} has shape \(112, 32\), config.json implies \(128, 32\)"
    with pytest.raises(SettingsError, match=message):
        hugging_face.load_params(SafetensorsFolder(tmp_path), config, "float32")


def test_bfloat16_checkpoints_load_exactly(tmp_path):
    reference("qwen3").to(torch.bfloat16).save_pretrained(tmp_path)
    config = hugging_face.read_config(tmp_path, "bfloat16")
    params = hugging_face.load_params(SafetensorsFolder(tmp_path), config, "bfloat16")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {"bfloat16"}
    wide = hugging_face.load_params(SafetensorsFolder(tmp_path), config, "float32")
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.astype(np.float32), b), params, wide)
