"""A forecast that was served is made again from its id, to the last digit, whoever made it and whatever came after."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from data_contracts.errors import ModelError, NoLongerKeptError, UnknownIdError
from data_contracts.workspace import Workspace
from features.live import LiveFeatures
from features.online import OnlineWriter
from features.vectors import FEATURE_NAMES
from pipelines.cli import app as command
from serving.api.api import create_app
from serving.decisions.cadence import Cadence
from serving.engine.code_version import code_version
from serving.engine.engine import Engine
from serving.engine.explain import explain
from serving.engine.history import PASSING, HistoryLimits
from serving.engine.kept import digest_of
from serving.engine.models import ModelShelf, load_forecaster
from serving.engine.ops import OpsStore
from serving.engine.packing import pack, unpack
from serving.engine.readings import OpsReader
from serving.engine.rounds import EngineSettings
from serving.engine.served import REMEMBERED, ServedLog, ServedSettings, find, forget_old
from serving.settings import ServiceSettings
from serving.storage.log import Clock, EventLog, NewEvent
from serving.times import to_rfc3339
from tests.api_client import Client, calling, crown
from tests.builders import make_dataset
from tests.engine_bench import MODEL, happened, ping, route_events, tick
from training.boosters import BoosterSettings
from training.forecaster import train

SETTINGS = ServiceSettings(clock=Clock.LOG)
TINY = BoosterSettings(trees=5, leaves=4, min_rows_in_leaf=5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest real model there can be, saved."""
    rows = make_dataset(400, days=4)
    model = train(rows, name="tiny", version="1", settings=TINY)
    folder = tmp_path_factory.mktemp("models") / "1"
    model.save(folder, rows.vectors)
    return folder


@pytest.fixture
def workspace(trained: Path, tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "w")
    crown(workspace)
    (workspace.models / "1").symlink_to(trained)
    live(
        workspace, MODEL, *route_events(stops=6), tick(0), happened("departed_depot", 60), ping(61), tick(62)
    )
    return workspace


@pytest.fixture
def client(workspace: Workspace) -> Iterator[Client]:
    with calling(create_app(workspace, SETTINGS, load=load_forecaster)) as client:
        yield client


def live(workspace: Workspace, *events: NewEvent, settings: EngineSettings | None = None) -> None:
    """Let an engine with the real model apply some events."""
    log, writer, ops = (
        EventLog(workspace.log, Clock.LOG),
        OnlineWriter(workspace.online),
        OpsStore(workspace.ops),
    )
    log.append(events)
    engine = Engine(log, ops, LiveFeatures(), ModelShelf(workspace).get, writer, settings or EngineSettings())
    while engine.step():
        pass
    for each in (log, writer, ops):
        each.close()


def made_again(workspace: Workspace, forecast: dict[str, Any]) -> None:
    found = explain(workspace, forecast["prediction_id"])
    assert found.forecast == forecast
    assert found.same and found.code_then == found.code_now == code_version()


def test_a_forecast_scored_on_request_is_made_again(client: Client, workspace: Workspace) -> None:
    asked = {"stop_ids": ["R-1-S5", "nobody", "R-1-S2"], "reasons": True}
    answers = client.post("/v1/eta", json=asked).json()["forecasts"]
    for forecast in (answers[0], answers[2]):
        made_again(workspace, forecast)


def test_a_whole_route_and_an_inline_route_are_made_again(client: Client, workspace: Workspace) -> None:
    for forecast in client.post("/v1/eta", json={"route_id": "R-1"}).json()["forecasts"]:
        made_again(workspace, forecast)
    route = {
        "route_id": "X",
        "area_id": "A",
        "origin_zone_id": "Z",
        "timezone": "UTC",
        "service_date": "2026-03-02",
    }
    stops = [{"stop_id": f"X-{n}", "route_id": "X", "sequence": n, "zone_id": "Z-1"} for n in (1, 2)]
    answer = client.post("/v1/eta", json={"route": route, "stops": stops})
    for forecast in answer.json()["forecasts"]:
        made_again(workspace, forecast)


def test_two_requests_of_one_instant_are_two_predictions(client: Client) -> None:
    first, second = (
        client.post("/v1/eta", json={"stop_ids": ["R-1-S1"]}).json()["forecasts"][0] for _ in range(2)
    )
    assert first["prediction_id"] != second["prediction_id"]
    assert first | {"prediction_id": ""} == second | {"prediction_id": ""}


