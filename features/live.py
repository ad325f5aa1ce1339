"""The state of every view, and how records move it.

One fold, whatever the size of its batches: a backfill is one large batch, live work many small ones. Records
are folded in log order within each view; views read each other only as they stood before a record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from data_contracts.record import Record
from features.history import Bucketed, RollingSums, factorize, fading_mean, newest, weights
from features.observations import LOG_UNIT, Observation, area_valid_hour_key
from features.online import NOT_KNOWN_US, OnlineRows, Status, Versions
from features.priors import travel_prior
from features.route_book import RouteBook
from features.views import (
    DEPOT_STATE,
    ROLLING_MEANS,
    ROUTE_PROGRESS,
    VEHICLE_MOTION,
    VIEWS,
    WEATHER_NOW,
    WEATHER_THEN,
    ZONE_TRAFFIC,
    RollingMean,
    View,
)

Int = NDArray[np.int64]
Float = NDArray[np.float64]
MINUTE_US = 60_000_000
MOVING_MPS = 0.7
STALE_PING_US = 5 * MINUTE_US
MILLIONTH = 1e-6
#: A drive further from its prior than this teaches no more: millionths of ln(actual / prior).
LARGEST_PACE = 1_000_000
#: Tables that shape routes; the observed ones are feeds.
STRUCTURE = ("routes", "stops", "stop_events")
OBSERVED_TABLES = ("pings", "traffic", "weather", "depots")


@dataclass(slots=True)
class Advance:
    """What a batch of records changed."""

    publications: list[Versions] = field(default_factory=list)
    touched: list[tuple[str, ...]] = field(default_factory=list)
    state: list[tuple[str, str, bytes]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest version of one entity."""

    known_us: int
    created_us: int
    values: tuple[float, ...]


@dataclass(slots=True)
class ProgressLog:
    """What each stop event made of its route's progress."""

    route_ids: list[str] = field(default_factory=list)
    values: list[tuple[float, ...]] = field(default_factory=list)
    version: list[tuple[int, int]] = field(default_factory=list)

    def add(self, book: RouteBook, route_id: str, record: Record) -> None:
        """Note a route that this record has moved on."""
        route = book.route(route_id)
        if route is None or route.progress.known_us != record.received_us:
            return
        done = route.progress
        self.route_ids.append(route_id)
        self.version.append((record.received_us, record.seq))
        self.values.append(
            (
                done.phase,
                done.lag_us / 1e6,
                len(done.visited),
                done.depot_slip_us / 1e6,
                done.travel_slip_us / 1e6,
                done.service_slip_us / 1e6,
            )
        )

    def versions(self) -> list[Versions]:
        """The progress view's versions; none where nothing happened."""
        if not self.route_ids:
            return []
        version = np.array(self.version, np.int64)
        return [
            Versions(
                view=ROUTE_PROGRESS,
                ids=self.route_ids,
                values=np.array(self.values, np.float64).astype(np.float32),
                known_us=version[:, 0],
                created_us=version[:, 1],
            )
        ]


Columns = Mapping[str, Any]


