import asyncio
import shutil
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from soar_jax.storage import array_reads
from soar_jax.storage.array_reads import read_arrays
from soar_jax.storage.run_checkpoints import Checkpoints

NUM_ARRAYS = 80


def arrays_of(step):
    rng = np.random.default_rng(step)
    return {f"w{number}": jnp.asarray(rng.normal(size=(32, 32)), jnp.float32) for number in range(NUM_ARRAYS)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    checkpoints = Checkpoints(folder, keep=2)
    for step in (1, 2):
        checkpoints.save(step, arrays_of(step), {"step": step})
    checkpoints.close()
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


@pytest.mark.parametrize("on_host", [False, True])
@pytest.mark.parametrize("names", [("w0", "w7"), tuple(f"w{number}" for number in range(NUM_ARRAYS))])
def test_arrays_are_read_onto_devices_or_the_host(saved, on_host, names):
    like = {name: jax.ShapeDtypeStruct((32, 32), jnp.float32) for name in names}
    if not on_host:
        like = {name: jnp.zeros_like(leaf) for name, leaf in like.items()}
    found = read_arrays(saved / "2" / "arrays", like, is_partial=len(names) < NUM_ARRAYS, on_host=on_host)
    assert found.keys() == set(names)
    assert all(isinstance(leaf, np.ndarray if on_host else jax.Array) for leaf in found.values())
    for name, leaf in found.items():
        np.testing.assert_array_equal(leaf, arrays_of(2)[name])


def test_all_arrays_must_be_named_unless_the_read_is_partial(saved):
    with pytest.raises(ValueError, match="w1"):
        read_arrays(saved / "2" / "arrays", {"w0": jnp.zeros((32, 32))}, is_partial=False)


def cut_largest(folder):
    largest = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:1000])


DAMAGES = {
    "a cut manifest": lambda folder: (folder / "manifest.ocdbt").write_bytes(b""),
    "cut data": cut_largest,
    "no data": lambda folder: [shutil.rmtree(path) for path in [*folder.glob("**/d")]],
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_broken_checkpoint_of_many_arrays_is_one_line(copy, monkeypatch, caplog, name):
    DAMAGES[name](copy / "2" / "arrays")
    lines, raised_in_threads = [], []
    monkeypatch.setattr(sys, "unraisablehook", raised_in_threads.append)
    checkpoints = Checkpoints(copy, keep=2)
    found = checkpoints.restore_newest(arrays_of(0), lines.append)
    time.sleep(0.3)  # for threads that would report late
    checkpoints.close()
    assert found is not None
    assert found[0] == 1
    assert len(lines) == 1
    assert lines[0].startswith("checkpoint 2 is broken (")
    assert raised_in_threads == []
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_an_error_waits_for_the_other_reads():
    ended = []

    async def read(number):
        await asyncio.sleep(0.01 * number)
        ended.append(number)
        if number == 2:
            await asyncio.gather(read(4), read(5))  # a read that starts others
        if number in (1, 3):
            raise ValueError(f"read {number}")

    async def read_all():
        await asyncio.gather(*map(read, (1, 2, 3)))

    with pytest.raises(ValueError, match="read 1"):
        asyncio.run(array_reads._finish_reads(read_all()))  # private: Orbax's own reads fail at no chosen time
    assert sorted(ended) == [1, 2, 3, 4, 5]
