"""From remaining stops to float32 vectors: the one place where a vector is put together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from features.itinerary import Itinerary
from features.keys import factorize
from features.moment import FEATURES, Feature
from features.online import OnlineRows
from features.priors import (
    PACE_SHRINKAGE,
    courier_prior,
    service_prior,
    shrunk,
    travel_prior,
    zero_if_unknown,
)
from features.views import KNOWN, LOOKUPS, VIEWS, View

Float = NDArray[np.float64]
FEATURE_NAMES = tuple(feature.name for feature in FEATURES)

#: A feed is missing for a row when this lookup finds nothing for it.
FEEDS = {"telemetry": "motion", "traffic": "to_traffic", "weather": "weather_now", "depot": "depot_state"}

#: Of a leg or door already under way, at least this share is still ahead.
SHARE_STILL_AHEAD = 0.15
DEPARTURE_SHRINKAGE = 3.0


class Read(Protocol):
    """Reads versions of a view as of an instant."""

    def __call__(self, view: View, ids: Sequence[str | None], as_of_us: int) -> OnlineRows: ...


@dataclass(frozen=True, slots=True)
class Vectors:
    """Feature vectors of remaining stops.

    matrix : (n, len(FEATURES)) float32
    base_s : (n,) float64, seconds to arrival by the causal prior
    ages_s : feed -> (n,) float64, age of its last message, NaN where it is missing
    zone_ids : zone of each stop; empty where calibration is not to look at it
    """

    stop_ids: list[str]
    route_ids: list[str | None]
    as_of_us: NDArray[np.int64]
    matrix: NDArray[np.float32]
    base_s: Float
    ages_s: dict[str, Float]
    zone_ids: list[str | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.stop_ids)

    @classmethod
    def concat(cls, parts: Sequence[Vectors]) -> Vectors:
        """Rows of several sets, one after the other."""
        return cls(
            [stop_id for part in parts for stop_id in part.stop_ids],
            [route_id for part in parts for route_id in part.route_ids],
            np.concatenate([part.as_of_us for part in parts]),
            np.concatenate([part.matrix for part in parts]),
            np.concatenate([part.base_s for part in parts]),
            {feed: np.concatenate([part.ages_s[feed] for part in parts]) for feed in FEEDS},
            [zone_id for part in parts for zone_id in part.zone_ids],
        )

    def take(self, rows: NDArray[np.int64]) -> Vectors:
        """Some of the rows."""
        return Vectors(
            [self.stop_ids[i] for i in rows],
            [self.route_ids[i] for i in rows],
            self.as_of_us[rows],
            self.matrix[rows],
            self.base_s[rows],
            {feed: age[rows] for feed, age in self.ages_s.items()},
            [self.zone_ids[i] for i in rows] if self.zone_ids else [],
        )


@cache
def feature_set_hash() -> str:
    """Changes when a vector's columns, or what they are made of, change their shape."""
    features = [[f.name, f.unit, list(f.inputs)] for f in FEATURES]
    views = [[view.name, view.schema_hash] for view in VIEWS]
    return hashlib.sha256(json.dumps([features, views]).encode()).hexdigest()[:16]


def assemble(
    itinerary: Itinerary, read: Read, as_of_us: int, rows: NDArray[np.int64] | None = None
) -> Vectors:
    """Vectors of remaining stops at an instant, or of some of their rows, with features read as of it."""
    return combine(itinerary, look_up(itinerary, read, as_of_us), rows)


def look_up(itinerary: Itinerary, read: Read, as_of_us: int) -> dict[str, NDArray[np.generic]]:
    """Every lookup's columns: ``alias__field`` float32 and ``alias__known_us`` float64, (n,) each."""
    found: dict[str, NDArray[np.generic]] = {}
    numbered = {key: factorize(keys) for key, keys in itinerary.keys.items()}
    for lookup in LOOKUPS:
        codes, ids = numbered[lookup.key]
        rows = read(lookup.view, ids, as_of_us)
        for column, name in enumerate(lookup.view.field_names):
            found[f"{lookup.alias}__{name}"] = rows.values[codes, column]
        known = np.where(rows.status == 0, rows.known_us, np.nan)
        found[f"{lookup.alias}__{KNOWN}"] = known[codes]
    return found


