"""Small things to test with: builders name only what matters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_contracts.record import Record
from data_contracts.tables import TABLES
from features.backfill import in_log_order
from features.observations import Observation
from features.online import Versions
from features.route_book import RouteBook
from features.routes import Route
from features.vectors import FEATURE_NAMES, FEEDS, Vectors
from features.views import VIEWS
from training.dataset import BEFORE_DEPARTURE, HORIZON_NAMES, Dataset

Float = NDArray[np.float64]

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
#: Monday, 2 March 2026, 08:00 UTC.
START_US = 1_772_438_400 * SECOND_US
#: The same Monday at noon, when promised routes leave.
NOON_US = START_US + 4 * HOUR_US

#: A row of a canonical table: its table, and its columns with times as microseconds.
Row = tuple[str, dict[str, Any]]


# --- a route and what is heard of it ----------------------------------------------------------------------


def make_route(route_id: str = "R-1", **columns: Any) -> dict[str, Any]:
    """A route of depot D-1 that plans to leave at 08:00 UTC."""
    return {
        "route_id": route_id,
        "vehicle_id": f"V-{route_id}",
        "courier_id": "C-1",
        "depot_id": "D-1",
        "area_id": "A",
        "origin_zone_id": "Z-0",
        "timezone": "UTC",
        "service_date": "2026-03-02",
        "planned_departure_at": START_US,
    } | columns


def make_stop(sequence: int, route_id: str = "R-1", **columns: Any) -> dict[str, Any]:
    """The ``sequence``-th stop of a route: ten minutes' drive and two minutes at the door each."""
    return {
        "stop_id": f"{route_id}-S{sequence}",
        "route_id": route_id,
        "plan_version": 1,
        "sequence": sequence,
        "zone_id": f"Z-{sequence}",
        "site_id": f"site-{sequence}",
        "planned_arrival_at": START_US + (12 * sequence - 2) * MINUTE_US,
        "planned_travel_s": 600.0,
        "planned_service_s": 120.0,
    } | columns


def promised_route(route_id: str, stops: int, *, start_us: int = NOON_US, leg_s: float = 600.0) -> list[Row]:
    """A route without depot or courier, whose stops are each promised from 5 minutes before their plan to 15 after."""
    route = make_route(route_id, planned_departure_at=start_us)
    rows: list[Row] = [("routes", {k: v for k, v in route.items() if k not in ("courier_id", "depot_id")})]
    for sequence in range(1, stops + 1):
        planned_us = start_us + int(sequence * (leg_s + 120) * SECOND_US)
        stop = make_stop(
            sequence,
            route_id,
            planned_arrival_at=planned_us,
            planned_travel_s=leg_s,
            promised_start_at=planned_us - 5 * MINUTE_US,
            promised_end_at=planned_us + 15 * MINUTE_US,
        )
        rows.append(("stops", {k: v for k, v in stop.items() if k != "site_id"}))
    return rows


class Told:
    """A route book, and the messages that it hears one after the other. Minutes count from 08:00."""

    def __init__(self, *, stops: int = 3, **route: Any) -> None:
        self.book, self._seq = RouteBook(), 0
        self.tell("routes", make_route(**route), minute=-60)
        for sequence in range(1, stops + 1):
            self.tell("stops", make_stop(sequence), minute=-60)

    def tell(self, table: str, body: Mapping[str, Any], minute: float) -> Sequence[Observation]:
        self._seq += 1
        return self.book.apply(Record(self._seq, at(minute), table, body))[1]

    def hears(
        self, kind: str, stop: int | None = None, *, minute: float, known: float | None = None, **columns: Any
    ) -> Sequence[Observation]:
        """Hear of one stop event that happened at ``minute``, at once or at the minute ``known``."""
        body = {
            "route_id": "R-1",
            "stop_id": stop and f"R-1-S{stop}",
            "kind": kind,
            "occurred_at": at(minute),
        }
        return self.tell("stop_events", body | columns, minute if known is None else known)

    @property
    def route(self) -> Route:
        route = self.book.route("R-1")
        assert route is not None
        return route

    @property
    def remaining(self) -> list[int]:
        """Numbers of the remaining stops, in their order."""
        return [int(stop.stop_id.removeprefix("R-1-S")) for stop in self.route.remaining()]


def at(minute: float) -> int:
    """Microseconds since the epoch of a minute after 08:00."""
    return START_US + round(minute * MINUTE_US)


# --- logs -------------------------------------------------------------------------------------------------


def make_tables(rows: Iterable[Row]) -> dict[str, pl.DataFrame]:
    """Canonical tables from rows that name only what matters; ids are made where a row has none."""
    by_table: dict[str, list[dict[str, Any]]] = {}
    for number, (name, columns) in enumerate(rows):
        filled = {column: columns.get(column) for column in TABLES[name].names}
        filled["event_id"] = columns.get("event_id", f"{name}-{number:06d}")
        by_table.setdefault(name, []).append(filled)
    return {name: _frame(name, table_rows) for name, table_rows in by_table.items()}


