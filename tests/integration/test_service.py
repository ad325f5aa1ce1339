"""The service as it runs: an engine and BentoML's workers over one workspace, spoken to over HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import polars as pl
import pytest

from data_contracts.record import Record
from data_contracts.workspace import Workspace
from features.live import LiveFeatures
from features.route_book import RouteBook
from features.vectors import Vectors, assemble
from pipelines.demo import free_port
from serving.http import wire
from serving.supervisor import Patience, Service, running_service
from serving.times import US, to_rfc3339, wall_now_us
from training.boosters import BoosterSettings
from training.dataset import Dataset
from training.forecaster import train

pytestmark = pytest.mark.end_to_end

NOON_US = 1_772_452_800 * US
DAY_US = 86_400 * US
TINY = BoosterSettings(trees=5, leaves=4, min_rows_in_leaf=5)
PATIENCE = Patience(ready_s=90.0, restart_s=0.1)


def route_rows(route_id: str, start_us: int = NOON_US, stops: int = 4) -> list[tuple[str, dict[str, Any]]]:
    """Rows of one route, with times in microseconds."""
    route = {
        "route_id": route_id,
        "vehicle_id": f"V-{route_id}",
        "area_id": "A",
        "origin_zone_id": "Z-0",
        "timezone": "UTC",
        "service_date": "2026-03-02",
        "planned_departure_at": start_us,
    }
    rows: list[tuple[str, dict[str, Any]]] = [("routes", route)]
    for sequence in range(1, stops + 1):
        planned_us = start_us + sequence * 720 * US
        stop = {
            "stop_id": f"{route_id}-S{sequence}",
            "route_id": route_id,
            "plan_version": 1,
            "sequence": sequence,
            "zone_id": f"Z-{sequence}",
            "promised_start_at": planned_us - 300 * US,
            "promised_end_at": planned_us + 900 * US,
            "planned_arrival_at": planned_us,
            "planned_travel_s": 600.0,
            "planned_service_s": 120.0,
        }
        rows.append(("stops", stop))
    return rows


def event(table: str, row: dict[str, Any], event_id: str, at_us: int) -> dict[str, Any]:
    """A row as it goes over the wire."""
    told = {name: to_rfc3339(value) if name.endswith("_at") else value for name, value in row.items()}
    stamp = to_rfc3339(at_us)
    return {"type": table, "event_id": event_id, "occurred_at": stamp, "received_at": stamp} | told


def plan(route_id: str, at_us: int = NOON_US - 60 * US, start_us: int = NOON_US) -> list[dict[str, Any]]:
    rows = route_rows(route_id, start_us)
    return [event(table, row, f"{route_id}-{n}", at_us) for n, (table, row) in enumerate(rows)]


def moment(table: str, at_us: int, **row: Any) -> dict[str, Any]:
    return event(table, row, f"{table}-{at_us}-{'-'.join(map(str, row.values()))}", at_us)


def some_vectors(day: int) -> Vectors:
    book, at_us = RouteBook(), NOON_US + day * DAY_US
    names = [f"R-{day}-{n}" for n in range(8)]
    for name in names:
        for seq, (table, row) in enumerate(route_rows(name, at_us)):
            book.apply(Record(seq, at_us, table, row))
    return assemble(book.itinerary(names, at_us), LiveFeatures().read, at_us)


def crown_a_model(workspace: Workspace) -> None:
    """Train the smallest real model there can be."""
    days = [some_vectors(day) for day in range(8)]
    vectors = Vectors(
        [stop for each in days for stop in each.stop_ids],
        [route for each in days for route in each.route_ids],
        np.concatenate([each.as_of_us for each in days]),
        np.concatenate([each.matrix for each in days]),
        np.concatenate([each.base_s for each in days]),
        {feed: np.concatenate([each.ages_s[feed] for each in days]) for feed in days[0].ages_s},
    )
    noise = np.random.default_rng(7).gamma(4.0, 120.0, len(vectors))
    dates = [f"2026-03-{2 + day:02d}" for day, each in enumerate(days) for _ in each.stop_ids]
    rows = Dataset(
        vectors,
        pl.DataFrame({"service_date": dates, "cluster": dates}),
        vectors.base_s + noise,
        vectors.as_of_us + DAY_US,
    )
    model, _ = train(rows, name="tiny", version="1", settings=TINY)
    model.save(workspace.models / "1", vectors)
    workspace.champion.write_text('{"version": "1", "alias": "champion"}')


@pytest.fixture(scope="module")
def crowned(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("crowned"))
    crown_a_model(workspace)
    return workspace


@pytest.fixture
def workspace(crowned: Workspace, tmp_path: Path) -> Workspace:
    """A workspace of its own, with the model that was trained once."""
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "models").symlink_to(crowned.models)
    (tmp_path / "w" / "punctual.toml").write_text('[serving]\nclock = "log"\nworkers = 1\n')
    return Workspace(tmp_path / "w")


def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, f"nothing happened within {within_s} s"
        time.sleep(0.05)


def caught_up(client: httpx.Client) -> bool:
    return bool(client.get("/v1/summary").json()["behind"] == 0)


def send(client: httpx.Client, *events: dict[str, Any]) -> None:
    lines = b"\n".join(orjson.dumps(each) for each in events)
    answer = client.post("/v1/events", content=lines, headers={"content-type": "application/x-ndjson"})
    assert (answer.status_code, answer.json()["rejected"]) == (202, 0), answer.text
    until(lambda: caught_up(client))


@contextmanager
def speaking_to(workspace: Workspace, output: Path) -> Iterator[httpx.Client]:
    with (
        running_service(workspace, free_port(), patience=PATIENCE, output=output) as url,
        httpx.Client(base_url=url, timeout=10.0) as client,
    ):
        yield client


def said(output: Path) -> str:
    return output.read_text(errors="replace")[-4000:]


def test_a_day_over_http(workspace: Workspace, tmp_path: Path) -> None:
    output = tmp_path / "service.log"
    with speaking_to(workspace, output) as client:
        send(client, *plan("R-1"), moment("tick", NOON_US))
        first = wire.Forecast.model_validate(client.get("/v1/stops/R-1-S1/eta").json())
        assert first.model.name == "tiny"
        live = client.post("/v1/eta", json={"stop_ids": ["R-1-S1", "nobody"], "reasons": True}).json()
        answer = wire.EtaAnswer.model_validate(live)
        assert isinstance(answer.forecasts[0], wire.Forecast)
        assert answer.forecasts[0].quantiles == first.quantiles
        assert isinstance(answer.forecasts[1], wire.Unanswered)

        late_us = NOON_US + 2400 * US
        send(
            client,
            moment("stop_events", late_us, route_id="R-1", kind="departed_depot"),
            *(moment("tick", late_us + n * 60 * US) for n in range(5)),
        )
        alerts = wire.AlertList.model_validate(client.get("/v1/alerts?state=open").json()).alerts
        assert {alert.stop_id for alert in alerts} >= {"R-1-S1"}
        assert client.get("/readyz").status_code == client.get("/livez").status_code == 200
        metrics = client.get("/metrics").text
        assert "punctual_engine_behind_records 0.0" in metrics
        applied = [line for line in metrics.splitlines() if line.startswith("punctual_engine_records_total")]
        assert float(applied[0].split()[1]) > 10, "the engine's own counts are on the page of a worker"
        assert 'punctual_calls_total{call="ingest",status="202"}' in metrics
        assert client.get("/v1/nowhere").headers["content-type"] == "application/problem+json"
        assert client.get("/openapi.json").json()["openapi"] == "3.1.0"
    assert "engine_stopped" in said(output)


def test_a_killed_engine_goes_on_where_it_stood(workspace: Workspace, tmp_path: Path) -> None:
    with (tmp_path / "service.log").open("ab") as output:
        service = Service(workspace, "127.0.0.1", free_port(), output, PATIENCE)
        service.start()
        try:
            service.wait_until_ready()
            with httpx.Client(base_url=service.base_url, timeout=10.0) as client:
                send(client, *plan("R-1"), moment("tick", NOON_US))
                os.kill(service.engine.pid, signal.SIGKILL)
                service.engine.wait()
                accepted = client.post("/v1/events", json=[*plan("R-2"), moment("tick", NOON_US + US)])
                assert accepted.status_code == 202
                until(lambda: service.look_after() is None and caught_up(client), within_s=30.0)
                assert service.restarts == 1
                assert client.get("/v1/stops/R-2-S1/eta").status_code == 200
                assert client.get("/v1/stops/R-1-S1/eta").json()["as_of"] == "2026-03-02T12:00:00Z"
        finally:
            service.stop()
    assert service.engine.poll() is not None and service.server.poll() is not None


def test_under_the_wall_clock_the_engine_ticks_by_itself(workspace: Workspace, tmp_path: Path) -> None:
    workspace.settings.write_text('[serving]\nclock = "wall"\nworkers = 1\n')
    now_us = wall_now_us()
    output = tmp_path / "service.log"
    with speaking_to(workspace, output) as client:
        assert client.post("/v1/events", json=plan("R-1", now_us, now_us)).status_code == 202
        until(lambda: client.get("/v1/stops/R-1-S1/eta").status_code == 200, within_s=5.0)
        forecast = client.get("/v1/stops/R-1-S1/eta").json()
        assert 0 <= wall_now_us() - now_us < 60 * US
        assert forecast["window"]["start"] < forecast["window"]["end"]


def test_the_log_is_compacted_while_it_is_served(workspace: Workspace, tmp_path: Path) -> None:
    retention = "[serving.retention]\nlog_s = 3600\nevery_s = 0.5\n"
    workspace.settings.write_text(f'[serving]\nclock = "log"\n{retention}')
    output = tmp_path / "service.log"
    with speaking_to(workspace, output) as client:
        send(client, *plan("R-1"), moment("tick", NOON_US))
        send(client, moment("tick", NOON_US + 7200 * US), moment("tick", NOON_US + 7201 * US))
        until(lambda: any(workspace.snapshots.glob("[0-9]*.db")) and bool(list(workspace.archive.glob("0*"))))
        send(
            client,
            *plan("R-2", NOON_US + 7202 * US, NOON_US + 7202 * US),
            moment("tick", NOON_US + 7203 * US),
        )
        assert client.get("/v1/stops/R-2-S1/eta").status_code == 200
        assert client.get("/v1/stops/R-1-S1/eta").status_code == 200
    assert '"log_compacted"' in output.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_service_ends_with_the_process_that_started_it(workspace: Workspace, tmp_path: Path) -> None:
    port = free_port()
    script = (
        "import sys; from pathlib import Path; from data_contracts.workspace import Workspace;"
        f"from serving.supervisor import serve; serve(Workspace(Path(sys.argv[1])), port={port})"
    )
    with (tmp_path / "service.log").open("ab") as output:
        parent = subprocess.Popen(
            [sys.executable, "-c", script, str(workspace.root)], stdout=output, stderr=output
        )
        try:
            until(lambda: _is_ready(port), within_s=90.0)
        finally:
            parent.kill()
            parent.wait()
    until(lambda: not _is_ready(port) and not _engines_of(workspace), within_s=20.0)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2.0).status_code == 200
    except httpx.TransportError:
        return False


def _engines_of(workspace: Workspace) -> list[str]:
    root = str(workspace.root.resolve())
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if "serving.engine_process" in command and root in command:
            found.append(folder.name)
    return found
