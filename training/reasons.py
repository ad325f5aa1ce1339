"""Why a stop is late, in causes that a dispatcher understands.

"Behind schedule" is a symptom, and is split. Minutes already lost are the route's slips by where they were lost: at the
depot, on the road, at doors, standing. Of each only what the route's habits do not explain counts.
Minutes still expected on the road are what the median forecast changes by when what is told of streets and weather is
set to its usual value; orders that the depot has not sorted yet, a vehicle that stands, and a plan that is tighter
than the fleet's habits are told in their own minutes. What the road costs belongs to the weather as far as the weather
is hard enough to explain it: traffic is slow in a storm, but it is the storm that a dispatcher wants to hear of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from features.vectors import FEATURE_NAMES, Vectors

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

ROADS = "ROAD_CONDITIONS"
WEATHER = "WEATHER"
SERVICE = "SLOW_SERVICE"
DEPOT = "DEPOT_DELAY"
STOPPED = "VEHICLE_STOPPED"
DENSE = "DENSE_ROUTE"
STALE = "STALE_DATA"
CAUSES = (ROADS, WEATHER, SERVICE, DEPOT, STOPPED, DENSE, STALE)

#: What is told of streets and weather; the median's answer to it is what is still expected.
CONDITIONS = (
    "route_pace",
    "route_pace_s",
    "origin_pace",
    "target_pace",
    "area_pace",
    "pace_ahead_s",
    "origin_jam",
    "target_jam",
    "target_jam_trend",
    "path_jam",
    "target_incidents",
    "temperature_c",
    "rain_now_mm",
    "snow_now_cm",
    "wind_now_mps",
    "rain_then_mm",
    "rain_before_mm",
    "wind_then_mps",
)
#: Ages of what is told; the median's answer to them is what not knowing costs.
AGES = ("telemetry_age_s", "traffic_age_s", "weather_age_s")
#: Below the first, rain explains nothing of a slow road, from the second on all of it; snow in cm an hour.
RAIN_MM, SNOW_CM = (1.5, 3.5), (0.2, 0.8)
#: Hard weather makes drives longer by the first share, and the second of what doors lose in it is its doing; a jam
#: (1 - speed / free flow) beyond the third is none of every day. Either lasts for about so long.
WET_ROADS, WET_DOORS, OPEN_JAM, SOON_S = 0.25, 0.5, 0.5, 5_400.0
#: A vehicle that stands in the middle of a drive, or at a door longer than ``HALT_AFTER_S``, has halted.
STANDING_MPS, STANDING_AFTER_S, HALT_AFTER_S = 0.5, 240.0, 1_500.0
#: How much longer a halt lasts, seen from within it.
HALT_LEFT_MIN = 15.0
#: Where time is lost, and the share of rows whose loss is nothing unusual.
SLIPS = ("depot_slip_s", "travel_slip_s", "service_slip_s")
SPARE = 0.8
#: Less than this is noise.
WORTH_SAYING_MIN = 0.5
_PLACE = {name: place for place, name in enumerate(FEATURE_NAMES)}


@dataclass(frozen=True, slots=True)
class Reason:
    """A cause and the minutes that it costs."""

    code: str
    minutes: float


@dataclass(frozen=True, slots=True)
class Usual:
    """What training rows had.

    middle : (len(FEATURES),) median of each feature, NaN where they never had it
    spare_min : slip -> minutes beyond its habit that four of five rows stay within
    """

    middle: Float32
    spare_min: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SLIPS, 0.0))

    @classmethod
    def of(cls, matrix: Float32) -> Usual:
        known = np.isfinite(matrix).any(axis=0)
        middle = np.full(matrix.shape[1], np.nan, np.float32)
        middle[known] = np.nanmedian(matrix[:, known], axis=0)
        out = _Rows(matrix[matrix[:, _PLACE["phase"]] > 0], cls(middle))
        if not len(out.matrix):
            return cls(middle)
        spare = {name: float(np.quantile(out.lost_min(name)[0], SPARE)) for name in SLIPS}
        return cls(middle, spare)


class Median(Protocol):
    """Says by how many seconds a stop's median is later than its causal prior."""

    def predict(self, matrix: Float32) -> Float: ...