class LiveFeatures:
    """Every view's state, and the routes it follows."""

    def __init__(self, book: RouteBook | None = None) -> None:
        self.book = book or RouteBook()
        self.latest: dict[str, dict[str, Latest]] = {view.name: {} for view in VIEWS}
        self._means = {
            mean.view.name: RollingSums(_microseconds(mean.width), mean.count) for mean in ROLLING_MEANS
        }
        self._speed = RollingSums(MINUTE_US, 5)
        self._moving = RollingSums(MINUTE_US, 15)
        self._jam = RollingSums(5 * MINUTE_US, 12)
        self._happened: dict[str, dict[str, int]] = {
            view.name: {} for view in (VEHICLE_MOTION, ZONE_TRAFFIC, WEATHER_NOW, WEATHER_THEN, DEPOT_STATE)
        }

    def advance(self, records: Sequence[Record]) -> Advance:
        """Fold records in log order."""
        result = Advance()
        observations: list[Observation] = []
        progressed = ProgressLog()
        rows: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            if record.type in OBSERVED_TABLES:
                rows[record.type].append(record)
            touched, learned = self.book.apply(record)
            observations += learned
            result.touched.append(touched)
            if touched and record.type in STRUCTURE:
                progressed.add(self.book, touched[0], record)
        result.publications += self._learn(observations)
        result.publications += progressed.versions()
        for table in OBSERVED_TABLES:
            if table in rows:
                result.publications += self._observe(table, _columns(rows[table]))
        changed = self._remember(result.publications)
        result.state = [(name, key, self._dump(name, key)) for name, key in changed]
        return result

    def absorb(
        self, observations: Sequence[Observation], progressed: ProgressLog, feeds: Mapping[str, Columns]
    ) -> list[Versions]:
        """Fold a whole history at once, given what its stop events taught and its feeds as columns."""
        publications = self._learn(observations) + progressed.versions()
        for table in OBSERVED_TABLES:
            if table in feeds:
                publications += self._observe(table, feeds[table])
        self._remember(publications)
        return publications

    def _learn(self, observations: Sequence[Observation]) -> list[Versions]:
        by_kind: dict[str, list[Observation]] = defaultdict(list)
        for observation in observations:
            by_kind[observation.kind].append(observation)
        publications: list[Versions] = []
        drives = by_kind.get("travel", [])
        if drives:
            before: dict[str, Float] = {}
            for mean in _means_of("travel"):
                publications += self._advance_mean(mean, drives, [o.value for o in drives], before)
            expected = np.rint(travel_prior(before) / LOG_UNIT).astype(np.int64)
            drove = np.array([o.value for o in drives], np.int64)
            pace = np.clip(drove - expected, -LARGEST_PACE, LARGEST_PACE).tolist()
            for kind, values in (("pace", pace), ("spread", [abs(value) for value in pace])):
                for mean in _means_of(kind):
                    publications += self._advance_mean(mean, drives, values, {})
        for kind in ("service", "departure"):
            learned = by_kind.get(kind, [])
            for mean in _means_of(kind) if learned else ():
                publications += self._advance_mean(mean, learned, [o.value for o in learned], {})
        return publications

    def _advance_mean(
        self,
        mean: RollingMean,
        observations: Sequence[Observation],
        values: Sequence[int],
        before: dict[str, Float],
    ) -> list[Versions]:
        """Move one rolling mean; ``before`` receives what each found, weight 0 without a key."""
        name = mean.view.name
        before |= {f"{name}__{suffix}": np.zeros(len(observations)) for suffix in ("mean", "weight")}
        at = [i for i, o in enumerate(observations) if mean.key in o.keys]
        if not at:
            return []
        keys = [observations[i].keys[mean.key] for i in at]
        received = np.array([observations[i].received_us for i in at], np.int64)
        found = self._means[name].advance(keys, received, np.array([values[i] for i in at], np.int64))
        fade = weights(mean.count, mean.half_life)
        found_mean, found_weight = fading_mean(found.before_sums, found.before_counts, fade, MILLIONTH)
        before[f"{name}__mean"][at] = found_mean.astype(np.float32)
        before[f"{name}__weight"][at] = found_weight.astype(np.float32)
        after = np.stack(fading_mean(found.sums, found.counts, fade, MILLIONTH), axis=1)
        created = np.array([observations[i].seq for i in at], np.int64)
        rows = _last_of_record(keys, created)
        return [
            Versions(
                view=mean.view,
                ids=[keys[i] for i in rows],
                values=after[rows].astype(np.float32),
                known_us=received[rows],
                created_us=created[rows],
            )
        ]

    def _observe(self, table: str, columns: Columns) -> list[Versions]:
        """Fold rows of a feed, as columns in log order: keys as lists, times int64, numbers float64."""
        publications = {
            "pings": self._observe_pings,
            "traffic": self._observe_traffic,
            "weather": self._observe_weather,
            "depots": self._observe_depots,
        }[table](columns)
        return [publication for publication in publications if len(publication.ids)]

    def _observe_pings(self, rows: Columns) -> list[Versions]:
        rows = _select(rows, rows["received_at"] - rows["occurred_at"] <= STALE_PING_US)
        rows = _select(
            rows, newest(rows["vehicle_id"], rows["occurred_at"], self._happened[VEHICLE_MOTION.name])
        )
        ids = rows["vehicle_id"]
        speed = np.nan_to_num(rows["speed_mps"])
        received_us, numbered = rows["received_at"], factorize(ids)
        speed_mmps, moved = np.rint(speed * 1000).astype(np.int64), (speed > MOVING_MPS).astype(np.int64)
        mean_mmps = _mean(self._speed.advance_totals(*numbered, received_us, speed_mmps), 0.001)
        share = _mean(self._moving.advance_totals(*numbered, received_us, moved), 1.0)
        lag_s = (rows["received_at"] - rows["occurred_at"]) / 1e6
        values = np.stack([rows["lat"], rows["lon"], lag_s, mean_mmps, share], axis=1)
        return [_versions(VEHICLE_MOTION, ids, values, rows)]

    def _observe_traffic(self, rows: Columns) -> list[Versions]:
        rows = _select(rows, newest(rows["zone_id"], rows["occurred_at"], self._happened[ZONE_TRAFFIC.name]))
        ids = rows["zone_id"]
        jam = np.clip(1.0 - rows["speed_mps"] / rows["free_flow_mps"], -1.0, 1.0)
        millionths = np.rint(jam / MILLIONTH).astype(np.int64)
        jams = self._jam.advance_totals(*factorize(ids), rows["received_at"], millionths)
        hour = _mean(jams, MILLIONTH)
        values = np.stack([jam, hour, rows["incidents"]], axis=1)
        return [_versions(ZONE_TRAFFIC, ids, values, rows)]

    def _observe_weather(self, rows: Columns) -> list[Versions]:
        seen = _select(rows, np.array([kind == "observed" for kind in rows["kind"]], np.bool_))
        seen = _select(seen, newest(seen["area_id"], seen["valid_at"], self._happened[WEATHER_NOW.name]))
        hours = [
            area_valid_hour_key(a, int(t)) for a, t in zip(rows["area_id"], rows["valid_at"], strict=True)
        ]
        rows = {**rows, "area_valid_hour": hours}
        rows = _select(rows, newest(hours, rows["issued_at"], self._happened[WEATHER_THEN.name]))
        return [
            _versions(WEATHER_NOW, seen["area_id"], _fields(WEATHER_NOW, seen), seen),
            _versions(WEATHER_THEN, rows["area_valid_hour"], _fields(WEATHER_THEN, rows), rows),
        ]

    def _observe_depots(self, rows: Columns) -> list[Versions]:
        rows = _select(rows, newest(rows["depot_id"], rows["occurred_at"], self._happened[DEPOT_STATE.name]))
        values = np.stack([rows["parcels_ready_share"], rows["sort_delay_s"]], axis=1)
        return [_versions(DEPOT_STATE, rows["depot_id"], values, rows)]

    def _remember(self, publications: Sequence[Versions]) -> list[tuple[str, str]]:
        """Keep the newest version of each entity; give the entities that changed."""
        changed: dict[tuple[str, str], None] = {}
        for publication in publications:
            name, rows = publication.view.name, self.latest[publication.view.name]
            newest_rows = dict(zip(publication.ids, range(len(publication.ids)), strict=True))
            last = np.fromiter(newest_rows.values(), np.int64, len(newest_rows))
            for key, known_us, created_us, values in zip(
                newest_rows,
                publication.known_us[last].tolist(),
                publication.created_us[last].tolist(),
                publication.values[last].tolist(),
                strict=True,
            ):
                rows[key] = Latest(known_us, created_us, tuple(values))
                changed[name, key] = None
        return list(changed)

    def dump(self) -> Iterable[tuple[str, str, bytes]]:
        """The whole state, a row for each view and key."""
        for name, rows in self.latest.items():
            for key in rows:
                yield name, key, self._dump(name, key)

    def read(self, view: View, ids: Sequence[str | None], as_of_us: int) -> OnlineRows:
        """What is known of some entities at an instant; the same answer as the online store's."""
        ttl_us = _microseconds(view.ttl)
        rows = self.latest[view.name]
        found = [rows.get(key) if key is not None else None for key in ids]
        status = np.array([_status(row, as_of_us, ttl_us) for row in found], np.int8)
        values = np.full((len(ids), len(view.fields)), np.nan, np.float32)
        known_us = np.full(len(ids), NOT_KNOWN_US, np.int64)
        for i, row in enumerate(found):
            if row is not None and status[i] == Status.PRESENT:
                values[i], known_us[i] = row.values, row.known_us
        return OnlineRows(values=values, known_us=known_us, status=status)

    def _rings(self, name: str) -> tuple[RollingSums, ...]:
        if name in self._means:
            return (self._means[name],)
        return {VEHICLE_MOTION.name: (self._speed, self._moving), ZONE_TRAFFIC.name: (self._jam,)}.get(
            name, ()
        )

    def _dump(self, name: str, key: str) -> bytes:
        latest = self.latest[name][key]
        values = [None if value != value else value for value in latest.values]
        rings = [tuple(kept) if (kept := ring.state.get(key)) else None for ring in self._rings(name)]
        happened = self._happened.get(name, {}).get(key)
        return orjson.dumps([latest.known_us, latest.created_us, values, rings, happened])

    def restore(self, rows: Iterable[tuple[str, str, bytes]]) -> None:
        """Take up state that ``dump`` or ``advance`` gave."""
        for name, key, body in rows:
            known, created, values, rings, happened = orjson.loads(body)
            exact = tuple(float("nan") if value is None else value for value in values)
            self.latest[name][key] = Latest(known, created, exact)
            for ring, kept in zip(self._rings(name), rings, strict=True):
                if kept is not None:
                    ring.state[key] = Bucketed(kept[0], tuple(kept[1]), tuple(kept[2]))
            if happened is not None:
                self._happened[name][key] = happened


