"""A Llama whose next token depends on its last one alone, so that it writes the paper's formats, at first by chance.

Attention and MLP of its only layer add nothing, embeddings are one-hot, and the rows of the unembedding are the logits
of the tokens that may follow. All weights train.
"""

import json

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

NUMBERS = ("one", "two", "three", "four")
WIDTH = 48
# Last token -> tokens that may follow, with their weights. The prompts of the config end with "now:" and "Assistant:".
FOLLOWING = {
    "now:": {"<question>": 8, "one": 1},
    "<question>": dict.fromkeys(NUMBERS, 1),
    **{number: {"+": 3, "</question>": 2} for number in NUMBERS},
    "+": dict.fromkeys(NUMBERS, 1),
    "</question>": {"<answer>": 8, "<eos>": 1},
    "<answer>\\boxed{...}</answer>:": {"<answer>": 1},  # the end of the request for an answer
    "<answer>": {"\\boxed{": 1},
    "Assistant:": {"\\boxed{": 4, "5": 1},
    "\\boxed{": dict.fromkeys("12345678", 1),
    **{digit: {"}": 1} for digit in "12345678"},
    "}": {"</answer>": 3, "<eos>": 1},
    "</answer>": {"<eos>": 1},
}


def write_markov_model(folder):
    """Writes the model as a Hugging Face folder."""
    folder.mkdir(parents=True)
    words = ["<pad>", "<bos>", "<eos>", "<unk>", *FOLLOWING]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    settings = special | {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(words),
        "hidden_size": WIDTH,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "max_position_embeddings": 512,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(_weights(words), folder / "model.safetensors")
    return folder


def _weights(words):
    rng = np.random.default_rng(0)
    layer = "model.layers.0."
    shapes = {f"{layer}self_attn.{name}_proj.weight": (rows, WIDTH) for name, rows in (("q", 32), ("k", 16), ("v", 16))}
    shapes |= {f"{layer}mlp.{name}_proj.weight": (16, WIDTH) for name in ("gate", "up")}
    weights = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    weights |= {
        f"{layer}self_attn.o_proj.weight": np.zeros((WIDTH, 32), np.float32),
        f"{layer}mlp.down_proj.weight": np.zeros((WIDTH, 16), np.float32),
    }
    norms = (f"{layer}input_layernorm.weight", f"{layer}post_attention_layernorm.weight", "model.norm.weight")
    weights |= {name: np.ones(WIDTH, np.float32) for name in norms}
    weights["model.embed_tokens.weight"] = np.eye(len(words), WIDTH, dtype=np.float32)
    logits = np.full((len(words), len(words)), -8.0)  # of the row's token after the column's
    for last, following in FOLLOWING.items():
        for word, weight in following.items():
            logits[words.index(word), words.index(last)] = np.log(weight)
    logits[words.index("<eos>"), :4] = 0.0  # after unknown words
    # The norm makes a one-hot vector sqrt(WIDTH) long.
    unembedding = np.zeros((len(words), WIDTH), np.float32)
    unembedding[:, : len(words)] = logits / np.sqrt(WIDTH)
    return weights | {"lm_head.weight": unembedding}


def write_problems(path, first, count):
    """Writes problems that the model can answer by chance alone."""
    rows = [
        {
            "question": f"{NUMBERS[n % 4]} + {NUMBERS[n // 4 % 4]} + {NUMBERS[(n + first) % 4]} case{first}{n}",
            "answer": "9",
        }
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