def _frame(name: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    empty = pl.from_arrow(TABLES[name].arrow_schema().empty_table())
    assert isinstance(empty, pl.DataFrame)
    as_told = {column: pl.Int64 if dtype == pl.Datetime else dtype for column, dtype in empty.schema.items()}
    return pl.DataFrame(rows, schema=as_told).cast(dict(empty.schema))


def every_record(ordered: Mapping[str, pl.DataFrame]) -> list[Record]:
    """All rows of a history as a live log would give them."""
    found = [
        Record(row["seq"], row["received_at"], name, row)
        for name, frame in ordered.items()
        for row in frame.iter_rows(named=True)
    ]
    return sorted(found, key=lambda record: record.seq)


def published(batches: Iterable[Versions]) -> dict[str, list[tuple[str, int, int, bytes]]]:
    """Every version of each view, to the bit: key, event timestamp, created timestamp, values."""
    found: dict[str, list[tuple[str, int, int, bytes]]] = {view.name: [] for view in VIEWS}
    for versions in batches:
        found[versions.view.name] += [
            (key, int(known), int(created), values.tobytes())
            for key, known, created, values in zip(
                versions.ids, versions.known_us, versions.created_us, versions.values, strict=True
            )
        ]
    return found


@cache
def city_history(days: int = 1, seed: int = 1) -> dict[str, pl.DataFrame]:
    """Days of the small reference city from 2 March 2026 on, in log order."""
    from pipelines.sources.simulated import generate

    gathered: dict[str, list[pl.DataFrame]] = {}
    for _, tables in generate("small", seed, date(2026, 3, 2), days):
        for name, table in tables.items():
            frame = pl.from_arrow(table)
            assert isinstance(frame, pl.DataFrame)
            gathered.setdefault(name, []).append(frame)
    return in_log_order({name: pl.concat(frames) for name, frames in gathered.items()})


# --- forecast rows ----------------------------------------------------------------------------------------


def make_vectors(n: int = 8, *, seed: int = 0, **columns: Sequence[float] | float) -> Vectors:
    """Vectors of stops that are half an hour away on average; named features hold what is given."""
    draw = np.random.default_rng(seed)
    matrix = draw.normal(size=(n, len(FEATURE_NAMES))).astype(np.float32)
    base_s = draw.uniform(300, 7200, n)
    given: dict[str, Any] = {
        "prior_in_s": base_s,
        "depot_slip_s": draw.exponential(300, n),
        "travel_slip_s": draw.normal(0, 300, n),
        "service_slip_s": draw.normal(0, 60, n),
    } | columns
    for name, values in given.items():
        matrix[:, FEATURE_NAMES.index(name)] = values
    return Vectors(
        stop_ids=[f"S-{i}" for i in range(n)],
        route_ids=[f"R-{i // 8}" for i in range(n)],
        as_of_us=START_US + np.arange(n, dtype=np.int64) * MINUTE_US,
        matrix=matrix,
        base_s=base_s,
        ages_s={feed: np.full(n, 60.0) for feed in FEEDS},
    )


def make_dataset(n: int = 1200, *, days: int = 8, first_day: int = 0, seed: int = 0, **rows: Any) -> Dataset:
    """Rows whose lateness over the prior is half the travel slip, with noise that grows with the horizon.

    Rows are dealt to ``days`` service days in blocks; an outcome is known a minute after the arrival.
    """
    draw = np.random.default_rng(1000 + seed)
    vectors = make_vectors(n, seed=seed)
    day = first_day + np.arange(n) * days // n
    as_of_us = START_US + day * DAY_US + np.sort(draw.integers(0, 8 * HOUR_US, n))
    vectors = Vectors(
        vectors.stop_ids, vectors.route_ids, as_of_us, vectors.matrix, vectors.base_s, vectors.ages_s
    )
    slip_s = vectors.matrix[:, FEATURE_NAMES.index("travel_slip_s")].astype(np.float64)
    arrival_s = np.maximum(
        vectors.base_s + 0.5 * slip_s + 0.1 * vectors.base_s * draw.normal(size=n), 30.0
    ).round(3)
    arrived_us = as_of_us + np.rint(arrival_s * 1e6).astype(np.int64)
    columns: dict[str, Any] = {
        "stop_id": vectors.stop_ids,
        "route_id": vectors.route_ids,
        "as_of_us": as_of_us,
        "horizon": draw.choice([BEFORE_DEPARTURE, *HORIZON_NAMES], n),
        "here_zone_id": draw.choice(["Z-1", "Z-2", "Z-3"], n),
        "zone_id": draw.choice(["Z-1", "Z-2", "Z-3"], n),
        "courier_id": draw.choice(["C-1", "C-2"], n),
        "service_class": ["A|parcel|standard"] * n,
        "local_hour": draw.uniform(8, 18, n),
        "weekday": (day % 7).astype(np.float64),
        "rank": draw.integers(1, 20, n).astype(np.float64),
        "planned_in_s": vectors.base_s,
        "leg_distance_m": draw.uniform(100, 5000, n),
        "parcels": draw.integers(1, 5, n).astype(np.float64),
        "temperature_c": draw.normal(8, 6, n),
        "precipitation_mm": draw.exponential(0.5, n),
        "promise_end_us": arrived_us + np.rint(draw.normal(600, 900, n) * 1e6).astype(np.int64),
        "arrived_us": arrived_us,
        "closed": ["completed"] * n,
        "service_date": (
            dates := [f"{datetime.fromtimestamp(t / 1e6, tz=UTC):%Y-%m-%d}" for t in as_of_us.tolist()]
        ),
        "cluster": dates,
    }
    return Dataset(vectors, pl.DataFrame(columns | rows), arrival_s, arrived_us + MINUTE_US)
