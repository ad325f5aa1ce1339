"""What each feed says: the columns of a vector that go dark when it is dead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from features.moment import FEATURES
from features.vectors import FEEDS, Vectors
from features.views import DEPOT_STATE, LOOKUPS, VEHICLE_MOTION, WEATHER_NOW, WEATHER_THEN, ZONE_TRAFFIC, View

FEED_VIEWS: dict[str, tuple[View, ...]] = {
    "telemetry": (VEHICLE_MOTION,),
    "traffic": (ZONE_TRAFFIC,),
    "weather": (WEATHER_NOW, WEATHER_THEN),
    "depot": (DEPOT_STATE,),
}
#: Columns that are summed along a route from what a feed says.
SUMMED = {"traffic": ("mean_jam",)}


def columns_of(feed: str) -> NDArray[np.int64]:
    """Places in a vector of what is made from a feed, be it through another feature."""
    aliases = tuple(f"{lookup.alias}__" for lookup in LOOKUPS if lookup.view in FEED_VIEWS[feed])
    said = set(SUMMED.get(feed, ()))
    for feature in FEATURES:
        if any(name in said or name.startswith(aliases) for name in feature.inputs):
            said.add(feature.name)
    return np.array([place for place, feature in enumerate(FEATURES) if feature.name in said], np.int64)


FEED_COLUMNS = {feed: columns_of(feed) for feed in FEEDS}


def darkened(vectors: Vectors, dark: Mapping[str, NDArray[np.bool_]]) -> Vectors:
    """Vectors as they would be if some feeds said nothing of some rows.

    dark : feed -> (n,) whether it is silent
    """
    struck = {feed: rows for feed, rows in dark.items() if rows.any()}
    if not struck:
        return vectors
    matrix, ages_s = vectors.matrix.copy(), dict(vectors.ages_s)
    for feed, rows in struck.items():
        matrix[np.ix_(rows, FEED_COLUMNS[feed])] = np.nan
        ages_s[feed] = np.where(rows, np.nan, ages_s[feed])
    return replace(vectors, matrix=matrix, ages_s=ages_s)
