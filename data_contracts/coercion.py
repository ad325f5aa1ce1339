"""Bring rows to the shape of a contract: types, time zones, and the optional columns that a source lacks."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.contract import Column, Dtype, Table
from data_contracts.errors import ContractError

#: The column of coerced rows with a cell that could not be cast, and of rows in quarantine.
REASONS = "reasons"

REASON_LIST = pa.list_(pa.string())

_EXACT_INTEGER = 2**53
_UNITS_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_PRINTABLE_S = (
    -62_135_596_800,
    253_402_300_799,
)  # years 1 to 9999; what lies outside breaks whoever prints it
_ZONED_TIME = r"^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?) ?([+-]\d{2}):?(\d{2})$"
_NAIVE_TIME = r"^\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?$"


def coerce(table: Table, frame: pa.Table | pl.DataFrame) -> pa.Table:
    """The rows in the Arrow schema of the contract; columns that it does not know are left out.

    Text that is blank counts as missing. Where a cell cannot be cast it becomes null, and the table then
    carries a column ``reasons`` that ``split`` reads; a column that can never fit is a `ContractError`.
    """
    rows = _arrow(table, frame)
    columns: list[pa.ChunkedArray] = []
    refused: dict[str, pl.Series] = {}
    for column in table.columns:
        values, failed = _cast(table, column, _given(table, rows, column))
        columns.append(values)
        if failed is not None and failed.any():
            refused[f"TYPE_{column.name.upper()}"] = failed
    coerced = pa.table(columns, schema=table.arrow_schema())
    return coerced.append_column(REASONS, reason_lists(pl.DataFrame(refused))) if refused else coerced


def reason_lists(broken: pl.DataFrame) -> pa.Array:
    """For each row the names of the columns that are true in it."""
    named = [pl.when(code).then(pl.lit(code)) for code in broken.columns]
    return broken.select(pl.concat_list(named).list.drop_nulls()).to_series().to_arrow().cast(REASON_LIST)


# --- the form of a table ----------------------------------------------------------------------------------


def _arrow(table: Table, frame: pa.Table | pl.DataFrame) -> pa.Table:
    try:
        rows = frame.to_arrow() if isinstance(frame, pl.DataFrame) else frame
    except (pa.ArrowException, pl.exceptions.PolarsError, TypeError) as error:
        raise ContractError(f"cannot be read as columns: {error}", where=table.name) from error
    twice = sorted(name for name, times in Counter(rows.column_names).items() if times > 1)
    if twice:
        what = f"columns {', '.join(map(repr, twice))} occur more than once"
        raise ContractError(what, where=table.name, next_step="give each column once")
    return rows


def _given(table: Table, rows: pa.Table, column: Column) -> pa.ChunkedArray:
    if column.name in rows.column_names:
        return rows[column.name]
    if column.required:
        raise ContractError(
            f"required column {column.name!r} is missing ({column.meaning})",
            where=table.name,
            next_step=f"add it to the source or its adapter, which gave {', '.join(rows.column_names)}",
        )
    return pa.chunked_array([pa.nulls(rows.num_rows)])


# --- cells ------------------------------------------------------------------------------------------------

Cast = tuple[pa.ChunkedArray, pl.Series | None]


def _cast(table: Table, column: Column, values: pa.ChunkedArray) -> Cast:
    """A column in its contract type, and which of its cells could not be cast."""
    try:
        values = _plain(values)
        if pa.types.is_null(values.type):
            return values.cast(column.dtype.arrow), None
        return _CASTS[column.dtype](values)
    except _NeverFits as error:
        raise ContractError(
            f"column {column.name!r} is {error}, wanted {column.dtype.value}",
            where=table.name,
            next_step=error.next_step or "change its adapter",
        ) from None
    except (pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise ContractError(f"column {column.name!r} cannot be read: {error}", where=table.name) from error


class _NeverFits(Exception):
    """A whole column has a type that no cell of the contract's type could be made from."""

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(what)
        self.next_step = next_step


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dictionaries, decimals, half floats and string views as plain types that Polars shares with Arrow."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_decimal(values.type) or pa.types.is_float16(values.type):
        return values.cast(pa.float64(), safe=False)
    return values.cast(pa.string()) if pa.types.is_string_view(values.type) else values


def _is_text(dtype: pa.DataType) -> bool:
    return pa.types.is_string(dtype) or pa.types.is_large_string(dtype)


def _series(values: pa.ChunkedArray) -> pl.Series:
    series = pl.from_arrow(values)
    assert isinstance(series, pl.Series)
    return series


def _chunked(series: pl.Series, dtype: Dtype) -> pa.ChunkedArray:
    return pa.chunked_array([series.to_arrow().cast(dtype.arrow)])


def _stripped(values: pa.ChunkedArray) -> pl.Series:
    """Text without its margins; blank text is missing."""
    text = _series(values).str.strip_chars()
    return text.set(text == "", None)


