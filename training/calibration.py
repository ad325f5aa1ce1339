"""Calibration: what share of outcomes really lies below each quantile, learned out of fold and then online.

A booster's raw spread gives the scale; the shape is the empirical distribution of scaled errors, by horizon.
With the score ``z = (y - median) / (high - median)`` above the median and ``/ (median - low)`` below it, the
calibrated quantile at level t is ``median + z_t * scale``, the scale widened by what the zone's errors say:
conformalized quantile regression with a multiplicative
score (Romano, Patterson, Candes 2019; Sesia, Candes 2020), one-sided at every level, so that levels do not cross.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

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
#: A zone's own spread is drawn towards its horizon's by this many rows, and is never beyond these factors of it.
ZONE_SHRINKAGE = 150.0
SPREAD_BOUNDS = (0.4, 2.5)
SMALLEST_SPREAD = 0.05
#: The tracker hurries by the mean error of each level of late, which forgets at this rate.
HASTE = 6.0
ERROR_RATE = 0.02
_LOW, _HIGH = np.searchsorted(GRID, (0.1, 0.9))


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


@dataclass(frozen=True, slots=True)
class ZoneSpread:
    """How much wider than its horizon's the errors of each zone are.

    factors : zone -> (below, above) the median
    """

    factors: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def fit(cls, raw: Raw, arrival_s: Float, zone_ids: Sequence[str | None]) -> ZoneSpread:
        """Factors that put a tenth of a zone's errors beyond its 10 and 90 % quantiles, shrunk towards 1."""
        if not len(zone_ids):
            return cls()
        scores, shape = raw.scores(arrival_s), Calibrator.fit(raw, arrival_s).shapes[group_of(raw.median_s)]
        below = scores / np.minimum(shape[:, _LOW], -SMALLEST_SPREAD)
        above = scores / np.maximum(shape[:, _HIGH], SMALLEST_SPREAD)
        rows: dict[str, list[int]] = {}
        for row, zone_id in enumerate(zone_ids):
            if zone_id is not None:
                rows.setdefault(zone_id, []).append(row)
        return cls({zone_id: (_widening(below[at]), _widening(above[at])) for zone_id, at in rows.items()})

    def apply(self, raw: Raw, zone_ids: Sequence[str | None]) -> Raw:
        """The boosters' words with each zone's own spread; a zone that was never seen keeps what they say."""
        if not self.factors or not len(zone_ids):
            return raw
        factors = np.array([self.factors.get(zone_id or "", (1.0, 1.0)) for zone_id in zone_ids])
        return Raw(raw.median_s, raw.below_s * factors[:, 0], raw.above_s * factors[:, 1], raw.mean_s)


def _widening(reach: Float) -> float:
    """Factor of one zone's spread on one side from its errors in units of its horizon's quantile."""
    weight = len(reach) / (len(reach) + ZONE_SHRINKAGE)
    return float(np.clip(np.quantile(reach, 0.9), *SPREAD_BOUNDS) ** weight)


def conformal_quantiles(scores: Float) -> Float:
    """Quantiles at GRID with the finite-sample step of split conformal prediction, outwards on both sides."""
    if not len(scores):
        return np.zeros(len(GRID))
    n, ordered = len(scores), np.sort(scores)
    upper = np.minimum(np.ceil(GRID * (n + 1)) - 1, n - 1)
    lower = np.maximum(np.floor(GRID * (n + 1)) - 1, 0)
    return ordered[np.where(GRID > 0.5, upper, lower).astype(np.int64)]


@dataclass(slots=True)
class OnlineCalibrator:
    """Follows the scaled error as outcomes arrive: a quantile tracker for each level.

    ``shift += rate * width * (level - [z <= shape + shift])``, with the width of the shape's 80 % window, so that
    the pace does not hang on how sure of themselves the boosters are, is the proportional part of conformal PID control
    (Angelopoulos, Candes, Tibshirani 2023), the update of adaptive conformal inference (Gibbs, Candes 2021) made
    in the score instead of the level. Outcomes that become known at one instant are one lesson: a bus that reaches a
    stop settles every forecast that was made of it, and they all err together. A level that has erred for long moves
    faster, so that a large shift is caught up with and a calibrated stream is left in peace.
    """

    rate: float = 0.02
    seen: int = 0
    error: Float = field(default_factory=lambda: np.zeros(len(GRID)))
    shift: Float = field(default_factory=lambda: np.zeros(len(GRID)))

    def update(self, scores: Float | float, shapes: Float) -> None:
        """Learn from outcomes that became known together.

        Parameters
        ----------
        scores : (k,) scaled errors, NaN for a stop that was not reached
        shapes : (k, len(GRID)) that their forecasts were made with
        """
        scores, shapes = np.atleast_1d(scores), np.atleast_2d(shapes)
        reached = np.isfinite(scores)
        if not reached.any():
            return
        scores, shapes = scores[reached], shapes[reached]
        self.seen += 1
        width = (shapes[:, _HIGH] - shapes[:, _LOW]).mean()
        missed = GRID - (scores[:, None] <= shapes + self.shift).mean(axis=0)
        pace = self.rate * (1.0 + HASTE * np.abs(self.error))
        self.shift = self.shift + pace * width * missed
        self.error = self.error + ERROR_RATE * (missed - self.error)

    def dump(self) -> dict[str, Any]:
        return {
            "rate": self.rate,
            "seen": self.seen,
            "shift": self.shift.tolist(),
            "error": self.error.tolist(),
        }

    @classmethod
    def load(cls, state: dict[str, Any]) -> OnlineCalibrator:
        return cls(
            rate=state["rate"],
            seen=state["seen"],
            shift=np.array(state["shift"]),
            error=np.array(state["error"]),
        )


def replay_online(
    calibrator: Calibrator, raw: Raw, arrival_s: Float, as_of_us: Int, known_us: Int
) -> QuantileForecast:
    """Forecasts as they would have been live: each uses only outcomes that had been received by its instant."""
    online, scores, shapes = (
        OnlineCalibrator(),
        raw.scores(arrival_s),
        calibrator.shapes[group_of(raw.median_s)],
    )
    asked, learned = np.argsort(as_of_us, kind="stable"), np.argsort(known_us, kind="stable")
    starts = np.flatnonzero(np.diff(known_us[learned], prepend=-1))
    ends = np.append(starts[1:], len(learned))
    shifts, done = np.zeros((len(arrival_s), len(GRID))), 0
    for row in asked:
        while done < len(ends) and known_us[learned[starts[done]]] <= as_of_us[row]:
            together = learned[starts[done] : ends[done]]
            online.update(scores[together], shapes[together])
            done += 1
        shifts[row] = online.shift
    return calibrator.forecast(raw, shifts)
