"""Point-in-time joins from Parquet: for each entity row the last version that was known at its instant.

Of the versions of a row's key whose event timestamp is at most the row's, the one with the greatest event
timestamp is taken, among equal ones that with the greatest created timestamp; nothing where it is older than
the view's time to live (boundary included). The versions of a view that do not fit into the memory that is
given are joined in partitions of the entities, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_contracts.errors import WorkspaceError
from features.columns import Column, Shelf, column_on
from features.keys import in_order

Int = NDArray[np.int64]

# Columns of our own; a double underscore at the start is no name of a feature.
EVENT_US = "__event_us"
CREATED_US = "__created_us"
CODE = "__code"
NEVER_US = np.iinfo(np.int64).min
#: What sorting and joining a version costs beside its own columns, in bytes.
OVERHEAD_BYTES = 64
LARGEST_PLACE = 2**62
SIDE_BY_SIDE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOfJoin:
    """How one projection of a view is joined to the entity rows.

    ``keys`` maps columns of the source to columns of the entity rows, ``outputs`` features to their output
    names. ``ttl_us`` is None where versions stay valid for ever. With ``by_created`` a version counts only
    from its created timestamp on.
    """

    path: str
    keys: dict[str, str]
    outputs: dict[str, str]
    event_ts: str
    created: str | None
    ttl_us: int | None
    by_created: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """How much a retrieval may hold at once, and where it writes what does not fit."""

    limit_bytes: int
    folder: Path

    def shelf(self, rows: int, columns: int) -> Shelf:
        """In memory while all columns take less than half of the limit."""
        fits = rows * columns * 9 <= self.limit_bytes // 2
        return Shelf(rows, None if fits else self.folder)

    def partitions(self, join: AsOfJoin) -> int:
        """Over how many partitions of the entities a view's versions are spread."""
        wanted = {join.event_ts, join.created, *join.keys, *join.outputs}
        meta = pq.read_metadata(join.path)
        size = meta.num_rows * OVERHEAD_BYTES
        for group in range(meta.num_row_groups):
            chunks = (meta.row_group(group).column(place) for place in range(meta.num_columns))
            size += sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in wanted)
        return max(1, ceil(size / (self.limit_bytes / 2)))


@dataclass(slots=True)
class Moments:
    """Entity rows as joins see them: instants, and the keys numbered by their distinct values."""

    keys: pd.DataFrame
    as_of_us: Int
    by_instant: Int
    _numbered: dict[tuple[str, ...], tuple[pl.DataFrame, Int]] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: pd.DataFrame, event_ts: str, joins: Sequence[AsOfJoin]) -> Moments:
        """Take keys and instants of the entity rows; a naive time is UTC."""
        keys = sorted({key for join in joins for key in join.keys.values()})
        if missing := sorted(set(keys) - set(rows.columns)):
            raise WorkspaceError(
                f"the entity rows lack the join keys {', '.join(missing)}",
                where="get_historical_features",
                next_step="add these columns",
            )
        instants = pl.Series(pl.from_arrow(pa.Array.from_pandas(rows[event_ts])))
        as_of_us = instants.dt.epoch("us").fill_null(NEVER_US).to_numpy()
        return cls(rows[keys], as_of_us, np.argsort(as_of_us))

    def __len__(self) -> int:
        return len(self.as_of_us)

    def numbered(self, keys: tuple[str, ...]) -> tuple[pl.DataFrame, Int]:
        """Distinct values of some key columns, and for each row which of them it has; -1 where one is null."""
        if keys not in self._numbered:
            chosen = self.keys[list(keys)]
            codes, first = _distinct_rows(chosen)
            distinct = pa.Table.from_pandas(chosen.iloc[first], preserve_index=False)
            self._numbered[keys] = pl.DataFrame(pl.from_arrow(distinct)).with_row_index(CODE), codes
        return self._numbered[keys]


def _distinct_rows(keys: pd.DataFrame) -> tuple[Int, Int]:
    """Each row's number among the distinct ones, -1 where a key is null; and a row of each number."""
    (codes, _), *others = (pd.factorize(keys[name]) for name in keys.columns)
    for own, values in others:
        joint = np.where((codes < 0) | (own < 0), -1, codes * len(values) + own)
        codes, _ = pd.factorize(pd.Series(pd.arrays.IntegerArray(joint, joint < 0)))
    example = np.zeros(codes.max(initial=-1) + 2, np.int64)
    example[codes] = np.arange(len(codes))  # the rows without a number share the last place
    return codes, example[:-1]


def retrieve(moments: Moments, joins: Sequence[AsOfJoin], memory: Memory) -> dict[str, Column]:
    """Every feature of every join, in the order of the entity rows."""
    shelf = memory.shelf(len(moments), sum(len(join.outputs) for join in joins))
    partitions = [memory.partitions(join) for join in joins]
    # Views that fit are joined side by side: NumPy and Polars leave Python's lock while they sort and search.
    with ThreadPoolExecutor(SIDE_BY_SIDE if max(partitions, default=1) == 1 else 1) as pool:
        found = [
            pool.submit(_joined, moments, join, moments.numbered(tuple(join.keys.values())), shelf, parts)
            for join, parts in zip(joins, partitions, strict=True)
        ]
        return {name: column for columns in found for name, column in columns.result().items()}


