"""The engine scores at ticks, decides for a reason, and gives the same state however the log is cut."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data_contracts.workspace import Workspace
from features.live import LiveFeatures
from serving.decisions.alerts import AlertPolicy
from serving.decisions.cadence import Cadence, HistoryTail, RouteCadence, due, slipped, worth_keeping
from serving.decisions.incidents import Incident, Step
from serving.decisions.rules import RulePolicy
from serving.engine.commands import IncidentCommand
from serving.engine.incident_documents import incident_document
from serving.engine.ops import OpsStore
from serving.engine.readings import Page
from serving.engine.rounds import EngineSettings
from serving.engine.seed import seed
from serving.storage.log import Clock, EventLog, NewEvent
from serving.times import US
from tests.builders import NOON_US
from tests.engine_bench import (
    MODEL,
    Bench,
    everything,
    forecast_storm,
    happened,
    late_day,
    ping,
    route_events,
    stormy_day,
    tick,
)

DAY_S = 86_400.0


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "w")


def test_nothing_is_scored_before_a_tick(bench: Bench) -> None:
    bench.play(MODEL, *route_events())
    assert bench.forecast("R-1-S1") is None
    bench.play(tick(0))
    assert bench.forecast("R-1-S1")["as_of"] == "2026-03-02T12:00:00Z"


def test_a_forecast_has_every_field_of_the_contract(bench: Bench) -> None:
    bench.play(MODEL, *route_events(), tick(0))
    forecast = bench.forecast("R-1-S1")
    assert set(forecast) == {
        *("prediction_id", "stop_id", "route_id", "as_of", "eta", "window", "quantiles", "mean", "promise"),
        *("completion", "late", "confidence", "reasons", "freshness", "degraded", "model"),
    }
    assert forecast["eta"] == "2026-03-02T12:10:00.000Z"
    assert forecast["window"] == {
        "start": "2026-03-02T12:02:00.000Z",
        "end": "2026-03-02T12:18:00.000Z",
        "coverage": 0.8,
    }
    assert forecast["promise"] == {"start": "2026-03-02T12:07:00Z", "end": "2026-03-02T12:27:00Z"}
    assert forecast["confidence"] == {"level": "medium", "reasons": ["STALE_TRAFFIC"]}
    assert forecast["degraded"] == ["traffic"]
    assert forecast["freshness"] == {"telemetry_s": None, "traffic_s": None, "weather_s": None}
    assert forecast["model"] == {"name": "fake", "version": "1", "alias": "champion"}


def test_what_is_over_is_forgotten_after_a_week_and_what_is_open_is_not(bench: Bench) -> None:
    bench.play(*late_day())
    told, over = len(bench.events()), [alert for alert in bench.alerts() if alert["state"] == "resolved"]
    assert told and over
    bench.play(tick(6 * 86_400))
    assert len(bench.events()) >= told
    assert {alert["alert_id"] for alert in bench.alerts()} >= {alert["alert_id"] for alert in over}
    bench.play(*(tick(15 * 86_400 + n * 3601) for n in range(3)))
    kept = {alert["alert_id"] for alert in bench.alerts()}
    assert not kept & {alert["alert_id"] for alert in over}
    assert len(bench.events()) >= told, "a stream can go on from long ago while there are few events"


def test_a_stop_whose_arrival_is_withdrawn_is_forecast_again(bench: Bench) -> None:
    bench.play(
        MODEL, *route_events(), happened("departed_depot", 0), happened("arrived", 300, stop=2), tick(301)
    )
    last = bench.forecast("R-1-S2")
    bench.play(happened("withdrawn", 330, stop=2), tick(331))
    again = bench.forecast("R-1-S2")
    assert again["as_of"] == "2026-03-02T12:05:31Z" and (last is None or last["as_of"] < again["as_of"])


def test_an_event_moves_the_next_three_stops_at_the_next_tick(bench: Bench) -> None:
    bench.play(MODEL, *route_events(), tick(0), ping(5), tick(6))
    as_of = [bench.forecast(f"R-1-S{n}")["as_of"][-3:] for n in range(1, 6)]
    assert as_of == ["06Z", "06Z", "06Z", "00Z", "00Z"]


def test_a_route_that_slips_is_scored_whole_at_once(bench: Bench) -> None:
    bench.play(MODEL, *route_events(), tick(0), happened("departed_depot", 10), tick(11))
    assert bench.forecast("R-1-S5")["as_of"].endswith("12:00:00Z")
    slow = replace(route_events()[1], event_id="again", received_us=NOON_US + 12 * US)
    slow = replace(slow, body={**slow.body, "plan_version": 2, "planned_travel_s": 1200.0})
    bench.play(slow, tick(13))
    assert bench.forecast("R-1-S5")["as_of"].endswith("12:00:13Z")


def test_a_silent_vehicle_is_scored_by_the_tick(bench: Bench) -> None:
    bench.play(MODEL, *route_events(), tick(0), tick(59))
    assert bench.forecast("R-1-S5")["as_of"].endswith("12:00:00Z")
    bench.play(tick(60))
    assert bench.forecast("R-1-S5")["as_of"].endswith("12:01:00Z")


def test_a_late_departure_becomes_an_alert_with_its_reason_and_an_event(bench: Bench) -> None:
    bench.play(*late_day())
    alerts = bench.late_stops()
    assert {alert["rule"] for alert in alerts} == {"promise_impossible", "window_broken"}
    assert {alert["route_id"] for alert in alerts} == {"R-1"}
    assert alerts[0]["main_reason"] == {"code": "BEHIND_PLAN", "minutes": 12.3}
    types = [event["type"] for event in bench.events()]
    assert "stop.delay.predicted" in types and "eta.window.changed" in types


def test_an_alert_resolves_when_its_stop_is_reached(bench: Bench) -> None:
    bench.play(*late_day())
    reached = next(alert for alert in bench.alerts("resolved") if alert["stop_id"] == "R-1-S1")
    assert reached["decision"] == "STOP_REACHED"
    assert reached["arrived_at"] == "2026-03-02T12:35:00Z"
    resolved = [event for event in bench.events() if event["type"] == "stop.delay.resolved"]
    assert "R-1-S1" in [event["subject"] for event in resolved]


def test_events_are_cloud_events_and_never_repeat(bench: Bench) -> None:
    bench.play(*late_day())
    events = bench.events()
    assert len({event["id"] for event in events}) == len(events)
    assert all(event["specversion"] == "1.0" and event["time"].endswith("Z") for event in events)


@pytest.mark.parametrize("limit", [1, 7, 50])
def test_replay_gives_the_same_state_however_it_is_cut(tmp_path: Path, limit: int) -> None:
    whole, cut = Bench(tmp_path / "whole"), Bench(tmp_path / "cut")
    whole.play(*late_day())
    cut.play(*late_day(), limit=limit)
    assert everything(tmp_path / "cut") == everything(tmp_path / "whole")


def test_an_engine_that_restarts_after_every_batch_gives_the_same_state(tmp_path: Path) -> None:
    whole, broken = Bench(tmp_path / "whole"), Bench(tmp_path / "broken")
    whole.play(*late_day())
    broken.log.append(late_day())
    while broken.start().step(limit=13):
        pass
    assert everything(tmp_path / "broken") == everything(tmp_path / "whole")


def test_a_failing_commit_leaves_the_checkpoint_and_publishes_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    bench.log.append([MODEL, *route_events(), ping(1), tick(2)])
    with monkeypatch.context() as patch:
        patch.setattr("serving.engine.ops.Transaction.enqueue", full)
        with pytest.raises(sqlite3.OperationalError):
            bench.engine.step()
    assert (bench.reader.checkpoint().seq, bench.publisher.published) == (0, [])
    bench.start().step()
    assert bench.reader.checkpoint().seq == 9
    assert bench.forecast("R-1-S1") is not None


def test_a_restarted_engine_publishes_everything_again(bench: Bench) -> None:
    bench.play(*late_day())
    first = {(v.view.name, key) for v in bench.publisher.published for key in v.ids}
    bench.publisher.published.clear()
    bench.start().republish()
    assert {(v.view.name, key) for v in bench.publisher.published for key in v.ids} == first


def test_a_hand_over_takes_effect_at_its_place_in_the_log(bench: Bench) -> None:
    new = NewEvent(type="model", body={"version": "2", "alias": "champion"}, received_us=NOON_US + 10 * US)
    bench.play(MODEL, *route_events(), tick(0), new, ping(11), tick(12))
    assert bench.forecast("R-1-S1")["model"]["version"] == "2"
    assert bench.forecast("R-1-S5")["model"]["version"] == "1"


def test_a_refused_model_leaves_the_previous_one_serving(bench: Bench) -> None:
    broken = NewEvent(type="model", body={"version": "broken"}, received_us=NOON_US)
    bench.play(MODEL, broken, *route_events(), tick(0))
    assert bench.forecast("R-1-S1")["model"]["version"] == "1"


def test_a_finished_route_is_forgotten_after_a_day(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "w", EngineSettings(cadence=Cadence(sweep_s=10.0)))
    bench.play(MODEL, *route_events(stops=1), tick(0), happened("arrived", 600, 1), tick(601))
    assert bench.reader.counts()["live_routes"] == 0
    assert bench.reader.route_heads(["R-1"]) != {}
    bench.play(tick(719 + DAY_S))
    assert bench.reader.route_heads(["R-1"]) != {}
    bench.play(tick(730 + DAY_S))
    assert bench.reader.route_heads(["R-1"]) == {}
    assert bench.forecast("R-1-S1") is None


def test_a_route_that_fell_silent_is_forgotten_once_its_plan_is_past(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "w", EngineSettings(cadence=Cadence(sweep_s=10.0)))
    bench.play(MODEL, *route_events(stops=1), tick(0), tick(700), tick(719 + 1.5 * DAY_S))
    assert bench.reader.counts()["live_routes"] == 1
    bench.play(tick(730 + 1.5 * DAY_S))
    assert bench.reader.counts()["live_routes"] == 0


def test_a_forgotten_route_leaves_no_alert_open(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "w", EngineSettings(cadence=Cadence(sweep_s=10.0)))
    bench.play(MODEL, *route_events(), *[tick(at) for at in range(0, 6000, 60)])
    assert bench.alerts("open")
    bench.play(tick(2 * DAY_S))
    assert bench.alerts("open") == []
    assert {alert["decision"] for alert in bench.alerts()} == {"ROUTE_OVER"}
    assert len([e for e in bench.events() if e["type"] == "stop.delay.resolved"]) == len(bench.late_stops())


def test_what_is_heard_of_a_route_that_is_over_leaves_the_same_whether_or_not_it_was_forgotten(
    tmp_path: Path,
) -> None:
    late = [happened("arrived", 2 * DAY_S, 1), happened("completed", 2 * DAY_S + 60, 1)]
    day = [MODEL, *route_events(), *[tick(at) for at in range(0, 6000, 60)], happened("departed_depot", 6000)]
    kept = []
    for sweep_s in (10.0, 10 * DAY_S):
        bench = Bench(tmp_path / str(sweep_s), EngineSettings(cadence=Cadence(sweep_s=sweep_s)))
        bench.play(*day, tick(2 * DAY_S - 1), *late)
        tables = everything(bench.folder)
        kept.append(
            {
                name: tables[name]
                for name in ("feature_state", "route_state", "stop_route", "promises", "stakes")
            }
        )
        assert bench.alerts("open") == []
    assert kept[0] == kept[1]


def test_a_new_engine_goes_on_from_the_history(bench: Bench) -> None:
    features = LiveFeatures()
    history = EventLog(bench.folder / "history.db", Clock.LOG)
    history.append([*route_events("R-1"), happened("departed_depot", 0), ping(5)])
    features.advance(history.read(0, 100))
    rows = [*features.dump(), ("route", "R-1", features.book.dump("R-1"))]
    workspace = Workspace(bench.folder)
    workspace.features.mkdir()
    pl.DataFrame(rows, schema=["view", "key", "body"], orient="row").write_parquet(workspace.state)
    ops = OpsStore(workspace.ops)
    assert seed(ops, workspace) == len(rows)
    assert seed(ops, workspace) == 0
    bench.start()
    bench.play(MODEL, tick(10))
    assert bench.forecast("R-1-S1")["freshness"]["telemetry_s"] == 5.0
    assert bench.reader.routes_of_stops(["R-1-S1"]) == {"R-1-S1": "R-1"}


def test_a_stop_that_nobody_promised_has_no_late_probability(bench: Bench) -> None:
    route, stop = route_events(stops=1)
    bare = {name: value for name, value in stop.body.items() if not name.startswith("promised")}
    bench.play(MODEL, route, replace(stop, body=bare), tick(0))
    assert (bench.forecast("R-1-S1")["promise"], bench.forecast("R-1-S1")["late"]) == (None, None)


def test_a_window_told_elsewhere_becomes_the_promise(bench: Bench) -> None:
    body = {
        "stop_id": "R-1-S1",
        "promise_version": 1,
        "promised_start_at": NOON_US,
        "promised_end_at": NOON_US + 3600 * US,
    }
    told = NewEvent(type="promises", event_id="p", body=body, received_us=NOON_US - 1)
    bench.play(MODEL, *route_events(), told, tick(0))
    assert bench.forecast("R-1-S1")["promise"]["end"] == "2026-03-02T13:00:00Z"


def test_history_keeps_what_moved(bench: Bench) -> None:
    bench.play(MODEL, *route_events(), happened("departed_depot", 0))
    bench.play(*[event for at in range(1, 200, 2) for event in (ping(at), tick(at + 1))])
    assert len(bench.reader.history("R-1-S1", 100)) == 1
    bench.play(*[tick(at) for at in range(200, 900, 10)])
    assert len(bench.reader.history("R-1-S1", 100)) in range(4, 20)


def test_vectors_are_stored_with_their_forecasts(bench: Bench) -> None:
    bench.play(MODEL, *route_events(), tick(0))
    connection = sqlite3.connect(bench.folder / "ops.db")
    vector, base_s = connection.execute("SELECT vector, base_s FROM forecast_latest").fetchone()
    connection.close()
    assert np.frombuffer(vector, np.float32)[0] == np.float32(base_s)


def test_a_quiet_policy_raises_no_alert(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "w", EngineSettings(alerts=AlertPolicy(open_at=1.1)))
    bench.play(*late_day())
    assert bench.late_stops() == []


def test_due_routes_are_whole_once_in_a_while_and_silent_ones_too() -> None:
    cadence = Cadence()
    fresh = RouteCadence(route_id="new", dirty=True)
    dirty = RouteCadence(route_id="dirty", dirty=True, scored_us=0, whole_us=0)
    silent = RouteCadence(route_id="silent", scored_us=0, whole_us=0)
    ended = RouteCadence(route_id="ended").finished()
    routes = [fresh, dirty, silent, ended]
    assert due(routes, 1 * US, 1.0, cadence).next_stops == ("dirty",)
    assert due(routes, 1 * US, 1.0, cadence).whole == ("new",)
    assert due(routes, 30 * US, 1.0, cadence).whole == ("dirty", "new")
    assert due(routes, 60 * US, 1.0, cadence).whole == ("dirty", "new", "silent")


def test_no_tick_scores_more_routes_whole_than_it_must() -> None:
    cadence = Cadence(whole_routes_a_tick=2)
    routes = [RouteCadence(route_id=f"R-{n}", dirty=True, whole_us=n) for n in range(60)]
    at_us = 100 * US
    assert due(routes, at_us, 1.0, cadence).whole == ("R-0", "R-1", "R-2")
    assert len(due(routes, at_us, 1.0, cadence).next_stops) == 57
    assert len(due(routes, at_us, 60.0, cadence).whole) == 60


def test_slip_is_measured_since_the_last_whole_scoring() -> None:
    route = RouteCadence(route_id="R", whole_slip_s=100.0)
    assert slipped(route, 161.0, Cadence())
    assert not slipped(route, 160.0, Cadence())
    assert not slipped(route, None, Cadence())


def test_a_forecast_is_worth_keeping_when_it_moved() -> None:
    kept = {"S": HistoryTail(0, 1000 * US, 0.2)}
    assert worth_keeping({}, "S", HistoryTail(0, 0, None), Cadence())
    assert not worth_keeping(kept, "S", HistoryTail(59 * US, 1059 * US, 0.24), Cadence())
    assert worth_keeping(kept, "S", HistoryTail(900 * US, 1000 * US, 0.2), Cadence())
    far = {"S": HistoryTail(0, 7200 * US, 0.2)}
    assert not worth_keeping(far, "S", HistoryTail(1, 7300 * US, 0.2), Cadence())
    assert worth_keeping(kept, "S", HistoryTail(1, 1060 * US, 0.2), Cadence())
    assert worth_keeping(kept, "S", HistoryTail(1, 1000 * US, 0.26), Cadence())


# --- incidents ----------------------------------------------------------------------------------------------


def operator(step: str, incident_id: str, at_s: float, until_s: float | None = None) -> NewEvent:
    command = IncidentCommand(
        incident_id=incident_id,
        step=Step(step),
        who="maria",
        why="looked at it",
        until_us=None if until_s is None else NOON_US + int(until_s * US),
    )
    return replace(command.event(f"command-{step}-{at_s}"), received_us=NOON_US + int(at_s * US))


def incidents_of(bench: Bench) -> list[dict[str, Any]]:
    found = [Incident.load(body) for *_, body in bench.reader.incidents(Page(limit=100))]
    return [incident_document(incident, bench.settings.alerts) for incident in found]


def test_a_storm_is_one_incident_that_silences_its_stops(bench: Bench) -> None:
    bench.play(*stormy_day())
    (storm,) = [incident for incident in incidents_of(bench) if incident["cause"] == "storm"]
    assert "R-1-S4" in storm["affected"]["stop_ids"]
    storms = [e for e in bench.events() if e["data"].get("incident_id") == storm["incident_id"]]
    assert [event["type"] for event in storms] == ["disruption.opened"]
    explained = [alert for alert in bench.late_stops() if alert["incident_id"] == storm["incident_id"]]
    assert explained and all(alert["inhibited"] for alert in explained)
    silenced = {alert["stop_id"] for alert in explained}
    assert not silenced & {event["subject"] for event in bench.events() if "delay" in event["type"]}


def test_a_storm_that_has_passed_hands_its_late_stops_to_their_route_without_another_message(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path / "w", EngineSettings(rules=RulePolicy(silent_s=1e9)))
    bench.play(*stormy_day())
    bench.play(forecast_storm(3650, rain_mm=0.0), forecast_storm(3651, NOON_US + 3600 * US, rain_mm=0.0))
    (storm,) = [incident for incident in incidents_of(bench) if incident["cause"] == "storm"]
    late = {alert["alert_id"] for alert in bench.late_stops("open")}
    bench.play(*[tick(at) for at in range(3660, 3660 + 3 * 900, 60)])
    over = bench.incident(storm["incident_id"])
    assert (over["state"], over["transitions"][-1]["why"]) == ("resolved", f"CAUSE_PASSED {len(late)}")
    (route,) = [each for each in incidents_of(bench) if each["state"] == "open"]
    assert (route["cause"], route["told_at"], route["untold"]) == ("route_behind", None, "HANDED_OVER")
    assert {alert["alert_id"] for alert in bench.late_stops("open")} == late
    assert {alert["incident_id"] for alert in bench.late_stops("open")} == {route["incident_id"]}
    told = [event["type"] for event in bench.events() if event["type"].startswith(("disruption", "stop"))]
    assert told == ["disruption.opened", "disruption.closed"]


def test_operators_have_a_risk_at_once_and_customers_when_no_more_is_to_be_waited_for(tmp_path: Path) -> None:
    now, later = (
        Bench(
            tmp_path / name, EngineSettings(alerts=AlertPolicy(most_lead_s=most_s, impossible_quantile=1.01))
        )
        for name, most_s in (("now", None), ("later", 1800.0))
    )
    for each in (now, later):
        each.play(*late_day())
    first, second = (
        {
            event["subject"]: event["time"]
            for event in reversed(each.events())
            if event["type"] == "stop.delay.predicted"
        }
        for each in (now, later)
    )
    assert set(second) <= set(first) and all(second[stop_id] >= first[stop_id] for stop_id in second)
    assert any(second.get(stop_id, "") > first[stop_id] for stop_id in second)
    opened = [{(a["stop_id"], a["opened_at"]) for a in each.late_stops()} for each in (now, later)]
    assert opened[0] == opened[1]
    told = [{(i["incident_id"], i["told_at"]) for i in incidents_of(each)} for each in (now, later)]
    assert told[0] == told[1] and told[0]
    for alert in later.late_stops():
        assert alert["told_at"] is None or alert["told_at"] == second[alert["stop_id"]]


def test_a_command_takes_effect_at_its_place_in_the_log(bench: Bench) -> None:
    bench.play(*stormy_day())
    storm = next(each for each in incidents_of(bench) if each["cause"] == "storm")["incident_id"]
    bench.play(operator("acknowledge", storm, 3650), operator("snooze", storm, 3660, 3720))
    assert bench.incident(storm)["state"] == "snoozed"
    bench.play(tick(3700), tick(3720))
    steps = [(each["to"], each["who"], each["why"]) for each in bench.incident(storm)["transitions"]]
    assert steps == [
        ("open", "engine", "ALERT_OPENED"),
        ("acknowledged", "maria", "looked at it"),
        ("snoozed", "maria", "looked at it"),
        ("acknowledged", "engine", "SNOOZE_OVER"),
    ]


def test_a_command_that_makes_no_sense_changes_nothing(bench: Bench) -> None:
    bench.play(*stormy_day())
    before = incidents_of(bench)
    bench.play(operator("resolve", "nobody", 3650))
    assert incidents_of(bench) == before


@pytest.mark.parametrize("limit", [1, 9])
def test_a_day_with_commands_replays_to_the_same_state_over_restarts(tmp_path: Path, limit: int) -> None:
    whole, broken = Bench(tmp_path / "whole"), Bench(tmp_path / "broken")
    whole.play(*stormy_day())
    storm = next(each for each in incidents_of(whole) if each["cause"] == "storm")["incident_id"]
    orders = [operator("snooze", storm, 3645, 3655), operator("resolve", storm, 3680)]
    after = [*orders, *[tick(at) for at in range(3690, 9000, 30)]]
    whole.play(*after)
    broken.log.append([*stormy_day(), *after])
    while broken.start().step(limit=limit * 10):
        pass
    assert everything(tmp_path / "broken") == everything(tmp_path / "whole")
    closed = [event for event in whole.events() if event["type"] == "disruption.closed"]
    assert storm in [event["data"]["incident_id"] for event in closed]
