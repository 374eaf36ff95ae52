"""Compares logits and greedy tokens of a GGUF model with those of transformers, which loads the same file.

    python benchmarks/parity.py --model=MODEL.gguf --questions=FILE.jsonl

Needs torch and accelerate. Logits in float64 show how much of a difference is rounding. Prompts are questions in the
model's chat template, padded to one length. Exit code 1 if a greedy token differs.
"""

import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from soar_jax.checkpoints.base_model import LoadedModel, load_model
from soar_jax.checkpoints.tokenizer import prompt_batch
from soar_jax.model import decoder
from soar_jax.parallel import make_mesh
from soar_jax.sampling.sampler import SamplingSettings, sample
from soar_jax.types import PromptBatch

MODEL = flags.DEFINE_string("model", None, "A GGUF file.", required=True)
QUESTIONS = flags.DEFINE_string("questions", None, "JSON lines with a field `question`.", required=True)
NUM_PROMPTS = flags.DEFINE_integer("num_prompts", 32, "Number of questions.")
NUM_TOKENS = flags.DEFINE_integer("num_tokens", 64, "Greedy tokens per question.")


def main(_: list[str]) -> None:
    """Prints the largest differences and the number of equal greedy rows."""
    import torch
    from transformers import AutoModelForCausalLM

    path = pathlib.Path(MODEL.value)
    base = load_model(str(path), "float32", mesh=make_mesh(1))
    reference = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    with open(QUESTIONS.value) as file:
        questions = [json.loads(line)["question"] for line in file][: NUM_PROMPTS.value]
    rows = [base.tokenizer.encode_prompt(base.tokenizer.chat(question, "")) for question in questions]
    width = max(map(len, rows))
    batch = prompt_batch(rows, base.tokenizer.pad_id, (width,))
    mask = np.arange(width) < np.asarray(batch.lengths)[:, None]

    @jax.jit
    def logits(tokens: jax.Array, mask: jax.Array) -> jax.Array:
        positions = jnp.broadcast_to(jnp.arange(width), tokens.shape)
        hidden, _ = decoder.hidden_states(base.params, base.config, tokens=tokens, positions=positions, key_valid=mask)
        return decoder.logits(base.params, base.config, hidden)

    def peer_logits(rows: slice) -> np.ndarray:
        with torch.no_grad():
            tokens = torch.tensor(np.asarray(batch.tokens[rows]), dtype=torch.long)
            return reference(tokens, attention_mask=torch.tensor(mask[rows].astype(np.int64))).logits.numpy()

    chunks = [slice(start, start + 4) for start in range(0, len(rows), 4)]
    ours = [np.asarray(logits(batch.tokens[chunk], mask[chunk]))[mask[chunk]] for chunk in chunks]
    peer = [peer_logits(chunk)[mask[chunk]] for chunk in chunks]
    greedy = _greedy(base, batch)
    equal = sum(
        np.array_equal(ours, _generate(reference, row, base.tokenizer)[: len(ours)])
        for ours, row in zip(greedy, rows, strict=True)
    )
    reference.double()
    exact = [peer_logits(chunk)[mask[chunk]] for chunk in chunks]
    print(f"prompts: {len(rows)} of {min(map(len, rows))} to {width} tokens; largest logit {_max_magnitude(exact):.1f}")
    print(f"largest difference of logits, ours and transformers': {_max_difference(ours, peer):.2e}")
    print(f"from float64: ours {_max_difference(ours, exact):.2e}, transformers' {_max_difference(peer, exact):.2e}")
    print(f"greedy rows equal over {NUM_TOKENS.value} tokens: {equal} of {len(rows)}")
    sys.exit(equal != len(rows))


def _greedy(base: LoadedModel, batch: PromptBatch) -> list[np.ndarray]:
    """Our greedy completions, without padding."""
    settings = SamplingSettings(
        max_completion_tokens=NUM_TOKENS.value,
        temperature=0.0,
        top_p=1.0,
        stop_ids=base.tokenizer.stop_ids,
        pad_id=base.tokenizer.pad_id,
    )
    drawn = sample(base.params, batch, key=jax.random.key(0), model=base.config, settings=settings)
    return [row[:length] for row, length in zip(np.asarray(drawn.tokens), np.asarray(drawn.lengths), strict=True)]


def _generate(reference, row, tokenizer) -> np.ndarray:
    import torch

    with torch.no_grad():
        tokens = torch.tensor([row])
        found = reference.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=NUM_TOKENS.value,
            do_sample=False,
            pad_token_id=tokenizer.pad_id,
            eos_token_id=list(tokenizer.stop_ids),
        )
    return found[0, len(row) :].numpy()


def _max_difference(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True))


def _max_magnitude(a: list[np.ndarray]) -> float:
    return max(float(np.abs(x).max()) for x in a)


if __name__ == "__main__":
    app.run(main)
