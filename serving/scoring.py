"""From remaining stops to forecasts: the one path that the engine and the API both score by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from features.itinerary import Itinerary
from features.vectors import Read, Vectors, assemble
from serving.promises import DeliveryWindow, Promise
from serving.times import US

Float = NDArray[np.float64]
Int = NDArray[np.int64]
MEDIAN = 3


class QuantileForecast(Protocol):
    """Arrival of n stops, in seconds after ``as_of``: non-crossing quantiles, and their mean."""

    @property
    def quantiles_s(self) -> Float: ...
    @property
    def mean_s(self) -> Float: ...
    def window(self, coverage: float) -> tuple[Float, Float]: ...
    def late_probability(self, deadline_s: Float) -> Float: ...
    def expected_late_s(self, deadline_s: Float) -> Float: ...


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
    def forecast(self, vectors: Vectors) -> Any: ...
    def reasons(self, vectors: Vectors, rows: Sequence[int]) -> list[Any]: ...
    def missing_feeds(self, vectors: Vectors) -> list[list[str]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Forecasts of n stops at one instant, with what they were made from.

    rank : (n,) place among the remaining stops, 1 is the next
    quantiles_us : (n, 7) int64; mean_us, start_us, end_us : (n,) int64, microseconds since the epoch
    late_probability, expected_late_s : (n,) float64, NaN where nothing was promised
    """

    as_of_us: int
    coverage: float
    vectors: Vectors
    rank: Int
    promises: list[Promise | None]
    quantiles_us: Int
    mean_us: Int
    start_us: Int
    end_us: Int
    late_probability: Float
    expected_late_s: Float
    missing_feeds: list[list[str]]

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
        return DeliveryWindow(start_us=int(self.start_us[row]), end_us=int(self.end_us[row]))

    def risk(self, row: int) -> float | None:
        """Late probability of a row, None where nothing was promised."""
        return None if np.isnan(self.late_probability[row]) else float(self.late_probability[row])


def score(
    itinerary: Itinerary,
    read: Read,
    as_of_us: int,
    forecaster: Forecaster,
    promises: Mapping[str, Promise],
    coverage: float,
    rows: Int | None = None,
) -> Scores:
    """Forecast the stops of an itinerary, or some rows of it, with the risk against the first promise told."""
    vectors = assemble(itinerary, read, as_of_us, rows)
    forecast = forecaster.forecast(vectors)
    start_s, end_s = forecast.window(coverage)
    told = [promises.get(stop_id) for stop_id in vectors.stop_ids]
    late_probability, expected_late_s = _late(forecast, told, as_of_us)
    return Scores(
        as_of_us=as_of_us,
        coverage=coverage,
        vectors=vectors,
        rank=(itinerary.rank if rows is None else itinerary.rank[rows]).astype(np.int64),
        promises=told,
        quantiles_us=_instants(forecast.quantiles_s, as_of_us),
        mean_us=_instants(forecast.mean_s, as_of_us),
        start_us=_instants(start_s, as_of_us),
        end_us=_instants(end_s, as_of_us),
        late_probability=late_probability,
        expected_late_s=expected_late_s,
        missing_feeds=forecaster.missing_feeds(vectors),
    )


def _late(forecast: QuantileForecast, told: Sequence[Promise | None], as_of_us: int) -> tuple[Float, Float]:
    deadline_s = np.array([_deadline_s(promise, as_of_us) for promise in told], np.float64)
    unpromised = np.isnan(deadline_s)
    asked_s = np.where(unpromised, 0.0, deadline_s)
    probability = np.where(unpromised, np.nan, forecast.late_probability(asked_s))
    return probability, np.where(unpromised, np.nan, forecast.expected_late_s(asked_s))


def _deadline_s(promise: Promise | None, as_of_us: int) -> float:
    return float("nan") if promise is None else (promise.first.end_us - as_of_us) / US


def _instants(after_s: Float, as_of_us: int) -> Int:
    return as_of_us + np.rint(np.asarray(after_s, np.float64) * US).astype(np.int64)
