"""Outlines of zones for a map, from nothing but where their stops are.

A zone's outline is what is nearer to the middle of its stops than to that of any other zone's (its Voronoi cell),
cut at a margin around all stops. It is a drawing, not a border.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import cos, radians

Point = tuple[float, float]
Box = tuple[float, float, float, float]
MARGIN_SHARE = 0.06
LEAST_MARGIN_DEG = 0.002
#: Only so many nearest neighbours can share a border with a zone, as a rule; more cost time and change nothing.
NEIGHBOURS = 40


def outlines(middles: Mapping[str, Point], box: Box) -> dict[str, list[Point]]:
    """A closed ring of (lon, lat) for each zone; ``middles`` are (lon, lat), ``box`` is west, south, east, north."""
    west, south, east, north = _with_margin(box)
    squeeze = cos(radians((south + north) / 2)) or 1.0
    flat = {zone: (lon * squeeze, lat) for zone, (lon, lat) in middles.items()}
    frame = [
        (west * squeeze, south),
        (east * squeeze, south),
        (east * squeeze, north),
        (west * squeeze, north),
    ]
    rings = {zone: _cell(zone, flat, frame) for zone in flat}
    return {
        zone: [(round(x / squeeze, 6), round(y, 6)) for x, y in [*ring, ring[0]]]
        for zone, ring in rings.items()
        if len(ring) >= 3
    }


def _with_margin(box: Box) -> Box:
    west, south, east, north = box
    margin = max(MARGIN_SHARE * max(east - west, north - south), LEAST_MARGIN_DEG)
    return west - margin, south - margin, east + margin, north + margin


def _cell(zone: str, middles: Mapping[str, Point], frame: Sequence[Point]) -> list[Point]:
    here = middles[zone]
    others = sorted((_squared(here, there), there) for other, there in middles.items() if other != zone)
    ring = list(frame)
    for squared, there in others[:NEIGHBOURS]:
        if squared > 0 and ring:
            ring = _nearer(ring, here, there)
    return ring


def _nearer(ring: Sequence[Point], here: Point, there: Point) -> list[Point]:
    """The part of a convex ring that is nearer to ``here`` than to ``there``."""
    across = (there[0] - here[0], there[1] - here[1])
    middle = ((here[0] + there[0]) / 2, (here[1] + there[1]) / 2)
    beyond = [(x - middle[0]) * across[0] + (y - middle[1]) * across[1] for x, y in ring]
    kept: list[Point] = []
    for n, point in enumerate(ring):
        following, over, next_over = ring[(n + 1) % len(ring)], beyond[n], beyond[(n + 1) % len(ring)]
        if over <= 0:
            kept.append(point)
        if over * next_over < 0:
            share = over / (over - next_over)
            kept.append(
                (point[0] + share * (following[0] - point[0]), point[1] + share * (following[1] - point[1]))
            )
    return kept


def _squared(a: Point, b: Point) -> float:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2
