"""The online store: the latest version of every entity of every view, read and written without Feast.

One row holds one version, packed: event timestamp and created timestamp in microseconds (int64), then the
view's fields (float32), all little-endian. The row's key carries the view's schema hash, so that an old and a
new model read side by side. A write that is not newer than what is stored is refused, whoever writes; age is
enforced on read.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from features.keys import Keys
from features.views import View, microseconds

CREATE = """
CREATE TABLE IF NOT EXISTS vectors (
    view TEXT NOT NULL,
    schema_hash TEXT NOT NULL,
    entity TEXT NOT NULL,
    event_ts_us INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    packed BLOB NOT NULL,
    PRIMARY KEY (entity, view, schema_hash)
) WITHOUT ROWID
"""
PUBLISH = """
INSERT INTO vectors (view, schema_hash, entity, event_ts_us, created_us, packed) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (view, schema_hash, entity) DO UPDATE
SET event_ts_us = excluded.event_ts_us, created_us = excluded.created_us, packed = excluded.packed
WHERE (excluded.event_ts_us, excluded.created_us) > (vectors.event_ts_us, vectors.created_us)
"""
READ = """
SELECT wanted.key, stored.packed FROM json_each(?) AS wanted CROSS JOIN vectors AS stored
WHERE stored.entity = wanted.value AND stored.view = ? AND stored.schema_hash = ?
"""
READ_ENTITIES = """
SELECT wanted.key, stored.view, stored.schema_hash, stored.packed
FROM json_each(?) AS wanted CROSS JOIN vectors AS stored WHERE stored.entity = wanted.value
"""
FORGET = "DELETE FROM vectors WHERE view = ?"
HAS_TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'vectors'"
PRAGMAS = (
    "PRAGMA busy_timeout = 30000",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA cache_size = -65536",
    "PRAGMA mmap_size = 1073741824",
)

#: ``known_us`` of an entity whose values cannot be used.
NOT_KNOWN_US = -1


class Status(IntEnum):
    """Why a row holds values, or why it does not."""

    PRESENT = 0
    MISSING = 1
    EXPIRED = 2
    FUTURE = 3


_PRESENT, _MISSING = int(Status.PRESENT), int(Status.MISSING)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineRows:
    """What was known of some entities at an instant, in the order in which they were asked for.

    values : (n, k) float32 in the view's field order, NaN where ``status`` is not PRESENT
    known_us : (n,) int64, microseconds since the epoch, NOT_KNOWN_US where ``status`` is not PRESENT
    status : (n,) int8, a ``Status`` each
    """

    values: npt.NDArray[np.float32]
    known_us: npt.NDArray[np.int64]
    status: npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Versions of one view to publish.

    ids : n entity keys
    values : (n, k) float32 in the view's field order
    known_us, created_us : (n,) int64, the version: when it became known, and the log sequence
    """

    view: View
    ids: Sequence[str]
    values: npt.NDArray[np.float32]
    known_us: npt.NDArray[np.int64]
    created_us: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        expected = (len(self.ids), len(self.view.fields))
        if self.values.shape != expected or self.values.dtype != np.float32:
            raise ValueError(
                f"{self.view.name}: values are {self.values.dtype} {self.values.shape}, "
                f"{expected[0]} ids of a view with {expected[1]} fields need float32 {expected}"
            )
        if len(self.known_us) != expected[0] or len(self.created_us) != expected[0]:
            raise ValueError(f"{self.view.name}: known_us and created_us must have one entry for each id")

    def take(self, rows: npt.NDArray[np.intp]) -> Versions:
        """Some of the versions, by their rows."""
        ids = self.ids.take(rows) if isinstance(self.ids, Keys) else [self.ids[row] for row in rows.tolist()]
        return Versions(
            view=self.view,
            ids=ids,
            values=self.values[rows],
            known_us=self.known_us[rows],
            created_us=self.created_us[rows],
        )


def packed_dtype(view: View) -> np.dtype[np.void]:
    """The bytes of one version."""
    return np.dtype([("event_ts_us", "<i8"), ("created_us", "<i8"), ("values", "<f4", (len(view.fields),))])


def pack(versions: Versions) -> list[bytes]:
    rows = np.empty(len(versions.ids), packed_dtype(versions.view))
    rows["event_ts_us"] = versions.known_us
    rows["created_us"] = versions.created_us
    rows["values"] = versions.values
    data, size = rows.tobytes(), rows.itemsize
    return [data[start : start + size] for start in range(0, len(data), size)]


def unpack(view: View, packed: Iterable[bytes]) -> npt.NDArray[np.void]:
    return np.frombuffer(b"".join(packed), packed_dtype(view))


