"""How a new engine takes up a workspace's history: what the backfill left is its first state."""

from __future__ import annotations

import orjson
import polars as pl
import structlog

from data_contracts.workspace import Workspace
from features.itinerary import RouteBook
from serving.cadence import RouteCadence
from serving.ops import Checkpoint, OpsStore

log = structlog.get_logger(__name__)

#: Rows of the state that hold a route and not a view's entity.
ROUTE = "route"


def seed(ops: OpsStore, workspace: Workspace) -> int:
    """Start from ``features/state.parquet``, once, in one transaction; give how many rows were taken up."""
    if ops.has_checkpoint() or not workspace.state.exists():
        return 0
    state = pl.read_parquet(workspace.state)
    routes = state.filter(pl.col("view") == ROUTE)
    book = RouteBook()
    for _, route_id, body in routes.iter_rows():
        book.load(route_id, body)
    with ops.transaction() as tx:
        tx.save_feature_state(state.filter(pl.col("view") != ROUTE).iter_rows())
        tx.save_routes((route_id, 0, body) for _, route_id, body in routes.iter_rows())
        for _, route_id, body in routes.iter_rows():
            tx.index_stops((stop_id, route_id) for stop_id in orjson.loads(body)["stops"])
        tx.save_cadences(_cadence(book, route_id) for route_id in routes["key"])
        tx.save_checkpoint(Checkpoint())
    log.info("history_taken_up", rows=len(state), routes=len(routes))
    return len(state)


def _cadence(book: RouteBook, route_id: str) -> RouteCadence:
    route = book.route(route_id)
    known_us = route.progress.known_us if route else 0
    return RouteCadence(route_id=route_id, dirty=True, touched_us=known_us)
