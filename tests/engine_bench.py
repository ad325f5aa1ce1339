"""An engine over a log, with a forecaster of fixed spread, and the days that it is given."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from features.live import LiveFeatures
from features.online import Versions
from features.vectors import Vectors
from serving.decisions.incidents import Incident
from serving.engine.engine import Engine
from serving.engine.incident_documents import incident_document
from serving.engine.ops import OpsStore
from serving.engine.readings import OpsReader, Page
from serving.engine.rounds import EngineSettings
from serving.storage.log import Clock, EventLog, NewEvent
from serving.times import US
from tests.builders import NOON_US, promised_route
from training.calibration import Calibrator, Raw
from training.online import OnlineCalibrator, Stake
from training.quantiles import GRID, QUANTILE_LEVELS

SPREAD_S = np.array([-600, -480, -240, 0, 240, 480, 600], np.float64)


@dataclass(frozen=True)
class FakeForecast:
    quantiles_s: NDArray[np.float64]
    told: NDArray[np.float64] | None = None

    @property
    def mean_s(self) -> NDArray[np.float64]:
        return self.quantiles_s[:, 3]

    @property
    def completion(self) -> FakeForecast:
        return FakeForecast(self.quantiles_s + 120.0)

    @property
    def raw(self) -> Raw:
        low_s, median_s, high_s = self.quantiles_s[:, [1, 3, 5]].T
        return Raw.of(low_s, median_s, high_s, median_s)

    def stake(self, row: int) -> Stake:
        raw = self.raw
        numbers = (raw.median_s[row], raw.below_s[row], raw.above_s[row])
        median_s, below_s, above_s = map(float, numbers)
        return Stake(sides=(), median_s=median_s, below_s=below_s, above_s=above_s)

    def window(self, coverage: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        levels = ((1 - coverage) / 2, (1 + coverage) / 2)
        start_s, end_s = (
            np.array([np.interp(level, QUANTILE_LEVELS, row) for row in self.quantiles_s]) for level in levels
        )
        return start_s, end_s

    def late_probability(self, deadline_s: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip((self.quantiles_s[:, 6] - deadline_s) / 1200.0, 0.0, 1.0)

    def expected_late_s(self, deadline_s: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(self.mean_s - deadline_s, 0.0)


@dataclass(frozen=True)
class FakeReason:
    code: str = "BEHIND_PLAN"
    minutes: float = 12.34


class FakeForecaster:
    """The causal prior with a fixed spread."""

    name = "fake"
    calibrator = Calibrator(np.tile(np.interp(GRID, (0.0, 0.5, 1.0), (-1.5, 0.0, 1.5)), (8, 1)))

    def __init__(self, version: str = "1") -> None:
        self.version = version

    def forecast(self, vectors: Vectors, live: OnlineCalibrator | None = None) -> FakeForecast:
        moved_s, told = np.zeros((len(vectors), len(QUANTILE_LEVELS))), None
        if live is not None:
            told = live.shifts(vectors.base_s, [()] * len(vectors))
            for row, shift in enumerate(told):
                moved_s[row] = 600.0 * np.interp(QUANTILE_LEVELS, GRID, shift)
        return FakeForecast(np.maximum(vectors.base_s[:, None] + SPREAD_S + moved_s, 0.0), told)

    def reasons(self, vectors: Vectors, rows: Sequence[int]) -> list[list[FakeReason]]:
        return [[FakeReason()] for _ in rows]

    def missing_feeds(self, vectors: Vectors) -> list[list[str]]:
        return [["traffic"] for _ in vectors.stop_ids]

    def unfamiliar(self, vectors: Vectors) -> list[list[str]]:
        return [[] for _ in vectors.stop_ids]


class FakePublisher:
    def __init__(self) -> None:
        self.published: list[Versions] = []

    def publish_all(self, batches: Iterable[Versions]) -> int:
        new = list(batches)
        self.published += new
        return sum(len(versions.ids) for versions in new)


def route_events(route_id: str = "R-1", stops: int = 5, leg_s: float = 600.0) -> list[NewEvent]:
    """A route that leaves at noon, ten minutes a leg, told a minute before."""
    (table, route), *planned = promised_route(route_id, stops, leg_s=leg_s)
    told = [NewEvent(type=table, event_id=f"{route_id}-plan", body=route, received_us=NOON_US - 60 * US)]
    for table, stop in planned:
        event_id = f"{stop['stop_id']}-plan"
        told.append(NewEvent(type=table, event_id=event_id, body=stop, received_us=NOON_US - 60 * US))
    return told


def tick(after_s: float) -> NewEvent:
    return NewEvent(type="tick", body={}, received_us=NOON_US + int(after_s * US))


def happened(kind: str, after_s: float, stop: int | None = None, route_id: str = "R-1") -> NewEvent:
    at_us = NOON_US + int(after_s * US)
    body: dict[str, Any] = {"route_id": route_id, "kind": kind, "occurred_at": at_us}
    if stop is not None:
        body["stop_id"] = f"{route_id}-S{stop}"
    return NewEvent(type="stop_events", event_id=f"{route_id}-{kind}-{stop}", body=body, received_us=at_us)


def ping(after_s: float, route_id: str = "R-1") -> NewEvent:
    at_us = NOON_US + int(after_s * US)
    body = {"vehicle_id": f"V-{route_id}", "occurred_at": at_us, "lat": 50.0, "lon": 4.0, "speed_mps": 5.0}
    return NewEvent(type="pings", event_id=f"{route_id}-ping-{after_s}", body=body, received_us=at_us)


MODEL = NewEvent(type="model", body={"version": "1", "alias": "champion"}, received_us=NOON_US - 120 * US)


def late_day() -> list[NewEvent]:
    """A day on which the courier leaves 25 minutes late, and another who is in time."""
    events = [MODEL, *route_events("R-1"), *route_events("R-2"), tick(0)]
    moments = [happened("departed_depot", 0, route_id="R-2"), happened("departed_depot", 1500)]
    for stop in range(1, 6):
        leg_ends_s = stop * 720
        moments.append(happened("arrived", leg_ends_s - 120, stop, "R-2"))
        moments.append(happened("completed", leg_ends_s, stop, "R-2"))
    moments += [happened("arrived", 2100, 1), happened("completed", 2220, 1), happened("arrived", 2800, 2)]
    moments += [ping(at, "R-1") for at in range(1500, 3000, 30)] + [
        ping(at, "R-2") for at in range(0, 900, 45)
    ]
    moments += [tick(at) for at in range(5, 3640, 20)]
    return events + sorted(moments, key=lambda event: event.received_us or 0)


class Bench:
    """A log, an ops store and an engine over them."""

    def __init__(
        self,
        folder: Path,
        settings: EngineSettings | None = None,
        forecaster: Callable[[str], FakeForecaster] | None = None,
    ) -> None:
        self.forecaster = forecaster or FakeForecaster
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.settings = folder, settings or EngineSettings()
        self.log = EventLog(folder / "log.db", Clock.LOG)
        self.publisher = FakePublisher()
        self.engine = self.start()
        self.reader = OpsReader(folder / "ops.db")

    def start(self) -> Engine:
        """An engine that takes up what the last one committed."""
        ops = OpsStore(self.folder / "ops.db")
        self.engine = Engine(
            self.log,
            ops,
            LiveFeatures(),
            lambda version: self.forecaster(version) if version != "broken" else None,
            self.publisher,
            self.settings,
        )
        return self.engine

    def play(self, *events: NewEvent, limit: int = 1000) -> None:
        self.log.append(events)
        while self.engine.step(limit):
            pass

    def forecast(self, stop_id: str) -> dict[str, Any]:
        return orjson.loads(self.reader.forecast(stop_id) or b"null")

    def late_stops(self, state: str | None = None) -> list[dict[str, Any]]:
        return [alert for alert in self.alerts(state) if alert["stop_id"]]

    def alerts(self, state: str | None = None) -> list[dict[str, Any]]:
        return [orjson.loads(body) for *_, body in self.reader.alerts(Page(limit=100), state=state)]

    def incident(self, incident_id: str) -> dict[str, Any]:
        found = Incident.load(self.reader.incident(incident_id) or b"null")
        return incident_document(found, self.settings.alerts)

    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(event.body) for _, event in self.reader.outbox(0, 10_000)]


def everything(folder: Path) -> dict[str, list[Any]]:
    connection = sqlite3.connect(folder / "ops.db")
    tables = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not name.startswith("sqlite_")
    ]
    rows = {name: sorted(map(repr, connection.execute(f"SELECT * FROM {name}"))) for name in tables}
    connection.close()
    return rows


def forecast_storm(at_s: float, hour_us: int = NOON_US, rain_mm: float = 12.0) -> NewEvent:
    at_us = NOON_US + int(at_s * US)
    body = {
        "area_id": "A",
        "kind": "forecast",
        "occurred_at": at_us,
        "issued_at": at_us,
        "valid_at": hour_us,
        "precipitation_mm": rain_mm,
        "temperature_c": 8.0,
        "snow_cm": 0.0,
        "wind_mps": 9.0,
        "cloud_share": 1.0,
    }
    return NewEvent(type="weather", event_id=f"weather-{at_s}-{hour_us}", body=body, received_us=at_us)


def stormy_day() -> list[NewEvent]:
    return sorted([forecast_storm(-100), *late_day()], key=lambda event: event.received_us or 0)
