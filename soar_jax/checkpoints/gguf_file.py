"""GGUF files (llama.cpp): architecture, tokenizer and weights of a model in one file, often quantised."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from soar_jax.checkpoints.config_keys import check_keys
from soar_jax.checkpoints.tokenizer import Tokenizer, wrap
from soar_jax.errors import SettingsError, require

# Architecture in the file: model_type of Hugging Face.
ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
_TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
# Metadata of the architecture that are read here, and those that have no effect.
_APPLIED = (
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scale_linear",
)
_NO_EFFECT = ("vocab_size", "tensor_data_layout", "rope.scaling.finetuned", "rope.scaling.original_context_length")
# GGUF files store the RoPE scaling of Llama 3 as a tensor of frequency factors; its other constants are fixed.
_LLAMA3_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def _reader(path: pathlib.Path) -> Any:
    """A GGUFReader that raises if the metadata point beyond the end of the file."""
    from gguf import GGUFReader

    class Reader(GGUFReader):
        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
            if offset + np.dtype(dtype).itemsize * int(count) > len(self.data):
                raise ValueError("cut short")
            return super()._get(offset, dtype, count=count, override_order=override_order)

    return Reader(path)


class GGUFFile:
    """An open file and its metadata; a `TensorSource` that dequantises a tensor when it is read."""

    def __init__(self, path: pathlib.Path) -> None:
        """Reads the metadata and the places of the tensors.

        Raises:
          SettingsError: the file is broken, or its model is not supported.
        """
        self.path = path
        try:
            reader = _reader(path)
            self.fields: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
            self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        except Exception as error:  # the reader raises many kinds for a broken file
            raise SettingsError(f"{path} is broken ({type(error).__name__}: {error}); fetch it again") from None
        self._architecture = self.text("general.architecture")
        require(
            self._architecture in ARCHITECTURES,
            f"{path} holds a {self._architecture!r} model; supported: {', '.join(ARCHITECTURES)}",
        )
        unread = [name for name in self._tensors if not self._is_read(name)]
        require(
            not unread,
            f"{path} has tensors that are not read, such as {unread[:1]}: the model is no plain {self._architecture}",
        )

    def config(self) -> dict[str, Any]:
        """Builds the `config.json` of the model from the metadata.

        Raises:
          SettingsError: a field is missing, or changes the model in a way that is not supported.
        """
        prefix = f"{self._architecture}."
        metadata = {name.removeprefix(prefix): value for name, value in self.fields.items() if name.startswith(prefix)}
        check_keys(metadata, (*_APPLIED, *_NO_EFFECT), str(self.path))
        require("token_embd.weight" in self._tensors, f"{self.path} has no token embeddings; fetch it again")
        heads = self._number("attention.head_count")
        config = {
            "model_type": ARCHITECTURES[self._architecture],
            "vocab_size": int(self._tensors["token_embd.weight"].shape[1]),
            "hidden_size": self._number("embedding_length"),
            "intermediate_size": self._number("feed_forward_length"),
            "num_hidden_layers": self._number("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": self._number("attention.head_count_kv", heads),
            "head_dim": self._head_dim(heads),
            "rope_theta": self._number("rope.freq_base", 10000.0),
            "rms_norm_eps": self._number("attention.layer_norm_rms_epsilon"),
            "max_position_embeddings": self._number("context_length"),
            "tie_word_embeddings": "output.weight" not in self._tensors,
        }
        linear = self._linear_rope_factor()
        if "rope_freqs.weight" in self._tensors:
            require(not linear, f"{self.path} stretches rotary frequencies in two ways, which is not supported")
            factor = float(self._dequantised("rope_freqs.weight").max())
            config["rope_scaling"] = {"rope_type": "llama3", "factor": factor, **_LLAMA3_ROPE}
        elif linear:
            config["rope_scaling"] = {"rope_type": "linear", "factor": linear}
        return config

    def get(self, name: str) -> np.ndarray:
        """Dequantises a tensor to float32, under its name and in the layout of a Hugging Face checkpoint.

        Raises:
          SettingsError: there is none, or its quantisation is not supported.
        """
        stem, _, ending = name.rpartition(".")
        if stem in _TOP:
            tensor = f"{_TOP[stem]}.{ending}"
        else:
            _, _, layer, part = stem.split(".", 3)  # model.layers.N.part
            tensor = f"blk.{layer}.{_LAYER[part]}.{ending}"
        require(tensor in self._tensors, f"{self.path} has no tensor {tensor}; fetch it again")
        array = self._dequantised(tensor)
        heads = self._number("attention.head_count")
        num_heads = {"q_proj": heads, "k_proj": self._number("attention.head_count_kv", heads) or heads}
        projection = stem.rpartition(".")[2]
        if self._architecture == "llama" and projection in num_heads:
            return _half_split(array, int(num_heads[projection]))
        return array

    def text(self, name: str, default: str = "") -> str:
        """Returns a text field of the metadata.

        Raises:
          SettingsError: the field is of another type.
        """
        value = self.fields.get(name, default)
        require(isinstance(value, str), f"{name} of {self.path} is no text; fetch it again")
        return value

    def _is_read(self, name: str) -> bool:
        """Whether the decoder reads a tensor; others mean that the model is another architecture."""
        stem, _, ending = name.rpartition(".")
        part = stem.split(".", 2)[2] if stem.startswith("blk.") and stem.count(".") == 2 else ""
        if ending == "bias":
            return self._architecture == "qwen2" and part in ("attn_q", "attn_k", "attn_v")
        if part in ("attn_q_norm", "attn_k_norm") and self._architecture != "qwen3":
            return False
        return ending == "weight" and (part in _LAYER.values() or stem in (*_TOP.values(), "rope_freqs"))

    def _linear_rope_factor(self) -> float:
        """The divisor of the RoPE frequencies; 0 if there is none. llama.cpp's default kind is linear."""
        kind = self.text(f"{self._architecture}.rope.scaling.type", "linear")
        require(kind in ("linear", "none", ""), f"rope scaling {kind!r} of {self.path} is not supported")
        factor = self._number("rope.scaling.factor", self._number("rope.scale_linear", 0.0))
        return float(factor) if kind == "linear" and factor != 1 else 0.0

    def _head_dim(self, num_heads: int) -> int:
        size: int = self._number("attention.key_length", self._number("embedding_length") // max(1, num_heads))
        for name in ("attention.value_length", "rope.dimension_count"):
            other = self._number(name, size)
            require(other == size, f"{name} of {self.path} is {other}, but a head has {size} dimensions")
        return size

    def _number(self, name: str, default: Any = None) -> Any:
        value = self.fields.get(f"{self._architecture}.{name}", default)
        require(isinstance(value, int | float), f"{self.path} lacks {self._architecture}.{name}; fetch it again")
        return value

    def _dequantised(self, name: str) -> np.ndarray:
        from gguf import quants

        tensor = self._tensors[name]
        try:
            return quants.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError:  # the gguf package names more kinds than it reads
            raise SettingsError(
                f"{self.path}: quantisation {tensor.tensor_type.name} of {name} is not supported; fetch another one"
            ) from None


def _half_split(array: np.ndarray, num_heads: int) -> np.ndarray:
    """Reorders the rotary dimensions of each head from llama.cpp's adjacent pairs to pairs half a head apart."""
    rows, *rest = array.shape
    return array.reshape(num_heads, rows // num_heads // 2, 2, *rest).swapaxes(1, 2).reshape(array.shape)


# Regex that splits text before the merges, by `tokenizer.ggml.pre`. Another pattern would split digits otherwise.
_DIGITS_APART = "digits"
_PRE_TOKENIZERS = {
    "default": None,
    "gpt-2": None,
    "smollm": _DIGITS_APART,
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}
# Other names of these, as llama.cpp has them.
_PRE_TOKENIZER_ALIASES = {
    "deepseek-r1-qwen": "qwen2",
    "kormo": "qwen2",
    "llama3": "llama-bpe",
    "llama-v3": "llama-bpe",
}
_WHOLE_WORDS_FIRST = ("llama-bpe",)  # these look a full word up before they apply merges
_BOS_BY_DEFAULT = ("llama-bpe",)
_CONTROL, _USER_DEFINED = 3, 4  # token types


def load_tokenizer(file: GGUFFile) -> Tokenizer:
    """Builds the tokenizer from the metadata.

    Raises:
      SettingsError: its kind is not supported, or a field is missing.
    """
    import tokenizers
    from tokenizers import AddedToken, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    prefix = "tokenizer.ggml."
    fields = {name.removeprefix(prefix): value for name, value in file.fields.items() if name.startswith(prefix)}
    kind, pre = fields.get("model"), file.text(f"{prefix}pre", "default")
    require(kind == "gpt2", f"the tokenizer of {file.path} is of kind {kind!r}; supported: 'gpt2' (byte-level BPE)")
    pre = _PRE_TOKENIZER_ALIASES.get(pre, pre)
    require(pre in _PRE_TOKENIZERS, f"pre-tokenizer {pre!r} of {file.path} is not supported")
    try:
        tokens, types = fields["tokens"], fields["token_type"]
        merges = [tuple(merge.split(" ", 1)) for merge in fields["merges"]]
        eos = tokens[fields["eos_token_id"]]
        bos = tokens[fields["bos_token_id"]] if "bos_token_id" in fields else None
        pad = tokens[fields["padding_token_id"]] if "padding_token_id" in fields else None
        vocabulary = {token: index for index, token in enumerate(tokens)}
        backend = tokenizers.Tokenizer(models.BPE(vocabulary, merges, ignore_merges=pre in _WHOLE_WORDS_FIRST))
        named = list(zip(tokens, types, strict=True))
        given = [fields[key] for key in ("eot_token_id", "eom_token_id") if key in fields]
        stops = [number for number in given if number in range(len(tokens))]  # ids out of range mean none
    except Exception as error:  # the library raises plain ones, for instance for a merge of unknown tokens
        raise SettingsError(f"the tokenizer of {file.path} is broken ({error}); fetch it again") from None
    backend.pre_tokenizer, backend.decoder = _pre_tokenizer(pre), decoders.ByteLevel()
    if pre == "qwen2":
        backend.normalizer = normalizers.NFC()
    added = [AddedToken(t, special=k == _CONTROL, normalized=False) for t, k in named if k in (_CONTROL, _USER_DEFINED)]
    backend.add_tokens(added)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        extra_special_tokens=[token.content for token in added if token.special],
        add_bos_token=bool(fields.get("add_bos_token", pre in _BOS_BY_DEFAULT)),
        clean_up_tokenization_spaces=False,
        chat_template=file.text("tokenizer.chat_template") or None,
    )
    return wrap(wrapped, str(file.path), stops)


def _pre_tokenizer(pre: str) -> Any:
    from tokenizers import Regex, pre_tokenizers

    pattern = _PRE_TOKENIZERS[pre]
    if pattern is not None and pattern != _DIGITS_APART:
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if pattern == _DIGITS_APART:
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    return byte_level
