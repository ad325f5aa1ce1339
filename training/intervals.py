"""How sure a figure is: bootstrap over clusters, since forecasts of one day err together.

Each draw takes as many clusters as there are, with replacement, and computes every figure from their rows (Field,
Welsh 2007, "Bootstrapping clustered data"). A figure is a mean of row values, or the root of one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from training.metrics import COVERAGE, interval_scores_min, pinball_rows_min
from training.quantiles import QuantileForecast

Float = NDArray[np.float64]
DRAWS = 1000
EDGES = (0.025, 0.975)
#: Fewer clusters than this say nothing about how clusters differ.
FEWEST_CLUSTERS = 5


def row_values(arrival_s: Float, forecast: QuantileForecast) -> dict[str, Float]:
    """What the figures of a forecast are means of, each (n,); ``rmse_min`` is the root of its mean."""
    start_s, end_s = forecast.window(COVERAGE)
    return {
        "mae_min": np.abs(arrival_s - forecast.at((0.5,))[:, 0]) / 60.0,
        "rmse_min": np.square((arrival_s - forecast.mean_s) / 60.0),
        "pinball_min": pinball_rows_min(arrival_s, forecast.quantiles_s),
        "coverage_80": ((arrival_s >= start_s) & (arrival_s <= end_s)).astype(np.float64),
        "width_80_min": (end_s - start_s) / 60.0,
        "interval_score_80": interval_scores_min(arrival_s, start_s, end_s),
    }


def cluster_intervals(
    values: Mapping[str, Float], clusters: NDArray[np.str_], *, seed: int = 0
) -> dict[str, list[float]]:
    """95 % interval of the mean of each row value: name -> [low, high]; empty with fewer than five clusters."""
    _, code = np.unique(clusters, return_inverse=True)
    count = int(code.max()) + 1 if len(code) else 0
    if count < FEWEST_CLUSTERS:
        return {}
    sums = np.stack([np.bincount(code, value, count) for value in values.values()], axis=1)
    rows = np.bincount(code, minlength=count)
    drawn = _draws(count, seed)
    means = (drawn @ sums) / (drawn @ rows)[:, None]
    low, high = np.quantile(means, EDGES, axis=0)
    return {
        name: [_figure(name, low[place]), _figure(name, high[place])] for place, name in enumerate(values)
    }


def ratio_interval(
    ours: Float, theirs: Float, clusters: NDArray[np.str_], *, seed: int = 0
) -> list[float] | None:
    """95 % interval of the ratio of two means of the same rows; None with fewer than five clusters."""
    _, code = np.unique(clusters, return_inverse=True)
    count = int(code.max()) + 1 if len(code) else 0
    if count < FEWEST_CLUSTERS:
        return None
    drawn = _draws(count, seed)
    ratios = (drawn @ np.bincount(code, ours, count)) / (drawn @ np.bincount(code, theirs, count))
    return [float(edge) for edge in np.quantile(ratios, EDGES)]


def _draws(count: int, seed: int) -> NDArray[np.int64]:
    """How often each cluster is in each draw: (DRAWS, count)."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), DRAWS)


def _figure(name: str, mean: float) -> float:
    return float(np.sqrt(mean)) if name.startswith("rmse") else float(mean)
