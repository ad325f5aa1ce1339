"""Feature versions of a whole history, and the state to go on from.

Rows of all tables are put in the order in which they became known; that order is the log's sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.record import Record
from data_contracts.tables import TABLES
from features.live import FEED_COLUMNS, STRUCTURE, LiveFeatures, ProgressLog
from features.observations import Observation
from features.online import Versions
from features.views import KNOWN, VIEWS, View

RECORD_COLUMNS = ("seq", "received_at")

Frames = Mapping[str, pl.DataFrame]


def in_log_order(tables: Frames, first_seq: int = 1) -> dict[str, pl.DataFrame]:
    """Each table with its log sequence, times as integer microseconds, each event once."""
    order = {name: place for place, name in enumerate(TABLES)}
    stamped = {}
    for name, frame in tables.items():
        times = [column.name for column in TABLES[name].columns if column.dtype == "timestamp"]
        stamped[name] = (
            frame.with_columns(pl.col(times).dt.epoch("us"))
            .sort("received_at", "event_id")
            .unique("event_id", keep="first", maintain_order=True)
            .with_columns(pl.lit(order[name]).alias("table_order"))
        )
    keys = ["received_at", "table_order", "event_id"]
    if not stamped:
        return {}
    sequence = (
        pl.concat([frame.select(keys) for frame in stamped.values()])
        .sort(keys)
        .with_row_index("seq", offset=first_seq)
        .with_columns(pl.col("seq").cast(pl.Int64))
    )
    return {
        name: frame.with_columns(sequence.filter(pl.col("table_order") == order[name])["seq"]).drop(
            "table_order"
        )
        for name, frame in stamped.items()
    }


def records(ordered: Frames) -> Iterator[Record]:
    """The structural rows of a history as records, in log order."""
    rows: list[tuple[int, str, dict[str, Any]]] = []
    for name in STRUCTURE:
        if name in ordered:
            rows += [(row["seq"], name, row) for row in ordered[name].iter_rows(named=True)]
    rows.sort(key=lambda row: row[0])
    for seq, name, row in rows:
        yield Record(seq, row["received_at"], name, row)


def feed_columns(table: str, frame: pl.DataFrame) -> dict[str, Any]:
    """A feed's rows as the columns that the fold reads."""
    columns: dict[str, Any] = {name: frame[name].to_numpy() for name in RECORD_COLUMNS}
    for name, dtype in FEED_COLUMNS[table].items():
        if dtype is str:
            columns[name] = frame[name].to_list()
        else:
            columns[name] = frame[name].cast(pl.Int64 if dtype is np.int64 else pl.Float64).to_numpy()
    return columns


def backfill(
    ordered: Frames, features: LiveFeatures, progress: Callable[[str], None] | None = None
) -> dict[str, list[Versions]]:
    """Fold a history into ``features``; give every version of every view."""
    say = progress or (lambda _: None)
    observations: list[Observation] = []
    progressed = ProgressLog()
    say("routes and stops")
    for record in records(ordered):
        touched, learned = features.book.apply(record)
        observations += learned
        if touched:
            progressed.add(features.book, touched[0], record)
    say("feeds")
    feeds = {name: feed_columns(name, ordered[name]) for name in FEED_COLUMNS if name in ordered}
    versions: dict[str, list[Versions]] = {view.name: [] for view in VIEWS}
    for published in features.absorb(observations, progressed, feeds):
        versions[published.view.name].append(published)
    return versions


def version_table(view: View, versions: list[Versions]) -> pa.Table:
    """Versions of a view as the offline store keeps them."""
    known = np.concatenate([v.known_us for v in versions]) if versions else np.zeros(0, np.int64)
    created = np.concatenate([v.created_us for v in versions]) if versions else np.zeros(0, np.int64)
    values = (
        np.concatenate([v.values for v in versions]) if versions else np.zeros((0, len(view.fields)), "f4")
    )
    stamp = pa.timestamp("us", tz="UTC")
    columns = {
        view.entity: pa.array([key for v in versions for key in v.ids], pa.string()),
        "event_timestamp": pa.array(known, pa.int64()).cast(stamp),
        "created": pa.array(created, pa.int64()).cast(stamp),
        KNOWN: pa.array(known, pa.int64()),
    }
    for place, name in enumerate(view.field_names):
        columns[name] = pa.array(values[:, place], pa.float32())
    return pa.table(columns)


def write_versions(folder: Path, versions: Mapping[str, list[Versions]]) -> None:
    """One Parquet file a view; a file is replaced whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for view in VIEWS:
        target = folder / f"{view.name}.parquet"
        staged = target.with_suffix(".parquet.tmp")
        pq.write_table(version_table(view, versions.get(view.name, [])), staged)
        staged.replace(target)
