"""What API workers read from ``ops.db``; they never write it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from serving.decisions.promises import Promise
from serving.decisions.silences import Silence
from serving.engine.forecasts import instant_of
from serving.engine.history import Span, history_of, kept_at, spans
from serving.engine.kept import KeptForecast
from serving.engine.ops import Checkpoint, OutboxEvent, promise_from
from serving.engine.packing import EngineRow
from serving.engine.taught import UNTAUGHT, Taught
from serving.storage.database import connect_to_read, statements
from training.online import EVERY

#: Where a row stands in a list, newest first, and its text.
Placed = tuple[int, str, bytes]


#: No state of a calibration has a number beyond.
LATEST = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """How many rows, and after which one: its instant and id."""

    limit: int
    after: tuple[int, str] | None = None


class OpsReader:
    """Short reads over one connection; any number of threads may ask."""

    def __init__(self, path: Path) -> None:
        self._sql, self._lessons = statements("ops"), statements("lessons")
        self._taught: dict[str, Taught] = {}
        self._connection = connect_to_read(path)
        self._lock = threading.Lock()

    def checkpoint(self) -> Checkpoint:
        rows = self._rows("checkpoint", ())
        if not rows:
            return Checkpoint()
        names = ("seq", "as_of_us", "scored_us", "swept_us", "model_version")
        return Checkpoint(**dict(zip(names, rows[0], strict=True)))

    def forecast(self, stop_id: str) -> bytes | None:
        rows = self._rows("forecast", (stop_id,))
        return rows[0][0] if rows else None

    def forecasts(self, stop_ids: Sequence[str]) -> list[EngineRow]:
        """Latest forecasts, with what they were made of, in the order asked for; stops without one are left out."""
        return self._rows("forecasts_of_stops", (_json(stop_ids),))

    def kept_forecast(self, prediction_id: str) -> KeptForecast | None:
        """A forecast of the engine by its id, if it is the latest of its stop or in the history."""
        as_of_us = instant_of(prediction_id)
        if as_of_us is None:
            return None
        with self._lock:
            kept = kept_at(self._connection, prediction_id, as_of_us)
        if kept is not None:
            return KeptForecast.of_document(*kept[0], shift=kept[1])
        rows = self._rows("forecast_by_id", (prediction_id,))
        return KeptForecast.of_document(*rows[0]) if rows else None

    def history_spans(self) -> Mapping[int, Span]:
        """How far back the history reaches, and how large it is."""
        with self._lock:
            return spans(self._connection)

    def taught(self, model_version: str) -> Taught:
        """What outcomes have taught a model so far."""
        with self._lock:
            known = self._taught.get(model_version, UNTAUGHT)
            since = self._connection.execute(self._lessons["parts"], (model_version, known.number, LATEST))
            if rows := since.fetchall():
                known = self._taught[model_version] = known.after(rows)
        return known

    def taught_then(self, model_version: str, number: int) -> Taught | None:
        """What a model had been taught when a forecast was made; None where that is no longer known."""
        if not number:
            return UNTAUGHT
        with self._lock:
            rows = self._connection.execute(self._lessons["parts"], (model_version, 0, number)).fetchall()
        is_whole = (EVERY, number) in ((part, changed) for part, changed, _ in rows)
        return UNTAUGHT.after(rows) if is_whole else None

    def history(self, stop_id: str, limit: int) -> list[bytes]:
        """Kept forecasts of a stop, the newest first."""
        with self._lock:
            return history_of(self._connection, stop_id, limit)

    def alerts(self, page: Page, **wanted: str | None) -> list[Placed]:
        """Alerts, the newest first; by state, stop_id, route_id, incident_id or rule."""
        names = ("state", "stop_id", "route_id", "incident_id", "rule")
        return self._page("alerts", dict.fromkeys(names) | wanted, page)

    def incidents(self, page: Page, live: bool = False, **wanted: str | None) -> list[Placed]:
        """Incidents, the newest first; by state, cause, area_id or subject_id, or those not resolved."""
        names = ("state", "cause", "area_id", "subject_id")
        asked = dict.fromkeys(names) | wanted | {"live": "yes" if live else None}
        return self._page("incidents", asked, page)

    def silences(self, since_us: int) -> list[Silence]:
        """Those that are not over, or were not at an instant, the oldest first."""
        return [Silence.load(body) for (body,) in self._rows("silences", (since_us,))]

    def silence(self, silence_id: str) -> Silence | None:
        rows = self._rows("silence", (silence_id,))
        return Silence.load(rows[0][0]) if rows else None

    def incident(self, incident_id: str) -> bytes | None:
        rows = self._rows("incident", (incident_id,))
        return rows[0][0] if rows else None

    def outbox(self, after: int, limit: int) -> list[tuple[int, OutboxEvent]]:
        """Events past a position, each with its own, in the order in which they were committed."""
        rows = self._rows("outbox_after", (after, limit))
        names = ("event_id", "type", "subject", "route_id", "at_us", "body")
        return [(position, OutboxEvent(**dict(zip(names, row, strict=True)))) for position, *row in rows]

    def outbox_span(self) -> tuple[int, int]:
        """The position before the first event that is still kept, and the position of the last one ever."""
        before_first, last = self._rows("outbox_span", ())[0]
        return before_first, last

    def routes_of_stops(self, stop_ids: Sequence[str]) -> dict[str, str]:
        return dict(self._rows("routes_of_stops", (_json(stop_ids),)))

    def route_heads(self, route_ids: Sequence[str]) -> dict[str, int]:
        """Log sequence of the last change of each known route."""
        return dict(self._rows("route_heads", (_json(route_ids),)))

    def route_bodies(self, route_ids: Sequence[str]) -> list[tuple[str, int, bytes]]:
        return self._rows("route_bodies", (_json(route_ids),))

    def promises_of(self, stop_ids: Sequence[str]) -> dict[str, Promise]:
        promises = [promise_from(row) for row in self._rows("promises_of", (_json(stop_ids),))]
        return {promise.stop_id: promise for promise in promises}

    def route_overview(self, limit: int) -> list[dict[str, Any]]:
        return self._dicts("route_overview", (limit,))

    def counts(self) -> dict[str, int]:
        return self._dicts("counts", ())[0]

    def close(self) -> None:
        self._connection.close()

    def _rows(self, name: str, arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(self._sql[name], arguments).fetchall()

    def _page(self, name: str, wanted: Mapping[str, str | None], page: Page) -> list[Placed]:
        before_us, after_id = page.after or (None, None)
        asked = {**wanted, "before_us": before_us, "after_id": after_id, "limit": page.limit}
        with self._lock:
            return self._connection.execute(self._sql[name], asked).fetchall()

    def _dicts(self, name: str, arguments: tuple[Any, ...]) -> list[dict[str, Any]]:
        with self._lock:
            cursor = self._connection.execute(self._sql[name], arguments)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _json(ids: Sequence[str]) -> str:
    return orjson.dumps(list(ids)).decode()
