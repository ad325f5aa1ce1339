"""What a feature or view is, from its one definition."""

from __future__ import annotations

from typing import Any

from data_contracts.errors import UnknownIdError
from features.moment import FEATURES
from features.views import LOOKUPS, VIEWS


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
