"""A completion follows its arrival by what the door takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.vectors import FEATURE_NAMES
from tests.builders import make_dataset
from training.boosters import BoosterSettings
from training.dataset import Dataset
from training.forecaster import DeliveryForecaster, train

SMALL = BoosterSettings(trees=40, leaves=7, learning_rate=0.15, min_rows_in_leaf=20)


def served(n: int = 4000, **dataset: int) -> Dataset:
    """Doors take a planned time, times what a column tells, times noise."""
    rows = make_dataset(n, **dataset)
    draw = np.random.default_rng(77 + n)
    planned_s = draw.uniform(60, 600, n)
    rows.vectors.matrix[:, FEATURE_NAMES.index("door_prior_s")] = planned_s
    slow = np.clip(rows.vectors.matrix[:, FEATURE_NAMES.index("parcels_here")].astype(np.float64), -1, 1)
    door_s = planned_s * np.exp(0.4 * slow + 0.3 * draw.normal(size=n))
    closed_us = rows.rows["arrived_us"].to_numpy() + np.rint(door_s * 1e6).astype(np.int64)
    return replace(rows, rows=rows.rows.with_columns(closed_us=pl.Series(closed_us)))


@pytest.fixture(scope="module")
def forecaster() -> DeliveryForecaster:
    return train(served(), name="punctual-eta", version="1", settings=SMALL)


def test_window_of_the_completion_covers_what_it_promises(forecaster: DeliveryForecaster):
    fresh = served(5000, first_day=20, seed=5)
    start_s, end_s = forecaster.forecast(fresh.vectors).completion.window(0.8)
    inside = (fresh.completion_s >= start_s) & (fresh.completion_s <= end_s)
    assert inside.mean() == pytest.approx(0.8, abs=0.035)


def test_median_of_the_door_is_learned(forecaster: DeliveryForecaster):
    fresh = served(3000, first_day=20, seed=6)
    forecast = forecaster.forecast(fresh.vectors)
    told_s = (forecast.completion.at((0.5,)) - forecast.at((0.5,)))[:, 0]
    taken_s = fresh.completion_s - fresh.arrival_s
    assert np.corrcoef(told_s, taken_s)[0, 1] > 0.8
    assert np.median(told_s / taken_s) == pytest.approx(1.0, abs=0.1)


def test_nothing_is_completed_before_it_is_reached(forecaster: DeliveryForecaster):
    forecast = forecaster.forecast(served(500, seed=8).vectors)
    assert (forecast.completion.grid_s >= forecast.grid_s).all()
    assert (np.diff(forecast.completion.grid_s, axis=1) >= 0).all()
    assert (forecast.completion.mean_s >= forecast.mean_s).all()


def test_doors_come_back_from_disk_to_the_bit(forecaster: DeliveryForecaster, tmp_path: Path):
    rows = served(60, seed=9)
    forecaster.save(tmp_path / "1", rows.vectors)
    ours = forecaster.forecast(rows.vectors).completion
    theirs = DeliveryForecaster.load(tmp_path / "1").forecast(rows.vectors).completion
    assert ours.grid_s.tobytes() == theirs.grid_s.tobytes()


def test_where_nobody_tells_completions_they_are_arrivals():
    plain = train(make_dataset(600), name="punctual-eta", version="1", settings=SMALL)
    forecast = plain.forecast(make_dataset(20, seed=2).vectors)
    assert plain.doors is None and np.array_equal(forecast.completion.grid_s, forecast.grid_s)
