"""Alerts open on a risk that holds, follow it quietly, and close once; promises change only for a reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.decisions.alerts import (
    Action,
    AlertPolicy,
    Decision,
    Kind,
    Phase,
    Reason,
    Rule,
    Signal,
    Watch,
    decide,
)
from serving.decisions.promises import DeliveryWindow, Keep, Promise, PromisePolicy, Revise, revise
from serving.times import US

POLICY = AlertPolicy(open_at=0.5, close_below=0.3, hold_s=60, clear_s=60, cool_down_s=600)
AT_ONCE = replace(POLICY, hold_s=0)
MINUTE_US = 60 * US


def risk_of(
    probability: float | None,
    at_us: int = 0,
    *,
    level: str | None = None,
    policy: AlertPolicy = POLICY,
    **more: Any,
) -> Signal:
    """What the late-risk rule says of a stop."""
    return Signal(
        kind=Kind.STOP,
        subject_id="S-1",
        route_id="R-1",
        rule=more.pop("rule", Rule.LATE_RISK),
        as_of_us=at_us,
        strength=probability or 0.0,
        bars=policy.bars(level),
        **more,
    )


NOTHING = Watch.blank(risk_of(0.0))


def follow_risk(*probabilities: float, ended: Reason | None = None) -> list[Decision]:
    """One decision a minute."""
    watch, decisions = NOTHING, []
    for minute, probability in enumerate(probabilities):
        last = minute == len(probabilities) - 1
        risk = risk_of(probability, minute * MINUTE_US, ended=ended if last else None)
        decisions.append(decide(watch, risk, POLICY))
        watch = decisions[-1].watch
    return decisions


def actions(decisions: list[Decision]) -> list[str]:
    return [decision.action.value for decision in decisions if decision.action is not Action.NONE]


def test_alert_opens_once_the_risk_has_held() -> None:
    decisions = follow_risk(0.6, 0.7)
    assert [decision.reason for decision in decisions] == [Reason.HOLDING, Reason.RISK_HELD]
    assert decisions[-1].watch.alert_id == f"late_risk:S-1:{MINUTE_US}"


def test_a_single_spike_opens_nothing() -> None:
    assert actions(follow_risk(0.6, 0.4, 0.6, 0.4)) == []


def test_alert_stays_open_between_the_thresholds() -> None:
    decisions = follow_risk(0.6, 0.6, 0.4, 0.55, 0.4)
    assert actions(decisions) == ["open"]
    assert decisions[-1].reason is Reason.WITHIN_HYSTERESIS


def test_alert_resolves_when_courier_catches_up() -> None:
    decisions = follow_risk(0.6, 0.6, 0.1, 0.1)
    assert actions(decisions) == ["open", "resolve"]
    assert [decision.reason for decision in decisions[2:]] == [Reason.RECEDING, Reason.RISK_RECEDED]
    assert decisions[-1].watch.phase is Phase.QUIET


def follow_minutes(*late_min: float) -> list[Decision]:
    """One decision a minute of a stop that is likely to be late by so many minutes."""
    watch, decisions = NOTHING, []
    for minute, late in enumerate(late_min):
        risk = risk_of(0.9, minute * MINUTE_US, policy=AT_ONCE, late_s=late * 60.0)
        decisions.append(decide(watch, risk, AT_ONCE))
        watch = decisions[-1].watch
    return decisions


def test_a_stop_is_told_again_when_its_minutes_have_moved_but_not_at_once() -> None:
    assert actions(follow_minutes(10, 20, 20)) == ["open"]
    assert actions(follow_minutes(10, 20, 20, 20, 20, 20, 20, 20)) == ["open", "update"]
    assert actions(follow_minutes(10, 19, 19, 19, 19, 19, 19)) == ["open"]
    assert actions(follow_minutes(*[10] * 6, *[20] * 6, *[9] * 6)) == ["open", "update", "update"]


def test_a_surer_risk_of_the_same_minutes_is_no_news() -> None:
    assert actions(follow_risk(0.6, 0.6, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9)) == ["open"]


def test_what_is_about_no_stop_is_updated_by_its_strength() -> None:
    def storm(strength: float, minute: int) -> Signal:
        return replace(risk_of(strength, minute * MINUTE_US, policy=AT_ONCE), kind=Kind.AREA)

    opened = decide(Watch.blank(storm(0.6, 0)), storm(0.6, 0), AT_ONCE)
    assert decide(opened.watch, storm(0.9, 5), AT_ONCE).action is Action.UPDATE


def test_alert_resolves_when_the_stop_is_reached() -> None:
    decisions = follow_risk(0.6, 0.6, 0.9, ended=Reason.STOP_REACHED)
    assert actions(decisions) == ["open", "resolve"]
    assert decisions[-1].reason is Reason.STOP_REACHED


def test_a_resolved_alert_does_not_flap() -> None:
    decisions = follow_risk(0.6, 0.6, 0.1, 0.1, 0.6, 0.6, 0.6)
    assert actions(decisions) == ["open", "resolve"]
    assert decisions[-1].reason is Reason.COOLING_DOWN


def test_an_express_stop_has_its_own_threshold() -> None:
    policy = replace(POLICY, open_at_by_service_level={"express": 0.2}, hold_s=0)
    assert decide(NOTHING, risk_of(0.25, level="express", policy=policy), policy).action is Action.OPEN
    assert decide(NOTHING, risk_of(0.25, level="standard", policy=policy), policy).action is Action.NONE


def test_a_stop_without_a_promise_never_alerts() -> None:
    assert decide(NOTHING, risk_of(None), POLICY).reason is Reason.BELOW_THRESHOLD


def test_a_stronger_rule_takes_the_alert_over_instead_of_opening_a_second() -> None:
    opened = decide(NOTHING, risk_of(0.6, policy=AT_ONCE), AT_ONCE)
    stronger = risk_of(0.97, MINUTE_US, rule=Rule.PROMISE_IMPOSSIBLE, policy=AT_ONCE)
    impossible = decide(opened.watch, stronger, AT_ONCE)
    assert (impossible.action, impossible.reason) == (Action.UPDATE, Reason.ESCALATED)
    assert (impossible.alert_id, impossible.is_news) == (opened.alert_id, False)
    assert impossible.watch.rule is Rule.PROMISE_IMPOSSIBLE
    back = decide(impossible.watch, risk_of(0.9, 2 * MINUTE_US), AT_ONCE)
    assert (back.action, back.watch.rule) == (Action.NONE, Rule.PROMISE_IMPOSSIBLE)


def test_a_risk_that_nobody_can_act_on_opens_nothing_but_stays_open() -> None:
    beyond_help = risk_of(0.9, actionable=False, policy=AT_ONCE)
    assert decide(NOTHING, beyond_help, AT_ONCE).reason is Reason.TOO_LATE_TO_ACT
    opened = decide(NOTHING, risk_of(0.9, policy=AT_ONCE), AT_ONCE)
    assert decide(opened.watch, beyond_help, AT_ONCE).reason is Reason.WITHIN_HYSTERESIS


def test_a_minute_weighs_more_for_a_dear_order_of_an_express_customer() -> None:
    policy = AlertPolicy(
        priority_by_service_level={"express": 2.0},
        priority_by_product_type={"medicine": 1.5},
        value_of_one=100.0,
    )
    assert policy.priority("express", "medicine", 50.0) == pytest.approx(2.0 * 1.5 * 1.5)
    assert policy.priority(None) == 1.0
    assert [policy.severity(minutes) for minutes in (9.9, 10.0, 30.0)] == ["low", "medium", "high"]


@given(
    st.lists(
        st.tuples(st.integers(0, 900), st.one_of(st.none(), st.floats(0, 1)), st.booleans()), max_size=40
    )
)
def test_whatever_comes_an_alert_is_open_once_and_resolved_only_when_open(
    moments: list[tuple[int, float | None, bool]],
) -> None:
    watch, now_us, open_id = NOTHING, 0, None
    for step_s, probability, is_ended in moments:
        now_us += step_s * US
        ended = Reason.STOP_REACHED if is_ended else None
        risk = risk_of(probability, now_us, ended=ended)
        decision = decide(watch, risk, POLICY)
        if decision.action is Action.OPEN:
            assert open_id is None
            open_id = decision.alert_id
        elif decision.action is not Action.NONE:
            assert decision.alert_id == open_id is not None
            open_id = None if decision.action is Action.RESOLVE else open_id
        watch = decision.watch
        assert (watch.phase is Phase.OPEN) == (open_id is not None)


def minutes(start: float, end: float) -> DeliveryWindow:
    return DeliveryWindow(start_us=int(start * MINUTE_US), end_us=int(end * MINUTE_US))


FIRST = minutes(60, 120)
PROMISED = Promise(stop_id="S-1", route_id="R-1", first=FIRST, told=FIRST)
RULES = PromisePolicy()


@pytest.mark.parametrize(
    ("forecast", "reason"),
    [
        (minutes(70, 90), Keep.WITHIN_PROMISE),
        (minutes(110, 149), Keep.WITHIN_HYSTERESIS),
        (minutes(130, 151), Revise.WINDOW_MISSED),
        (minutes(20, 40), Revise.WINDOW_EARLY),
    ],
)
def test_a_promise_is_revised_when_the_forecast_leaves_it(
    forecast: DeliveryWindow, reason: Revise | Keep
) -> None:
    assert revise(PROMISED, forecast, 0, RULES)[1] is reason


def test_a_revised_promise_is_told_in_whole_five_minutes_and_keeps_the_first() -> None:
    promise, _ = revise(PROMISED, minutes(132, 158), 7, RULES)
    assert promise.told == minutes(130, 160)
    assert promise.first == FIRST
    assert (promise.revisions, promise.told_us) == (1, 7)


def test_a_customer_is_not_told_twice_within_the_rest_nor_too_often() -> None:
    promise, _ = revise(PROMISED, minutes(132, 158), 0, RULES)
    assert revise(promise, minutes(200, 240), 14 * MINUTE_US, RULES)[1] is Keep.REVISED_RECENTLY
    assert revise(promise, minutes(200, 240), 15 * MINUTE_US, RULES)[1] is Revise.WINDOW_MISSED
    spent = replace(promise, revisions=3)
    assert revise(spent, minutes(200, 240), 60 * MINUTE_US, RULES)[1] is Keep.REVISIONS_SPENT


def test_a_courier_who_catches_up_brings_the_first_promise_back() -> None:
    promise, _ = revise(PROMISED, minutes(132, 158), 0, RULES)
    back, reason = revise(promise, minutes(80, 110), 20 * MINUTE_US, RULES)
    assert (back.told, reason) == (FIRST, Revise.WINDOW_RECOVERED)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 7200)), max_size=40))
def test_a_stop_is_told_of_no_oftener_than_its_minutes_move(risks: list[tuple[float, float]]) -> None:
    watch, told_s = NOTHING, list[float]()
    for minute, (probability, late_s) in enumerate(risks):
        risk = risk_of(probability, minute * 6 * MINUTE_US, policy=AT_ONCE, late_s=late_s)
        decision = decide(watch, risk, AT_ONCE)
        watch = decision.watch
        if decision.action is Action.UPDATE and decision.is_news:
            assert abs(late_s - told_s[-1]) >= AT_ONCE.update_step_s
        if decision.action in (Action.OPEN, Action.UPDATE) and decision.is_news:
            told_s.append(late_s)


# --- when to tell ---


def follow_waiting(*risks: tuple[float, bool], policy: AlertPolicy = AT_ONCE) -> list[Decision]:
    """One decision a minute of a stop's risk; whether telling it can wait."""
    watch, decisions = NOTHING, []
    for minute, (probability, early) in enumerate(risks):
        risk = risk_of(probability, minute * MINUTE_US, policy=policy, early=early)
        decisions.append(decide(watch, risk, policy))
        watch = decisions[-1].watch
    return decisions


