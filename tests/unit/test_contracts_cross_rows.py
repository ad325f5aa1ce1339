"""Rules about rows together: what contradicts the other rows is quarantined, and no good row with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from data_contracts.cross_rows import Earlier
from data_contracts.quarantine import Split, split
from data_contracts.tables import PINGS, STOP_EVENTS, STOPS

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
NEW_YORK, UTRECHT, NAIROBI, SUVA, CAIRO = (
    (40.7, -74.0),
    (52.1, 5.1),
    (-1.3, 36.8),
    (-18.1, 179.9),
    (30.0, 31.2),
)
quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def make_pings(*rows: dict[str, Any]) -> pa.Table:
    plain = {"occurred_at": NOON, "received_at": NOON, "vehicle_id": "V"}
    full = [plain | {"event_id": f"e{number}"} | row for number, row in enumerate(rows)]
    return pa.Table.from_pylist(full, schema=PINGS.arrow_schema())


def make_stops(*places: tuple[float, float], route_id: str = "R") -> pa.Table:
    shared = {
        "occurred_at": NOON,
        "received_at": NOON,
        "route_id": route_id,
        "plan_version": 1,
        "zone_id": "Z",
    }
    rows = [
        shared
        | {
            "event_id": f"{route_id}{n}",
            "stop_id": f"{route_id}{n}",
            "sequence": n + 1,
            "lat": lat,
            "lon": lon,
        }
        for n, (lat, lon) in enumerate(places)
    ]
    return pa.Table.from_pylist(rows, schema=STOPS.arrow_schema())


def make_events(*told: tuple[str, float], stop_id: str | None = "S-17", route_id: str = "R-1") -> pa.Table:
    """Events of one stop: their kinds, and minutes after noon."""
    rows = [
        {
            "event_id": f"{kind}-{minute}",
            "occurred_at": NOON + timedelta(minutes=minute),
            "received_at": NOON + timedelta(minutes=minute),
            "route_id": route_id,
            "stop_id": stop_id,
            "kind": kind,
        }
        for kind, minute in told
    ]
    return pa.Table.from_pylist(rows, schema=STOP_EVENTS.arrow_schema())


def bad_ids(parts: Split) -> list[str]:
    return parts.bad["event_id"].to_pylist()


# --- positions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", [NEW_YORK, UTRECHT, NAIROBI, SUVA], ids=["new_york", "utrecht", "nairobi", "suva"]
)
def test_swapped_coordinates_are_told_from_the_rest_of_the_route(place: tuple[float, float]) -> None:
    lat, lon = place
    swapped = (lon, lat) if abs(lon) <= 90 else (-lat, -lon)
    parts = split(STOPS, make_stops(place, place, swapped, place))
    assert (bad_ids(parts), dict(parts.reasons)) == (["R2"], {"FAR_FROM_ROUTE": 1})


def test_a_lost_sign_is_told_from_the_rest_of_the_vehicles_day() -> None:
    lat, lon = NEW_YORK
    parts = split(PINGS, make_pings(*[{"lat": lat, "lon": lon}] * 5, {"lat": lat, "lon": -lon}))
    assert (bad_ids(parts), dict(parts.reasons)) == (["e5"], {"FAR_FROM_VEHICLE": 1})


def test_swapping_where_latitude_and_longitude_are_alike_cannot_be_seen() -> None:
    lat, lon = CAIRO
    assert bad_ids(split(STOPS, make_stops(CAIRO, CAIRO, (lon, lat)))) == []


def test_few_positions_or_divided_ones_are_not_judged() -> None:
    far = (5.1, 52.1)
    assert bad_ids(split(STOPS, make_stops(UTRECHT, far))) == []
    assert bad_ids(split(STOPS, make_stops(UTRECHT, UTRECHT, far, far))) == []


def test_a_position_between_near_and_far_leaves_its_group_unjudged() -> None:
    between = (UTRECHT[0] - 12, UTRECHT[1])
    assert bad_ids(split(STOPS, make_stops(*[UTRECHT] * 9, (5.1, 52.1), between))) == []


def test_routes_of_several_continents_are_judged_each_by_itself() -> None:
    routes = [
        make_stops(*[place] * 4, route_id=f"R-{n}") for n, place in enumerate((NEW_YORK, UTRECHT, NAIROBI))
    ]
    assert bad_ids(split(STOPS, pa.concat_tables(routes))) == []


def test_a_vehicle_may_be_elsewhere_on_another_day() -> None:
    days = [{"lat": 52.0, "lon": 5.0, "occurred_at": NOON}] * 5
    moved = [
        {
            "lat": 41.0,
            "lon": -74.0,
            "occurred_at": NOON + timedelta(days=3),
            "received_at": NOON + timedelta(days=3),
        }
    ]
    assert bad_ids(split(PINGS, make_pings(*days, *moved))) == []


_LATITUDES, _LONGITUDES = st.floats(-75, 75), st.floats(-180, 180)


@quick
@given(
    centre=st.tuples(_LATITUDES, _LONGITUDES),
    offsets=st.lists(st.tuples(st.floats(-5, 5), st.floats(-4, 4)), min_size=1, max_size=30),
)
def test_stops_of_a_day_of_driving_are_never_quarantined(
    centre: tuple[float, float], offsets: list[tuple[float, float]]
) -> None:
    places = [(centre[0] + north, (centre[1] + east + 180) % 360 - 180) for north, east in offsets]
    assume(all(place != (0.0, 0.0) for place in places))
    assert split(STOPS, make_stops(*places)).bad.num_rows == 0


@quick
@given(
    centre=st.tuples(_LATITUDES, st.floats(-89, 89)),
    good=st.integers(4, 12),
    swapped=st.integers(1, 2),
    offsets=st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=14, max_size=14),
)
def test_of_a_route_with_swapped_stops_exactly_those_are_quarantined(
    centre: tuple[float, float], good: int, swapped: int, offsets: list[tuple[float, float]]
) -> None:
    places = [(centre[0] + north, centre[1] + east) for north, east in offsets]
    assume(abs(centre[0] - centre[1]) > 40 and abs(centre[0] + centre[1]) > 5)
    told = [*places[:good], *((lon, lat) for lat, lon in places[12 : 12 + swapped])]
    parts = split(STOPS, make_stops(*told))
    assert bad_ids(parts) == [f"R{good + n}" for n in range(swapped)]
    assert split(STOPS, parts.good).good.equals(parts.good)


# --- order of events --------------------------------------------------------------------------------------


def test_a_stop_that_is_completed_before_it_is_reached_loses_its_completion() -> None:
    parts = split(STOP_EVENTS, make_events(("arrived", 30), ("completed", 10)))
    assert (bad_ids(parts), dict(parts.reasons)) == (["completed-10"], {"COMPLETED_BEFORE_ARRIVED": 1})


@pytest.mark.parametrize(
    "told",
    [
        [("completed", 10)],
        [("completed", 10), ("arrived", 15)],
        [("arrived", 0), ("failed", 5), ("arrived", 90), ("completed", 95)],
        [("completed", 10), ("arrived", 5), ("arrived", 200)],
        [("failed", 0), ("arrived", 60)],
    ],
    ids=["never_reached", "within_the_clocks", "second_attempt", "reached_again", "closed_by_dispatch"],
)
def test_events_that_can_be_true_are_kept(told: list[tuple[str, float]]) -> None:
    assert bad_ids(split(STOP_EVENTS, make_events(*told))) == []


def test_an_arrival_of_an_earlier_batch_counts() -> None:
    arrived = pl.DataFrame({"stop_id": ["S-17"], "occurred_at": [NOON + timedelta(hours=1)]}).with_columns(
        pl.col("occurred_at").cast(pl.Datetime("us", "UTC"))
    )
    earlier = Earlier(firsts={"COMPLETED_BEFORE_ARRIVED": arrived})
    assert bad_ids(split(STOP_EVENTS, make_events(("completed", 0)), earlier=earlier)) == ["completed-0"]
    other = make_events(("completed", 0), stop_id="S-18")
    assert bad_ids(split(STOP_EVENTS, other, earlier=earlier)) == []


@quick
@given(
    told=st.lists(
        st.tuples(st.sampled_from(("arrived", "completed")), st.integers(0, 60)), max_size=8, unique=True
    )
)
def test_only_completions_before_every_arrival_fall(told: list[tuple[str, int]]) -> None:
    arrivals = [minute for kind, minute in told if kind == "arrived"]
    early = {
        f"completed-{m}" for kind, m in told if kind == "completed" and arrivals and m + 5 < min(arrivals)
    }
    assert set(bad_ids(split(STOP_EVENTS, make_events(*told)))) == early


# --- stops and routes -------------------------------------------------------------------------------------

PLANNED = pl.DataFrame({"stop_id": ["S-17", "S-17"], "route_id": ["R-1", "R-2"]})
MEMBERS = Earlier(members={"STOP_ID_NOT_OF_ROUTE_ID": PLANNED})


@pytest.mark.parametrize(("route_id", "bad"), [("R-1", 0), ("R-2", 0), ("R-3", 1)])
def test_an_event_of_a_stop_that_was_never_on_its_route_is_quarantined(route_id: str, bad: int) -> None:
    parts = split(STOP_EVENTS, make_events(("arrived", 0), route_id=route_id), earlier=MEMBERS)
    assert parts.reasons.total() == bad == parts.reasons["STOP_ID_NOT_OF_ROUTE_ID"]


def test_leaving_the_depot_concerns_no_stop() -> None:
    left = make_events(("departed_depot", 0), stop_id=None, route_id="R-9")
    assert bad_ids(split(STOP_EVENTS, left, earlier=MEMBERS)) == []
