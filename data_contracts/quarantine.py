"""Part the rows that keep a contract from those that break it.

``coerce`` repairs the form (types, zones, missing optional columns); ``split`` judges the content. Neither
ever loses a row: what came in is good, bad with reasons, or a counted duplicate.

=============================  ================================================================
``TYPE_<COLUMN>``              the cell is not of the column's type
``NULL_<COLUMN>``              a required value is missing
``RANGE_<COLUMN>``             outside its bounds
``VALUE_<COLUMN>``             not one of the allowed values
``FORM_<COLUMN>``              text that is no day, or no time zone
``TOO_LONG_<COLUMN>``          text of more than 1,024 characters
``<EARLIER>_AFTER_<LATER>``    two times of a row in the wrong order
``<THEN>_BEFORE_<FIRST>``      two rows in the wrong order: a stop completed before it was reached
``UNKNOWN_<COLUMN>``           what it refers to was never landed
``<COLUMN>_NOT_OF_<COLUMN>``   each is known, but never together: a stop of another route
``FAR_FROM_<GROUP>``           a continent away from the rest of its route or vehicle
``NULL_ISLAND``                latitude and longitude both 0
``NOT_A_NUMBER``               NaN in a required number, or an infinite number
``TIMESTAMP_OUT_OF_RANGE``     outside the years 2000 to 2100
``EVENT_ID_REUSED``            the event id of an earlier row, with other content
``KEY_REUSED``                 the key of an earlier row, with other content
=============================  ================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.coercion import REASON_LIST, REASONS, coerce, reason_lists
from data_contracts.contract import Dtype, Table
from data_contracts.cross_rows import Earlier, cross_row_faults
from data_contracts.errors import ContractError
from data_contracts.rules import EVENT_ID_REUSED, KEY_REUSED, as_ids, row_rules

__all__ = ["REASONS", "Split", "coerce", "split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A batch of one table, judged: ``good`` + ``bad`` + ``duplicates`` are the rows that came in."""

    good: pa.Table
    bad: pa.Table
    reasons: Counter[str]
    duplicates: int


def split(
    table: Table,
    rows: pa.Table,
    known: Mapping[str, Collection[str]] | None = None,
    *,
    landed_ids: Collection[str] = (),
    earlier: Earlier | None = None,
) -> Split:
    """Part the rows of a coerced table by its contract.

    Parameters
    ----------
    known : for each referring column the ids that exist; a reference without an entry is not checked.
    landed_ids : event ids that earlier batches landed; good rows that repeat them are duplicates.
    earlier : what earlier batches say to the rules across rows.
    """
    _refuse_other_schema(table, rows)
    rows = _nan_as_missing(table, rows)
    frame = _frame(rows).with_row_index("row")
    if REASONS not in rows.column_names:
        frame = frame.with_columns(pl.lit([], dtype=pl.List(pl.String)).alias(REASONS))
    broken = frame.select(
        "row", *(rule.broken.fill_null(False).alias(rule.code) for rule in row_rules(table, known))
    )
    clean = ~broken.select(_any(broken.columns[1:])).to_series() & (frame[REASONS].list.len() == 0)
    again, conflicts = _repeats(table, frame.filter(clean).drop(REASONS), landed_ids)
    single = clean & ~frame["row"].is_in(_rows(again, conflicts["row"]))
    faults = _as_reasons(cross_row_faults(table, frame.filter(single), earlier or Earlier()))
    reasons = pl.concat([_reasons_of(frame.filter(~clean), broken.filter(~clean)), conflicts, faults])
    reasons = reasons.sort("row")
    good = single & ~frame["row"].is_in(faults["row"].implode())
    return Split(
        good=rows.select(table.names).filter(good.to_arrow()).cast(table.arrow_schema()),
        bad=_bad(table, rows.select(table.names).take(reasons["row"].to_arrow()), reasons[REASONS]),
        reasons=Counter(reasons[REASONS].explode(empty_as_null=False).to_list()),
        duplicates=len(again),
    )


def _refuse_other_schema(table: Table, rows: pa.Table) -> None:
    wrong = [
        column.name
        for column in table.columns
        if column.name not in rows.column_names or rows.schema.field(column.name).type != column.dtype.arrow
    ]
    if wrong:
        what = f"columns {', '.join(wrong)} are not of the contract's type"
        raise ContractError(what, where=table.name, next_step="coerce the table first")


def _frame(rows: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _nan_as_missing(table: Table, rows: pa.Table) -> pa.Table:
    for column in table.columns:
        if column.dtype is Dtype.NUMBER and not column.required:
            nan = pc.is_nan(rows[column.name])
            if pc.any(nan).as_py():
                place = rows.column_names.index(column.name)
                cells = pc.if_else(nan, pa.scalar(None, pa.float64()), rows[column.name])
                rows = rows.set_column(place, column.name, cells)
    return rows


# --- reasons ----------------------------------------------------------------------------------------------


def _any(codes: list[str]) -> pl.Expr:
    return pl.any_horizontal(pl.lit(False), *codes)


def _reasons_of(frame: pl.DataFrame, broken: pl.DataFrame) -> pl.DataFrame:
    """Row numbers with the codes of the form and of the content together."""
    found = pl.Series(reason_lists(broken.drop("row")), dtype=pl.List(pl.String))
    return frame.select("row", pl.concat_list(REASONS, found))


def _as_reasons(faults: pl.DataFrame) -> pl.DataFrame:
    return faults.select("row", pl.concat_list("code").alias(REASONS))


def _bad(table: Table, rows: pa.Table, reasons: pl.Series) -> pa.Table:
    fields = [field.with_nullable(True) for field in table.arrow_schema()]
    schema = pa.schema([*fields, pa.field(REASONS, REASON_LIST)], metadata=table.arrow_schema().metadata)
    return pa.table([*rows.columns, reasons.to_arrow().cast(REASON_LIST)], schema=schema)


# --- repeated rows ----------------------------------------------------------------------------------------


def _repeats(
    table: Table, frame: pl.DataFrame, landed_ids: Collection[str]
) -> tuple[pl.Series, pl.DataFrame]:
    """Row numbers to drop as duplicates, and those in conflict with an earlier row, with their reason."""
    landed = frame["event_id"].is_in(as_ids(landed_ids))
    again, fresh = [frame["row"].filter(landed)], frame.filter(~landed)
    conflicts = []
    identities = {EVENT_ID_REUSED: ("event_id",), KEY_REUSED: table.key}
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
