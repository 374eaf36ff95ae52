import dataclasses
import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from soar_jax import parallel
from soar_jax.errors import SettingsError
from soar_jax.model import attention, decoder, parameters
from soar_jax.model.attention import AUTO, CUDNN, PLAIN, SPLASH
from soar_jax.model.kv_cache import KVCache


class Chip:
    def __init__(self, platform, capability):
        self.platform, self.compute_capability = platform, capability


class Chips:
    """Stands in for a mesh: `choose` reads only its devices."""

    def __init__(self, platform, capability=""):
        self.devices = np.array([Chip(platform, capability)])


def section(name, int8_cache=False):
    """A config's section `model`, as far as attention goes."""
    return ml_collections.ConfigDict({"attention": name, "dtype": "float32", "int8_cache": int8_cache})


@pytest.fixture
def interpreted(monkeypatch):
    """Runs the TPU kernel in Pallas' interpreter."""
    make = functools.partial(attention.splash.make_splash_mha_single_device, interpret=True)
    monkeypatch.setattr(attention.splash, "make_splash_mha_single_device", make)


def inputs(num_heads, num_kv_heads, num_slots, head_dim, seed):
    keys = jax.random.split(jax.random.key(seed), 4)
    query, cotangent = (jax.random.normal(key, (3, num_heads, num_slots, head_dim)) for key in keys[:2])
    key = jax.random.normal(keys[2], (3, num_kv_heads, head_dim, num_slots))
    value = jax.random.normal(keys[3], (3, num_kv_heads, num_slots, head_dim))
    # Rows in the layout of `decoder.py`: the first third of the slots has prompts of three lengths.
    third = num_slots // 3
    slots = jnp.arange(num_slots)
    valid = (slots < jnp.array([1, third // 2, third])[:, None]) | (slots >= third)
    return query, key, value, valid, cotangent * valid[:, None, :, None]


def check_against_plain_attention(name, num_heads, num_kv_heads, num_slots, head_dim, first=0):
    """Compares a kernel's values and gradients with those of plain attention, for the queries from slot `first` on."""
    query, key, value, valid, cotangent = inputs(
        num_heads, num_kv_heads, num_slots=num_slots, head_dim=head_dim, seed=num_slots
    )
    query, cotangent = query[:, :, first:], cotangent[:, :, first:]
    mask = valid[:, None] & jnp.tril(jnp.ones((num_slots, num_slots), bool))[first:]

    def weighted(attended):
        return jnp.sum(attended * cotangent), attended * (cotangent != 0)

    def plain(query, key, value):
        return weighted(attention.attend(query, KVCache(key, value), mask=mask, scale=0.1))

    def kernel(query, key, value):
        return weighted(attention.attend_to_row(name, query, key=key, value=value, key_valid=valid, scale=0.1))

    expected = jax.jit(jax.value_and_grad(plain, (0, 1, 2), has_aux=True))(query, key, value)
    found = jax.jit(jax.value_and_grad(kernel, (0, 1, 2), has_aux=True))(query, key, value)
    jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4), found, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes",
    [(4, 2, 200, 64), *(pytest.param(sizes, marks=pytest.mark.slow) for sizes in ((2, 2, 37, 16), (6, 1, 384, 128)))],
)
def test_the_tpu_kernel_equals_plain_attention(interpreted, sizes):
    check_against_plain_attention(SPLASH, *sizes)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [pytest.param((4, 2, 24, 16), marks=pytest.mark.slow), (6, 1, 37, 8)])
def test_the_call_of_the_gpu_kernel_equals_plain_attention(monkeypatch, sizes):
    calls, compute = [], jax.nn.dot_product_attention

    def on_the_cpu(*args, implementation, **named):
        calls.append((implementation, args[0].shape[1] % 2))
        return compute(*args, implementation="xla", **named)

    monkeypatch.setattr(jax.nn, "dot_product_attention", on_the_cpu)
    check_against_plain_attention(CUDNN, *sizes)
    assert set(calls) == {("cudnn", 0)}


@pytest.mark.slow
@pytest.mark.parametrize(("slots", "first"), [(37, 12), (38, 13)])
def test_the_gpu_kernel_takes_completions_behind_prompts(monkeypatch, slots, first):
    compute = jax.nn.dot_product_attention
    on_the_cpu = functools.partial(compute, implementation="xla")
    monkeypatch.setattr(
        jax.nn, "dot_product_attention", lambda *args, implementation, **named: on_the_cpu(*args, **named)
    )
    check_against_plain_attention(CUDNN, 4, 2, num_slots=slots, head_dim=8, first=first)


@pytest.mark.parametrize(("slots", "first"), [(37, 12), pytest.param(300, 140, marks=pytest.mark.slow)])
def test_the_tpu_kernel_takes_completions_behind_prompts(interpreted, slots, first):
    check_against_plain_attention(SPLASH, 2, 2, num_slots=slots, head_dim=16, first=first)


@pytest.mark.slow
@pytest.mark.parametrize("num_slots", [1535, 37, 64])  # cuDNN trains only even numbers
def test_the_gpu_kernel_takes_rows_of_any_length(monkeypatch, num_slots):
    cudnn = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91200)  # to check shapes without a GPU
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda _: True)
    monkeypatch.setattr(cudnn, "is_cuda_compute_capability_equal", lambda _: False)
    query, key, value, valid, _ = inputs(4, 2, num_slots=num_slots, head_dim=64, seed=0)
    half = [leaf.astype(jnp.bfloat16) for leaf in (query, key, value)]

    def total(query, key, value):
        return (
            attention.attend_to_row(CUDNN, query, key=key, value=value, key_valid=valid, scale=0.1)
            .astype(jnp.float32)
            .sum()
        )

    gradients = jax.eval_shape(jax.grad(total, (0, 1, 2)), *half)
    assert [leaf.shape for leaf in gradients] == [leaf.shape for leaf in half]


