"""Verdicts: what a source with these tables can carry, in words."""

from __future__ import annotations

from typing import Any

import pytest

from data_contracts.tables import TABLES
from pipelines.audit.coverage import FEEDS, Coverage
from pipelines.audit.outcomes import Outcomes
from pipelines.audit.profile import TableFigures
from pipelines.audit.verdicts import Answer, Evidence, Verdict, in_one_line, verdicts
from pipelines.sources.source import History

REQUIRED = ("routes", "stops", "stop_events")


def make_outcomes(**more: Any) -> Outcomes:
    """Five thousand stops on thirty days, twenty a route, a tenth of them late."""
    plain: dict[str, Any] = {
        "stops": 5_000,
        "reached": 5_000,
        "days": 30,
        "stops_a_route": 20.0,
        "timed_doors": 5_000,
        "promised": 5_000,
        "late_share": 0.1,
        "against": "the end of the promised window",
        "median_min": -30.0,
        "edges_min": (),
        "counts": (),
    }
    return Outcomes(**(plain | more))


def make_evidence(
    *,
    tables: tuple[str, ...] = tuple(TABLES),
    bad: int = 0,
    history: History = History.LIVE,
    shares: dict[str, float] | None = None,
    **more: Any,
) -> Evidence:
    """Everything is there, unless said otherwise."""
    shares = {"telemetry": 1.0, "traffic": 1.0, "weather": 1.0} | (shares or {})
    figures = [
        TableFigures(
            table=name,
            required=table.required,
            rows=100 if name in tables else 0,
            bad=bad,
            reasons={"RANGE_LAT": bad},
        )
        for name, table in TABLES.items()
    ]
    covered = [
        Coverage(
            feed=feed,
            table=table,
            present=table in tables,
            stops=5_000,
            share=shares[feed] if table in tables else 0.0,
            limit_s=60,
        )
        for feed, (table, _) in FEEDS.items()
    ]
    return Evidence(tables=figures, coverage=covered, outcomes=make_outcomes(**more), history=history)


def verdict(capability: str, **more: Any) -> Verdict:
    return next(one for one in verdicts(make_evidence(**more)) if one.capability == capability)


def test_a_fleet_with_every_feed_can_have_everything() -> None:
    assert {one.answer for one in verdicts(make_evidence())} == {Answer.YES}


def test_the_line_says_what_a_missing_traffic_feed_costs() -> None:
    without = tuple(name for name in TABLES if name != "traffic")
    line = in_one_line(verdicts(make_evidence(tables=without)))
    assert line.startswith(
        "windows: yes; late risk: yes; "
        "reasons: no traffic feed, so road conditions cannot be told from slow service; "
    )


def test_without_stop_events_there_is_no_forecast() -> None:
    found = verdicts(make_evidence(tables=("routes", "stops")))
    assert {one.answer for one in found} == {Answer.NO}
    assert "no stop_events" in found[0].reason
    assert in_one_line(found).endswith("nothing else without them")


@pytest.mark.parametrize(
    ("more", "answer", "reason"),
    [
        ({"reached": 20}, Answer.NO, "only 20 stops"),
        ({"reached": 1_500}, Answer.PARTLY, "only 1,500 stops"),
        ({"days": 3}, Answer.PARTLY, "only 3 service days"),
        ({"bad": 6}, Answer.NO, "6% of routes break the contract (5% allowed): RANGE_LAT 6"),
        ({"bad": 5}, Answer.YES, ""),
        ({"days": 3, "history": History.UNDATED}, Answer.YES, "no calendar"),
    ],
)
def test_windows_need_enough_sound_outcomes(more: dict[str, Any], answer: Answer, reason: str) -> None:
    found = verdict("windows", **more)
    assert found.answer is answer
    assert reason in found.reason


def test_late_risk_needs_no_promise_but_says_so() -> None:
    found = verdict("late risk", promised=0, late_share=None)
    assert found.answer is Answer.YES
    assert "no promised window" in found.reason


def test_a_handful_of_late_stops_teaches_little() -> None:
    assert str(verdict("late risk", late_share=0.002)) == (
        "late risk: partly (only 10 of 5,000 promised stops were late)"
    )


def test_a_feed_for_some_stops_carries_part_of_the_reasons() -> None:
    found = verdict("reasons", shares={"weather": 0.5})
    assert found.answer is Answer.PARTLY
    assert "weather feed for 50% of stops only" in found.reason


def test_a_feed_of_another_time_is_as_good_as_none() -> None:
    assert "no traffic feed at the time of the stops" in verdict("reasons", shares={"traffic": 0.01}).reason


def test_without_any_feed_and_service_times_no_cause_can_be_told() -> None:
    assert verdict("reasons", tables=REQUIRED, timed_doors=0).answer is Answer.NO


def test_trips_of_one_stop_without_telemetry_raise_no_alerts() -> None:
    assert verdict("updates under way", tables=REQUIRED, stops_a_route=1.0).answer is Answer.PARTLY
    assert verdict("alerts", tables=REQUIRED, stops_a_route=1.0).answer is Answer.NO


def test_outcomes_without_a_time_of_knowing_move_nothing() -> None:
    assert verdict("updates under way", history=History.UNDATED).answer is Answer.NO
    assert verdict("alerts", history=History.UNDATED).answer is Answer.NO


def test_nobody_can_be_told_without_customers() -> None:
    assert verdict("customer messages", tables=REQUIRED).answer is Answer.NO
