"""Figures of tables on made-up rows, each counted by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from data_contracts.tables import TABLES
from pipelines.audit.coverage import Coverage, coverage, drives
from pipelines.audit.outcomes import outcomes
from pipelines.audit.profile import check, last_instant, table_figures
from pipelines.audit.skew import skews
from pipelines.audit.timing import lateness, longest_silence, out_of_order_share, rows_per_day

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ROUTE = {"area_id": "A", "origin_zone_id": "Z0", "timezone": "UTC", "service_date": "2026-03-02"}


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def make_table(name: str, *rows: dict[str, Any]) -> pa.Table:
    """Rows of a table; ``at`` is minutes after noon, ``lag`` minutes until it was received."""
    made = []
    for number, row in enumerate(rows):
        cells = {key: value for key, value in row.items() if key not in ("at", "lag")}
        times = {"occurred_at": at(row.get("at", 0)), "received_at": at(row.get("at", 0) + row.get("lag", 0))}
        made.append(dict.fromkeys(TABLES[name].names) | {"event_id": f"{name}-{number}"} | times | cells)
    return pa.Table.from_pylist(made, schema=TABLES[name].arrow_schema())


def make_ping(minutes: float, lag: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"vehicle_id": "V1", "lat": 52.0, "lon": 13.0, "at": minutes, "lag": lag} | more


def make_event(kind: str, minutes: float, stop_id: str | None = None, lag: float = 0.0) -> dict[str, Any]:
    return {"route_id": "R1", "stop_id": stop_id, "kind": kind, "at": minutes, "lag": lag}


def make_stop(sequence: int, **more: Any) -> dict[str, Any]:
    plan = {"stop_id": f"S{sequence}", "route_id": "R1", "plan_version": 0, "sequence": sequence, "at": -60}
    return plan | {"zone_id": f"Z{sequence}", "lat": 52.0 + sequence / 100, "lon": 13.0} | more


def make_day(**more: pa.Table) -> dict[str, pa.Table]:
    """One route that leaves at noon, reaches S1 at 12:20 and S2 at 12:50, and stays two minutes at each."""
    events = (
        make_event("departed_depot", 0),
        make_event("arrived", 20, "S1"),
        make_event("completed", 22, "S1"),
        make_event("arrived", 50, "S2"),
        make_event("completed", 52, "S2"),
    )
    return {
        "routes": make_table("routes", {"route_id": "R1", "vehicle_id": "V1", "at": -60, **ROUTE}),
        "stops": make_table("stops", make_stop(1), make_stop(2)),
        "stop_events": make_table("stop_events", *events),
    } | more


def as_frame(table: pa.Table) -> pl.DataFrame:
    return pl.DataFrame(table)


def covered(feed: str, **tables: pa.Table) -> Coverage:
    return next(one for one in coverage(check(make_day(**tables)).good) if one.feed == feed)


# --- lateness, order, silence -------------------------------------------------------------------------------


def test_one_row_of_four_is_later_than_allowed() -> None:
    pings = make_table("pings", *(make_ping(m, lag) for m, lag in ((0, 0), (1, 1), (2, 30), (3, 31))))
    found = lateness(as_frame(pings), "pings", timedelta(minutes=30))
    assert found is not None
    assert found.late_share == 0.25
    assert found.usual_s == pytest.approx((60 + 1_800) / 2)


def test_lateness_is_unknown_where_receipt_is_a_copy() -> None:
    pings = make_table("pings", make_ping(0), make_ping(1))
    assert lateness(as_frame(pings), "pings", timedelta(minutes=30)) is None


def test_a_row_known_after_a_later_one_of_its_vehicle_is_out_of_order() -> None:
    rows = [make_ping(0, 1), make_ping(2, 1), make_ping(1, 5), make_ping(0.5, 9, vehicle_id="V2")]
    assert out_of_order_share(as_frame(make_table("pings", *rows)), ("vehicle_id",)) == 0.25


def test_a_clock_that_runs_ahead_receives_rows_before_they_happen() -> None:
    pings = make_table("pings", make_ping(0, -1), make_ping(1, 1))
    found = lateness(as_frame(pings), "pings", timedelta(minutes=30))
    assert found is not None
    assert found.ahead_share == 0.5


def test_the_longest_silence_of_one_vehicle_stands_beside_the_usual_one() -> None:
    minutes = (0, 1, 2, 3, 13, 14)
    rows = [make_ping(m) for m in minutes] + [make_ping(m + 0.5, vehicle_id="V2") for m in (3, 4, 5)]
    found = longest_silence(as_frame(make_table("pings", *rows)), "pings")
    assert found is not None
    assert (found.longest_s, found.usual_s, found.began_at) == (600.0, 60.0, at(3))
    assert found.subject.startswith("V1")


def test_a_table_that_is_not_paced_is_silent_as_a_whole() -> None:
    events = make_table("stop_events", *(make_event("departed_depot", m) for m in (0, 10, 100)))
    found = longest_silence(as_frame(events), "stop_events")
    assert found is not None
    assert found.longest_s == 90 * 60


def test_rows_are_counted_by_day() -> None:
    pings = make_table("pings", make_ping(0), make_ping(1), make_ping(1_440))
    assert rows_per_day(as_frame(pings)) == {"2026-03-02": 2, "2026-03-03": 1}


# --- contracts ----------------------------------------------------------------------------------------------


def test_nulls_ranges_and_duplicates_are_shares_of_all_rows() -> None:
    rows = [make_ping(0, speed_mps=5.0), make_ping(1, speed_mps=99.0), make_ping(2), make_ping(3)]
    rows[3] = rows[3] | {"event_id": "pings-2", "at": 2}
    checked = check({"pings": make_table("pings", *rows)})
    found = table_figures(checked, "pings", at(3), dated=True)
    assert (found.rows, found.bad, found.duplicates) == (4, 1, 1)
    assert found.null_share["speed_mps"] == 0.5
    assert found.out_of_range_share == {"speed_mps": 0.25}
    assert found.reasons == {"RANGE_SPEED_MPS": 1}


def test_the_same_id_with_other_content_is_a_conflict() -> None:
    rows = [make_ping(0), make_ping(1, event_id="pings-0")]
    found = table_figures(check({"pings": make_table("pings", *rows)}), "pings", at(1), dated=True)
    assert (found.duplicates, found.conflicts) == (0, 1)


def test_freshness_counts_to_the_last_event_of_a_stop() -> None:
    checked = check(make_day(pings=make_table("pings", make_ping(40))))
    until = last_instant(checked.good)
    assert until == at(52)
    found = table_figures(checked, "pings", until, dated=True)
    assert (found.silent_s, found.fresh) == (12 * 60, False)


def test_a_feed_that_outlives_the_operation_is_not_silent() -> None:
    checked = check(make_day(pings=make_table("pings", make_ping(90))))
    found = table_figures(checked, "pings", last_instant(checked.good), dated=True)
    assert (found.silent_s, found.fresh) == (0.0, True)


def test_without_a_calendar_nothing_is_said_of_time() -> None:
    pings = make_table("pings", make_ping(0, 1), make_ping(1, 1))
    found = table_figures(check({"pings": pings}), "pings", at(1), dated=False)
    assert (found.first_at, found.silent_s, found.silence, found.lateness) == (None, None, None, None)


def test_an_absent_table_has_no_figures() -> None:
    found = table_figures(check(make_day()), "traffic", at(0), dated=True)
    assert not found.present
    assert found.within_budget


# --- coverage -----------------------------------------------------------------------------------------------


def test_a_drive_begins_when_the_stop_before_is_left() -> None:
    found = drives(check(make_day()).good).sort("stop_id")
    assert found["began_at"].to_list() == [at(0), at(22)]
    assert found["reached_at"].to_list() == [at(20), at(50)]


@pytest.mark.parametrize(
    ("minutes", "lag", "share"),
    [((-4, 20), 0, 1.0), ((-6, 20), 0, 0.5), ((-4, 20), 3, 0.5), ((-4, 21), 2, 0.5), ((), 0, 0.0)],
)
def test_telemetry_covers_a_stop_when_it_was_known_and_fresh(
    minutes: tuple[int, ...], lag: int, share: float
) -> None:
    """Drives begin at 0 and 22; a ping counts for five minutes, once it was received."""
    pings = make_table("pings", *(make_ping(m, lag) for m in minutes))
    assert covered("telemetry", pings=pings).share == share


def test_traffic_covers_the_zone_of_the_stop() -> None:
    of_s2 = {"zone_id": "Z2", "speed_mps": 5.0, "free_flow_mps": 10.0, "at": 10}
    found = covered("traffic", traffic=make_table("traffic", of_s2))
    assert (found.present, found.share, found.stops) == (True, 0.5, 2)


def test_a_forecast_of_the_hour_covers_as_an_observation_does() -> None:
    issued = {"area_id": "A", "at": -600, "issued_at": at(-600)}
    forecast = issued | {"kind": "forecast", "valid_at": at(0)}
    observed = issued | {"kind": "observed", "valid_at": at(-600)}
    assert covered("weather", weather=make_table("weather", forecast)).share == 1.0
    assert covered("weather", weather=make_table("weather", observed)).share == 0.0


def test_a_feed_that_is_absent_covers_nothing() -> None:
    found = covered("traffic")
    assert (found.present, found.share) == (False, 0.0)


# --- outcomes and clocks ------------------------------------------------------------------------------------


def test_lateness_is_measured_against_the_promise_told_first() -> None:
    told = {"stop_id": "S1", "promised_start_at": at(0), "at": -60}
    promises = make_table(
        "promises",
        told | {"promise_version": 1, "promised_end_at": at(10)},
        told | {"promise_version": 2, "promised_end_at": at(30)},
    )
    stops = make_table("stops", make_stop(1, promised_end_at=at(90)), make_stop(2, promised_end_at=at(60)))
    found = outcomes(check(make_day(stops=stops, promises=promises)).good)
    assert (found.reached, found.promised, found.late_share, found.timed_doors) == (2, 2, 0.5, 2)
    assert found.against == "the end of the promised window"
    assert found.median_min == pytest.approx((10 - 10) / 2)
    assert sum(found.counts) == 2


def test_a_vehicle_clock_that_runs_ahead_shows_at_the_door() -> None:
    """Thirty-two visits of two minutes; every ping stands beside its stop, and is stamped five minutes ahead."""
    stops, events, pings = [], [make_event("departed_depot", 0)], []
    for number in range(1, 33):
        arrived = 10.0 * number
        stops.append(make_stop(number))
        events += [
            make_event("arrived", arrived, f"S{number}"),
            make_event("completed", arrived + 2, f"S{number}"),
        ]
        pings += [make_ping(arrived + m + 5, lat=52.0 + number / 100) for m in (0, 1, 2)]
    tables = make_day(
        stops=make_table("stops", *stops),
        stop_events=make_table("stop_events", *events),
        pings=make_table("pings", *pings),
    )
    (found,) = skews(check(tables).good, [])
    assert (found.how, found.rows) == ("at the door", 32)
    assert found.ahead_s == pytest.approx(300.0)
    assert "300 s ahead of the stop events" in found.remark


def test_a_feed_received_an_hour_too_soon_looks_like_a_time_zone() -> None:
    events = make_table("stop_events", *(make_event("departed_depot", m, lag=61) for m in range(10)))
    pings = make_table("pings", *(make_ping(m, 1) for m in range(10)))
    checked = check({"routes": make_day()["routes"], "stop_events": events, "pings": pings})
    figures = [table_figures(checked, name, None, dated=True) for name in ("stop_events", "pings")]
    (found,) = skews(checked.good, figures)
    assert found.ahead_s == 3_600.0
    assert "looks like a time zone" in found.remark
