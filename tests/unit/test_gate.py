"""The promotion gate."""

import numpy as np
import pytest

from training.gate import Verdict, compare
from training.metrics import pinball_rows_min

LEVELS = 7


def quantiles(median_s: np.ndarray, spread_s: float = 300.0) -> np.ndarray:
    return median_s[:, None] + spread_s * np.linspace(-1, 1, LEVELS)


def days(count: int, rows_a_day: int) -> np.ndarray:
    return np.repeat([f"2026-01-{day:02d}" for day in range(1, count + 1)], rows_a_day)


def arrivals(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(1800.0, 300.0, count)


def test_a_challenger_that_is_closer_on_every_day_passes() -> None:
    arrival_s = arrivals(400)
    good, bad = quantiles(np.full(400, 1800.0)), quantiles(np.full(400, 2400.0))
    comparison = compare(arrival_s, good, bad, days(8, 50), incumbent="lookup")
    assert comparison.verdict is Verdict.BETTER
    assert comparison.verdict.passed
    assert comparison.high < 0


def test_a_challenger_that_is_worse_does_not_pass_even_as_a_refresh() -> None:
    arrival_s = arrivals(400)
    good, bad = quantiles(np.full(400, 1800.0)), quantiles(np.full(400, 2400.0))
    comparison = compare(arrival_s, bad, good, days(8, 50), incumbent="version 1", refresh=True)
    assert comparison.verdict is Verdict.WORSE
    assert not comparison.verdict.passed


def test_a_gain_on_one_stormy_day_is_not_shown_to_be_a_gain() -> None:
    arrival_s = np.full(400, 1800.0)
    challenger, incumbent = np.full(400, 1810.0), np.full(400, 1800.0)
    storm = days(8, 50) == "2026-01-03"
    challenger[storm], incumbent[storm] = 1800.0, 3600.0
    comparison = compare(
        arrival_s, quantiles(challenger), quantiles(incumbent), days(8, 50), incumbent="version 1"
    )
    assert comparison.change < 0
    assert comparison.verdict is Verdict.NOT_SHOWN


def test_the_same_forecast_passes_as_a_refresh_only() -> None:
    arrival_s, same = arrivals(400), quantiles(np.full(400, 1800.0))
    verdict = compare(arrival_s, same, same, days(8, 50), incumbent="version 1").verdict
    refreshed = compare(arrival_s, same, same, days(8, 50), incumbent="version 1", refresh=True).verdict
    assert not verdict.passed
    assert refreshed is Verdict.NOT_WORSE


def test_days_of_very_different_difficulty_do_not_hide_a_gain_on_each_of_them() -> None:
    hard = np.repeat([1.0, 1.0, 1.0, 20.0], 100)
    arrival_s = 1800.0 + hard * np.random.default_rng(3).normal(0.0, 200.0, 400)
    good, bad = quantiles(np.full(400, 1800.0), 200.0), quantiles(np.full(400, 1800.0) + 400.0 * hard, 200.0)
    assert compare(arrival_s, good, bad, days(4, 100), incumbent="lookup").verdict is Verdict.BETTER


def test_one_day_can_show_nothing() -> None:
    arrival_s = arrivals(50)
    comparison = compare(
        arrival_s,
        quantiles(np.full(50, 1800.0)),
        quantiles(np.full(50, 9000.0)),
        days(1, 50),
        incumbent="lookup",
    )
    assert not comparison.verdict.passed


def test_the_loss_of_a_row_is_the_mean_pinball_loss_in_minutes() -> None:
    loss = pinball_rows_min(np.array([60.0]), np.zeros((1, LEVELS)))
    assert loss[0] == pytest.approx(np.mean([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95]))
