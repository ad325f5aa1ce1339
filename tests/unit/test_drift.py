"""Drift of the calibration: told where windows hold too few or too many arrivals, and not by chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.engine.drift import DriftPolicy, drift
from serving.engine.taught import UNTAUGHT, Taught
from training.calibration import HIGH, LOW
from training.online import EVERY, OnlineCalibrator, Outcomes
from training.quantiles import GRID

POLICY = DriftPolicy()
SHAPES = np.quantile(np.random.default_rng(0).normal(size=20_000), GRID)[None, :]


def taught(lessons: int, coverage: float) -> Taught:
    """A calibration after so many lessons, of which the last had windows that held this share."""
    error = np.zeros(len(GRID))
    error[HIGH], error[LOW] = (0.8 - coverage) / 2, -(0.8 - coverage) / 2
    parts = {EVERY: np.array([*error, *np.zeros(len(GRID)), 0.0])}
    return Taught.of(OnlineCalibrator(seen=lessons, parts=parts))


def outcome(score: float, live: OnlineCalibrator | None = None) -> Outcomes:
    """Of one forecast of an hour, told as ``live`` would move it, or never moved."""
    median_s, sides = np.array([3600.0]), [()]
    told = np.zeros((1, len(GRID))) if live is None else live.shifts(median_s, sides)
    return Outcomes(np.array([score]), median_s, SHAPES, told, sides)


@pytest.mark.parametrize("coverage", [0.6, 0.97])
def test_windows_that_hold_too_few_or_too_many_are_told(coverage: float) -> None:
    news = drift(taught(99, 0.8), taught(100, coverage), POLICY)
    assert news == {"stated_coverage": 0.8, "measured_coverage": coverage, "outcomes": 100}


@pytest.mark.parametrize("coverage", [0.7, 0.8, 0.9])
def test_windows_that_hold_about_what_they_state_are_not(coverage: float) -> None:
    assert drift(taught(99, 0.8), taught(100, coverage), POLICY) is None


def test_it_is_told_once_in_a_hundred_lessons_while_it_lasts() -> None:
    found = [drift(taught(n, 0.5), taught(n + 1, 0.5), POLICY) for n in range(450)]
    assert sum(news is not None for news in found) == 4
    assert drift(UNTAUGHT, UNTAUGHT, POLICY) is None


@given(st.integers(0, 2**20))
@settings(max_examples=20)
def test_a_calibrated_stream_is_seldom_called_a_drift(seed: int) -> None:
    draw, live, alarms = np.random.default_rng(seed), OnlineCalibrator(), 0
    for _ in range(300):
        before = Taught.of(live.copy())
        live.learn(outcome(draw.normal(), live), live.seen * 60_000_000)
        alarms += drift(before, Taught.of(live), POLICY) is not None
    assert alarms <= 1


def test_a_stream_that_widens_by_half_is_called_one() -> None:
    draw, live, alarms = np.random.default_rng(1), OnlineCalibrator(), 0
    for _ in range(500):
        before = Taught.of(live.copy())
        live.learn(outcome(2.5 * draw.normal()), live.seen * 60_000_000)
        alarms += drift(before, Taught.of(live), POLICY) is not None
    assert alarms >= 3


@pytest.mark.parametrize("changes", [{"off_by": 1.0}, {"off_by": -0.1}, {"every_lessons": 0}])
def test_a_policy_that_means_nothing_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="drift"):
        DriftPolicy(**changes)  # type: ignore[arg-type]
