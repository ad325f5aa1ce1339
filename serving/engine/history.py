"""The history of forecasts: packed in the order of time, and forgotten from the oldest on.

What was told to somebody (an alert, a new window) lies apart from what only passed, and is kept longer. Each kind is
bounded by time and by size, so that a workspace at work stays as large as it is: the pages of what is forgotten are
used again. What is kept at the end of a micro-batch depends on the log alone, not on how it was cut.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import orjson

from serving.engine.packing import KeptRow, pack, unpack
from serving.storage.database import statements
from serving.times import US

ROWS_A_BLOCK = 32
#: What finding a forecast by its stop costs beside the forecast.
PLACE_BYTES = 48
PASSING, TOLD = 0, 1
DAY_S = 86_400.0
_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLimits:
    """How long, and how much, is kept: of forecasts in passing, and of those that somebody was told of."""

    passing_s: float = 7 * DAY_S
    passing_bytes: int = 2 * 1024**3
    told_s: float = 90 * DAY_S
    told_bytes: int = 4 * 1024**3

    def of(self, kind: int) -> tuple[float, int]:
        return (self.told_s, self.told_bytes) if kind == TOLD else (self.passing_s, self.passing_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptNow:
    """A forecast that goes into the history.

    start_us, end_us : its window of the stated ``coverage``
    shift : what the live calibration moved it by; as long for every forecast of one instant
    """

    stop_id: str
    as_of_us: int
    is_told: bool
    start_us: int
    end_us: int
    coverage: float
    shift: bytes
    row: KeptRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What is kept of one kind; ``since_us`` is None while nothing is."""

    since_us: int | None = None
    size_bytes: int = 0


class HistoryWriter:
    """Writes and forgets within the engine's transactions."""

    def __init__(self, limits: HistoryLimits) -> None:
        self._limits, self._sql = limits, statements("history")
        self._bytes: dict[int, int] | None = None

    def write(self, connection: sqlite3.Connection, kept: Iterable[KeptNow], swept_us: int | None) -> None:
        """Add forecasts; ``swept_us`` is the tick at which what is too old is forgotten, if there was one."""
        if self._bytes is None:
            self._bytes = {PASSING: 0, TOLD: 0} | dict(connection.execute(self._sql["totals"]))
        ordered = sorted(kept, key=lambda each: (each.as_of_us, each.is_told))
        for _, together in groupby(ordered, key=lambda each: (each.as_of_us, each.is_told)):
            rows = list(together)
            for at in range(0, len(rows), ROWS_A_BLOCK):
                self._bytes[int(rows[0].is_told)] += self._add(connection, rows[at : at + ROWS_A_BLOCK])
        for kind, held in self._bytes.items():
            longest_s, most_bytes = self._limits.of(kind)
            before_us = 0 if swept_us is None else swept_us - int(longest_s * US)
            self._bytes[kind] = self._forget(connection, kind, before_us, held, most_bytes)

    def _add(self, connection: sqlite3.Connection, rows: Sequence[KeptNow]) -> int:
        first, packed = rows[0], pack([each.row for each in rows])
        shifts = b"".join(each.shift for each in rows) if first.is_told else None
        size = len(packed) + len(shifts or b"") + PLACE_BYTES * len(rows)
        block = connection.execute(
            self._sql["save_block"], (first.is_told, first.as_of_us, size, first.coverage, shifts, packed)
        ).lastrowid
        places = (
            (each.stop_id, each.as_of_us, block, place, each.start_us, each.end_us)
            for place, each in enumerate(rows)
        )
        connection.executemany(self._sql["save_place"], places)
        return size

    def _forget(
        self, connection: sqlite3.Connection, kind: int, before_us: int, held: int, most_bytes: int
    ) -> int:
        """Forget blocks, the oldest first, until what is left is young and small enough; give its size."""
        if held <= most_bytes and not before_us:
            return held
        while oldest := connection.execute(self._sql["oldest"], (kind, _AT_ONCE)).fetchall():
            for block, as_of_us, size, packed in oldest:
                if as_of_us >= before_us and held <= most_bytes:
                    return held
                keys = ((orjson.loads(body)["stop_id"], as_of_us) for body, *_ in unpack(packed))
                connection.executemany(self._sql["forget_place"], keys)
                connection.execute(self._sql["forget_block"], (block,))
                held -= size
        return held


def history_of(connection: sqlite3.Connection, stop_id: str, limit: int) -> list[bytes]:
    """Kept forecasts of a stop as they were served, the newest first."""
    found = connection.execute(statements("history")["of_stop"], (stop_id, limit))
    return [unpack(packed)[place][0] for packed, place in found]


def kept_at(
    connection: sqlite3.Connection, prediction_id: str, as_of_us: int
) -> tuple[KeptRow, bytes | None] | None:
    """A forecast of an instant by its id, with the shift of its calibration where that is kept with it."""
    for packed, shifts in connection.execute(statements("history")["of_instant"], (as_of_us,)):
        rows = unpack(packed)
        for place, row in enumerate(rows):
            if orjson.loads(row[0])["prediction_id"] == prediction_id:
                return row, None if shifts is None else _share(shifts, place, len(rows))
    return None


def _share(together: bytes, place: int, places: int) -> bytes:
    each = len(together) // places
    return together[place * each : (place + 1) * each]


def all_kept(connection: sqlite3.Connection) -> Iterator[KeptRow]:
    """Everything, in the order in which it was kept."""
    for (packed,) in connection.execute(statements("history")["everything"]):
        yield from unpack(packed)


def spans(connection: sqlite3.Connection) -> Mapping[int, Span]:
    """What is kept of each kind."""
    found = connection.execute(statements("history")["spans"])
    return {PASSING: Span(), TOLD: Span()} | {
        kind: Span(since_us=since_us, size_bytes=size) for kind, since_us, size in found
    }
