"""The event stream: every event once, in order, from where a client was, over real connections."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import orjson
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.workspace import Workspace
from pipelines.demo import free_port
from serving.api.api import create_app
from serving.api.stream import GAP, Wanted, start
from serving.engine.ops import OpsStore
from serving.engine.outbox import EventType, outbox_event
from serving.settings import ServiceSettings, StreamSettings
from serving.storage.log import Clock
from serving.storage.tail import OutboxTail
from tests.engine_bench import FakeForecaster

QUICK = StreamSettings(heartbeat_s=0.3, look_s=0.02, retry_s=0.01, longest_s=60.0, most=3)
SETTINGS = ServiceSettings(clock=Clock.LOG, stream=QUICK)

Message = dict[str, str]


class Outbox:
    """The engine's side: events enter, one commit each."""

    def __init__(self, workspace: Workspace) -> None:
        self._ops, self.ids = OpsStore(workspace.ops), list[str]()

    def put(
        self, n: int, event_type: EventType = EventType.DELAY_PREDICTED, stop: str = "S-1", route: str = "R-1"
    ) -> str:
        event = outbox_event(event_type, stop, n, {"route_id": route, "n": n, "text": "ligne\n\r\né"})
        with self._ops.transaction() as tx:
            tx.enqueue([event])
        self.ids.append(event.event_id)
        return event.event_id

    def forget(self, upto: int) -> None:
        """As if old events had been cleared away."""
        self._ops._connection.execute("DELETE FROM outbox WHERE position <= ?", (upto,))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "w")


@pytest.fixture
def outbox(workspace: Workspace) -> Outbox:
    return Outbox(workspace)


