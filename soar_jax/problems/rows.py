"""Reads rows of data sets from files, the Hugging Face hub or TensorFlow Datasets. Rows are data, never executed."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from soar_jax.errors import SettingsError, reason_of, require

Row = Mapping[str, Any]
HUB, TFDS = "hf:", "tfds:"
# Raised by zipfile if the directory or a member is damaged, compressed in an unknown way, or encrypted.
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
_MAX_MEMBER_BYTES = 2**30  # of a member, by the size that the zip declares
_OTHER_KINDS = (".gz", ".bz2", ".xz", ".zst", ".tar", ".7z", ".arrow", ".feather", ".xls", ".xlsx", ".db", ".pkl")
_MAX_NAMED = 12  # fields of a row in a message


def read_rows(path: str, home: str = "") -> Iterator[Row]:
    """Yields the rows of a data set; what is no JSON object gives an empty row.

    Args:
      path: a `.jsonl`, `.json`, `.csv`, `.parquet` or `.zip` file, `hf:OWNER/NAME[:CONFIG[:SPLIT]]`, or
        `tfds:NAME[:SPLIT]`.
      home: where users find the data set, for the message that the file is not there.

    Raises:
      SettingsError: it cannot be read.
    """
    if path.startswith(HUB):
        return _hub_rows(path.removeprefix(HUB))
    if path.startswith(TFDS):
        return _tfds_rows(path.removeprefix(TFDS))
    file = pathlib.Path(path).expanduser()
    require(file.is_file(), f"there is no benchmark file {path}{home and f'; {home}'}")
    kind = file.suffix.lower()
    require(kind not in _OTHER_KINDS, f"{path}: {kind} files are not read; convert it to JSON lines (.jsonl)")
    return _READERS.get(kind, _text_rows)(file)


def field_value(row: Row, field: str) -> Any:
    """Returns the value of a field: by its name, or else by its path, such as `reward_model.ground_truth`.

    Raises:
      KeyError: the row has no such field.
    """
    if field in row:
        return row[field]
    value: Any = row
    for step in field.split("."):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise KeyError(field) from None
    return value


def field_names(row: Row) -> str:
    """Names the fields of a row, and by their paths those of the objects in it; of bounded length."""
    names = [
        f"{name}.{inner}"[:60] if inner else str(name)[:60]
        for name, value in row.items()
        for inner in (value if isinstance(value, dict) and value else [""])
    ]
    return ", ".join(names[:_MAX_NAMED]) + (", …" if len(names) > _MAX_NAMED else "")


def _text_rows(file: pathlib.Path) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig", errors="replace", newline="\n") as lines:
        yield from _parse_rows(lines, file.suffix.lower() == ".json")


def _zip_rows(file: pathlib.Path) -> Iterator[Row]:
    """Yields the rows of the files in a zip, which is read in place."""
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


def _csv_rows(file: pathlib.Path) -> Iterator[Row]:
    """Yields rows of texts; the first line names the fields."""
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        try:
            for row in csv.DictReader(lines):
                yield {name: value for name, value in row.items() if name is not None and value is not None}
        except csv.Error as error:
            raise SettingsError(f"{file} is broken ({error}); fetch it again, or convert it to JSON lines") from None


def _parquet_rows(file: pathlib.Path) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise SettingsError(f"{file} needs: pip install pyarrow; or convert it to JSON lines") from None
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches():
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise SettingsError(f"{file} is broken ({reason_of(error)}); fetch it again") from None


_READERS: dict[str, Callable[[pathlib.Path], Iterator[Row]]] = {
    ".zip": _zip_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}  # by suffix; files with other suffixes are JSON


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
