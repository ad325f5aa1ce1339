"""Groups of forecasts that a figure is told for: what is known of a row, and what had been seen in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.dataset import BEFORE_DEPARTURE, HORIZON_EDGES_MIN, HORIZON_NAMES, Dataset
from training.metrics import forecast_figures
from training.quantiles import QuantileForecast

Labels = Sequence[str | None]
#: A slice of fewer forecasts says nothing.
SMALLEST_SLICE = 50
NEW, KNOWN = "new", "known"


def groups(rows: Dataset, forecast: QuantileForecast) -> dict[str, Labels]:
    """Label of each row by the groups of the evaluation contract; horizons both as forecast and as it came out.

    Rows chosen by how long they took are rows chosen by their outcome: no forecast covers them as it promises.
    """
    return {
        "horizon_forecast": forecast_horizons(rows, forecast),
        "horizon": rows.rows["horizon"].to_list(),
        "zone": rows.rows["zone_id"].to_list(),
        "hour_band": hour_bands(rows),
        "weather": weather_classes(rows),
    }


def novelty(rows: Dataset, seen: Dataset) -> dict[str, Labels]:
    """Whether training had seen the courier and the zone of each row; None where a row has none."""
    return {
        "courier_is": _novelty(rows.rows["courier_id"], seen.rows["courier_id"]),
        "zone_is": _novelty(rows.rows["zone_id"], seen.rows["zone_id"]),
    }


def figures_by_slice(
    rows: Dataset, forecast: QuantileForecast, labels: Mapping[str, Labels]
) -> dict[str, dict[str, dict[str, float]]]:
    """Every figure of each slice of at least ``SMALLEST_SLICE`` forecasts, by kind and label."""
    return {kind: _one_kind(rows, forecast, told) for kind, told in labels.items()}


def _one_kind(rows: Dataset, forecast: QuantileForecast, labels: Labels) -> dict[str, dict[str, float]]:
    values = np.array(["" if label is None else label for label in labels])
    found: dict[str, dict[str, float]] = {}
    for label in _ordered(values):
        at = np.flatnonzero(values == label)
        if len(at) >= SMALLEST_SLICE:
            part = QuantileForecast(forecast.grid_s[at], forecast.mean_s[at])
            found[label] = {"n": float(len(at))} | forecast_figures(rows.arrival_s[at], part)
    return found


def _ordered(values: NDArray[np.str_]) -> list[str]:
    """Horizons by their distance, everything else by its name."""
    known = (*HORIZON_NAMES, BEFORE_DEPARTURE)
    place = {name: at for at, name in enumerate(known)}
    return sorted(set(values) - {""}, key=lambda label: (place.get(label, len(known)), label))


def _novelty(ids: pl.Series, seen: pl.Series) -> list[str | None]:
    known = set(seen.drop_nulls().unique().to_list())
    return [None if one is None else KNOWN if one in known else NEW for one in ids.to_list()]


def forecast_horizons(rows: Dataset, forecast: QuantileForecast) -> list[str]:
    """Horizon bin of each forecast's median, which is known when it is made."""
    before = rows.rows["horizon"].to_numpy() == BEFORE_DEPARTURE
    bins = np.searchsorted(HORIZON_EDGES_MIN, forecast.at((0.5,))[:, 0] / 60.0, side="right")
    return np.where(before, BEFORE_DEPARTURE, np.array(HORIZON_NAMES)[bins]).tolist()


def hour_bands(rows: Dataset) -> list[str]:
    band = (rows.rows["local_hour"] // 3 * 3).cast(pl.Int64).to_list()
    return [f"{start:02d}-{start + 3:02d} h" for start in band]


def weather_classes(rows: Dataset) -> list[str | None]:
    frame = rows.rows.select("temperature_c", "precipitation_mm")
    wet = pl.when(pl.col("precipitation_mm") > 2).then(pl.lit("heavy rain"))
    label = (
        pl.when(pl.col("precipitation_mm").is_null())
        .then(None)
        .when((pl.col("precipitation_mm") > 0.1) & (pl.col("temperature_c") < 1))
        .then(pl.lit("snow or ice"))
        .otherwise(wet.when(pl.col("precipitation_mm") > 0.1).then(pl.lit("rain")).otherwise(pl.lit("dry")))
    )
    return frame.select(label.alias("weather"))["weather"].to_list()
