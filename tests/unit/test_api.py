"""The API answers row by row, says what it does not know, and never loses the reason."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import orjson
import pytest

from data_contracts.workspace import Workspace
from serving.api.api import create_app
from serving.http import wire
from serving.settings import ServiceSettings
from serving.storage.log import Clock, EventLog, NewEvent
from serving.times import to_rfc3339
from tests.api_client import SETTINGS, Client, calling, crown, inline, play, refused, wire_ping
from tests.builders import NOON_US
from tests.engine_bench import MODEL, FakeForecaster, late_day, route_events, tick

# --- events ------------------------------------------------------------------------------------------------


def test_one_event_is_accepted_once(client: Client) -> None:
    answer = client.post("/v1/events", json=wire_ping())
    assert (answer.status_code, answer.json()["rows"]) == (202, [{"event_id": "e-1", "verdict": "accepted"}])
    assert client.post("/v1/events", json=[wire_ping()]).json()["duplicate"] == 1


def test_each_row_of_a_batch_has_its_verdict_and_its_reason(client: Client) -> None:
    batch = [wire_ping("a"), wire_ping("b", lat=99.0), wire_ping("a"), {"type": "nonsense"}, 7]
    answer = client.post("/v1/events", json=batch)
    rows = answer.json()["rows"]
    assert answer.status_code == 202
    assert [row["verdict"] for row in rows] == ["accepted", "rejected", "duplicate", "rejected", "rejected"]
    assert "lat" in rows[1]["reason"]
    assert wire.IngestAnswer.model_validate(answer.json()).accepted == 1


def test_lines_are_read_one_by_one(client: Client) -> None:
    body = orjson.dumps(wire_ping("a")) + b"\n{broken\n\n" + orjson.dumps(wire_ping("b")) + b"\n\xff\n"
    answer = client.post("/v1/events", content=body, headers={"content-type": "application/x-ndjson"})
    assert [row["verdict"] for row in answer.json()["rows"]] == [
        "accepted",
        "rejected",
        "accepted",
        "rejected",
    ]


def test_times_are_stored_as_microseconds(client: Client, workspace: Workspace) -> None:
    client.post("/v1/events", json=wire_ping())
    (record,) = EventLog(workspace.log, Clock.LOG).read(0, 10)
    assert (record.received_us, record.body["occurred_at"]) == (NOON_US, NOON_US)
    assert "event_id" not in record.body


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"{", 400, "malformed-json"),
        (b"[" * 5000, 400, "malformed-json"),
        (b'{"type": "pings", "lat": NaN}', 400, "malformed-json"),
        (b"\xff\xfe", 400, "malformed-json"),
        (b"", 400, "malformed-json"),
        (b"[]", 422, "invalid-request"),
        (b'{"type": "pings"}', 422, "no-event-accepted"),
        (b"[" + b",".join([b"{}"] * 51) + b"]", 413, "too-many-events"),
        (b" " * 20_001, 413, "body-too-large"),
    ],
)
def test_a_body_that_cannot_be_taken_is_refused_with_its_reason(
    client: Client, body: bytes, status: int, kind: str
) -> None:
    assert refused(client.post("/v1/events", content=body), status, kind)


def test_ticks_come_from_the_server_under_the_wall_clock(workspace: Workspace) -> None:
    app = create_app(workspace, ServiceSettings(), load=lambda folder: FakeForecaster())
    moment = {"type": "tick", "event_id": "t", "occurred_at": to_rfc3339(NOON_US)}
    with calling(app) as client:
        assert "the server tells the time" in refused(
            client.post("/v1/events", json=moment), 422, "no-event-accepted"
        )


# --- forecasts ---------------------------------------------------------------------------------------------


def test_a_forecast_of_the_engine_is_served_as_the_contract_says(
    client: Client, workspace: Workspace
) -> None:
    play(workspace, *late_day())
    forecast = client.get("/v1/stops/R-1-S4/eta")
    assert forecast.status_code == 200
    wire.Forecast.model_validate(forecast.json())
    route = wire.RouteEta.model_validate(client.get("/v1/routes/R-1/eta").json())
    assert [row.stop_id for row in route.forecasts] == ["R-1-S3", "R-1-S4", "R-1-S5"]
    history = wire.StopHistory.model_validate(client.get("/v1/stops/R-1-S4/history?limit=5").json())
    assert len(history.forecasts) == 5
    assert history.forecasts[0].as_of > history.forecasts[1].as_of


def test_scoring_now_gives_what_the_engine_gave_at_that_instant(client: Client, workspace: Workspace) -> None:
    play(workspace, MODEL, *route_events(), tick(0))
    stored = client.get("/v1/stops/R-1-S3/eta").json()
    answer = client.post("/v1/eta", json={"stop_ids": ["R-1-S3"]}).json()
    (live,) = answer["forecasts"]
    assert answer["as_of"] == stored["as_of"]
    assert live.pop("prediction_id") != stored.pop("prediction_id")
    assert live == stored


def test_a_mixed_batch_is_answered_row_by_row(client: Client, workspace: Workspace) -> None:
    play(workspace, *late_day())
    asked = ["R-2-S1", "nobody", "R-1-S5", "R-1-S4"]
    answer = wire.EtaAnswer.model_validate(client.post("/v1/eta", json={"stop_ids": asked}).json())
    assert [row.stop_id for row in answer.forecasts] == asked
    ended, unknown, *forecasts = answer.forecasts
    assert isinstance(ended, wire.Unanswered) and ended.error.status == 409
    assert isinstance(unknown, wire.Unanswered) and unknown.error.status == 404
    assert all(isinstance(row, wire.Forecast) for row in forecasts)


def test_reasons_come_on_request(client: Client, workspace: Workspace) -> None:
    play(workspace, MODEL, *route_events(), tick(0))
    plain = client.post("/v1/eta", json={"route_id": "R-1"}).json()["forecasts"]
    told = client.post("/v1/eta", json={"route_id": "R-1", "reasons": True}).json()["forecasts"]
    assert (len(plain), plain[0]["reasons"]) == (5, [])
    assert told[0]["reasons"] == [{"code": "BEHIND_PLAN", "minutes": 12.3}]


def test_a_changed_route_is_read_again(client: Client, workspace: Workspace) -> None:
    play(workspace, MODEL, *route_events(), tick(0))
    assert len(client.post("/v1/eta", json={"route_id": "R-1"}).json()["forecasts"]) == 5
    skipped = {"route_id": "R-1", "stop_id": "R-1-S5", "kind": "skipped", "occurred_at": NOON_US}
    play(workspace, NewEvent(type="stop_events", event_id="skip", body=skipped, received_us=NOON_US + 1))
    assert len(client.post("/v1/eta", json={"route_id": "R-1"}).json()["forecasts"]) == 4


def test_stops_that_the_system_has_never_seen_are_scored_inline(client: Client, workspace: Workspace) -> None:
    play(workspace, MODEL, tick(0))
    answer = wire.EtaAnswer.model_validate(client.post("/v1/eta", json=inline()).json())
    assert [type(row) for row in answer.forecasts] == [wire.Forecast, wire.Forecast]
    assert answer.forecasts[0].stop_id == "new-S1"
    assert client.get("/v1/stops/new-S1/eta").status_code == 404


def test_inline_events_move_the_route_on(client: Client, workspace: Workspace) -> None:
    play(workspace, MODEL, tick(0))
    arrived = {"route_id": "new", "stop_id": "new-S1", "kind": "arrived"}
    answer = client.post("/v1/eta", json=inline() | {"events": [arrived]}).json()
    assert [("eta" in row, row["stop_id"]) for row in answer["forecasts"]] == [
        (False, "new-S1"),
        (True, "new-S2"),
    ]


def test_an_inline_stop_that_is_wrong_is_told_so_in_its_place(client: Client, workspace: Workspace) -> None:
    play(workspace, MODEL, tick(0))
    asked = inline()
    wrong = [{"route_id": "other"}, {"sequence": -1}, {"zone_id": None}, {"stop_id": 7}]
    asked["stops"][1:1] = [asked["stops"][1] | {"stop_id": "wrong"} | each for each in wrong]
    asked["stops"].append(asked["stops"][0])
    answer = client.post("/v1/eta", json=asked)
    wire.EtaAnswer.model_validate(answer.json())
    rows = answer.json()["forecasts"]
    assert ["eta" in row for row in rows] == [True, False, False, False, False, True, False]
    assert {row["error"]["status"] for row in rows if "error" in row} == {422}
    assert "stops row 1: is not of this route" in rows[1]["error"]["detail"]
    assert [row["stop_id"] for row in rows] == ["new-S1", "wrong", "wrong", "wrong", "", "new-S2", "new-S1"]


def test_an_inline_event_of_another_route_is_refused(client: Client, workspace: Workspace) -> None:
    play(workspace, MODEL, tick(0))
    stray = {"route_id": "other", "stop_id": "new-S1", "kind": "arrived"}
    answer = client.post("/v1/eta", json=inline() | {"events": [stray]})
    assert "stop_events row 0" in refused(answer, 422, "invalid-request")


def test_a_worker_keeps_a_bounded_number_of_routes(
    client: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.api.eta.MOST_ROUTES", 2)
    play(workspace, MODEL, *(event for n in range(4) for event in route_events(f"R-{n}", stops=2)), tick(0))
    together = {"stop_ids": [f"R-{n}-S1" for n in range(4)]}
    for asked in ({"stop_ids": ["R-0-S1"]}, together, {"stop_ids": ["R-3-S2"]}, together):
        rows = client.post("/v1/eta", json=asked).json()["forecasts"]
        assert all("eta" in row for row in rows)
    assert len(client.app.state.runtime.eta._seqs) <= 4


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"{}", 422, "invalid-request"),
        (b"[]", 422, "invalid-request"),
        (b"{", 400, "malformed-json"),
        (b'{"stop_ids": []}', 422, "invalid-request"),
        (b'{"stop_ids": ["a"], "route_id": "b"}', 422, "invalid-request"),
        (b'{"route": {}, "stops": [{}]}', 422, "invalid-request"),
        (b'{"route": {"route_id": "R"}}', 422, "invalid-request"),
        (b'{"stop_ids": "abc"}', 422, "invalid-request"),
        (b'{"route_id": "nowhere"}', 404, "unknown-route"),
        (orjson.dumps({"stop_ids": ["a"] * 11}), 413, "too-many-stops"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    client: Client, workspace: Workspace, body: bytes, status: int, kind: str
) -> None:
    play(workspace, tick(0))
    assert refused(client.post("/v1/eta", content=body), status, kind)


def test_before_the_first_event_of_a_replay_there_is_no_time(client: Client) -> None:
    assert refused(client.post("/v1/eta", json=inline()), 409, "no-time-yet")


def test_without_a_model_the_api_says_so(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "bare")
    play(workspace, tick(0))
    with calling(create_app(workspace, SETTINGS)) as client:
        answer = client.post("/v1/eta", json=inline())
        assert refused(answer, 503, "no-model")
        assert answer.headers["retry-after"] == "5"
        assert client.get("/v1/summary").json()["model"] is None


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/stops/nobody/eta", "unknown-stop"),
        ("/v1/stops/nobody/history", "unknown-stop"),
        ("/v1/routes/nowhere/eta", "unknown-route"),
        ("/v1/elsewhere", "not-found"),
    ],
)
def test_what_is_not_known_is_404(client: Client, path: str, kind: str) -> None:
    assert refused(client.get(path), 404, kind)


def test_a_known_stop_that_was_not_scored_says_how_to_score_it(client: Client, workspace: Workspace) -> None:
    play(workspace, *route_events())
    assert "POST /v1/eta" in refused(client.get("/v1/stops/R-1-S1/eta"), 404, "not-scored-yet")


def test_a_wrong_method_is_405(client: Client) -> None:
    assert refused(client.get("/v1/eta"), 405, "method-not-allowed")


# --- the rest ----------------------------------------------------------------------------------------------


def test_alerts_and_routes_are_listed(client: Client, workspace: Workspace) -> None:
    play(workspace, *late_day())
    everything = wire.AlertList.model_validate(client.get("/v1/alerts").json()).alerts
    opened = wire.AlertList.model_validate(client.get("/v1/alerts?state=open&route_id=R-1").json()).alerts
    assert {alert.state for alert in opened} == {"open"} and len(opened) < len(everything)
    routes = wire.RouteList.model_validate(client.get("/v1/routes").json()).routes
    assert [(route.route_id, route.next_stop_id) for route in routes] == [("R-1", "R-1-S3")]
    assert routes[0].open_alerts == len(opened)


@pytest.mark.parametrize("query", ["limit=0", "limit=51", "limit=x", "limit=²", "state=closed"])
def test_a_wrong_filter_is_refused(client: Client, query: str) -> None:
    assert refused(client.get(f"/v1/alerts?{query}"), 422, "invalid-request")


def test_the_summary_says_when_the_engine_has_caught_up(client: Client, workspace: Workspace) -> None:
    play(workspace, MODEL, *route_events(), tick(0))
    client.post("/v1/events", json=wire_ping())
    summary = wire.Summary.model_validate(client.get("/v1/summary").json())
    assert (summary.log.seq, summary.checkpoint.seq, summary.behind) == (9, 8, 1)
    assert summary.model is not None and summary.model.version == "1"
    assert summary.counts["forecasts"] == 5


def test_the_openapi_document_names_every_call(client: Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    paths = {route.path.replace(":path", "") for route in client.app.routes}  # type: ignore[attr-defined]
    calls = {path for path in paths if path.startswith("/v1/")} - {"/v1/{path}"}
    assert set(document["paths"]) == calls | {"/metrics"}
    text = orjson.dumps(document).decode()
    referred = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert referred <= set(document["components"]["schemas"])
    assert "/v1/eta" in client.get("/docs").text


def test_the_log_that_cannot_be_written_is_said(client: Client) -> None:
    client.app.state.runtime.log._connection.execute("PRAGMA max_page_count = 1")
    many = [wire_ping(f"{n}-{'x' * 190}") for n in range(40)]
    answer = client.post("/v1/events", json=many)
    assert client.get("/v1/summary").json()["log"]["seq"] == 0
    assert "send it again" in refused(answer, 503, "storage-full")
    assert "retry-after" in answer.headers


@pytest.mark.parametrize("route_id", ["R/1", "R%2F1", "a/b/eta", "/", "R 1/%25", "ü/é"])
def test_ids_with_slashes_are_asked_for_percent_encoded(tmp_path: Path, route_id: str) -> None:
    workspace = Workspace(tmp_path / "w")
    crown(workspace)
    play(workspace, MODEL, *route_events(route_id, stops=2), tick(0))
    stop_id, part = f"{route_id}-S1", quote(route_id, safe="")
    with calling(create_app(workspace, SETTINGS, load=lambda folder: FakeForecaster(folder.name))) as client:
        forecasts = client.get(f"/v1/routes/{part}/eta").json()["forecasts"]
        assert [row["stop_id"] for row in forecasts] == [stop_id, f"{route_id}-S2"]
        for what in ("", "/eta", "/history", "/timeline"):
            answer = client.get(f"/v1/stops/{quote(stop_id, safe='')}{what}")
            assert answer.status_code == 200, (what, answer.text)
        unknown = client.get("/v1/stops/no%2Fbody/eta")
        assert unknown.json()["detail"] == "stop 'no/body' is not known"
        assert client.get("/v1%2Fstops/x/eta").status_code == 404
        assert client.request("PATCH", f"/v1/routes/{part}/eta").status_code == 405
