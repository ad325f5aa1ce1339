"""Units that sources use, and the ones that the contracts use."""

from __future__ import annotations

import polars as pl

from data_contracts.errors import SourceError

KMH_TO_MPS = 1 / 3.6
KNOTS_TO_MPS = 1852 / 3600
MPH_TO_MPS = 1609.344 / 3600

#: (given, wanted) -> factor and offset: wanted = given * factor + offset.
CONVERSIONS: dict[tuple[str, str], tuple[float, float]] = {
    ("km", "m"): (1000.0, 0.0),
    ("mi", "m"): (1609.344, 0.0),
    ("ft", "m"): (0.3048, 0.0),
    ("ms", "s"): (0.001, 0.0),
    ("min", "s"): (60.0, 0.0),
    ("h", "s"): (3600.0, 0.0),
    ("s", "min"): (1 / 60, 0.0),
    ("h", "min"): (60.0, 0.0),
    ("km/h", "m/s"): (KMH_TO_MPS, 0.0),
    ("kn", "m/s"): (KNOTS_TO_MPS, 0.0),
    ("mph", "m/s"): (MPH_TO_MPS, 0.0),
    ("degF", "degC"): (5 / 9, -160 / 9),
    ("K", "degC"): (1.0, -273.15),
    ("in/h", "mm/h"): (25.4, 0.0),
    ("in/h", "cm/h"): (2.54, 0.0),
    ("mm/h", "cm/h"): (0.1, 0.0),
    ("%", "1"): (0.01, 0.0),
}
#: Other spellings, as feeds and people write them.
SPELLINGS = {
    "kmh": "km/h",
    "km/h": "km/h",
    "kph": "km/h",
    "kmph": "km/h",
    "knots": "kn",
    "knot": "kn",
    "kt": "kn",
    "kts": "kn",
    "mp/h": "mph",
    "miles": "mi",
    "mile": "mi",
    "metres": "m",
    "meters": "m",
    "seconds": "s",
    "minutes": "min",
    "hours": "h",
    "°c": "degC",
    "c": "degC",
    "°f": "degF",
    "f": "degF",
    "k": "K",
    "percent": "%",
    "inch": "in/h",
    "mm": "mm/h",
    "cm": "cm/h",
    "degc": "degC",
    "degf": "degF",
}


def convert(values: pl.Expr, given: str, wanted: str, *, where: str = "unit") -> pl.Expr:
    """Values in the wanted unit.

    Raises
    ------
    SourceError
        when there is no way from one unit to the other
    """
    given = SPELLINGS.get(given.strip().lower(), given.strip())
    if given == wanted:
        return values
    if (given, wanted) not in CONVERSIONS:
        known = sorted({wanted, *(g for g, w in CONVERSIONS if w == wanted)})
        raise SourceError(
            f"unit {given!r} cannot be turned into {wanted!r}",
            where=where,
            next_step=f"give one of {', '.join(known)}",
        )
    factor, offset = CONVERSIONS[given, wanted]
    return values * factor + offset
