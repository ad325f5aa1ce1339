"""The reference city: reproducible, steppable, and honest about what is known when."""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import SourceError
from data_contracts.tables import TABLES, Table
from pipelines.simulation.actions import CancelStop, Resequence, SlowZone
from pipelines.simulation.city import City
from pipelines.simulation.disruptions import Cause
from pipelines.simulation.parameters import Parameters, parameters_hash, perturbed_cities
from pipelines.simulation.state import Outcome
from pipelines.simulation.streets import TICK_S
from pipelines.simulation.world import World
from pipelines.sources import simulated

DAY = date(2026, 1, 5)
SEED = 3
HOUR_S = 3600.0


@lru_cache
def world() -> World:
    return World.draw(Parameters.load("small"), SEED)


def make_city(*, until_h: float | None = None, day: date = DAY) -> City:
    city = City.day(world(), day, SEED)
    if until_h is not None:
        city.run_until(city.instant(until_h * HOUR_S))
    return city


def finished(city: City) -> City:
    city.finish()
    return city


@lru_cache
def day_of_messages() -> dict[str, pa.Table]:
    return next(simulated.generate("small", SEED, DAY, 1))[1]


def arrivals_s(city: City) -> np.ndarray:
    return city.arrived_s[: city.plan.stops]


def stops_to_come(city: City, route: int) -> list[str]:
    return [city.plan.stop_ids[stop] for stop in city.to_visit(route)]


def times_s(table: pa.Table, column: str) -> np.ndarray:
    return table[column].cast(pa.int64()).to_numpy() / 1e6


def rows_by_message(tables: dict[str, pa.Table]) -> dict[str, list[tuple[object, ...]]]:
    return {name: sorted(map(str, table.to_pylist())) for name, table in tables.items()}


@pytest.mark.parametrize("contract", TABLES.values(), ids=lambda t: t.name)
def test_every_table_keeps_its_contract(contract: Table) -> None:
    table = day_of_messages()[contract.name]
    assert table.schema.equals(contract.arrow_schema(), check_metadata=True)
    assert table.num_rows > 0
    for column in contract.columns:
        values = table[column.name].drop_null()
        assert len(values) == table.num_rows or not column.required, column.name
        if not len(values):
            continue
        if column.low is not None:
            assert pc.min(values).as_py() >= column.low, column.name
        if column.high is not None:
            assert pc.max(values).as_py() <= column.high, column.name
        if column.allowed is not None:
            assert set(values.to_pylist()) <= set(column.allowed), column.name


@pytest.mark.parametrize("name", TABLES)
def test_rows_come_in_the_order_of_receipt_and_never_before_they_happen(name: str) -> None:
    table = day_of_messages()[name]
    received_s, occurred_s = times_s(table, "received_at"), times_s(table, "occurred_at")
    assert (np.diff(received_s) >= 0).all()
    assert (received_s >= occurred_s).all()


def test_only_duplicates_share_an_event_id() -> None:
    for table in day_of_messages().values():
        content = table.drop_columns(["received_at"])
        assert len(set(table["event_id"].to_pylist())) == len(set(map(str, content.to_pylist())))


def test_messages_refer_to_what_was_announced() -> None:
    tables = day_of_messages()
    for contract in TABLES.values():
        for reference in contract.references:
            named = set(tables[contract.name][reference.column].to_pylist()) - {None}
            assert named <= set(tables[reference.table][reference.column].to_pylist())


def test_plan_and_promise_are_told_on_the_evening_before() -> None:
    city = make_city()
    evening_s = city.plan.start.timestamp() - 6 * HOUR_S
    for name in ("routes", "stops", "promises"):
        first = times_s(day_of_messages()[name], "occurred_at")
        assert (first >= evening_s).all()
        assert (first == evening_s).sum() >= (
            len(city.plan.route_ids) if name == "routes" else city.plan.planned
        )


def test_same_seed_gives_the_same_content() -> None:
    again = next(simulated.generate("small", SEED, DAY, 1))[1]
    other = next(simulated.generate("small", SEED + 1, DAY, 1))[1]
    assert simulated.content_hash(again) == simulated.content_hash(day_of_messages())
    assert simulated.content_hash(other) != simulated.content_hash(again)


