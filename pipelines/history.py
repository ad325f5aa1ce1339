"""From landed rows to feature versions: the history of a workspace, built and registered with Feast."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing import get_context

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.errors import WorkspaceError
from data_contracts.tables import TABLES
from data_contracts.workspace import Workspace
from features import feast_repo
from features.backfill import backfill, backfill_in_parts, in_log_order
from features.live import LiveFeatures
from features.version_files import write_versions
from pipelines.land import read_landed
from serving.engine.seed import HEAD_KEY

Say = Callable[[str], None]
Frames = Mapping[str, pl.DataFrame]
STATE_SCHEMA = pa.schema(
    [pa.field("view", pa.string()), pa.field("key", pa.string()), pa.field("body", pa.binary())]
)
ROUTE_STATE = "route"
#: From so many rows on, starting processes costs less than it gains.
ROWS_WORTH_A_POOL = 2_000_000
#: Parts are smaller than a process's share, so that none waits long for another.
PARTS_A_PROCESS = 2


def landed_history(workspace: Workspace) -> dict[str, pl.DataFrame]:
    """Every landed table in log order.

    Raises
    ------
    WorkspaceError
        when a required table has never been landed
    """
    frames = {table.name: read_landed(workspace, table).collect() for table in TABLES.values()}
    missing = [table.name for table in TABLES.values() if table.required and frames[table.name].is_empty()]
    if missing:
        raise WorkspaceError(
            f"has no landed {', '.join(missing)}",
            where=str(workspace.root),
            next_step="land a source with `punctual ingest`",
        )
    return in_log_order({name: frame for name, frame in frames.items() if not frame.is_empty()})


def build_features(
    workspace: Workspace,
    ordered: Frames,
    say: Say | None = None,
    *,
    processes: int | None = None,
    online: str | None = None,
) -> LiveFeatures:
    """Write every version of every view and register the views with Feast; give the state to go on from.

    A history of many rows is folded in parts, by as many processes as there are cores where nothing else is said.

    online : URL of a Redis server that takes the place of the workspace's own online store
    """
    tell = say or (lambda _: None)
    rows = sum(len(frame) for frame in ordered.values())
    processes = processes or (available_cores() if rows >= ROWS_WORTH_A_POOL else 1)
    if processes == 1:
        features = LiveFeatures()
        versions = backfill(ordered, features, tell)
        tell("feature versions")
        write_versions(workspace.features, versions)
    else:
        _, last_us = history_end(ordered)
        with folding_pool(processes) as pool:
            features = backfill_in_parts(
                ordered,
                workspace.features,
                pool,
                processes * PARTS_A_PROCESS,
                ends_us=last_us,
                progress=tell,
            )
    tell("Feast registry")
    feast_repo.apply(feast_repo.open_store(workspace, online=online))
    feast_repo.write_repo_file(workspace, online=online)
    return features


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def folding_pool(processes: int) -> Iterator[Executor]:
    """Processes that fold parts of a history; they are made from one that has imported what they need."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["features.folding"])
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield pool


def history_end(ordered: Frames) -> tuple[int, int]:
    """The last sequence number and instant of a history, zero where it is empty."""
    ends = [(frame["seq"].max(), frame["received_at"].max()) for frame in ordered.values() if len(frame)]
    return max(((int(seq), int(at)) for seq, at in ends), default=(0, 0))  # type: ignore[arg-type]


def materialize(workspace: Workspace, ordered: Frames, online: str | None = None) -> datetime:
    """Publish the last version of every entity to the online store; give the instant that it speaks of.

    online : URL of a Redis server that takes the place of the workspace's own store
    """
    _, last_us = history_end(ordered)
    until = datetime.fromtimestamp(last_us / 1e6, tz=UTC)
    feast_repo.materialize(feast_repo.open_store(workspace, online=online), until)
    return until


def write_state(workspace: Workspace, features: LiveFeatures, ordered: Frames) -> None:
    """Feature state, the routes of which something may still be heard, and where the history ends."""
    seq, last_us = history_end(ordered)
    rows = list(features.dump())
    routes = features.book.followed_at(last_us)
    rows += [(ROUTE_STATE, route_id, features.book.dump(route_id)) for route_id in routes]
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    schema = STATE_SCHEMA.with_metadata({HEAD_KEY: orjson.dumps([seq, last_us])})
    table = pa.table([pa.array(column) for column in columns], schema=schema)
    staged = workspace.state.with_suffix(".tmp")
    pq.write_table(table, staged)
    staged.replace(workspace.state)
