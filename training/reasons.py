"""Why a stop is late, in causes that a dispatcher understands.

Minutes already lost are taken from the route's slip, split by where they were lost. Minutes still expected are
what the median forecast changes by when a cause's features are set to their usual value, one cause at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from features.vectors import FEATURE_NAMES, Vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A cause: the features that speak of it, and the slip that it has already cost."""

    code: str
    features: tuple[str, ...]
    slip: str | None = None


CAUSES: tuple[Cause, ...] = (
    Cause(
        code="ROAD_CONDITIONS",
        slip="travel_slip_s",
        features=(
            "travel_slip_s",
            "route_pace",
            "route_pace_s",
            "origin_pace",
            "target_pace",
            "area_pace",
            "origin_jam",
            "target_jam",
            "target_jam_trend",
            "path_jam",
            "target_incidents",
        ),
    ),
    Cause(
        code="WEATHER",
        features=(
            "temperature_c",
            "rain_now_mm",
            "snow_now_cm",
            "wind_now_mps",
            "rain_then_mm",
            "wind_then_mps",
        ),
    ),
    Cause(code="SLOW_SERVICE", slip="service_slip_s", features=("service_slip_s", "route_service_pace")),
    Cause(
        code="DEPOT_DELAY",
        slip="depot_slip_s",
        features=("depot_slip_s", "depot_habit_s", "depot_ready_share", "depot_sort_delay_s"),
    ),
    Cause(code="VEHICLE_STOPPED", features=("vehicle_speed_mps", "vehicle_moving_share", "time_in_phase_s")),
    Cause(
        code="STALE_DATA", features=("telemetry_age_s", "traffic_age_s", "weather_age_s", "progress_age_s")
    ),
)
_PLACE = {name: place for place, name in enumerate(FEATURE_NAMES)}
#: Less than this is noise.
WORTH_SAYING_MIN = 0.5


@dataclass(frozen=True, slots=True)
class Reason:
    """A cause and the minutes that it costs."""

    code: str
    minutes: float


class Median(Protocol):
    """Says by how many seconds a stop's median is later than its causal prior."""

    def predict(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]: ...


def explain(median: Median, vectors: Vectors, reference: NDArray[np.float32]) -> list[list[Reason]]:
    """Causes of each row that cost time, dearest first."""
    n = len(vectors)
    if not n:
        return []
    variants = [vectors.matrix]
    for cause in CAUSES:
        places = [_PLACE[name] for name in cause.features]
        usual = vectors.matrix.copy()
        usual[:, places] = reference[places]
        variants.append(usual)
    predicted = median.predict(np.concatenate(variants)).reshape(len(variants), n)
    minutes = (predicted[0] - predicted[1:]) / 60.0
    for row, cause in enumerate(CAUSES):
        if cause.slip is not None:
            minutes[row] += np.nan_to_num(vectors.matrix[:, _PLACE[cause.slip]]) / 60.0
    return [_ranked(minutes[:, row]) for row in range(n)]


def _ranked(minutes: NDArray[np.float64]) -> list[Reason]:
    costs = [
        Reason(cause.code, round(float(cost), 1))
        for cause, cost in zip(CAUSES, minutes, strict=True)
        if cost >= WORTH_SAYING_MIN
    ]
    return sorted(costs, key=lambda reason: -reason.minutes)
