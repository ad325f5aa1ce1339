"""The city stays within its published bands, and its figures are computed as they say."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.simulation.amazon import amazon_stops, city_stops, figures
from pipelines.simulation.figures import HORIZONS, lookup_and_oracle, shares
from pipelines.simulation.parameters import bands

DAY = date(2026, 1, 5)
AMAZON = Path(__file__).parents[2] / "../shared/data/amazon_depot_day"


def days(count: int) -> list[date]:
    return [DAY + timedelta(days=number) for number in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "seeds", "count"), [("demo", range(1, 11), 28), ("reference", range(1, 9), 14)]
)
def test_shares_lie_in_their_bands(size: str, seeds: range, count: int) -> None:
    of_seed = [shares(size, seed, DAY, count) for seed in seeds]
    low, high = bands()["late_share_of_a_seed"]
    assert all(low <= found["late_share"] <= high for found in of_seed)
    for name in of_seed[0]:
        low, high = bands()[name]
        assert low <= np.mean([found[name] for found in of_seed]) <= high, name


@pytest.mark.slow
def test_errors_and_the_lookup_lie_in_their_bands() -> None:
    found = lookup_and_oracle("demo", 3, days(21)[:-1], days(21)[-1:], rollouts=100)
    for name in ("lookup_to_oracle", *(f"error_min_{horizon}" for horizon in HORIZONS)):
        low, high = bands()[name]
        assert low <= found[name] <= high, name


def test_a_quiet_figure_of_a_small_city() -> None:
    found = lookup_and_oracle("small", 3, days(4)[:-1], days(4)[-1:], rollouts=30)
    assert 0 < found["oracle_pinball_min"] < found["lookup_pinball_min"]


def test_figures_of_stops_on_a_line() -> None:
    stops = pl.DataFrame(
        {
            "route": [1] * 4 + [2] * 4,
            "x_m": [0.0, 100.0, 200.0, 300.0] * 2,
            "y_m": [0.0, 1.0, 0.0, 1.0] * 2,
            "service_s": [60.0] * 8,
            "parcels": [1, 1, 2, 1] * 2,
            "window_h": [None, None, None, 8.0] * 2,
            "zone": [1, 1, 2, 2] * 2,
        }
    )
    found = figures(stops)
    assert found["share with a booked window"] == pytest.approx(0.25)
    assert (found["stops per van"] == 4).all()
    assert found["metres from stop to stop, nearest first"] == pytest.approx(np.full(7, 100), abs=0.1)


@pytest.mark.real_data
@pytest.mark.skipif(not AMAZON.is_dir(), reason=f"{AMAZON} is absent")
def test_the_reference_city_is_like_the_amazon_day() -> None:
    theirs, ours = figures(amazon_stops(AMAZON)), figures(city_stops("reference"))
    for name in theirs:
        middle = len(theirs[name]) // 2
        assert ours[name][middle] == pytest.approx(theirs[name][middle], rel=0.25), name
