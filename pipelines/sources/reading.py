"""Files as typed frames; every fault names the file, the column, the rows and what to do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from data_contracts.errors import SourceError

#: Columns that a file must have, and their types.
Columns = dict[str, pl.DataType | type[pl.DataType]]

#: What published files write where they have nothing.
MISSING = ("", "nan", "NaN", "NULL", "null", "None", "NA")


def read_csv(file: Path, columns: Columns, unreadable: Counter[str]) -> pl.DataFrame:
    """The named columns of a CSV file in their types."""
    return typed(csv_text(file), columns, file, unreadable)


def csv_text(file: Path) -> pl.DataFrame:
    """A CSV file with every column as text."""
    try:
        frame = pl.read_csv(file, infer_schema=False, null_values=list(MISSING))
    except (pl.exceptions.PolarsError, OSError, UnicodeError) as error:
        raise _unreadable(file, "CSV", error) from error
    return _with_rows(frame, file)


def parquet(file: Path) -> pl.DataFrame:
    """A Parquet file as it stands."""
    try:
        frame = pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(file, "Parquet", error) from error
    return _with_rows(frame, file)


def json_objects(file: Path, under: str = "") -> list[dict[str, Any]]:
    """Objects of a JSON file: one, a list of them, a list under the key ``under``, or one a line."""
    found = list(_objects(_json_values(file), under))
    if not found:
        raise SourceError("holds no objects", where=str(file), next_step="fetch it again")
    for number, value in enumerate(found, start=1):
        if not isinstance(value, dict):
            what = f"entry {number} is of type {type(value).__name__}, not an object"
            raise SourceError(what, where=str(file), next_step="name a file in the feed's own format")
    return found


def objects_as_rows(file: Path) -> pl.DataFrame:
    """The objects of a JSON file as rows."""
    try:
        return pl.DataFrame(json_objects(file), infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError) as error:
        what = f"the objects do not share their columns' types ({str(error).splitlines()[0][:160]})"
        raise SourceError(what, where=str(file), next_step="give each column one type") from error


def read_any(file: Path) -> pl.DataFrame:
    """A file by its suffix; CSV columns stay text."""
    if file.suffix not in READERS:
        what, known = f"{file.suffix or 'no suffix'} is not a known format", ", ".join(READERS)
        raise SourceError(what, where=str(file), next_step=f"give one of {known}")
    return READERS[file.suffix](file)


READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": parquet,
    ".csv": csv_text,
    ".ndjson": objects_as_rows,
    ".jsonl": objects_as_rows,
    ".json": objects_as_rows,
}


def typed(
    frame: pl.DataFrame,
    columns: Columns,
    file: Path,
    unreadable: Counter[str],
) -> pl.DataFrame:
    """The named columns in their types; a cell that cannot be read becomes null and is counted.

    Raises
    ------
    SourceError
        when a column is missing, or not one of its cells can be read
    """
    require(frame, columns, file)
    cast = frame.select(_cast(frame, name, dtype) for name, dtype in columns.items())
    for name, dtype in columns.items():
        given, read = frame[name], cast[name]
        refused = read.is_null() & given.is_not_null()
        if not refused.any():
            continue
        if read.null_count() == len(read):
            row = int(refused.arg_true()[0])
            what = f"column {name!r} holds no {dtype} in any of its rows (first: row {row + 1}, {given[row]!r:.60})"
            raise SourceError(what, where=str(file), next_step="correct the column, or name another file")
        unreadable[name] += int(refused.sum())
    return cast


def require(frame: pl.DataFrame, columns: Mapping[str, Any] | Sequence[str], file: Path) -> None:
    """Refuse a file that lacks columns."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise SourceError(
            f"lacks the columns {', '.join(missing)}; it has {', '.join(frame.columns)[:300]}",
            where=str(file),
            next_step="name a file in the published format",
        )


def _cast(frame: pl.DataFrame, name: str, dtype: pl.DataType | type[pl.DataType]) -> pl.Expr:
    """Whole numbers may be written as ``3.0``, text may be numbers, and blanks are missing."""
    given, column = frame.schema[name], pl.col(name)
    if given == pl.String:
        column = column.str.strip_chars()
        column = pl.when(column != "").then(column)
        if dtype == pl.Float64:
            number = column.cast(pl.Float64, strict=False)
            return pl.when(number.is_finite()).then(number).alias(name)
        if dtype == pl.Int64:
            number = column.cast(pl.Float64, strict=False)
            return (pl.when(number == number.floor()).then(number).cast(pl.Int64, strict=False)).alias(name)
    return column.cast(dtype, strict=False).alias(name)


def _with_rows(frame: pl.DataFrame, file: Path) -> pl.DataFrame:
    if frame.is_empty():
        raise SourceError("holds no rows", where=str(file), next_step="fetch it again")
    return frame


def _unreadable(file: Path, form: str, error: Exception) -> SourceError:
    told = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return SourceError(
        f"not a readable {form} file ({told})", where=str(file), next_step="fetch it again, or convert it"
    )


def _json_values(file: Path) -> list[Any]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        try:
            return [json.loads(text)]
        except json.JSONDecodeError:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, UnicodeError, json.JSONDecodeError, RecursionError) as error:
        raise _unreadable(file, "JSON", error) from error


def _objects(values: list[Any], under: str) -> Iterator[Any]:
    for value in values:
        if under and isinstance(value, dict) and isinstance(value.get(under), list):
            yield from value[under]
        elif isinstance(value, list):
            yield from value
        else:
            yield value
