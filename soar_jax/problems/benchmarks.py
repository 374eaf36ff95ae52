"""Benchmarks as their authors publish them, from files, the Hugging Face hub or TensorFlow Datasets.

A row that cannot be graded automatically is left out and counted by its reason. Contents are data: nothing in a row
is interpreted.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import io
import json
import pathlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from soar_jax.grading.extraction import MAX_ANSWER_CHARACTERS, boxed, hash_marks
from soar_jax.settings import SettingsError, require
from soar_jax.types import Problem, normalize_question

Row = Mapping[str, Any]
HUB, TFDS = "hf:", "tfds:"
MAX_QUESTION_CHARACTERS = 20_000
# What zipfile raises for one that is damaged in its directory or a member, compressed in an unknown way, or encrypted.
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
_MAX_MEMBER_BYTES = 2**30  # of a file in a zip, which says itself how much it unpacks to
_GRADABLE = ("Numerical", "Expression", "Tuple", "Interval", "Equation")  # answer types of OlympiadBench


class _NotGradableError(Exception):
    """Why a row is left out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The rows of a benchmark that can be graded."""

    problems: tuple[Problem, ...]
    left_out: dict[str, int]  # rows by reason


def load(name: str, path: str, fields: Mapping[str, str]) -> Benchmark:
    """Reads a benchmark.

    Args:
      name: its format, one of FORMATS.
      path: a `.jsonl`, `.json` or `.zip` file, `hf:OWNER/NAME[:CONFIG[:SPLIT]]`, or `tfds:NAME[:SPLIT]`.
      fields: for the format "jsonl": which field of a row is the question, answer, subject, level.

    Raises:
      SettingsError: it cannot be read, or holds no row that can be graded.
    """
    read = FORMATS[name] if name != "jsonl" else _by_fields(fields)
    problems: dict[str, Problem] = {}
    left_out: collections.Counter[str] = collections.Counter()
    for row in _rows(path):
        try:
            problem = _problem(name, read(row))
        except _NotGradableError as reason:
            left_out[str(reason)] += 1
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            left_out["fields missing or of another kind"] += 1
        else:
            question = normalize_question(problem.question)
            left_out["a question twice"] += question in problems
            problems.setdefault(question, problem)
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)
    require(bool(problems), f"{path} has no row that can be graded as {name!r} ({reasons or 'it is empty'})")
    return Benchmark(
        problems=tuple(problems.values()), left_out={reason: count for reason, count in left_out.items() if count}
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fields:
    question: str
    answer: str
    subject: str
    level: int


def _problem(name: str, fields: _Fields) -> Problem:
    question, answer = fields.question.strip(), fields.answer.strip()
    if not question or not answer:
        raise _NotGradableError("without question or answer")
    if len(question) > MAX_QUESTION_CHARACTERS or len(answer) > MAX_ANSWER_CHARACTERS:
        raise _NotGradableError("too long")
    try:
        digest = hashlib.sha256(question.encode()).hexdigest()[:12]
        (answer + fields.subject).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold and no file that is written later
        raise _NotGradableError("without valid text") from None
    return Problem(id=f"{name}-{digest}", question=question, answer=answer, subject=fields.subject, level=fields.level)


def _math(row: Row) -> _Fields:
    answer = row.get("answer") or boxed(row["solution"])
    if not answer:
        raise _NotGradableError("without a boxed answer")
    return _Fields(
        question=row["problem"],
        answer=str(answer),
        subject=str(row.get("subject") or row["type"]),
        level=_level(row["level"]),
    )


def _gsm8k(row: Row) -> _Fields:
    answer = hash_marks(row["answer"])
    if answer is None:
        raise _NotGradableError("without a final answer")
    return _Fields(question=row["question"], answer=answer.replace(",", ""), subject="grade school", level=1)


def _harp(row: Row) -> _Fields:
    if row.get("answer") in (None, ""):
        raise _NotGradableError("proofs")
    if row.get("multiple_choice_only"):
        raise _NotGradableError("multiple choice only")
    return _Fields(
        question=row["problem"], answer=str(row["answer"]), subject=str(row["subject"]), level=_level(row["level"])
    )


def _olympiad(row: Row) -> _Fields:
    answers = row["final_answer"]
    if not answers:
        raise _NotGradableError("proofs")
    if row.get("is_multiple_answer") or len(answers) != 1:
        raise _NotGradableError("several answers")
    if row.get("error"):
        raise _NotGradableError("answers with a tolerance")
    if row.get("answer_type") not in _GRADABLE:
        raise _NotGradableError("answers of other types")
    question = "\n\n".join(filter(None, [row.get("context"), row["question"]]))
    unit = row.get("unit")
    answer = answers[0].strip().strip("$") + (f" \\text{{{unit}}}" if unit else "")
    return _Fields(question=question, answer=answer, subject=str(row["subfield"]), level=1)


def _by_fields(names: Mapping[str, str]) -> Callable[[Row], _Fields]:
    for key in ("question", "answer"):
        require(bool(names.get(key)), f"problems.fields names no {key}; which field of a row is it?")

    def text(row: Row, key: str) -> str:
        value = row[names[key]] if names.get(key) else None
        return "" if value is None else str(value)

    def read(row: Row) -> _Fields:
        level = _level(row[names["level"]]) if names.get("level") else 1
        return _Fields(
            question=text(row, "question"), answer=text(row, "answer"), subject=text(row, "subject"), level=level
        )

    return read


FORMATS: dict[str, Callable[[Row], _Fields]] = {
    "math": _math,
    "gsm8k": _gsm8k,
    "harp": _harp,
    "olympiadbench": _olympiad,
}


def _level(value: Any) -> int:
    """`3`, `"3"` and `"Level 3"` are 3."""
    found = re.search(r"\d+", str(value))
    if found is None:
        raise ValueError(f"level {value!r}")
    return int(found[0])


def _rows(path: str) -> Iterator[Row]:
    if path.startswith(HUB):
        return _hub_rows(path.removeprefix(HUB))
    if path.startswith(TFDS):
        return _tfds_rows(path.removeprefix(TFDS))
    file = pathlib.Path(path).expanduser()
    require(file.is_file(), f"there is no benchmark file {path}")
    return _file_rows(file)


def _file_rows(file: pathlib.Path) -> Iterator[Row]:
    """Rows of a file, or of the files in a zip, which is read in place and never unpacked."""
    if file.suffix != ".zip":
        with file.open(encoding="utf-8-sig", errors="replace", newline="\n") as lines:
            yield from _parsed(lines, file.suffix == ".json")
        return
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith((".jsonl", ".json")) and not name.startswith("__MACOSX"):
                    unpacked = archive.getinfo(name).file_size
                    require(unpacked <= _MAX_MEMBER_BYTES, f"{name} in {file} has {unpacked} bytes; unpack it yourself")
                    with archive.open(name) as member:
                        lines = io.TextIOWrapper(member, encoding="utf-8-sig", errors="replace", newline="\n")
                        yield from _parsed(lines, name.endswith(".json"))
    except _BROKEN_ZIP as error:
        raise SettingsError(f"{file} is broken ({error}); fetch it again") from None


def _parsed(lines: Iterable[str], is_json: bool) -> Iterator[Row]:
    """Rows of JSON lines, or of one JSON value, a row or a list of them; what is none counts as one without fields."""
    values: Iterable[Any] = (_json(line) for line in lines if line.strip())
    if is_json:
        text = "".join(lines)
        whole = _json(text)
        values = whole if isinstance(whole, list) else [whole]
        if whole is None:  # lines under the other's name
            values = [_json(line) for line in text.split("\n") if line.strip()]
    yield from (row if isinstance(row, dict) else {} for row in values)


def _json(text: str) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    return None


def _hub_rows(place: str) -> Iterator[Row]:
    name, config, split = [*place.split(":"), "", ""][:3]
    try:
        import datasets
    except ImportError:
        raise SettingsError(f"{HUB}{place} needs: pip install 'soar-jax[hub]'") from None
    try:
        configs: Sequence[str | None] = [config] if config else datasets.get_dataset_config_names(name)
        for each in configs:
            yield from datasets.load_dataset(name, each, split=split or "train")
    except Exception as error:  # the library raises many kinds for what cannot be fetched
        raise SettingsError(
            f"cannot fetch {HUB}{place} ({type(error).__name__}); check the name, or give a file"
        ) from None


def _tfds_rows(place: str) -> Iterator[Row]:
    name, split = [*place.split(":"), ""][:2]
    try:
        import tensorflow_datasets

        source = tensorflow_datasets.data_source(name, split=split or "train")
        for row in source:
            yield {key: value.decode() if isinstance(value, bytes) else value for key, value in row.items()}
    except Exception as error:
        raise SettingsError(
            f"cannot fetch {TFDS}{place} ({type(error).__name__}); check the name, or give a file"
        ) from None
