"""Bring rows to the shape of a contract, then part those that keep it from those that break it.

``coerce`` repairs the form (types, zones, missing optional columns); ``split`` judges the content. Neither
ever loses a row: what came in is good, bad with reasons, or a counted duplicate.

=============================  ================================================================
``TYPE_<COLUMN>``              the cell is not of the column's type
``NULL_<COLUMN>``              a required value is missing
``RANGE_<COLUMN>``             outside its bounds
``VALUE_<COLUMN>``             not one of the allowed values
``TOO_LONG_<COLUMN>``          text of more than 1,024 characters
``<EARLIER>_AFTER_<LATER>``    two times in the wrong order
``UNKNOWN_<COLUMN>``           what it refers to was never landed
``NOT_A_NUMBER``               NaN in a required number, or an infinite number
``TIMESTAMP_OUT_OF_RANGE``     outside the years 2000 to 2100
``EVENT_ID_REUSED``            the event id of an earlier row, with other content
``KEY_REUSED``                 the key of an earlier row, with other content
=============================  ================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.errors import ContractError
from data_contracts.tables import Column, Dtype, Order, Table

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
MAX_TEXT_CHARS = 1024

#: The column that ``bad`` rows carry, and coerced rows with a cell that could not be cast.
REASONS = "reasons"

_EXACT_INTEGER = 2**53
_UNITS_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_PRINTABLE_S = (
    -62_135_596_800,
    253_402_300_799,
)  # years 1 to 9999; what lies outside breaks whoever prints it
_ZONED_TIME = r"^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?) ?([+-]\d{2}):?(\d{2})$"
_NAIVE_TIME = r"^\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A batch of one table, judged: ``good`` + ``bad`` + ``duplicates`` are the rows that came in."""

    good: pa.Table
    bad: pa.Table
    reasons: Counter[str]
    duplicates: int


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
    return coerced.append_column(REASONS, _reason_lists(pl.DataFrame(refused))) if refused else coerced


def split(
    table: Table,
    rows: pa.Table,
    known: Mapping[str, Collection[str]] | None = None,
    *,
    landed_ids: Collection[str] = (),
) -> Split:
    """Part the rows of a coerced table by its contract.

    Parameters
    ----------
    known : for each referring column the ids that exist; a reference without an entry is not checked.
    landed_ids : event ids that earlier batches landed; good rows that repeat them are duplicates.
    """
    _refuse_other_schema(table, rows)
    rows = _nan_as_missing(table, rows)
    frame = _frame(rows).with_row_index("row")
    if REASONS not in rows.column_names:
        frame = frame.with_columns(pl.lit([], dtype=pl.List(pl.String)).alias(REASONS))
    broken = frame.select("row", *(rule.fill_null(False).alias(code) for code, rule in _rules(table, known)))
    clean = ~broken.select(_any(broken.columns[1:])).to_series() & (frame[REASONS].list.len() == 0)
    again, conflicts = _repeats(table, frame.filter(clean).drop(REASONS), landed_ids)
    reasons = pl.concat([_reasons_of(frame.filter(~clean), broken.filter(~clean)), conflicts]).sort("row")
    good = clean & ~frame["row"].is_in(_rows(again, conflicts["row"]))
    return Split(
        good=rows.select(table.names).filter(good.to_arrow()).cast(table.arrow_schema()),
        bad=_bad(table, rows.select(table.names).take(reasons["row"].to_arrow()), reasons[REASONS]),
        reasons=Counter(reasons[REASONS].explode(empty_as_null=False).to_list()),
        duplicates=len(again),
    )


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


def _refuse_other_schema(table: Table, rows: pa.Table) -> None:
    wrong = [
        column.name
        for column in table.columns
        if column.name not in rows.column_names or rows.schema.field(column.name).type != column.dtype.arrow
    ]
    if wrong:
        what = f"columns {', '.join(wrong)} are not of the contract's type"
        raise ContractError(what, where=table.name, next_step="coerce the table first")


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


