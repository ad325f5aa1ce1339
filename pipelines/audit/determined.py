"""Columns that the outcome determines: within a group, the outcome alone tells their values apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

from pipelines.audit.raw import RawForecasts
from pipelines.audit.raw_columns import as_numbers

#: Columns of at most so many values are judged value by value, others at each group's median.
FEW_VALUES = 12
#: A group says something when each side has so many rows, and all groups together when they have so many pairs of rows.
FEWEST_A_SIDE = 3
FEWEST_BOTH_SIDES = 30


class Determined(NamedTuple):
    """The AUC of the outcome for a column's values, and the grouping in which it is highest."""

    auc: float | None
    within: tuple[str, ...]


def determined(raw: RawForecasts, rows: pl.DataFrame, column: str) -> Determined:
    """How far the outcome determines a column, in the grouping in which it does so most."""
    found = [
        Determined(auc, within)
        for within in raw.within
        for outcome in (raw.label, *raw.also_outcomes)
        if (auc := _auc(rows, column, raw, outcome, within)) is not None
    ]
    return max(found, key=lambda one: one.auc or 0.0, default=Determined(None, ()))


def _auc(
    rows: pl.DataFrame, column: str, raw: RawForecasts, outcome: str, within: tuple[str, ...]
) -> float | None:
    groups = rows.select(pl.struct(within)).to_series() if within else pl.repeat("", rows.height, eager=True)
    frame = pl.DataFrame({"group": groups.rank("dense") if not within else groups, "outcome": rows[outcome]})
    ranked = frame.with_columns(rank=pl.col("outcome").rank("average").over("group"))
    aucs = [
        auc
        for side in _sides(rows[column], rows[raw.as_of], ranked["group"])
        if (auc := _mean_auc(ranked.with_columns(side=side))) is not None
    ]
    return max(aucs, default=None)
