"""Backtests through the command, on made-up trips and on real ones."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.backtest import backtest
from pipelines.sources.nyc_taxi import NycTaxi
from training.boosters import BoosterSettings

pytestmark = pytest.mark.end_to_end

REAL = Path("../shared/data")
FIELDS = {
    "dataset",
    "n",
    "n_excluded",
    "mae_min",
    "rmse_min",
    "pinball_min",
    "coverage_80",
    "width_80_min",
    "interval_score_80",
    "coverage_by_group",
    "late",
    "live",
    "baselines",
}
SMALL = BoosterSettings(trees=40)


def write_trips(path: Path, first_day: datetime, *, days: int, trips_a_day: int, seed: int) -> Path:
    """Made-up trips whose duration depends on the pair of zones, the hour and noise."""
    draw = np.random.default_rng(seed)
    n = days * trips_a_day
    picked_up = [
        first_day + timedelta(days=int(d), seconds=int(s))
        for d, s in zip(np.arange(n) // trips_a_day, np.sort(draw.integers(0, 86_000, n)), strict=True)
    ]
    start, end = draw.integers(1, 12, n), draw.integers(1, 12, n)
    hour = np.array([at.hour for at in picked_up])
    minutes = (4 + 2.0 * np.abs(start - end) + 3 * np.isin(hour, (8, 9, 17, 18))) * draw.lognormal(0, 0.25, n)
    frame = pl.DataFrame(
        {
            "lpep_pickup_datetime": picked_up,
            "lpep_dropoff_datetime": [
                at + timedelta(minutes=float(np.clip(m, 1.1, 59)))
                for at, m in zip(picked_up, minutes, strict=True)
            ],
            "PULocationID": start,
            "DOLocationID": end,
            "VendorID": draw.integers(1, 3, n),
            "trip_type": draw.integers(1, 3, n),
            "passenger_count": draw.integers(1, 4, n),
        }
    )
    frame.write_parquet(path)
    return path


@pytest.fixture(scope="module")
def trips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("trips")
    return (
        write_trips(folder / "2021-01.parquet", datetime(2021, 1, 1), days=20, trips_a_day=150, seed=1),  # noqa: DTZ001
        write_trips(folder / "2021-02.parquet", datetime(2021, 2, 1), days=8, trips_a_day=150, seed=2),  # noqa: DTZ001
    )


def test_a_backtest_of_made_up_trips_beats_the_lookup_and_tells_every_figure(
    trips: tuple[Path, Path],
) -> None:
    figures = backtest(NycTaxi(), [trips[0]], [trips[1]], settings=SMALL).figures
    assert set(figures) >= FIELDS
    assert figures["n"] == 1_200
    assert figures["mae_min"] < figures["baselines"]["lookup"]["mae_min"]
    assert 0.7 <= figures["coverage_80"] <= 0.9
    json.dumps(figures)


def test_training_rows_whose_outcome_came_after_the_first_test_forecast_are_dropped(
    trips: tuple[Path, Path], tmp_path: Path
) -> None:
    overlapping = write_trips(
        tmp_path / "late.parquet",
        datetime(2021, 2, 1),  # noqa: DTZ001
        days=3,
        trips_a_day=50,
        seed=3,
    )
    figures = backtest(NycTaxi(), [trips[0], overlapping], [trips[1]], settings=SMALL).figures
    assert figures["n_excluded"]["train_outcome_not_before_test"] >= 149
    assert figures["n_train"] <= 3_001


@pytest.mark.real_data
@pytest.mark.skipif(
    not (REAL / "nyc_green_taxi").exists(), reason="the taxi files are not here (../shared/data)"
)
def test_real_trips_of_two_weeks_are_forecast_better_than_the_lookup(tmp_path: Path) -> None:
    trips = pl.read_parquet(REAL / "nyc_green_taxi" / "green_tripdata_2021-01.parquet")
    at = pl.col("lpep_pickup_datetime")
    early, late = tmp_path / "early.parquet", tmp_path / "late.parquet"
    trips.filter(at.dt.day() <= 10).write_parquet(early)
    trips.filter(at.dt.day().is_between(11, 14)).write_parquet(late)
    done = backtest(
        NycTaxi(), [early], [late], weather=REAL / "nyc_weather", settings=BoosterSettings(trees=80)
    )
    figures = done.figures
    assert figures["mae_min"] < 5.2
    assert figures["mae_min"] < figures["baselines"]["lookup"]["mae_min"]
    assert 0.75 <= figures["live"]["coverage_80"] <= 0.85
