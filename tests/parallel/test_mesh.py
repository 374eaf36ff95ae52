import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax import parallel
from soar_jax.errors import SettingsError
from soar_jax.parallel import sharding


def test_minus_one_takes_all_devices():
    assert dict(parallel.make_mesh(-1).shape) == {"population": 2, "data": 1, "fsdp": 1, "tensor": 1}
    assert dict(parallel.make_mesh(1, fsdp=-1).shape) == {"population": 1, "data": 1, "fsdp": 2, "tensor": 1}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((99, 1, 1, 1), r"99 devices are needed, but JAX sees 2 device\(s\)"),
        ((-1, 1, 3, 1), r"3 devices or a multiple of them are needed, but JAX sees 2"),
    ],
)
def test_impossible_mesh_is_refused_with_its_numbers(sizes, message):
    with pytest.raises(SettingsError, match=message):
        parallel.make_mesh(*sizes)


def test_slices_are_crossed_by_one_axis_alone():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Device:
        id: int
        slice_index: int
        platform: str = "gpu"
        device_kind: str = "NVIDIA H100"
        process_index: int = 0

    devices = [Device(id=number, slice_index=number // 4) for number in range(8)]
    mesh = parallel.make_mesh(4, fsdp=2, devices=devices)
    slices = np.vectorize(lambda device: device.slice_index)(mesh.devices)
    assert (slices == slices[:, :, :1]).all()  # parameters are gathered within a slice
    assert set(slices[:, 0, 0, 0].tolist()) == {0, 1}
    with pytest.raises(SettingsError, match="there are 2 slices"):
        parallel.make_mesh(1, tensor=8, devices=devices)


def test_rules_shard_what_divides_and_refuse_the_rest():
    mesh = jax.sharding.AbstractMesh((2, 1, 4, 2), parallel.AXES)
    spec = sharding.partition(
        mesh, sharding.SINGLE_POLICY_STORAGE_RULES, shape=(16, 8, 3), logical_axes=("model", "heads", None)
    )
    assert spec == jax.sharding.PartitionSpec(("fsdp", "population"), ("tensor",), None)
    assert sharding.partition(
        mesh, sharding.SINGLE_POLICY_STORAGE_RULES, shape=(12,), logical_axes=("model",)
    ) == jax.sharding.PartitionSpec(("fsdp",))
    assert sharding.partition(
        mesh, sharding.COMPUTE_RULES, shape=(7,), logical_axes=("vocab",)
    ) == jax.sharding.PartitionSpec(None)
    with pytest.raises(SettingsError, match=r"axis 'heads' has size 9, which mesh\.tensor = 2"):
        sharding.partition(mesh, sharding.COMPUTE_RULES, shape=(9,), logical_axes=("heads",))
    with pytest.raises(SettingsError, match="share a mesh axis"):
        sharding.partition(mesh, sharding.COMPUTE_RULES, shape=(8, 8), logical_axes=("heads", "hidden"))


def test_a_size_that_does_not_divide_is_refused(mesh):
    parallel.check_divides(mesh, "students", 4)
    with pytest.raises(SettingsError, match=r"students is 5, which mesh.population = 2 does not divide"):
        parallel.check_divides(mesh, "students", 5)


def test_devices_cannot_be_split_again_once_jax_runs():
    with pytest.raises(SettingsError, match="JAX has already started with 2 devices"):
        parallel.set_num_cpu_devices(3)


@pytest.mark.parametrize("population_batch", [1, 2, 3])
def test_each_device_computes_its_shard(mesh, population_batch):
    def shard(values):
        assert values.shape[0] == 3  # half of six
        return parallel.map_students(lambda value: value * 2, values, population_batch)

    doubled = jax.jit(parallel.shard_over_population(mesh, shard, parallel.BY_POPULATION, parallel.BY_POPULATION))(
        jnp.arange(6)
    )
    np.testing.assert_array_equal(doubled, np.arange(6) * 2)


@pytest.mark.parametrize(("fsdp", "tensor"), [(2, 1), (1, 2)])
@pytest.mark.parametrize(("vocab_size", "num_rows"), [(6, 4), (6, 3), (7, 4)])
def test_embedding_lookup_on_a_sharded_table_and_its_gradient(fsdp, tensor, vocab_size, num_rows):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(vocab_size, 8)).astype(np.float32)
    weights = rng.normal(size=(num_rows, 5, 8)).astype(np.float32)
    tokens = rng.integers(0, vocab_size, (num_rows, 5), dtype=np.int32)

    @jax.jit
    def both(table):
        return jax.value_and_grad(lambda table: jnp.sum(sharding.embed_tokens(table, tokens) * weights))(table)

    with jax.set_mesh(parallel.make_mesh(1, 1, fsdp, tensor)):
        np.testing.assert_array_equal(jax.jit(sharding.embed_tokens)(table, tokens), table[tokens])
        value, gradient = both(table)
    expected = np.zeros_like(table)
    np.add.at(expected, tokens, weights)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)
    np.testing.assert_allclose(value, (table[tokens] * weights).sum(), rtol=1e-5)
