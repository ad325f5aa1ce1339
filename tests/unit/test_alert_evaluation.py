"""What alerts were worth, by the evaluation contract."""

import pytest

from serving.rehearsals.alert_evaluation import AlertSpan, StopOutcome, alert_figures

MIN = 60_000_000
PROMISE_END = 1_000 * MIN


def stop(name: str, reached_min: float | None) -> StopOutcome:
    reached = None if reached_min is None else int(reached_min * MIN)
    return StopOutcome(stop_id=name, promise_end_us=PROMISE_END, reached_us=reached)


def alert(
    name: str, opened_min: float, resolved_min: float | None = None, rule: str = "late_risk"
) -> AlertSpan:
    resolved = None if resolved_min is None else int(resolved_min * MIN)
    return AlertSpan(stop_id=name, rule=rule, opened_us=int(opened_min * MIN), resolved_us=resolved)


LATE, PUNCTUAL = stop("late", 1_020), stop("punctual", 990)


def test_an_alert_that_came_early_and_stayed_open_is_true() -> None:
    figures = alert_figures([alert("late", 960, 1_021)], [LATE, PUNCTUAL])
    assert (figures["raised"], figures["true"], figures["late"]) == (1, 1, 1)
    assert (figures["precision"], figures["recall"]) == (1.0, 1.0)
    assert figures["median_lead_min"] == pytest.approx(40.0)
    assert figures["budget"] == pytest.approx(0.5)


def test_an_alert_with_less_than_the_least_lead_is_a_miss() -> None:
    assert alert_figures([alert("late", 986)], [LATE])["true"] == 0
    assert alert_figures([alert("late", 986)], [LATE], lead_min=5)["true"] == 1


def test_an_alert_that_was_taken_back_before_the_outcome_is_a_miss() -> None:
    assert alert_figures([alert("late", 900, 950)], [LATE])["true"] == 0


def test_an_alert_on_a_punctual_stop_costs_precision() -> None:
    figures = alert_figures([alert("punctual", 900, 990), alert("late", 900, 1_020)], [LATE, PUNCTUAL])
    assert figures["precision"] == pytest.approx(0.5)


def test_a_stop_that_was_given_up_unattempted_is_late() -> None:
    figures = alert_figures([alert("gone", 900)], [stop("gone", None)])
    assert (figures["late"], figures["true"]) == (1, 1)


def test_a_second_opening_within_half_an_hour_is_a_flap() -> None:
    again = [alert("late", 900, 910), alert("late", 930, 1_021)]
    assert alert_figures(again, [LATE])["flap_rate"] == pytest.approx(0.5)
    later = [alert("late", 900, 910), alert("late", 950, 1_021)]
    assert alert_figures(later, [LATE])["flap_rate"] == 0.0


def test_the_lead_is_that_of_the_first_alert() -> None:
    again = [alert("late", 930, 1_021), alert("late", 900, 910)]
    assert alert_figures(again, [LATE])["median_lead_min"] == pytest.approx(100.0)


def test_without_alerts_there_is_nothing_to_be_precise_about() -> None:
    figures = alert_figures([], [PUNCTUAL])
    assert figures["precision"] is None
    assert figures["recall"] is None
    assert figures["budget"] == 0.0
