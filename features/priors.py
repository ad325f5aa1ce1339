"""Causal priors of drives and doors: shrunk up a hierarchy, from what had been received by then.

Drives are in ln(actual / reference), doors in actual / reference: many doors along a route add up, and of what adds
up the mean is wanted. The same functions serve training rows, live stops and the expectation
against which a drive just ended is judged.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

#: How many observations a level needs before it outweighs the level above it.
PAIR_HOUR_SHRINKAGE = 6.0
PAIR_SHRINKAGE = 3.0
LINK_SHRINKAGE = 1.5
ZONE_SHRINKAGE = 10.0
HOUR_SHRINKAGE = 20.0
AREA_SHRINKAGE = 5.0
CLASS_SHRINKAGE = 20.0
SITE_SHRINKAGE = 3.0
SITE_HOUR_SHRINKAGE = 4.0
COURIER_SHRINKAGE = 10.0
PACE_SHRINKAGE = 8.0


def shrunk(mean: Float, weight: Float, parent: Float, shrinkage: float) -> Float:
    """Mean drawn towards its parent by ``shrinkage`` observations; the parent where there is none."""
    weight = zero_if_unknown(weight)
    return (weight * zero_if_unknown(mean) + shrinkage * parent) / (weight + shrinkage)


def zero_if_unknown(values: Float) -> Float:
    """Values, 0 where they are NaN; several times as fast as ``np.nan_to_num``, which looks for infinities too."""
    return np.where(np.isnan(values), 0.0, values)


def travel_prior(level: Mapping[str, Float]) -> Float:
    """Expected ln(actual / reference) of a drive.

    A pair of zones falls back to the way back, then to the sum of what its two ends add to the area, then to the
    area.

    Parameters
    ----------
    level : ``travel_by_*__mean`` and ``travel_by_*__weight``, (n,) each
    """

    def at(name: str, parent: Float, shrinkage: float) -> Float:
        return shrunk(level[f"{name}__mean"], level[f"{name}__weight"], parent, shrinkage)

    nothing = np.zeros_like(level["travel_by_area__mean"])
    area = at("travel_by_area", nothing, AREA_SHRINKAGE)
    hour = at("travel_by_area_hour", area, HOUR_SHRINKAGE) - area
    visit = at("travel_by_class", area, CLASS_SHRINKAGE) - area
    origin = at("travel_by_origin", area, ZONE_SHRINKAGE)
    target = at("travel_by_target", area, ZONE_SHRINKAGE)
    link = at("travel_by_link", origin + target - area, LINK_SHRINKAGE)
    pair = at("travel_by_pair", link, PAIR_SHRINKAGE)
    pair_hour = at("travel_by_pair_hour", pair + hour, PAIR_HOUR_SHRINKAGE)
    return pair_hour + 0.5 * visit


def courier_prior(level: Mapping[str, Float]) -> Float:
    """What a courier adds to the expected ln(actual / reference) of a drive."""
    mean, weight = level["pace_by_courier__mean"], level["pace_by_courier__weight"]
    return shrunk(mean, weight, np.zeros_like(mean), COURIER_SHRINKAGE)


def service_prior(level: Mapping[str, Float]) -> Float:
    """Expected actual / reference of the time at a door: of its area, courier, site and hour."""

    def at(name: str, parent: Float, shrinkage: float) -> Float:
        return shrunk(level[f"{name}__mean"], level[f"{name}__weight"], parent, shrinkage)

    as_planned = np.ones_like(level["service_by_area__mean"])
    area = at("service_by_area", as_planned, AREA_SHRINKAGE)
    courier = at("service_by_courier", area, COURIER_SHRINKAGE)
    site = at("service_by_site", courier, SITE_SHRINKAGE)
    return at("service_by_site_hour", site, SITE_HOUR_SHRINKAGE)
