"""Thresholds by budget, alerts replayed over stored risks, and what a raw threshold would have told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.decisions.alerts import AlertPolicy
from serving.rehearsals.alert_evaluation import StopOutcome, alert_figures
from serving.rehearsals.alert_thresholds import (
    RiskPath,
    at_threshold,
    late_spans,
    predictions,
    raw_spans,
    sweep,
    threshold_for,
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


def test_the_lowest_threshold_within_the_budget_is_chosen() -> None:
    swept = [{"open_at": at, "budget": budget} for at, budget in ((0.2, 0.3), (0.4, 0.1), (0.6, 0.05))]
    assert threshold_for(swept, 0.1) == 0.4
    assert threshold_for(swept, 0.01) == 0.6


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
