import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.parallel import mesh as parallel
from soar_jax.settings import SettingsError


def test_minus_one_takes_all_devices():
    assert parallel.make_mesh(-1).shape == {"population": jax.device_count()}


@pytest.mark.parametrize("size", [0, -2, 99])
def test_a_mesh_that_cannot_be_is_refused_with_the_number_of_devices(size):
    with pytest.raises(SettingsError, match=rf"mesh.population is {size}, but JAX sees {jax.device_count()} device"):
        parallel.make_mesh(size)


def test_a_size_that_does_not_divide_is_refused(mesh):
    parallel.check_divides(mesh, "students", 4)
    with pytest.raises(SettingsError, match=r"students is 5, which mesh.population = 2 does not divide"):
        parallel.check_divides(mesh, "students", 5)


def test_devices_cannot_be_split_again_once_jax_runs():
    with pytest.raises(SettingsError, match="JAX has already started with 2 devices"):
        parallel.set_num_cpu_devices(3)


@pytest.mark.parametrize("population_batch", [1, 2, 3])
def test_each_device_works_on_its_share(mesh, population_batch):
    def share(values):
        assert values.shape[0] == 3  # half of six
        return parallel.map_students(lambda value: value * 2, values, population_batch)

    doubled = parallel.spread(mesh, share, parallel.SPLIT, parallel.SPLIT)(jnp.arange(6))
    np.testing.assert_array_equal(doubled, np.arange(6) * 2)
