import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest

from soar_jax.checkpoints import known_shapes
from soar_jax.config import scales
from soar_jax.config.policy_sections import LoRASection
from soar_jax.errors import SettingsError
from soar_jax.model import decoder, lora, parameters
from soar_jax.model.config import ModelConfig
from soar_jax.model.kv_cache import KVCache
from soar_jax.rl import losses
from soar_jax.telemetry import costs
from soar_jax.types import PromptBatch, RolloutBatch, TrainBatch

# Small enough to count by hand: a layer's matrices are query 4x4, key 4x2, value 4x2, out 4x4, gate, up and down 4x3.
HAND = ModelConfig(
    vocab_size=5,
    d_model=4,
    hidden_dim=3,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    head_dim=2,
    rope_theta=1e4,
    norm_eps=1e-5,
    tie_embeddings=True,
    max_position_tokens=64,
)
LAYERS = 2 * (16 + 8 + 8 + 16 + 3 * 12)
TOP = 4 * 5
# Wide relative to its context, so that uncounted operations are a small fraction.
WIDE = ModelConfig(
    vocab_size=384,
    d_model=128,
    hidden_dim=256,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=32,
    rope_theta=1e4,
    norm_eps=1e-5,
    tie_embeddings=True,
    max_position_tokens=64,
)
RANK = LoRASection(rank=8, scale=1.0, layers=lora.LAYERS)


def test_parameters_by_hand():
    assert costs.matrix_parameters(HAND) == LAYERS + TOP == 188
    assert parameters.num_parameters(HAND) == 188 + 2 * 2 * 4 + 4  # tied; two norms a layer and the last one
    untied = dataclasses.replace(HAND, tie_embeddings=False)
    assert costs.matrix_parameters(untied) == 188
    # rank 1: inputs + outputs of query 4+4, key 4+2, value 4+2, out 4+4, gate and up 4+3, down 3+4
    assert costs.adapter_parameters(HAND, LoRASection(rank=1, scale=1.0, layers=lora.LAYERS)) == 2 * (
        8 + 6 + 6 + 8 + 7 + 7 + 7
    )
    assert costs.adapter_parameters(untied, LoRASection(rank=3, scale=1.0, layers=("unembedding",))) == 3 * (4 + 5)


def test_flops_by_hand():
    # one head's scores and weighted sum of a key: 2 * 2 products of head_dim 2; 2 heads, 2 layers
    per_key = 4 * 2 * 2 * 2
    assert costs.decode_flops(HAND, 2, 2) == 2 * 188 + 3 * per_key
    assert costs.prefill_flops(HAND, 3) == 3 * 2 * LAYERS + (1 + 2 + 3) * per_key + 2 * TOP
    # 3 tokens after a prompt of 2: the first comes from the prefill, the last is not decoded from
    assert costs.decode_flops(HAND, 2, 3) == 2 * 2 * 188 + (3 + 4) * per_key
    assert costs.decode_flops(HAND, 2, 1) == 0


def test_training_flops_by_hand():
    per_key = 4 * 2 * 2 * 2
    layers, attention, logits = 4 * 2 * LAYERS, (1 + 2 + 3 + 4) * per_key, 3 * 2 * TOP  # 2 + 3 - 1 tokens, 3 logits
    assert costs.training_flops(HAND, 2, completion_tokens=3, remat="none") == 3 * layers + 3 * attention + 4 * logits
    assert costs.training_flops(HAND, 2, completion_tokens=3, remat="layers") == 4 * (layers + attention + logits)
    assert costs.useful_training_flops(HAND, 2, 3) == 3 * (layers + attention + logits)
    assert costs.reference_flops(HAND, 2, 3) == layers + attention + logits
    lora_config = LoRASection(rank=1, scale=1.0, layers=("query",))
    adapters = 4 * 2 * (2 * 8)
    expected = 2 * layers + 3 * attention + 3 * logits + 3 * adapters
    assert costs.training_flops(HAND, 2, completion_tokens=3, remat="none", lora_config=lora_config) == expected


def test_kept_products_by_hand():
    outputs = 2 * (4 + 2 + 2 + 4 + 3 + 3 + 4)  # query, key, value, their output, gate, up, down
    assert costs.product_bytes_per_token(HAND) == outputs * jnp.dtype(HAND.dtype).itemsize
    assert costs.product_bytes_per_token(HAND, RANK) == outputs * 8  # of the base and of the adapters, in float32


def test_windows_bound_attention():
    window = dataclasses.replace(HAND, window_tokens=2, layers_with_window=(0,))
    per_key = 4 * 2 * 2  # of one layer
    assert costs.decode_flops(window, 4, 2) == 2 * 188 + (5 + 2) * per_key
    assert costs.prefill_flops(window, 4) == 4 * 2 * LAYERS + (1 + 2 + 3 + 4 + 1 + 2 + 2 + 2) * per_key + 2 * TOP


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bfloat16", 2)])
def test_bytes_by_hand(dtype, size):
    config = dataclasses.replace(HAND, dtype=dtype)
    assert costs.weight_bytes(config) == (188 + 20) * size
    assert costs.matrix_bytes(config) == 188 * size
    assert costs.cache_bytes_per_token(config) == 2 * 2 * 1 * 2 * size  # key and value, layers, heads, head_dim
    assert costs.training_state_bytes(config) == (188 + 20) * 12  # float32 whatever the dtype