@pytest.mark.slow
@pytest.mark.parametrize("num_layers", [2, pytest.param(6, marks=pytest.mark.slow)])  # unrolled, and scanned
def test_hidden_states_by_the_kernel_equal_plain_ones(interpreted, tiny_model, num_layers):
    model = dataclasses.replace(tiny_model, num_layers=num_layers)
    params = parameters.init_params(model, jax.random.key(1))
    tokens = jax.random.randint(jax.random.key(2), (2, 9), 0, model.vocab_size)
    lengths = jnp.array([2, 4])
    positions = jnp.concatenate([jnp.tile(jnp.arange(4), (2, 1)), lengths[:, None] + jnp.arange(5)], axis=1)
    valid = (jnp.arange(9) < lengths[:, None]) | (jnp.arange(9) >= 4)
    plain, _ = decoder.hidden_states(params, model, tokens=tokens, positions=positions, key_valid=valid)
    by_kernel = dataclasses.replace(model, attention=SPLASH)
    with jax.set_mesh(parallel.make_mesh(1, 1, 2, 1)):  # rows are sharded
        found, _ = jax.jit(decoder.hidden_states, static_argnums=1)(params, by_kernel, tokens, positions, valid)
    np.testing.assert_allclose(found * valid[..., None], plain * valid[..., None], atol=1e-5)


def test_auto_is_the_kernel_on_tpus_without_windows(tiny_model):
    with_window = dataclasses.replace(tiny_model, layers_with_window=(0,))
    assert attention.choose(section(AUTO), tiny_model, Chips("tpu")).attention == SPLASH
    assert attention.choose(section(AUTO), with_window, Chips("tpu")).attention == PLAIN
    assert attention.choose(section(AUTO), tiny_model, Chips("cpu")).attention == PLAIN


def test_decoding_scans_deep_models_on_tpus_alone(tiny_model):
    deep = dataclasses.replace(tiny_model, num_layers=28)
    assert attention.choose(section(AUTO), deep, Chips("tpu")).scans_decoding
    assert not attention.choose(section(AUTO), tiny_model, Chips("tpu")).scans_decoding
    assert not attention.choose(section(AUTO), deep, Chips("cpu")).scans_decoding
    assert not attention.choose(section(AUTO), deep, Chips("gpu", "9.0")).scans_decoding


@pytest.mark.parametrize(
    ("change", "kernel"),
    [
        ({}, CUDNN),
        ({"head_dim": 128}, CUDNN),
        ({"dtype": "float32"}, PLAIN),
        ({"head_dim": 256}, PLAIN),
        ({"head_dim": 20}, PLAIN),
        ({"layers_with_window": (0,)}, PLAIN),
    ],
)
def test_auto_is_cudnn_on_gpus_where_it_can_do_the_model(tiny_model, change, kernel):
    model = dataclasses.replace(tiny_model, **{"dtype": "bfloat16", "head_dim": 16} | change)
    assert attention.choose(section(AUTO), model, Chips("gpu", "9.0")).attention == kernel


@pytest.mark.parametrize(("capability", "kernel"), [("8.0", CUDNN), ("10.3", CUDNN), ("7.5", PLAIN), ("gfx90a", PLAIN)])
def test_auto_is_cudnn_on_the_gpus_that_have_it(tiny_model, capability, kernel):
    model = dataclasses.replace(tiny_model, dtype="bfloat16", head_dim=16)
    assert attention.choose(section(AUTO), model, Chips("gpu", capability)).attention == kernel


def test_heads_that_cudnn_cannot_do_are_refused(tiny_model):
    model = dataclasses.replace(tiny_model, head_dim=20)
    with pytest.raises(SettingsError, match="cannot do heads of 20 dimensions, only of multiples of 8 up to 128"):
        attention.choose(section(CUDNN), model, Chips("gpu"))


def test_the_config_sets_the_int8_cache(tiny_model):
    assert attention.choose(section(AUTO, int8_cache=True), tiny_model, Chips("cpu")).int8_cache
    assert not attention.choose(section(AUTO), tiny_model, Chips("cpu")).int8_cache


@pytest.mark.parametrize(
    ("name", "platform", "complaint"),
    [
        (SPLASH, "cpu", "a kernel of the platform 'tpu', but the devices are 'cpu'"),
        (CUDNN, "tpu", "a kernel of the platform 'gpu'"),
        (CUDNN, "gpu", "needs model.dtype='bfloat16', not 'float32'"),
    ],
)
def test_a_kernel_that_the_devices_lack_is_refused(name, platform, complaint):
    with pytest.raises(SettingsError, match=complaint):
        attention.check(section(name), Chips(platform))


@pytest.mark.parametrize("name", [AUTO, PLAIN, SPLASH])
def test_kernels_of_the_platform_are_allowed(name):
    attention.check(section(name), Chips("tpu"))


def test_a_kernel_without_windows_is_refused_for_them(tiny_model):
    with_window = dataclasses.replace(tiny_model, layers_with_window=(0,))
    with pytest.raises(SettingsError, match="cannot do layers with windows"):
        attention.choose(section(SPLASH), with_window, Chips("tpu"))
