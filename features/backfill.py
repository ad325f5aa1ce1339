"""Feature versions of a whole history, and the state to go on from.

Rows of all tables are put in the order in which they became known; that order is the log's sequence.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import polars as pl

from data_contracts.tables import TABLES
from features.feed_folds import FEEDS, frame_columns
from features.live import Learned, LiveFeatures
from features.messages import Frames, messages
from features.online import Versions
from features.views import VIEWS


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


def backfill(
    ordered: Frames, features: LiveFeatures, progress: Callable[[str], None] | None = None
) -> dict[str, list[Versions]]:
    """Fold a history into ``features``; give every version of every view."""
    say = progress or (lambda _: None)
    learned = Learned()
    say("routes and stops")
    with no_collections():
        for told in messages(ordered):
            learned.hear(features.book, told)
    say("feeds")
    feeds = {name: frame_columns(name, ordered[name]) for name in FEEDS if name in ordered}
    versions: dict[str, list[Versions]] = {view.name: [] for view in VIEWS}
    for published in features.absorb(learned, feeds):
        versions[published.view.name].append(published)
    return versions


@contextmanager
def no_collections() -> Iterator[None]:
    """Many small things are made and kept: looking for cycles among them again and again finds none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
