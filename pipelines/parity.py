"""Parity: vectors that the running engine logged, against the same vectors retrieved from landed Parquet.

The log's rows are landed beside the history that the engine took up, every version is built again from
nothing, Feast retrieves them as of each logged instant, and the vectors are put together by the functions
that make training rows. Nothing is compared with a tolerance: two values are the same when their bits are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from data_contracts.errors import WorkspaceError
from data_contracts.workspace import Workspace
from features.feast_repo import historical, open_store
from features.vectors import FEATURE_NAMES, combine
from pipelines.history import build_features, history_end, landed_history
from pipelines.logged import Frames, joined, land_log, log_origin, read_logged
from serving.engine.history import all_kept
from serving.engine.packing import KeptRow
from serving.storage.database import connect_to_read, statements
from serving.storage.log import Head
from serving.times import from_rfc3339
from training.dataset import entity_frame, itineraries

Say = Callable[[str], None]
#: Rows of remaining stops that are retrieved at once.
MOMENTS_AT_ONCE = 20_000
BASE = "base_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A feature that differs: how often, and where first. ``retrieved`` is None where the row is absent."""

    feature: str
    vectors: int
    stop_id: str
    as_of_us: int
    logged: float
    retrieved: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How many logged vectors were retrieved again to the bit.

    instants : (route, instant) pairs at which something was scored
    absent : logged vectors of stops that the retrieval does not know as remaining
    """

    records: int
    instants: int
    vectors: int
    identical: int
    absent: int
    differences: tuple[Difference, ...]

    @property
    def share(self) -> float:
        return self.identical / self.vectors

    @property
    def is_identical(self) -> bool:
        return self.identical == self.vectors

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"share": self.share, "is_identical": self.is_identical}


@dataclass(frozen=True, slots=True)
class LoggedVectors:
    """What the engine scored: ``rows`` has ``stop_id``, ``route_id``, ``as_of_us``.

    values : (n, len(FEATURES)) float32, base_s : (n,) float64
    """

    rows: pl.DataFrame
    values: NDArray[np.float32]
    base_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)


def parity(workspace: Workspace, say: Say | None = None) -> Parity:
    """Compare every vector that the workspace's engine logged with its retrieval.

    Raises
    ------
    WorkspaceError
        when nothing was logged, or the landed history is not the one that the engine took up
    """
    tell = say or (lambda _: None)
    tell("logged vectors")
    logged = logged_vectors(workspace)
    tell("landing the log")
    with TemporaryDirectory(prefix="punctual-parity-") as folder:
        scratch = Workspace(Path(folder))
        records = land_log(workspace, scratch.landed)
        ordered = joined(_history_of(workspace), read_logged(scratch.landed))
        build_features(scratch, ordered, tell)
        tell("point-in-time retrieval")
        same = _retrieved_again(scratch, ordered, logged)
    return _judged(logged, same, records)


def logged_vectors(workspace: Workspace) -> LoggedVectors:
    """Every forecast's vector that is still in the operational store, in the order of its instants."""
    rows = _forecasts(workspace)
    wrong = {len(row[3]) for row in rows} - {4 * len(FEATURE_NAMES)}
    if not rows or wrong:
        raise WorkspaceError(
            "holds vectors of other features" if wrong else "has logged no forecast",
            where=str(workspace.ops),
            next_step="serve the workspace and send it events",
        )
    stop_ids, route_ids, as_of_us, vectors, base_s = zip(*rows, strict=True)
    frame = pl.DataFrame({"stop_id": stop_ids, "route_id": route_ids, "as_of_us": as_of_us})
    values = np.frombuffer(b"".join(vectors), np.float32).reshape(len(rows), -1)
    return LoggedVectors(frame.with_row_index("at"), values, np.array(base_s, np.float64))


def _forecasts(workspace: Workspace) -> list[tuple[Any, ...]]:
    if not workspace.ops.exists():
        return []
    connection = connect_to_read(workspace.ops)
    try:
        rows = {
            _logged(row) for row in (*all_kept(connection), *connection.execute(statements("ops")["latest"]))
        }
        return sorted(rows, key=lambda row: (row[2], row[1], row[0]))
    finally:
        connection.close()


