"""What a feature or view is, from its one definition."""

from __future__ import annotations

from typing import Any

from data_contracts.errors import UnknownIdError
from features.moment import FEATURES
from features.views import LOOKUPS, VIEWS


def listed_features() -> list[dict[str, Any]]:
    """Every feature of a vector, in its order."""
    return [
        {"feature": f.name, "unit": f.unit, "low": f.low, "high": f.high, "meaning": f.meaning}
        for f in FEATURES
    ]


def listed_views() -> list[dict[str, Any]]:
    """Every view, with its entity and how long a version counts."""
    return [
        {"view": view.name, "entity": view.entity, "ttl": str(view.ttl), "meaning": view.meaning}
        for view in VIEWS
    ]


def describe(name: str) -> dict[str, Any]:
    """A feature's or a view's definition by name.

    Raises
    ------
    UnknownIdError
        when nothing has that name
    """
    for feature in FEATURES:
        if feature.name == name:
            return {
                "kind": "moment feature",
                "meaning": feature.meaning,
                "unit": feature.unit,
                "low": feature.low,
                "high": feature.high,
                "made of": ", ".join(feature.inputs),
            }
    for view in VIEWS:
        if view.name == name:
            return {
                "kind": "view",
                "meaning": view.meaning,
                "entity": view.entity,
                "ttl": str(view.ttl),
                "fields": "; ".join(f"{f.name} [{f.unit}]: {f.meaning}" for f in view.fields),
                "found by": ", ".join(f"{x.alias} through {x.key}" for x in LOOKUPS if x.view.name == name),
                "schema hash": view.schema_hash,
            }
    raise UnknownIdError(
        f"no feature or view is called {name!r}",
        next_step="see `punctual features list` for those that exist",
    )
