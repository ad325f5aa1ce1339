"""Proposed actions: another order that keeps more promises, a new window, a message; ranked by what they gain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from data_contracts.record import Record
from features.live import LiveFeatures
from features.routes import Route
from features.vectors import Vectors
from serving.decisions.alerts import AlertPolicy
from serving.decisions.alerts import Kind as SubjectKind
from serving.decisions.incidents import Cause, Incident, opened
from serving.decisions.promises import DeliveryWindow, Promise
from serving.engine.advice import AdvicePolicy, Adviser, Kind
from serving.engine.resequencing import Task, reordered, solve
from serving.engine.scoring import Manner
from serving.times import US
from tests.builders import NOON_US
from tests.engine_bench import FakeForecast, FakeForecaster

MINUTE_US = 60 * US
#: One stop every 500 m along a street, from the depot on.
STEP_DEG = 500 / 111_195


class CertainForecaster(FakeForecaster):
    """Late with certainty where the prior is after the deadline."""

    def forecast(self, vectors: Vectors, live: Any = None) -> FakeForecast:
        quantiles_s = np.repeat(vectors.base_s[:, None], 7, axis=1)
        return _Certain(quantiles_s)


class _Certain(FakeForecast):
    def late_probability(self, deadline_s: Any) -> Any:
        return (self.quantiles_s[:, 3] > deadline_s).astype(np.float64)


def a_route(*metres_of: int, ends_min: list[float]) -> tuple[LiveFeatures, dict[str, Promise], str]:
    """A route that has just left; stops lie so many steps along the street, promised until so many minutes."""
    features, route_id = LiveFeatures(), "R-1"
    known = {"area_id": "A", "origin_zone_id": "Z", "timezone": "UTC", "service_date": "2026-03-02"}
    at = {"origin_lat": 0.0, "origin_lon": 0.0, "planned_departure_at": NOON_US}
    rows: list[tuple[str, dict[str, Any]]] = [("routes", {"route_id": route_id, **known, **at})]
    promises = {}
    for place, (steps, end_min) in enumerate(zip(metres_of, ends_min, strict=True), start=1):
        stop_id = f"S-{place}"
        stop = {"stop_id": stop_id, "route_id": route_id, "plan_version": 1, "sequence": place}
        where = {"zone_id": "Z", "lat": steps * STEP_DEG, "lon": 0.0, "planned_service_s": 60.0}
        rows.append(("stops", {**stop, **where, "planned_arrival_at": NOON_US + place * 5 * MINUTE_US}))
        window = DeliveryWindow(start_us=NOON_US, end_us=NOON_US + int(end_min * MINUTE_US))
        promises[stop_id] = Promise(stop_id=stop_id, route_id=route_id, first=window, told=window)
    left = {"route_id": route_id, "kind": "departed_depot", "occurred_at": NOON_US}
    rows.append(("stop_events", left))
    features.advance([Record(seq, NOON_US, table, body) for seq, (table, body) in enumerate(rows, start=1)])
    return features, promises, route_id


def adviser(features: LiveFeatures, promises: dict[str, Promise], **policy: Any) -> Adviser:
    return Adviser(
        route_of=features.book.route,
        read=features.read,
        manner=Manner(forecaster=CertainForecaster(), coverage=0.8),
        promises=promises,
        alerts=AlertPolicy(),
        policy=AdvicePolicy(**policy),
    )


def the_route(features: LiveFeatures, route_id: str) -> Route:
    route = features.book.route(route_id)
    assert route is not None
    return route


def about(route_id: str) -> Incident:
    incident = opened(Cause.ROUTE_BEHIND, SubjectKind.ROUTE, route_id, "A", NOON_US)
    return replace(incident, route_ids=frozenset({route_id}))


def test_pyvrp_serves_a_tight_deadline_before_a_loose_one() -> None:
    features, _, route_id = a_route(1, 8, 2, 3, ends_min=[60, 600, 600, 600])
    first, *rest = the_route(features, route_id).remaining()
    task = Task(start=first, free_s=60.0, stops=rest, deadline_s=[1e5, 420.0, 1e5], slowness=1.0)
    assert solve(task)[0] == "S-3"
    assert sorted(solve(task)) == ["S-2", "S-3", "S-4"]


def test_the_same_task_gives_the_same_order() -> None:
    features, _, route_id = a_route(*range(1, 12), ends_min=[30.0] * 11)
    first, *rest = the_route(features, route_id).remaining()
    task = Task(start=first, free_s=60.0, stops=rest, deadline_s=[900.0] * 10, slowness=1.3)
    assert solve(task) == solve(task)


def test_a_reordered_route_keeps_its_next_stop_and_plans_the_rest_anew() -> None:
    features, _, route_id = a_route(1, 2, 3, ends_min=[60, 60, 60])
    route = reordered(the_route(features, route_id), ["S-1", "S-3", "S-2"])
    assert [(stop.stop_id, stop.sequence) for stop in route.remaining()] == [
        ("S-1", 1),
        ("S-3", 2),
        ("S-2", 3),
    ]
    arrivals = [stop.planned_arrival_us or 0 for stop in route.remaining()]
    assert arrivals == sorted(arrivals)
    assert [stop.sequence for stop in the_route(features, route_id).remaining()] == [1, 2, 3]


def test_another_order_is_proposed_where_it_keeps_a_promise_that_would_break() -> None:
    features, promises, route_id = a_route(1, 20, 2, ends_min=[600, 600, 9])
    found = adviser(features, promises).resequence(the_route(features, route_id), NOON_US)
    assert found is not None
    assert (found["kind"], found["stop_ids"]) == (Kind.RESEQUENCE, ["S-3", "S-2"])
    assert found["gain"]["late_stops"] == pytest.approx(1.0)


def test_an_order_that_gains_nothing_is_not_proposed() -> None:
    features, promises, route_id = a_route(1, 2, 3, ends_min=[600, 600, 600])
    assert adviser(features, promises).resequence(the_route(features, route_id), NOON_US) is None


def test_actions_are_ranked_by_their_gain_and_name_their_stops() -> None:
    features, promises, route_id = a_route(1, 20, 2, ends_min=[600, 600, 9])
    actions = adviser(features, promises).advise(about(route_id), NOON_US)
    assert [action["kind"] for action in actions] == ["resequence", "offer_window", "notify"]
    gains = [action["gain"]["late_stops"] for action in actions]
    assert gains == sorted(gains, reverse=True)
    assert [window["stop_id"] for window in actions[1]["windows"]] == actions[2]["stop_ids"] == ["S-3"]


def test_a_stop_beyond_help_is_offered_a_window_or_told() -> None:
    features, promises, route_id = a_route(1, 2, 3, ends_min=[600, 600, 0.5])
    actions = adviser(features, promises).advise(about(route_id), NOON_US)
    assert [action["kind"] for action in actions] == ["offer_window", "notify"]


def test_a_route_that_is_forgotten_or_has_no_positions_gets_no_order() -> None:
    features, promises, route_id = a_route(1, 20, 2, ends_min=[600, 600, 9])
    assert adviser(features, promises).advise(about("R-9"), NOON_US) == ()
    route = the_route(features, route_id)
    bare = replace(route, stops={key: replace(stop, lat=None) for key, stop in route.stops.items()})
    assert adviser(features, promises).resequence(bare, NOON_US) is None


def test_what_is_proposed_fits_into_an_event() -> None:
    features, promises, route_id = a_route(*range(1, 141), ends_min=[5.0] * 140)
    actions = adviser(features, promises).advise(about(route_id), NOON_US)
    assert len(orjson.dumps(actions)) < 12_000