def counted(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


def shaped(shape, dtype=jnp.int32):
    return jax.ShapeDtypeStruct(shape, dtype)


def test_forward_agrees_with_the_compiler():
    rows, slots = 4, 16

    def forward(params, tokens, positions, valid):
        hidden, _ = decoder.hidden_states(params, WIDE, tokens=tokens, positions=positions, key_valid=valid)
        return decoder.logits(params, WIDE, hidden)

    grid = shaped((rows, slots))
    flops = counted(forward, parameters.abstract_params(WIDE), grid, grid, shaped((rows, slots), bool))
    # XLA computes masked scores too
    assert costs.decode_flops(WIDE, slots - 1, 2) * rows * slots == pytest.approx(flops, rel=0.03)


def test_a_decoding_step_agrees_with_the_compiler():
    rows, slots = 4, 16

    def step(params, tokens, positions, valid, cache):
        hidden, cache = decoder.hidden_states(
            params, WIDE, tokens=tokens, positions=positions, key_valid=valid, cache=cache, first_slot=slots - 1
        )
        return decoder.logits(params, WIDE, hidden), cache

    column = shaped((rows, 1))
    cache = (KVCache(*(shaped((rows, 2, *last), jnp.float32) for last in ((32, slots), (slots, 32)))),) * 2
    flops = counted(step, parameters.abstract_params(WIDE), column, column, shaped((rows, slots), bool), cache)
    assert costs.decode_flops(WIDE, slots - 1, 2) * rows == pytest.approx(flops, rel=0.03)


@pytest.mark.parametrize(
    ("num_prompts", "lora_config"),
    [(4, None), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((4, RANK), (1, None), (2, RANK)))],
)
def test_training_agrees_with_the_compiler(num_prompts, lora_config):
    rows, prompt, completion = 4, 9, 8
    batch = TrainBatch(
        rollouts=RolloutBatch(
            prompts=PromptBatch(tokens=shaped((num_prompts, prompt)), lengths=shaped((num_prompts,))),
            prompt_of=shaped((rows,)),
            tokens=shaped((rows, completion)),
            lengths=shaped((rows,)),
            sampler_logprobs=shaped((rows, completion), jnp.float32),
        ),
        advantages=shaped((rows,), jnp.float32),
    )
    params = parameters.abstract_params(WIDE)
    frozen_base = lora.FrozenBase(params, shaped((), jnp.float32)) if lora_config else None
    weights = jax.eval_shape(lambda: lora.init_adapters(RANK, WIDE, jax.random.key(0))) if lora_config else params
    settings = losses.LossSettings(temperature=1.0, clip_ratio=0.0, kl_coef=0.0, chunk_tokens=rows * completion)

    def gradient(weights, frozen_base, batch):
        def loss(weights):
            return losses.policy_gradient_loss(
                lora.decoder_params(weights, frozen_base, WIDE), batch, model=WIDE, settings=settings
            )[0]

        return jax.value_and_grad(loss)(weights)

    flops = counted(gradient, weights, frozen_base, batch)
    read = completion - 1
    tokens = num_prompts * prompt + rows * read
    # XLA computes masked scores too. With LoRA nothing before the first layer is trained, so that no gradient flows to
    # the inputs of its queries, keys and values.
    hidden = num_prompts * prompt * (prompt - 1) // 2 + rows * read * (read - 1) // 2
    hidden_scores = 3 * 4 * 4 * 32 * 2 * hidden
    first_layer = 2 * tokens * (128 * 128 + 2 * 128 * 64) if lora_config else 0
    ours = costs.training_flops(
        WIDE,
        prompt,
        completion_tokens=completion,
        remat="none",
        lora_config=lora_config,
        num_completions=rows // num_prompts,
    )
    assert num_prompts * ours + hidden_scores - first_layer == pytest.approx(flops, rel=0.03)


# From the model cards.
@pytest.mark.parametrize(
    ("source", "num_parameters"),
    [
        ("meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400),
        ("meta-llama/Llama-3.2-3B-Instruct", 3_212_749_824),
        ("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248),
        ("Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304),
        ("Qwen/Qwen3-1.7B", 1_720_574_976),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
    ],
)
def test_known_shapes_have_the_parameters_of_their_checkpoints(source, num_parameters):
    assert parameters.num_parameters(known_shapes.shape_of(source, "bfloat16")) == num_parameters


def test_every_scale_has_a_known_shape():
    for scale in scales.scale_names():
        model = scales.scale_config(scale).model
        assert known_shapes.shape_of(model.source, model.dtype).dtype == model.dtype


def test_a_shape_can_come_from_a_folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(known_shapes.KNOWN_SHAPES["Qwen/Qwen3-1.7B"]))
    assert known_shapes.shape_of(str(tmp_path), "float32") == known_shapes.shape_of("Qwen/Qwen3-1.7B", "float32")


def test_a_config_file_replaces_an_unknown_source(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(known_shapes.KNOWN_SHAPES["Qwen/Qwen3-1.7B"]))
    expected = known_shapes.shape_of("Qwen/Qwen3-1.7B", "float32")
    for file in (path, tmp_path):
        assert known_shapes.shape_of("someone/model", "float32", str(file)) == expected


def test_an_unknown_source_is_refused():
    with pytest.raises(SettingsError, match=r"model.source 'someone/model' are not known here; .*Known: .*Qwen3"):
        known_shapes.shape_of("someone/model", "float32")
