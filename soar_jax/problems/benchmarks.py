"""Loads benchmarks as their authors publish them, from files, the Hugging Face hub or TensorFlow Datasets.

A row that cannot be graded automatically is dropped and counted by its reason. Rows are data and never executed.
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

from soar_jax.config.sections import FieldsSection
from soar_jax.errors import SettingsError, require
from soar_jax.grading.extraction import MAX_ANSWER_CHARACTERS, boxed, hash_marks
from soar_jax.registry import Registry
from soar_jax.types import Problem, normalize_question

Row = Mapping[str, Any]
HUB, TFDS = "hf:", "tfds:"
MAX_QUESTION_CHARACTERS = 20_000
# Raised by zipfile if the directory or a member is damaged, compressed in an unknown way, or encrypted.
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
_MAX_MEMBER_BYTES = 2**30  # of a member, by the size that the zip declares
_HOMES = {"harp": "HARP's authors' GitHub repository has it as HARP.jsonl.zip"}  # of benchmarks that no hub has
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


# Reads a row; `names` are the fields of the source "jsonl". Raises NotGradableError, or KeyError and the like for a row
# of another kind.
BENCHMARKS: Registry[Callable[[Row, FieldsSection], ProblemFields]] = Registry("problems.source")


def load(name: str, path: str, fields: FieldsSection) -> Benchmark:
    """Loads a benchmark.

    Args:
      name: the format of its rows, one of BENCHMARKS.
      path: a `.jsonl`, `.json` or `.zip` file, `hf:OWNER/NAME[:CONFIG[:SPLIT]]`, or `tfds:NAME[:SPLIT]`.
      fields: for "jsonl": the names of the fields with question, answer, subject and level.

    Raises:
      SettingsError: it cannot be read, or has no gradable row.
    """
    if name == "jsonl":
        for key in ("question", "answer"):
            require(bool(getattr(fields, key)), f"problems.fields names no {key}; which field of a row is it?")
    read = BENCHMARKS[name]
    problems: dict[str, Problem] = {}
    left_out: collections.Counter[str] = collections.Counter()
    for row in _rows(name, path):
        try:
            problem = _problem(name, read(row, fields))
        except NotGradableError as reason:
            left_out[str(reason)] += 1
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            left_out["fields missing or of another kind"] += 1
        else:
            question = normalize_question(problem.question)
            left_out["a question twice"] += question in problems
            problems.setdefault(question, problem)
    left_out = +left_out  # without zero counts
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    require(bool(problems), f"{path} has no row that can be graded as {name!r} ({reasons or 'it is empty'})")
    return Benchmark(problems=tuple(problems.values()), left_out=dict(left_out))


def _problem(name: str, fields: ProblemFields) -> Problem:
    question, answer = fields.question.strip(), fields.answer.strip()
    if not question or not answer:
        raise NotGradableError("without question or answer")
    if len(question) > MAX_QUESTION_CHARACTERS or len(answer) > MAX_ANSWER_CHARACTERS:
        raise NotGradableError("too long")
    try:
        digest = hashlib.sha256(question.encode()).hexdigest()[:12]
        (answer + fields.subject).encode()
    except UnicodeEncodeError:  # an unpaired surrogate, valid in JSON but not in UTF-8
        raise NotGradableError("without valid text") from None
    return Problem(id=f"{name}-{digest}", question=question, answer=answer, subject=fields.subject, level=fields.level)


@BENCHMARKS.register("math")
def _math(row: Row, names: FieldsSection) -> ProblemFields:
    answer = row.get("answer") or boxed(row["solution"])
    if not answer:
        raise NotGradableError("without a boxed answer")
    return ProblemFields(
        question=row["problem"],
        answer=str(answer),
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
    if row.get("answer") in (None, ""):
        raise NotGradableError("proofs")
    if row.get("multiple_choice_only"):
        raise NotGradableError("multiple choice only")
    return ProblemFields(
        question=row["problem"], answer=str(row["answer"]), subject=str(row["subject"]), level=_level(row["level"])
    )


@BENCHMARKS.register("olympiadbench")
def _olympiad(row: Row, names: FieldsSection) -> ProblemFields:
    answers = row["final_answer"]
    if not answers:
        raise NotGradableError("proofs")
    if row.get("is_multiple_answer") or len(answers) != 1:
        raise NotGradableError("several answers")
    if row.get("error"):
        raise NotGradableError("answers with a tolerance")
    if row.get("answer_type") not in _GRADABLE:
        raise NotGradableError("answers of other types")
    question = "\n\n".join(filter(None, [row.get("context"), row["question"]]))
    unit = row.get("unit")
    answer = answers[0].strip().strip("$") + (f" \\text{{{unit}}}" if unit else "")
    return ProblemFields(question=question, answer=answer, subject=str(row["subfield"]), level=1)


@BENCHMARKS.register("jsonl")
def _by_names(row: Row, names: FieldsSection) -> ProblemFields:
    def text(field: str) -> str:
        value = row[field] if field else None
        return "" if value is None else str(value)

    return ProblemFields(
        question=text(names.question),
        answer=text(names.answer),
        subject=text(names.subject),
        level=_level(row[names.level]) if names.level else 1,
    )


def _level(value: Any) -> int:
    """Parses `3`, `"3"` and `"Level 3"` as 3."""
    found = re.search(r"\d+", str(value))
    if found is None:
        raise ValueError(f"level {value!r}")
    return int(found[0])


def _rows(name: str, path: str) -> Iterator[Row]:
    if path.startswith(HUB):
        return _hub_rows(path.removeprefix(HUB))
    if path.startswith(TFDS):
        return _tfds_rows(path.removeprefix(TFDS))
    file = pathlib.Path(path).expanduser()
    home = f"; {_HOMES[name]}" if name in _HOMES else ""
    require(file.is_file(), f"there is no benchmark file {path}{home}")
    return _file_rows(file)


def _file_rows(file: pathlib.Path) -> Iterator[Row]:
    """Yields the rows of a file, or of the files in a zip, which is read in place."""
    if file.suffix != ".zip":
        with file.open(encoding="utf-8-sig", errors="replace", newline="\n") as lines:
            yield from _parse_rows(lines, file.suffix == ".json")
        return
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith((".jsonl", ".json")) and not name.startswith("__MACOSX"):
                    unpacked = archive.getinfo(name).file_size
                    require(unpacked <= _MAX_MEMBER_BYTES, f"{name} in {file} has {unpacked} bytes; unpack it yourself")
                    with archive.open(name) as member:
                        lines = io.TextIOWrapper(member, encoding="utf-8-sig", errors="replace", newline="\n")
                        yield from _parse_rows(lines, name.endswith(".json"))
    except _BROKEN_ZIP as error:
        raise SettingsError(f"{file} is broken ({error}); fetch it again") from None


def _parse_rows(lines: Iterable[str], is_json: bool) -> Iterator[Row]:
    """Yields the rows of JSON lines, or of one JSON value: a row or a list. Anything else counts as an empty row."""
    values: Iterable[Any] = (_parse_json(line) for line in lines if line.strip())
    if is_json:
        text = "".join(lines)
        whole = _parse_json(text)
        values = whole if isinstance(whole, list) else [whole]
        if whole is None:  # JSON lines in a .json file
            values = [_parse_json(line) for line in text.split("\n") if line.strip()]
    yield from (row if isinstance(row, dict) else {} for row in values)


def _parse_json(text: str) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    return None


@contextlib.contextmanager
def _fetch_errors(source: str) -> Iterator[None]:
    """Turns the many errors that data libraries raise into a `SettingsError`."""
    try:
        yield
    except Exception as error:
        raise SettingsError(f"cannot fetch {source} ({type(error).__name__}); check the name, or give a file") from None


def _hub_rows(source: str) -> Iterator[Row]:
    name, config, split = [*source.split(":"), "", ""][:3]
    try:
        import datasets
    except ImportError:
        raise SettingsError(f"{HUB}{source} needs: pip install 'soar-jax[hub]'") from None
    with _fetch_errors(HUB + source):
        configs: Sequence[str | None] = [config] if config else datasets.get_dataset_config_names(name)
        for each in configs:
            yield from datasets.load_dataset(name, each, split=split or "train")


def _tfds_rows(source: str) -> Iterator[Row]:
    name, split = [*source.split(":"), ""][:2]
    with _fetch_errors(TFDS + source):
        import tensorflow_datasets

        for row in tensorflow_datasets.data_source(name, split=split or "train"):
            yield {key: value.decode() if isinstance(value, bytes) else value for key, value in row.items()}
