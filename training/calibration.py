"""Calibration: what share of outcomes really lies below each quantile, learned out of fold and then online.

A booster's raw spread gives the scale; the shape is the empirical distribution of scaled errors, by horizon.
With the score ``z = (y - median) / (high - median)`` above the median and ``/ (median - low)`` below it, the
calibrated quantile at level t is ``median + z_t * scale``, the scale widened by what the zone's errors say:
conformalized quantile regression with a multiplicative
score (Romano, Patterson, Candes 2019; Sesia, Candes 2020), one-sided at every level, so that levels do not cross.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.quantiles import GRID, QuantileForecast

Float = NDArray[np.float64]
Int = NDArray[np.int64]

#: Upper edges of the forecast-horizon groups, minutes.
GROUP_EDGES_MIN = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
#: A group's shape is drawn towards that of all rows by this many rows.
GROUP_SHRINKAGE = 200.0
NARROWEST_S = 5.0
#: Where the 80 % window begins and ends on the grid.
LOW, HIGH = (int(place) for place in np.searchsorted(GRID, (0.1, 0.9)))


@dataclass(frozen=True, slots=True)
class Raw:
    """What the boosters say: median and the distances to the low and high quantile, (n,) seconds each."""

    median_s: Float
    below_s: Float
    above_s: Float
    mean_s: Float

    @classmethod
    def of(cls, low_s: Float, median_s: Float, high_s: Float, mean_s: Float) -> Raw:
        """From quantiles that may cross."""
        return cls(
            median_s,
            np.maximum(median_s - low_s, NARROWEST_S),
            np.maximum(high_s - median_s, NARROWEST_S),
            mean_s,
        )

    def scores(self, arrival_s: Float) -> Float:
        """Scaled errors z: (n,)."""
        error = arrival_s - self.median_s
        return np.where(error >= 0, error / self.above_s, error / self.below_s)

    def take(self, rows: NDArray[np.int64]) -> Raw:
        """Some of the rows."""
        return Raw(self.median_s[rows], self.below_s[rows], self.above_s[rows], self.mean_s[rows])

    def widened(self, factors: Float) -> Raw:
        """With its spread times (n, 2) factors below and above the median."""
        return replace(self, below_s=self.below_s * factors[:, 0], above_s=self.above_s * factors[:, 1])


def group_of(median_s: Float) -> NDArray[np.int64]:
    """Horizon group of each forecast."""
    return np.searchsorted(np.array(GROUP_EDGES_MIN) * 60.0, median_s)


@dataclass(frozen=True, slots=True)
class Calibrator:
    """Shapes of the scaled error by horizon group.

    shapes : (groups, len(GRID)) quantiles of z, rising along a row
    """

    shapes: Float

    @classmethod
    def fit(cls, raw: Raw, arrival_s: Float) -> Calibrator:
        """Learn from predictions that did not see these outcomes."""
        scores, groups = raw.scores(arrival_s), group_of(raw.median_s)
        whole = conformal_quantiles(scores)
        shapes = []
        for group in range(len(GROUP_EDGES_MIN) + 1):
            own = scores[groups == group]
            weight = len(own) / (len(own) + GROUP_SHRINKAGE)
            shapes.append(weight * conformal_quantiles(own) + (1 - weight) * whole if len(own) else whole)
        return cls(np.stack(shapes))

    def forecast(self, raw: Raw, shift: Float | None = None) -> QuantileForecast:
        """Calibrated quantiles; ``shift`` (n, len(GRID)) or (len(GRID),) moves the shape by what was seen since."""
        z = self.shapes[group_of(raw.median_s)]
        if shift is not None:
            z = np.maximum.accumulate(z + shift, axis=1)
        scale = np.where(z >= 0, raw.above_s[:, None], raw.below_s[:, None])
        grid_s = np.maximum(raw.median_s[:, None] + z * scale, 0.0)
        return QuantileForecast(grid_s, np.maximum(raw.mean_s, 0.0))


def conformal_quantiles(scores: Float) -> Float:
    """Quantiles at GRID with the finite-sample step of split conformal prediction, outwards on both sides."""
    if not len(scores):
        return np.zeros(len(GRID))
    n, ordered = len(scores), np.sort(scores)
    upper = np.minimum(np.ceil(GRID * (n + 1)) - 1, n - 1)
    lower = np.maximum(np.floor(GRID * (n + 1)) - 1, 0)
    return ordered[np.where(GRID > 0.5, upper, lower).astype(np.int64)]
