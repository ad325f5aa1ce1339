"""Alert rules: what fires and why, and that a feed that is missing never fires anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serving.decisions.alerts import Rule
from serving.decisions.rules import (
    DepotNow,
    RouteNow,
    RulePolicy,
    Sky,
    StopNow,
    Told,
    ZoneNow,
    depot_behind,
    depot_not_departed,
    severe_weather,
    strongest,
    vehicle_silent,
    vehicle_stuck,
    zone_slowed,
)
from serving.times import US

POLICY = RulePolicy()
MINUTE_US = 60 * US
STOP = StopNow(as_of_us=0, promise_end_us=60 * MINUTE_US, late_probability=0.6)
OUT = RouteNow(
    as_of_us=60 * MINUTE_US,
    departed=True,
    planned_departure_us=0,
    pinged_us=59 * MINUTE_US,
    moving_share=0.5,
    away_s=60.0,
)
CALM = Sky(rain_mm=0.5, snow_cm=0.0, wind_mps=5.0)
WILD = Sky(rain_mm=6.0, snow_cm=0.0, wind_mps=12.0)


@pytest.mark.parametrize(
    ("stop", "rule"),
    [
        (STOP, Rule.LATE_RISK),
        (replace(STOP, late_probability=0.99), Rule.PROMISE_IMPOSSIBLE),
        (replace(STOP, as_of_us=61 * MINUTE_US), Rule.WINDOW_BROKEN),
        (replace(STOP, late_probability=None, promise_end_us=None), Rule.LATE_RISK),
    ],
)
def test_the_strongest_rule_of_a_stop_speaks(stop: StopNow, rule: Rule) -> None:
    assert strongest(stop, 0.95)[0] is rule


def test_a_stop_without_a_promise_is_never_late() -> None:
    _, finding = strongest(replace(STOP, late_probability=None, promise_end_us=None), 0.95)
    assert (finding.strength, finding.told) == (0.0, Told.NOTHING_PROMISED)


def test_a_vehicle_is_silent_after_twenty_minutes_without_a_ping() -> None:
    assert vehicle_silent(replace(OUT, pinged_us=41 * MINUTE_US), POLICY).strength < 1
    assert vehicle_silent(replace(OUT, pinged_us=40 * MINUTE_US), POLICY).strength >= 1


def test_a_vehicle_that_never_spoke_or_stands_in_the_depot_is_not_missed() -> None:
    assert vehicle_silent(replace(OUT, pinged_us=None), POLICY).told is Told.NO_FEED
    assert vehicle_silent(replace(OUT, departed=False, pinged_us=0), POLICY).strength == 0


def test_a_vehicle_that_is_heard_of_and_does_not_move_is_stuck() -> None:
    still = replace(OUT, moving_share=0.0, away_s=1500.0)
    assert vehicle_stuck(still, POLICY).told is Told.NOT_MOVING
    assert vehicle_stuck(replace(still, away_s=1400.0), POLICY).strength == 0
    assert vehicle_stuck(replace(still, pinged_us=0), POLICY).told is Told.NO_FEED


def test_a_route_is_overdue_a_while_after_its_planned_departure() -> None:
    waiting = replace(OUT, departed=False)
    assert depot_not_departed(replace(waiting, as_of_us=29 * MINUTE_US), POLICY).strength < 1
    assert depot_not_departed(replace(waiting, as_of_us=30 * MINUTE_US), POLICY).strength >= 1
    assert depot_not_departed(OUT, POLICY).strength == 0


def test_an_old_message_of_a_depot_says_nothing() -> None:
    assert depot_behind(DepotNow(sort_delay_s=1800, age_s=60), POLICY).strength >= 1
    assert depot_behind(DepotNow(sort_delay_s=1800, age_s=7200), POLICY).told is Told.NO_FEED


def test_a_zone_is_slow_against_its_area_and_with_an_incident() -> None:
    slow = ZoneNow(flow=0.3, usual_flow=0.8, incidents=1, age_s=60)
    assert zone_slowed(slow, POLICY).strength >= 1
    assert zone_slowed(replace(slow, incidents=0), POLICY).strength == 0
    assert zone_slowed(replace(slow, usual_flow=0.35), POLICY).strength < 1
    assert zone_slowed(replace(slow, age_s=7200), POLICY).told is Told.NO_FEED


def test_rain_is_a_storm_with_wind_or_by_itself_when_it_pours() -> None:
    wet, windy = replace(WILD, wind_mps=5.0), replace(WILD, rain_mm=1.0)
    assert severe_weather((wet,), POLICY).strength < 1 > severe_weather((windy,), POLICY).strength
    for sky in (replace(wet, rain_mm=8.0), replace(windy, wind_mps=18.0), replace(CALM, snow_cm=4.0)):
        assert severe_weather((sky,), POLICY).strength >= 1


def test_weather_is_severe_now_or_ahead() -> None:
    assert severe_weather((WILD, CALM), POLICY).told is Told.SEVERE_NOW
    assert severe_weather((CALM, WILD), POLICY).told is Told.SEVERE_AHEAD
    assert severe_weather((CALM, CALM), POLICY).strength < 1
    assert severe_weather((None, None), POLICY).told is Told.NO_FEED