def connect(path: Path) -> sqlite3.Connection:
    """Open the store, making it first where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30.0)
    for pragma in PRAGMAS:
        connection.execute(pragma)
    if connection.execute(HAS_TABLE).fetchone() is None:
        connection.execute(CREATE)
    return connection


class OnlineReader:
    """Reads versions as of an instant; a store that nobody has written yet holds nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def read(self, view: View, ids: Sequence[str | None], as_of_us: int) -> OnlineRows:
        """Return what can be used at ``as_of_us``; an id that is None matches nothing."""
        return _placed(view, self._fetch(view, ids), len(ids), as_of_us)

    def take(self, ids: Iterable[str | None]) -> Taken:
        """Everything that is stored of some entities, in every view, as it stood at one moment of the store."""
        wanted = [key for key in dict.fromkeys(ids) if key is not None]
        stored: dict[tuple[str, str], dict[str, bytes]] = defaultdict(dict)
        for at, name, schema_hash, packed in self._rows(READ_ENTITIES, (json.dumps(wanted),)):
            stored[name, schema_hash][wanted[at]] = packed
        return Taken(stored)

    def read_views(self, views: Sequence[View], ids: Sequence[str | None], as_of_us: int) -> list[OnlineRows]:
        """What ``read`` gives of each view, as it stood at one moment of the store."""
        found: dict[tuple[str, str], list[tuple[int, bytes]]] = defaultdict(list)
        for at, name, schema_hash, packed in self._rows(READ_ENTITIES, (json.dumps(list(ids)),)):
            found[name, schema_hash].append((at, packed))
        return [_placed(view, found[view.name, view.schema_hash], len(ids), as_of_us) for view in views]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _fetch(self, view: View, ids: Sequence[str | None]) -> list[tuple[int, bytes]]:
        return self._rows(READ, (json.dumps(list(ids)), view.name, view.schema_hash))

    def _rows(self, query: str, asked: tuple[str, ...]) -> list[Any]:
        if self._connection is None and not self._path.exists():
            return []
        with self._lock:
            self._connection = self._connection or connect(self._path)
            return self._connection.execute(query, asked).fetchall()


@dataclass(frozen=True, slots=True)
class Taken:
    """What one read of the store found: (view, schema hash) -> entity -> packed version."""

    stored: dict[tuple[str, str], dict[str, bytes]]

    def read(self, view: View, ids: Sequence[str | None], as_of_us: int) -> OnlineRows:
        """Like ``OnlineReader.read``, for entities that were taken."""
        packed = self.stored.get((view.name, view.schema_hash), {})
        found = [(at, packed[key]) for at, key in enumerate(ids) if key is not None and key in packed]
        return _placed(view, found, len(ids), as_of_us)


def _placed(view: View, found: Sequence[tuple[int, bytes]], n: int, as_of_us: int) -> OnlineRows:
    rows = unpack(view, [packed for _, packed in found])
    return rows_as_of(view, n, np.array([at for at, _ in found], np.intp), rows, as_of_us)


def rows_as_of(
    view: View, n: int, at: npt.NDArray[np.intp], stored: npt.NDArray[np.void], as_of_us: int
) -> OnlineRows:
    """Place stored versions at their positions and blank those that cannot be used at ``as_of_us``."""
    return placed(view, n, at, stored["event_ts_us"], stored["values"], as_of_us)


def placed(
    view: View,
    n: int,
    at: npt.NDArray[np.intp],
    event_ts_us: npt.NDArray[np.int64],
    found: npt.NDArray[np.float32],
    as_of_us: int,
) -> OnlineRows:
    """Rows of n entities, of which those ``at`` some positions have a version."""
    values = np.full((n, len(view.fields)), np.nan, np.float32)
    known_us = np.full(n, NOT_KNOWN_US, np.int64)
    status = np.full(n, _MISSING, np.int8)
    if not len(at):
        return OnlineRows(values=values, known_us=known_us, status=status)
    age_us = as_of_us - event_ts_us
    expired, future = age_us > microseconds(view.ttl), age_us < 0
    usable = ~(expired | future)
    if usable.all():
        values[at], known_us[at], status[at] = found, event_ts_us, _PRESENT
        return OnlineRows(values=values, known_us=known_us, status=status)
    status[at] = np.select([expired, future], [Status.EXPIRED, Status.FUTURE], Status.PRESENT)
    values[at[usable]] = found[usable]
    known_us[at[usable]] = event_ts_us[usable]
    return OnlineRows(values=values, known_us=known_us, status=status)


class OnlineWriter:
    """Publishes versions; any number of writers and processes may do so at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def publish(self, versions: Versions) -> int:
        """Publish one view's versions; see ``publish_all``."""
        return self.publish_all([versions])

    def publish_all(self, batches: Iterable[Versions]) -> int:
        """Store, in one transaction, each version that is newer than the stored one; return how many were."""
        rows = [row for versions in batches for row in _rows(versions)]
        with self._transaction() as cursor:
            return cursor.executemany(PUBLISH, rows).rowcount if rows else 0

    def forget(self, view_names: Iterable[str]) -> None:
        """Delete every version of the named views, of any schema."""
        with self._transaction() as cursor:
            cursor.executemany(FORGET, [(name,) for name in view_names])

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        with self._lock:
            self._connection = self._connection or connect(self._path)
            cursor = self._connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it already
                    cursor.execute("ROLLBACK")
                raise


def _rows(versions: Versions) -> Iterator[tuple[str, str, str, int, int, bytes]]:
    name, schema_hash = versions.view.name, versions.view.schema_hash
    known_us, created_us = versions.known_us.tolist(), versions.created_us.tolist()
    for entity, known, created, packed in zip(
        versions.ids, known_us, created_us, pack(versions), strict=True
    ):
        yield name, schema_hash, entity, known, created, packed