def test_a_day_does_not_depend_on_the_days_before() -> None:
    later = list(simulated.generate("small", SEED, DAY, 3))[2]
    alone = next(simulated.generate("small", SEED, DAY + timedelta(days=2), 1))
    for tables in (later[1], alone[1]):
        del tables["customers"]
    assert later[0] == alone[0]
    assert simulated.content_hash(later[1]) == simulated.content_hash(alone[1])


def test_steps_tell_the_same_as_a_whole_day() -> None:
    city = make_city()
    parts = [city.run_until(city.instant(hour * HOUR_S)) for hour in (-1, 7.9, 8.51, 11)]
    parts += [city.step() for _ in range(5)] + [city.run()]
    joined = {name: pa.concat_tables([part[name] for part in parts]) for name in TABLES}
    assert rows_by_message(joined) == rows_by_message(make_city().run())


def test_a_clock_change_keeps_the_local_service_day() -> None:
    zone = ZoneInfo(world().parameters.place.timezone)
    for day in (date(2026, 3, 28), date(2026, 3, 29)):
        city = make_city(day=day)
        first = city.instant(city.plan.departure_s.min()).astimezone(zone)
        assert first.hour == 8


def test_a_route_moves_forward_in_time() -> None:
    city = finished(make_city())
    for route in range(city.plan.routes):
        visited = np.flatnonzero((city.route[: city.plan.stops] == route) & np.isfinite(arrivals_s(city)))
        visited = visited[np.argsort(arrivals_s(city)[visited])]
        assert (city.done_s[visited] > city.arrived_s[visited]).all()
        assert (city.arrived_s[visited][1:] > city.done_s[visited][:-1]).all()


def test_truth_agrees_with_the_messages() -> None:
    city = make_city()
    events = city.run()["stop_events"]
    truth = {row["stop_id"]: row for row in city.truth().stops.to_pylist()}
    for row in events.to_pylist():
        if row["kind"] == "arrived":
            assert truth[row["stop_id"]]["arrived_at"] == row["occurred_at"]
        elif row["kind"] in ("completed", "failed", "skipped"):
            assert truth[row["stop_id"]]["outcome"] == row["kind"]
            assert truth[row["stop_id"]]["completed_at"] == row["occurred_at"]


def test_truth_of_a_running_day_holds_only_what_has_happened() -> None:
    city = make_city(until_h=10)
    stops = city.truth().stops
    assert 0 < stops["arrived_at"].null_count < stops.num_rows
    assert pc.max(stops["completed_at"]).as_py() < city.now


def test_a_twin_that_does_nothing_equals_the_original() -> None:
    city = make_city(until_h=10)
    (twin,) = city.fork(1, same_noise=True)
    assert simulated.content_hash(twin.run()) == simulated.content_hash(city.run())
    np.testing.assert_array_equal(arrivals_s(twin), arrivals_s(city))


def routes_left_alone(*twins: City) -> np.ndarray:
    """Routes whose stops are the same in all twins: no review changed them, and customers cancelled alike."""
    visited = [np.isfinite(arrivals_s(city)) for city in twins]
    changed = {route for city in twins for revision in city.revisions for route in revision.route.tolist()}
    changed |= {int(r) for city in twins for r in city.plan.place_route[city.route != city.plan.place_route]}
    changed |= {int(r) for r in twins[0].route[: twins[0].plan.stops][visited[0] ^ visited[-1]]}
    return np.setdiff1d(np.arange(twins[0].plan.routes), list(changed))


