"""The event log: everything that happens, in the order in which it became known.

An event is on disk before its verdict is given. The instant of reception is stamped inside the append, so
that it never goes back and never lags the order of the log. A log goes on from the history that came before
it: its first record follows the history's last, in sequence and in time. What follows a tick was received
later than the tick, so that what a tick could know is what had been received by then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from data_contracts.record import TICK, Record
from serving.storage.database import connect, give_back, immediate, statements
from serving.times import wall_now_us

LOG_LAYOUT = 1
#: How long a log is left to others at least between two steps of a clean-up, and how much one step moves.
LEAST_REST_S = 0.02
PAGES_AT_ONCE = 256


class Clock(StrEnum):
    """Who says when an event was received."""

    WALL = "wall"
    """The server, as it appends."""
    LOG = "log"
    """The event itself: replays, demos and tests."""


class Verdict(StrEnum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to append; times in ``body`` are integer microseconds.

    ``received_us`` counts only under ``Clock.LOG``; without it the log's last instant stands. Records of the
    platform itself (ticks, hand-overs) need no ``event_id``.
    """

    type: str
    body: Mapping[str, Any]
    event_id: str | None = None
    received_us: int | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a log or history: the last sequence number and instant, zero while it is empty."""

    seq: int = 0
    received_us: int = 0


class Feed(NamedTuple):
    """A kind of record: how many there were, and when the last one was received."""

    type: str
    records: int
    received_us: int


class EventLog:
    """Append-only, idempotent by ``event_id``; any number of processes may append at once."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        now_us: Callable[[], int] = wall_now_us,
        *,
        history: Head | None = None,
    ) -> None:
        """Open a log; a new one goes on from the end of ``history``."""
        self.clock = Clock(clock)
        self._now_us = now_us
        self._sql = statements("log")
        self._connection = connect(path, synchronous="FULL", schema=self._sql["schema"], layout=LOG_LAYOUT)
        self._lock = threading.Lock()
        self.origin = self._begin(history or Head())

    def append(self, events: Sequence[NewEvent]) -> list[Verdict]:
        """Store the events in one transaction, on disk before the verdicts return."""
        with self._lock, immediate(self._connection) as tx:
            floor_us = self._floor_us()
            verdicts, feeds = [], dict[str, Feed]()
            for event in events:
                received_us = self._stamp(event, floor_us)
                row = (received_us, event.type, event.event_id, orjson.dumps(event.body))
                stored = tx.execute(self._sql["append"], row).rowcount == 1
                verdicts.append(Verdict.ACCEPTED if stored else Verdict.DUPLICATE)
                if stored:
                    floor_us = self._after(received_us, event.type)
                    known = feeds.get(event.type)
                    feeds[event.type] = Feed(event.type, 1 + (known.records if known else 0), received_us)
            tx.executemany(self._sql["note_feed"], feeds.values())
            return verdicts

    def read(self, after_seq: int, limit: int) -> list[Record]:
        """The next records in order, at most ``limit``."""
        with self._lock:
            rows = self._connection.execute(self._sql["read_after"], (after_seq, limit)).fetchall()
        return [
            Record(seq=seq, received_us=received_us, type=type_, body=orjson.loads(body))
            for seq, received_us, type_, body in rows
        ]

    def last(self) -> Head:
        with self._lock:
            return self._head()

    def cut(self) -> Head:
        """The last record that was dropped; zero while everything is kept."""
        with self._lock:
            row = self._connection.execute(self._sql["cut"]).fetchone()
        return Head(*row) if row else Head()

    def last_before(self, seq: int, before_us: int) -> Head | None:
        """The last record up to ``seq`` that was received before an instant; never the log's last one."""
        with self._lock:
            row = self._connection.execute(self._sql["last_before"], (seq, before_us)).fetchone()
        return Head(*row) if row else None

    def truncate(
        self, until: Head, records_at_once: int = 500, rest: Callable[[float], None] = time.sleep
    ) -> int:
        """Drop everything up to a record; how many.

        The transactions are short, and after each the log is left to others for as long as it took: whoever waits
        for it looks again only now and then, and would find it taken for ever.
        """
        with self._lock, immediate(self._connection) as tx:
            tx.execute(self._sql["save_cut"], (until.seq, until.received_us))
        dropped = 0
        while True:
            started_s = time.monotonic()
            with self._lock, immediate(self._connection) as tx:
                count = tx.execute(self._sql["drop_before_cut"], (records_at_once,)).rowcount
            dropped += count
            if count < records_at_once:
                return dropped
            rest(_rest_s(started_s))

    def give_back(self, rest: Callable[[float], None] = time.sleep) -> int:
        """Make the file smaller where much of it is free, in short steps; how many pages the disk was given back."""
        pages = 0
        while True:
            started_s = time.monotonic()
            with self._lock:
                given = give_back(self._connection, PAGES_AT_ONCE)
            pages += given
            if not given:
                return pages
            rest(_rest_s(started_s))

    def feeds(self) -> list[Feed]:
        """What every kind of record has brought so far."""
        with self._lock:
            return [Feed(*row) for row in self._connection.execute(self._sql["feeds"])]

    def now_us(self) -> int:
        """The present as this log's clock tells it; never before what was already received."""
        last_us = self.last().received_us
        return last_us if self.clock is Clock.LOG else max(self._now_us(), last_us)

    def close(self) -> None:
        self._connection.close()

    def _head(self) -> Head:
        row = self._connection.execute(self._sql["head"]).fetchone()
        return Head(*row[:2]) if row else self.origin

    def _begin(self, history: Head) -> Head:
        """Where this log goes on from; settled once, by whoever opens it first."""
        known = self._connection.execute(self._sql["origin"]).fetchone()
        if known is None and history.seq:
            with immediate(self._connection) as tx:
                if tx.execute(self._sql["save_origin"], (history.seq, history.received_us)).rowcount == 1:
                    tx.execute(self._sql["start_sequence"], (history.seq,))
            known = self._connection.execute(self._sql["origin"]).fetchone()
        return Head(*known) if known else Head()

    def _floor_us(self) -> int:
        """The earliest instant that the next record may bear."""
        row = self._connection.execute(self._sql["head"]).fetchone()
        return self._after(*row[1:]) if row else self.origin.received_us

    def _after(self, received_us: int, type_: str) -> int:
        strictly = self.clock is Clock.WALL or type_ == TICK
        return received_us + 1 if strictly else received_us

    def _stamp(self, event: NewEvent, floor_us: int) -> int:
        if self.clock is Clock.WALL:
            return max(self._now_us(), floor_us)
        return max(event.received_us if event.received_us is not None else floor_us, floor_us)


def _rest_s(started_s: float) -> float:
    return max(LEAST_REST_S, time.monotonic() - started_s)
