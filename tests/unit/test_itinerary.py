"""What a route's messages make of it, in whatever order they are heard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from data_contracts.record import Record
from features.lessons import columns_of, of_departures, of_doors, of_drives
from features.local_time import HOUR_US, local_time
from features.observations import (
    LARGEST_RATIO,
    RATIO_UNIT,
    Departure,
    Door,
    Drive,
    Observation,
    link_key,
    log_ratio,
    ratio,
)
from features.route_book import RouteBook
from features.routes import AT_STOP, BEFORE_DEPARTURE, DRIVING
from tests.builders import MINUTE_US, SECOND_US, Told, at, make_route, make_stop


def kinds(observations: Sequence[Observation]) -> list[type]:
    return [type(observation) for observation in observations]


def keys(observation: Drive | Door | Departure) -> dict[str, str]:
    """Everything that one observation is remembered by."""
    lessons_of = {Drive: of_drives, Door: of_doors, Departure: of_departures}[type(observation)]
    lessons = lessons_of(columns_of([observation], type(observation)))
    return {name: found[0] for name, found in lessons.keys.items() if found.codes[0] >= 0}


def value(observation: Drive | Door | Departure) -> int:
    """What one observation is worth, in the unit of its kind."""
    return columns_of([observation], type(observation))["value"][0]


def on_the_road() -> Told:
    """Left at 08:00, reached the first stop at 08:10 and left it at 08:13."""
    told = Told()
    told.hears("departed_depot", minute=0)
    told.hears("arrived", 1, minute=10)
    told.hears("completed", 1, minute=13)
    return told


def test_route_before_its_departure_has_every_stop_ahead():
    told = Told()
    assert told.remaining == [1, 2, 3]
    assert told.route.progress.phase == BEFORE_DEPARTURE


def test_departure_teaches_how_late_the_depot_was():
    told = Told()
    (seen,) = told.hears("departed_depot", minute=7, known=8)
    assert (type(seen), value(seen), keys(seen)) == (Departure, 7 * MINUTE_US, {"depot_id": "D-1"})
    assert seen.received_us == at(8)
    assert told.route.progress.phase == DRIVING


def test_arrival_teaches_a_drive_and_completion_a_door():
    told = Told()
    told.hears("departed_depot", minute=0)
    (drive,) = told.hears("arrived", 1, minute=12)
    (door,) = told.hears("completed", 1, minute=15)
    assert (type(drive), value(drive)) == (Drive, log_ratio(12 * MINUTE_US, 10 * MINUTE_US))
    assert keys(drive)["pair"] == "Z-0|Z-1" and keys(drive)["pair_hour"] == "Z-0|Z-1|08"
    assert (type(door), value(door)) == (Door, ratio(3 * MINUTE_US, 2 * MINUTE_US))
    assert keys(door)["site_id"] == "site-1" and keys(door)["site_hour"] == "site-1|08"
    assert keys(drive)["link"] == "Z-0|Z-1"


def test_door_that_took_no_time_teaches_that_it_took_none():
    told = Told()
    told.hears("departed_depot", minute=0)
    told.hears("arrived", 1, minute=12)
    (door,) = told.hears("completed", 1, minute=12)
    assert (type(door), value(door)) == (Door, 0)


def test_completion_without_an_arrival_says_nothing_of_the_door():
    told = Told()
    told.hears("departed_depot", minute=0)
    assert Door not in kinds(told.hears("completed", 1, minute=12))


def test_door_forgotten_open_teaches_no_more_than_the_largest_ratio():
    assert ratio(10**12, 1) == round(LARGEST_RATIO / RATIO_UNIT)


def test_line_haul_of_days_teaches_and_a_forgotten_arrival_does_not():
    for planned_h, learned in ((20, [Departure, Drive]), (1, [Departure])):
        told = Told(stops=0)
        told.tell("stops", make_stop(1, planned_travel_s=planned_h * 3600.0, occurred_at=at(-60)), minute=-60)
        seen = [*told.hears("departed_depot", minute=0), *told.hears("arrived", 1, minute=50 * 60)]
        assert [type(observation) for observation in seen] == learned


def test_two_zones_have_one_link_either_way():
    assert link_key("Z-9", "Z-1") == link_key("Z-1", "Z-9") == "Z-1|Z-9"


def test_slips_add_up_by_where_the_time_was_lost():
    told = on_the_road()
    told.hears("arrived", 2, minute=25)
    progress = told.route.progress
    assert progress.travel_slip_us == 2 * MINUTE_US
    assert progress.service_slip_us == 1 * MINUTE_US


def test_stop_that_is_being_served_is_no_longer_ahead():
    told = Told()
    told.hears("departed_depot", minute=0)
    told.hears("arrived", 1, minute=10)
    assert told.remaining == [2, 3]
    assert told.route.progress.phase == AT_STOP
    assert told.book.arrived("R-1-S1") == at(10) and told.book.closed("R-1-S1") is None


def test_arrival_heard_before_the_departure_leaves_the_route_at_the_stop():
    told = Told()
    assert not told.hears("arrived", 1, minute=10)
    assert kinds(told.hears("departed_depot", minute=5, known=11)) == [Departure]
    progress = told.route.progress
    assert (progress.phase, progress.at_stop_id, progress.phase_since_us) == (AT_STOP, "R-1-S1", at(10))
    assert progress.depot_slip_us == 5 * MINUTE_US


def test_departure_heard_after_the_first_stop_was_left_still_teaches_the_depot():
    told = Told()
    told.hears("arrived", 1, minute=10)
    told.hears("completed", 1, minute=12)
    assert kinds(told.hears("departed_depot", minute=3, known=13)) == [Departure]
    progress = told.route.progress
    assert (progress.left_zone_id, progress.left_sequence, progress.left_at_us) == ("Z-1", 1, at(12))
    assert kinds(told.hears("arrived", 2, minute=22)) == [Drive]


def test_completion_without_arrival_closes_the_stop_and_teaches_no_door():
    told = Told()
    told.hears("departed_depot", minute=0)
    assert not told.hears("completed", 1, minute=12)
    assert told.remaining == [2, 3]
    assert told.book.closed("R-1-S1") == "completed"
    assert kinds(told.hears("arrived", 2, minute=22)) == [Drive]


@pytest.mark.parametrize(
    ("kind", "stop", "minute"), [("departed_depot", None, 0), ("arrived", 1, 10), ("completed", 1, 13)]
)
def test_message_heard_twice_changes_nothing(kind: str, stop: int | None, minute: float):
    told = on_the_road()
    before = replace(told.route.progress, lag_us=0)
    assert not told.hears(kind, stop, minute=minute, known=13)
    assert replace(told.route.progress, lag_us=0) == before


def test_departure_heard_twice_while_at_a_stop_leaves_the_route_there():
    told = Told()
    told.hears("departed_depot", minute=0)
    told.hears("arrived", 1, minute=10)
    assert not told.hears("departed_depot", minute=0, known=11)
    assert told.route.progress.phase == AT_STOP


def test_late_completion_of_an_earlier_stop_leaves_the_route_where_it_is():
    told = Told()
    told.hears("departed_depot", minute=0)
    told.hears("arrived", 1, minute=10)
    assert not told.hears("arrived", 2, minute=24), "the first stop was not heard to be left"
    assert kinds(told.hears("completed", 1, minute=13, known=25)) == [Door]
    progress = told.route.progress
    assert (progress.phase, progress.at_stop_id, progress.phase_since_us) == (AT_STOP, "R-1-S2", at(24))


def test_late_arrival_at_an_earlier_stop_leaves_the_route_where_it_is():
    told = Told()
    told.hears("departed_depot", minute=0)
    told.hears("arrived", 2, minute=24)
    assert not told.hears("arrived", 1, minute=10, known=26)
    assert told.route.progress.at_stop_id == "R-1-S2"
    assert told.remaining == [3]


def test_late_older_completion_does_not_move_the_start_of_the_next_leg_back():
    told = on_the_road()
    told.hears("completed", 2, minute=25)
    told.hears("failed", 1, minute=12, known=26)
    assert (told.route.progress.left_at_us, told.route.progress.left_sequence) == (at(25), 2)


@pytest.mark.parametrize("planned_s", [None, 0.0, 1e-7])
def test_plan_without_a_length_is_no_plan(planned_s: float | None):
    told = Told(stops=0)
    told.tell("stops", make_stop(1, planned_travel_s=planned_s, planned_service_s=planned_s), minute=-60)
    told.hears("departed_depot", minute=0)
    (drive,) = told.hears("arrived", 1, minute=15)
    (door,) = told.hears("completed", 1, minute=17)
    assert (value(drive), value(door)) == (0, 1_000_000), "as long as what nothing is planned for"


def test_drive_past_a_stop_that_was_not_heard_of_teaches_nothing():
    told = on_the_road()
    assert not told.hears("arrived", 3, minute=30)
    assert told.route.progress.travel_slip_us == 0


def test_drive_past_a_skipped_stop_is_a_drive_of_its_own():
    told = on_the_road()
    told.hears("skipped", 2, minute=14)
    (drive,) = told.hears("arrived", 3, minute=30)
    assert keys(drive)["pair"] == "Z-1|Z-3"
    assert told.remaining == []


def test_skipped_stop_does_not_move_the_vehicle():
    told = on_the_road()
    told.hears("skipped", 2, minute=14)
    assert told.route.progress.left_sequence == 1
    assert told.remaining == [3]
    assert told.book.closed("R-1-S2") == "skipped"


def test_skipped_stop_that_is_served_after_all_counts_as_served():
    told = on_the_road()
    told.hears("skipped", 2, minute=14)
    told.hears("arrived", 2, minute=23)
    told.hears("completed", 2, minute=25)
    assert told.book.closed("R-1-S2") == "completed"
    assert told.route.progress.left_sequence == 2


def test_late_skip_of_a_served_stop_changes_nothing():
    told = on_the_road()
    told.hears("skipped", 1, minute=5, known=14)
    assert told.book.closed("R-1-S1") == "completed"


def test_resequenced_stop_takes_its_new_place():
    told = on_the_road()
    told.hears("resequenced", 3, minute=14, sequence=2)
    told.hears("resequenced", 2, minute=14, sequence=3)
    assert told.remaining == [3, 2]
    assert kinds(told.hears("arrived", 3, minute=24)) == [Drive]


def test_late_older_resequencing_changes_nothing():
    told = on_the_road()
    told.hears("resequenced", 2, minute=15, sequence=9)
    told.hears("resequenced", 2, minute=14, known=16, sequence=1)
    assert told.remaining == [3, 2]


def test_plan_of_an_older_version_is_ignored():
    told = Told(stops=2)
    told.tell("stops", make_stop(5, stop_id="R-1-S1", plan_version=3), minute=1)
    told.tell("stops", make_stop(1, plan_version=2), minute=2)
    assert told.remaining == [2, 1]


def test_stop_that_is_heard_of_before_its_route_waits_for_it():
    told = Told(stops=0)
    told.tell("stops", make_stop(1, "R-9"), minute=0)
    assert told.book.route_ids() == []
    assert len(told.book.itinerary(["R-9"], at(0))) == 0
    told.tell("routes", make_route("R-9"), minute=1)
    assert told.book.route_ids() == ["R-9"]


def test_events_that_are_heard_before_their_route_teach_once_it_is_planned():
    book, told = RouteBook(), []
    told.append(("stop_events", event("departed_depot", None, 4)))
    told.append(("stop_events", event("arrived", "R-1-S1", 14)))
    told.append(("stops", make_stop(1)))
    told.append(("routes", make_route()))
    learned = [book.apply(Record(seq, at(20 + seq), *row))[1] for seq, row in enumerate(told)]
    assert [kinds(seen) for seen in learned] == [[], [], [], [Departure, Drive]]
    assert {seen.received_us for seen in learned[-1]} == {at(23)}, "they are known once they are understood"


def test_events_that_wait_survive_a_restart_and_a_new_plan():
    told, restored = on_the_road(), RouteBook()
    told.hears("arrived", 4, minute=50)
    restored.load("R-1", told.book.dump("R-1"))
    restored.apply(Record(90, at(51), "routes", make_route(courier_id="C-2")))
    restored.apply(Record(91, at(52), "stops", make_stop(4)))
    assert restored.arrived("R-1-S4") == at(50)


def event(kind: str, stop_id: str | None, minute: float) -> dict[str, object]:
    return {"route_id": "R-1", "stop_id": stop_id, "kind": kind, "occurred_at": at(minute)}


def test_new_plan_of_a_route_keeps_its_stops_and_its_progress():
    told = on_the_road()
    told.tell("routes", make_route(courier_id="C-2"), minute=14)
    assert told.route.courier_id == "C-2"
    assert told.remaining == [2, 3]
    assert told.route.progress.left_sequence == 1


def test_late_older_plan_of_a_route_changes_nothing():
    told = Told(occurred_at=at(-60))
    told.tell("routes", make_route(vehicle_id="V-9", courier_id="C-2", occurred_at=at(-10)), minute=-10)
    told.tell("routes", make_route(vehicle_id="V-8", courier_id="C-3", occurred_at=at(-30)), minute=-5)
    assert (told.route.courier_id, told.route.vehicle_id) == ("C-2", "V-9")
    assert told.book.apply(ping_of("V-8"))[0] == ()
    assert told.remaining == [1, 2, 3]


def test_plan_of_a_route_that_was_only_heard_of_is_taken_whenever_it_was_made():
    told = Told(stops=0)
    told.tell("stops", make_stop(1, "R-9"), minute=0)
    told.tell("routes", make_route("R-9", occurred_at=at(-900)), minute=1)
    assert told.book.route_ids() == ["R-9"]


def test_routes_are_followed_until_long_after_the_last_thing_heard_or_planned_of_them():
    told = Told(stops=1)
    told.tell("stop_events", event("arrived", "S-stray", 5) | {"route_id": "R-stray"}, minute=5)
    told.tell("routes", make_route("R-far", planned_departure_at=at(5_000)), minute=-60)
    day, day_and_a_half = 24 * 60, 36 * 60
    assert set(told.book.followed_at(at(4 + day))) == {"R-1", "R-stray", "R-far"}
    assert set(told.book.followed_at(at(5 + day))) == {"R-1", "R-far"}, "R-stray has no stop ahead"
    assert set(told.book.followed_at(at(9 + day_and_a_half))) == {"R-1", "R-far"}, (
        "R-1-S1 is planned for 08:10"
    )
    assert told.book.followed_at(at(10 + day_and_a_half)) == ["R-far"]
    assert told.book.followed_at(at(5_000 + day)) == []
    restored = RouteBook()
    restored.load("R-stray", told.book.dump("R-stray"))
    assert restored.followed_at(at(4 + day)) == ["R-stray"] and restored.followed_at(at(5 + day)) == []


def test_what_is_heard_of_a_route_that_is_over_is_of_one_that_nothing_is_known_of():
    in_time, told = on_the_road(), on_the_road()
    over = (told.route.expected_us - at(0)) / MINUTE_US + 36 * 60
    assert kinds(in_time.hears("arrived", 2, minute=21, known=over - 1)) == [Drive]
    assert not told.hears("arrived", 2, minute=21, known=over)
    assert told.remaining == [] and not told.route.planned
    assert [route.route_id for route in told.book.take_ended()] == ["R-1"]
    assert told.book.take_ended() == []


def test_stop_of_a_route_that_is_over_is_taken_over_whatever_its_plan_was():
    told = Told(stops=1)
    told.tell("stops", make_stop(1, plan_version=7), minute=1)
    told.tell("routes", make_route("R-2"), minute=10 + 36 * 60)
    told.tell("stops", make_stop(1) | {"route_id": "R-2"}, minute=10 + 36 * 60)
    assert told.book.all_route_ids() == ["R-2"]
    assert [stop.stop_id for stop in told.book.route("R-2").remaining()] == ["R-1-S1"]


def test_ping_touches_the_route_of_its_vehicle_until_another_one_takes_over():
    told = Told()
    told.tell("routes", make_route(vehicle_id="V-9"), minute=1)
    touched = [told.book.apply(ping_of(vehicle))[0] for vehicle in ("V-9", "V-R-1", "V-other")]
    assert touched == [("R-1",), (), ()]


def ping_of(vehicle: str) -> Record:
    return Record(99, at(2), "pings", {"vehicle_id": vehicle})


def test_event_of_an_unknown_stop_waits_for_its_plan():
    told = on_the_road()
    assert not told.hears("completed", 4, minute=14, known=15)
    assert told.remaining == [2, 3]
    told.tell("stops", make_stop(4), minute=16)
    assert told.remaining == [2, 3] and told.book.closed("R-1-S4") == "completed"


def test_saved_route_goes_on_as_if_nothing_had_happened():
    told = Told()
    told.tell("routes", make_route(origin_lat=52.0, origin_lon=4.9), minute=-59)
    told.tell("stops", make_stop(2, plan_version=2, lat=52.1, lon=4.9), minute=-59)
    told.hears("departed_depot", minute=0)
    told.hears("arrived", 1, minute=10)
    saved, restored = told.book.dump("R-1"), RouteBook()
    restored.load("R-1", saved)
    assert restored.route("R-1") == told.route
    assert restored.dump("R-1") == saved
    assert restored.stop("R-1-S2") == told.book.stop("R-1-S2")


def test_finished_route_is_forgotten_with_its_stops():
    told = Told(stops=1)
    told.hears("departed_depot", minute=0)
    told.hears("completed", 1, minute=12)
    assert told.book.route_ids() == []
    told.book.forget("R-1")
    assert told.book.route("R-1") is None and told.book.stop("R-1-S1") is None
    assert told.book.apply(ping_of("V-R-1"))[0] == ()


# --- the remaining stops of a route -----------------------------------------------------------------------


def test_legs_of_the_remaining_stops_start_where_the_one_before_ends():
    told = on_the_road()
    rows = told.book.itinerary(["R-1"], at(15))
    assert rows.stop_ids == ["R-1-S2", "R-1-S3"]
    assert rows.keys["pair"] == ["Z-1|Z-2", "Z-2|Z-3"]
    assert rows.rank.tolist() == [1, 2]
    assert rows.numbers["reference_us"].tolist() == [600 * SECOND_US] * 2
    assert rows.numbers["from_service_us"].tolist() == [0, 120 * SECOND_US]
    assert rows.numbers["in_phase_s"].tolist() == [120.0, 120.0]
    assert rows.numbers["planned_in_s"].tolist() == [420.0, 1140.0]


def test_first_leg_starts_at_the_stop_being_served():
    told = Told()
    told.hears("departed_depot", minute=0)
    told.hears("arrived", 1, minute=10)
    rows = told.book.itinerary(["R-1"], at(11))
    assert rows.keys["pair"][0] == "Z-1|Z-2"
    assert rows.keys["from_site_id"][0] == "site-1"
    assert rows.numbers["from_service_us"][0] == 120 * SECOND_US


def test_age_of_a_plan_counts_from_when_it_was_made_or_the_stop_was_moved():
    told = Told(stops=1)
    told.tell("stops", make_stop(2, occurred_at=at(-60)), minute=-60)
    assert told.book.itinerary(["R-1"], at(0)).numbers["plan_age_s"].tolist()[1:] == [3600.0]
    told.hears("resequenced", 2, minute=5, sequence=9)
    ages = told.book.itinerary(["R-1"], at(6)).numbers["plan_age_s"]
    assert math.isnan(ages[0]) and ages[1] == 60.0


def test_departure_is_ahead_only_until_the_route_has_left():
    told = Told()
    assert told.book.itinerary(["R-1"], at(-5)).numbers["departure_in_s"].tolist() == [300.0] * 3
    told.hears("departed_depot", minute=2)
    assert told.book.itinerary(["R-1"], at(3)).numbers["departure_in_s"].tolist() == [0.0] * 3


def test_routes_are_groups_of_one_itinerary():
    told = Told(stops=2)
    told.tell("routes", make_route("R-2"), minute=-60)
    told.tell("stops", make_stop(1, "R-2"), minute=-60)
    rows = told.book.itinerary(["R-2", "R-1"], at(0))
    assert rows.stop_ids == ["R-2-S1", "R-1-S1", "R-1-S2"]
    assert rows.group.tolist() == [0, 1, 1]


def test_what_a_plan_does_not_say_is_nan():
    told = Told(stops=0)
    told.tell("stops", make_stop(1, planned_arrival_at=None, planned_service_s=None), minute=-60)
    numbers = told.book.itinerary(["R-1"], at(0)).numbers
    for name in (
        "planned_in_s",
        "promised_end_in_s",
        "planned_service_s",
        "parcels",
        "lat",
        "leg_distance_m",
    ):
        assert math.isnan(numbers[name][0]), name


def test_itinerary_of_nothing_has_no_rows():
    assert len(RouteBook().itinerary([], at(0))) == 0


# --- local time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timezone", "change"),
    [
        ("Europe/Amsterdam", datetime(2026, 3, 29, 1, tzinfo=UTC)),
        ("Europe/Amsterdam", datetime(2026, 10, 25, 1, tzinfo=UTC)),
        ("America/New_York", datetime(2021, 3, 14, 7, tzinfo=UTC)),
        ("America/New_York", datetime(2021, 11, 7, 6, tzinfo=UTC)),
        ("Asia/Kolkata", datetime(2026, 1, 1, tzinfo=UTC)),
        ("Australia/Adelaide", datetime(2026, 4, 4, 16, 30, tzinfo=UTC)),
    ],
)
def test_local_time_is_that_of_the_zone_around_a_change_of_the_clocks(timezone: str, change: datetime):
    for minutes in range(-30 * 60, 30 * 60, 7):
        instant = change + timedelta(minutes=minutes, microseconds=minutes)
        local = instant.astimezone(ZoneInfo(timezone))
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        expected = local.replace(tzinfo=None) - midnight
        weekday, hour = local_time(timezone, round(instant.timestamp() * 1e6))
        assert weekday == local.weekday(), instant
        assert hour * HOUR_US == pytest.approx(expected / timedelta(microseconds=1), abs=0.1), instant


def test_hour_of_the_planned_arrival_is_local():
    told = Told(stops=1, timezone="America/New_York")
    assert told.book.itinerary(["R-1"], at(0)).numbers["local_hour"] == np.array([3 + 10 / 60])


def test_a_stop_that_is_handed_over_leaves_its_old_route() -> None:
    book = RouteBook()
    for seq, (table, body) in enumerate(
        [
            ("routes", make_route("R-1")),
            ("routes", make_route("R-2")),
            ("stops", make_stop(1, "R-1", stop_id="S-7", plan_version=0)),
            ("stops", make_stop(1, "R-2", stop_id="S-7", plan_version=1)),
            ("stops", make_stop(1, "R-1", stop_id="S-7", plan_version=0)),
        ]
    ):
        touched, _ = book.apply(Record(seq, at(seq), table, body))
        if seq == 3:
            assert touched == ("R-2", "R-1")
    assert [stop.stop_id for stop in book.route("R-1").remaining()] == []
    assert [stop.stop_id for stop in book.route("R-2").remaining()] == ["S-7"]
    assert book.stop("S-7").route_id == "R-2"


def test_drive_and_door_too_long_to_be_either_are_halts():
    told = Told(stops=3)
    told.hears("departed_depot", minute=0)
    told.hears("arrived", 1, minute=36)
    assert told.route.progress.halt_us == 26 * MINUTE_US
    assert told.route.progress.travel_slip_us == 0
    told.hears("completed", 1, minute=40)
    told.hears("arrived", 2, minute=70)
    assert told.route.progress.halt_us == 26 * MINUTE_US
    assert told.route.progress.travel_slip_us == 20 * MINUTE_US
    told.hears("completed", 2, minute=110)
    assert told.route.progress.halt_us == (26 + 38) * MINUTE_US
    assert told.route.progress.service_slip_us == 2 * MINUTE_US


def test_withdrawn_arrival_lets_the_stop_lie_ahead_again():
    told = Told()
    told.hears("departed_depot", minute=0)
    told.hears("arrived", 2, minute=8)
    assert told.hears("withdrawn", 2, minute=9) == ()
    assert told.remaining == [1, 2, 3]
    assert (told.route.progress.phase, told.route.progress.at_stop_id) == (DRIVING, None)
    (drive,) = told.hears("arrived", 1, minute=7, known=10)
    assert value(drive) == log_ratio(7 * MINUTE_US, 10 * MINUTE_US)
    assert told.route.progress.phase == AT_STOP


def test_withdrawn_completion_can_be_told_again_as_a_failure():
    told = on_the_road()
    told.hears("withdrawn", 1, minute=14)
    told.hears("arrived", 1, minute=10, known=15)
    told.hears("failed", 1, minute=13, known=15)
    assert told.route.progress.closed == {"R-1-S1": "failed"}
    assert told.remaining == [2, 3]


def test_withdrawing_what_was_never_told_changes_nothing_but_what_is_known_since_when():
    told = on_the_road()
    before = replace(told.route.progress, visited={**told.route.progress.visited})
    told.hears("withdrawn", 3, minute=14)
    assert replace(told.route.progress, known_us=0, lag_us=0) == replace(before, known_us=0, lag_us=0)
