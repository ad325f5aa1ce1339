"""Columns that the outcome determines: within a group, the outcome alone tells their values apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from pipelines.audit.raw import RawForecasts
from pipelines.audit.raw_columns import as_numbers, codes

#: Columns of at most so many values are judged value by value, others at each group's median.
FEW_VALUES = 12
#: A group counts when each side has so many rows, and the groups together when their smaller sides have so many.
FEWEST_A_SIDE = 3
FEWEST_TOGETHER = 30


class Determined(NamedTuple):
    """The AUC of the outcome for a column's values, and the grouping in which it is highest."""

    auc: float | None
    within: tuple[str, ...]


class Outcomes:
    """Each outcome's rank within each grouping, made once for all columns."""

    def __init__(self, raw: RawForecasts, rows: pl.DataFrame) -> None:
        self.rows, self.as_of = rows, rows[raw.as_of]
        self.ranked = {
            within: [_ranked(rows, within, outcome) for outcome in (raw.label, *raw.further_labels)]
            for within in raw.within
        }

    def determine(self, column: str) -> Determined:
        """How far an outcome determines a column, in the grouping in which one does so most."""
        found = [
            Determined(auc, within)
            for within, outcomes in self.ranked.items()
            for ranked in outcomes
            for side in _sides(self.rows[column], self.as_of, ranked["group"])
            if (auc := _mean_auc(ranked.with_columns(side=side))) is not None
        ]
        return max(found, key=lambda one: one.auc or 0.0, default=Determined(None, ()))


def _ranked(rows: pl.DataFrame, within: tuple[str, ...], outcome: str) -> pl.DataFrame:
    key = rows.select(pl.concat_str(pl.lit(""), *within, separator="|", ignore_nulls=True)).to_series()
    group = codes(key) if len(key) == rows.height else 0
    rank = pl.col(outcome).rank("average").over("group")
    return rows.select(pl.lit(group).alias("group"), outcome).with_columns(rank=rank)


def _sides(cells: pl.Series, as_of: pl.Series, group: pl.Series) -> Iterator[pl.Series]:
    """The ways to part a column in two: a value against the rest, above a value, above the group's median."""
    numbers = as_numbers(cells, as_of)
    values = cells.unique().drop_nulls().sort()
    if len(values) + int(cells.has_nulls()) > FEW_VALUES:
        if numbers is not None:
            frame = pl.DataFrame({"group": group, "value": pl.Series(numbers, nan_to_null=True)})
            yield frame.select(pl.col("value") > pl.col("value").median().over("group")).to_series()
        return
    if cells.has_nulls():
        yield cells.is_null()
    for value in values:
        yield (cells == value).fill_null(False)
    if numbers is not None:
        told = pl.Series(numbers, nan_to_null=True)
        for value in told.unique().drop_nulls().sort()[1:-1]:
            yield told >= value


def _mean_auc(ranked: pl.DataFrame) -> float | None:
    """Mean over groups of the share of pairs that the outcome puts right, in the one direction or the other."""
    groups = (
        ranked.drop_nulls("side")
        .with_columns(rank=pl.col("rank").rank("average").over("group"))
        .group_by("group")
        .agg(
            yes=pl.col("side").sum().cast(pl.Float64),
            rows=pl.len().cast(pl.Float64),
            ranks=pl.col("rank").filter("side").sum(),
        )
        .with_columns(no=pl.col("rows") - pl.col("yes"))
        .filter(pl.min_horizontal("yes", "no") >= FEWEST_A_SIDE)
        .select(
            auc=(pl.col("ranks") - pl.col("yes") * (pl.col("yes") + 1) / 2) / (pl.col("yes") * pl.col("no")),
            weight=pl.min_horizontal("yes", "no"),
        )
    )
    if groups.is_empty() or groups["weight"].sum() < FEWEST_TOGETHER:
        return None
    mean = float(np.average(groups["auc"].to_numpy(), weights=groups["weight"].to_numpy()))
    return max(mean, 1 - mean)
