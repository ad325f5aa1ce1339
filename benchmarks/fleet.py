"""A fleet in the middle of its day, its lessons and its model: what the benchmarks of the service serve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data_contracts.record import MODEL, TICK
from data_contracts.workspace import Workspace
from features.live import LiveFeatures
from features.online import OnlineWriter
from features.vectors import Vectors, assemble
from serving.engine.engine import Engine
from serving.engine.models import ModelShelf
from serving.engine.ops import OpsStore
from serving.engine.rounds import EngineSettings
from serving.storage.log import Clock, EventLog, NewEvent
from serving.times import US
from training.dataset import Dataset
from training.forecaster import train

SEED = 7
NOON_US = 1_772_452_800 * US
DAY_US = 86_400 * US
ZONES, AREA = 120, "A"
LEG_S, DOOR_S = 260.0, 140.0
#: Departures and delays are spread over so much.
SPREAD_US = 2_000 * US
TRAINING_ROWS, TRAINING_DAYS = 8_000, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """So many vehicles with so many stops each, of which some are done at an instant."""

    vehicles: int
    stops: int = 70
    done: int = 10
    at_us: int = NOON_US

    def events(self, day: int, done: int) -> Iterator[NewEvent]:
        """A day's plans, feeds and the first stops of every route, in the order of reception."""
        start_us = self.at_us + (day - 1) * DAY_US - int(self.done * (LEG_S + DOOR_S) * US) - SPREAD_US
        yield from self._plans(day, start_us)
        moments = [
            (at_us, event)
            for n in range(self.vehicles)
            for at_us, event in self._drive(day, n, start_us, done)
        ]
        for _, event in sorted(moments, key=lambda moment: moment[0]):
            yield event
        yield from self.feeds(max(at_us for at_us, _ in moments), day)

    def feeds(self, at_us: int, round_: int) -> Iterator[NewEvent]:
        """One message of every feed."""
        for zone in range(ZONES):
            body = {
                "zone_id": f"Z-{zone}",
                "speed_mps": 6.0 + zone % 5,
                "free_flow_mps": 11.0,
                "incidents": 0,
            }
            yield _event("traffic", f"tr-{round_}-{zone}", at_us, body)
        for hour in range(-1, 12):
            kind = "observed" if hour < 0 else "forecast"
            body = {
                "area_id": AREA,
                "kind": kind,
                "valid_at": (at_us // (3600 * US) + hour) * 3600 * US,
                "issued_at": at_us,
                "temperature_c": 7.0,
                "precipitation_mm": 0.4,
                "snow_cm": 0.0,
                "wind_mps": 4.0,
            }
            yield _event("weather", f"we-{round_}-{hour}", at_us, body)
        body = {"depot_id": "D-0", "parcels_ready_share": 0.97, "sort_delay_s": 120.0}
        yield _event("depots", f"de-{round_}", at_us, body)
        yield from self.pings(at_us, round_)

    def pings(self, at_us: int, round_: int) -> Iterator[NewEvent]:
        """Where every vehicle is."""
        for n in range(self.vehicles):
            yield self.ping(n, at_us, round_)

    def ping(self, n: int, at_us: int, round_: int) -> NewEvent:
        body = {"vehicle_id": f"V-{n}", "lat": 52.1 + n * 1e-4, "lon": 5.1, "speed_mps": 4.0 + round_ % 7}
        return _event("pings", f"pi-{round_}-{n}", at_us, body)

    def live_stop_ids(self) -> list[str]:
        """Stops that are still ahead."""
        return [f"S-1-{n}-{k}" for n in range(self.vehicles) for k in range(self.done + 1, self.stops + 1)]

    def _plans(self, day: int, start_us: int) -> Iterator[NewEvent]:
        for n in range(self.vehicles):
            route = {
                "route_id": f"R-{day}-{n}",
                "vehicle_id": f"V-{n}",
                "courier_id": f"C-{n}",
                "depot_id": "D-0",
                "area_id": AREA,
                "origin_zone_id": "Z-0",
                "origin_lat": 52.1,
                "origin_lon": 5.1,
                "timezone": "Europe/Amsterdam",
                "service_date": "2026-03-02",
                "planned_departure_at": start_us,
            }
            yield _event("routes", f"R-{day}-{n}", start_us - 3600 * US, route)
            for k in range(1, self.stops + 1):
                planned_us = start_us + int((k * LEG_S + (k - 1) * DOOR_S) * US)
                stop = {
                    "stop_id": f"S-{day}-{n}-{k}",
                    "route_id": f"R-{day}-{n}",
                    "plan_version": 1,
                    "sequence": k,
                    "zone_id": f"Z-{(n * 7 + k // 3) % ZONES}",
                    "lat": 52.1 + (n % 50) * 0.002 + k * 1e-3,
                    "lon": 5.1 + k * 1e-3,
                    "site_id": f"B-{n}-{k}",
                    "customer_id": f"K-{n}-{k}",
                    "parcels": 1 + k % 3,
                    "product_type": "parcel",
                    "service_level": "standard",
                    "promised_start_at": planned_us - 1800 * US,
                    "promised_end_at": planned_us + 3600 * US,
                    "planned_arrival_at": planned_us,
                    "planned_travel_s": LEG_S,
                    "planned_distance_m": 900.0,
                    "planned_service_s": DOOR_S,
                }
                yield _event("stops", f"S-{day}-{n}-{k}", start_us - 3600 * US, stop)

    def _drive(self, day: int, n: int, start_us: int, done: int) -> Iterator[tuple[int, NewEvent]]:
        route_id, rng, at_s = f"R-{day}-{n}", np.random.default_rng([SEED, day, n]), 30.0 * (n % 20)
        moments = [("departed_depot", None, at_s)]
        for k in range(1, done + 1):
            at_s += LEG_S * float(rng.lognormal(0.0, 0.2))
            moments.append(("arrived", k, at_s))
            at_s += DOOR_S * float(rng.lognormal(0.0, 0.4))
            moments.append(("completed", k, at_s))
        for kind, k, after_s in moments:
            at_us = start_us + int(after_s * US)
            body: dict[str, Any] = {"route_id": route_id, "kind": kind}
            if k is not None:
                body["stop_id"] = f"S-{day}-{n}-{k}"
            yield at_us, _event("stop_events", f"{route_id}-{kind}-{k}", at_us, body)


def _event(type_: str, event_id: str, at_us: int, body: dict[str, Any]) -> NewEvent:
    return NewEvent(type=type_, event_id=event_id, body={**body, "occurred_at": at_us}, received_us=at_us)


def tick(at_us: int | None = None) -> NewEvent:
    return NewEvent(type=TICK, body={}, received_us=at_us)


def build(folder: Path, fleet: Fleet) -> Workspace:
    """A workspace whose engine has lived through the fleet's yesterday and this morning."""
    folder.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(folder)
    log = EventLog(workspace.log, Clock.LOG)
    log.append(list(fleet.events(0, fleet.stops)))
    log.append(list(fleet.events(1, fleet.done)))
    engine = engine_of(workspace, log)
    while engine.step(20_000):
        pass
    crown(workspace, fleet)
    log.append(
        [NewEvent(type=MODEL, body={"version": "1", "alias": "champion"}), tick(log.last().received_us + US)]
    )
    while engine.step(20_000):
        pass
    log.close()
    return workspace


def engine_of(workspace: Workspace, log: EventLog, settings: EngineSettings | None = None) -> Engine:
    """An engine over a workspace's files, as the engine process makes it."""
    return Engine(
        log,
        OpsStore(workspace.ops),
        LiveFeatures(),
        ModelShelf(workspace).get,
        OnlineWriter(workspace.online),
        settings or EngineSettings(),
    )


def crown(workspace: Workspace, fleet: Fleet) -> None:
    """A model of the size that `punctual train` makes, of the fleet's own vectors with made-up errors."""
    rng, rows = np.random.default_rng(SEED), _vectors(workspace, fleet)
    rows = rows.take(rng.integers(0, len(rows), TRAINING_ROWS))
    jitter = rng.normal(1.0, 0.1, rows.matrix.shape).astype(np.float32)
    rows = replace(rows, matrix=rows.matrix * jitter)
    error_s = np.nan_to_num(rows.matrix[:, :12]).astype(np.float64).sum(axis=1) * 0.01
    arrival_s = rows.base_s + error_s + rng.gamma(2.0, 60.0, len(rows))
    days = [f"2026-02-{1 + at % TRAINING_DAYS:02d}" for at in range(len(rows))]
    outcomes = pl.DataFrame({"service_date": days, "cluster": days})
    dataset = Dataset(rows, outcomes, arrival_s, rows.as_of_us + np.rint(arrival_s * US).astype(np.int64))
    model = train(dataset, name="bench", version="1")
    model.save(workspace.models / "1", rows)
    workspace.champion.write_text('{"version": "1", "alias": "champion"}')


def _vectors(workspace: Workspace, fleet: Fleet) -> Vectors:
    features, ops = LiveFeatures(), OpsStore(workspace.ops)
    for route_id, body in ops.routes():
        features.book.load(route_id, body)
    features.restore(ops.feature_state())
    at_us = ops.checkpoint().as_of_us
    names = [f"R-1-{n}" for n in range(min(fleet.vehicles, 60))]
    return assemble(features.book.itinerary(names, at_us), features.read, at_us)