@pytest.mark.parametrize("until_h", [-6.0, 8.3, 10.0, 10.6])
def test_a_slowed_zone_makes_nobody_early(until_h: float) -> None:
    city = make_city(until_h=until_h)
    (twin,) = city.fork(1, same_noise=True)
    for zone_id in (world().zone_ids[zone] for zone in world().district_zone):
        twin.apply(
            SlowZone(zone_id=zone_id, factor=0.4, from_at=city.instant(0), to_at=city.instant(15 * HOUR_S))
        )
    finished(city), finished(twin)
    visited = np.isfinite(arrivals_s(city))
    visited &= np.isin(city.route[: city.plan.stops], routes_left_alone(city, twin))
    delay_s = arrivals_s(twin)[visited] - arrivals_s(city)[visited]
    assert delay_s.min() > -1e-6
    assert delay_s.max() > 60
    happened = arrivals_s(city)[visited] < until_h * HOUR_S
    np.testing.assert_array_equal(delay_s[happened], 0)


def test_redrawn_futures_differ_and_share_their_past() -> None:
    city = make_city(until_h=10)
    now_s = city.now_s
    futures = [city, *city.fork(3)]
    for future in futures:
        future.run()
    arrived_s = np.array([arrivals_s(future) for future in futures])
    past = arrived_s[0] < now_s
    assert past.any() and not past.all()
    assert (arrived_s[:, past] == arrived_s[0, past]).all()
    assert (arrived_s[:, ~past] >= now_s).all()
    to_come = np.isfinite(arrived_s).all(axis=0) & ~past
    assert (arrived_s[:, to_come].std(axis=0) > 0).mean() > 0.9
    lane, past_s = city.rates.lane(0, np.arange(world().parameters.size.districts)), now_s - TICK_S
    for future in futures[1:]:
        np.testing.assert_array_equal(future.rates.at(lane, past_s), city.rates.at(lane, past_s))


def test_forks_are_reproducible() -> None:
    first, second = (make_city(until_h=9).fork(2)[1] for _ in range(2))
    assert simulated.content_hash(first.run()) == simulated.content_hash(second.run())


def test_a_cancelled_stop_is_skipped_and_leaves_other_routes_alone() -> None:
    city = make_city(until_h=9)
    (twin,) = city.fork(1, same_noise=True)
    stop_id = stops_to_come(twin, 0)[2]
    twin.apply(CancelStop(stop_id=stop_id))
    events = twin.run()["stop_events"].to_pylist()
    assert [row["kind"] for row in events if row["stop_id"] == stop_id] == ["skipped"]
    city.run()
    elsewhere = city.plan.place_route[: city.plan.stops] != 0
    np.testing.assert_array_equal(arrivals_s(twin)[elsewhere], arrivals_s(city)[elsewhere])


def test_a_stop_under_way_cannot_be_cancelled() -> None:
    city = make_city(until_h=10)
    stop_id = city.plan.stop_ids[city.under_way[0]]
    with pytest.raises(ValueError, match=stop_id):
        city.apply(CancelStop(stop_id=stop_id))


def test_a_resequenced_route_is_driven_in_its_new_order() -> None:
    city = make_city(until_h=9)
    order = tuple(reversed(stops_to_come(city, 1)))
    city.apply(Resequence(route_id=city.plan.route_ids[1], stop_ids=order))
    events = city.run()["stop_events"]
    places = [city.plan.stop_ids.index(stop_id) for stop_id in order]
    arrived_s = arrivals_s(city)[places]
    assert (np.diff(arrived_s[np.isfinite(arrived_s)]) > 0).all()
    moved = events.filter(pc.equal(events["kind"], "resequenced"))
    assert set(moved["stop_id"].to_pylist()) >= set(order)


def test_resequencing_names_every_open_stop_once() -> None:
    city = make_city(until_h=9)
    with pytest.raises(ValueError, match="once"):
        city.apply(Resequence(route_id=city.plan.route_ids[1], stop_ids=tuple(stops_to_come(city, 1)[1:])))


