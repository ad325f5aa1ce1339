"""One page tells of every process, and of the log and the engine as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from data_contracts.workspace import Workspace
from serving.decisions.cadence import RouteCadence
from serving.engine.batch import Batch
from serving.engine.engine_meter import EngineMeter
from serving.meters import METRICS_VARIABLE, meters
from serving.storage.log import Clock, EventLog, NewEvent
from tests.api_client import Client, play, wire_ping
from tests.builders import NOON_US
from tests.engine_bench import MODEL, route_events, tick

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = (sample.name, tuple(sorted(sample.labels.items())))
            assert name not in found, f"{name} is told twice"
            found[name] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    return found[f"punctual_{name}", tuple(sorted(labels.items()))]


def test_the_page_tells_where_log_and_engine_stand(client: Client, workspace: Workspace) -> None:
    play(workspace, MODEL, *route_events(), tick(0))
    client.post("/v1/events", json=wire_ping())
    found = samples(client.get("/metrics").text)
    assert value(found, "log_records") == 9
    assert value(found, "engine_behind_records") == 1
    assert value(found, "model_ready") == 1
    assert value(found, "log_appended_total", type="pings") == 1
    assert value(found, "forecasts") == 5
    assert value(found, "file_bytes", file="log.db") > 0
    assert value(found, "disk_free_bytes") > 0


def test_the_age_of_a_feed_is_counted_from_its_last_record(client: Client, workspace: Workspace) -> None:
    log = EventLog(workspace.log, Clock.LOG)
    for n, type_ in enumerate(("pings", "traffic", "pings")):
        log.append([NewEvent(type=type_, body={}, event_id=f"e{n}", received_us=NOON_US + n * 10_000_000)])
    log.append([NewEvent(type="pings", body={}, event_id="e2", received_us=NOON_US + 99_000_000)])
    found = samples(client.get("/metrics").text)
    assert value(found, "feed_age_seconds", type="pings") == 0
    assert value(found, "feed_age_seconds", type="traffic") == 10
    assert value(found, "log_appended_total", type="pings") == 2


def test_answers_are_timed_and_counted_by_call_and_status(client: Client, workspace: Workspace) -> None:
    def calls(status: str) -> float:
        return samples(client.get("/metrics").text).get(
            ("punctual_calls_total", (("call", "stopEta"), ("status", status))), 0.0
        )

    before = calls("404")
    for _ in range(3):
        client.get("/v1/stops/nobody/eta")
    assert calls("404") - before == 3
    found = samples(client.get("/metrics").text)
    assert value(found, "call_seconds_bucket", call="stopEta", le="+Inf") >= 3


def test_rows_are_counted_by_verdict(client: Client) -> None:
    def rows(verdict: str) -> float:
        found = samples(client.get("/metrics").text)
        return found.get(("punctual_ingested_rows_total", (("verdict", verdict),)), 0.0)

    before = {verdict: rows(verdict) for verdict in ("accepted", "duplicate", "rejected")}
    client.post("/v1/events", json=[wire_ping("a"), wire_ping("a"), {"type": "x"}, {"type": "y"}])
    gained = {verdict: rows(verdict) - count for verdict, count in before.items()}
    assert gained == {"accepted": 1, "duplicate": 1, "rejected": 2}


def lags(meter: EngineMeter, *cadences: RouteCadence) -> float:
    """How much is added to the sum of lags by one commit."""
    before = _lag_sum()
    meter.committed(Batch(cadences={each.route_id: each for each in cadences}), 1, 0.1)
    return _lag_sum() - before


def _lag_sum() -> float:
    (family,) = meters().event_to_forecast_s.collect()
    return next(sample.value for sample in family.samples if sample.name.endswith("_sum"))


def test_the_lag_of_an_event_is_told_once_when_a_forecast_knows_it() -> None:
    meter = EngineMeter(Clock.WALL, now_us=lambda: NOON_US + 3_000_000)
    dirty = RouteCadence(route_id="R", dirty=True, touched_us=NOON_US)
    scored = RouteCadence(route_id="R", touched_us=NOON_US, scored_us=NOON_US + 2_000_000)
    assert lags(meter, dirty) == 0
    assert lags(meter, scored) == pytest.approx(3.0)
    assert lags(meter, scored) == 0


def test_a_replay_tells_no_lag() -> None:
    meter = EngineMeter(Clock.LOG, now_us=lambda: NOON_US * 2)
    assert lags(meter, RouteCadence(route_id="R", touched_us=NOON_US, scored_us=NOON_US)) == 0


def test_processes_count_onto_one_page_also_after_they_ended(tmp_path: Path) -> None:
    counting = (
        "from serving.meters import count_into_folder, meters, counted; count_into_folder();"
        "meters().records.inc(5); meters().streams.inc(); meters().call_s.labels('x').observe(0.2)"
    )
    environment = {**os.environ, METRICS_VARIABLE: str(tmp_path / "metrics")}

    def run(code: str) -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    run(counting)
    run(counting)
    found = samples(run(f"{counting}; print(counted().decode())"))
    assert value(found, "engine_records_total") == 15
    assert value(found, "call_seconds_count", call="x") == 3
    assert value(found, "streams") == 1
