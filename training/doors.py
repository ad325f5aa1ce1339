"""When a stop is left again: its arrival, and the time at its door.

A small booster tells the median of ln(door / prior); what doors vary by is added to the spread of the arrival, and
the shapes of the completion's own errors are learned out of fold, like those of the arrival. A set whose outcomes do
not say when a stop was completed has no doors: there, completion is arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.vectors import FEATURE_NAMES
from training.boosters import BoosterSettings, Predictor, fit, run_side_by_side
from training.calibration import Calibrator, Raw
from training.dataset import Dataset
from training.quantiles import QuantileForecast

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

#: The size of the booster.
TREES, LEAVES = 60, 15
#: Fewer completions than this teach no doors.
FEWEST = 200
SHORTEST_S = 1.0
DOOR = "door"
_PRIOR_AT = FEATURE_NAMES.index("door_prior_s")


@dataclass(frozen=True, slots=True)
class DoorTimes:
    """How long a door takes, beside its median: shares of it.

    low, high : the 10 and 90 % quantiles; mean : of the door
    """

    low: float
    high: float
    mean: float

    @classmethod
    def of(cls, door_s: Float, median_s: Float) -> DoorTimes:
        share = door_s / median_s
        low, high = np.quantile(share, (0.1, 0.9))
        return cls(float(low), float(high), float(share.mean()))

    def after(self, arrival: Raw, door_s: Float) -> Raw:
        """The completion's median and spread from the arrival's, as if their errors were independent."""
        return Raw(
            arrival.median_s + door_s,
            np.hypot(arrival.below_s, (1.0 - min(self.low, 1.0)) * door_s),
            np.hypot(arrival.above_s, (max(self.high, 1.0) - 1.0) * door_s),
            arrival.mean_s + self.mean * door_s,
        )


@dataclass(frozen=True, slots=True)
class Doors:
    """What turns arrivals into completions."""

    predictor: Predictor
    times: DoorTimes
    calibrator: Calibrator

    def median_s(self, matrix: Float32) -> Float:
        return median_s(self.predictor, matrix)

    def completion(
        self, arrival: QuantileForecast, raw: Raw, matrix: Float32, shift: Float | None
    ) -> QuantileForecast:
        """Distribution of the completion; at no level before the arrival."""
        forecast = self.calibrator.forecast(self.times.after(raw, self.median_s(matrix)), shift)
        return replace(
            forecast,
            grid_s=np.maximum(forecast.grid_s, arrival.grid_s),
            mean_s=np.maximum(forecast.mean_s, arrival.mean_s),
        )

    def to_json(self) -> dict[str, Any]:
        """All but the booster."""
        times = {"low": self.times.low, "high": self.times.high, "mean": self.times.mean}
        return {"times": times, "shapes": self.calibrator.shapes.tolist()}

    @classmethod
    def load(cls, predictor: Predictor, told: Mapping[str, Any]) -> Doors:
        return cls(predictor, DoorTimes(**told["times"]), Calibrator(np.array(told["shapes"])))


def median_s(predictor: Predictor, matrix: Float32) -> Float:
    """Median time at the door: (n,) seconds."""
    return prior_s(matrix) * np.exp(np.clip(predictor.predict(matrix), -3.0, 3.0))


def prior_s(matrix: Float32) -> Float:
    return np.maximum(matrix[:, _PRIOR_AT].astype(np.float64), SHORTEST_S)


def door_s(rows: Dataset) -> Float:
    """Time at the door of each row: (n,), NaN where it is not known."""
    return np.where(rows.completion_s > rows.arrival_s, rows.completion_s - rows.arrival_s, np.nan)


def learn(rows: Dataset, settings: BoosterSettings) -> Predictor:
    """The booster, from rows whose door is known."""
    taken_s = door_s(rows)
    known = np.isfinite(taken_s)
    matrix = rows.vectors.matrix[known]
    label = np.log(np.maximum(taken_s[known], SHORTEST_S) / prior_s(matrix))
    small = replace(settings, trees=min(settings.trees, TREES), leaves=min(settings.leaves, LEAVES))
    return Predictor(fit("median", matrix, label, small))


def fit_doors(rows: Dataset, fold: NDArray[np.int64], raw: Raw, settings: BoosterSettings) -> Doors | None:
    """Doors from rows and their arrivals' out-of-fold predictions; None where completions are not told."""
    taken_s = door_s(rows)
    known = np.isfinite(taken_s)
    if known.sum() < FEWEST:
        return None
    held = [fold == k for k in range(int(fold.max()) + 1)]
    jobs: list[Callable[[], Any]] = [partial(_held_out_s, rows, each, settings) for each in held]
    *said_s, predictor = run_side_by_side([*jobs, partial(learn, rows, settings)])
    expected_s = np.zeros(len(rows))
    for each, of_fold_s in zip(held, said_s, strict=True):
        expected_s[each] = of_fold_s
    times = DoorTimes.of(taken_s[known], expected_s[known])
    after = times.after(raw, expected_s).take(np.flatnonzero(known))
    return Doors(predictor, times, Calibrator.fit(after, rows.completion_s[known]))


def _held_out_s(rows: Dataset, held: NDArray[np.bool_], settings: BoosterSettings) -> Float:
    """Median times at the door of rows that their booster did not see."""
    return median_s(learn(rows.where(~held), settings), rows.vectors.matrix[held])
