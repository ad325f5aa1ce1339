"""Each figure against its value by hand, and against scikit-learn where it has it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, mean_pinball_loss, roc_auc_score

from training.metrics import (
    auc,
    clustered_error,
    coverage_by_group,
    expected_calibration_error,
    forecast_figures,
    interval_score_min,
    late_figures,
    pinball_min,
    point_figures,
    window_figures,
)
from training.quantiles import GRID, QUANTILE_LEVELS, QuantileForecast

draw = np.random.default_rng(3)
ARRIVAL_S = draw.uniform(60, 7200, 200)
QUANTILES_S = np.sort(ARRIVAL_S[:, None] + draw.normal(0, 600, (200, 7)), axis=1)


def test_pinball_is_that_of_scikit_learn_over_all_levels():
    expected = [
        mean_pinball_loss(ARRIVAL_S / 60, QUANTILES_S[:, i] / 60, alpha=level)
        for i, level in enumerate(QUANTILE_LEVELS)
    ]
    assert pinball_min(ARRIVAL_S, QUANTILES_S) == pytest.approx(np.mean(expected))


def test_pinball_by_hand():
    assert pinball_min(np.array([600.0]), np.array([[480.0, 660.0]]), (0.1, 0.9)) == pytest.approx(
        (0.1 * 2 + 0.1 * 1) / 2
    )


def test_interval_score_adds_ten_times_the_miss_to_the_width():
    arrival_s = np.array([600.0, 300.0, 900.0])
    start_s, end_s = np.full(3, 420.0), np.full(3, 720.0)
    assert interval_score_min(arrival_s, start_s, end_s) == pytest.approx(
        np.mean([5, 5 + 10 * 2, 5 + 10 * 3])
    )


def test_window_figures_count_both_edges_as_inside():
    arrival_s = np.array([60.0, 120.0, 121.0, 59.0])
    figures = window_figures(arrival_s, np.full(4, 60.0), np.full(4, 120.0))
    assert figures["coverage_80"] == 0.5
    assert figures["width_80_min"] == 1.0


def test_errors_are_of_the_median_and_of_the_mean():
    figures = point_figures(np.array([0.0, 0.0]), np.array([60.0, -180.0]), np.array([180.0, -240.0]))
    assert figures == {"mae_min": 2.0, "rmse_min": pytest.approx(np.sqrt((9 + 16) / 2))}


def test_figures_of_a_distribution_are_of_its_own_quantiles():
    grid_s = np.repeat((600 + 1000 * GRID)[None, :], 3, axis=0)
    forecast = QuantileForecast(grid_s, np.full(3, 1160.0))
    figures = forecast_figures(np.array([1100.0, 1160.0, 690.0]), forecast)
    assert figures["mae_min"] == pytest.approx((0 + 60 + 410) / 3 / 60)
    assert figures["rmse_min"] == pytest.approx(np.sqrt((60**2 + 0 + 470**2) / 3) / 60)
    assert figures["width_80_min"] == pytest.approx(800 / 60)
    assert figures["coverage_80"] == pytest.approx(2 / 3)
    assert figures["interval_score_80"] == pytest.approx((800 + 10 * 10 / 3) / 60)


def test_late_figures_are_those_of_scikit_learn():
    late = (draw.random(300) < 0.3).astype(float)
    probability = np.clip(0.3 + 0.4 * (late - 0.3) + draw.normal(0, 0.2, 300), 0, 1)
    figures = late_figures(late, probability, 0.25)
    assert figures["brier"] == pytest.approx(brier_score_loss(late, probability))
    assert figures["auc"] == pytest.approx(roc_auc_score(late, probability))
    assert figures["base_rate"] == pytest.approx(late.mean())
    reference = brier_score_loss(late, np.full(300, 0.25))
    assert figures["brier_skill"] == pytest.approx(1 - figures["brier"] / reference)


def test_ranking_of_one_class_has_no_figure():
    assert auc(np.ones(4), np.linspace(0, 1, 4)) is None
    assert late_figures(np.zeros(4), np.zeros(4), 0.0)["brier_skill"] is None


def test_calibration_error_is_the_mean_gap_of_bins_of_equal_mass():
    late = np.array([0, 1, 0, 0, 1, 1], float)
    probability = np.array([0.1, 0.2, 0.3, 0.5, 0.8, 0.9])
    by_hand = (abs(0.5 - 0.15) + abs(0.0 - 0.4) + abs(1.0 - 0.85)) / 3
    assert expected_calibration_error(late, probability, bins=3) == pytest.approx(by_hand)


def test_calibration_error_of_the_truth_is_small_and_of_the_opposite_large():
    probability = draw.random(30_000)
    late = (draw.random(30_000) < probability).astype(float)
    assert expected_calibration_error(late, probability) < 0.02
    assert expected_calibration_error(late, 1 - probability) > 0.3


def test_calibration_error_does_not_depend_on_the_order_of_equal_probabilities():
    late, probability = np.repeat([0.0, 1.0], 300), np.full(600, 0.5)
    assert expected_calibration_error(late, probability) == pytest.approx(0.0, abs=1e-9)


def test_calibration_error_of_few_rows_uses_a_bin_each():
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([0.9, 0.2])) == pytest.approx(0.15)


def test_clustered_error_is_the_sum_over_pairs_of_the_same_day():
    values, days = draw.normal(5, 2, 60), np.array([f"d{i % 7}" for i in range(60)])
    residual = values - values.mean()
    pairs = sum(residual[i] * residual[j] for i in range(60) for j in range(60) if days[i] == days[j])
    assert clustered_error(values, days) == pytest.approx(np.sqrt(pairs * 7 / 6) / 60)


def test_clustered_error_of_a_row_a_day_is_the_usual_one():
    values, days = draw.normal(size=50), np.arange(50).astype(str)
    assert clustered_error(values, days) == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def test_day_that_goes_wrong_as_a_whole_makes_the_error_large():
    inside = np.repeat([1.0, 0.0, 1.0, 1.0], 250)
    together = clustered_error(inside, np.repeat(["a", "b", "c", "d"], 250))
    assert together > 5 * clustered_error(inside, np.arange(1000).astype(str))


def test_one_day_has_no_error_to_speak_of():
    assert np.isnan(clustered_error(np.array([1.0, 2.0]), np.array(["a", "a"])))


def test_coverage_is_told_of_groups_that_are_large_enough_and_named():
    inside = np.arange(1200) % 5 > 0
    zones = ["Z-1"] * 600 + ["Z-2"] * 499 + [None] * 101
    found = coverage_by_group(inside, {"zone": zones}, [f"d{i % 10}" for i in range(1200)])
    assert list(found["zone"]) == ["Z-1"]
    assert found["zone"]["Z-1"] | {"standard_error": 0.0} == {
        "n": 600,
        "coverage": pytest.approx(0.8),
        "standard_error": 0.0,
        "kept": True,
    }


@pytest.mark.parametrize(("coverage", "kept"), [(0.772, True), (0.768, False), (0.828, True), (0.832, False)])
def test_group_keeps_the_contract_within_three_points(coverage: float, kept: bool):
    inside = np.arange(500) < coverage * 500
    inside = inside[np.random.default_rng(0).permutation(500)]
    found = coverage_by_group(inside, {"all": ["x"] * 500}, ["one day"] * 500)
    assert found["all"]["x"]["kept"] is kept
    assert found["all"]["x"]["standard_error"] is None, "one day has no error, and JSON no NaN"