def _mean(totals: tuple[Int, Int], unit: float) -> Float:
    """Plain mean of whole sums; a row's own observation is always in it."""
    sums, counts = totals
    return np.divide(sums, counts) * unit


def _means_of(observation: str) -> list[RollingMean]:
    return [mean for mean in ROLLING_MEANS if mean.observation == observation]


def _last_of_record(keys: Sequence[str], created: Int) -> Int:
    """Rows to publish: a record may teach several things of a key, and makes one version of it."""
    if (np.diff(created) > 0).all():
        return np.arange(len(keys))
    last = {version: row for row, version in enumerate(zip(keys, created.tolist(), strict=True))}
    return np.array(sorted(last.values()), np.int64)


def _status(row: Latest | None, as_of_us: int, ttl_us: int) -> Status:
    if row is None:
        return Status.MISSING
    if row.known_us > as_of_us:
        return Status.FUTURE
    return Status.EXPIRED if as_of_us - row.known_us > ttl_us else Status.PRESENT


def _fields(view: View, rows: Columns) -> NDArray[Any]:
    return np.stack([rows[name] for name in view.field_names], axis=1)


def _versions(view: View, ids: Sequence[str], values: NDArray[Any], rows: Columns) -> Versions:
    return Versions(
        view=view,
        ids=ids,
        values=values.astype(np.float32),
        known_us=rows["received_at"],
        created_us=rows["seq"],
    )