def _joined(
    moments: Moments, join: AsOfJoin, numbered: tuple[pl.DataFrame, Int], shelf: Shelf, partitions: int
) -> dict[str, Column]:
    schema = pl.scan_parquet(join.path).collect_schema()
    columns = {
        to: column_on(shelf, f"{to}.{place}", schema[name])
        for place, (name, to) in enumerate(join.outputs.items())
    }
    distinct, codes = numbered
    asked = distinct.select(CODE, *_as_the_source_has_them(join, schema, distinct.schema))
    order = moments.by_instant[in_order(codes[moments.by_instant], len(distinct))]
    for part in range(partitions):
        rows = order[codes[order] % partitions == part] if partitions > 1 else order
        in_part = asked.filter(pl.col(CODE) % partitions == part)
        versions = _versions(moments, join, in_part, streaming=partitions > 1)
        _fill(columns, versions, moments.as_of_us[rows], codes[rows], rows, join)
    return columns


def _fill(
    columns: Mapping[str, Column],
    versions: pl.DataFrame,
    as_of_us: Int,
    codes: Int,
    rows: Int,
    join: AsOfJoin,
) -> None:
    """Set the features of some rows, whose instants and keys are given in the same order."""
    at = _last_known(versions, as_of_us, codes, join)
    found = np.flatnonzero(at >= 0)
    for name, to in join.outputs.items():
        columns[to].put(rows[found], versions[name], at[found])


def _as_the_source_has_them(join: AsOfJoin, source: pl.Schema, given: pl.Schema) -> Iterator[pl.Expr]:
    """Key columns under the source's names and types; a fraction matches no integer."""
    for column, key in join.keys.items():
        value = pl.col(key)
        if given[key].is_float() and source[column].is_integer():
            value = pl.when(value == value.floor()).then(value)
        yield value.cast(source[column], strict=False).alias(column)


def _versions(moments: Moments, join: AsOfJoin, asked: pl.DataFrame, *, streaming: bool) -> pl.DataFrame:
    """The versions that a row could take, of the entities that are asked for, in the file's order."""
    instants = moments.as_of_us[moments.as_of_us != NEVER_US]
    first_us, last_us = (int(instants.min()), int(instants.max())) if len(instants) else (1, 0)
    in_reach = pl.col(EVENT_US) <= last_us
    if join.ttl_us is not None:
        in_reach &= pl.col(EVENT_US) >= first_us - join.ttl_us
    created = pl.col(join.created).dt.epoch("us") if join.created else pl.lit(0, pl.Int64)
    return (
        pl.scan_parquet(join.path)
        .select(
            pl.col(join.event_ts).dt.epoch("us").alias(EVENT_US),
            created.fill_null(NEVER_US).alias(CREATED_US),
            *dict.fromkeys([*join.keys, *join.outputs]),
        )
        .filter(in_reach)
        .join(asked.lazy(), on=list(join.keys), how="inner", maintain_order="left")
        .collect(engine="streaming" if streaming else "auto")
    )


def _last_known(versions: pl.DataFrame, as_of_us: Int, codes: Int, join: AsOfJoin) -> Int:
    """Which version each row takes, -1 where none."""
    if versions.is_empty() or not len(codes):
        return np.full(len(codes), -1, np.int64)
    code = versions[CODE].to_numpy().astype(np.int64)
    event_us, created_us = versions[EVENT_US].to_numpy(), versions[CREATED_US].to_numpy()
    order = np.lexsort((created_us, event_us, code))
    known_us, best = event_us[order], order
    if join.by_created:
        known_us = np.maximum(event_us, created_us)[order]
        again = np.lexsort((known_us, code[order]))
        # Among what was known by then the latest event counts: places in ``order`` rise with it within a key.
        known_us, best = known_us[again], order[np.maximum.accumulate(again)]
    sorted_code = code[best]
    at = _search(sorted_code, known_us, codes, as_of_us)
    taken = best[at]
    usable = (at >= 0) & (sorted_code[at] == codes)
    if join.ttl_us is not None:
        usable &= event_us[taken] >= as_of_us - join.ttl_us
    return np.where(usable, taken, -1)


def _search(code: Int, known_us: Int, codes: Int, as_of_us: Int) -> Int:
    """The last place whose (code, instant) is at most the row's; -1 where there is none."""
    first_us = int(known_us.min())
    span = int(known_us.max()) - first_us + 2
    if (int(max(code[-1], codes.max())) + 1) * span < LARGEST_PLACE:
        place = code * span + (known_us - first_us)
        since = np.clip(as_of_us, first_us - 1, first_us + span - 2) - first_us
        return np.searchsorted(place, codes * span + since, side="right") - 1
    instants = np.unique(known_us)
    place = code * (len(instants) + 1) + np.searchsorted(instants, known_us)
    rank = np.searchsorted(instants, as_of_us, side="right") - 1
    return np.searchsorted(place, codes * (len(instants) + 1) + rank, side="right") - 1
