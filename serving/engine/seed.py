"""How a new engine takes up a workspace's history: what the backfill left is its first state."""

from __future__ import annotations

import orjson
import polars as pl
import pyarrow.parquet as pq
import structlog

from data_contracts.errors import WorkspaceError
from data_contracts.workspace import Workspace
from features.route_book import RouteBook
from serving.decisions.cadence import RouteCadence
from serving.engine.ops import Checkpoint, OpsStore
from serving.storage.log import Clock, EventLog, Head

log = structlog.get_logger(__name__)

#: Rows of the state that hold a route and not a view's entity.
ROUTE = "route"
#: Where the file of the state says what its history ended with.
HEAD_KEY = b"punctual.head"


def open_log(workspace: Workspace, clock: Clock) -> EventLog:
    """The workspace's log; a new one goes on from the history that the engine takes up."""
    return EventLog(workspace.log, clock, history=history_head(workspace))


def history_head(workspace: Workspace) -> Head:
    """The last record of the history that ``features/state.parquet`` was made of."""
    if not workspace.state.exists():
        return Head()
    said = (pq.read_schema(workspace.state).metadata or {}).get(HEAD_KEY)
    return Head(*orjson.loads(said)) if said else Head()


def seed(ops: OpsStore, workspace: Workspace, origin: Head | None = None) -> int:
    """Start from ``features/state.parquet``, once, in one transaction; give how many rows were taken up.

    Raises
    ------
    WorkspaceError
        when the log goes on from another history than that of the file
    """
    if ops.has_checkpoint() or not workspace.state.exists():
        return 0
    head = history_head(workspace)
    if origin is not None and origin != head:
        raise WorkspaceError(
            f"the log goes on from record {origin.seq:,} and the history ends with {head.seq:,}",
            where=str(workspace.log),
            next_step="move the log away, or bring back the state.parquet that it began with",
        )
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
        tx.save_checkpoint(Checkpoint(seq=head.seq, as_of_us=head.received_us))
    log.info("history_taken_up", rows=len(state), routes=len(routes))
    return len(state)


def _cadence(book: RouteBook, route_id: str) -> RouteCadence:
    route = book.route(route_id)
    known_us = route.progress.known_us if route else 0
    return RouteCadence(route_id=route_id, dirty=True, touched_us=known_us)
