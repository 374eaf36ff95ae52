import pytest

from soar_jax.errors import InterruptedRunError
from soar_jax.runs import progress


class FakeInterrupts:
    """Interrupts that have come, or not; the real ones take over this process's signals."""

    def __init__(self, is_stopped=False):
        self.is_stopped = is_stopped

    def raise_if_stopped(self):
        if self.is_stopped:
            raise InterruptedRunError


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_lines_come_now_and_then_and_at_the_end(clock, capsys):
    work = progress.WorkProgress("answers", FakeInterrupts())
    for done in range(1, 101):
        clock[0] += 1
        work.update(done, 100 - done, f"{done} done")
    work.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "answers: 1%, 1 done"
    assert lines[1] == "answers: 16%, 16 done, about 84 s left"
    assert lines[-1] == "answers: 100%, 100 done"
    assert len(lines) == 8


def test_time_left_counts_what_this_start_has_done(clock, capsys):
    work = progress.WorkProgress("answers", FakeInterrupts())
    work.update(900, 100, "resumed")
    clock[0] += 60
    work.update(910, 90, "on")
    assert "on, about 9 min left" in capsys.readouterr().out


def test_a_stop_signal_ends_the_work_after_it_is_shown(clock, capsys):
    work = progress.WorkProgress("answers", FakeInterrupts(is_stopped=True))
    with pytest.raises(InterruptedRunError):
        work.update(1, 1, "kept")
    assert "kept" in capsys.readouterr().out


def test_brackets_in_names_are_no_markup(capsys):
    progress.WorkProgress("answers", FakeInterrupts()).say("subject [bold]x[/bold] [/")
    assert "subject [bold]x[/bold] [/" in capsys.readouterr().out


@pytest.mark.parametrize(("seconds", "text"), [(3.4, "3 s"), (99, "99 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations(seconds, text):
    assert progress.format_duration(seconds) == text
