"""What a run shows: lines, and a panel in a terminal."""

from types import SimpleNamespace

import pytest

from soar_jax.errors import InterruptedRunError
from soar_jax.runs.display import LINE_EVERY_S, Display
from soar_jax.telemetry.compilations import format_slowest

pytestmark = pytest.mark.usefixtures("capsys")  # no live panel where the tests' own output is a terminal

METRICS = {
    "outer_step": 0,
    "mean_reward": -0.0125,
    "best_reward": 0.25,
    "num_promotions": 3,
    "validation_accuracy": 0.5,
    "valid_share": 1.0,
    "promoted": False,
    "rewards": [0.25, -0.275],
}


def interrupts(is_stopped=False):
    """Interrupts that have come, or not; the real ones take over this process's signals."""

    def raise_if_stopped():
        if is_stopped:
            raise InterruptedRunError

    return SimpleNamespace(raise_if_stopped=raise_if_stopped)


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


# Tests have no terminal, which alone shows the panel and the time left; so they take both from private methods.
def panel(display, capsys):
    capsys.readouterr()
    display._console.print(display._panel())
    return capsys.readouterr().out


def time_left(display):
    return display._time_left()


def step(display, number, seconds):
    display.seconds = {"training": seconds - 1, "measuring": 1.0}
    display.step_done(METRICS | {"outer_step": number}, 1234.5)


def test_lines_name_the_problems_that_choose_a_promoted_student(capsys):
    display = Display(4, interrupts(), "hard train")
    step(display, 2, 2.0)
    assert "  promotions 3  hard train 0.50  1,234 tokens/s" in capsys.readouterr().out
    assert "promotions 3   hard train 0.50   1,234 tokens/s" in panel(display, capsys)


def test_the_time_left_is_that_of_a_typical_step():
    display = Display(10, interrupts())
    assert time_left(display) == "…"
    for number, seconds in enumerate((600, 30, 60)):  # the first compiles
        step(display, number, seconds)
    assert time_left(display) == "at most 7.0 min"  # 7 steps of 60 s


def test_a_resumed_run_counts_from_its_saved_step(capsys):
    display = Display(10, interrupts())
    display.begin_search(7)
    assert "outer step 8/10" in panel(display, capsys)
    assert time_left(display) == "…"
    step(display, 7, 120)
    assert time_left(display) == "at most 4.0 min"
    step(display, 8, 120)
    step(display, 9, 120)
    assert time_left(display) == "at most 0.0 min"


def test_a_step_is_a_line(capsys):
    display = Display(40, interrupts())
    step(display, 8, 12.25)
    assert capsys.readouterr().out == (
        "step   9/40  reward mean -0.013 best +0.250  promotions 3  validation 0.50  1,234 tokens/s  12.2 s\n"
    )
    assert display.seconds == {}


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"valid_share": 0.25}, " s  only 25% of the questions can be parsed"),
        ({"valid_share": 0.0}, " s  only 0% of the questions can be parsed"),
        ({"valid_share": 0.5}, " 0.0 s"),
        ({"valid_share": 0.25, "promoted": True}, " can be parsed  ← promoted"),
    ],
)
def test_a_teacher_that_loses_its_format_is_shown(capsys, changes, end):
    Display(40, interrupts()).step_done(METRICS | changes, 1.0)
    assert capsys.readouterr().out.endswith(f"{end}\n")


def test_times_of_a_repeated_phase_add_up(clock):
    display = Display(1, interrupts(), clock=clock)
    for name, seconds in (("training", 3.0), ("measuring", 1.0), ("training", 2.0)):
        with display.phase(name):
            clock.now += seconds
    assert display.seconds == {"training": 5.0, "measuring": 1.0}


def test_times_of_a_run_are_those_of_all_its_steps_and_the_rest(clock):
    display = Display(2, interrupts(), clock=clock)
    for name, seconds in (("finding", 200.0), ("training", 3.0), ("glancing", 0.4)):
        with display.phase(name):
            clock.now += seconds
    display.begin_search(0)
    for number in range(2):
        with display.phase("training"):
            clock.now += 4.0
        display.step_done(METRICS | {"outer_step": number}, 1.0)
    assert display.times(elapsed_s=220.0) == "finding 3 min, training 11 s, other 9 s"


