"""Scoring on request: the same path as the engine's, on what it has committed and published."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Protocol

import numpy as np

from data_contracts.errors import ContractError
from data_contracts.events import parse
from data_contracts.record import Record
from features.online_place import Reader
from features.route_book import RouteBook
from serving.api.ingest import to_new_event
from serving.decisions.promises import Promise
from serving.engine.desk import planned_promise
from serving.engine.forecasts import ModelName, documents
from serving.engine.readings import OpsReader
from serving.engine.scoring import Forecaster, Manner, score
from serving.engine.served import ServedLog
from serving.http.problems import ProblemError, problem, unknown, unprocessable
from serving.times import to_rfc3339

Document = dict[str, Any]
#: Routes that a worker keeps between requests; those read longest ago make room.
MOST_ROUTES = 5_000


class Serving(Protocol):
    """The model that serves now, if one does."""

    @property
    def model(self) -> Forecaster | None: ...


class LiveEta:
    """Forecasts as of an instant. Routes are kept between requests and read again when they change."""

    def __init__(
        self, ops: OpsReader, online: Reader, serving: Serving, served: ServedLog, coverage: float
    ) -> None:
        self._ops, self._online, self._serving, self._coverage = ops, online, serving, coverage
        self._served = served
        self._book = RouteBook()
        self._seqs: dict[str, int] = {}
        self._lock = threading.Lock()

    def of_stops(self, stop_ids: Sequence[str], as_of_us: int, with_reasons: bool) -> list[Document]:
        """A forecast or an error for each stop, in the order asked."""
        model = self._model()
        with self._lock:
            route_of = self._ops.routes_of_stops(stop_ids)
            self._refresh(sorted(set(route_of.values())))
            asked = [stop_id for stop_id in stop_ids if self._is_ahead(stop_id)]
            forecasts = self._forecasts(model, self._book, asked, as_of_us, with_reasons)
            return [forecasts.get(stop_id) or self._error(stop_id) for stop_id in stop_ids]

    def of_route(self, route_id: str, as_of_us: int, with_reasons: bool) -> list[Document]:
        """Forecasts of every stop that a route still has to reach."""
        stop_ids = self.remaining(route_id)
        return self.of_stops(stop_ids, as_of_us, with_reasons) if stop_ids else []

    def of_inline(
        self,
        route: Mapping[str, Any],
        stops: Sequence[Mapping[str, Any]],
        events: Sequence[Mapping[str, Any]],
        as_of_us: int,
        with_reasons: bool,
    ) -> list[Document]:
        """Forecasts of a route that the caller brings along; a stop that is wrong is told so in its place."""
        model, book, refused = self._model(), RouteBook(), dict[int, Document]()
        _bring(book, "routes", route, 0, str(route.get("route_id")), as_of_us)
        for place, row in enumerate(stops):
            try:
                _bring(book, "stops", row, place, str(route["route_id"]), as_of_us)
            except ProblemError as error:
                stop_id = row.get("stop_id")
                name = stop_id if isinstance(stop_id, str) else ""
                refused[place] = {"stop_id": name, "error": error.document()}
        for place, row in enumerate(events):
            _bring(book, "stop_events", row, place, str(route["route_id"]), as_of_us)
        asked = [str(row["stop_id"]) for place, row in enumerate(stops) if place not in refused]
        forecasts = self._forecasts(model, book, asked, as_of_us, with_reasons)
        return [
            refused.get(place) or forecasts.get(row["stop_id"]) or _ended(row["stop_id"])
            for place, row in enumerate(stops)
        ]

    def remaining(self, route_id: str) -> list[str]:
        """Stops that a known route still has to reach, in order."""
        with self._lock:
            self._refresh([route_id])
            route = self._book.route(route_id)
            if route is None:
                raise unknown("route", route_id)
            return [stop.stop_id for stop in route.remaining()]

    def _model(self) -> Forecaster:
        model = self._serving.model
        if model is None:
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "no-model",
                "no model serves in this workspace; promote one",
                headers={"Retry-After": "5"},
            )
        return model

    def _refresh(self, route_ids: Sequence[str]) -> None:
        heads = self._ops.route_heads(route_ids)
        for route_id in route_ids:
            if route_id not in heads and self._seqs.pop(route_id, None) is not None:
                self._book.forget(route_id)
        changed = [route_id for route_id, seq in heads.items() if self._seqs.get(route_id) != seq]
        for route_id, seq, body in self._ops.route_bodies(changed) if changed else ():
            self._book.load(route_id, body)
            self._seqs.pop(route_id, None)
            self._seqs[route_id] = seq
        for route_id in list(self._seqs)[: max(0, len(self._seqs) - max(MOST_ROUTES, len(route_ids)))]:
            del self._seqs[route_id]
            self._book.forget(route_id)

    def _is_ahead(self, stop_id: str) -> bool:
        known = self._book.stop(stop_id) is not None
        return known and self._book.arrived(stop_id) is None and self._book.closed(stop_id) is None

    def _forecasts(
        self,
        model: Forecaster,
        book: RouteBook,
        stop_ids: Sequence[str],
        as_of_us: int,
        with_reasons: bool,
    ) -> dict[str, Document]:
        plans = [plan for plan in map(book.stop, stop_ids) if plan is not None]
        if not plans:
            return {}
        asked = frozenset(stop_ids)
        ahead = {plan.route_id: 0 for plan in plans}
        for route_id in ahead:
            ahead[route_id] = _as_far_as(book, route_id, asked)
        itinerary = book.itinerary(sorted(ahead), as_of_us, ahead)
        if not len(itinerary):
            return {}
        rows = np.flatnonzero([stop_id in asked for stop_id in itinerary.stop_ids])
        promises = self._promises(book, stop_ids)
        taught = self._ops.taught(model.version)
        manner = Manner(forecaster=model, coverage=self._coverage, taught=taught)
        known = self._online.take(key for keys in itinerary.keys.values() for key in keys)
        scores = score(itinerary, known.read, as_of_us, promises, manner, rows)
        everyone, ids = range(len(scores)), self._served.next_ids(len(scores))
        reasons = (
            dict(zip(everyone, model.reasons(scores.vectors, everyone), strict=True)) if with_reasons else {}
        )
        texts = documents(scores, ModelName.of(model), reasons, ids)
        self._served.keep_call(ids, scores, texts, with_reasons)
        return dict(zip(scores.stop_ids, texts, strict=True))

    def _promises(self, book: RouteBook, stop_ids: Sequence[str]) -> dict[str, Promise]:
        """What was told, else what stands in the plan."""
        told = self._ops.promises_of(stop_ids) if book is self._book else {}
        for stop_id in stop_ids:
            plan = book.stop(stop_id)
            if stop_id not in told and plan and (promise := planned_promise(plan)):
                told[stop_id] = promise
        return told

    def _error(self, stop_id: str) -> Document:
        if self._book.stop(stop_id) is None:
            return {"stop_id": stop_id, "error": unknown("stop", stop_id).document()}
        return _ended(stop_id, self._book.arrived(stop_id))


def _as_far_as(book: RouteBook, route_id: str, asked: frozenset[str]) -> int:
    """How many remaining stops of a route lie up to the last one asked for."""
    route = book.route(route_id)
    remaining = route.remaining() if route else []
    return max((rank for rank, stop in enumerate(remaining, start=1) if stop.stop_id in asked), default=0)


def _ended(stop_id: str, arrived_us: int | None = None) -> Document:
    when = "" if arrived_us is None else f" at {to_rfc3339(arrived_us)}"
    detail = f"stop {stop_id!r} was already reached or given up{when}; nothing is left to forecast"
    return {"stop_id": stop_id, "error": problem(HTTPStatus.CONFLICT, "stop-ended", detail)}


def _bring(
    book: RouteBook, table: str, row: Mapping[str, Any], place: int, route_id: str, as_of_us: int
) -> None:
    """Take a row up that the caller brought along."""
    touched, _ = book.apply(_inline_record(table, row, place, as_of_us))
    if touched != (route_id,):
        raise unprocessable(f"{table} row {place}: is not of this route, or comes twice")


def _inline_record(table: str, row: Mapping[str, Any], place: int, as_of_us: int) -> Record:
    known = {"event_id": f"inline-{place}", "occurred_at": to_rfc3339(as_of_us)}
    if table == "stops":
        known |= {"plan_version": 1}  # type: ignore[dict-item]
    try:
        event = to_new_event(parse({**known, **row, "type": table}))
    except ContractError as error:
        raise unprocessable(f"{table} row {place}: {error}") from None
    return Record(seq=place + 1, received_us=as_of_us, type=table, body=event.body)