def test_a_forecast_of_the_engine_is_made_again_after_it_was_replaced(
    client: Client, workspace: Workspace
) -> None:
    one = client.get("/v1/stops/R-1-S1/eta").json()
    route = client.get("/v1/routes/R-1/eta").json()["forecasts"]
    live(workspace, *(event for at in range(70, 200, 10) for event in (ping(at), tick(at + 1))))
    assert client.get("/v1/stops/R-1-S1/eta").json()["prediction_id"] != one["prediction_id"]
    for forecast in (one, *route):
        made_again(workspace, forecast)


def test_every_forecast_of_the_history_and_of_every_alert_is_made_again(
    client: Client, workspace: Workspace
) -> None:
    live(workspace, *(tick(at) for at in range(120, 6000, 60)))
    ids = [
        forecast["prediction_id"]
        for n in range(1, 6)
        for forecast in client.get(f"/v1/stops/R-1-S{n}/history?limit=100").json()["forecasts"]
    ]
    alerts = client.get("/v1/alerts?limit=100").json()["alerts"]
    ids += [alert["prediction_id"] for alert in alerts if alert["prediction_id"]]
    assert len(ids) >= 5 and alerts
    assert all(explain(workspace, each).same for each in ids)


def test_forecasts_moved_by_what_was_learned_are_made_again_with_it(
    client: Client, workspace: Workspace
) -> None:
    frozen = client.post("/v1/eta", json={"stop_ids": ["R-1-S6"]}).json()["forecasts"][0]
    live(workspace, happened("arrived", 2500, 1), tick(2501))
    once = client.post("/v1/eta", json={"stop_ids": ["R-1-S6"]}).json()["forecasts"][0]
    live(workspace, happened("completed", 2600, 1), happened("arrived", 4000, 2), tick(4001))
    assert explain(workspace, frozen["prediction_id"]).calibration == 0
    assert explain(workspace, once["prediction_id"]).calibration == 1
    for forecast in (frozen, once, client.get("/v1/stops/R-1-S6/eta").json()):
        made_again(workspace, forecast)


@pytest.mark.parametrize("unknown", ["p-0", "q-6", "q-../..-1-0", "", "q--", "q-zz-1-1"])
def test_an_unknown_id_is_said_to_be_unknown(workspace: Workspace, unknown: str) -> None:
    with pytest.raises(UnknownIdError, match="no forecast"):
        explain(workspace, unknown)


def test_the_api_makes_a_forecast_again_and_says_what_it_was_made_of(
    client: Client, workspace: Workspace
) -> None:
    for forecast in (
        client.get("/v1/stops/R-1-S1/eta").json(),
        client.post("/v1/eta", json={"stop_ids": ["R-1-S5"]}).json()["forecasts"][0],
    ):
        answer = client.get(f"/v1/predictions/{forecast['prediction_id']}")
        found = answer.json()
        assert answer.status_code == 200 and found["same"] and found["forecast"] == forecast
        assert found["features"].keys() == set(FEATURE_NAMES)
    unknown = client.get("/v1/predictions/p-zz")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/unknown-prediction")


def test_a_forecast_past_its_horizon_is_gone_and_the_answer_names_the_horizon(workspace: Workspace) -> None:
    reader = OpsReader(workspace.ops)
    (first,) = reader.history("R-1-S1", 1)
    of_the_first = orjson.loads(first)["prediction_id"]
    limits = EngineSettings(history=HistoryLimits(passing_s=600.0))
    later = [event for at in range(900, 3_000, 100) for event in (ping(at), tick(at + 1))]
    live(workspace, *later, settings=limits)
    with calling(create_app(workspace, SETTINGS, load=load_forecaster)) as client:
        answer = client.get(f"/v1/predictions/{of_the_first}")
    since_us = reader.history_spans()[PASSING].since_us
    assert answer.status_code == 410 and answer.json()["type"] == "/problems/no-longer-kept"
    assert since_us is not None and to_rfc3339(since_us) in answer.json()["detail"]
    assert "forecasts_s" in answer.json()["detail"]
    with pytest.raises(NoLongerKeptError, match="no longer kept"):
        explain(workspace, of_the_first)
    reader.close()


def test_what_was_scored_on_request_and_is_too_old_is_gone(client: Client, workspace: Workspace) -> None:
    forecast = client.post("/v1/eta", json={"stop_ids": ["R-1-S5"]}).json()["forecasts"][0]
    for path in files(workspace.served):
        path.rename(path.with_name("ff" + path.name[2:]))
    answer = client.get(f"/v1/predictions/{forecast['prediction_id']}")
    assert answer.status_code == 410 and "keep_s" in answer.json()["detail"]


