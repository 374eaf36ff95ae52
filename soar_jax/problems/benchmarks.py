"""Loads benchmarks as their authors publish them, and data sets of other rows by the names of their fields.

A row that cannot be graded automatically is dropped and counted by its reason.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import re
from collections.abc import Callable
from typing import Any

from soar_jax.config.sections import FieldsSection
from soar_jax.errors import require
from soar_jax.grading.extraction import MAX_ANSWER_CHARACTERS, boxed, hash_marks
from soar_jax.grading.gold import boxes, gold_answer, value_text
from soar_jax.problems.rows import Row, field_names, field_value, read_rows
from soar_jax.registry import Registry
from soar_jax.types import Problem, normalize_question

MAX_QUESTION_CHARACTERS = 20_000
_HOMES = {"harp": "HARP's authors' GitHub repository has it as HARP.jsonl.zip"}  # of benchmarks that no hub has
_NO_ANSWERS = {
    "proof": "proofs",
    "notfound": "without question or answer",
    "nan": "without question or answer",
}  # texts that data sets write where there is no answer, and the reason
_GRADABLE = ("Numerical", "Expression", "Tuple", "Interval", "Equation")  # answer types of OlympiadBench


class NotGradableError(Exception):
    """The reason why a row is dropped."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The gradable rows of a benchmark."""

    problems: tuple[Problem, ...]
    left_out: dict[str, int]  # dropped rows by reason


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProblemFields:
    """What a row says of a problem."""

    question: str
    answer: str
    subject: str
    level: int


# Reads a row; `names` are the fields of the source "jsonl". Raises NotGradableError; KeyError(field) if a field is
# missing; or ValueError and the like for a row of another kind.
BENCHMARKS: Registry[Callable[[Row, FieldsSection], ProblemFields]] = Registry("problems.source")


def load(name: str, path: str, fields: FieldsSection) -> Benchmark:
    """Loads a benchmark.

    Args:
      name: the format of its rows, one of BENCHMARKS.
      path: as in `read_rows`.
      fields: for "jsonl": the names of the fields with question, answer, subject and level.

    Raises:
      SettingsError: it cannot be read, or has no gradable row.
    """
    read = BENCHMARKS[name]
    problems: dict[str, Problem] = {}
    left_out: collections.Counter[str] = collections.Counter()
    missing: dict[str, str] = {}  # reason by missing field; the first such row is described
    for row in read_rows(path, home=_HOMES.get(name, "")):
        try:
            problem = _problem(name, read(row, fields))
        except NotGradableError as reason:
            left_out[str(reason)] += 1
        except KeyError as error:
            field = str(error.args[0])[:60] if error.args else "?"
            if field not in missing:
                missing[field] = _describe_missing(row, field)
            left_out[missing[field]] += 1
        except (TypeError, ValueError, AttributeError, IndexError):
            left_out["fields of another kind"] += 1
        else:
            question = normalize_question(problem.question)
            left_out["a question twice"] += question in problems
            problems.setdefault(question, problem)
    left_out = +left_out  # without zero counts
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    require(bool(problems), f"{path} has no row that can be graded as {name!r} ({reasons or 'it is empty'})")
    return Benchmark(problems=tuple(problems.values()), left_out=dict(left_out))


def _describe_missing(row: Row, field: str) -> str:
    return f"without the field {field!r} (such a row has {field_names(row)})" if row else "without a JSON object"


def _problem(name: str, fields: ProblemFields) -> Problem:
    question, answer = fields.question.strip(), fields.answer.strip()
    if not question or not answer:
        raise NotGradableError("without question or answer")
    if answer.lower() in _NO_ANSWERS:
        raise NotGradableError(_NO_ANSWERS[answer.lower()])
    if len(question) > MAX_QUESTION_CHARACTERS or len(answer) > MAX_ANSWER_CHARACTERS:
        raise NotGradableError("too long")
    try:
        digest = hashlib.sha256(question.encode()).hexdigest()[:12]
        (answer + fields.subject).encode()
    except UnicodeEncodeError:  # an unpaired surrogate, valid in JSON but not in UTF-8
        raise NotGradableError("without valid text") from None
    return Problem(id=f"{name}-{digest}", question=question, answer=answer, subject=fields.subject, level=fields.level)


