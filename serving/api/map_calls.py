"""The calls that a map is drawn from: GeoJSON (RFC 7946) of vehicles, stops, zones and what lies between them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.shapes import outlines
from serving.engine.picture_reader import Box, PictureReader
from serving.http import wire_rooms
from serving.http.asking import box_of, limit_of, one_of, runtime_of
from serving.http.endpoint import Endpoint
from serving.http.keys import Scope
from serving.http.responses import JSON
from serving.times import US, to_rfc3339, to_rfc3339_or_none

MEDIA_TYPE = "application/geo+json"
STATES = ("ahead", "all")
WORLD: Box = (-180.0, -90.0, 180.0, 90.0)
DEFAULT_FEATURES = 5_000
#: A vehicle that was not heard for longer is left out.
LONGEST_SILENT_US = 12 * 3600 * US
#: Where zones lie changes with the plans of a day, and takes a scan of all stops.
SHAPES_KEPT_US = 60 * US
#: Links that fewer routes drive are left out of the drawing.
LEAST_DRIVES = 2

Feature = dict[str, Any]


def vehicles(request: Request) -> Response:
    """Where vehicles were last seen, with what lies ahead of each."""
    runtime = runtime_of(request)
    limit = limit_of(request, runtime.settings.limits.features, DEFAULT_FEATURES)
    since_us = runtime.now_us() - LONGEST_SILENT_US
    return geojson(
        _vehicle(row) for row in runtime.picture.vehicles_in(box_of(request) or WORLD, limit, since_us)
    )


def stops(request: Request) -> Response:
    """Stops in a box, those most likely to be late first; ``matched`` counts them without the limit."""
    runtime = runtime_of(request)
    limit = limit_of(request, runtime.settings.limits.features, DEFAULT_FEATURES)
    state = one_of(request, "state", STATES, STATES[0])
    rows, matched = runtime.picture.stops_in(box_of(request), state, limit)
    return geojson((_stop(*row) for row in rows), matched=matched)


def zones(request: Request) -> Response:
    """Zones with their slowdown, and how many of the stops ahead are at risk."""
    runtime = runtime_of(request)
    drawn = _DRAWINGS.of(runtime.picture, runtime.now_us())
    return geojson(_zone(row, drawn.rings.get(row["zone_id"])) for row in runtime.picture.zones())


def links(request: Request) -> Response:
    """Depots, and lines between zones that routes drive between: a base map that needs no other source."""
    runtime = runtime_of(request)
    drawn = _DRAWINGS.of(runtime.picture, runtime.now_us())
    return geojson([*map(_depot, runtime.picture.depots()), *drawn.links], bbox=drawn.box)


BBOX = {
    "name": "bbox",
    "in": "query",
    "description": "west,south,east,north in degrees; without it also what has no position.",
    "schema": {"type": "string"},
}
STATE = {"name": "state", "in": "query", "schema": {"enum": list(STATES), "default": STATES[0]}}
FEATURES = {
    "name": "limit",
    "in": "query",
    "description": "How many features at most.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 100_000, "default": DEFAULT_FEATURES},
}
MAP_CALLS = (
    Endpoint(
        method="GET",
        path="/v1/vehicles",
        scope=Scope.READ,
        handle=vehicles,
        name="vehicles",
        summary="Where vehicles were last seen",
        answer=wire_rooms.VehicleCollection,
        media_type=MEDIA_TYPE,
        refusals=(422,),
        query=(BBOX, FEATURES),
    ),
    Endpoint(
        method="GET",
        path="/v1/stops",
        scope=Scope.READ,
        handle=stops,
        name="stops",
        summary="Stops in a box, those most likely to be late first",
        answer=wire_rooms.StopCollection,
        media_type=MEDIA_TYPE,
        refusals=(422,),
        query=(BBOX, STATE, FEATURES),
    ),
    Endpoint(
        method="GET",
        path="/v1/zones",
        scope=Scope.READ,
        handle=zones,
        name="zones",
        summary="Zones, how slow they are and what is at risk in them",
        answer=wire_rooms.ZoneCollection,
        media_type=MEDIA_TYPE,
    ),
    Endpoint(
        method="GET",
        path="/v1/links",
        scope=Scope.READ,
        handle=links,
        name="links",
        summary="Depots, and lines between zones that routes drive between",
        answer=wire_rooms.LinkCollection,
        media_type=MEDIA_TYPE,
    ),
)


def geojson(features: Iterable[Feature], **members: Any) -> JSON:
    """A feature collection; foreign members stand beside its features."""
    collection = {"type": "FeatureCollection", **members, "features": list(features)}
    return JSON(collection, media_type=MEDIA_TYPE)


def feature(identity: str, kind: str, coordinates: Any, properties: Mapping[str, Any]) -> Feature:
    geometry = None if coordinates is None else {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "id": identity, "geometry": geometry, "properties": properties}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawing:
    """Outlines of zones and the lines between them, as of an instant."""

    at_us: int
    rings: Mapping[str, Sequence[tuple[float, float]]]
    links: list[Feature]
    box: Sequence[float] | None


@dataclass(slots=True)
class _Drawings:
    """The last drawing of each picture, made again when it is old."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    kept: dict[int, _Drawing] = field(default_factory=dict)

    def of(self, picture: PictureReader, now_us: int) -> _Drawing:
        with self.lock:
            known = self.kept.get(id(picture))
            if known is None or not known.rings or not 0 <= now_us - known.at_us < SHAPES_KEPT_US:
                known = _draw(picture, now_us)
                self.kept = {id(picture): known}
            return known


