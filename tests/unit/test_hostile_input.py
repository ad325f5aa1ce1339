"""What hostile or broken clients send is refused with a reason, quickly, and costs nobody else anything."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_stream import served

from data_contracts.record import TICK
from data_contracts.workspace import Workspace
from serving.api.api import ENDPOINTS, create_app
from serving.api.ingest import REJECTED, ingest, rows_of
from serving.engine_process import Ticker
from serving.http import body
from serving.http.limits import Limits
from serving.http.problems import ProblemError
from serving.settings import ServiceSettings
from serving.storage.log import Clock, EventLog, NewEvent, Verdict
from serving.times import US, to_rfc3339
from tests.api_client import Client, calling, crown, refused, wire_ping
from tests.engine_bench import FakeForecaster

TEN_MB = 10 * 1024 * 1024
NOW_US = 1_772_452_800 * US
WALL = ServiceSettings(limits=Limits())
WITH_BODY = [each for each in ENDPOINTS if each.body is not None]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("hostile") / "w")
    crown(workspace)
    return workspace


@pytest.fixture(scope="module")
def client(workspace: Workspace) -> Iterator[Client]:
    app = create_app(workspace, WALL, load=lambda folder: FakeForecaster(folder.name))
    with calling(app) as client:
        yield client


def logged(workspace: Workspace) -> int:
    return EventLog(workspace.log, Clock.WALL).last().seq


HOSTILE = {
    "10 MB of spaces": b" " * TEN_MB,
    "10 MB of one string": b'{"type": "' + b"x" * TEN_MB + b'"}',
    "lists in lists": b"[" * 100_000 + b"]" * 100_000,
    "objects in objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "NaN": b'{"type": "pings", "event_id": "e", "lat": NaN}',
    "Infinity": b'{"stop_ids": ["a"], "coverage": Infinity}',
    "a huge number": b'{"type": "pings", "event_id": "e", "lat": 1e999}',
    "many digits": b'{"stop_ids": [' + b"9" * 100_000 + b"]}",
    "bad UTF-8": b'{"stop_ids": ["\xff\xfe\xc3\x28"]}',
    "half a surrogate": b'{"stop_ids": ["\\ud800"]}',
    "UTF-16": '{"stop_ids": ["a"]}'.encode("utf-16"),
    "a NUL": b'{"stop_ids": ["a\x00b"]}',
    "nothing": b"",
    "a number": b"7",
    "null": b"null",
    "text": b'"stop"',
    "a list of nothing": b"[null]",
    "keys of other types": b'{"stop_ids": {"a": 1}, "route_id": []}',
}


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda endpoint: endpoint.name)
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bodies_are_refused_in_time(client: Client, endpoint: Any, content: bytes) -> None:
    path = endpoint.path.replace("{incident_id}", "I-1").replace("{webhook_id}", "w")
    started_s = time.process_time()
    answer = client.request(endpoint.method, path, content=content)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 2_000, "the answer is not as long as the question"
    assert time.process_time() - started_s < 2.0


@pytest.mark.parametrize("media_type", ["application/json", "application/x-ndjson"])
def test_of_a_key_that_is_given_twice_the_last_counts_and_is_checked(
    client: Client, workspace: Workspace, media_type: str
) -> None:
    before = logged(workspace)
    line = orjson.dumps(wire_ping("e"))[:-1] + b', "lat": 99}'
    answer = client.post("/v1/events", content=line, headers={"content-type": media_type})
    assert "lat" in refused(answer, 422, "no-event-accepted")
    assert logged(workspace) == before


WRONG: list[dict[str, Any]] = [
    {"lat": "50"},
    {"lat": True},
    {"lat": None},
    {"lat": [50.0]},
    {"lat": 90.0001},
    {"lat": 0, "lon": 0},
    {"occurred_at": 1772452800},
    {"occurred_at": "1772452800"},
    {"occurred_at": "2026-03-02T12:00:00"},
    {"occurred_at": "1999-12-31T23:59:59Z"},
    {"occurred_at": "9999-12-31T23:59:59Z"},
    {"occurred_at": "2026-02-30T12:00:00Z"},
    {"event_id": ""},
    {"event_id": 7},
    {"event_id": "x" * 100_000},
    {"type": "model"},
    {"type": "command"},
    {"type": ["pings"]},
    {"seq": 5},
    {"__proto__": {}},
]


@pytest.mark.parametrize("change", WRONG, ids=lambda change: orjson.dumps(change).decode()[:40])
def test_a_row_that_is_wrong_is_refused_and_its_neighbours_are_not(
    client: Client, workspace: Workspace, change: dict[str, Any]
) -> None:
    before, name = logged(workspace), orjson.dumps(change).decode()[:80]
    rows = [wire_ping(f"a{name}"), wire_ping(f"b{name}") | change, wire_ping(f"c{name}")]
    answer = client.post("/v1/events", json=rows)
    assert [row["verdict"] for row in answer.json()["rows"]] == ["accepted", REJECTED, "accepted"]
    assert len(answer.content) < 2_000
    assert logged(workspace) == before + 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        json_values
        | st.builds(
            lambda change: wire_ping() | change, json_values.filter(lambda value: isinstance(value, dict))
        ),
        min_size=1,
        max_size=5,
    ),
    st.binary(max_size=30),
)
def test_every_row_gets_one_verdict_and_only_accepted_rows_are_kept(
    tmp_path: Path, rows: list[Any], noise: bytes
) -> None:
    lines = [orjson.dumps(row, option=orjson.OPT_NON_STR_KEYS) for row in rows] + [noise.replace(b"\n", b" ")]
    log = EventLog(tmp_path / "log.db", Clock.WALL)
    before = log.last().seq
    try:
        found = rows_of(b"\n".join(lines), "application/x-ndjson", 100)
    except ProblemError:
        found = []
    verdicts = ingest(found, log, lambda *_: None) if found else []
    kept = sum(each["verdict"] == Verdict.ACCEPTED for each in verdicts)
    assert len(verdicts) == len(found)
    assert len(log.read(before, 1000)) == kept
    assert all("reason" in each for each in verdicts if each["verdict"] == REJECTED)
    log.close()


def test_a_client_that_sends_its_body_too_slowly_is_let_go(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "SLOWEST_S", 0.3)
    with served(workspace, WALL) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=5.0) as slow:
            slow.sendall(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
            assert slow.recv(100).startswith(b"HTTP/1.1 408")
        assert httpx.get(f"{url}/v1/summary").status_code == 200


def test_a_clock_that_steps_back_never_takes_time_back(tmp_path: Path) -> None:
    now_us = NOW_US
    log = EventLog(tmp_path / "log.db", Clock.WALL, now_us=lambda: now_us)
    ticker = Ticker(log, every_s=1.0)
    for turn, step_s in enumerate((0, 1, -3600, 1, 1, -86_400, 3, 90_000)):
        now_us += step_s * US
        log.append([NewEvent(type="pings", body={}, event_id=f"{now_us}-{step_s}")])
        ticker.beat(1.5 * turn)
        assert log.now_us() >= log.last().received_us
    instants = [record.received_us for record in log.read(0, 100)]
    assert len(instants) == 16 and all(a < b for a, b in pairwise(instants))
    assert {record.type for record in log.read(0, 100)} == {"pings", TICK}
    assert instants[-1] >= now_us


def test_while_the_clock_is_behind_events_are_still_taken_and_answered(
    client: Client, workspace: Workspace
) -> None:
    ahead_us = time.time_ns() // 1000 + 3600 * US
    log = EventLog(workspace.log, Clock.WALL, now_us=lambda: ahead_us)
    log.append([NewEvent(type="pings", body={}, event_id="ahead")])
    ping = wire_ping("behind", occurred_at=to_rfc3339(time.time_ns() // 1000), received_at=None)
    ping.pop("received_at")
    assert client.post("/v1/events", json=ping).status_code == 202
    assert log.last().received_us == ahead_us + 1
    assert client.get("/v1/summary").status_code == 200
