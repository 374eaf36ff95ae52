"""Every mesh gives the same numbers; each runs in a process with 8 CPU devices."""

import functools
import json
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT

# Mesh sizes, what is trained, and number of shards of the largest parameter.
CASES = [
    ("8x1x1x1", "full", 1),
    ("2x2x2x1", "full", 4),
    ("1x2x2x2", "full", 4),
    ("2x1x2x2", "full", 8),
    ("1x2x2x2", "lora", 4),
]


def computed(sizes, kind):
    run = [sys.executable, "-m", "tests.parallel.on_eight_devices", sizes, kind]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@functools.cache
def on_one_device(kind):
    return computed("1x1x1x1", kind)


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "kind", "num_shards"), CASES)
def test_mesh_changes_no_result(sizes, kind, num_shards):
    expected, found = on_one_device(kind), computed(sizes, kind)
    for name in ("tokens", "greedy", "population_tokens", "base_sha256", "bfloat16_sha256"):
        assert found[name] == expected[name], name
    np.testing.assert_allclose(found["logprobs"], expected["logprobs"], rtol=1e-5, atol=1e-5)
    for name in ("loss", "grad_norm", "population_loss"):
        # Terms of both signs nearly cancel; how they are rounded depends on the CPU (1.2e-5 on one with AVX-512).
        np.testing.assert_allclose(found[name], expected[name], rtol=5e-5, atol=1e-6)
    for name in ("reference", "population_reference"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-4)
    for name in ("first_moments", "weights", "students"):
        for ours, theirs in zip(found[name], expected[name], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert found["largest_shard"] * num_shards == expected["largest_shard"]