def _logged(row: KeptRow) -> tuple[str, str, int, bytes, float]:
    """Stop, route, instant, vector and prior."""
    said = orjson.loads(row[0])
    return said["stop_id"], said["route_id"], from_rfc3339(said["as_of"]), row[1], row[2]


def _history_of(workspace: Workspace) -> Frames:
    """The landed history that the log goes on from; nothing where the engine started empty."""
    origin = log_origin(workspace)
    if not origin.seq:
        return {}
    history = landed_history(workspace)
    found = Head(*history_end(history))
    if found != origin:
        raise WorkspaceError(
            f"the landed history has {found.seq:,} rows and the log goes on from {origin.seq:,}",
            where=str(workspace.landed),
            next_step="parity needs the landed batches that the engine took up, and no other",
        )
    return history


@dataclass(frozen=True, slots=True)
class _Retrieved:
    """Retrieved values in the rows of the logged vectors; ``known`` says which were found."""

    values: NDArray[np.float32]
    base_s: NDArray[np.float64]
    known: NDArray[np.bool_]


def _retrieved_again(scratch: Workspace, ordered: Frames, logged: LoggedVectors) -> _Retrieved:
    again = _Retrieved(
        np.full_like(logged.values, np.nan), np.full(len(logged), np.nan), np.zeros(len(logged), np.bool_)
    )
    store = open_store(scratch)
    moments = logged.rows.select("as_of_us", "route_id").unique(maintain_order=True)
    for start in range(0, len(moments), MOMENTS_AT_ONCE):
        asked = moments[start : start + MOMENTS_AT_ONCE]
        itinerary = itineraries(ordered, asked)
        if not len(itinerary):
            continue
        found = historical(store, entity_frame(itinerary))
        vectors = combine(itinerary, {name: found[name].to_numpy() for name in found.columns if "__" in name})
        rows = pl.DataFrame({"stop_id": vectors.stop_ids, "as_of_us": vectors.as_of_us}).with_row_index("row")
        pairs = logged.rows.join(rows, on=["stop_id", "as_of_us"])
        at, row = pairs["at"].to_numpy(), pairs["row"].to_numpy()
        again.values[at], again.base_s[at] = vectors.matrix[row], vectors.base_s[row]
        again.known[at] = True
    return again


def _judged(logged: LoggedVectors, again: _Retrieved, records: int) -> Parity:
    differs = logged.values.view(np.uint32) != again.values.view(np.uint32)
    base_differs = logged.base_s.view(np.uint64) != again.base_s.view(np.uint64)
    columns = {name: differs[:, place] for place, name in enumerate(FEATURE_NAMES)} | {BASE: base_differs}
    whole = again.known & ~differs.any(axis=1) & ~base_differs
    moments = logged.rows.select("as_of_us", "route_id").unique()
    return Parity(
        records=records,
        instants=len(moments),
        vectors=len(logged),
        identical=int(whole.sum()),
        absent=int((~again.known).sum()),
        differences=tuple(
            _difference(logged, again, name, np.flatnonzero(wrong & again.known))
            for name, wrong in columns.items()
            if (wrong & again.known).any()
        ),
    )


def _difference(
    logged: LoggedVectors, again: _Retrieved, feature: str, rows: NDArray[np.int64]
) -> Difference:
    first = int(rows[0])
    if feature == BASE:
        mine, other = logged.base_s[first], again.base_s[first]
    else:
        place = FEATURE_NAMES.index(feature)
        mine, other = logged.values[first, place], again.values[first, place]
    stop_id, _, as_of_us = logged.rows.drop("at").row(first)
    return Difference(
        feature=feature,
        vectors=len(rows),
        stop_id=stop_id,
        as_of_us=as_of_us,
        logged=float(mine),
        retrieved=float(other),
    )
