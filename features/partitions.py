"""How a history is cut so that its parts can be folded apart: rows that share a key stay together.

Plans and stop events go by route, and routes that hand stops over to each other together; pings go by vehicle,
traffic by zone, weather by area, depots by depot; what was learned goes by everything that shares a key. Within a part
days follow each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from features import feed_folds
from features.keys import Keys
from features.lessons import Columns, zones_of
from features.local_time import DAY_US
from features.messages import STRUCTURE, columns_read
from features.observations import Departure, Door, Drive

Int = NDArray[np.int64]
Frames = Mapping[str, pl.DataFrame]
#: The entity of each feed.
ENTITY_OF_FEED = {"pings": "vehicle_id", "traffic": "zone_id", "weather": "area_id", "depots": "depot_id"}
#: A span of days is at least as many rows, so that folding it is worth its while.
ROWS_A_SPAN = 1_000_000
#: What joint keys are joined by.
JOINT = "|"


def by_route(ordered: Frames, parts: int) -> list[dict[str, pl.DataFrame]]:
    """Plans and stop events in parts that share no stop."""
    tables = {
        name: ordered[name].select(columns_read(name, ordered[name])) for name in STRUCTURE if name in ordered
    }
    if not tables:
        return []
    routes = pl.concat([frame.select("route_id") for frame in tables.values()]).unique(maintain_order=True)
    stops = tables["stops"].select("route_id", "stop_id").unique() if "stops" in tables else None
    together = routes.join(stops, on="route_id", how="left") if stops is not None else routes
    label = linked([Keys.of(together[name]) for name in together.columns])
    part_of = together.select("route_id", part=pl.Series(label % parts)).unique("route_id")
    cut = {
        name: frame.join(part_of, on="route_id", how="left", maintain_order="left")
        for name, frame in tables.items()
    }
    return [
        {name: frame.filter(pl.col("part") == part).drop("part") for name, frame in cut.items()}
        for part in range(parts)
    ]


def by_entity(table: str, frame: pl.DataFrame, parts: int) -> list[pl.DataFrame]:
    """A feed in parts that share no entity."""
    frame = frame.select(feed_folds.columns_read(table))
    if parts == 1:
        return [frame]
    part = pl.Series(Keys.of(frame[ENTITY_OF_FEED[table]]).codes % parts)
    return [frame.filter(part == each) for each in range(parts)]


def by_link(kind: type, learned: pl.DataFrame, parts: int) -> list[pl.DataFrame]:
    """What was learned of one kind, in parts that share nothing that it is remembered by."""
    if parts == 1 or not len(learned):
        return [learned]
    if kind is Departure:
        learned = learned.drop_nulls("depot_id")
    keys = _remembered_by(kind, {name: learned[name] for name in learned.columns})
    if any(JOINT in name for each in keys for name in each.names):
        return [learned]  # two places could have one joint name
    part = pl.Series(linked(keys) % parts)
    return [learned.filter(part == each) for each in range(parts)]


def _remembered_by(kind: type, columns: Columns) -> list[Keys]:
    """Keys of observations of which all their joint keys are made; every row has one of the first."""
    if kind is Departure:
        return [Keys.of(columns["depot_id"])]
    names = (
        ("area_id", "courier_id", "route_id", "site_id")
        if kind is Door
        else ("area_id", "courier_id", "route_id")
    )
    keys = [Keys.of(columns[name]) for name in names]
    return [*keys, *zones_of(columns)] if kind is Drive else keys


def linked(columns: Sequence[Keys]) -> Int:
    """A number for each row; rows that share a key have the same one.

    columns : every row has a key of the first; columns with one list of names share their keys
    """
    bases: dict[int, int] = {}
    size = 0
    for keys in columns:
        if id(keys.names) not in bases:
            bases[id(keys.names)], size = size, size + len(keys.names)
    first = columns[0].codes + bases[id(columns[0].names)]
    known = [keys.codes >= 0 for keys in columns]
    starts = np.concatenate([first[rows] for rows in known])
    ends = np.concatenate(
        [keys.codes[rows] + bases[id(keys.names)] for keys, rows in zip(columns, known, strict=True)]
    )
    graph = coo_array((np.ones(len(starts), np.bool_), (starts, ends)), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    return labels[first].astype(np.int64)


def spans(frames: Frames, rows_a_span: int = ROWS_A_SPAN) -> Iterator[dict[str, pl.DataFrame]]:
    """The same rows in runs of whole days, one after the other."""
    days = {name: frame["received_at"] // DAY_US for name, frame in frames.items()}
    counts = pl.concat([day.rename("day") for day in days.values()]).value_counts().sort("day")
    done = dict.fromkeys(frames, 0)
    gathered = 0
    for day, count in counts.iter_rows():
        gathered += count
        if gathered >= rows_a_span or day == counts["day"][-1]:
            ends = {name: int(days[name].search_sorted(day, side="right")) for name in frames}
            yield {name: frame[done[name] : ends[name]] for name, frame in frames.items()}
            done, gathered = ends, 0
