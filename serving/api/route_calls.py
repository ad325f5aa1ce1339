"""The calls about one route or one stop: its plan, what was promised, how far it is, and what happened to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving.http import wire_rooms
from serving.http.asking import limit_of, runtime_of
from serving.http.endpoint import LIMIT, Endpoint
from serving.http.keys import Scope
from serving.http.problems import unknown
from serving.http.responses import JSON
from serving.times import to_rfc3339, to_rfc3339_or_none

Row = Mapping[str, Any]
DEFAULT_LINES = 100


def route(request: Request) -> Response:
    """A route with all its stops in order."""
    picture, route_id = runtime_of(request).picture, request.path_params["route_id"]
    row = picture.route(route_id)
    if row is None:
        raise unknown("route", route_id)
    return JSON(_route(row) | {"stops": [_stop(stop) for stop in picture.stops_of_route(route_id)]})


def route_timeline(request: Request) -> Response:
    """What happened to a route, the newest first."""
    runtime, route_id = runtime_of(request), request.path_params["route_id"]
    if runtime.picture.route(route_id) is None:
        raise unknown("route", route_id)
    limit = limit_of(request, runtime.settings.limits.rows, DEFAULT_LINES)
    lines = runtime.picture.timeline(route_id=route_id, limit=limit)
    return JSON({"route_id": route_id, "timeline": [_line(line) for line in lines]})


def stop(request: Request) -> Response:
    """A stop: its plan, what its customer was told, and how it stands."""
    stop_id = request.path_params["stop_id"]
    row = runtime_of(request).picture.stop(stop_id)
    if row is None:
        raise unknown("stop", stop_id)
    return JSON(_stop(row) | {"timezone": row["timezone"], "stops_before": row["stops_before"]})


def stop_timeline(request: Request) -> Response:
    """What happened to a stop, the newest first."""
    runtime, stop_id = runtime_of(request), request.path_params["stop_id"]
    if runtime.picture.stop(stop_id) is None:
        raise unknown("stop", stop_id)
    limit = limit_of(request, runtime.settings.limits.rows, DEFAULT_LINES)
    lines = runtime.picture.timeline(stop_id=stop_id, limit=limit)
    return JSON({"stop_id": stop_id, "timeline": [_line(line) for line in lines]})


ROUTE_CALLS = (
    Endpoint(
        method="GET",
        path="/v1/routes/{route_id}",
        scope=Scope.READ,
        handle=route,
        name="route",
        summary="A route with its stops",
        answer=wire_rooms.RouteDetail,
        refusals=(404,),
    ),
    Endpoint(
        method="GET",
        path="/v1/routes/{route_id}/timeline",
        scope=Scope.READ,
        handle=route_timeline,
        name="routeTimeline",
        summary="What happened to a route",
        answer=wire_rooms.RouteTimeline,
        refusals=(404, 422),
        query=(LIMIT,),
    ),
    Endpoint(
        method="GET",
        path="/v1/stops/{stop_id}",
        scope=Scope.READ,
        handle=stop,
        name="stop",
        summary="A stop as it stands",
        answer=wire_rooms.StopDetail,
        refusals=(404,),
    ),
    Endpoint(
        method="GET",
        path="/v1/stops/{stop_id}/timeline",
        scope=Scope.READ,
        handle=stop_timeline,
        name="stopTimeline",
        summary="What happened to a stop",
        answer=wire_rooms.StopTimeline,
        refusals=(404, 422),
        query=(LIMIT,),
    ),
)


def _route(row: Row) -> dict[str, Any]:
    names = (
        "route_id",
        "vehicle_id",
        "courier_id",
        "depot_id",
        "area_id",
        "timezone",
        "service_date",
        "slip_s",
    )
    place = None if row["origin_lat"] is None else {"lat": row["origin_lat"], "lon": row["origin_lon"]}
    return {name: row[name] for name in names} | {
        "origin": place,
        "planned_departure_at": to_rfc3339_or_none(row["planned_departure_us"]),
        "has_departed": bool(row["has_departed"]),
        "touched_at": to_rfc3339_or_none(row["touched_us"] or None),
        "scored_at": to_rfc3339_or_none(row["scored_us"]),
    }


def _stop(row: Row) -> dict[str, Any]:
    names = (
        "stop_id",
        "route_id",
        "sequence",
        "plan_version",
        "zone_id",
        "service_level",
        "parcels",
        "state",
    )
    return {name: row[name] for name in names} | {
        "position": None if row["lat"] is None else {"lat": row["lat"], "lon": row["lon"]},
        "planned_arrival_at": to_rfc3339_or_none(row["planned_arrival_us"]),
        "reached_at": to_rfc3339_or_none(row["reached_us"]),
        "eta": to_rfc3339_or_none(row["eta_us"]),
        "late_probability": row["late_probability"],
        "promise": promise_document(row),
    }


def promise_document(row: Row) -> dict[str, Any] | None:
    """First and last window told; until the engine has taken the stop up, what stands in its plan."""
    end_us = row["promised_end_us"] if row["first_end_us"] is None else row["first_end_us"]
    if end_us is None:
        return None
    start_us = row["promised_start_us"] if row["first_start_us"] is None else row["first_start_us"]
    first = {"start": to_rfc3339(end_us if start_us is None else start_us), "end": to_rfc3339(end_us)}
    told = first
    if row["told_end_us"] is not None:
        told = {"start": to_rfc3339(row["told_start_us"]), "end": to_rfc3339(row["told_end_us"])}
    return {
        "first": first,
        "told": told,
        "revisions": row["revisions"] or 0,
        "told_at": to_rfc3339_or_none(row["told_us"] or None),
    }


def _line(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "route_id": row["route_id"],
        "stop_id": row["stop_id"],
        "kind": row["kind"],
        "occurred_at": to_rfc3339(row["occurred_us"]),
        "known_at": to_rfc3339(row["known_us"]),
        "data": None if row["body"] is None else orjson.loads(row["body"]),
    }
