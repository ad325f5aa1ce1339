"""Thresholds by budget, alerts replayed over stored risks, and what a raw threshold would have told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.decisions.alerts import AlertPolicy
from serving.rehearsals.alert_evaluation import StopOutcome, alert_figures
from serving.rehearsals.alert_thresholds import (
    Because,
    RiskPath,
    as_swept,
    at_threshold,
    late_spans,
    predictions,
    propose,
    raw_spans,
    sweep,
    ticks_above,
    tried,
)

MINUTE_US = 60_000_000
POLICY = AlertPolicy(open_at=0.5, close_below=0.3, hold_s=0, clear_s=0, cool_down_s=0, least_lead_s=900)


def path(*late: float, every_min: int = 5) -> RiskPath:
    at_us = np.arange(len(late), dtype=np.int64) * every_min * MINUTE_US
    return RiskPath(at_us, np.array(late))


def outcome(stop_id: str, end_min: int = 120, reached_min: int | None = 130) -> StopOutcome:
    reached_us = None if reached_min is None else reached_min * MINUTE_US
    return StopOutcome(stop_id=stop_id, promise_end_us=end_min * MINUTE_US, reached_us=reached_us)


def test_an_alert_opens_where_the_risk_passes_the_threshold() -> None:
    (span,) = late_spans({"S": path(0.1, 0.6, 0.7)}, {"S": outcome("S")}, POLICY)
    assert (span.opened_us, span.resolved_us) == (5 * MINUTE_US, None)


def test_the_last_quarter_of_an_hour_opens_no_prediction() -> None:
    late = {"S": path(0.1, 0.1, 0.9, every_min=50)}
    assert late_spans(late, {"S": outcome("S", end_min=110)}, POLICY) == []


def test_a_broken_window_is_no_prediction() -> None:
    late = {"S": path(0.1, 0.1, 0.9, every_min=50)}
    (span,) = late_spans(late, {"S": outcome("S", end_min=99)}, POLICY)
    assert span.rule == "window_broken" and predictions([span]) == []


def test_a_raw_threshold_tells_every_crossing() -> None:
    spans = raw_spans({"S": path(0.6, 0.4, 0.6, 0.7)}, {"S": outcome("S")}, 0.5)
    assert [(span.opened_us, span.resolved_us) for span in spans] == [
        (0, 5 * MINUTE_US),
        (10 * MINUTE_US, None),
    ]


def test_a_threshold_that_remembers_nothing_tells_every_risk_over_it() -> None:
    assert ticks_above({"S": path(0.6, 0.4, 0.6, 0.7)}, {"S": outcome("S"), "T": outcome("T")}, 0.5) == 3


def row(open_at: float, budget: float, precision: float | None, recall: float, **more: Any) -> dict[str, Any]:
    known = {"flagged": 1, "median_lead_min": 60.0, "most_lead_min": None, "hold_s": 0.0}
    return {"open_at": open_at, "budget": budget, "precision": precision, "recall": recall} | known | more


def test_a_budget_is_a_ceiling_and_no_target() -> None:
    swept = [row(0.4, 0.10, 0.6, 0.9), row(0.65, 0.06, 0.82, 0.78), row(0.8, 0.05, 0.9, 0.6)]
    chosen = propose(swept, budget=0.10, floor=0.80)
    assert (chosen.open_at, chosen.because) == (0.65, Because.MOST_FOUND)
    assert (chosen.flagged, chosen.right, chosen.found) == (0.06, 0.82, 0.78)


def test_without_a_threshold_that_is_right_often_enough_the_most_right_one_is_proposed_and_said() -> None:
    swept = [row(0.2, 0.3, 0.79, 0.99), row(0.4, 0.1, 0.5, 0.9), row(0.6, 0.05, 0.7, 0.4)]
    chosen = propose(swept, budget=0.10, floor=0.80)
    assert (chosen.open_at, chosen.because) == (0.6, Because.NONE_RIGHT_OFTEN_ENOUGH)
    assert "no threshold within 10% is right 80% of the time" in chosen.in_words()


def test_a_budget_that_nothing_keeps_is_said() -> None:
    swept = [row(0.4, 0.3, 0.9, 0.9), row(0.6, 0.2, 0.95, 0.6), row(0.9, 0.0, None, 0.0, flagged=0)]
    chosen = propose(swept, budget=0.10, floor=0.80)
    assert (chosen.open_at, chosen.because) == (0.6, Because.NONE_WITHIN_BUDGET)
    assert "no threshold flags anything within 10%; this one the least" in chosen.in_words()
    nothing = propose(swept[2:], budget=0.10, floor=0.80)
    assert (nothing.open_at, nothing.because) == (0.9, Because.NONE_WITHIN_BUDGET)
    assert "none right" in nothing.in_words()


def test_of_dials_that_find_the_same_the_earlier_ones_are_proposed() -> None:
    late = row(0.5, 0.05, 0.9, 0.5, most_lead_min=45.0, median_lead_min=40.0)
    assert propose([late, row(0.5, 0.05, 0.9, 0.5)]).most_lead_min is None


SHARES = st.floats(0, 1)


@given(st.lists(st.tuples(SHARES, SHARES, SHARES), min_size=1, max_size=12), SHARES, SHARES)
def test_what_is_proposed_keeps_what_it_says(
    shares: list[tuple[float, float, float]], budget: float, floor: float
) -> None:
    swept = [row(number / 20, *of_row) for number, of_row in enumerate(shares)]
    chosen = propose(swept, budget, floor)
    keeping = [each for each in swept if each["budget"] <= budget and each["precision"] >= floor]
    assert (chosen.because is Because.MOST_FOUND) == bool(keeping)
    if keeping:
        assert chosen.flagged <= budget and (chosen.right or 0.0) >= floor
        assert chosen.found == max(each["recall"] for each in keeping)


def test_an_alert_that_may_wait_opens_when_more_is_known() -> None:
    late = {"S": path(0.6, 0.6, 0.6, 0.6, every_min=30)}
    patient = replace(POLICY, most_lead_s=3600.0)
    (span,) = late_spans(late, {"S": outcome("S", end_min=120)}, patient)
    assert span.opened_us == 60 * MINUTE_US


def test_an_impossible_promise_does_not_wait() -> None:
    late = {"S": path(0.99, 0.99, every_min=30)}
    (span,) = late_spans(late, {"S": outcome("S", end_min=120)}, replace(POLICY, most_lead_s=1800.0))
    assert (span.opened_us, span.rule) == (0, "promise_impossible")


def test_dials_are_tried_together_and_come_back_as_a_policy() -> None:
    late = {"S": path(0.6, 0.6, 0.6, every_min=30)}
    rows = tried(late, {"S": outcome("S")}, POLICY, most_leads_min=(None, 60.0), holds_s=(0.0, 120.0))
    assert len(rows) == 4 * 15
    policy = as_swept(POLICY, next(each for each in rows if each["most_lead_min"] and each["hold_s"]))
    assert (policy.most_lead_s, policy.hold_s, policy.open_at) == (3600.0, 120.0, 0.2)


def test_another_threshold_keeps_the_width_of_the_hysteresis() -> None:
    policy = at_threshold(POLICY, 0.8)
    assert (policy.open_at, policy.close_below) == (0.8, pytest.approx(0.48))


RISKS = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=24), min_size=1, max_size=6)


@given(RISKS, st.floats(0.1, 0.9))
def test_a_higher_threshold_never_flags_more_stops(risks: list[list[float]], open_at: float) -> None:
    paths = {f"S-{number}": path(*late) for number, late in enumerate(risks)}
    known = {stop_id: outcome(stop_id) for stop_id in paths}
    low, high = sweep(paths, known, POLICY, thresholds=(open_at, min(1.0, open_at + 0.1)))
    assert high["flagged"] <= low["flagged"]


@given(RISKS, st.floats(0.1, 0.9))
def test_stages_tell_no_stop_that_a_raw_threshold_does_not_and_never_more_often(
    risks: list[list[float]], open_at: float
) -> None:
    paths = {f"S-{number}": path(*late) for number, late in enumerate(risks)}
    known = {stop_id: outcome(stop_id) for stop_id in paths}
    policy = replace(at_threshold(POLICY, open_at), hold_s=300.0, clear_s=300.0)
    ours, raw = late_spans(paths, known, policy), raw_spans(paths, known, open_at)
    assert len(predictions(ours)) <= len(raw)
    assert {span.stop_id for span in predictions(ours)} <= {span.stop_id for span in raw}


def test_an_alert_that_comes_too_late_or_closes_is_a_miss() -> None:
    paths = {"early": path(0.9, 0.9), "closed": path(0.9, 0.1, 0.1), "never": path(0.1)}
    known = {stop_id: outcome(stop_id) for stop_id in paths}
    figures = alert_figures(late_spans(paths, known, POLICY), list(known.values()))
    assert (figures["late"], figures["flagged"], figures["true"]) == (3, 2, 1)
