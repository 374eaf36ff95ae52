"""Text to token ids and back, through transformers.

Rollouts stay token ids from the sampler to the loss; text is only made for parsing,
grading and reading, and is never encoded again for training.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from soar_jax.settings import SettingsError
from soar_jax.types import PromptBatch


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A transformers tokenizer and the ids that the sampler needs."""

    backend: Any  # transformers.PreTrainedTokenizerBase
    bos_id: int
    eos_id: int
    pad_id: int
    vocab_size: int  # ids that the tokenizer can write

    def encode_prompt(self, text: str) -> list[int]:
        """Token ids of a prompt, with exactly one BOS."""
        ids = self.backend(text, add_special_tokens=False)["input_ids"]
        return [self.bos_id, *ids]

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Texts of rows of token ids, special tokens left out."""
        return self.backend.batch_decode(rows, skip_special_tokens=True)


def load_tokenizer(folder: pathlib.Path) -> Tokenizer:
    """Loads the tokenizer files of a Hugging Face folder.

    Raises:
      SettingsError: the files are missing or broken, or lack a BOS or EOS token.
    """
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # that torch is missing is no news here
    from transformers import AutoTokenizer  # seconds to import, so only when a model is loaded

    try:
        backend = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # transformers raises many kinds for a broken folder
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SettingsError(f"cannot load the tokenizer in {folder}: {first_line}") from None
    if backend.bos_token_id is None or backend.eos_token_id is None:
        raise SettingsError(f"the tokenizer in {folder} names no BOS or no EOS token")
    pad_id = backend.eos_token_id if backend.pad_token_id is None else backend.pad_token_id
    return Tokenizer(backend, backend.bos_token_id, backend.eos_token_id, pad_id, len(backend))


def prompt_batch(rows: Sequence[Sequence[int]], pad_id: int, buckets: Sequence[int]) -> PromptBatch:
    """Right-pads prompts to the smallest bucket that holds the longest: tokens [B, T], lengths [B].

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
    return PromptBatch(tokens, lengths)


def build_word_tokenizer(words: Sequence[str], folder: pathlib.Path) -> None:
    """Writes a tokenizer whose tokens are whole words split at spaces, in Hugging Face layout.

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