def _frame(rows: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame


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


# --- the content of rows ----------------------------------------------------------------------------------


def _nan_as_missing(table: Table, rows: pa.Table) -> pa.Table:
    for column in table.columns:
        if column.dtype is Dtype.NUMBER and not column.required:
            nan = pc.is_nan(rows[column.name])
            if pc.any(nan).as_py():
                place = rows.column_names.index(column.name)
                cells = pc.if_else(nan, pa.scalar(None, pa.float64()), rows[column.name])
                rows = rows.set_column(place, column.name, cells)
    return rows


def _rules(table: Table, known: Mapping[str, Collection[str]] | None) -> Iterator[tuple[str, pl.Expr]]:
    """Every way to break the contract: its code, and where it is so."""
    for column in table.columns:
        yield from _column_rules(column)
    numbers = [c.name for c in table.columns if c.dtype is Dtype.NUMBER]
    times = [c.name for c in table.columns if c.dtype is Dtype.TIMESTAMP]
    yield "NOT_A_NUMBER", pl.any_horizontal(pl.lit(False), *(~pl.col(name).is_finite() for name in numbers))
    yield "TIMESTAMP_OUT_OF_RANGE", _any_expr(~pl.col(name).is_between(EARLIEST, LATEST) for name in times)
    yield from ((order.code, _order_rule(order)) for order in table.orders)
    for reference in table.references:
        if known is not None and reference.column in known:
            yield reference.code, ~pl.col(reference.column).is_in(_ids(known[reference.column]))


def _ids(ids: Collection[str]) -> pl.Series:
    """A collection of ids as one list, the form in which Polars looks things up."""
    series = ids if isinstance(ids, pl.Series) else pl.Series(list(ids), dtype=pl.String)
    return series.drop_nulls().implode()


def _column_rules(column: Column) -> Iterator[tuple[str, pl.Expr]]:
    cell, name = pl.col(column.name), column.name.upper()
    if column.required:
        missing = (
            cell.is_null() | (cell.str.strip_chars() == "")
            if column.dtype is Dtype.STRING
            else cell.is_null()
        )
        yield f"NULL_{name}", missing & ~pl.col(REASONS).list.contains(f"TYPE_{name}")
    if column.low is not None or column.high is not None:
        finite = cell.is_finite() if column.dtype is Dtype.NUMBER else cell.is_not_null()
        yield f"RANGE_{name}", finite & ~_within(column)
    if column.allowed is not None:
        yield f"VALUE_{name}", ~cell.is_in(column.allowed)
    elif column.dtype is Dtype.STRING:
        yield f"TOO_LONG_{name}", cell.str.len_chars() > MAX_TEXT_CHARS


def _within(column: Column) -> pl.Expr:
    cell, inside = pl.col(column.name), pl.lit(True)
    if column.low is not None:
        inside = inside & (cell >= column.low)
    return inside & (cell <= column.high) if column.high is not None else inside


def _order_rule(order: Order) -> pl.Expr:
    """Compared as integers, since a far instant plus its slack may leave the type."""
    earlier, later = (pl.col(name).to_physical() for name in (order.earlier, order.later))
    return earlier > later + round(order.slack.total_seconds() * 1_000_000)


def _any(codes: list[str]) -> pl.Expr:
    return pl.any_horizontal(pl.lit(False), *codes)


def _any_expr(rules: Iterator[pl.Expr]) -> pl.Expr:
    return pl.any_horizontal(pl.lit(False), *(rule.fill_null(False) for rule in rules))


def _reason_lists(broken: pl.DataFrame) -> pa.Array:
    named = [pl.when(code).then(pl.lit(code)) for code in broken.columns]
    return broken.select(pl.concat_list(named).list.drop_nulls()).to_series().to_arrow().cast(_REASON_LIST)


_REASON_LIST = pa.list_(pa.string())


def _reasons_of(frame: pl.DataFrame, broken: pl.DataFrame) -> pl.DataFrame:
    """Row numbers with the codes of the form and of the content together."""
    found = pl.Series(_reason_lists(broken.drop("row")), dtype=pl.List(pl.String))
    return frame.select("row", pl.concat_list(REASONS, found))


def _bad(table: Table, rows: pa.Table, reasons: pl.Series) -> pa.Table:
    fields = [field.with_nullable(True) for field in table.arrow_schema()]
    schema = pa.schema([*fields, pa.field(REASONS, _REASON_LIST)], metadata=table.arrow_schema().metadata)
    return pa.table([*rows.columns, reasons.to_arrow().cast(_REASON_LIST)], schema=schema)


def _repeats(
    table: Table, frame: pl.DataFrame, landed_ids: Collection[str]
) -> tuple[pl.Series, pl.DataFrame]:
    """Row numbers to drop as duplicates, and those in conflict with an earlier row, with their reason."""
    landed = frame["event_id"].is_in(_ids(landed_ids))
    again, fresh = [frame["row"].filter(landed)], frame.filter(~landed)
    conflicts = []
    identities = {"EVENT_ID_REUSED": ("event_id",), "KEY_REUSED": table.key}
    for code, identity in identities.items():
        same, other = _same_and_other(fresh, identity)
        fresh = fresh.filter(~pl.col("row").is_in(_rows(same, other)))
        again.append(same)
        conflicts.append(pl.DataFrame({"row": other}).with_columns(pl.lit([code]).alias(REASONS)))
    return pl.concat(again), pl.concat(conflicts)


def _rows(*numbers: pl.Series) -> pl.Series:
    return pl.concat(numbers).implode()


def _same_and_other(frame: pl.DataFrame, identity: tuple[str, ...]) -> tuple[pl.Series, pl.Series]:
    """Of rows that share an identity with an earlier one: those that say the same, and the others."""
    repeated = frame.filter(pl.struct(identity).is_duplicated()).sort("received_at", "row")
    first = repeated.unique(identity, keep="first", maintain_order=True)
    later = repeated.join(first.select("row"), on="row", how="anti")
    pairs = later.join(first, on=identity, how="left", suffix=" of first", maintain_order="left")
    said = [name for name in frame.columns if name not in {"row", "event_id", "received_at", *identity}]
    same = pairs.select(
        pl.all_horizontal(pl.lit(True), *(pl.col(n).eq_missing(pl.col(f"{n} of first")) for n in said))
    )
    return pairs["row"].filter(same.to_series()), pairs["row"].filter(~same.to_series())
