"""The customer's page on a phone."""

from __future__ import annotations

from typing import Any

import pytest

from serving.http.signing import Purpose, Signer
from serving.times import US, wall_now_us
from tests.browser.conftest import Room
from tests.browser.looking import PHONE, looking, serious_faults

pytestmark = [pytest.mark.browser, pytest.mark.end_to_end]


def link(room: Room, stop_id: str) -> str:
    return str(room.url + room.client.post(f"/v1/stops/{stop_id}/link").json()["path"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_axe_finds_nothing_serious(browser: Any, storm: Room, scheme: str) -> None:
    with looking(browser, link(storm, storm.late_stop()), color_scheme=scheme, **PHONE) as page:
        page.wait_for_selector(".window")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert serious_faults(page) == []


def test_it_says_window_stops_and_how_sure(browser: Any, storm: Room) -> None:
    stop_id = storm.late_stop()
    told = storm.client.get(f"/v1/stops/{stop_id}").json()
    with looking(browser, link(storm, stop_id), **PHONE) as page:
        page.get_by_text("Arrives between").wait_for()
        text = page.locator("#status").inner_text()
        assert f"{told['stops_before']} stop" in text or "You are next" in text
        assert "times in Amsterdam" in text.replace("Times", "times") and "New York" in text
        assert "of 10 deliveries" in text or "sure" in text
        assert stop_id not in page.content()


def test_a_choice_is_passed_on_without_a_mouse(browser: Any, storm: Room) -> None:
    stop_id = storm.late_stop()
    with looking(browser, link(storm, stop_id), **PHONE) as page:
        page.wait_for_selector("#choices:not([hidden])")
        page.focus("input[value=later_today]")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.get_by_text("We have passed this on: Another day").wait_for()
        page.select_option("#channel", "email")
        page.click("#preference-form button")
        page.wait_for_selector("#preference-told:not(:empty)")
        assert page.locator("#preference-told").inner_text() == "Saved."
    storm.go_on(1)
    lines = storm.client.get(f"/v1/stops/{stop_id}/timeline").json()["timeline"]
    asked = [line["data"]["choice"] for line in lines if line["kind"] == "delivery.change.requested"]
    assert asked[0] == "another_day"


def test_an_expired_or_broken_link_says_so(browser: Any, storm: Room) -> None:
    signer = Signer(storm.workspace.signing)
    past = signer.seal(Purpose.TRACK, {"stop_id": storm.late_stop()}, wall_now_us() - US)
    with looking(browser, f"{storm.url}/track#{past}", **PHONE) as page:
        page.get_by_text("This link has expired").wait_for()
        assert page.locator("#choices").is_hidden()
    with looking(browser, f"{storm.url}/track#nonsense", **PHONE) as page:
        page.get_by_text("This link is not valid").wait_for()