def combine(
    itinerary: Itinerary, found: Mapping[str, NDArray[np.generic]], rows: NDArray[np.int64] | None = None
) -> Vectors:
    """Vectors from an itinerary and its lookups' columns, retrieved live or point in time.

    rows : which rows to give, all by default; what lies before them is summed either way
    """
    columns = {name: values.astype(np.float64) for name, values in itinerary.numbers.items()}
    for name, values in found.items():
        if name.endswith(f"__{KNOWN}"):
            age = (itinerary.as_of_us - values.astype(np.float64)) / 1e6
            columns[name.removesuffix(KNOWN) + "age_s"] = age
        else:
            columns[name] = np.ascontiguousarray(values, dtype=np.float64)
    columns |= _expectations(itinerary, columns)
    if rows is not None:
        itinerary = itinerary.take(rows)
        columns = {name: values[rows] for name, values in columns.items()}
    matrix = np.empty((len(itinerary), len(FEATURES)), np.float32)
    for place, feature in enumerate(FEATURES):
        columns[feature.name] = matrix[:, place] = _bounded(feature, columns)
    return Vectors(
        itinerary.stop_ids,
        itinerary.route_ids,
        itinerary.as_of_us,
        matrix,
        columns["base_s"],
        {feed: columns[f"{alias}__age_s"] for feed, alias in FEEDS.items()},
        itinerary.keys["zone_id"],
    )


def _bounded(feature: Feature, columns: Mapping[str, Float]) -> Float:
    value = feature.compute(*(columns[name] for name in feature.inputs))
    return np.minimum(np.maximum(value, feature.low), feature.high)


def _expectations(itinerary: Itinerary, columns: Mapping[str, Float]) -> dict[str, Float]:
    """The causal prior of every remaining stop, its legs and doors summed along the route.

    Sums run over whole microseconds, so that they do not depend on what else is in the batch.
    """
    rank, in_phase_us = columns["rank"], columns["in_phase_s"] * 1e6
    phase = zero_if_unknown(columns["progress__phase"])
    courier_log_ratio = courier_prior(columns)
    leg_log_ratio = travel_prior(columns) + courier_log_ratio
    leg_us = columns["reference_us"] * np.exp(leg_log_ratio)
    service_us = columns["from_service_us"] * service_prior(columns)
    first = rank == 1
    leg_us = np.where(first & (phase == 1), _still_ahead(leg_us, in_phase_us), leg_us)
    service_us = np.where(first & (phase == 2), _still_ahead(service_us, in_phase_us), service_us)
    habit_s = shrunk(
        columns["departure_by_depot__mean"],
        columns["departure_by_depot__weight"],
        np.zeros_like(leg_us),
        DEPARTURE_SHRINKAGE,
    )
    wait_us = np.where(first & (phase == 0), np.maximum(columns["departure_in_s"] + habit_s, 0.0) * 1e6, 0.0)
    starts = np.flatnonzero(np.diff(itinerary.group, prepend=-1))
    travel = _along_route(leg_us, starts)
    service = _along_route(service_us, starts)
    base = travel + service + _along_route(wait_us, starts)
    pace = shrunk(columns["to_pace__mean"], columns["to_pace__weight"], np.zeros_like(leg_us), PACE_SHRINKAGE)
    jam_millionths = _along_route(zero_if_unknown(columns["to_traffic__jam"]) * 1e6, starts)
    known_jams = _along_route(np.isfinite(columns["to_traffic__jam"]).astype(np.float64), starts)
    metres = _along_route(zero_if_unknown(columns["leg_distance_m"]), starts).astype(np.float64)
    unknown_legs = _along_route(np.isnan(columns["leg_distance_m"]).astype(np.float64), starts)
    return {
        "leg_log_ratio": leg_log_ratio,
        "courier_log_ratio": courier_log_ratio,
        "travel_s": travel / 1e6,
        "service_s": service / 1e6,
        "base_s": base / 1e6,
        "reference_ahead_us": _along_route(columns["reference_us"], starts).astype(np.float64),
        "pace_us": _along_route(pace * leg_us, starts).astype(np.float64),
        "metres_ahead": np.where(unknown_legs > 0, np.nan, metres),
        "mean_jam": np.where(known_jams > 0, jam_millionths / 1e6 / np.maximum(known_jams, 1), np.nan),
    }


def _still_ahead(whole_us: Float, spent_us: Float) -> Float:
    return np.maximum(whole_us - spent_us, SHARE_STILL_AHEAD * whole_us)


def _along_route(values: Float, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Running sums of whole units within each group; groups begin at ``starts``."""
    total = np.cumsum(np.rint(values).astype(np.int64))
    before = np.where(starts > 0, total[starts - 1], 0)
    return total - np.repeat(before, np.diff(starts, append=len(values)))
