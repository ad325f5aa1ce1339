"""Operational state: written by the engine alone, everything of a micro-batch in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import orjson

from serving.decisions.alerts import Kind, Phase, Rule, Watch
from serving.decisions.cadence import HistoryTail, RouteCadence
from serving.decisions.incidents import Incident
from serving.decisions.promises import DeliveryWindow, Promise
from serving.decisions.silences import Silence
from serving.storage.database import connect, give_back, immediate, statements

#: 2: forecasts of the history are packed in blocks.
OPS_LAYOUT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """How far the log has been applied, and with which model it goes on."""

    seq: int = 0
    as_of_us: int = 0
    scored_us: int = 0
    swept_us: int = 0
    model_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredForecast:
    """A forecast as it is served, with what it takes to compute it again.

    tail : the last forecast of its stop that went into the history
    """

    stop_id: str
    route_id: str
    rank: int
    prediction_id: str
    as_of_us: int
    eta_us: int
    late_probability: float | None
    body: bytes
    vector: bytes
    base_s: float
    made_with: bytes
    tail: HistoryTail


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAlert:
    """An alert and the text that the API gives for it."""

    alert_id: str
    rule: str
    stop_id: str | None
    route_id: str | None
    incident_id: str | None
    state: str
    opened_us: int
    updated_us: int
    resolved_us: int | None
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEvent:
    """An event on its way out; ``event_id`` is the same however often it is made."""

    event_id: str
    type: str
    subject: str
    route_id: str | None
    at_us: int
    body: bytes


class Transaction:
    """What the engine may write; visible to others only when it is committed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = self._connection = connection
        self._sql = statements("ops")

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        self._many("save_checkpoint", [astuple(checkpoint)])

    def save_feature_state(self, rows: Iterable[tuple[str, str, bytes]]) -> None:
        self._many("save_feature_state", rows)

    def save_routes(self, routes: Iterable[tuple[str, int, bytes]]) -> None:
        self._many("save_route", routes)

    def save_cadences(self, cadences: Iterable[RouteCadence]) -> None:
        self._many("save_cadence", (astuple(cadence) for cadence in cadences))

    def index_stops(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._many("index_stop", pairs)

    def save_forecasts(self, latest: Iterable[StoredForecast]) -> None:
        self._many(
            "save_forecast",
            (
                (
                    *(f.stop_id, f.route_id, f.rank, f.prediction_id, f.as_of_us),
                    *(f.body, f.vector, f.base_s, f.made_with, *astuple(f.tail)),
                )
                for f in latest
            ),
        )

    def save_promises(self, promises: Iterable[Promise]) -> None:
        self._many("save_promise", (_promise_row(promise) for promise in promises))

    def save_watches(self, watches: Iterable[Watch]) -> None:
        self._many("save_watch", ((*w.key, orjson.dumps(asdict(w))) for w in watches))

    def save_alerts(self, alerts: Iterable[StoredAlert]) -> None:
        self._many("save_alert", (astuple(alert) for alert in alerts))

    def save_incidents(self, incidents: Iterable[Incident]) -> None:
        self._many("save_incident", (_incident_row(incident) for incident in incidents))

    def save_silences(self, silences: Iterable[Silence]) -> None:
        self._many("save_silence", ((s.silence_id, s.until_us, s.dump()) for s in silences))

    def enqueue(self, events: Iterable[OutboxEvent]) -> None:
        self._many("enqueue", (astuple(event) for event in events))

    def forget_history(self, before_us: int, keep_events: int) -> None:
        """Drop sent events but the last so many, and what is over of alerts, incidents and silences, of before then."""
        self._many("forget_outbox", [(before_us, keep_events)])
        for kind in ("alerts", "incidents", "silences"):
            self._many(f"forget_{kind}", [(before_us,)])

    def forget_routes(self, route_ids: Iterable[str]) -> None:
        """Drop finished routes with their stops, forecasts and promises; alerts and history stay for a while."""
        rows = [(route_id,) for route_id in route_ids]
        for kind in ("routes", "cadences", "stops", "forecasts", "promises"):
            self._many(f"forget_{kind}", rows)

    def forget_watches(self, keys: Iterable[tuple[str, str]]) -> None:
        self._many("forget_watch", keys)

    def _many(self, name: str, rows: Iterable[tuple[Any, ...]]) -> None:
        self._connection.executemany(self._sql[name], rows)


class OpsStore:
    """The engine's own view of ``ops.db``: it takes its state up from here and commits it here."""

    def __init__(self, path: Path) -> None:
        self._sql = statements("ops")
        schema = "".join(statements(file)["schema"] for file in ("ops", "history", "picture", "lessons"))
        self._connection = connect(path, synchronous="NORMAL", schema=schema, layout=OPS_LAYOUT)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with immediate(self._connection) as connection:
            yield Transaction(connection)

    def has_checkpoint(self) -> bool:
        """Whether an engine has ever committed here."""
        return self._connection.execute(self._sql["checkpoint"]).fetchone() is not None

    def checkpoint(self) -> Checkpoint:
        row = self._connection.execute(self._sql["checkpoint"]).fetchone()
        if row is None:
            return Checkpoint()
        seq, as_of_us, scored_us, swept_us, model_version = row
        return Checkpoint(
            seq=seq, as_of_us=as_of_us, scored_us=scored_us, swept_us=swept_us, model_version=model_version
        )

    def feature_state(self) -> Iterator[tuple[str, str, bytes]]:
        return iter(self._connection.execute(self._sql["feature_state"]))

    def routes(self) -> Iterator[tuple[str, bytes]]:
        return iter(self._connection.execute(self._sql["routes"]))

    def cadences(self) -> list[RouteCadence]:
        names = ("route_id", "live", "dirty", "touched_us", "scored_us", "whole_us", "whole_slip_s")
        rows = [dict(zip(names, row, strict=True)) for row in self._connection.execute(self._sql["cadences"])]
        return [
            RouteCadence(**{**row, "live": bool(row["live"]), "dirty": bool(row["dirty"])}) for row in rows
        ]

    def promises(self) -> list[Promise]:
        return [promise_from(row) for row in self._connection.execute(self._sql["promises"])]

    def watches(self) -> list[Watch]:
        bodies = [orjson.loads(body) for (body,) in self._connection.execute(self._sql["watches"])]
        words = {"phase": Phase, "kind": Kind, "rule": Rule}
        return [Watch(**body | {name: word(body[name]) for name, word in words.items()}) for body in bodies]

    def incidents(self, since_us: int) -> list[Incident]:
        """Those that are not resolved, and those of which something has happened since."""
        rows = self._connection.execute(self._sql["live_incidents"], (since_us, since_us))
        return [Incident.load(body) for (body,) in rows]

    def silences(self, as_of_us: int) -> list[Silence]:
        """Those that are not over."""
        return [
            Silence.load(body) for (body,) in self._connection.execute(self._sql["silences"], (as_of_us,))
        ]

    def open_alerts(self) -> list[dict[str, Any]]:
        return [orjson.loads(body) for (body,) in self._connection.execute(self._sql["open_alerts"])]

    def taught_parts(self) -> Iterator[tuple[str, str, int, bytes]]:
        """What each model version has been taught: version, part, state that changed it last, and its numbers."""
        return iter(self._connection.execute(statements("lessons")["all_parts"]))

    def stakes(self) -> Iterator[tuple[str, int, int, str, bytes]]:
        """Stop, horizon, instant, model version and stake of all that wait for their outcome."""
        return iter(self._connection.execute(statements("lessons")["stakes"]))

    def history_tails(self) -> dict[str, HistoryTail]:
        rows = self._connection.execute(self._sql["history_tails"])
        return {
            stop_id: HistoryTail(as_of_us, eta_us, probability)
            for stop_id, as_of_us, eta_us, probability in rows
        }

    def give_back(self) -> int:
        """Make the file smaller where much of it is free."""
        return give_back(self._connection)

    def close(self) -> None:
        self._connection.close()


def promise_from(row: tuple[Any, ...]) -> Promise:
    """A promise from its columns, in the order of the table."""
    stop_id, route_id, first_start_us, first_end_us, told_start_us, told_end_us, revisions, told_us = row
    return Promise(
        stop_id=stop_id,
        route_id=route_id,
        first=DeliveryWindow(start_us=first_start_us, end_us=first_end_us),
        told=DeliveryWindow(start_us=told_start_us, end_us=told_end_us),
        revisions=revisions,
        told_us=told_us,
    )


def _incident_row(incident: Incident) -> tuple[Any, ...]:
    return (
        *(incident.incident_id, incident.cause.value, incident.subject_id, incident.area_id),
        *(incident.state.value, incident.opened_us, incident.updated_us, incident.muted_until_us),
        incident.dump(),
    )


def _promise_row(promise: Promise) -> tuple[Any, ...]:
    return (
        *(promise.stop_id, promise.route_id, promise.first.start_us, promise.first.end_us),
        *(promise.told.start_us, promise.told.end_us, promise.revisions, promise.told_us),
    )
