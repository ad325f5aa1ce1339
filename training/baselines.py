"""What every figure stands beside: the plan, a lookup of medians, and LightGBM without care."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.dataset import Dataset

Float = NDArray[np.float64]
SMALLEST_LOOKUP_GROUP = 10
#: From the most specific to the least.
LOOKUP_LEVELS: tuple[tuple[str, ...], ...] = (
    ("here_zone_id", "zone_id", "hour"),
    ("here_zone_id", "zone_id"),
    ("here_zone_id",),
    (),
)
CATEGORICAL = ("here_zone_id", "zone_id", "courier_id", "service_class")
NUMERIC = (
    "local_hour",
    "weekday",
    "rank",
    "planned_in_s",
    "leg_distance_m",
    "parcels",
    "temperature_c",
    "precipitation_mm",
)
PLAIN = {
    "num_leaves": 31,
    "learning_rate": 0.1,
    "num_threads": 1,
    "verbosity": -1,
    "deterministic": True,
    "seed": 7,
}
PLAIN_TREES = 100


@dataclass(frozen=True, slots=True)
class Lookup:
    """Training quantiles of the most specific group with enough rows."""

    tables: list[pl.DataFrame]
    levels: tuple[float, ...]

    @classmethod
    def fit(cls, rows: Dataset, levels: Sequence[float]) -> Lookup:
        frame = (
            _with_hour(rows)
            .with_columns(arrival_s=pl.Series(rows.arrival_s))
            .filter(pl.col("arrival_s").is_finite())
        )
        quantiles = [pl.col("arrival_s").quantile(t, "linear").alias(f"q{i}") for i, t in enumerate(levels)]
        tables = []
        for keys in LOOKUP_LEVELS:
            grouped = (
                frame.group_by(keys).agg(pl.len(), *quantiles) if keys else frame.select(pl.len(), *quantiles)
            )
            enough = grouped.filter(pl.col("len") >= SMALLEST_LOOKUP_GROUP) if keys else grouped
            tables.append(enough.drop("len"))
        return cls(tables, tuple(levels))

    def predict(self, rows: Dataset) -> Float:
        """Quantiles of each row: (n, len(levels)) seconds."""
        return self.look_up(_with_hour(rows))

    def look_up(self, frame: pl.DataFrame) -> Float:
        """Quantiles by ``here_zone_id``, ``zone_id`` and ``hour``: (n, len(levels)) seconds."""
        result = np.full((len(frame), len(self.levels)), np.nan)
        for keys, table in zip(LOOKUP_LEVELS, self.tables, strict=True):
            if keys:
                found = frame.join(table, on=keys, how="left", maintain_order="left")
            else:
                found = frame.join(table, how="cross", maintain_order="left")
            level = found.select(f"q{i}" for i in range(len(self.levels))).to_numpy()
            empty = np.isnan(result[:, 0])
            result[empty] = level[empty]
        return result


def plan_s(rows: Dataset) -> Float | None:
    """The planned arrival as it stands; None where a set has no plan."""
    planned = rows.rows["planned_in_s"].cast(pl.Float64).to_numpy()
    return planned if np.isfinite(planned).all() else None


@dataclass(frozen=True, slots=True)
class PlainLightGBM:
    """LightGBM at fixed parameters on raw known columns with native categoricals; its quantiles are uncalibrated."""

    boosters: dict[str, lightgbm.Booster]
    categories: dict[str, list[str]]

    @classmethod
    def fit(cls, rows: Dataset) -> PlainLightGBM:
        rows = rows.where(np.isfinite(rows.arrival_s))
        categories = {name: sorted(rows.rows[name].drop_nulls().unique().to_list()) for name in CATEGORICAL}
        matrix = _plain_matrix(rows, categories)
        objectives: dict[str, dict[str, Any]] = {
            "mean": {"objective": "regression"},
            "p10": {"objective": "quantile", "alpha": 0.1},
            "p50": {"objective": "regression_l1"},
            "p90": {"objective": "quantile", "alpha": 0.9},
        }
        places = list(range(len(CATEGORICAL)))
        boosters = {
            name: lightgbm.train(
                PLAIN | objective,
                lightgbm.Dataset(
                    matrix, rows.arrival_s, categorical_feature=places, params={"verbosity": -1}
                ),
                PLAIN_TREES,
            )
            for name, objective in objectives.items()
        }
        return cls(boosters, categories)

    def predict(self, rows: Dataset) -> dict[str, Float]:
        """``mean``, ``p10``, ``p50`` and ``p90`` in seconds: (n,) each."""
        matrix = _plain_matrix(rows, self.categories)
        return {
            name: np.asarray(booster.predict(matrix, num_threads=1))
            for name, booster in self.boosters.items()
        }


def _with_hour(rows: Dataset) -> pl.DataFrame:
    return rows.rows.select("here_zone_id", "zone_id", hour=pl.col("local_hour").cast(pl.Int64))


def _plain_matrix(rows: Dataset, categories: dict[str, list[str]]) -> Float:
    codes = [
        rows.rows[name]
        .replace_strict(known, range(len(known)), default=None, return_dtype=pl.Float64)
        .to_numpy()
        if (known := categories[name])
        else np.full(len(rows), np.nan)
        for name in CATEGORICAL
    ]
    numbers = [rows.rows[name].cast(pl.Float64).to_numpy() for name in NUMERIC]
    return np.stack([*codes, *numbers], axis=1)
