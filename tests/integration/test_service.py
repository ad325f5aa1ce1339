"""The service as it runs: an engine and BentoML's workers over one workspace, spoken to over HTTP."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from data_contracts.workspace import Workspace
from pipelines.demo import free_port
from serving.http import wire
from serving.supervisor import Service
from serving.times import US, wall_now_us
from tests.builders import NOON_US
from tests.running import PATIENCE, caught_up, moment, plan, said, send, speaking_to, until

pytestmark = pytest.mark.end_to_end


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


def test_readiness_says_what_is_missing(workspace: Workspace, tmp_path: Path) -> None:
    workspace.settings.write_text(
        '[serving]\nclock = "log"\nworkers = 1\nmodel_poll_s = 0.2\nengine_silent_s = 2\n'
    )
    away = workspace.champion.rename(workspace.champion.with_suffix(".away"))
    with (tmp_path / "service.log").open("ab") as output:
        service = Service(workspace, "127.0.0.1", free_port(), output, PATIENCE)
        service.start()
        try:
            until(lambda: "no model is loaded" in (service.missing() or ""), within_s=60.0)
            away.rename(workspace.champion)
            service.wait_until_ready()
            os.kill(service.engine.pid, signal.SIGSTOP)
            until(lambda: "no sign of life for" in (service.missing() or ""))
            os.kill(service.engine.pid, signal.SIGCONT)
            until(lambda: service.missing() is None)
            service.engine.kill()
            service.engine.wait()
            service.look_after()
            assert "starting, or ended" in (service.missing() or "")
            until(lambda: service.missing() is None)
        finally:
            service.stop()
    assert not workspace.heartbeat.exists()


def test_a_workspace_without_a_model_takes_events_and_is_ready_once_it_has_one(
    workspace: Workspace, tmp_path: Path
) -> None:
    away = workspace.champion.rename(workspace.champion.with_suffix(".away"))
    port, output = free_port(), tmp_path / "service.log"
    command = [sys.executable, "-m", "pipelines.cli", "serve", "-w", str(workspace.root), "--port", str(port)]
    with output.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10.0) as client:
            until(lambda: "no model is loaded" in said(output), within_s=60.0)
            send(client, *plan("R-1"), moment("tick", NOON_US))
            assert client.get("/v1/stops/R-1-S1/eta").status_code == 404
            away.rename(workspace.champion)
            until(lambda: '"service_ready"' in said(output), within_s=30.0)
            send(client, moment("tick", NOON_US + 60 * US))
            assert client.get("/v1/stops/R-1-S1/eta").status_code == 200
    finally:
        process.terminate()
        assert process.wait(30.0) == 0
    assert said(output).count("service_not_ready") >= 1


def test_a_service_ends_in_order_and_at_once_with_a_stream_open(workspace: Workspace, tmp_path: Path) -> None:
    output = tmp_path / "service.log"
    with output.open("ab") as sink:
        service = Service(workspace, "127.0.0.1", free_port(), sink, PATIENCE)
        service.start()
        try:
            service.wait_until_ready()
            with httpx.stream("GET", f"{service.base_url}/v1/stream", timeout=5.0) as stream:
                assert stream.status_code == 200
                started_s = time.monotonic()
                service.stop()
        finally:
            service.stop()
    text = output.read_text(errors="replace")
    assert time.monotonic() - started_s < 15.0
    assert text.index('"engine_stopped"') < text.index('"sender_stopped"')
    assert not workspace.heartbeat.exists()


def test_files_of_another_release_are_refused_with_words(workspace: Workspace) -> None:
    command = [sys.executable, "-m", "pipelines.cli", "serve", "-w", str(workspace.root)]
    for path, layout, word in ((workspace.log, 9, "a newer"), (workspace.ops, 1, "an earlier")):
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE IF NOT EXISTS checkpoint (id)")
        connection.execute(f"PRAGMA user_version = {layout}")
        connection.close()
        refused = subprocess.run([*command, "--port", str(free_port())], capture_output=True, text=True)
        assert refused.returncode == 2
        assert f"was written by {word} release (layout {layout};" in " ".join(refused.stderr.split())
        path.unlink()


def test_a_workspace_is_served_once(workspace: Workspace, tmp_path: Path) -> None:
    again = [sys.executable, "-m", "pipelines.cli", "serve", "-w", str(workspace.root)]
    with speaking_to(workspace, tmp_path / "service.log") as client:
        refused = subprocess.run([*again, "--port", str(free_port())], capture_output=True, text=True)
        assert client.get("/readyz").status_code == 200
    assert refused.returncode == 2
    assert f"is served already, by process {os.getpid()}" in " ".join(refused.stderr.split())


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