_DRAWINGS = _Drawings()


def _draw(picture: PictureReader, now_us: int) -> _Drawing:
    box = picture.edges()
    middles = {zone: (lon, lat) for zone, lat, lon, _ in picture.zone_places()}
    lines = [
        feature(f"{a}|{b}", "LineString", [middles[a], middles[b]], {"kind": "link", "drives": drives})
        for a, b, drives in picture.zone_pairs()
        if drives >= LEAST_DRIVES and a in middles and b in middles
    ]
    return _Drawing(at_us=now_us, rings=outlines(middles, box) if box else {}, links=lines, box=box)


def _vehicle(row: Mapping[str, Any]) -> Feature:
    told = {
        name: row[name] for name in ("vehicle_id", "route_id", "status", "speed_mps", "remaining", "at_risk")
    }
    late = {"late_probability": row["late_probability"], "seen_at": to_rfc3339(row["occurred_us"])}
    return feature(row["vehicle_id"], "Point", (row["lon"], row["lat"]), told | late)


def _stop(
    stop_id: str,
    route_id: str,
    sequence: int,
    zone_id: str,
    state: str,
    late_probability: float | None,
    eta_us: int | None,
    lat: float | None,
    lon: float | None,
) -> Feature:
    properties = {
        "stop_id": stop_id,
        "route_id": route_id,
        "sequence": sequence,
        "zone_id": zone_id,
        "state": state,
        "late_probability": None if late_probability is None else round(late_probability, 3),
        "eta": to_rfc3339_or_none(eta_us),
    }
    return feature(stop_id, "Point", None if lat is None else (lon, lat), properties)


def _zone(row: Mapping[str, Any], ring: Sequence[tuple[float, float]] | None) -> Feature:
    speed, free = row["speed_mps"], row["free_flow_mps"]
    properties = {
        "zone_id": row["zone_id"],
        "slowdown": None if not free else round(max(0.0, 1.0 - speed / free), 3),
        "speed_mps": speed,
        "free_flow_mps": free,
        "incidents": row["incidents"],
        "seen_at": to_rfc3339_or_none(row["occurred_us"]),
        "stops_ahead": row["ahead"],
        "at_risk": row["at_risk"],
    }
    return feature(row["zone_id"], "Polygon", ring and [ring], properties)


def _depot(row: Mapping[str, Any]) -> Feature:
    properties = {"kind": "depot", "depot_id": row["depot_id"], "routes": row["routes"]}
    return feature(row["depot_id"], "Point", (row["lon"], row["lat"]), properties)
