"""From remaining stops to forecasts: the one path that the engine and the API both score by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from features.itinerary import Itinerary
from features.vectors import Read, Vectors, assemble
from serving.decisions.promises import DeliveryWindow, Promise
from serving.engine.taught import UNTAUGHT, Taught
from serving.times import US
from training.calibration import Calibrator, Raw
from training.online import OnlineCalibrator, Stake

Float = NDArray[np.float64]
Int = NDArray[np.int64]
MEDIAN = 3


class Distribution(Protocol):
    """When n things happen, in seconds after ``as_of``: non-crossing quantiles, and their mean."""

    @property
    def quantiles_s(self) -> Float: ...
    @property
    def mean_s(self) -> Float: ...
    def window(self, coverage: float) -> tuple[Float, Float]: ...
    def late_probability(self, deadline_s: Float) -> Float: ...
    def expected_late_s(self, deadline_s: Float) -> Float: ...


class Forecast(Distribution, Protocol):
    """Arrival of n stops, with their completion, and what is kept of it to learn from the outcome."""

    @property
    def completion(self) -> Distribution: ...
    @property
    def raw(self) -> Raw: ...
    @property
    def told(self) -> Float | None: ...
    def stake(self, row: int) -> Stake: ...


class Reason(Protocol):
    """A cause of a forecast and what it adds to it."""

    @property
    def code(self) -> str: ...
    @property
    def minutes(self) -> float: ...


class Forecaster(Protocol):
    """A model that is ready to serve."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def calibrator(self) -> Calibrator: ...
    def forecast(self, vectors: Vectors, live: OnlineCalibrator | None = None) -> Any: ...
    def reasons(self, vectors: Vectors, rows: Sequence[int]) -> list[Any]: ...
    def missing_feeds(self, vectors: Vectors) -> list[list[str]]: ...
    def unfamiliar(self, vectors: Vectors) -> list[list[str]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Forecasts of n stops at one instant, with what they were made from.

    calibration : number of the state of the live calibration, 0 where nothing was learned since training
    rank : (n,) place among the remaining stops, 1 is the next
    forecast : as it left the model, in seconds after ``as_of_us``
    quantiles_us : (n, 7) int64; mean_us, start_us, end_us : (n,) int64, microseconds since the epoch
    told_start_us, told_end_us : (n,) int64, the window that a customer would be told
    completion_us : (n, 3) int64, its median and window
    late_probability, expected_late_s : (n,) float64, NaN where nothing was promised
    missing_feeds, unfamiliar : what each row lacks, and what of it is new to the fleet
    """

    as_of_us: int
    coverage: float
    calibration: int
    vectors: Vectors
    rank: Int
    promises: list[Promise | None]
    forecast: Forecast
    quantiles_us: Int
    mean_us: Int
    start_us: Int
    end_us: Int
    told_start_us: Int
    told_end_us: Int
    completion_us: Int
    late_probability: Float
    expected_late_s: Float
    missing_feeds: list[list[str]]
    unfamiliar: list[list[str]]

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def stop_ids(self) -> list[str]:
        return self.vectors.stop_ids

    @property
    def eta_us(self) -> Int:
        """The median."""
        return self.quantiles_us[:, MEDIAN]

    def window(self, row: int) -> DeliveryWindow:
        """The window that a customer would be told."""
        return DeliveryWindow(start_us=int(self.told_start_us[row]), end_us=int(self.told_end_us[row]))

    def shift(self, row: int) -> bytes:
        """What the live calibration moved a row by, float64; nothing where it had learned nothing."""
        told = self.forecast.told
        return b"" if told is None else told[row].tobytes()

    def risk(self, row: int) -> float | None:
        """Late probability of a row, None where nothing was promised."""
        return None if np.isnan(self.late_probability[row]) else float(self.late_probability[row])


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How forecasts are made: by which model, moved by what was learned since, with windows of what coverage.

    tails : chances of an arrival before and after the window that a customer is told; None for the forecast's own
    """

    forecaster: Forecaster
    coverage: float
    taught: Taught = UNTAUGHT
    tails: tuple[float, float] | None = None


def score(
    itinerary: Itinerary,
    read: Read,
    as_of_us: int,
    promises: Mapping[str, Promise],
    manner: Manner,
    rows: Int | None = None,
) -> Scores:
    """Forecast the stops of an itinerary, or some rows of it, with the risk against the first promise told."""
    vectors = assemble(itinerary, read, as_of_us, rows)
    rank = (itinerary.rank if rows is None else itinerary.rank[rows]).astype(np.int64)
    return scores_of(vectors, rank, [promises.get(stop_id) for stop_id in vectors.stop_ids], as_of_us, manner)


def scores_of(
    vectors: Vectors, rank: Int, promises: list[Promise | None], as_of_us: int, manner: Manner
) -> Scores:
    """Forecasts from vectors: all that a forecast is made of is in the arguments."""
    forecast: Forecast = manner.forecaster.forecast(vectors, manner.taught.live)
    start_s, end_s = forecast.window(manner.coverage)
    told_start_s, told_end_s = start_s, end_s
    if manner.tails is not None:
        told_start_s, told_end_s = (forecast.window(1.0 - 2.0 * manner.tails[side])[side] for side in (0, 1))
    late_probability, expected_late_s = _late(forecast, promises, as_of_us)
    left = forecast.completion
    completion_s = np.column_stack([left.quantiles_s[:, MEDIAN], *left.window(manner.coverage)])
    return Scores(
        as_of_us=as_of_us,
        coverage=manner.coverage,
        calibration=manner.taught.number,
        vectors=vectors,
        rank=rank,
        promises=promises,
        forecast=forecast,
        quantiles_us=_instants(forecast.quantiles_s, as_of_us),
        mean_us=_instants(forecast.mean_s, as_of_us),
        start_us=_instants(start_s, as_of_us),
        end_us=_instants(end_s, as_of_us),
        told_start_us=_instants(told_start_s, as_of_us),
        told_end_us=_instants(told_end_s, as_of_us),
        completion_us=_instants(completion_s, as_of_us),
        late_probability=late_probability,
        expected_late_s=expected_late_s,
        missing_feeds=manner.forecaster.missing_feeds(vectors),
        unfamiliar=manner.forecaster.unfamiliar(vectors),
    )


def _late(forecast: Distribution, told: Sequence[Promise | None], as_of_us: int) -> tuple[Float, Float]:
    deadline_s = np.array([_deadline_s(promise, as_of_us) for promise in told], np.float64)
    unpromised = np.isnan(deadline_s)
    asked_s = np.where(unpromised, 0.0, deadline_s)
    probability = np.where(unpromised, np.nan, forecast.late_probability(asked_s))
    return probability, np.where(unpromised, np.nan, forecast.expected_late_s(asked_s))


def _deadline_s(promise: Promise | None, as_of_us: int) -> float:
    return float("nan") if promise is None else (promise.first.end_us - as_of_us) / US


def _instants(after_s: Float, as_of_us: int) -> Int:
    return as_of_us + np.rint(np.asarray(after_s, np.float64) * US).astype(np.int64)
