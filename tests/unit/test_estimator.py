"""The scikit-learn edge: scikit-learn's own checks, and what the estimator promises beside them."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from training import estimator
from training.estimator import DeliveryTimeRegressor

SMALL = {"trees": 40, "min_rows_in_leaf": 3, "learning_rate": 0.2, "folds": 3}
EXPECTED: dict[str, str] = {}


@parametrize_with_checks([DeliveryTimeRegressor(**SMALL)], expected_failed_checks=lambda _: EXPECTED)
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def make_trips(n: int = 800, seed: int = 2) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"distance_km": rng.uniform(1, 10, n), "hour": rng.integers(0, 24, n)})
    rush = np.where(frame["hour"].between(7, 9), 1.5, 1.0)
    frame["plan_s"] = 120.0 * frame["distance_km"]
    return frame, (frame["plan_s"] * rush * rng.lognormal(0, 0.2, n)).to_numpy()


def test_a_window_covers_unseen_rows_as_it_says() -> None:
    model = DeliveryTimeRegressor(trees=60, min_rows_in_leaf=20).fit(*make_trips(2000))
    frame, seconds = make_trips(1000, seed=9)
    start, end = model.predict_interval(frame, coverage=0.8).T
    assert ((seconds >= start) & (seconds <= end)).mean() == pytest.approx(0.8, abs=0.05)
    assert (np.diff(model.predict_quantiles(frame), axis=1) >= 0).all()


def test_a_prior_is_what_the_boosters_start_from() -> None:
    frame, seconds = make_trips(150)
    plain = DeliveryTimeRegressor(trees=2, min_rows_in_leaf=20).fit(frame, seconds)
    with_prior = DeliveryTimeRegressor(prior="plan_s", trees=2, min_rows_in_leaf=20).fit(frame, seconds)
    errors = [np.abs(model.predict(frame) - seconds).mean() for model in (plain, with_prior)]
    assert errors[1] < 0.5 * errors[0]


def test_a_prior_that_is_no_column_is_named() -> None:
    with pytest.raises(ValueError, match="no column 'plan' to start from"):
        DeliveryTimeRegressor(prior="plan").fit(*make_trips(50))


def test_negative_times_are_refused() -> None:
    with pytest.raises(ValueError, match="negative times"):
        DeliveryTimeRegressor().fit(np.ones((30, 1)), np.full(30, -1.0))


def test_rows_of_one_group_are_calibrated_on_others() -> None:
    """With the group's own effect in a column of its own, folds that cut groups would promise too much."""
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(60), 20)
    effect = rng.normal(0, 600, 60)[group]
    X, y = group[:, None].astype(float), np.maximum(3000 + effect + rng.normal(0, 10, 1200), 0)
    width = {}
    for name, groups in (("rows", None), ("groups", group)):
        model = DeliveryTimeRegressor(trees=60, min_rows_in_leaf=5, learning_rate=0.3).fit(X, y, groups)
        start, end = model.predict_interval(X).T
        width[name] = (end - start).mean()
    assert width["groups"] > 2 * width["rows"]


def test_it_stands_in_a_pipeline_and_a_cross_validation() -> None:
    frame, seconds = make_trips()
    pipe = make_pipeline(StandardScaler(), DeliveryTimeRegressor(trees=40, min_rows_in_leaf=20))
    assert cross_val_score(pipe, frame, seconds, cv=3).mean() > 0.7
    twin = clone(pipe.named_steps["deliverytimeregressor"])
    assert twin.get_params() == pipe.named_steps["deliverytimeregressor"].get_params()


def test_the_docstrings_example_runs() -> None:
    failed, attempted = doctest.testmod(estimator)
    assert attempted and not failed
