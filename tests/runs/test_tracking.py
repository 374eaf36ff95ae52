"""The trackers of a run: each step once over all starts, and failures that change nothing."""

import json

import pytest
from etils import epath

from soar_jax.errors import SettingsError
from soar_jax.parallel import processes
from soar_jax.runs import tracking
from soar_jax.runs.run import check
from soar_jax.runs.tracking import Tracking
from soar_jax.telemetry.trackers import TRACKERS, Tracker
from tests.configs import make_config

SUMMARY = {
    "outer_steps": 3,
    "policies": {
        "base": {"student_steps": 0, "hard_test": {"pass@1": 0.25, "num_problems": 4}},
        "curriculum": {"student_steps": 9, "hard_test": {"pass@1": 0.5, "num_problems": 4}},
    },
}


class Memory(Tracker):
    """A tracker that keeps what it is given, outside of the workdir, and can be broken."""

    packages = ()
    extra = "memory"
    calls: list = []  # noqa: RUF012 (replaced for each test)
    fails_at: str = ""
    knows_steps = False

    def __init__(self, run):
        self.use("open", run.run_id, run.next_step)
        if self.knows_steps:
            self.last_step = max((call[1] for call in self.calls if call[0] == "step"), default=-1)

    def use(self, *call):
        if self.fails_at in (call[0], f"{call[0]} {call[1]}"):
            raise ConnectionError("no route to https://me:secret@host\nand more")
        self.calls.append(call)

    def log_step(self, step, values):
        self.use("step", step, values)

    def log_report(self, report):
        self.use("report", report.step, report)

    def close(self, finished):
        self.use("close", finished)


@pytest.fixture
def memory(monkeypatch):
    """The class of a registered tracker "memory"."""
    for name, value in {"calls": [], "fails_at": "", "knows_steps": False}.items():
        monkeypatch.setattr(Memory, name, value)
    with TRACKERS.temporarily(memory=Memory):
        yield Memory


@pytest.fixture
def start(tmp_path):
    """Starts the trackers of a run as `run` does, which makes steps up to `end`; returns what was said."""

    def start(saved, end, *, is_done=False, trackers=("memory",), **changes):
        config = make_config(**{"tracking.trackers": trackers, **changes})
        workdir, said = epath.Path(tmp_path), []
        rows = [{"outer_step": step, "reward": step / 2, "promoted": False, "topics": {}} for step in range(end)]

        def write(count):  # as `RunFiles`
            for name, row_of in (
                ("metrics", lambda row: row),
                ("timings", lambda row: {"outer_step": 0, "step_s": 1.0}),
            ):
                (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row_of(row)) + "\n" for row in rows[:count]))

        write(saved)
        found = Tracking(workdir, config, {}, say=said.append)
        found.open_at(saved)
        for row in rows[saved:]:
            write(row["outer_step"] + 1)
            found.log_step(row, {"outer_step": row["outer_step"], "step_s": 1.0})
        if is_done:
            found.log_summary(SUMMARY)
        found.close()
        return said

    return start


def steps(memory):
    return [call[1] for call in memory.calls if call[0] == "step"]


def test_a_step_arrives_with_its_numbers(memory, start):
    assert start(0, 2) == []
    assert [call[0] for call in memory.calls] == ["open", "step", "step", "close"]
    assert memory.calls[2] == ("step", 1, {"reward": 0.5, "promoted": 0.0, "step_s": 1.0})
    assert memory.calls[-1] == ("close", False)


@pytest.mark.parametrize("knows_steps", [True, False])
def test_a_resume_continues_the_run_and_writes_no_step_twice(memory, start, monkeypatch, knows_steps):
    monkeypatch.setattr(memory, "knows_steps", knows_steps)
    start(0, 3)
    start(1, 5, is_done=True)  # killed before the checkpoint of step 1, so that it makes steps 1 and 2 again
    assert steps(memory) == [0, 1, 2, 3, 4]
    assert len({call[1] for call in memory.calls if call[0] == "open"}) == 1
    assert [call[2] for call in memory.calls if call[0] == "open"] == [0, 1]
    assert memory.calls[-1] == ("close", True)


def test_a_tracker_that_is_new_at_a_resume_gets_all_steps(memory, start):
    start(0, 3, trackers=())
    assert memory.calls == []
    start(3, 4)
    assert steps(memory) == [0, 1, 2, 3]


def test_a_finished_run_opens_nothing_again(memory, start):
    start(0, 3, is_done=True)
    (report,) = [call[2] for call in memory.calls if call[0] == "report"]
    assert report.results == {"hard_test/base/pass_at_1": 0.25, "hard_test/curriculum/pass_at_1": 0.5}
    assert report.policies[0] == {"test": "hard_test", "policy": "base", "pass@1": 0.25, "num_problems": 4}
    before = list(memory.calls)
    start(3, 3, is_done=True)
    assert memory.calls == before


@pytest.mark.parametrize("fails_at", ["open", "step", "step 1", "report", "close"])
def test_a_failure_is_one_line_and_the_next_start_sends_the_rest(memory, start, monkeypatch, fails_at):
    monkeypatch.setattr(memory, "fails_at", fails_at)
    (said,) = start(0, 3, is_done=True, trackers=("memory", "tensorboard"))
    assert said == (
        "warning: the tracker memory failed (ConnectionError: no route to https://…@host and more); the run continues "
        "without it, and the next start sends what it lacks"
    )
    monkeypatch.setattr(memory, "fails_at", "")
    assert start(3, 3, is_done=True, trackers=("memory", "tensorboard")) == []
    assert steps(memory) == [0, 1, 2]
    assert "report" in [call[0] for call in memory.calls]


def test_a_run_with_another_config_is_another_run(memory, start):
    start(0, 0)
    start(0, 0, **{"mesh.data": 2})
    start(0, 1, seed=5)
    first, second, third = [call[1] for call in memory.calls if call[0] == "open"]
    assert first == second != third
    assert steps(memory) == [0]


def test_other_processes_write_nothing(memory, start, monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "is_main", lambda: False)
    start(0, 2, is_done=True)
    assert memory.calls == []
    assert not (tmp_path / tracking.FILE).exists()


def test_what_is_missing_is_found_before_anything_is_written(memory, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "packages", ("no_such_package",))
    config = make_config(**{"tracking.trackers": ("memory",)})
    with pytest.raises(SettingsError, match=r"needs no_such_package, which cannot be imported; pip install"):
        check(config, epath.Path(tmp_path / "run"), profiled=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"run_id": "a", "config": {}, "trackers": {"wandb": {"step": 1}}}'])
def test_a_broken_file_is_named(text, tmp_path):
    (tmp_path / tracking.FILE).write_text(text)
    with pytest.raises(SettingsError, match=r"tracking.json is broken; remove it"):
        tracking.check(make_config().tracking, epath.Path(tmp_path))