def _answer(value: Any) -> str:
    """Reads the answer of a row: a number, or a text that is the answer or a solution which ends with it."""
    if value is None:
        return ""
    text = value_text(value)
    if text is None:
        raise NotGradableError("with an answer that is no text or number")
    if len(boxes(text)) > 1:
        raise NotGradableError("several answers")
    return gold_answer(text)


@BENCHMARKS.register("math")
def _math(row: Row, names: FieldsSection) -> ProblemFields:
    answer = row.get("answer")
    if answer in (None, ""):
        answer = row["solution"] if boxed(row["solution"]) else None
    answer = _answer(answer)
    if not answer:
        raise NotGradableError("without a boxed answer")
    return ProblemFields(
        question=row["problem"],
        answer=answer,
        subject=str(row.get("subject") or row["type"]),
        level=_level(row["level"]),
    )


@BENCHMARKS.register("gsm8k")
def _gsm8k(row: Row, names: FieldsSection) -> ProblemFields:
    answer = hash_marks(row["answer"])
    if answer is None:
        raise NotGradableError("without a final answer")
    return ProblemFields(question=row["question"], answer=answer.replace(",", ""), subject="grade school", level=1)


@BENCHMARKS.register("harp")
def _harp(row: Row, names: FieldsSection) -> ProblemFields:
    answer = _answer(row.get("answer"))
    if not answer:
        raise NotGradableError("proofs")
    if _is_on(row.get("multiple_choice_only")):
        raise NotGradableError("multiple choice only")
    return ProblemFields(
        question=row["problem"], answer=answer, subject=str(row["subject"]), level=_level(row["level"])
    )


@BENCHMARKS.register("olympiadbench")
def _olympiad(row: Row, names: FieldsSection) -> ProblemFields:
    answers = row["final_answer"]
    if not answers:
        raise NotGradableError("proofs")
    if not isinstance(answers, list):
        raise TypeError("final_answer")
    if row.get("error"):
        raise NotGradableError("answers with a tolerance")
    if row.get("answer_type") not in _GRADABLE:
        raise NotGradableError("answers of other types")
    question = "\n\n".join(filter(None, [row.get("context"), row["question"]]))
    unit = row.get("unit")
    if _is_on(row.get("is_multiple_answer")) or len(answers) != 1:
        if unit:
            raise NotGradableError("several answers with a unit")
        answer = ", ".join(text.replace("$", "").strip() for text in answers)  # graded in any order
    else:
        answer = answers[0].strip().strip("$") + (f" \\text{{{unit}}}" if unit else "")
    return ProblemFields(question=question, answer=answer, subject=str(row["subfield"]), level=1)


@BENCHMARKS.register("jsonl")
def _by_names(row: Row, names: FieldsSection) -> ProblemFields:
    question = field_value(row, names.question)
    if not isinstance(question, str | None):
        raise NotGradableError("with a question that is no text")
    return ProblemFields(
        question=question or "",
        answer=_answer(field_value(row, names.answer)),
        subject=(value_text(field_value(row, names.subject)) or "") if names.subject else "",
        level=_level(field_value(row, names.level)) if names.level else 1,
    )


def _is_on(value: Any) -> bool:
    """Whether a switch of a row is on; in CSV files it is a text."""
    return bool(value) and str(value).lower() not in ("false", "0")


def _level(value: Any) -> int:
    """Parses `3`, `"3"` and `"Level 3"` as 3."""
    found = re.search(r"\d+", str(value))
    if found is None:
        raise NotGradableError("with a level that is no number")
    return int(found[0])