def report_at(display, clock, seconds):
    """Student steps of a phase, finished at these times."""
    with display.phase("training students"):
        for number, second in enumerate(seconds, start=1):
            clock.now = second
            display.progress("student steps", number, len(seconds), f"mean reward 0.{number}")


def test_a_log_has_a_line_at_least_every_30_s(clock, capsys):
    display = Display(40, interrupts(), clock=clock)
    display.begin_search(2)
    report_at(display, clock, range(10, 101, 10))
    clock.now = 135
    with display.phase("measuring improvement"):
        pass
    assert LINE_EVERY_S == 30
    assert capsys.readouterr().out.splitlines() == [
        "step   3/40  training students, 30 s: 3 of 10 student steps, mean reward 0.3, about 70 s left",
        "step   3/40  training students, 60 s: 6 of 10 student steps, mean reward 0.6, about 40 s left",
        "step   3/40  training students, 90 s: 9 of 10 student steps, mean reward 0.9, about 10 s left",
        "step   3/40  measuring improvement",
    ]


def test_any_other_line_counts_too(clock, capsys):
    display = Display(40, interrupts(), clock=clock)
    clock.now = 25
    display.say("said")
    report_at(display, clock, [31, 54])
    assert capsys.readouterr().out == "said\n"
    report_at(display, clock, [55])
    assert capsys.readouterr().out == "training students, 1 s: 1 of 1 student steps, mean reward 0.1\n"


def test_no_step_is_shown_outside_of_the_outer_loop(clock, capsys):
    display = Display(40, interrupts(), clock=clock)
    display.begin_search(40)
    display.end_search()
    report_at(display, clock, [40])
    assert capsys.readouterr().out == "training students, 40 s: 1 of 1 student steps, mean reward 0.1\n"
    assert "outer step" not in panel(display, capsys)


def test_the_time_left_lasts_over_phases_in_between(clock, capsys):
    """Final students are trained by episodes, with validations in between that count as time per student step."""
    display = Display(1, interrupts(), clock=clock)
    for number in range(1, 4):
        clock.now += 50
        with display.phase("training curriculum"):
            display.progress("student steps", 10 * number, 100, "")
        with display.phase("validating curriculum"):
            clock.now += 50
            display.progress("questions", 32, 63, "")
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "training curriculum: 20 of 100 student steps, about 13 min left",
        "validating curriculum, 50 s: 32 of 63 questions",
    ]


def test_no_phase_begins_after_a_stop_signal():
    display = Display(1, interrupts(is_stopped=True))
    with pytest.raises(InterruptedRunError), display.phase("training"):
        pytest.fail("the phase began")
    with pytest.raises(InterruptedRunError):
        display.check()


def test_brackets_in_messages_are_no_markup(capsys):
    Display(1, interrupts()).say("left out [bold]x[/bold] [/")
    assert capsys.readouterr().out == "left out [bold]x[/bold] [/\n"


def test_the_panel_shows_phase_rewards_and_time_left(clock, capsys):
    display = Display(4, interrupts(), clock=clock)
    display.begin_search(0)
    step(display, 0, 90)
    with display.phase("training students"):
        display.progress("student steps", 3, 10, "")
        clock.now += 12
        display.progress("student steps", 4, 10, "mean reward 0.25")
        shown = panel(display, capsys)
    assert "outer step 2/4  training students 12 s" in shown
    assert "\n4 of 10 student steps, mean reward 0.25, about 72 s left\n" in shown
    assert "datasets' rewards  +0.25 -0.28" in shown
    assert "promotions 3   validation 0.50   1,234 tokens/s   time left at most 4.5 min" in shown


def test_slow_compilations_are_named_the_longest_first():
    programs = [("sample", 1.2), ("update", 12.4), ("add", 0.9), ("embed", 1.0)]
    assert format_slowest(programs) == "update 12 s, sample 1 s, embed 1 s"
    assert format_slowest(programs, at_least_s=5.0) == "update 12 s"
    assert format_slowest([("add", 0.9)]) == format_slowest([]) == ""