def _columns(records: Sequence[Record]) -> dict[str, Any]:
    """Columns of records of one table: strings as lists, times as int64, numbers as float64."""
    names = FEED_COLUMNS[records[0].type]
    columns: dict[str, Any] = {"seq": np.array([record.seq for record in records], np.int64)}
    columns["received_at"] = np.array([record.received_us for record in records], np.int64)
    for name, dtype in names.items():
        values = [record.body.get(name) for record in records]
        columns[name] = values if dtype is str else np.array(values, dtype)
    return columns


#: What the feeds' folds read: strings stay lists, times are int64, numbers float64 (NaN where missing).
FEED_COLUMNS: dict[str, dict[str, type]] = {
    "pings": {
        "vehicle_id": str,
        "occurred_at": np.int64,
        "lat": np.float64,
        "lon": np.float64,
        "speed_mps": np.float64,
    },
    "traffic": {
        "zone_id": str,
        "occurred_at": np.int64,
        "speed_mps": np.float64,
        "free_flow_mps": np.float64,
        "incidents": np.float64,
    },
    "weather": {
        "area_id": str,
        "kind": str,
        "valid_at": np.int64,
        "issued_at": np.int64,
        "temperature_c": np.float64,
        "precipitation_mm": np.float64,
        "snow_cm": np.float64,
        "wind_mps": np.float64,
    },
    "depots": {
        "depot_id": str,
        "occurred_at": np.int64,
        "parcels_ready_share": np.float64,
        "sort_delay_s": np.float64,
    },
}


def _select(rows: Columns, keep: NDArray[np.bool_]) -> dict[str, Any]:
    if keep.all():
        return dict(rows)
    flags = keep.tolist()
    return {
        name: column[keep]
        if isinstance(column, np.ndarray)
        else [v for v, k in zip(column, flags, strict=True) if k]
        for name, column in rows.items()
    }


def _microseconds(span: Any) -> int:
    return round(span.total_seconds() * 1e6)