def explain(median: Median, vectors: Vectors, usual: Usual) -> list[list[Reason]]:
    """Causes of each row that cost time, the most unusual first."""
    if not len(vectors):
        return []
    row = _Rows(vectors.matrix, usual)
    minutes, unusual = costs(row, *_expected_min(median, row))
    return [_ranked(minutes[:, place], unusual[:, place]) for place in range(len(vectors))]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Columns of the rows that are asked about, in the units of their features, unknown values as zero."""

    matrix: Float32
    usual: Usual

    def __getitem__(self, name: str) -> Float:
        return np.nan_to_num(self.matrix[:, _PLACE[name]].astype(np.float64))

    def lost_min(self, name: str) -> tuple[Float, float]:
        """Minutes of a slip beyond what the habits of its route explain, and how many are nothing unusual."""
        habit_min = _habit_s(self, name) / 60.0
        return np.maximum(self[name] / 60.0 - np.maximum(habit_min, 0.0), 0.0), self.usual.spare_min[name]

    def without(self, names: Sequence[str]) -> Float32:
        """The same rows with some features at their usual value."""
        places = [_PLACE[name] for name in names]
        matrix = self.matrix.copy()
        matrix[:, places] = self.usual.middle[places]
        return matrix


def _expected_min(median: Median, row: _Rows) -> tuple[Float, Float]:
    """Minutes that are still expected for conditions, and for not knowing them: (n,) each."""
    variants = [row.matrix, row.without(CONDITIONS), row.without(AGES)]
    asked, calm, fresh = median.predict(np.concatenate(variants)).reshape(3, -1)
    return (asked - calm) / 60.0, (asked - fresh) / 60.0


def costs(row: _Rows, conditions_min: Float, stale_min: Float) -> tuple[Float, Float]:
    """Minutes of each cause, and how far they are from what is usual: (len(CAUSES), n) each."""
    travel, travel_usual = row.lost_min("travel_slip_s")
    service, service_usual = row.lost_min("service_slip_s")
    depot, depot_usual = row.lost_min("depot_slip_s")
    so_far = _share_of_weather(row, "rain_now_mm", "rain_before_mm")
    ahead = _share_of_weather(row, "rain_now_mm", "rain_then_mm")
    expected = np.maximum(conditions_min, _foreseen_min(row, ahead))
    depot = np.where(row["phase"] == 0, np.maximum(row["depot_sort_delay_s"], 0.0) / 60.0, depot)
    beyond_travel = np.maximum(travel - travel_usual, 0.0)
    wet_doors = so_far * WET_DOORS * service
    stale = np.maximum(np.where(_unknown(row), stale_min, 0.0), 0.0)
    halts, dense = _halted_min(row), _dense_min(row)
    minutes = {
        ROADS: (1.0 - so_far) * travel + (1.0 - ahead) * expected,
        WEATHER: so_far * travel + ahead * expected + wet_doors,
        SERVICE: service - wet_doors,
        DEPOT: depot,
        STOPPED: halts,
        DENSE: dense,
        STALE: stale,
    }
    unusual = minutes | {
        ROADS: (1.0 - so_far) * beyond_travel + (1.0 - ahead) * expected,
        WEATHER: so_far * beyond_travel + ahead * expected + wet_doors,
        SERVICE: service - wet_doors - service_usual,
        DEPOT: depot - depot_usual,
        DENSE: np.minimum(dense, WORTH_SAYING_MIN),
    }
    return np.stack([minutes[code] for code in CAUSES]), np.stack([unusual[code] for code in CAUSES])


def _foreseen_min(row: _Rows, weather: Float) -> Float:
    """What hard weather and jams that have just begun will cost, before any drive has shown it."""
    soon_s = np.minimum(row["prior_travel_s"], SOON_S)
    slower = np.maximum(
        (1.0 - OPEN_JAM) / (1.0 - np.clip(row["path_jam"], OPEN_JAM, 0.9)) - 1.0, weather * WET_ROADS
    )
    return slower * soon_s / 60.0


def _share_of_weather(row: _Rows, *rain: str) -> Float:
    """Share of what the road costs that the weather explains."""
    rain_mm = np.max([row[name] for name in rain], axis=0)
    return np.maximum(_between(rain_mm, RAIN_MM), _between(row["snow_now_cm"], SNOW_CM))


def _between(value: Float, edges: tuple[float, float]) -> Float:
    return np.clip((value - edges[0]) / (edges[1] - edges[0]), 0.0, 1.0)


def _halted_min(row: _Rows) -> Float:
    """Minutes lost in halts so far, and in one that is under way."""
    phase, since_s = row["phase"], row["time_in_phase_s"]
    known = np.isfinite(row.matrix[:, _PLACE["vehicle_speed_mps"]])
    stands = known & (row["vehicle_speed_mps"] < STANDING_MPS) & (since_s > STANDING_AFTER_S)
    halted = (
        ((phase == 1) & stands) | ((phase == 2) & (since_s > HALT_AFTER_S)) | (row["vehicle_stopped"] > 0)
    )
    return row["halt_slip_s"] / 60.0 + np.where(halted, since_s / 60.0 + HALT_LEFT_MIN, 0.0)


def _habit_s(row: _Rows, name: str) -> Float:
    """What a route loses against its plan as routes always do: at depots, at its doors, on its roads."""
    if name == "depot_slip_s":
        return np.full(len(row.matrix), np.nan_to_num(row.usual.middle[_PLACE[name]]))
    if name == "service_slip_s":
        door_s = (row["prior_service_s"] + row["door_prior_s"]) / np.maximum(row["stops_ahead"], 1.0)
        return row["stops_visited"] * door_s * (1.0 - 1.0 / np.maximum(row["door_habit"], 0.2))
    drive_s = (row["prior_travel_s"] - row["reference_travel_s"]) / np.maximum(row["stops_ahead"], 1.0)
    return row["stops_visited"] * drive_s


def _dense_min(row: _Rows) -> Float:
    """By how much the plan of what is still ahead is tighter than the fleet's habits; it was so from the start."""
    planned = np.isfinite(row.matrix[:, _PLACE["plan_in_s"]])
    slip_s = sum(row[name] for name in ("depot_slip_s", "travel_slip_s", "service_slip_s", "halt_slip_s"))
    return np.where(planned, np.maximum(-row["plan_against_prior_s"] - slip_s, 0.0) / 60.0, 0.0)


def _unknown(row: _Rows) -> NDArray[np.bool_]:
    """Whether something that was told in training is not told."""
    places = [_PLACE[name] for name in AGES if np.isfinite(row.usual.middle[_PLACE[name]])]
    return np.asarray(np.isnan(row.matrix[:, places]).any(axis=1), np.bool_)


def _ranked(minutes: Float, unusual: Float) -> list[Reason]:
    """Causes worth saying; first what is furthest from usual."""
    order = np.argsort(-unusual, kind="stable")
    return [
        Reason(CAUSES[place], round(float(minutes[place]), 1))
        for place in order
        if minutes[place] >= WORTH_SAYING_MIN
    ]
