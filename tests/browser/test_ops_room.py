"""The ops room in a real browser, over a service whose day goes on while it is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving.http.key_file import KeyFile
from serving.http.keys import Scope
from serving.times import wall_now_us
from tests.browser.conftest import Room, serving, workspace_with
from tests.browser.cut import Line
from tests.browser.looking import looking, serious_faults
from tests.builders import NOON_US
from tests.running import moment, plan, until

pytestmark = [pytest.mark.browser, pytest.mark.end_to_end]


def test_a_replayed_storm_appears_while_one_looks(browser: Any, storm: Room) -> None:
    with looking(browser, f"{storm.url}/ops") as page:
        page.wait_for_selector("#state[data-state=connected]")
        assert page.locator(".card", has_text="Severe weather").count() == 0
        storm.storm_out()
        page.wait_for_selector(".card:has-text('Severe weather')")
        page.locator(".card", has_text="Severe weather").click()
        page.locator("#detail h2", has_text="Severe weather").wait_for()
        story = page.locator("#detail")
        story.get_by_text("Severe weather slows every route").wait_for()
        assert "What to do" in story.inner_text()
        page.wait_for_selector("#map canvas")
        page.wait_for_function(
            "() => window.punctual.map?.map.queryRenderedFeatures({layers: ['stops']}).length > 20"
        )


def test_an_incident_acknowledged_in_one_window_changes_in_another(browser: Any, storm: Room) -> None:
    storm.storm_out()
    with looking(browser, f"{storm.url}/ops") as mine, looking(browser, f"{storm.url}/ops") as theirs:
        for page in (mine, theirs):
            page.locator(".card", has_text="Severe weather").click()
            page.locator("#detail h2", has_text="Severe weather").wait_for()
            page.wait_for_selector("#step-acknowledge")
        assert theirs.locator(".card .tag", has_text="Acknowledged").count() == 0
        mine.fill("#note", "rerouting the vans")
        mine.click("#step-acknowledge")
        theirs.locator(".card", has_text="Severe weather").get_by_text("Acknowledged").wait_for()
        theirs.locator("#detail").get_by_text("rerouting the vans").wait_for()
        assert mine.input_value("#note") == ""


def test_resolving_needs_a_note(browser: Any, storm: Room) -> None:
    storm.storm_out()
    with looking(browser, f"{storm.url}/ops") as page:
        page.locator(".card", has_text="Severe weather").click()
        page.locator("#detail h2", has_text="Severe weather").wait_for()
        page.click("#step-resolve")
        page.get_by_text("Write a note first").wait_for()
    assert {each["state"] for each in storm.incidents("storm")} != {"resolved"}


def test_a_cut_stream_is_seen_and_goes_on_without_a_gap(browser: Any, storm: Room) -> None:
    storm.storm_out()
    with Line(storm.url) as line, looking(browser, f"{line.url}/ops") as page:
        page.wait_for_selector("#state[data-state=connected]")
        page.evaluate(
            """async () => {
                const { follow } = await import('/assets/js/stream.js');
                window.heard = [];
                window.states = [];
                window.listener = follow('/v1/stream', {
                    onEvent: (type, event) => window.heard.push(event.id),
                    onState: (state) => window.states.at(-1) === state || window.states.push(state),
                    onGap: () => window.heard.push('GAP'),
                });
            }"""
        )
        page.wait_for_function("() => window.states.includes('connected')")
        head = _outbox_end(storm)
        _until_told(storm)
        line.cut()
        page.wait_for_selector("#state:not([data-state=connected])")
        _until_told(storm)
        line.mend()
        page.wait_for_selector("#state[data-state=connected]")
        told = [event_id for position, event_id in _outbox(storm) if position > head]
        page.wait_for_function("(n) => window.heard.length >= n", arg=len(told))
        assert page.evaluate("window.heard") == told


def test_names_and_notes_stay_text(browser: Any, crowned: Path, tmp_path: Path) -> None:
    evil = "<img src=x onerror=window.pwned=1>"
    workspace = workspace_with(crowned, tmp_path)
    with serving(workspace) as room:
        late_us = NOON_US + 3600 * 1_000_000
        room.play(*plan(evil), *(moment("tick", NOON_US + n * 60_000_000) for n in range(3)))
        room.play(
            moment("stop_events", late_us, route_id=evil, kind="departed_depot"),
            *(moment("tick", late_us + n * 60_000_000) for n in range(1, 8)),
        )
        with looking(browser, f"{room.url}/ops") as page:
            page.locator(".card", has_text=evil).first.click()
            page.fill("#note", "<script>window.pwned=2</script>")
            page.click("#step-acknowledge")
            page.locator("#detail").get_by_text("<script>window.pwned=2</script>").wait_for()
            page.locator("#detail .row b", has_text=evil).first.click()
            page.wait_for_selector("#detail h2:has-text('Stop <img')")
            page.get_by_role("button", name=evil, exact=True).click()
            page.wait_for_selector("#detail h2:has-text('Route <img')")
            page.click("#tab-late")
            page.wait_for_selector("#list .row")
            assert page.evaluate("window.pwned") is None
            assert page.locator("img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, storm: Room, scheme: str) -> None:
    storm.storm_out()
    with looking(browser, f"{storm.url}/ops", color_scheme=scheme) as page:
        page.wait_for_selector("#detail h2")
        page.wait_for_selector("#map canvas")
        assert serious_faults(page) == []
        page.click("#tab-today")
        page.wait_for_selector("#list table")
        page.click("#tab-late")
        page.wait_for_selector("#list h2")
        page.goto(f"{storm.url}/ops#/stop/{storm.late_stop()}")
        page.wait_for_selector("#detail .u-wrap")
        assert serious_faults(page) == []


def test_times_are_the_depots_until_one_asks_for_ones_own(browser: Any, storm: Room) -> None:
    with looking(browser, f"{storm.url}/ops") as page:
        clock = page.locator("#clock")
        clock.get_by_text("Amsterdam time").wait_for()
        depot = clock.locator("strong").inner_text()
        clock.click()
        clock.get_by_text("Your time (New York)").wait_for()
        hours = [int(text.split(":")[0]) for text in (depot, clock.locator("strong").inner_text())]
        assert (hours[0] - hours[1]) % 24 == 6


def test_the_room_speaks_a_second_language(browser: Any, storm: Room) -> None:
    storm.storm_out()
    with looking(browser, f"{storm.url}/ops", locale="nl-NL") as page:
        page.locator(".card", has_text="Noodweer").wait_for()
        assert page.locator("html").get_attribute("lang") == "nl"
        page.select_option("#language", "en")
        page.locator(".card", has_text="Severe weather").wait_for()


def test_a_key_opens_the_room_and_a_wrong_one_does_not(browser: Any, storm: Room) -> None:
    storm.storm_out()
    _, text = KeyFile(storm.workspace.keys).create("ops", frozenset({Scope.OPERATE}), wall_now_us())
    try:
        with looking(browser, f"{storm.url}/ops") as page:
            page.fill("#key", "punctual_wrong")
            page.click("#sign-in button")
            page.get_by_text("This key was refused").wait_for()
            page.fill("#key", text)
            page.click("#sign-in button")
            page.locator(".card", has_text="Severe weather").click()
            page.locator("#detail h2", has_text="Severe weather").wait_for()
            page.fill("#note", "seen by somebody with a key")
            page.click("#step-snooze")
            page.locator("#detail").get_by_text("seen by somebody with a key").wait_for()
            page.locator("#detail").get_by_text("ops").first.wait_for()
            assert page.evaluate("document.cookie") == ""
            page.click("#sign-out")
            page.wait_for_selector("#sign-in[open]")
    finally:
        storm.workspace.keys.unlink()


def _outbox(room: Room) -> list[tuple[int, str]]:
    from serving.engine.readings import OpsReader

    reader = OpsReader(room.workspace.ops)
    try:
        return [(position, event.event_id) for position, event in reader.outbox(0, 100_000)]
    finally:
        reader.close()


def _outbox_end(room: Room) -> int:
    return max((position for position, _ in _outbox(room)), default=0)


def _until_told(room: Room) -> None:
    """Let customers ask for three changes, and wait until that has left."""
    before = len(_outbox(room))
    token = room.client.post(f"/v1/stops/{room.late_stop()}/link").json()["path"].split("#")[1]
    for choice in ("neighbour", "safe_place", "another_day"):
        answer = room.client.post(f"/v1/track/{token}/changes", json={"choice": choice})
        assert answer.status_code == 202, answer.text
    until(lambda: len(_outbox(room)) >= before + 3)
