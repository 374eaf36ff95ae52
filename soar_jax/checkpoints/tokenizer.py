"""Encodes and decodes text through transformers.

Rollouts stay token ids from the sampler to the loss; their text is for parsing, grading and reading, and is never
encoded again for training.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from soar_jax.checkpoints.safetensors_folder import read_json
from soar_jax.errors import SettingsError, require
from soar_jax.types import PromptBatch

# Prepended to chat templates, some of which print the date: prompts must not depend on the day or the host.
_FIXED_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """A transformers tokenizer and the ids that the sampler needs."""

    backend: Any  # transformers.PreTrainedTokenizerBase
    bos_id: int | None  # None if the model has none
    eos_id: int
    pad_id: int
    vocab_size: int  # ids that the tokenizer can produce
    stop_ids: tuple[int, ...]  # end a completion; EOS included
    adds_bos: bool  # whether prompts begin with BOS
    special_texts: tuple[str, ...]  # read as special tokens anywhere in a text

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of a prompt, with exactly one BOS if the model wants it."""
        ids = self.backend(text, add_special_tokens=False)["input_ids"]
        if self.bos_id is None or not self.adds_bos or ids[:1] == [self.bos_id]:
            return ids
        return [self.bos_id, *ids]

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
        """Whether a part of the text would be encoded as a special token; questions must not have any."""
        return any(token in text for token in self.special_texts)

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
    """Wraps a transformers tokenizer; `stops` are ids that end a completion besides EOS.

    Raises:
      SettingsError: it has no EOS token, or is broken.
    """
    try:
        eos_id, bos_id, pad_id = backend.eos_token_id, backend.bos_token_id, backend.pad_token_id
        require(eos_id is not None, f"the tokenizer in {name} names no EOS token")
        # Special tokens with a role (BOS, EOS), and those without one, such as many chat models' turn markers.
        specials = {token.content for token in backend.added_tokens_decoder.values() if token.special}
        return Tokenizer(
            backend=backend,
            bos_id=bos_id,
            eos_id=eos_id,
            pad_id=eos_id if pad_id is None else pad_id,
            vocab_size=len(backend),
            stop_ids=tuple(sorted({eos_id, *stops})),
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
    """EOS ids of `generation_config.json`, else of `config.json`; chat models end a turn and a text differently."""
    paths = [folder / name for name in ("generation_config.json", "config.json")]
    found: object = next((read_json(path).get("eos_token_id", []) for path in paths if path.exists()), [])
    return [number for number in (found if isinstance(found, list) else [found]) if isinstance(number, int)]


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
