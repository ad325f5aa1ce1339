"""Priors fall back from what is known best to what is known at all, and new columns say what they mean."""

from __future__ import annotations

import numpy as np
import pytest

from features.moment import origin_east_m, target_east_m, target_north_m
from features.priors import courier_prior, service_prior, travel_prior
from features.views import ROLLING_MEANS


def known(**given: tuple[float, float]) -> dict[str, np.ndarray]:
    """Mean and weight of some rolling means; of the others nothing is known."""
    level = {}
    for mean in ROLLING_MEANS:
        value, weight = given.get(mean.view.name, (np.nan, 0.0))
        level[f"{mean.view.name}__mean"] = np.array([value])
        level[f"{mean.view.name}__weight"] = np.array([weight])
    return level


def test_way_back_tells_of_a_drive_that_was_never_made():
    area = known(travel_by_area=(0.2, 1e6))
    back = known(travel_by_area=(0.2, 1e6), travel_by_link=(0.8, 1e6))
    there = known(travel_by_area=(0.2, 1e6), travel_by_link=(0.8, 1e6), travel_by_pair=(0.5, 1e6))
    found = [travel_prior(level)[0] for level in (area, back, there)]
    assert found == pytest.approx([0.2, 0.8, 0.5], abs=1e-4)


def test_door_is_expected_as_planned_then_as_its_area_its_site_and_its_hour():
    levels: dict[str, tuple[float, float]] = {}
    found = [service_prior(known())[0]]
    for name, value in (("area", 2.0), ("courier", 1.5), ("site", 0.5), ("site_hour", 0.0)):
        levels[f"service_by_{name}"] = (value, 1e6)
        found.append(service_prior(known(**levels))[0])
    assert found == pytest.approx([1.0, 2.0, 1.5, 0.5, 0.0], abs=1e-4)


def test_courier_of_whom_nothing_is_known_is_like_the_others():
    assert courier_prior(known())[0] == 0.0
    assert courier_prior(known(pace_by_courier=(0.3, 10.0)))[0] == pytest.approx(0.15)


def test_positions_are_metres_from_the_nearest_whole_degree():
    lat, lon = np.array([-1.28, 60.5]), np.array([36.82, 10.25])
    assert target_north_m.compute(lat)[0] == pytest.approx(-0.28 * 111_195, rel=1e-3)
    assert target_east_m.compute(lat, lon)[1] == pytest.approx(0.25 * 111_195 * 0.4924, rel=1e-3)
    assert np.isnan(origin_east_m.compute(np.array([np.nan]), np.array([np.nan]))).all()
