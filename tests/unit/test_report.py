"""What an evaluation tells beside its headline: intervals, slices, curves, and the page that shows them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import make_dataset
from training.boosters import BoosterSettings
from training.curves import late_curve, promise_curve, route_fan, width_curve
from training.dataset import Dataset
from training.evaluation import Split, evaluate
from training.forecaster import train
from training.intervals import cluster_intervals, row_values
from training.metrics import forecast_figures
from training.quantiles import GRID, QuantileForecast
from training.report import report
from training.slices import novelty


def make_forecast(median_s: np.ndarray, spread_s: float = 60.0) -> QuantileForecast:
    return QuantileForecast(median_s[:, None] + spread_s * (GRID - 0.5), median_s)


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    past, test = make_dataset(1500), make_dataset(900, days=6, first_day=20, seed=3)
    forecaster = train(past, name="punctual-eta", version="1", settings=BoosterSettings(trees=10))
    return evaluate("made_up", forecaster, Split(past, test, Counter()), Counter())


def test_an_interval_holds_the_figure_that_it_is_of(figures: dict[str, Any]) -> None:
    assert set(figures["intervals_95"]) == {
        "mae_min",
        "rmse_min",
        "pinball_min",
        "coverage_80",
        "width_80_min",
        "interval_score_80",
    }
    for name, (low, high) in figures["intervals_95"].items():
        assert low <= figures[name] <= high


def test_row_values_are_what_the_figures_are_means_of() -> None:
    arrival_s = np.random.default_rng(1).exponential(900.0, 200)
    forecast = make_forecast(np.full(200, 800.0), 1200.0)
    told, values = forecast_figures(arrival_s, forecast), row_values(arrival_s, forecast)
    means = {name: value.mean() for name, value in values.items()}
    means["rmse_min"] = np.sqrt(means["rmse_min"])
    assert means == pytest.approx(told)


def test_days_that_differ_make_an_interval_wider_than_rows_that_do() -> None:
    rng = np.random.default_rng(5)
    days = np.repeat(np.arange(20), 100).astype(str)
    by_day = {"x": np.repeat(rng.normal(size=20), 100)}
    by_row = {"x": rng.normal(size=2000)}
    (wide,), (narrow,) = cluster_intervals(by_day, days).values(), cluster_intervals(by_row, days).values()
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_an_interval_misses_the_truth_seldom_enough(seed: int) -> None:
    rng = np.random.default_rng(seed)
    days = np.repeat(np.arange(30), 10).astype(str)
    (found,) = cluster_intervals({"x": np.repeat(rng.normal(size=30), 10)}, days, seed=seed).values()
    assert found[0] < 0.9 and found[1] > -0.9  # five standard errors


def test_few_days_have_no_interval() -> None:
    assert cluster_intervals({"x": np.ones(40)}, np.repeat(["a", "b", "c", "d"], 10)) == {}


def test_a_wider_promise_is_missed_less(figures: dict[str, Any]) -> None:
    curve = figures["curves"]["promise"]
    widths = [part["width_min"] for part in curve]
    shares = [part["share_late"] for part in curve]
    assert widths == sorted(widths) and shares == sorted(shares, reverse=True)


def test_the_promise_of_a_coverage_is_missed_on_two_sides() -> None:
    arrival_s = np.linspace(0, 100, 1001)
    curve = promise_curve(arrival_s, make_forecast(np.full(1001, 50.0), 100.0))
    eighty = next(part for part in curve if part["coverage"] == 0.8)
    assert eighty["share_late"] == pytest.approx(0.1, abs=0.01)
    assert eighty["share_early"] == pytest.approx(0.1, abs=0.01)
    assert eighty["width_min"] == pytest.approx(80 / 60)


def test_widths_are_told_from_the_narrowest() -> None:
    median_s = np.zeros(100)
    spread = np.linspace(10, 1000, 100)
    forecast = QuantileForecast(spread[:, None] * (GRID - 0.5), median_s)
    curve = width_curve(spread / 2, forecast)
    assert [part["mae_min"] for part in curve] == sorted(part["mae_min"] for part in curve)


def test_stated_probabilities_stand_beside_what_came() -> None:
    probability = np.repeat([0.1, 0.9], 150)
    late = (np.arange(300) % 10 < np.repeat([1, 9], 150)).astype(float)
    for part in late_curve(late, probability):
        assert part["late"] == pytest.approx(part["stated"], abs=1e-9)


def test_a_courier_and_zone_that_training_never_saw_are_new() -> None:
    seen, rows = make_dataset(50), make_dataset(40, seed=4)
    stranger = rows.rows.with_columns(courier_id=np.array(["nobody"] * 40), zone_id=np.array(["z-new"] * 40))
    told = novelty(Dataset(rows.vectors, stranger, rows.arrival_s, rows.outcome_known_us), seen)
    assert set(told["courier_is"]) == {"new"} and set(told["zone_is"]) == {"new"}
    assert set(novelty(seen, seen)["zone_is"]) <= {"known", None}


def test_single_stops_have_no_fan() -> None:
    rows = make_dataset(20)
    assert route_fan(rows.where(np.arange(20) < 1), make_forecast(np.zeros(1))) is None


def test_the_report_shows_every_plot_and_refers_to_nothing_outside(figures: dict[str, Any]) -> None:
    html = report("Backtest <of> made_up", figures)
    assert "Backtest &lt;of&gt; made_up" in html
    assert html.count("<svg") >= 6
    assert "What a promise costs" in html and "By horizon forecast" in html
    assert "http://" not in html.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert "https://" not in html


def test_the_report_shows_what_a_threshold_was_chosen_on_and_what_it_reaches(figures: dict[str, Any]) -> None:
    curve = [{"flagged": n, "budget": n / 50, "precision": 1 - n / 10, "recall": n / 10} for n in range(9)]
    goal = {"budget": 0.1, "floor": 0.8, "in_words": "0.65: finds the most"}
    alerts = {
        "budget": 0.06,
        "curve": curve,
        "validation": curve,
        "lookup": {"curve": curve},
        "proposal": goal,
    }
    html = report("x", figures | {"alerts": alerts})
    assert "Alerts from 0.65: finds the most" in html
    assert html.count("<svg") == report("x", figures).count("<svg") + 1
