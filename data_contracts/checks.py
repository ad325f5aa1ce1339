"""Great Expectations suites derived from the canonical tables, and how a batch is held against them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa

from data_contracts.contract import Column, Dtype, Form, Order, Position, Table
from data_contracts.rules import DAY_PATTERN, EARLIEST, LATEST, timezones

if TYPE_CHECKING:
    import great_expectations as gx
    import pandas as pd
    from great_expectations.datasource.fluent.interfaces import Batch

#: Rows that are held in pandas at once; every expectation is about single rows, so slices change nothing.
SLICE_ROWS = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedExpectation:
    """One expectation that a batch breaks, and how often."""

    expectation: str
    columns: tuple[str, ...]
    rows: int
    detail: str = ""

    def __str__(self) -> str:
        columns = ", ".join(self.columns)
        told = f"{self.expectation}({columns}) broken by {self.rows:,} rows"
        return f"{told}: {self.detail}" if self.detail else told


def suite(table: Table) -> gx.ExpectationSuite:
    """All that the definition of a table promises of single rows; what is about rows together is `split`'s work."""
    expect = great_expectations().expectations
    names = [*table.names, *_derived(table)]
    promises = [expect.ExpectTableColumnsToMatchSet(column_set=names, exact_match=True)]
    for column in table.columns:
        promises += _column_promises(column)
    promises += [_order_promise(order) for order in table.orders]
    promises += [_position_promise(position) for position in table.positions]
    return great_expectations().ExpectationSuite(name=table.name, expectations=promises)


def validate(table: Table, frame: pd.DataFrame) -> list[FailedExpectation]:
    """The expectations that a frame breaks; rows are only counted where something broke."""
    with _batch(with_derived(table, frame)) as batch, quiet():
        outcome = batch.validate(suite(table), result_format="BOOLEAN_ONLY")
        broken = [result.expectation_config for result in outcome.results if not result.success]
        counted = [
            batch.validate(config.to_domain_obj(), result_format="BASIC") for config in broken if config
        ]
    return [_failure(result, len(frame)) for result in counted]


def validate_rows(table: Table, rows: pa.Table) -> list[FailedExpectation]:
    """`validate` over an Arrow table, slice by slice."""
    return [
        failure
        for start in range(0, max(rows.num_rows, 1), SLICE_ROWS)
        for failure in validate(table, rows.slice(start, SLICE_ROWS).to_pandas())
    ]


def _column_promises(column: Column) -> list[Any]:
    expect = great_expectations().expectations
    promises = []
    if column.required:
        promises.append(expect.ExpectColumnValuesToNotBeNull(column=column.name))
    if column.allowed is not None:
        promises.append(
            expect.ExpectColumnValuesToBeInSet(column=column.name, value_set=list(column.allowed))
        )
    if column.form is Form.DAY:
        promises.append(expect.ExpectColumnValuesToMatchRegex(column=column.name, regex=DAY_PATTERN))
    if column.form is Form.TIMEZONE:
        promises.append(expect.ExpectColumnValuesToBeInSet(column=column.name, value_set=[*timezones()]))
    low, high = (EARLIEST, LATEST) if column.dtype is Dtype.TIMESTAMP else (column.low, column.high)
    if low is not None or high is not None:
        promises.append(
            expect.ExpectColumnValuesToBeBetween(column=column.name, min_value=low, max_value=high)
        )
    return promises


def _order_promise(order: Order) -> Any:
    return great_expectations().expectations.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=_later_column(order) if _is_moved(order) else order.later,
        column_B=order.earlier,
        or_equal=True,
        ignore_row_if="either_value_is_missing",
    )


def _position_promise(position: Position) -> Any:
    return great_expectations().expectations.ExpectColumnValuesToNotBeInSet(
        column=_island_column(position), value_set=[True]
    )


# --- columns that are derived for the suite, since its expectations know no slack and no two columns ---------


