"""The arithmetic world of the embedded model: questions that can be generated and verified.

A question is a topic and eleven slots, as text of words: `dial 3 1 4 rotate complement . . . . . .`

- `dial`, the topic of the hard problems, applies 1 to 8 operations in order to three digits modulo 10. Its answer is
  the three final digits, and its level the number of operations.
- `mirror` reads the final digits backwards. Transfer is measured on it, since teachers hardly ever write it.
- `sum` (of three digits modulo 10), `largest`, `backwards` and `count` (of digits) have one-step answers.
- `coin` has a random label 0 or 1: a trap for a teacher that is rewarded for questions of medium solve rate.

An answer is direct (`= 4 1 3`) or worked: the digits after each operation, the last after the equals sign
(`> 1 4 3 = 8 5 6`).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np

from soar_jax.types import Problem

Digits = tuple[int, int, int]

NUM_SLOTS = 11
LEAST_USEFUL_LEVEL = 3  # shorter questions are answered without work
MAX_OPERATIONS = NUM_SLOTS - 3
BLANK = "."
ANSWER_MARK, WORK_MARK, QUESTION_END = "=", ">", "?"

OPERATIONS: dict[str, Callable[[int, int, int], Digits]] = {
    "rotate": lambda a, b, c: (b, c, a),
    "reverse": lambda a, b, c: (c, b, a),
    "first+second": lambda a, b, c: ((a + b) % 10, b, c),
    "second+third": lambda a, b, c: (a, (b + c) % 10, c),
    "complement": lambda a, b, c: (9 - a, 9 - b, 9 - c),
    "triple": lambda a, b, c: (3 * a % 10, 3 * b % 10, 3 * c % 10),
}
ONE_STEP_TOPICS: dict[str, Callable[[tuple[int, ...]], str]] = {
    "sum": lambda digits: str(sum(digits) % 10),
    "largest": lambda digits: str(max(digits)),
    "backwards": lambda digits: spell(digits[::-1]),
    "count": lambda digits: str(len(digits)),
}
# Maps the digits after the last operation to the answer.
WORKED_TOPICS: dict[str, Callable[[Digits], Digits]] = {
    "dial": lambda digits: digits,
    "mirror": lambda digits: (digits[2], digits[1], digits[0]),
}
OTHER_TOPICS = (*ONE_STEP_TOPICS, "coin")
TOPICS = (*WORKED_TOPICS, *OTHER_TOPICS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionFacts:
    """Properties of a question, whoever wrote it."""

    subject: str  # the topic, or "malformed"
    level: int  # operations of a dial or mirror question, 1 for other topics, 0 if malformed
    true_answer: str | None  # None if the question is malformed or has no answer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dial:
    """A parsed dial or mirror question."""

    digits: Digits
    operations: tuple[str, ...]  # 1 to MAX_OPERATIONS names
    topic: str = "dial"

    def states(self) -> list[Digits]:
        """Returns the digits after each operation; the last are mapped by the topic and are the answer."""
        states, digits = [], self.digits
        for name in self.operations:
            digits = OPERATIONS[name](*digits)
            states.append(digits)
        return [*states[:-1], WORKED_TOPICS[self.topic](states[-1])]

    def text(self) -> str:
        return question_text(self.topic, self.digits, self.operations)

    def worked(self) -> str:
        """Returns the worked answer: all states, the last after the equals sign."""
        *steps, last = (spell(state) for state in self.states())
        return " ".join([WORK_MARK, *steps, ANSWER_MARK, last])


def spell(digits: tuple[int, ...]) -> str:
    """Joins digits: (3, 1, 4) -> "3 1 4"."""
    return " ".join(map(str, digits))


def question_text(topic: str, digits: tuple[int, ...], operations: tuple[str, ...] = ()) -> str:
    """Returns a question as text, its free slots filled with blanks."""
    words = [*map(str, digits), *operations]
    return " ".join([topic, *words, *[BLANK] * (NUM_SLOTS - len(words))])


def parse_dial(question: str) -> Dial | None:
    """Parses a dial or mirror question; None if it is neither."""
    words = question.split()
    if len(words) != 1 + NUM_SLOTS or words[0] not in WORKED_TOPICS or not all(_is_digit(w) for w in words[1:4]):
        return None
    operations = tuple(_without_blanks(words[4:]))
    if not operations or any(name not in OPERATIONS for name in operations):
        return None
    a, b, c = (int(word) for word in words[1:4])
    return Dial(digits=(a, b, c), operations=operations, topic=words[0])


def facts(question: str) -> QuestionFacts:
    """Returns subject, level and true answer of any text as a question."""
    dial = parse_dial(question)
    if dial is not None:
        return QuestionFacts(subject=dial.topic, level=len(dial.operations), true_answer=spell(dial.states()[-1]))
    words = question.split()
    topic, digits = (words[0], _without_blanks(words[1:])) if len(words) == 1 + NUM_SLOTS else ("", [])
    well_formed = bool(digits) and all(_is_digit(word) for word in digits)
    well_formed = well_formed and (topic == "count" or len(digits) == 3)
    if topic == "coin" and well_formed:
        return QuestionFacts(subject="coin", level=1, true_answer=None)
    if topic in ONE_STEP_TOPICS and well_formed:
        return QuestionFacts(subject=topic, level=1, true_answer=ONE_STEP_TOPICS[topic](tuple(map(int, digits))))
    return QuestionFacts(subject="malformed", level=0, true_answer=None)


def is_useful(subject: str, level: int, right: bool) -> bool:
    """Whether a question teaches to work long hard problems: one of their topic, long enough and rightly answered."""
    return subject == "dial" and level >= LEAST_USEFUL_LEVEL and right


def random_dial(rng: np.random.Generator, level: int, topic: str = "dial") -> Dial:
    """Samples a question of `level` operations, with uniform digits and operations."""
    a, b, c = rng.integers(0, 10, 3).tolist()
    names = tuple(OPERATIONS)
    return Dial(digits=(a, b, c), operations=tuple(names[i] for i in rng.integers(0, len(names), level)), topic=topic)


def random_other_question(rng: np.random.Generator) -> tuple[str, str]:
    """Samples a question of another topic, uniform over topics, and its answer (random for `coin`)."""
    topic = OTHER_TOPICS[rng.integers(len(OTHER_TOPICS))]
    size = int(rng.integers(1, NUM_SLOTS - 1)) if topic == "count" else 3
    digits = tuple(rng.integers(0, 10, size).tolist())
    answer = str(rng.integers(2)) if topic == "coin" else ONE_STEP_TOPICS[topic](digits)
    return question_text(topic, digits), answer


def generate_problems(
    rng: np.random.Generator, levels: tuple[int, ...], count: int, topic: str = "dial"
) -> list[Problem]:
    """Generates `count` distinct dial or mirror problems, cycling over the levels. The id is a hash of the question."""
    problems: dict[str, Problem] = {}
    while len(problems) < count:
        level = levels[len(problems) % len(levels)]
        dial = random_dial(rng, level, topic)
        question = dial.text()
        identity = f"{topic}-" + hashlib.sha256(question.encode()).hexdigest()[:12]
        problems[identity] = Problem(
            id=identity, question=question, answer=spell(dial.states()[-1]), subject=topic, level=level
        )
    return list(problems.values())


def vocabulary() -> list[str]:
    """Returns all words, in the order of the embedded model's token ids."""
    formats = ["textbook", "exam", "teacher"]
    marks = [QUESTION_END, WORK_MARK, ANSWER_MARK, BLANK]
    return [*formats, *marks, *TOPICS, *OPERATIONS, *map(str, range(10))]


def _is_digit(word: str) -> bool:
    return len(word) == 1 and word in "0123456789"


def _without_blanks(words: list[str]) -> list[str]:
    end = len(words)
    while end and words[end - 1] == BLANK:
        end -= 1
    return words[:end]
