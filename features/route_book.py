"""Live routes by id: one fold serves the engine, the API and the making of training rows.

What a route looked like at an instant is always the result of the records received by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from data_contracts.record import Record
from features.following import follow
from features.itinerary import Itinerary, ItineraryBuilder
from features.messages import Message, message
from features.observations import Observation
from features.routes import KEEP_FINISHED_US, Progress, Route, StopEvent, StopPlan

#: Events of one route that are kept for a plan that has not come.
MOST_WAITING = 1_000


class RouteBook:
    """Live routes by id, folded from the records of ``routes``, ``stops`` and ``stop_events``."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self._route_of_stop: dict[str, str] = {}
        self._route_of_vehicle: dict[str, str] = {}
        self._ended: list[Route] = []

    def apply(self, record: Record) -> tuple[tuple[str, ...], Sequence[Observation]]:
        """Fold one record; give the routes that it touched, its own first, and what it taught."""
        if record.type == "pings":
            followed = self._route_of_vehicle.get(record.body["vehicle_id"])
            return (followed,) if followed else (), ()
        told = message(record)
        return self.hear(told) if told else ((), ())

    def hear(self, told: Message) -> tuple[tuple[str, ...], Sequence[Observation]]:
        """Fold one message, as ``apply`` does."""
        body = told.body
        if isinstance(body, StopEvent):
            route = self._known(body.route_id, told.received_us)
            route.heard_us = told.received_us
            return (body.route_id,), self._follow_or_wait(route, body, told)
        if isinstance(body, StopPlan):
            touched = self._plan_stop(body, told.received_us)
            return touched, self._catch_up(self._routes[touched[0]], told) if touched else ()
        planned = self._plan_route(body, told.received_us)
        return (body["route_id"],), self._catch_up(planned, told) if planned else ()

    def _followed(self, route_id: str, at_us: int) -> Route | None:
        """A route, unless it is unknown or over; one that is over is dropped, whether or not it was forgotten."""
        route = self._routes.get(route_id)
        if route is None or at_us - route.heard_us < KEEP_FINISHED_US or not route.is_over(at_us):
            return route
        self.forget(route_id)
        self._ended.append(route)
        return None

    def _known(self, route_id: str, at_us: int) -> Route:
        """A route; one that nothing was planned of yet is kept for what comes before its plan."""
        route = self._followed(route_id, at_us)
        if route is None:
            route = self._routes[route_id] = Route(route_id=route_id, planned=False)
        return route

    def _follow_or_wait(self, route: Route, event: StopEvent, told: Message) -> Sequence[Observation]:
        stop_id = event.stop_id
        if route.planned and (stop_id is None or stop_id in route.stops):
            learned = follow(route, event, told.seq, told.received_us)
            return (learned,) if learned else ()
        if len(route.waiting) < MOST_WAITING:
            route.waiting.append(event)
        return ()

    def _catch_up(self, route: Route, told: Message) -> Sequence[Observation]:
        """Follow events that waited for this plan; what they teach is known from now on."""
        route.heard_us = told.received_us
        if not route.waiting:
            return ()
        waiting, route.waiting = route.waiting, []
        return [learned for event in waiting for learned in self._follow_or_wait(route, event, told)]

    def all_route_ids(self) -> list[str]:
        """Every route that is known, over or not."""
        return list(self._routes)

    def route_ids(self) -> list[str]:
        """Routes that still have a stop to reach."""
        return [route_id for route_id, route in self._routes.items() if route.remaining()]

    def followed_at(self, instant_us: int) -> list[str]:
        """Routes that are not over at an instant."""
        return [route_id for route_id, route in self._routes.items() if not route.is_over(instant_us)]

    def take_ended(self) -> list[Route]:
        """Routes that were dropped since this was last asked, since something was heard of them when they were over."""
        ended, self._ended = self._ended, []
        return ended

    def route(self, route_id: str) -> Route | None:
        return self._routes.get(route_id)

    def stop(self, stop_id: str) -> StopPlan | None:
        route = self._routes.get(self._route_of_stop.get(stop_id, ""))
        return route.stops.get(stop_id) if route else None

    def arrived(self, stop_id: str) -> int | None:
        """When a stop was reached, once that is known: microseconds since the epoch."""
        route = self._routes.get(self._route_of_stop.get(stop_id, ""))
        return route.progress.visited.get(stop_id) if route else None

    def closed(self, stop_id: str) -> str | None:
        """``completed``, ``failed`` or ``skipped`` once that is known."""
        route = self._routes.get(self._route_of_stop.get(stop_id, ""))
        return route.progress.closed.get(stop_id) if route else None

    def forget(self, route_id: str) -> None:
        """Drop a route that is over."""
        route = self._routes.pop(route_id)
        for stop_id in route.stops:
            self._route_of_stop.pop(stop_id, None)
        self._release_vehicle(route)

    def dump(self, route_id: str) -> bytes:
        return orjson.dumps(self._routes[route_id], default=tuple)

    def load(self, route_id: str, body: bytes) -> None:
        raw = orjson.loads(body)
        stops = {stop_id: StopPlan(**plan) for stop_id, plan in raw.pop("stops").items()}
        progress = Progress(**raw.pop("progress"))
        progress.left_position = _pair(progress.left_position)
        raw["origin_position"] = _pair(raw["origin_position"])
        raw["waiting"] = [StopEvent(*event) for event in raw["waiting"]]
        self._insert(Route(**raw, stops=stops, progress=progress))

    def itinerary(
        self, route_ids: Sequence[str], as_of_us: int, ahead: Mapping[str, int] | None = None
    ) -> Itinerary:
        """Remaining stops of some routes at an instant; of those in ``ahead`` only the next so many."""
        builder = ItineraryBuilder()
        for route_id in route_ids:
            builder.add(self._routes[route_id], as_of_us, ahead.get(route_id) if ahead else None)
        return builder.build()

    def _insert(self, route: Route) -> None:
        self._routes[route.route_id] = route
        self._route_of_stop.update(dict.fromkeys(route.stops, route.route_id))
        if route.vehicle_id:
            self._route_of_vehicle[route.vehicle_id] = route.route_id

    def _release_vehicle(self, route: Route) -> None:
        if self._route_of_vehicle.get(route.vehicle_id or "") == route.route_id:
            del self._route_of_vehicle[route.vehicle_id or ""]

    def _plan_route(self, body: Mapping[str, Any], at_us: int) -> Route | None:
        """Plan a route; None where a newer plan of it is known."""
        known = self._followed(body["route_id"], at_us)
        told_us = body.get("occurred_at", 0)
        if known and known.planned and told_us < known.told_us:
            return None
        route = Route(
            route_id=body["route_id"],
            area_id=body["area_id"],
            origin_zone_id=body["origin_zone_id"],
            timezone=body["timezone"],
            vehicle_id=body.get("vehicle_id"),
            courier_id=body.get("courier_id"),
            depot_id=body.get("depot_id"),
            origin_position=_position(body.get("origin_lat"), body.get("origin_lon")),
            planned_departure_us=body.get("planned_departure_at"),
            service_date=body["service_date"],
            told_us=told_us,
        )
        if known:
            route.stops, route.progress, route.waiting = known.stops, known.progress, known.waiting
            self._release_vehicle(known)
        self._insert(route)
        return route

    def _plan_stop(self, plan: StopPlan, at_us: int) -> tuple[str, ...]:
        """Plan a stop; give its route, and the one that it leaves if it is handed over."""
        left_id = self._route_of_stop.get(plan.stop_id)
        left = self._followed(left_id, at_us) if left_id else None
        known = left.stops.get(plan.stop_id) if left else None
        if known and known.plan_version >= plan.plan_version:
            return ()
        route = self._known(plan.route_id, at_us)
        route.stops[plan.stop_id] = plan
        self._route_of_stop[plan.stop_id] = route.route_id
        if known is None or known.route_id == route.route_id:
            return (route.route_id,)
        del self._routes[known.route_id].stops[known.stop_id]
        return (route.route_id, known.route_id)


def _position(lat: float | None, lon: float | None) -> tuple[float, float] | None:
    return None if lat is None or lon is None else (lat, lon)


def _pair(position: Any) -> tuple[float, float] | None:
    return None if position is None else (position[0], position[1])
