import itertools
import re
import sys
from types import ModuleType

import numpy as np
import pytest

from soar_jax.config.policy_sections import StudentSection
from soar_jax.errors import InterruptedRunError, SettingsError
from soar_jax.grading.grader import Grader
from soar_jax.soar.student_rewards import STUDENT_REWARDS, student_rewards
from tests.configs import make_config

GRADER = Grader(extraction=("boxed",), equivalence="math")
PAPER = StudentSection()

# By reward: the right answer, and texts that end with another answer or with none.
RIGHT = {
    r"\frac{1}{2}": [r"\frac{1}{2}", r"\dfrac{1}{2}", r"\frac12", "1/2", "0.5", ".5", r"\frac{2}{4}", "$0.50$"],
    "1000": ["1000", "1,000", "1{,}000", "1000.0", "x = 1000", r"1\,000", r"\text{1000}", "1000."],
    "x+1": ["x+1", "x + 1", "1+x", r"\left(x+1\right)", r"\boxed{x+1}"],  # the last box is the inner one
    "blue": ["blue", r"\text{blue}", "Blue", " blue "],
    "naïve Ω": ["naïve Ω", "naïve  Ω"],
}
CONTAINING = {
    "5": ["15", "x = 5 or 6", "5 and a half", r"\frac{5}{2}", "-5", r"\sqrt{5}", "{5}, {6}", "55"],
    r"\frac{1}{2}": [r"x^2 + \frac{1}{2}", r"2\frac{1}{2}", r"-\frac{1}{2}"],
    "blue": ["not blue", "blues"],
    "naïve Ω": ["a naïve Ω!"],
    "1, 2": ["1, 2, 3", "0,  1,\n2"],  # blanks and line breaks do not count
}
OTHER = {
    "5": ["6", "0", "five", "{}", r"\{\}", "...", "x", r"\frac{1}{2}", "٥", "🙂", "?" * 900, "\\" * 10],
    r"\frac{1}{2}": ["0.51", "2", r"\frac{1}{3}", r"\frac{2}{1}"],
    "blue": ["red", "b l e u"],
    "1, 2": ["1", "2, 3"],
}
UNBOXED = {
    "5": [
        "",
        "5",
        "The final answer is: 5",
        r"\boxed",
        r"\boxed 5",
        r"\boxed{5",
        r"\boxed{\frac{5}{1}",
        r"\boxed{}",
        r"\boxed{ }",
        r"\boxed{" + "\n" + "}",
        "boxed{5}",
        r"\box{5}",
        r"\boxed{5} and \boxed{}",
        r"\boxed{5} and \boxed{5",
        r"\boxed{5\}",
        r"\boxed(5)",
        r"\boxed{" + "5" * 2000 + "}",
        r"\boxed{5}" + " and so on" * 3000,  # the box is too far from the end
        r"\boxed{" * 5000,
        "{" * 30_000,
        "\x00\ud800",
    ],
}
FRAMES = ("{}", "So 7, then 9. The final answer is: {}", "First \\boxed{{7}}, no: {} is it.", "{}\n\nDone {{.")


def boxed_cases(table, reward):
    """Each answer in a box, within texts."""
    answers = [(reference, answer) for reference, group in table.items() for answer in group]
    return [
        (frame.format(f"\\boxed{{{answer}}}"), reference, reward)
        for frame, (reference, answer) in itertools.product(FRAMES, answers)
    ]


CASES = [
    *boxed_cases(RIGHT, 120),
    *boxed_cases(CONTAINING, 20),
    *boxed_cases(OTHER, 10),
    *((text, reference, 0) for reference, texts in UNBOXED.items() for text in texts),
    (r"\boxed{6} \boxed{5}", "5", 120),  # the last box counts
    (r"\boxed{5} \boxed{6}", "5", 10),
    (r"\boxed{5} \boxed{15}", "5", 20),
    (r"\fbox{5}", "5", 120),
    (r"\boxed {5}", "5", 120),
    ("word " * 50_000 + r"\boxed{5}", "5", 120),
    (r"\boxed{5}", "", 0),  # of a student without questions
    (r"\boxed{}", " ", 0),
    ("", "", 0),
]


