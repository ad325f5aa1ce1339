"""Silences: what they cover, how they begin and end as records of the log, and the calls and commands about them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from data_contracts.errors import UnknownIdError, WorkspaceError
from data_contracts.workspace import Workspace
from pipelines.cli import app as command
from serving.api import commanding
from serving.decisions.alerts import Kind, Rule
from serving.decisions.incidents import Cause, opened
from serving.decisions.silences import MATCHERS, Silence, labels_of_alert, labels_of_incident, of_settings
from serving.engine.batch import Batch
from serving.engine.commands import SilenceCommand
from serving.engine.rounds import EngineSettings
from serving.engine.silence_desk import SilenceDesk
from serving.http.wire_silences import SilenceAnswer, SilenceList
from serving.storage.log import NewEvent
from serving.times import US
from tests.api_client import Client, play, refused
from tests.builders import NOON_US
from tests.engine_bench import Bench, everything, late_day, stormy_day, tick

HOUR_US = 3600 * US


def a_silence(until_us: int | None = 10 * HOUR_US, **matchers: str) -> Silence:
    return Silence(silence_id="s", who="maria", why="", from_us=HOUR_US, until_us=until_us, matchers=matchers)


def an_order(at_s: float, *, ends: bool = False, silence_id: str = "s-1", **matchers: str) -> NewEvent:
    order = SilenceCommand(
        silence_id=silence_id,
        who="maria",
        why="known",
        until_us=None if ends else NOON_US + 20 * HOUR_US,
        matchers=matchers,
        ends=ends,
    )
    return replace(order.event(f"command-{at_s}"), received_us=NOON_US + int(at_s * US))


# --- what they cover ----------------------------------------------------------------------------------------


def test_a_silence_lasts_from_its_beginning_to_its_end() -> None:
    lasting = [a_silence(route_id="R").lasts(at * HOUR_US) for at in (0, 1, 9, 10)]
    assert lasting == [False, True, True, False]
    assert a_silence(None, route_id="R").lasts(1000 * HOUR_US)


def test_an_incident_of_two_routes_is_not_silenced_by_one_of_them() -> None:
    storm = opened(Cause.STORM, Kind.AREA, "A", "A", 0)
    one, two = (replace(storm, route_ids=frozenset(ids)) for ids in (["R-1"], ["R-1", "R-2"]))
    assert a_silence(route_id="R-1").covers(labels_of_incident(one))
    assert not a_silence(route_id="R-1").covers(labels_of_incident(two))
    assert a_silence(area_id="A", cause="storm").covers(labels_of_incident(two))
    assert not a_silence(area_id="B", cause="storm").covers(labels_of_incident(two))


def test_an_incident_about_a_zone_is_about_that_zone_wherever_its_late_stops_are() -> None:
    slow = replace(opened(Cause.SLOW_ZONE, Kind.ZONE, "Z-1", "A", 0), zone_ids=frozenset({"Z-1", "Z-7"}))
    assert a_silence(zone_id="Z-1").covers(labels_of_incident(slow))
    assert not a_silence(zone_id="Z-7").covers(labels_of_incident(slow))


@given(st.dictionaries(st.sampled_from(MATCHERS), st.sampled_from("xy"), min_size=1))
def test_a_silence_covers_an_alert_if_and_only_if_it_names_what_the_alert_is(
    matchers: dict[str, str],
) -> None:
    labels = labels_of_alert(
        Rule.LATE_RISK, "x", route_id="x", depot_id="x", zone_ids=("y", "x"), area_id="x", cause="x"
    )
    named_right = all(value == "x" for name, value in matchers.items() if name != "rule")
    assert a_silence(**matchers).covers(labels) == (named_right and "rule" not in matchers)


@pytest.mark.parametrize(
    ("matchers", "why"), [({}, "names what it is about"), ({"colour": "red"}, "not colour")]
)
def test_a_silence_about_nothing_or_about_something_unknown_is_refused(
    matchers: dict[str, str], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        a_silence(**matchers)


def test_orders_of_the_settings_stand_until_they_end() -> None:
    for_ever, ending = of_settings(
        [{"rule": "zone_slowed"}, {"depot_id": "D", "until": "1970-01-01T02:00:00Z"}]
    )
    assert (for_ever.matchers, for_ever.until_us) == ({"rule": "zone_slowed"}, None)
    assert (ending.matchers, ending.until_us) == ({"depot_id": "D"}, 2 * HOUR_US)


STEPS = st.lists(st.tuples(st.sampled_from(["begin", "end", "tick"]), st.sampled_from("abc")), max_size=30)


@given(STEPS)
def test_a_desk_that_is_restored_from_what_was_written_knows_the_same(steps: list[tuple[str, str]]) -> None:
    desk, stored = SilenceDesk(), dict[str, Silence]()
    for hour, (step, silence_id) in enumerate(steps):
        batch, at_us = Batch(), hour * HOUR_US
        if step != "tick":
            order = SilenceCommand(
                silence_id=silence_id,
                who="x",
                until_us=at_us + 5 * HOUR_US,
                matchers={"route_id": "R"},
                ends=step == "end",
            )
            desk.command(order, at_us, batch)
        stored |= batch.silences
        again = SilenceDesk()
        again.restore(each for each in stored.values() if each.until_us is None or each.until_us > at_us)
        assert sorted(map(repr, again.at(at_us))) == sorted(map(repr, desk.at(at_us)))


# --- in the engine ------------------------------------------------------------------------------------------


def stops_told(bench: Bench) -> set[str]:
    return {event["subject"] for event in bench.events() if event["type"].startswith("stop.delay")}


def test_nobody_is_told_of_what_a_silence_covers_and_the_api_lists_it_all_the_same(tmp_path: Path) -> None:
    loud, quiet = Bench(tmp_path / "loud"), Bench(tmp_path / "quiet")
    loud.play(*late_day())
    quiet.play(an_order(-500, route_id="R-1"), *late_day())
    silenced = {alert["stop_id"] for alert in loud.late_stops() if alert["route_id"] == "R-1"}
    assert silenced and silenced <= stops_told(loud)
    assert not silenced & stops_told(quiet)
    assert {alert["stop_id"] for alert in quiet.late_stops()} == {a["stop_id"] for a in loud.late_stops()}
    told = [event["data"] for event in quiet.events() if event["type"] == "disruption.opened"]
    assert all(each["affected"]["route_ids"] != ["R-1"] for each in told)


def test_a_silence_that_is_taken_back_is_over(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "w")
    bench.play(an_order(-500, route_id="R-1"), an_order(-400, ends=True), *late_day())
    assert {alert["stop_id"] for alert in bench.late_stops()} <= stops_told(bench)
    (kept,) = bench.reader.silences(0)
    assert kept.until_us == NOON_US - 400 * US


def test_an_order_that_makes_no_sense_changes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "w")
    bench.play(an_order(-500, ends=True), tick(-400))
    assert bench.reader.silences(0) == []


@pytest.mark.parametrize("cut", [1, 7])
def test_an_engine_that_restarts_keeps_to_its_silences(tmp_path: Path, cut: int) -> None:
    day = [an_order(-500, cause="storm"), *stormy_day(), an_order(3700, ends=True), tick(3760)]
    whole, broken = Bench(tmp_path / "whole", EngineSettings()), Bench(tmp_path / "broken", EngineSettings())
    whole.play(*day)
    broken.log.append(day)
    while broken.start().step(len(day) // cut + 1):
        pass
    assert everything(broken.folder) == everything(whole.folder)


# --- calls --------------------------------------------------------------------------------------------------


@pytest.fixture
def workspace(stormy: Workspace) -> Workspace:
    return stormy


@pytest.fixture(autouse=True)
def _no_engine_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commanding, "APPLIED_WITHIN_S", 0.05)


WANTED = {"why": "road works", "minutes": 60, "matchers": {"zone_id": "Z-1"}}


def listed(client: Client) -> list[Any]:
    return SilenceList.model_validate(client.get("/v1/silences").json()).silences


def test_a_silence_is_given_listed_and_ended(client: Client, workspace: Workspace) -> None:
    answer = client.post("/v1/silences", json=WANTED)
    given = SilenceAnswer.model_validate(answer.json())
    assert (answer.status_code, given.applied, given.silence.who) == (202, False, "local")
    play(workspace, tick(3700))
    (known,) = listed(client)
    assert (known.silence_id, known.why) == (given.silence.silence_id, "road works")
    assert known.until is not None and (known.until - known.from_).total_seconds() == pytest.approx(
        3600, abs=100
    )
    url = f"/v1/silences/{known.silence_id}"
    assert client.request("DELETE", url).status_code == 202
    play(workspace, tick(3710))
    assert listed(client) == []
    assert refused(client.request("DELETE", url), 409, "silence-over")


def test_a_silence_sent_twice_with_one_key_is_one(client: Client, workspace: Workspace) -> None:
    ids = {
        client.post("/v1/silences", json=WANTED, headers={"Idempotency-Key": "k"}).json()["silence"][
            "silence_id"
        ]
        for _ in range(2)
    }
    play(workspace, tick(3700))
    assert [each.silence_id for each in listed(client)] == sorted(ids)


@pytest.mark.parametrize(
    "changed",
    [
        {"matchers": {}},
        {"matchers": {"colour": "red"}},
        {"matchers": {"zone_id": ""}},
        {"minutes": None},
        {"minutes": None, "until": "2020-03-02T14:00:00Z"},
        {"until": "2030-03-02T14:00:00Z"},
    ],
)
def test_a_silence_that_says_too_little_or_too_much_is_refused(
    client: Client, changed: dict[str, Any]
) -> None:
    assert refused(client.post("/v1/silences", json=WANTED | changed), 422, "invalid-request")


def test_a_silence_that_nobody_gave_cannot_be_ended(client: Client) -> None:
    assert refused(client.request("DELETE", "/v1/silences/nobody"), 404, "unknown-silence")


# --- commands -----------------------------------------------------------------------------------------------


def test_the_command_gives_lists_and_ends_silences(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    at = ["--workspace", str(workspace.root)]
    runner = CliRunner()
    asked = [
        "silences",
        "begin",
        "--about",
        "depot_id=D-1",
        "--minutes",
        "30",
        "--who",
        "maria",
        *at,
        "--json",
    ]
    given = json.loads(runner.invoke(command, asked).stdout)["silence_id"]
    bench = Bench(workspace.root)
    while bench.engine.step(100):
        pass
    (row,) = json.loads(runner.invoke(command, ["silences", "list", *at, "--json"]).stdout)
    assert (row["silence_id"], row["about"], row["who"]) == (given, {"depot_id": "D-1"}, "maria")
    assert runner.invoke(command, ["silences", "end", given, *at]).exit_code == 0
    while bench.engine.step(100):
        pass
    assert json.loads(runner.invoke(command, ["silences", "list", *at, "--json"]).stdout) == []
    assert isinstance(runner.invoke(command, ["silences", "end", given, *at]).exception, UnknownIdError)
    wrong = ["silences", "begin", "--about", "colour=red", "--minutes", "30", *at]
    assert isinstance(runner.invoke(command, wrong).exception, WorkspaceError)