@contextmanager
def served(workspace: Workspace, settings: ServiceSettings = SETTINGS) -> Iterator[str]:
    """The app behind a real HTTP server; connections that are still open are cut at the end."""
    app = create_app(workspace, settings, load=lambda folder: FakeForecaster(folder.name))
    port = free_port()
    config = uvicorn.Config(app, port=port, log_level="error", lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def url(workspace: Workspace, outbox: Outbox) -> Iterator[str]:
    with served(workspace) as url:
        yield url


def parsed(response: httpx.Response) -> Iterator[Message]:
    """Messages of a stream, by the rules of server-sent events."""
    fields: Message = {}
    for line in response.iter_lines():
        if not line:
            yield fields
            fields = {}
            continue
        name, _, value = line.partition(":")
        fields[name or "comment"] = value.removeprefix(" ")


@contextmanager
def listening(url: str, query: str = "", last_id: str | None = None) -> Iterator[Iterator[Message]]:
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    with httpx.stream("GET", f"{url}/v1/stream{query}", headers=headers, timeout=5.0) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield parsed(response)


def told(messages: Iterator[Message], count: int) -> list[Message]:
    """The next messages that are events."""
    found: list[Message] = []
    while len(found) < count:
        if (message := next(messages)).get("data"):
            found.append(message)
    return found


def ids(messages: list[Message]) -> list[str]:
    return [orjson.loads(message["data"])["id"] for message in messages]


def test_a_new_listener_hears_what_comes_and_not_what_was(url: str, outbox: Outbox) -> None:
    outbox.put(1)
    with listening(url) as messages:
        hello = next(messages)
        assert (hello["id"], hello["retry"]) == ("1", "10")
        now = outbox.put(2)
        (message,) = told(messages, 1)
    assert (message["id"], message["event"]) == ("2", "stop.delay.predicted")
    body = orjson.loads(message["data"])
    assert (body["id"], body["specversion"], body["data"]["text"]) == (now, "1.0", "ligne\n\r\né")


def test_a_listener_that_comes_back_goes_on_without_a_gap(url: str, outbox: Outbox) -> None:
    outbox.put(0)
    heard: list[str] = []
    last_id = "0"
    for n in range(1, 9):
        outbox.put(2 * n)
        with listening(url, last_id=last_id) as messages:
            outbox.put(2 * n + 1)
            for message in told(messages, 1):
                heard += ids([message])
                last_id = message["id"]
    with listening(url, last_id=last_id) as messages:
        heard += ids(told(messages, len(outbox.ids) - len(heard)))
    assert heard == outbox.ids


def test_a_first_visit_may_begin_at_the_beginning(url: str, outbox: Outbox) -> None:
    for n in range(450):
        outbox.put(n)
    with listening(url, "?after=0") as messages:
        assert ids(told(messages, 450)) == outbox.ids


def test_what_a_browser_sends_counts_more_than_the_address(url: str, outbox: Outbox) -> None:
    for n in range(3):
        outbox.put(n)
    with listening(url, "?after=0", last_id="2") as messages:
        assert ids(told(messages, 1)) == outbox.ids[2:]


def test_a_heartbeat_moves_a_listener_past_what_it_does_not_take(url: str, outbox: Outbox) -> None:
    with listening(url, "?type=disruption.opened") as messages:
        next(messages)
        for n in range(3):
            outbox.put(n)
        beat = next(message for message in messages if message.get("id") == "3")
    assert beat == {"comment": "heartbeat", "id": "3"}


def test_heartbeats_come_also_while_unwanted_events_pour(workspace: Workspace, outbox: Outbox) -> None:
    done = threading.Event()

    def pour() -> None:
        n = 0
        while not done.wait(0.02):
            outbox.put(n := n + 1)

    with served(workspace) as url, listening(url, "?type=disruption.opened") as messages:
        next(messages)
        pouring = threading.Thread(target=pour)
        pouring.start()
        try:
            assert next(messages)["comment"] == "heartbeat"
        finally:
            done.set()
            pouring.join()


def test_a_listener_chooses_by_type_route_and_subject(url: str, outbox: Outbox) -> None:
    outbox.put(1, EventType.DELAY_PREDICTED, "S-1", "R-1")
    outbox.put(2, EventType.DELAY_RESOLVED, "S-2", "R-2")
    outbox.put(3, EventType.WINDOW_CHANGED, "S-2", "R-2")
    outbox.put(4, EventType.WINDOW_CHANGED, "S-1", "R-1")
    chosen = {
        "?after=0&type=stop.delay.*": [0, 1],
        "?after=0&type=stop.delay.resolved&type=eta.window.changed": [1, 2, 3],
        "?after=0&route_id=R-2": [1, 2],
        "?after=0&route_id=R-2&type=eta.window.changed": [2],
        "?after=0&subject=S-1": [0, 3],
    }
    for query, wanted in chosen.items():
        with listening(url, query) as messages:
            assert ids(told(messages, len(wanted))) == [outbox.ids[n] for n in wanted]


def test_what_was_cleared_away_is_told_as_a_gap(url: str, outbox: Outbox) -> None:
    for n in range(4):
        outbox.put(n)
    outbox.forget(2)
    with listening(url, last_id="1") as messages:
        gap, *rest = told(messages, 3)
    assert (gap["event"], gap["id"]) == (GAP, "2")
    assert orjson.loads(gap["data"]) == {"reason": "FORGOTTEN", "asked_after": 1, "goes_on_after": 2}
    assert ids(rest) == outbox.ids[2:]


def test_a_listener_of_another_history_is_told(url: str, outbox: Outbox) -> None:
    outbox.put(1)
    with listening(url, last_id="77") as messages:
        (gap,) = told(messages, 1)
    assert orjson.loads(gap["data"])["reason"] == "UNKNOWN_POSITION" and gap["id"] == "1"


@given(st.none() | st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_a_stream_never_skips_silently(asked: int | None, forgotten: int, kept: int) -> None:
    begin = start(asked, forgotten, forgotten + kept)
    assert forgotten <= begin.position <= forgotten + kept
    if asked is not None:
        assert (begin.gap is None) == (begin.position == asked)


@pytest.mark.parametrize("last_id", ["-1", "x", "²", "1.5", "9" * 19])
def test_a_position_that_is_none_is_refused(url: str, last_id: str) -> None:
    answer = httpx.get(f"{url}/v1/stream?after={last_id}")
    assert answer.status_code == 422 and "Last-Event-ID" in answer.json()["detail"]


def test_an_unknown_type_is_refused_with_those_there_are(url: str) -> None:
    answer = httpx.get(f"{url}/v1/stream?type=stop.delayed")
    assert answer.status_code == 422 and "stop.delay.predicted" in answer.json()["detail"]


def test_a_full_server_says_when_to_come_back_and_has_room_again(url: str, outbox: Outbox) -> None:
    with listening(url) as a, listening(url) as b, listening(url) as c:
        for messages in (a, b, c):
            next(messages)
        answer = httpx.get(f"{url}/v1/stream")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        with httpx.stream("GET", f"{url}/v1/stream") as response:
            if response.status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("streams that ended still count")


def test_asking_for_the_head_alone_opens_no_stream(url: str, outbox: Outbox) -> None:
    for _ in range(QUICK.most + 2):
        assert httpx.head(f"{url}/v1/stream").status_code == 200


def test_a_stream_ends_after_a_while_so_that_a_client_comes_back(
    workspace: Workspace, outbox: Outbox
) -> None:
    settings = replace(SETTINGS, stream=replace(QUICK, longest_s=0.2))
    with served(workspace, settings) as url, listening(url) as messages:
        assert [message.get("id") for message in messages] == ["0"]


def test_a_client_that_does_not_read_is_let_go(workspace: Workspace, outbox: Outbox) -> None:
    import socket

    settings = replace(SETTINGS, stream=replace(QUICK, send_timeout_s=0.3, most=1))
    for n in range(3000):
        outbox.put(n, stop="S" * 2000)
    with served(workspace, settings) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(b"GET /v1/stream?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            deadline_s = time.monotonic() + 10
            while httpx.head(f"{url}/v1/stream").status_code == 200:
                assert time.monotonic() < deadline_s, "it never began"
            while httpx.head(f"{url}/v1/stream").status_code != 200:
                assert time.monotonic() < deadline_s, "it still holds its place"
                time.sleep(0.05)


def test_the_outbox_is_looked_at_only_while_somebody_listens() -> None:
    looks: list[int] = []

    async def scene() -> None:
        tail = OutboxTail(lambda: looks.append(1) or len(looks), 0.001)
        await asyncio.sleep(0.02)
        assert not looks
        assert tail.admit(1) and not tail.admit(1)
        assert await tail.beyond(2, 5.0)
        assert not await tail.beyond(10**9, 0.01)
        tail.leave()
        await asyncio.sleep(0.02)
        seen = len(looks)
        await asyncio.sleep(0.02)
        assert len(looks) == seen

    asyncio.run(scene())


def test_a_listener_that_names_nothing_takes_everything() -> None:
    event = outbox_event(EventType.CALIBRATION_DRIFTED, "model", 1, {})
    assert Wanted().takes(event) and event.route_id is None
    assert not Wanted(routes=frozenset({"R-1"})).takes(event)
