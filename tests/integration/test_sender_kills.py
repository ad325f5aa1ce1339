"""Events over kill -9: of the sender, of the engine, wherever it strikes. Every one arrives, with its id, and streams
go on without a gap."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import orjson
import pytest
from standardwebhooks import Webhook as Verifier

from data_contracts.workspace import Workspace
from pipelines.demo import free_port
from serving.engine.readings import OpsReader
from serving.supervisor import Patience, Service
from serving.times import US
from tests.builders import NOON_US
from tests.receivers import Received, Receiver, answering, receiving
from tests.running import moment, plan, until

pytestmark = pytest.mark.end_to_end

PATIENCE = Patience(ready_s=120.0, restart_s=0.05, most_restarts=1000)
SETTINGS = """[serving]
clock = "log"
workers = 1
[serving.webhooks]
retry_s = [0, 0.2, 0.2, 0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
timeout_s = 5
plain_http = true
allowed_networks = ["127.0.0.1/32"]
"""


@pytest.fixture
def workspace(workspace: Workspace) -> Workspace:
    workspace.settings.write_text(SETTINGS)
    return workspace


@contextmanager
def served(workspace: Workspace, output: Path) -> Iterator[Service]:
    with output.open("ab") as sink:
        service = Service(workspace, "127.0.0.1", free_port(), sink, PATIENCE)
        service.start()
        done = threading.Event()
        try:
            service.wait_until_ready()
            watch = threading.Thread(target=lambda: look_after(service, done))
            watch.start()
            yield service
        finally:
            done.set()
            watch.join()
            service.stop()


def look_after(service: Service, done: threading.Event) -> None:
    while not done.wait(0.02):
        service.look_after()


class Listener(threading.Thread):
    """A client of the stream that is cut off again and again, and goes on where it was."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url, self._done = url, threading.Event()
        self.positions, self.ids = list[int](), list[str]()
        self.connections = 0

    def run(self) -> None:
        last_id = "0"
        while not self._done.is_set():
            with suppress(httpx.HTTPError):
                last_id = self._listen(last_id)
            time.sleep(0.05)

    def stop(self) -> None:
        self._done.set()
        self.join()

    def _listen(self, last_id: str) -> str:
        """Listen for a few messages; give where the next connection goes on."""
        self.connections += 1
        patience = random.Random(self.connections).randint(1, 8)
        headers = {"Last-Event-ID": last_id}
        asked = httpx.stream("GET", f"{self._url}/v1/stream", headers=headers, timeout=1.0)
        with asked as response, suppress(httpx.ReadTimeout):
            for line in response.iter_lines():
                if line.startswith("id: "):
                    last_id = line.removeprefix("id: ")
                elif line.startswith("data: "):
                    event = orjson.loads(line.removeprefix("data: "))
                    assert "reason" not in event, "a gap"
                    self.positions.append(int(last_id))
                    self.ids.append(event["id"])
                    patience -= 1
                if patience <= 0:
                    break
        return last_id


async def unhurried(request: Received, writer: asyncio.StreamWriter) -> None:
    """Says yes after a while, so that a sender is often killed in between."""
    await asyncio.sleep(0.4)
    await answering(204, b"")(request, writer)


def moody(seed: int) -> Callable[[Received, object], object]:
    """A receiver that says no, or nothing, now and then."""
    draw = random.Random(seed)
    yes, no = answering(204, b""), answering(503)

    async def behave(request: Received, writer: object) -> None:
        mood = draw.random()
        await (no if mood < 0.2 else yes)(request, writer)  # type: ignore[arg-type]

    return behave


def tell(client: httpx.Client, minute: int) -> None:
    """A minute of a day on which routes leave ever later, so that windows move and alerts open."""
    at_us = NOON_US + minute * 60 * US
    events = [moment("tick", at_us)]
    if minute % 4 == 0:
        name = f"R-{minute}"
        events = [*plan(name, at_us - US, at_us - 600 * US), *events]
    lines = b"\n".join(orjson.dumps(each) for each in events)
    for _ in range(200):
        with suppress(httpx.TransportError):
            answer = client.post(
                "/v1/events", content=lines, headers={"content-type": "application/x-ndjson"}
            )
            if answer.status_code == 202:
                return
        time.sleep(0.05)
    raise AssertionError("the service took no event")


def kill(service: Service, name: str, pause_s: float) -> None:
    """Kill a process some time after it was started again."""
    old = getattr(service, name)
    time.sleep(pause_s)
    with suppress(ProcessLookupError):
        os.kill(old.pid, signal.SIGKILL)
    until(lambda: getattr(service, name) is not old, within_s=30.0)


def kills(workspace: Workspace, tmp_path: Path, count: int, seed: int) -> None:
    draw = random.Random(seed)
    with (
        receiving(moody(seed)) as moods,  # type: ignore[arg-type]
        receiving(unhurried) as calm,
        served(workspace, tmp_path / "service.log") as service,
        httpx.Client(base_url=service.base_url, timeout=10.0) as client,
    ):
        receivers = (moods, calm)
        answers = [client.post("/v1/webhooks", json={"url": each.url}).json() for each in receivers]
        listener = Listener(service.base_url)
        listener.start()
        try:
            for number in range(count):
                tell(client, 2 * number)
                seen = len(calm.received)
                tell(client, 2 * number + 1)
                calm.begins(seen, within_s=1.0)
                kill(service, ("sender", "engine")[number % 2], draw.uniform(0.0, 0.4))
            until(lambda: client.get("/v1/summary").json()["behind"] == 0, within_s=120.0)
            outbox = OpsReader(workspace.ops)
            events = outbox.outbox(0, 1_000_000)
            outbox.close()
            wanted = [event.event_id for _, event in events]
            until(lambda: counted(client) == [(0, len(wanted), 0)] * 2, within_s=120.0)
            until(lambda: len(listener.ids) >= len(wanted), within_s=60.0)
        finally:
            listener.stop()
    assert service.restarts >= count and len(wanted) > count
    assert listener.ids == wanted, "the stream skipped, repeated or turned events around"
    assert listener.positions == [position for position, _ in events]
    bodies = {event.event_id: event.body for _, event in events}
    for receiver, answer in zip(receivers, answers, strict=True):
        assert {each.headers["webhook-id"] for each in receiver.received} == set(wanted)
        verify(receiver, answer["secret"], bodies)
    print(
        f"{service.restarts} kills, {len(wanted)} events, streamed over {listener.connections} connections; "
        f"{len(calm.received) - len(wanted)} of {len(calm.received)} calm requests came twice, "
        f"{len(moods.received)} moody ones"
    )


def counted(client: httpx.Client) -> list[tuple[int, ...]]:
    """Messages of each webhook that are pending, sent and dead."""
    found = client.get("/v1/webhooks").json()["webhooks"]
    return [tuple(each["messages"][state] for state in ("pending", "sent", "dead")) for each in found]


def verify(receiver: Receiver, secret: str, bodies: dict[str, bytes]) -> None:
    """Each request has one of the events' ids, that event's very body, and a signature that is right."""
    verifier = Verifier(secret)
    for each in receiver.received:
        assert bodies[each.headers["webhook-id"]] == each.body
        at = datetime.fromtimestamp(int(each.headers["webhook-timestamp"]), tz=UTC)
        signed = verifier.sign(each.headers["webhook-id"], at, each.body.decode())
        assert signed in each.headers["webhook-signature"].split(" ")


def test_every_event_arrives_over_a_few_kills(workspace: Workspace, tmp_path: Path) -> None:
    kills(workspace, tmp_path, count=3, seed=1)


@pytest.mark.on_demand
@pytest.mark.parametrize("seed", [2])
def test_every_event_arrives_over_sixty_kills(workspace: Workspace, tmp_path: Path, seed: int) -> None:
    kills(workspace, tmp_path, count=60, seed=seed)