def test_graded_rewards_of_all_kinds_of_texts():
    assert len(CASES) > 100
    texts, references, _ = zip(*CASES, strict=True)
    rewards = student_rewards(PAPER, texts, references, is_right=GRADER.is_right(texts, references))
    assert rewards.dtype == np.float32
    wrong = [
        (text[:60], reference, float(reward), value)
        for (text, reference, value), reward in zip(CASES, rewards, strict=True)
        if reward != value
    ]
    assert not wrong


def test_graded_values_are_the_configs():
    settings = StudentSection(graded_values=(4.0, 3.0, 2.0, 1.0))
    texts = [r"\boxed{5}", r"\boxed{15}", r"\boxed{6}", "5"]
    verdicts = np.array([True, False, False, True])  # right without a box, where other extractors are tried too
    assert student_rewards(settings, texts, ["5"] * 4, is_right=verdicts).tolist() == [4.0, 3.0, 2.0, 1.0]


def test_a_right_answer_is_rewarded_with_one():
    rewards = student_rewards(
        StudentSection(reward="right"), ["= 1", "= 2"], ["1", "1"], is_right=np.array([True, False])
    )
    assert rewards.tolist() == [1.0, 0.0]
    assert rewards.dtype == np.float32


@pytest.fixture
def own(monkeypatch):
    """Makes the section whose reward is a function of a user's module."""

    def make(function):
        module = ModuleType("a_users_rewards")
        module.mine = function
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return StudentSection(reward="a_users_rewards:mine")

    return make


def test_a_users_function_rewards(own):
    def mine(texts, references, is_right, settings):
        return [len(text) + 10 * len(reference) + 100 * r for text, reference, r in zip(texts, references, is_right)]  # noqa: B905

    rewards = student_rewards(own(mine), ["a", "bb", "ccc"], ["1", "", "22"], is_right=np.array([True, False, False]))
    assert rewards.tolist() == [111.0, 0.0, 23.0]
    assert rewards.dtype == np.float32


def test_students_without_questions_need_no_reward(own):
    settings = own(lambda *_: pytest.fail("it was asked"))
    assert student_rewards(settings, ["a", "b"], ["", ""], is_right=np.zeros(2, bool)).tolist() == [0.0, 0.0]


def raises(*_):
    raise KeyError("no\nsuch key")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (raises, r"failed on 2 completions (KeyError: 'no\nsuch key')"),
        (lambda: None, "failed on 2 completions (TypeError: "),
        (lambda *_: ["one", "two"], "returned an array of shape [2] for 2 completions, of str"),
        (lambda *_: [1 + 2j, 0], "returned an array of shape [2] for 2 completions, of complex128; return one number"),
        (lambda *_: sys.exit(0), "failed on 2 completions (SystemExit: 0)"),
        (lambda *_: None, "returned an array of shape [] for 2 completions, of object; return one number for each"),
        (lambda *_: [1.0], "returned an array of shape [1] for 2 completions"),
        (lambda *_: np.ones((2, 1)), "returned an array of shape [2, 1] for 2 completions"),
        (lambda *_: [1.0, np.nan], "returned nan for completion 1 of 2; return finite numbers"),
        (lambda *_: [-np.inf, 1.0], "returned -inf for completion 0 of 2"),
    ],
)
def test_what_a_users_function_returns_is_checked(own, function, message):
    settings = own(function)
    with pytest.raises(SettingsError, match=re.escape(f"student.reward 'a_users_rewards:mine' {message}")) as raised:
        student_rewards(settings, ["a", "b"], ["1", "2"], is_right=np.zeros(2, bool))
    assert "\n" not in str(raised.value)


def test_a_stop_signal_within_a_users_function_ends_the_run(own):
    def interrupted(*_):
        raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        student_rewards(own(interrupted), ["a"], ["1"], is_right=np.zeros(1, bool))


@pytest.mark.parametrize("path", ["no_such_module:f", "math:no_such_function", "math:pi", "math:"])
def test_a_function_that_is_not_there_is_refused(path):
    with pytest.raises(SettingsError, match=f"student.reward is '{path}', which"):
        make_config(**{"student.reward": path})


def test_an_unknown_student_reward_is_refused():
    message = f"student.reward is 'style'; choose one of {', '.join(STUDENT_REWARDS)}$"
    with pytest.raises(SettingsError, match=message):
        make_config(**{"student.reward": "style"})
    with pytest.raises(SettingsError, match=message):
        STUDENT_REWARDS["style"]
