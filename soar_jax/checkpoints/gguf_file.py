"""GGUF files: shape, tokenizer and weights of a model in one file, often quantised (llama.cpp)."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from soar_jax.checkpoints.tokenizer import Tokenizer, wrap
from soar_jax.model.config import ModelConfig
from soar_jax.settings import SettingsError, require

# Architecture in the file, and the model_type of Hugging Face.
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
# Llama 3's stretched rotary frequencies come as a tensor; these are the constants all of its models share.
_LLAMA3_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def _reader(path: pathlib.Path) -> Any:
    """Gguf's reader, which does not read on behind the end of a file that says that it is longer than it is."""
    from gguf import GGUFReader

    class Reader(GGUFReader):
        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
            if offset + np.dtype(dtype).itemsize * int(count) > len(self.data):
                raise ValueError("cut short")
            return super()._get(offset, dtype, count=count, override_order=override_order)

    return Reader(path)


class GGUFFile:
    """An open file; a tensor is dequantised when it is asked for."""

    def __init__(self, path: pathlib.Path) -> None:
        """Reads the metadata and where the tensors lie.

        Raises:
          SettingsError: the file is broken, or holds no model that this decoder computes.
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
        """What `config.json` of the model says.

        Raises:
          SettingsError: the metadata lack something.
        """
        embedding = self._tensors.get("token_embd.weight")
        require(embedding is not None, f"{self.path} has no token embeddings; fetch it again")
        assert embedding is not None
        heads = self._number("attention.head_count")
        config = {
            "model_type": ARCHITECTURES[self._architecture],
            "vocab_size": int(embedding.shape[1]),
            "hidden_size": self._number("embedding_length"),
            "intermediate_size": self._number("feed_forward_length"),
            "num_hidden_layers": self._number("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": self._number("attention.head_count_kv", heads),
            "head_dim": self._number("attention.key_length", self._number("embedding_length") // max(1, heads)),
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

    def source(self, config: ModelConfig) -> _Source:
        """The tensors under their Hugging Face names."""
        return _Source(self, config)

    def has(self, name: str) -> bool:
        """Whether the file has a tensor of this (GGUF) name."""
        return name in self._tensors

    def text(self, name: str, default: str = "") -> str:
        """A text of the metadata.

        Raises:
          SettingsError: it is something else.
        """
        value = self.fields.get(name, default)
        require(isinstance(value, str), f"{name} of {self.path} is no text; fetch it again")
        return value

    def _is_read(self, name: str) -> bool:
        """Whether a tensor is one that a model of this architecture has and this decoder computes with."""
        stem, _, ending = name.rpartition(".")
        part = stem.split(".", 2)[2] if stem.startswith("blk.") and stem.count(".") == 2 else ""
        if ending == "bias":
            return self._architecture == "qwen2" and part in ("attn_q", "attn_k", "attn_v")
        if part in ("attn_q_norm", "attn_k_norm") and self._architecture != "qwen3":
            return False
        return ending == "weight" and (part in _LAYER.values() or stem in (*_TOP.values(), "rope_freqs"))

    def _linear_rope_factor(self) -> float:
        """What rotary frequencies are divided by; 0 where they are not. llama.cpp's default kind is linear."""
        kind = self.text(f"{self._architecture}.rope.scaling.type", "linear")
        require(kind in ("linear", "none", ""), f"rope scaling {kind!r} of {self.path} is not supported")
        factor = self._number("rope.scaling.factor", self._number("rope.scale_linear", 0.0))
        return float(factor) if kind == "linear" and factor != 1 else 0.0

    def _number(self, name: str, default: Any = None) -> Any:
        value = self.fields.get(f"{self._architecture}.{name}", default)
        require(isinstance(value, int | float), f"{self.path} lacks {self._architecture}.{name}; fetch it again")
        return value

    def _dequantised(self, name: str) -> np.ndarray:
        from gguf import quants

        tensor = self._tensors[name]
        try:
            return quants.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError:  # the gguf package reads fewer kinds than it names
            raise SettingsError(
                f"{self.path}: quantisation {tensor.tensor_type.name} of {name} is not supported; fetch another one"
            ) from None


