"""Boosters learn what the prior misses, in seconds or in shares of it, whichever errs less."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from features.vectors import FEATURE_NAMES
from tests.builders import make_dataset, make_vectors
from training.boosters import BoosterSettings, Predictor, Target, fit
from training.dataset import Dataset
from training.forecaster import (
    MANIFEST,
    DeliveryForecaster,
    ModelError,
    choose_size,
    choose_target,
    day_folds,
    train,
)

SMALL = BoosterSettings(trees=40, leaves=7, learning_rate=0.15, min_rows_in_leaf=20)


def in_shares(n: int = 2400) -> Dataset:
    """Stops whose arrival is a share of the prior that a feature tells, priors from minutes to hours."""
    rows = make_dataset(n)
    base_s = np.exp(np.random.default_rng(3).uniform(5.5, 10.0, n))
    share = np.exp(0.5 * np.clip(rows.vectors.matrix[:, 20].astype(np.float64), -2, 2))
    rows.vectors.base_s[:] = base_s
    return Dataset(rows.vectors, rows.rows, base_s * share, rows.outcome_known_us)


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("name", ["low", "median", "high", "mean"])
def test_what_is_learned_comes_back_as_seconds(target: Target, name: str):
    base_s, arrival_s = np.array([300.0, 3600.0, 90_000.0]), np.array([600.0, 1800.0, 100_000.0])
    label, weight = target.rows(name, arrival_s, base_s)
    assert target.arrival_s(name, label, base_s) == pytest.approx(arrival_s)
    assert weight is None or weight.mean() == pytest.approx(1.0)


def test_a_share_of_a_prior_of_nothing_is_finite():
    label, _ = Target.SHARE.rows("median", np.array([0.0]), np.array([0.0]))
    assert np.isfinite(label).all()
    assert np.isfinite(Target.SHARE.arrival_s("high", np.array([1e9]), np.array([0.0]))).all()


def test_shares_are_learned_where_errors_grow_with_the_prior():
    rows = in_shares()
    assert choose_target(rows, day_folds(rows.clusters, 4), SMALL) is Target.SHARE


def test_seconds_are_learned_where_slips_add_up():
    rows = make_dataset(2400)
    slip_s = rows.vectors.matrix[:, 20].astype(np.float64) * 600
    added = Dataset(rows.vectors, rows.rows, rows.vectors.base_s + 2000 + slip_s, rows.outcome_known_us)
    assert choose_target(added, day_folds(rows.clusters, 4), SMALL) is Target.SECONDS


def test_the_reference_is_started_from_where_habits_say_nothing():
    rows = make_dataset(2400)
    draw, matrix = np.random.default_rng(5), rows.vectors.matrix
    reference_s = draw.uniform(300, 9_000, len(rows))
    matrix[:, FEATURE_NAMES.index("reference_travel_s")] = reference_s
    matrix[:, FEATURE_NAMES.index("prior_in_s")] = np.nan
    rows.vectors.base_s[:] = reference_s + draw.normal(0, 2_000, len(rows)) + 2_000
    arrival_s = 0.9 * reference_s + 60 * draw.normal(size=len(rows))
    noisy = Dataset(rows.vectors, rows.rows, arrival_s, rows.outcome_known_us)
    assert choose_target(noisy, day_folds(rows.clusters, 4), SMALL) is Target.REFERENCE
    forecaster = train(noisy, name="punctual-eta", version="1", settings=SMALL)
    assert np.abs(forecaster.forecast(rows.vectors).at((0.5,))[:, 0] - arrival_s).mean() < 150


def test_few_rows_are_learned_from_in_small_steps_and_many_in_few_trees():
    few, many = BoosterSettings.of(5_000), BoosterSettings.of(500_000)
    assert few.learning_rate < many.learning_rate and few.leaves < many.leaves
    assert many == BoosterSettings()


def test_small_boosters_are_taken_where_days_are_few_and_large_ones_learn_them_by_heart():
    rows = make_dataset(4000, days=8)
    day = np.unique(rows.days, return_inverse=True)[1]
    rows.vectors.matrix[:, 12] = day
    bad_s = rows.vectors.base_s + 900 * np.random.default_rng(2).normal(size=8)[day] + 2000
    by_heart = Dataset(rows.vectors, rows.rows, bad_s, rows.outcome_known_us)
    large = BoosterSettings(trees=150, min_rows_in_leaf=20)
    fold = day_folds(rows.clusters, 4)
    assert choose_size(by_heart, fold, Target.SECONDS, large).trees == 60


def test_large_boosters_are_kept_where_they_err_less():
    rows = make_dataset(8000, days=16)
    wave_s = 600 * np.sin(4 * rows.vectors.matrix[:, 20].astype(np.float64))
    fine = Dataset(rows.vectors, rows.rows, rows.vectors.base_s + 2000 + wave_s, rows.outcome_known_us)
    large = BoosterSettings(trees=150, min_rows_in_leaf=20)
    assert choose_size(fine, day_folds(rows.clusters, 4), Target.SECONDS, large) is large


def test_forecaster_of_shares_is_saved_loaded_and_explained(tmp_path: Path):
    forecaster = train(in_shares(), name="punctual-eta", version="1", settings=SMALL)
    forecaster.save(tmp_path / "1", make_vectors(20, seed=2))
    again, vectors = DeliveryForecaster.load(tmp_path / "1"), make_vectors(30, seed=4)
    assert again.target is forecaster.target is Target.SHARE
    assert again.forecast(vectors).grid_s.tobytes() == forecaster.forecast(vectors).grid_s.tobytes()
    assert again.reasons(vectors, [3, 1]) == forecaster.reasons(vectors, [3, 1])


def test_target_that_is_not_known_is_refused(tmp_path: Path):
    forecaster = train(make_dataset(600), name="punctual-eta", version="1", settings=SMALL)
    forecaster.save(tmp_path / "1", make_vectors(4))
    manifest = json.loads((tmp_path / "1" / MANIFEST).read_text())
    (tmp_path / "1" / MANIFEST).write_text(json.dumps(manifest | {"target": "parsecs"}))
    with pytest.raises(ModelError, match="parsecs"):
        DeliveryForecaster.load(tmp_path / "1")


def test_zone_spread_is_saved_with_the_zones_of_the_golden_rows(tmp_path: Path):
    rows = make_dataset(1200)
    rows.vectors.zone_ids.extend(rows.rows["zone_id"].to_list())
    forecaster = train(rows, name="punctual-eta", version="1", settings=SMALL)
    assert set(forecaster.zone_spread.factors) == {"Z-1", "Z-2", "Z-3"}
    forecaster.save(tmp_path / "1", rows.vectors)
    again = DeliveryForecaster.load(tmp_path / "1")
    assert again.zone_spread == forecaster.zone_spread
    assert again.forecast(rows.vectors).grid_s.tobytes() == forecaster.forecast(rows.vectors).grid_s.tobytes()


def test_of_too_many_rows_the_same_draw_is_learned_from_each_time():
    draw = np.random.default_rng(1)
    matrix, label = draw.normal(size=(3000, 4)).astype(np.float32), draw.normal(size=3000)
    few = BoosterSettings(trees=5, most_rows=500)
    assert fit("median", matrix, label, few) == fit("median", matrix, label, few)
    assert fit("median", matrix, label, few) != fit("median", matrix, label, BoosterSettings(trees=5))
    assert len(Predictor(fit("mean", matrix, label, few)).predict(matrix)) == 3000