def news(decisions: list[Decision]) -> list[tuple[str, str]]:
    return [
        (decision.action.value, decision.reason.value)
        for decision in decisions
        if decision.action is not Action.NONE and decision.is_news
    ]


def test_a_risk_that_may_wait_has_its_alert_at_once_and_is_told_when_it_is_time() -> None:
    decisions = follow_waiting((0.6, True), (0.6, True), (0.6, False), (0.6, False))
    assert actions(decisions) == ["open", "update"]
    assert news(decisions) == [("update", "TIME_TO_TELL")]


def test_a_risk_that_is_lower_by_then_is_told_when_it_is_high_again() -> None:
    assert news(follow_waiting((0.6, True), (0.4, False), (0.4, False))) == []
    assert news(follow_waiting((0.6, True), (0.4, False), (0.6, False))) == [("update", "TIME_TO_TELL")]


def test_an_alert_that_nobody_was_told_of_ends_in_silence_and_may_come_back_at_once() -> None:
    receding = [(0.6, True), (0.1, True), (0.1, True), (0.6, False)]
    decisions = follow_waiting(*receding)
    assert actions(decisions) == ["open", "resolve", "open"]
    assert news(decisions) == [("open", "RISK_HELD")]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60))
def test_nobody_hears_the_end_of_what_they_were_not_told(risks: list[tuple[float, bool]]) -> None:
    told: set[str] = set()
    for decision in follow_waiting(*risks):
        if decision.action is Action.NONE or not decision.is_news:
            continue
        alert_id = decision.alert_id or ""
        is_first = decision.action is Action.OPEN or decision.reason is Reason.TIME_TO_TELL
        assert is_first == (alert_id not in told)
        told.add(alert_id)
