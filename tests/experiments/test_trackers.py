"""A whole run with a tracker that fails."""

import pytest

from soar_jax.telemetry.trackers import TRACKERS, Tracker
from tests.experiments.runs import PROMOTE, outcome, run_tiny


class Failing(Tracker):
    """A tracker whose server goes away after the first step."""

    def __init__(self, run):
        self.is_open = True

    def log_step(self, step, values):
        if step:
            raise ConnectionError("gone")

    def log_report(self, report):
        raise AssertionError("it was left out")

    def close(self, finished):
        raise AssertionError("it was left out")


@pytest.mark.slow
def test_a_tracker_that_fails_midway_changes_no_number(whole_run, tmp_path):
    workdir = tmp_path / "run"
    with TRACKERS.temporarily(failing=Failing):
        code, out, err = run_tiny(workdir, *PROMOTE, "--config.tracking.trackers=('failing',)")
    assert code == 0, err
    assert out.count("warning: ") == out.count("warning: the tracker failing failed (ConnectionError: gone);") == 1
    expected, found = outcome(whole_run[0]), outcome(workdir)
    for summary in (expected[-1], found[-1]):
        del summary["config"]["tracking"]
    assert found == expected
    assert not (workdir / "tensorboard").exists()
