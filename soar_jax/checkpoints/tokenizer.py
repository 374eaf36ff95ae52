"""Encodes and decodes text through transformers.

Rollouts stay token ids from the sampler to the loss; their text is for parsing, grading and reading, and is never
encoded again for training.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from soar_jax.checkpoints.safetensors_folder import read_json
from soar_jax.errors import SettingsError, require
from soar_jax.types import PromptBatch

# All of these end a completion, not only the one that a checkpoint names as EOS.
_ENDS = ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>", "<|end|>", "<end_of_turn>")
# Prepended to chat templates, some of which print the date: prompts must not depend on the day or the host.
_FIXED_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """A transformers tokenizer and the ids that the sampler needs."""

    backend: Any  # transformers.PreTrainedTokenizerBase
    bos_id: int | None  # None if the model has none
    eos_id: int
    pad_id: int
    vocab_size: int  # all ids that the tokenizer can produce are less
    stop_ids: tuple[int, ...]  # end a completion; EOS included
    adds_bos: bool  # whether prompts begin with BOS
    special_texts: tuple[str, ...]  # read as special tokens anywhere in a text
    num_known_ids: int | None = None  # the model's; higher ids are refused in prompts. None: all are known

    def for_model(self, num_ids: int, name: str) -> Tokenizer:
        """Returns the tokenizer of a model with embeddings of `num_ids` ids, which may be fewer than the tokenizer's.

        Raises:
          SettingsError: the model does not have the EOS token.
        """
        require(
            self.eos_id < num_ids,
            f"the tokenizer of {name} ends texts with id {self.eos_id}, but the model has only {num_ids} ids; fetch "
            "the model and its tokenizer again",
        )
        return dataclasses.replace(
            self,
            pad_id=self.pad_id if self.pad_id < num_ids else self.eos_id,
            stop_ids=tuple(stop for stop in self.stop_ids if stop < num_ids),
            num_known_ids=num_ids,
        )

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of a prompt, with exactly one BOS if the model wants it.

        Raises:
          SettingsError: the model does not have a token of the text.
        """
        ids: list[int] = self.backend(text, add_special_tokens=False)["input_ids"]
        if self.bos_id is not None and self.adds_bos and ids[:1] != [self.bos_id]:
            ids = [self.bos_id, *ids]
        if unknown := self._unknown_ids(ids):
            token = self.backend.convert_ids_to_tokens(unknown[0])
            raise SettingsError(
                f"a prompt has the token {reprlib.repr(token)} with id {unknown[0]}, but the model has only "
                f"{self.num_known_ids} ids; leave it out of the prompt"
            )
        return ids

    def _unknown_ids(self, ids: Sequence[int]) -> list[int]:
        return [] if self.num_known_ids is None else [number for number in ids if number >= self.num_known_ids]

    def chat(self, user: str, system: str) -> str:
        """Formats a user turn, after a system turn unless that is empty, up to the start of the assistant's turn.

        Raises:
          SettingsError: the model has no chat template, or it fails.
        """
        turns = [{"role": "system", "content": system}] if system else []
        turns.append({"role": "user", "content": user})
        try:
            template = _FIXED_DATE + self.backend.get_chat_template()
            return self.backend.apply_chat_template(
                turns, chat_template=template, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # templates are code of the checkpoint, run in a sandbox by transformers
            raise SettingsError(
                f"prompts.chat is on, but the model's chat template cannot be used ({_first_line(error)}); turn it off"
            ) from None

    def contains_special_token(self, text: str) -> bool:
        """Whether a part of the text would be encoded as a special token, or as one that the model does not have.

        Questions must not have any.
        """
        if any(token in text for token in self.special_texts):
            return True
        if self.num_known_ids is None or self.vocab_size <= self.num_known_ids:
            return False
        return bool(self._unknown_ids(self.backend(text, add_special_tokens=False)["input_ids"]))

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Decodes rows of token ids, without special tokens."""
        return self.backend.batch_decode(rows, skip_special_tokens=True)


def load_tokenizer(folder: pathlib.Path) -> Tokenizer:
    """Loads the tokenizer files of a Hugging Face folder.

    Raises:
      SettingsError: the files are missing or broken, or lack an EOS token.
    """
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # silences that torch is missing
    from transformers import AutoTokenizer  # here, since the import takes seconds

    try:
        backend = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds for a broken folder
        raise SettingsError(f"cannot load the tokenizer in {folder}: {_first_line(error)}") from None
    return wrap(backend, str(folder), _generation_stops(folder))


def wrap(backend: Any, name: str, stops: Sequence[int] = ()) -> Tokenizer:
    """Wraps a transformers tokenizer; `stops` are ids that end a completion besides EOS and special tokens of _ENDS.

    Raises:
      SettingsError: it has no EOS token, or is broken.
    """
    try:
        eos_id, bos_id, pad_id = backend.eos_token_id, backend.bos_token_id, backend.pad_token_id
        require(eos_id is not None, f"the tokenizer in {name} names no EOS token")
        # Special tokens with a role (BOS, EOS), and those without one, such as many chat models' turn markers.
        added = backend.added_tokens_decoder
        specials = {token.content for token in added.values() if token.special}
        ends = {index for index, token in added.items() if token.special and token.content in _ENDS}
        return Tokenizer(
            backend=backend,
            bos_id=bos_id,
            eos_id=eos_id,
            pad_id=eos_id if pad_id is None else pad_id,
            vocab_size=max(len(backend), *(index + 1 for index in (0, *added))),
            stop_ids=tuple(sorted({eos_id, *stops, *ends})),
            adds_bos=_adds_bos(backend, bos_id),
            special_texts=tuple(sorted(specials | set(backend.all_special_tokens))),
        )
    except SettingsError:
        raise
    except Exception as error:  # a broken tokenizer can raise anything at its first use
        raise SettingsError(f"the tokenizer in {name} is broken ({_first_line(error)}); fetch it again") from None


def _adds_bos(backend: Any, bos_id: int | None) -> bool:
    """Follows the checkpoint; by default, a model with a chat template leaves BOS to the template."""
    if bos_id is None:
        return False
    adds_bos = backend.init_kwargs.get("add_bos_token")
    if adds_bos is None:
        return backend("")["input_ids"][:1] == [bos_id] or not backend.chat_template
    return bool(adds_bos)


def _generation_stops(folder: pathlib.Path) -> list[int]:
    """EOS ids of `generation_config.json` and `config.json`; chat models end a turn and a text differently."""
    paths = [folder / name for name in ("generation_config.json", "config.json")]
    named = [read_json(path).get("eos_token_id") for path in paths if path.exists()]
    ids = [number for found in named for number in (found if isinstance(found, list) else [found])]
    return [number for number in ids if type(number) is int and number >= 0]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def prompt_batch(rows: Sequence[Sequence[int]], pad_id: int, buckets: Sequence[int]) -> PromptBatch:
    """Right-pads prompts to the smallest bucket that fits the longest: tokens [B, T], lengths [B].

    Few bucket lengths mean few compiled programs.

    Raises:
      SettingsError: a prompt is longer than the largest bucket.
    """
    lengths = np.array([len(row) for row in rows], np.int32)
    longest = int(lengths.max())
    fitting = [bucket for bucket in sorted(buckets) if bucket >= longest]
    if not fitting:
        raise SettingsError(
            f"a prompt has {longest} tokens and the largest of prompts.bucket_tokens is {max(buckets)}; raise it"
        )
    tokens = np.full((len(rows), fitting[0]), pad_id, np.int32)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    return PromptBatch(tokens=tokens, lengths=lengths)


def build_word_tokenizer(words: Sequence[str], folder: pathlib.Path) -> None:
    """Writes a tokenizer whose tokens are words split at spaces, in Hugging Face layout.

    Ids: <pad> 0, <bos> 1, <eos> 2, <unk> 3, then `words` in their order.
    """
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = ["<pad>", "<bos>", "<eos>", "<unk>"]
    vocabulary = {word: index for index, word in enumerate([*specials, *words])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    wrapped.save_pretrained(str(folder))
