"""Reads GGUF files written here: layout, quantisations, tokenizer, and broken or hostile files."""

import struct

import numpy as np
import pytest

from soar_jax.checkpoints import base_model
from soar_jax.checkpoints.gguf_file import GGUFFile
from soar_jax.errors import SettingsError
from soar_jax.model import decoder
from soar_jax.model.config import RopeScaling

gguf = pytest.importorskip("gguf")

D, F, LAYERS, HEADS, KV_HEADS, H = 256, 512, 2, 8, 4, 32
TYPES = gguf.GGMLQuantizationType
BYTES = sorted({*range(33, 127), *range(161, 173), *range(174, 256)})
PRINTABLE = {byte: chr(byte) for byte in BYTES} | {
    byte: chr(256 + place) for place, byte in enumerate(byte for byte in range(256) if byte not in BYTES)
}  # the characters of bytes in byte-level BPE
TOKENS = ["<|end|>", "<|im_start|>", "<|im_end|>", *(PRINTABLE[byte] for byte in range(256)), "Ġt", "he", "12", "Ġthe"]
MERGES = ["Ġ t", "h e", "1 2", "Ġt he"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}<|im_start|>assistant "


def tensors(rng, head_dim=H):
    shapes = {"token_embd": (len(TOKENS), D), "output_norm": (D,)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.{name}": shape
            for name, shape in {
                "attn_norm": (D,),
                "attn_q": (HEADS * head_dim, D),
                "attn_k": (KV_HEADS * head_dim, D),
                "attn_v": (KV_HEADS * head_dim, D),
                "attn_output": (D, HEADS * head_dim),
                "ffn_norm": (D,),
                "ffn_gate": (F, D),
                "ffn_up": (F, D),
                "ffn_down": (D, F),
            }.items()
        }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def write(path, weights, kind=TYPES.F32, pre="smollm", **changes):
    writer = gguf.GGUFWriter(path, changes.get("architecture", "llama"))
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(D)
    writer.add_feed_forward_length(F)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(changes.get("tokenizer", "gpt2"))
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3] + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    for key, value in changes.get("numbers", {}).items():
        (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(key, value)
    for key, value in changes.get("lists", {}).items():
        writer.add_array(key, value)
    if "tokenizer.chat_template" not in changes.get("lists", {}):
        writer.add_chat_template(TEMPLATE)
    for name, array in weights.items():
        if array.ndim == 1:
            writer.add_tensor(name if name.endswith(".bias") else f"{name}.weight", array)
        else:
            data = array if array.dtype == np.uint8 else gguf.quants.quantize(array, kind)
            writer.add_tensor(f"{name}.weight", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def weights():
    return tensors(np.random.default_rng(0))


def test_weights_are_read_in_our_shapes_and_layout(weights, tmp_path):
    model = base_model.load_model(str(write(tmp_path / "m.gguf", weights)), "float32")
    assert (model.config.d_model, model.config.num_kv_heads, model.config.head_dim) == (D, KV_HEADS, H)
    assert model.config.tie_embeddings
    layers = model.params["layers"]
    np.testing.assert_array_equal(model.params["embedding"], weights["token_embd"])
    np.testing.assert_array_equal(layers["down"][1], weights["blk.1.ffn_down"].T)
    # rotary pairs are adjacent in llama.cpp, half a head apart here
    query = weights["blk.0.attn_q"].reshape(HEADS, H, D)
    np.testing.assert_array_equal(layers["query"][0][:, 3, 5], query[3, 10])
    np.testing.assert_array_equal(layers["query"][0][:, 3, 5 + H // 2], query[3, 11])
    value = weights["blk.0.attn_v"].reshape(KV_HEADS, H, D)
    np.testing.assert_array_equal(layers["value"][0][:, 2, 7], value[2, 7])


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def test_qwen2_has_biases_and_half_split_rotary_pairs(weights, tmp_path):
    rng = np.random.default_rng(2)
    sizes = {"q": HEADS, "k": KV_HEADS, "v": KV_HEADS}
    biases = {f"blk.{i}.attn_{part}.bias": normal(rng, sizes[part] * H) for i in range(LAYERS) for part in sizes}
    path = write(tmp_path / "m.gguf", weights | biases, pre="qwen2", architecture="qwen2")
    model = base_model.load_model(str(path), "float32")
    assert (model.config.family, model.config.head_dim) == ("qwen2", H)
    for name, part in (("query", "q"), ("key", "k"), ("value", "v")):
        for layer in range(LAYERS):
            weight, bias = weights[f"blk.{layer}.attn_{part}"], biases[f"blk.{layer}.attn_{part}.bias"]
            found = model.params["layers"][name][layer], model.params["layers"][f"{name}_bias"][layer]
            np.testing.assert_array_equal(found[0], weight.T.reshape(D, sizes[part], H))
            np.testing.assert_array_equal(found[1], bias.reshape(sizes[part], H))


def test_qwen3_has_qk_norms_and_its_own_head_dim(tmp_path):
    rng, head_dim = np.random.default_rng(3), H // 2
    names = [f"blk.{layer}.attn_{part}_norm" for layer in range(LAYERS) for part in "qk"]
    weights = tensors(rng, head_dim) | {name: normal(rng, head_dim) for name in names}
    numbers = {"qwen3.attention.key_length": head_dim}
    path = write(tmp_path / "m.gguf", weights, pre="qwen2", architecture="qwen3", numbers=numbers)
    model = base_model.load_model(str(path), "float32")
    assert (model.config.family, model.config.head_dim) == ("qwen3", head_dim)
    layers = model.params["layers"]
    for name, part, heads in (("query", "q", HEADS), ("key", "k", KV_HEADS)):
        for layer in range(LAYERS):
            weight, norm = weights[f"blk.{layer}.attn_{part}"], weights[f"blk.{layer}.attn_{part}_norm"]
            np.testing.assert_array_equal(layers[name][layer], weight.T.reshape(D, heads, head_dim))
            np.testing.assert_array_equal(layers[f"{name}_norm"][layer], norm)
    np.testing.assert_array_equal(layers["out"][1], weights["blk.1.attn_output"].T.reshape(HEADS, head_dim, D))


def test_an_untied_unembedding_is_read(weights, tmp_path):
    output = normal(np.random.default_rng(4), len(TOKENS), D)
    model = base_model.load_model(str(write(tmp_path / "m.gguf", weights | {"output": output})), "float32")
    assert not model.config.tie_embeddings
    np.testing.assert_array_equal(model.params["unembedding"], output.T)
    np.testing.assert_array_equal(model.params["embedding"], weights["token_embd"])


def test_llama_3_frequency_factors_become_its_rope_scaling(weights, tmp_path):
    plain = 10000.0 ** (-np.arange(0, H, 2) / H)
    kept = np.clip((8192 * plain / (2 * np.pi) - 1) / (4 - 1), 0, 1)
    factors = (1 / (kept + (1 - kept) / 8)).astype(np.float32)  # as llama.cpp writes them
    path = write(tmp_path / "m.gguf", weights | {"rope_freqs": factors})
    config = base_model.load_model(str(path), "float32").config
    assert config.rope_scaling == RopeScaling(
        kind="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_tokens=8192
    )
    found = decoder.rope_frequencies(config, config.rope_theta, config.rope_scaling)
    np.testing.assert_allclose(found, plain / factors, rtol=1e-5)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
def test_quantised_weights_are_near_the_originals(weights, tmp_path, kind):
    model = base_model.load_model(str(write(tmp_path / "m.gguf", weights, TYPES[kind])), "float32")
    error = np.abs(model.params["layers"]["up"][0].T - weights["blk.0.ffn_up"])
    bound = {"F16": 2e-3, "BF16": 2e-2, "Q8_0": 3e-2, "Q4_0": 0.5, "Q4_1": 0.4}[kind]  # of numbers up to about 4
    assert 0 < error.max() < bound


@pytest.mark.parametrize("kind", ["Q4_K", "Q6_K"])
def test_k_quantised_weights_are_read(weights, tmp_path, kind):
    block, size = gguf.GGML_QUANT_SIZES[TYPES[kind]]
    rng = np.random.default_rng(1)
    packed = {}
    for name, array in weights.items():
        if array.ndim == 2:
            data = rng.integers(0, 256, (*array.shape[:-1], array.shape[-1] // block, size), np.uint8)
            scales = np.array([0.01], np.float16).view(np.uint8)
            places = (0, 2) if kind == "Q4_K" else (size - 2,)  # half-precision scales; random ones may be NaN
            for place in places:
                data[..., place : place + 2] = scales
            packed[name] = data.reshape(*array.shape[:-1], -1)
        else:
            packed[name] = array
    model = base_model.load_model(str(write(tmp_path / "m.gguf", packed, TYPES[kind])), "float32")
    expected = gguf.quants.dequantize(packed["blk.1.ffn_up"], TYPES[kind])
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(model.params["layers"]["up"][1].T, expected)


def test_the_tokenizer_splits_digits_and_special_tokens(weights, tmp_path):
    tokenizer = base_model.load_model(str(write(tmp_path / "m.gguf", weights)), "float32").tokenizer
    pieces = tokenizer.backend.convert_ids_to_tokens(tokenizer.encode_prompt("the 12 the é"))
    assert pieces == ["t", "he", "Ġ", "1", "2", "Ġthe", "Ġ", "Ã", "©"]
    assert tokenizer.decode([tokenizer.encode_prompt("the 12 the é\n 🎉")]) == ["the 12 the é\n 🎉"]
    assert tokenizer.encode_prompt("<|im_start|>") == [1]
    assert tokenizer.decode([[1, 2, 0]]) == [""]
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.adds_bos) == (2, 2, False)
    assert tokenizer.contains_special_token("a <|im_end|> b")
    chat = tokenizer.chat("the", "")
    assert chat == "<|im_start|>user the<|im_end|><|im_start|>assistant "
    assert tokenizer.encode_prompt(chat).count(1) == 2  # those of the template, none added


@pytest.mark.parametrize("pre", ["qwen2", "deepseek-r1-qwen", "kormo"])
def test_qwens_pre_tokenizer_splits_digits_and_composes_letters(weights, tmp_path, pre):
    tokenizer = base_model.load_model(str(write(tmp_path / "m.gguf", weights, pre=pre)), "float32").tokenizer
    pieces = tokenizer.backend.convert_ids_to_tokens(tokenizer.encode_prompt("the 12 e\u0301"))
    assert pieces == ["t", "he", "Ġ", "1", "2", "Ġ", "Ã", "©"]


def test_another_pre_tokenizer_joins_digits(weights, tmp_path):
    tokenizer = base_model.load_model(str(write(tmp_path / "m.gguf", weights, pre="gpt-2")), "float32").tokenizer
    assert "12" in tokenizer.backend.convert_ids_to_tokens(tokenizer.encode_prompt("a12"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "mamba"}, "holds a 'mamba' model"),
        ({"pre": "unheard-of"}, "pre-tokenizer 'unheard-of'"),
        ({"tokenizer": "llama"}, "is of kind 'llama'"),
        ({"pre": "", "lists": {"tokenizer.ggml.pre": ["a"]}}, r"tokenizer.ggml.pre of .* is no text"),
        ({"lists": {"tokenizer.chat_template": ["a"]}}, r"tokenizer.chat_template of .* is no text"),
    ],
)
def test_unsupported_settings_are_named(weights, tmp_path, changes, message):
    path = write(tmp_path / "m.gguf", weights, **changes)
    with pytest.raises(SettingsError, match=message):
        base_model.load_model(str(path), "float32")


@pytest.mark.parametrize("name", ["blk.0.attn_q.scale", "blk.1.ffn_gate_inp", "blk.0.attn_q_norm", "output.scale"])
def test_a_tensor_that_llama_lacks_is_refused(weights, tmp_path, name):
    path = write(tmp_path / "m.gguf", weights | {name: np.ones((D, D), np.float32)})
    with pytest.raises(SettingsError, match="tensors that are not read"):
        GGUFFile(path)


@pytest.mark.parametrize("key", ["rope.scaling.factor", "rope.scale_linear"])
def test_a_rope_factor_alone_is_linear(weights, tmp_path, key):
    path = write(tmp_path / "m.gguf", weights, numbers={f"llama.{key}": 4.0})
    assert base_model.load_model(str(path), "float32").config.rope_scaling == RopeScaling(kind="linear", factor=4.0)
    assert base_model.load_model(str(write(tmp_path / "n.gguf", weights)), "float32").config.rope_scaling is None


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"logit_scale": 0.5}, "sets 'logit_scale' to 0.5"),
        ({"attention.scale": 0.1}, "sets 'attention.scale' to 0.1"),
        ({"attention.sliding_window": 4096}, "sets 'attention.sliding_window' to 4096"),
        ({"final_logit_softcapping": 30.0}, "sets 'final_logit_softcapping' to 30.0"),
        ({"rope.scaling.attn_factor": 0.5}, "sets 'rope.scaling.attn_factor' to 0.5"),
        ({"expert_count": 8}, "sets 'expert_count' to 8"),
        ({"rope.dimension_count": H // 2}, f"rope.dimension_count of .* is {H // 2}, but a head has {H} dimensions"),
        ({"attention.value_length": 2 * H}, f"attention.value_length of .* is {2 * H}, but a head has {H} dimensions"),
    ],
)
def test_metadata_that_change_the_mathematics_are_refused(weights, tmp_path, numbers, message):
    path = write(tmp_path / "m.gguf", weights, numbers={f"llama.{key}": value for key, value in numbers.items()})
    with pytest.raises(SettingsError, match=message):
        base_model.load_model(str(path), "float32")


def test_neutral_metadata_pass(weights, tmp_path):
    neutral = {"logit_scale": 1.0, "expert_count": 0, "rope.dimension_count": H, "vocab_size": len(TOKENS)}
    path = write(tmp_path / "m.gguf", weights, numbers={f"llama.{key}": value for key, value in neutral.items()})
    assert base_model.load_model(str(path), "float32").config.head_dim == H


@pytest.mark.parametrize("pre", ["llama-bpe", "llama3", "llama-v3"])
def test_llama_3_adds_bos_and_keeps_words_that_are_tokens(weights, tmp_path, monkeypatch, pre):
    monkeypatch.setattr(f"{__name__}.TOKENS", [*TOKENS[:-1], "Ġheh"])
    monkeypatch.setattr(f"{__name__}.MERGES", MERGES[:-1])
    path = str(write(tmp_path / "m.gguf", weights, pre=pre))
    tokenizer = base_model.load_model(path, "float32").tokenizer
    assert tokenizer.adds_bos
    assert tokenizer.encode_prompt("he heh") == [1, TOKENS.index("he"), len(TOKENS) - 1]


def test_end_of_turn_tokens_are_stop_ids(weights, tmp_path):
    none = {"tokenizer.ggml.eom_token_id": 2**32 - 1}
    path = write(tmp_path / "m.gguf", weights, numbers={"tokenizer.ggml.eot_token_id": 1, **none})
    assert base_model.load_model(str(path), "float32").tokenizer.stop_ids == (0, 1, 2)  # 0 by its name


@pytest.mark.parametrize("kept", [0, 3, 100, 5000, -1000])
def test_truncated_files_are_one_line(weights, tmp_path, kept):
    path = write(tmp_path / "m.gguf", weights)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SettingsError, match="is broken"):
        GGUFFile(path).config()


def test_an_array_longer_than_its_file_is_refused(tmp_path):
    header = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1)
    array = struct.pack("<Q3sIIQ", 3, b"a.b", 9, 4, 2**60)  # an array of 2**60 32-bit integers
    (tmp_path / "m.gguf").write_bytes(header + array + bytes(16))
    with pytest.raises(SettingsError, match=r"is broken .*cut short"):
        GGUFFile(tmp_path / "m.gguf")


def test_a_merge_of_unknown_tokens_is_one_line(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.MERGES", [*MERGES, "no such"])
    with pytest.raises(SettingsError, match=r"the tokenizer of .* is broken"):
        base_model.load_model(str(write(tmp_path / "m.gguf", weights)), "float32")


def test_a_missing_tensor_is_named(weights, tmp_path):
    fewer = {name: array for name, array in weights.items() if name != "blk.1.ffn_up"}
    with pytest.raises(SettingsError, match=r"has no tensor blk\.1\.ffn_up\.weight"):
        base_model.load_model(str(write(tmp_path / "m.gguf", fewer)), "float32")