def _cast_text(values: pa.ChunkedArray) -> Cast:
    if _is_text(values.type):
        blank = pc.equal(pc.utf8_trim_whitespace(values), "")
        text = pc.if_else(blank, pa.scalar(None, values.type), values) if pc.any(blank).as_py() else values
        return text.cast(pa.string()), None
    if pa.types.is_floating(values.type):
        whole, failed = _cast_integer(values)
        return whole.cast(pa.string()), failed
    if pa.types.is_integer(values.type) or pa.types.is_date(values.type):
        return values.cast(pa.string()), None
    raise _NeverFits(f"of type {values.type}")


def _cast_number(values: pa.ChunkedArray) -> Cast:
    if pa.types.is_floating(values.type) or pa.types.is_integer(values.type):
        return values.cast(pa.float64(), safe=False), None
    if not _is_text(values.type):
        raise _NeverFits(f"of type {values.type}")
    text = _stripped(values)
    numbers = text.cast(pl.Float64, strict=False)
    return _chunked(numbers, Dtype.NUMBER), numbers.is_null() & text.is_not_null()


def _cast_integer(values: pa.ChunkedArray) -> Cast:
    """Whole numbers, also where they come as floats or text; 3.5 is not one."""
    if values.type == pa.int64():
        return values, None
    if _is_text(values.type):
        given = _stripped(values)
        integers = given.cast(pl.Int64, strict=False)
        integers = integers.zip_with(integers.is_not_null(), _whole(given.cast(pl.Float64, strict=False)))
    elif pa.types.is_integer(values.type):
        given = _series(values)
        integers = given.cast(pl.Int64, strict=False)
    elif pa.types.is_floating(values.type):
        given = _series(values).fill_nan(None)
        integers = _whole(given.cast(pl.Float64))
    else:
        raise _NeverFits(f"of type {values.type}")
    return _chunked(integers, Dtype.INTEGER), integers.is_null() & given.is_not_null()


def _whole(numbers: pl.Series) -> pl.Series:
    exact = (numbers == numbers.floor()) & (numbers.abs() <= _EXACT_INTEGER)
    return numbers.set(~exact, None).cast(pl.Int64, strict=False)


def _cast_boolean(values: pa.ChunkedArray) -> Cast:
    if pa.types.is_boolean(values.type):
        return values, None
    if not _is_text(values.type):
        raise _NeverFits(f"of type {values.type}")
    text = _stripped(values).str.to_lowercase()
    truth = text.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    return _chunked(truth, Dtype.BOOLEAN), truth.is_null() & text.is_not_null()


_GIVE_THE_ZONE = "let its adapter give the zone, such as 2024-05-01T08:00:00+02:00"


def _cast_time(values: pa.ChunkedArray) -> Cast:
    if pa.types.is_timestamp(values.type):
        if values.type.tz is None:
            raise _NeverFits("a timestamp without a time zone", _GIVE_THE_ZONE)
        return _printable(values)
    if not _is_text(values.type):
        raise _NeverFits(f"of type {values.type}", "give RFC 3339 text, or timestamps with a zone")
    text = _stripped(values)
    instants = _parsed(text)
    failed = instants.is_null() & text.is_not_null()
    if failed.any() and instants.null_count() == len(instants) and text.str.contains(_NAIVE_TIME).any():
        example = text.filter(text.str.contains(_NAIVE_TIME))[0]
        raise _NeverFits(f"text without a time zone ({example!r})", _GIVE_THE_ZONE)
    whole, unprintable = _printable(pa.chunked_array([instants.to_arrow()]))
    return whole, failed if unprintable is None else failed | unprintable


def _parsed(text: pl.Series) -> pl.Series:
    """RFC 3339 text as UTC instants; a time without a zone is null."""
    zoned = text.str.replace("[Zz]$", "+00:00")
    zoned = zoned.set(~zoned.str.contains(_ZONED_TIME), None).str.replace(_ZONED_TIME, "${1}T${2}${3}:${4}")
    return zoned.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", strict=False, time_unit="us", time_zone="UTC")


def _printable(values: pa.ChunkedArray) -> Cast:
    """Instants in microseconds; those outside the years 1 to 9999 are no instants."""
    per_s = _UNITS_PER_S[values.type.unit]
    ticks = values.cast(pa.int64())
    low, high = (max(-(2**63), min(second * per_s, 2**63 - 1)) for second in _PRINTABLE_S)
    outside = pc.or_(pc.less(ticks, low), pc.greater(ticks, high))
    if not pc.any(outside).as_py():
        return values.cast(Dtype.TIMESTAMP.arrow, safe=False), None
    inside = pc.if_else(outside, pa.scalar(None, values.type), values)
    return inside.cast(Dtype.TIMESTAMP.arrow, safe=False), _series(outside).fill_null(False)


_CASTS = {
    Dtype.STRING: _cast_text,
    Dtype.NUMBER: _cast_number,
    Dtype.INTEGER: _cast_integer,
    Dtype.BOOLEAN: _cast_boolean,
    Dtype.TIMESTAMP: _cast_time,
}
