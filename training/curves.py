"""Curves behind the plots of an evaluation: what a person looks at rather than reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.dataset import Dataset
from training.metrics import COVERAGE, ECE_BINS
from training.quantiles import QUANTILE_LEVELS, QuantileForecast

Float = NDArray[np.float64]
#: Coverages of the windows that an operator may choose among.
PROMISED = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
WIDTH_BINS = 10
#: A fan of fewer stops shows nothing.
FEWEST_STOPS_OF_FAN = 5


def promise_curve(arrival_s: Float, forecast: QuantileForecast) -> list[dict[str, float]]:
    """What a promise costs: mean width of the window at each coverage, and the shares that miss it on either side."""
    curve = []
    for coverage in PROMISED:
        start_s, end_s = forecast.window(coverage)
        curve.append(
            {
                "coverage": coverage,
                "width_min": float((end_s - start_s).mean() / 60.0),
                "share_late": float((arrival_s > end_s).mean()),
                "share_early": float((arrival_s < start_s).mean()),
            }
        )
    return curve


def width_curve(arrival_s: Float, forecast: QuantileForecast) -> list[dict[str, float]]:
    """Whether a wider window says a larger error: mean error and coverage by tenths of the window's width."""
    start_s, end_s = forecast.window(COVERAGE)
    width_s, error_s = end_s - start_s, np.abs(arrival_s - forecast.at((0.5,))[:, 0])
    inside = (arrival_s >= start_s) & (arrival_s <= end_s)
    parts = np.array_split(np.argsort(width_s, kind="stable"), min(WIDTH_BINS, max(len(width_s), 1)))
    return [
        {
            "width_min": float(width_s[part].mean() / 60.0),
            "mae_min": float(error_s[part].mean() / 60.0),
            "coverage": float(inside[part].mean()),
        }
        for part in parts
        if len(part)
    ]


def late_curve(late: Float, probability: Float) -> list[dict[str, float]]:
    """Stated late probability against the share that was late, in bins of equal mass."""
    parts = np.array_split(np.argsort(probability, kind="stable"), min(ECE_BINS, max(len(late), 1)))
    return [
        {"stated": float(probability[part].mean()), "late": float(late[part].mean()), "n": float(len(part))}
        for part in parts
        if len(part)
    ]


def route_fan(rows: Dataset, forecast: QuantileForecast) -> dict[str, Any] | None:
    """The forecasts of one route, made at one instant or as near to one as there is; None for single stops.

    The route is the first, by id, of those with the most stops that were asked about before they left the depot, or
    else at one instant.
    """
    frame = rows.rows.select("route_id", "horizon", "stop_id", "rank", "as_of_us").with_row_index("row")
    before = frame.filter(pl.col("horizon") == "before departure")
    counted = (before if len(before) else frame).group_by("route_id", "as_of_us").agg(pl.len(), pl.col("row"))
    best = counted.sort(["len", "route_id", "as_of_us"], descending=[True, False, False]).head(1)
    if not len(best) or best["len"][0] < FEWEST_STOPS_OF_FAN:
        return None
    at = frame[best["row"][0].to_list()].sort("rank", "stop_id")["row"].to_numpy()
    quantiles_min = forecast.quantiles_s[at] / 60.0
    return {
        "route_id": best["route_id"][0],
        "stop_ids": rows.rows["stop_id"][at.tolist()].to_list(),
        "arrival_min": (rows.arrival_s[at] / 60.0).tolist(),
        "quantiles_min": {
            f"{level:g}": quantiles_min[:, place].tolist() for place, level in enumerate(QUANTILE_LEVELS)
        },
    }
