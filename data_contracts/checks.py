"""Great Expectations suites derived from the canonical tables, and how a batch is held against them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa

from data_contracts.quarantine import EARLIEST, LATEST
from data_contracts.tables import Column, Dtype, Order, Table

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
    """All that the definition of a table promises of single rows; keys and references are `split`'s work."""
    expect = _great_expectations().expectations
    names = [*table.names, *(_slack_column(order) for order in table.orders if order.slack)]
    promises = [expect.ExpectTableColumnsToMatchSet(column_set=names, exact_match=True)]
    for column in table.columns:
        promises += _column_promises(column)
    promises += [_order_promise(order) for order in table.orders]
    return _great_expectations().ExpectationSuite(name=table.name, expectations=promises)


def validate(table: Table, frame: pd.DataFrame) -> list[FailedExpectation]:
    """The expectations that a frame breaks; rows are only counted where something broke."""
    with _batch(_with_slack(table, frame)) as batch, _quiet():
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
    expect = _great_expectations().expectations
    promises = []
    if column.required:
        promises.append(expect.ExpectColumnValuesToNotBeNull(column=column.name))
    if column.allowed is not None:
        promises.append(
            expect.ExpectColumnValuesToBeInSet(column=column.name, value_set=list(column.allowed))
        )
    low, high = (EARLIEST, LATEST) if column.dtype is Dtype.TIMESTAMP else (column.low, column.high)
    if low is not None or high is not None:
        promises.append(
            expect.ExpectColumnValuesToBeBetween(column=column.name, min_value=low, max_value=high)
        )
    return promises


def _order_promise(order: Order) -> Any:
    return _great_expectations().expectations.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=_slack_column(order) if order.slack else order.later,
        column_B=order.earlier,
        or_equal=True,
        ignore_row_if="either_value_is_missing",
    )


def _slack_column(order: Order) -> str:
    return f"{order.later}_plus_{order.slack.total_seconds():g}s"


def _with_slack(table: Table, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the later side of each slack rule moved by its slack: pair expectations know none."""
    moved = {
        _slack_column(order): frame[order.later] + order.slack
        for order in table.orders
        if order.slack and order.later in frame
    }
    return frame.assign(**moved)


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
    with _quiet():
        asset = context.data_sources.add_pandas(name).add_dataframe_asset("rows")
        whole = asset.add_batch_definition_whole_dataframe("whole")
        batch = whole.get_batch({"dataframe": frame})
    try:
        yield batch
    finally:
        context.data_sources.delete(name)


@cache
def _context() -> Any:
    library = _great_expectations()
    with _quiet():
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = library.get_context(mode="ephemeral")
        context.enable_analytics(False)
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


@cache
def _great_expectations() -> Any:
    """The library, imported late (it takes seconds) and without its telemetry."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with _quiet():
        import great_expectations
        import great_expectations.expectations
    return great_expectations


@contextmanager
def _quiet() -> Iterator[None]:
    """Great Expectations and its dependencies use deprecated modules; that is theirs to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