def test_pings_lie_near_the_route() -> None:
    city = make_city()
    pings = city.run()["pings"]
    at_s = times_s(pings, "occurred_at") - city.plan.start.timestamp()
    route = np.array([city.plan.route_ids.index(r) for r in pings["route_id"].to_pylist()])
    y_m = (pings["lat"].to_numpy() - world().parameters.place.lat) * 111_320
    x_m = pings["lon"].to_numpy() - world().parameters.place.lon
    x_m = x_m * 111_320 * np.cos(np.radians(world().parameters.place.lat))
    for place in np.flatnonzero(np.isfinite(city.left_s)):
        on = (
            (route == city.plan.place_route[place])
            & (at_s >= city.left_s[place])
            & (at_s < city.done_s[place])
        )
        start, end = (
            np.array([city.plan.place_x_m[p], city.plan.place_y_m[p]]) for p in (city.came_from[place], place)
        )
        away_m = _off_segment_m(np.column_stack([x_m[on], y_m[on]]), start, end)
        assert (away_m < 60).all()


def _off_segment_m(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    leg = end - start
    share = np.clip((points - start) @ leg / max(float(leg @ leg), 1e-9), 0, 1)
    return np.hypot(*(points - start - share[:, None] * leg).T)


def test_vehicles_do_not_jump() -> None:
    pings = day_of_messages()["pings"].sort_by([("vehicle_id", "ascending"), ("occurred_at", "ascending")])
    x_m = pings["lon"].to_numpy() * 111_320 * np.cos(np.radians(52.09))
    moved_m = np.hypot(np.diff(x_m), np.diff(pings["lat"].to_numpy() * 111_320))
    passed_s = np.diff(times_s(pings, "occurred_at"))
    near = (passed_s >= 0) & (passed_s <= 31)
    assert moved_m[near].max() < 30 * 25 + 80


def test_traffic_feed_follows_the_true_speed() -> None:
    city = make_city()
    traffic = city.run()["traffic"]
    zone = np.array([world().zone_ids.index(z) for z in traffic["zone_id"].to_pylist()])
    at_s = times_s(traffic, "occurred_at") - city.plan.start.timestamp()
    lane = city.rates.lane(0, world().zone_district[zone])
    speed_mps = world().free_flow_mps[zone] * city.rates.at(lane, at_s)
    error = np.log(traffic["speed_mps"].to_numpy() / speed_mps)
    assert abs(error.mean()) < 0.02
    assert 0.05 < error.std() < 0.12


def test_forecasts_get_worse_with_their_lead() -> None:
    rows = [
        w for _, tables in simulated.generate("small", SEED, DAY, 4) for w in tables["weather"].to_pylist()
    ]
    seen = {row["valid_at"]: row["temperature_c"] for row in rows if row["kind"] == "observed"}
    errors: dict[bool, list[float]] = {False: [], True: []}
    for row in rows:
        if row["kind"] == "forecast" and row["valid_at"] in seen:
            far = row["valid_at"] - row["issued_at"] > timedelta(hours=12)
            errors[far].append(abs(row["temperature_c"] - seen[row["valid_at"]]))
    assert np.mean(errors[True]) > 1.3 * np.mean(errors[False])


@lru_cache
def rough_days() -> tuple[City, ...]:
    """Days on which dispatchers have much to do, finished."""
    parameters = Parameters.load("unready")
    rough = World.draw(parameters, SEED)
    return tuple(finished(City.day(rough, DAY + timedelta(days=n), SEED)) for n in range(2))


def test_orders_of_the_day_join_a_route_with_a_promise() -> None:
    for city in rough_days():
        planned = city.plan.planned
        added = planned + np.flatnonzero(np.isfinite(city.joined_s[planned:]))
        assert len(added)
        assert np.isfinite(city.promised_end_s[added]).all()
        assert (city.left_s[added] >= city.joined_s[added]).all()


def test_a_route_far_behind_hands_its_last_stops_over() -> None:
    handed = [city for city in rough_days() if (city.route != city.plan.place_route).any()]
    assert handed
    for city in handed:
        moved = np.flatnonzero(city.route != city.plan.place_route)
        told = {stop for revision in city.revisions for stop in revision.stop.tolist()}
        assert set(moved.tolist()) <= told


def test_each_plan_version_of_a_stop_is_told_once() -> None:
    parameters = Parameters.load("unready")
    stops = City.day(World.draw(parameters, SEED), DAY, SEED).run()["stops"]
    keys = stops.select(["stop_id", "plan_version", "route_id", "sequence"]).to_pylist()
    contents = {tuple(key.values()) for key in keys}
    assert len(contents) == len({(key["stop_id"], key["plan_version"]) for key in keys})
    assert max(key["plan_version"] for key in keys) > 1


def test_every_stop_is_visited_or_dropped_once() -> None:
    for city in (*rough_days(), finished(make_city())):
        known = np.flatnonzero(np.isfinite(city.joined_s))
        visited, dropped = np.isfinite(arrivals_s(city)[known]), city.outcome[known] == Outcome.SKIPPED
        assert (visited ^ dropped).all()
        assert not np.isfinite(arrivals_s(city)[np.isinf(city.joined_s)]).any()


def test_a_courier_now_and_then_takes_the_next_but_one_first() -> None:
    assert any(city.moves for city in rough_days())


def test_vehicles_of_every_type_are_told() -> None:
    parameters = Parameters.load("demo")
    routes = City.day(World.draw(parameters, SEED), DAY, SEED).step()["routes"].to_pylist()
    assert {row["vehicle_type"] for row in routes} == {"van", "cargo_bike", "robot"}
    assert all((row["courier_id"] is None) == (row["vehicle_type"] == "robot") for row in routes)


def test_traffic_holds_up_no_cargo_bike() -> None:
    city = make_city(until_h=7)
    (twin,) = city.fork(1, same_noise=True)
    for zone_id in (world().zone_ids[zone] for zone in world().district_zone):
        twin.apply(SlowZone(zone_id=zone_id, factor=0.5, from_at=city.now, to_at=city.instant(20 * HOUR_S)))
    finished(city), finished(twin)
    bike = world().vehicle_type.index("cargo_bike")
    by_bike = (city.route[: city.plan.stops] == bike) & np.isfinite(arrivals_s(city))
    np.testing.assert_array_equal(arrivals_s(twin)[by_bike], arrivals_s(city)[by_bike])


def test_disruptions_name_what_they_strike() -> None:
    found = simulated.disruptions("small", SEED, DAY, 20)
    assert {d.cause for d in found} >= {"storm", "slow_zone"}
    for disruption in found:
        struck = (disruption.area_id, disruption.zone_id, disruption.depot_id, disruption.vehicle_id)
        assert sum(subject is not None for subject in struck) == 1
        assert (disruption.zone_id in disruption.zone_ids) == (disruption.cause is Cause.SLOW_ZONE)
        assert disruption.onset < disruption.end


def test_writing_lands_a_file_per_table_and_day(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    rows = simulated.write(tmp_path, "small", SEED, DAY, 2, lambda *at: seen.append(at))
    files = sorted(tmp_path.rglob("*"), key=str)
    assert seen == [(1, 2), (2, 2)]
    assert {f.name for f in files if f.is_file()} == {"2026-01-05.parquet", "2026-01-06.parquet"}
    assert sum(pq.read_metadata(f).num_rows for f in files if f.is_file()) == rows
    read = pq.read_table(tmp_path / "stop_events" / "2026-01-05.parquet")
    assert read.equals(day_of_messages()["stop_events"])


def test_an_unknown_size_is_refused_by_name() -> None:
    with pytest.raises(SourceError, match="small, demo, reference"):
        Parameters.load("enormous")


def test_parameters_are_frozen_under_their_published_hash() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference-city.md"
    assert parameters_hash() in page.read_text(encoding="utf-8")


def test_five_perturbed_cities_differ_from_the_demo_city_in_draws_and_parameters() -> None:
    demo = Parameters.load("demo")
    perturbed = [Parameters.load(name) for name in perturbed_cities()]
    assert len(perturbed) == 5
    assert len({p.stream for p in (demo, *perturbed)}) == 6
    assert len({p.place.area_id for p in (demo, *perturbed)}) == 6
    worlds = [World.draw(p, SEED) for p in perturbed]
    assert len({w.site_x_m[:3].tobytes() for w in worlds}) == 5
