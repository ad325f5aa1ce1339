"""A forecast is one distribution: its quantiles, its window and its risk say the same thing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.quantiles import GRID, QUANTILE_LEVELS, QuantileForecast

Float = NDArray[np.float64]
thorough = settings(max_examples=50, deadline=None, derandomize=True)

STEPS_S = st.lists(
    st.one_of(st.just(0.0), st.floats(0.01, 2000)), min_size=len(GRID) - 1, max_size=len(GRID) - 1
)
RISING_STEPS_S = st.lists(st.floats(0.5, 2000), min_size=len(GRID) - 1, max_size=len(GRID) - 1)
STARTS_S = st.floats(0, 20_000)


def make_forecast(start_s: float, steps_s: list[float]) -> QuantileForecast:
    grid_s = (start_s + np.concatenate([[0.0], np.cumsum(steps_s)]))[None, :]
    return QuantileForecast(grid_s, grid_s.mean(axis=1))


def repeated(forecast: QuantileForecast, n: int) -> QuantileForecast:
    return QuantileForecast(np.repeat(forecast.grid_s, n, axis=0), np.repeat(forecast.mean_s, n))


def late(forecast: QuantileForecast, deadlines_s: Float) -> Float:
    return repeated(forecast, len(deadlines_s)).late_probability(deadlines_s)


def around(forecast: QuantileForecast, beyond_s: float = 3000.0, n: int = 400) -> Float:
    grid_s = forecast.grid_s[0]
    return np.sort(np.concatenate([np.linspace(grid_s[0] - beyond_s, grid_s[-1] + beyond_s, n), grid_s]))


@thorough
@given(start_s=STARTS_S, steps_s=STEPS_S)
def test_late_probability_is_a_probability_that_falls_as_the_deadline_grows(
    start_s: float, steps_s: list[float]
):
    forecast = make_forecast(start_s, steps_s)
    risk = late(forecast, around(forecast))
    assert risk.min() >= 0 and risk.max() <= 1
    assert (np.diff(risk) <= 1e-12).all()


@thorough
@given(start_s=STARTS_S, steps_s=RISING_STEPS_S)
def test_chance_to_be_later_than_a_quantile_is_what_is_left_of_its_level(
    start_s: float, steps_s: list[float]
):
    forecast = make_forecast(start_s, steps_s)
    levels = np.concatenate([GRID, np.linspace(GRID[0], GRID[-1], 40)])
    deadlines_s = forecast.at(levels.tolist())[0]
    assert late(forecast, deadlines_s) == pytest.approx(1 - levels, abs=1e-6)


@thorough
@given(start_s=STARTS_S, steps_s=RISING_STEPS_S)
def test_window_beyond_the_grid_follows_the_tails(start_s: float, steps_s: list[float]):
    forecast = make_forecast(start_s, steps_s)
    start, end = forecast.window(0.999)
    assert late(forecast, start) == pytest.approx(1 - 0.0005, abs=1e-9)
    assert late(forecast, end) == pytest.approx(0.0005, abs=1e-9)


@thorough
@given(start_s=STARTS_S, steps_s=STEPS_S, place=st.floats(-0.3, 1.3))
def test_expected_lateness_is_the_integral_of_the_risk(start_s: float, steps_s: list[float], place: float):
    forecast = make_forecast(start_s, steps_s)
    low, high = forecast.grid_s[0, 0], forecast.grid_s[0, -1]
    deadline_s = low + place * (high - low)
    jumps = np.concatenate([forecast.grid_s[0], np.nextafter(forecast.grid_s[0], -np.inf)])
    tail = high + max(1.0, steps_s[-1]) * np.linspace(0, 20, 200)
    edges = np.unique(
        np.concatenate(
            [[deadline_s], low - np.geomspace(1e-3, 1e5, 60), jumps, tail, tail + deadline_s - low]
        )
    )
    fine = np.unique(np.concatenate([np.linspace(a, b, 30) for a, b in pairwise(edges[edges >= deadline_s])]))
    numeric = np.trapezoid(late(forecast, fine), fine)
    exact = forecast.expected_late_s(np.array([deadline_s]))[0]
    assert exact == pytest.approx(numeric, rel=2e-3, abs=0.05)


@thorough
@given(start_s=STARTS_S, steps_s=STEPS_S, coverages=st.lists(st.floats(0.01, 0.98), min_size=2, max_size=6))
def test_wider_coverage_holds_the_narrower_window(
    start_s: float, steps_s: list[float], coverages: list[float]
):
    forecast = make_forecast(start_s, steps_s)
    windows = [forecast.window(coverage) for coverage in sorted(coverages)]
    for (inner_start, inner_end), (start, end) in pairwise(windows):
        assert start <= inner_start + 1e-9 and inner_end <= end + 1e-9
    assert all(start <= end for start, end in windows)


@thorough
@given(start_s=STARTS_S, steps_s=STEPS_S, levels=st.lists(st.floats(0.001, 0.999), min_size=2, max_size=8))
def test_quantiles_do_not_cross(start_s: float, steps_s: list[float], levels: list[float]):
    quantiles_s = make_forecast(start_s, steps_s).at(sorted(levels))
    assert (np.diff(quantiles_s, axis=1) >= -1e-6).all()


def test_published_quantiles_are_those_of_the_grid():
    forecast = make_forecast(100.0, [10.0] * (len(GRID) - 1))
    places = [int(np.argmin(np.abs(GRID - level))) for level in QUANTILE_LEVELS]
    assert forecast.quantiles_s[0] == pytest.approx(forecast.grid_s[0, places])


def test_without_a_deadline_there_is_no_risk_to_speak_of():
    forecast = repeated(make_forecast(100.0, [10.0] * (len(GRID) - 1)), 2)
    assert np.isnan(forecast.late_probability(np.array([np.nan, 200.0]))).tolist() == [True, False]
    assert np.isnan(forecast.expected_late_s(np.array([np.nan, 200.0]))).tolist() == [True, False]


def test_deadline_long_past_is_missed_by_its_whole_distance():
    forecast = make_forecast(600.0, [60.0] * (len(GRID) - 1))
    mean_s = forecast.expected_late_s(np.array([0.0]))[0]
    assert forecast.expected_late_s(np.array([-10_000.0]))[0] == pytest.approx(mean_s + 10_000, abs=1.0)
    assert late(forecast, np.array([-10_000.0]))[0] == pytest.approx(1.0)


def test_certainty_has_no_quantile():
    with pytest.raises(ValueError, match="between 0 and 1"):
        make_forecast(100.0, [10.0] * 24).window(1.0)


def test_rows_do_not_depend_on_each_other():
    one, other = make_forecast(100.0, [10.0] * 24), make_forecast(5000.0, [99.0] * 24)
    both = QuantileForecast(np.concatenate([one.grid_s, other.grid_s]), np.array([1.0, 2.0]))
    deadlines_s = np.array([200.0, 5500.0])
    alone = [one.late_probability(deadlines_s[:1])[0], other.late_probability(deadlines_s[1:])[0]]
    assert both.late_probability(deadlines_s).tolist() == alone
