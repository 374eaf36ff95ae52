"""Rewards of students' answers in training, chosen by `student.reward`.

    @STUDENT_REWARDS.register("short")
    def short(texts, references, is_right, settings):
        return is_right * np.array([100 / (100 + len(text)) for text in texts])

A function of a module of your own needs no registration: `student.reward="MODULE:FUNCTION"`.

Accuracies (dataset rewards, pass@k, the hard subset) count right answers only, whatever the reward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from soar_jax.config.policy_sections import StudentSection
from soar_jax.errors import InterruptedRunError, SettingsError, reason_of, require
from soar_jax.grading.extraction import extract
from soar_jax.parallel import processes
from soar_jax.registry import Registry, import_function

# Maps completions [N], their reference answers [N], the grader's verdicts [N] bool and the section `student` of the
# config to rewards [N] float.
StudentReward = Callable[[Sequence[str], Sequence[str], np.ndarray, StudentSection], np.ndarray]

STUDENT_REWARDS: Registry[StudentReward] = Registry("student.reward")


@STUDENT_REWARDS.register("graded")
def graded(
    texts: Sequence[str], references: Sequence[str], is_right: np.ndarray, settings: StudentSection
) -> np.ndarray:
    """Grades by the last box of a text: right, containing the right answer, any other, or no box (paper, B.3).

    An empty or unclosed box is no box: there is no answer in it.
    """
    right, containing, other, unboxed = settings.graded_values
    boxes = [extract(text, ("boxed",)) for text in texts]
    # A box has single spaces, see `extract`.
    contains = [" ".join(reference.split()) in (box or "") for box, reference in zip(boxes, references, strict=True)]
    is_boxed = np.array([box is not None for box in boxes], bool)
    boxed_values = np.where(is_right, right, np.where(contains, containing, other))
    return np.where(is_boxed, boxed_values, unboxed).astype(np.float32)


@STUDENT_REWARDS.register("right")
def right(
    texts: Sequence[str], references: Sequence[str], is_right: np.ndarray, settings: StudentSection
) -> np.ndarray:
    """Returns 1 for a right answer, else 0."""
    return is_right.astype(np.float32)


def student_rewards(
    settings: StudentSection, texts: Sequence[str], references: Sequence[str], *, is_right: np.ndarray
) -> np.ndarray:
    """Computes the reward `student.reward` of N completions.

    A completion with an empty reference, of a student without questions, gets 0 and is not shown to the function.

    Args:
      is_right: [N] bool, the grader's verdicts.

    Returns:
      [N] float32.

    Raises:
      SettingsError: the function fails, or returns anything but a finite number for each completion.
      DisagreementError: it returns other numbers in other processes.
    """
    rewards = np.zeros(len(texts), np.float32)
    asked = [i for i, reference in enumerate(references) if reference.strip()]
    if asked:
        asked_texts, asked_references = [texts[i] for i in asked], [references[i] for i in asked]
        rewards[asked] = _call(settings, asked_texts, asked_references, is_right=is_right[asked])
    return rewards


def _call(
    settings: StudentSection, texts: Sequence[str], references: Sequence[str], *, is_right: np.ndarray
) -> np.ndarray:
    """Calls the function that `student.reward` names, and checks what it returns."""
    name = settings.reward
    is_own = ":" in name
    function: StudentReward = import_function("student.reward", name) if is_own else STUDENT_REWARDS[name]
    count = len(texts)
    try:
        found = np.asarray(function(texts, references, is_right, settings))
    except InterruptedRunError:
        raise
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        raise SettingsError(f"student.reward {name!r} failed on {count} completions ({reason_of(error)})") from error
    require(
        found.shape == (count,) and found.dtype.kind in "fiub",
        f"student.reward {name!r} returned an array of shape {list(found.shape)} for {count} completions, of "
        f"{found.dtype.name}; return one number for each",
    )
    with np.errstate(over="ignore"):  # refused below
        values = found.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise SettingsError(
            f"student.reward {name!r} returned {values[bad[0]]} for completion {bad[0]} of {count}; return finite "
            "numbers"
        )
    if is_own:  # it may draw, or read what only one process has
        processes.assert_equal(f"the rewards of {name}", values.tolist())
    return values