class _Source:
    """A `checkpoint.TensorSource`."""

    def __init__(self, file: GGUFFile, config: ModelConfig) -> None:
        self._file, self._config = file, config

    def get(self, name: str) -> np.ndarray:
        """The tensor, float32, laid out as in a Hugging Face checkpoint.

        Raises:
          SettingsError: there is none, or its quantisation is not supported.
        """
        stem, _, ending = name.rpartition(".")
        place = _TOP.get(stem) or _in_layer(stem)
        full = f"{place}.{ending}"
        require(self._file.has(full), f"{self._file.path} has no tensor {full}; fetch it again")
        array = self._file._dequantised(full)
        heads = {"q_proj": self._config.num_heads, "k_proj": self._config.num_kv_heads}
        projection = stem.rpartition(".")[2]
        if self._config.family == "llama" and projection in heads:
            return _half_split(array, heads[projection])
        return array


def _in_layer(stem: str) -> str:
    _, _, number, part = stem.split(".", 3)  # model.layers.N.part
    return f"blk.{number}.{_LAYER[part]}"


def _half_split(array: np.ndarray, num_heads: int) -> np.ndarray:
    """Undoes llama.cpp's order of a head's rotary dimensions: pairs side by side, ours are half a head apart."""
    rows, *rest = array.shape
    return array.reshape(num_heads, rows // num_heads // 2, 2, *rest).swapaxes(1, 2).reshape(array.shape)


# How text is cut before the merges, by `tokenizer.ggml.pre`. A pattern that is lost changes how digits are read.
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
_WHOLE_WORDS_FIRST = ("llama-bpe",)  # a word that is a token is not cut and merged
_BOS_BY_DEFAULT = ("llama-bpe",)
# End a completion, whichever of them the file names as EOS.
_ENDS = ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>")
_CONTROL, _USER_DEFINED = 3, 4  # types of tokens


def load_tokenizer(file: GGUFFile) -> Tokenizer:
    """The tokenizer that the metadata describe.

    Raises:
      SettingsError: it is of a kind that is not supported, or the metadata lack something.
    """
    import tokenizers
    from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    prefix = "tokenizer.ggml."
    fields = {name.removeprefix(prefix): value for name, value in file.fields.items() if name.startswith(prefix)}
    kind, pre = fields.get("model"), file.text(f"{prefix}pre", "default")
    require(kind == "gpt2", f"the tokenizer of {file.path} is of kind {kind!r}; supported: 'gpt2' (byte-level BPE)")
    require(pre in _PRE_TOKENIZERS, f"pre-tokenizer {pre!r} of {file.path} is not supported")
    try:
        tokens, types = fields["tokens"], fields["token_type"]
        merges = [tuple(merge.split(" ", 1)) for merge in fields["merges"]]
        eos = tokens[fields["eos_token_id"]]
        bos = tokens[fields["bos_token_id"]] if "bos_token_id" in fields else None
        pad = tokens[fields["padding_token_id"]] if "padding_token_id" in fields else None
        vocabulary = {token: place for place, token in enumerate(tokens)}
        backend = tokenizers.Tokenizer(models.BPE(vocabulary, merges, ignore_merges=pre in _WHOLE_WORDS_FIRST))
        named = list(zip(tokens, types, strict=True))
        stops = _stops(fields, named)
    except Exception as error:  # the library raises plain ones, for a merge of unknown tokens for instance
        raise SettingsError(f"the tokenizer of {file.path} is broken ({error}); fetch it again") from None
    pattern = _PRE_TOKENIZERS[pre]
    first: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if pattern == _DIGITS_APART:
        first = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), first])
    elif pattern is not None:
        split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        first = pre_tokenizers.Sequence([split, bytes_only])
    backend.pre_tokenizer, backend.decoder = first, decoders.ByteLevel()
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


def _stops(fields: dict[str, Any], named: list[tuple[str, int]]) -> list[int]:
    """Ids of the tokens that end a turn or a text; named are the tokens and their types."""
    ids = [place for place, (token, kind) in enumerate(named) if token in _ENDS and kind == _CONTROL]
    given = [fields[key] for key in ("eot_token_id", "eom_token_id") if key in fields]
    return [*ids, *[number for number in given if number in range(len(named))]]  # "none" is a number beyond
