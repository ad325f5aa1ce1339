"""The API called in this process, and what it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from starlette.applications import Starlette

from data_contracts.workspace import Workspace
from features.live import LiveFeatures
from features.online import OnlineWriter
from serving.engine.engine import Engine
from serving.engine.ops import OpsStore
from serving.engine.rounds import EngineSettings
from serving.http.limits import Limits
from serving.settings import ServiceSettings
from serving.storage.log import Clock, EventLog, NewEvent
from serving.times import to_rfc3339
from tests.builders import NOON_US
from tests.engine_bench import FakeForecaster, route_events

PROBLEM = "application/problem+json"
SETTINGS = ServiceSettings(clock=Clock.LOG, limits=Limits(body_bytes=20_000, events=50, stops=10, rows=50))


def crown(workspace: Workspace) -> None:
    workspace.models.mkdir(parents=True)
    workspace.champion.write_text('{"version": "1", "alias": "champion"}')


def play(workspace: Workspace, *events: NewEvent) -> None:
    """Let an engine apply some events."""
    log, writer = EventLog(workspace.log, Clock.LOG), OnlineWriter(workspace.online)
    log.append(events)
    ops = OpsStore(workspace.ops)
    engine = Engine(log, ops, LiveFeatures(), FakeForecaster, writer, EngineSettings())
    while engine.step():
        pass
    for each in (log, writer, ops):
        each.close()


class Client:
    """Calls an app in this process, as a client over HTTP would."""

    def __init__(self, app: Starlette, portal: BlockingPortal) -> None:
        self.app, self._portal = app, portal
        self.connect_from("127.0.0.1")

    def connect_from(self, address: str) -> None:
        """Call from another machine from now on."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(address, 50_000))
        self._client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, **content: Any) -> httpx.Response:
        return self.request("POST", path, **content)

    def request(self, method: str, path: str, **content: Any) -> httpx.Response:
        return self._portal.call(partial(self._client.request, method, path, **content))


@contextmanager
def calling(app: Starlette) -> Iterator[Client]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(app.router.lifespan_context(app)),
    ):
        yield Client(app, portal)


def wire_ping(event_id: str = "e-1", **changes: Any) -> dict[str, Any]:
    at = to_rfc3339(NOON_US)
    return {
        "type": "pings",
        "event_id": event_id,
        "occurred_at": at,
        "received_at": at,
        "vehicle_id": "V-1",
        "lat": 50.0,
        "lon": 4.0,
    } | changes


def refused(answer: httpx.Response, status: int, kind: str) -> str:
    """The detail of a problem, which must be one of that kind."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    problem = answer.json()
    assert (problem["status"], problem["type"]) == (status, f"/problems/{kind}")
    detail: str = problem["detail"]
    return detail


def inline() -> dict[str, Any]:
    route, *stops = route_events("new", stops=2)
    times = ("planned_departure_at", "promised_start_at", "promised_end_at", "planned_arrival_at")

    def row(event: NewEvent) -> dict[str, Any]:
        return {k: to_rfc3339(v) if k in times else v for k, v in event.body.items() if k != "plan_version"}

    return {"route": row(route), "stops": [row(stop) for stop in stops]}