def test_what_was_told_is_made_again_with_its_lessons_when_nothing_else_is_kept(workspace: Workspace) -> None:
    limits = EngineSettings(history=HistoryLimits(passing_s=1.0), cadence=Cadence(keep_history_s=1.0))
    taught = [happened("arrived", 2_500, 1), tick(2_501), happened("completed", 2_600, 1)]
    live(workspace, *taught, *(tick(at) for at in range(2_700, 30_000, 300)), settings=limits)
    reader = OpsReader(workspace.ops)
    told = [
        orjson.loads(row)["prediction_id"] for n in range(2, 7) for row in reader.history(f"R-1-S{n}", 50)
    ]
    found = [explain(workspace, each) for each in told]
    assert sum(each.calibration == 1 for each in found) > 3 and all(each.same for each in found)
    reader.close()


def test_a_forecast_whose_model_is_gone_says_so(client: Client, workspace: Workspace) -> None:
    forecast = client.get("/v1/stops/R-1-S1/eta").json()
    (workspace.models / "1").unlink()
    with pytest.raises(ModelError):
        explain(workspace, forecast["prediction_id"])


def test_the_command_prints_the_forecast_and_says_whether_it_is_the_same(
    client: Client, workspace: Workspace
) -> None:
    forecast = client.get("/v1/stops/R-1-S1/eta").json()
    run = CliRunner().invoke(command, ["explain", forecast["prediction_id"], "-w", str(workspace.root)])
    assert run.exit_code == 0, run.output
    assert "the same to the last digit" in run.output and "travel_slip_s" in run.output
    connection = sqlite3.connect(workspace.ops)
    connection.execute("UPDATE forecast_latest SET base_s = base_s + 1")
    for block, packed in connection.execute("SELECT block, packed FROM forecast_block").fetchall():
        moved = pack([(body, vector, base_s + 1, made) for body, vector, base_s, made in unpack(packed)])
        connection.execute("UPDATE forecast_block SET packed = ? WHERE block = ?", (moved, block))
    connection.commit()
    connection.close()
    run = CliRunner().invoke(
        command, ["explain", forecast["prediction_id"], "-w", str(workspace.root), "--json"]
    )
    assert run.exit_code == 1 and '"same": false' in run.output


# --- the files of what was served --------------------------------------------------------------------------


def row(prediction_id: str, size: int = 10) -> tuple[str, bytes, bytes, float, bytes]:
    return (prediction_id, os.urandom(size).hex().encode(), b"", 0.0, b'[null,[],0,""]')


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.db"))


def test_a_full_file_is_followed_by_a_new_one_and_old_ones_are_dropped(tmp_path: Path) -> None:
    clock = [1_000.0]
    settings = ServedSettings(keep_s=100.0, file_s=10.0, file_bytes=5_000)
    served = ServedLog(tmp_path, settings, lambda: clock[0])
    for number in range(12):
        served.keep([row(f"p-{number}", 1_000)])
    assert len(files(tmp_path)) == 3
    for path in files(tmp_path):
        os.utime(path, (1_000.0, 1_000.0))
    clock[0] = 1_101.0
    served.keep([row("p-new")])
    assert len(files(tmp_path)) == 2, "the new one, and the one that was closed just now"
    served.close()


def test_too_much_drops_the_oldest_but_never_what_may_still_be_written(tmp_path: Path) -> None:
    for age, name in enumerate(("a", "b", "c")):
        path = tmp_path / f"{name}.db"
        path.write_bytes(b"x" * 1_000)
        os.utime(path, (10_000.0 - 100 * age, 10_000.0 - 100 * age))
    forget_old(tmp_path, ServedSettings(keep_s=1e9, most_bytes=1_500, file_s=75.0), now_s=10_000.0)
    assert [path.name for path in files(tmp_path)] == ["a.db", "b.db"]


def test_a_forecast_is_kept_once_however_often_it_is_served(tmp_path: Path) -> None:
    served = ServedLog(tmp_path, ServedSettings())
    for _ in range(3):
        served.keep([row("p-1"), row("p-2")])
    served.keep([row(f"p-x{number}") for number in range(REMEMBERED)])
    served.keep([row("p-1")])
    (path,) = files(tmp_path)
    served.close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM forecasts").fetchone() == (REMEMBERED + 2,)
    connection.close()


def test_a_disk_that_takes_nothing_does_not_stop_the_answer(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("in the way")
    served = ServedLog(folder, ServedSettings())
    served.keep([row("p-1")])
    assert served.unkept == 1
    assert find(tmp_path, "p-1") is None


def test_the_digest_changes_with_the_last_digit() -> None:
    assert digest_of({"a": 0.1}) != digest_of({"a": float(np.nextafter(0.1, 1))})