def with_derived(table: Table, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the columns that the suite of a table reads beside the table's own."""
    made = {
        name: derive(frame)
        for name, (derive, inputs) in _derived(table).items()
        if all(each in frame for each in inputs)
    }
    return frame.assign(**made)


Derived = tuple[Callable[["pd.DataFrame"], "pd.Series[Any]"], tuple[str, ...]]


def _derived(table: Table) -> dict[str, Derived]:
    """How each derived column is made, and of which columns."""
    later: dict[str, Derived] = {
        _later_column(order): (partial(_moved, order), (order.later, *(order.only or ())[:1]))
        for order in table.orders
        if _is_moved(order)
    }
    islands: dict[str, Derived] = {
        _island_column(position): (partial(_on_null_island, position), (position.lat, position.lon))
        for position in table.positions
    }
    return later | islands


def _is_moved(order: Order) -> bool:
    return bool(order.slack) or order.only is not None


def _later_column(order: Order) -> str:
    only = f"_if_{order.only[1]}" if order.only else ""
    return f"{order.later}_plus_{order.slack.total_seconds():g}s{only}"


def _moved(order: Order, frame: pd.DataFrame) -> pd.Series[Any]:
    """The later side of an order with its slack, missing where the order says nothing of the row."""
    moved = frame[order.later] + order.slack
    return moved if order.only is None else moved.where(frame[order.only[0]] == order.only[1])


def _island_column(position: Position) -> str:
    return f"{position.lat}_and_{position.lon}_are_0"


def _on_null_island(position: Position, frame: pd.DataFrame) -> pd.Series[Any]:
    return (frame[position.lat] == 0) & (frame[position.lon] == 0)


# --- Great Expectations itself -----------------------------------------------------------------------------


def _failure(result: Any, n_rows: int) -> FailedExpectation:
    """How many rows break an expectation; all of them where it is about the table, or not computable."""
    config, found = result.expectation_config, result.result
    columns = [config.kwargs[key] for key in ("column", "column_A", "column_B") if key in config.kwargs]
    raised = _raised(result.exception_info)
    seen = found.get("partial_unexpected_list", [])[:3] or found.get("details")
    return FailedExpectation(
        expectation=config.type,
        columns=tuple(columns),
        rows=int(found.get("unexpected_count", n_rows)),
        detail=(raised or (f"such as {seen}" if seen else ""))[:300],
    )


def _raised(exception_info: dict[str, Any]) -> str:
    """What an expectation could not be computed for; Great Expectations nests this by metric."""
    infos = [exception_info] if "raised_exception" in exception_info else list(exception_info.values())
    return "; ".join(str(info["exception_message"]) for info in infos if info.get("raised_exception"))


@contextmanager
def _batch(frame: pd.DataFrame) -> Iterator[Batch]:
    """A frame as a batch of a data source that is forgotten afterwards, so that no frame stays alive."""
    context, name = _context(), uuid4().hex
    with quiet():
        asset = context.data_sources.add_pandas(name).add_dataframe_asset("rows")
        whole = asset.add_batch_definition_whole_dataframe("whole")
        batch = whole.get_batch({"dataframe": frame})
    try:
        yield batch
    finally:
        context.data_sources.delete(name)


@cache
def _context() -> Any:
    return new_context()


def new_context() -> Any:
    """A context in memory that tells nobody and draws no progress bars."""
    library = great_expectations()
    with quiet():
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = library.get_context(mode="ephemeral")
        context.enable_analytics(False)
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


@cache
def great_expectations() -> Any:
    """The library, imported late (it takes seconds) and without its telemetry."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with quiet():
        import great_expectations as library
        import great_expectations.execution_engine.pandas_execution_engine as engine
        import great_expectations.expectations

    engine.HASH_THRESHOLD = 0  # bytes up to which it fingerprints a frame, which takes half the time
    return library


@contextmanager
def quiet() -> Iterator[None]:
    """Great Expectations and its dependencies use deprecated modules; that is theirs to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
