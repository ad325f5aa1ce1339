"""History state: integer sums in time buckets, so that one large batch and many small ones give the same.

A backfill is one large batch from empty state, live work many small ones; both run ``RollingSums.advance``.
Buckets are of the time at which an observation became known, which never runs backwards in a log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Int = NDArray[np.int64]
Float = NDArray[np.float64]
K = TypeVar("K")
_NEVER_US = -(2**62)
#: From so many keys on, a hash table in C is quicker than a dictionary.
MANY = 2_000


class Bucketed(NamedTuple):
    """Sums of one key: of the newest bucket first, then of the ones before it."""

    bucket: int
    sums: tuple[int, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Windows:
    """What each observation found, and what it left.

    before_sums, before_counts, sums, counts : lists of ``count`` arrays (n,), newest bucket first
    """

    before_sums: list[Int]
    before_counts: list[Int]
    sums: list[Int]
    counts: list[Int]


@dataclass(frozen=True, slots=True)
class _Timeline:
    """Carried sums and new observations by key and bucket, with what can be read off them.

    place : (m,) rises with key and bucket; first_of_key : (m,) where each row's key begins
    total, tally : (m + 1,) running sums and counts
    rows : (n,) places of the new observations; in_log_order : (n,) brings them back to it
    """

    place: Int
    first_of_key: Int
    total: Int
    tally: Int
    rows: Int
    in_log_order: Int

    def windows(self, count: int, rows: Int) -> Windows:
        """Sums and counts bucket by bucket, of some rows in their order."""
        starts = [self._start(rows, back) for back in range(count)]
        ends = [rows, *starts[:-1]]

        def parts(running: Int, newest: int) -> list[Int]:
            found = [running[end] - running[start] for start, end in zip(starts, ends, strict=True)]
            found[0] = running[rows + newest] - running[starts[0]]
            return found

        return Windows(parts(self.total, 0), parts(self.tally, 0), parts(self.total, 1), parts(self.tally, 1))

    def totals(self, count: int) -> tuple[Int, Int]:
        """Sums and counts over all buckets at once, of every row in log order."""
        start, end = self._start(self.rows, count - 1), self.rows + 1
        sums, counts = self.total[end] - self.total[start], self.tally[end] - self.tally[start]
        return sums[self.in_log_order], counts[self.in_log_order]

    def _start(self, rows: Int, back: int) -> Int:
        """Where the bucket so many before a row's own begins."""
        return np.maximum(
            self.first_of_key[rows], np.searchsorted(self.place, self.place[rows] - back, side="left")
        )


@dataclass(slots=True)
class RollingSums:
    """Sums and counts by key over the last ``count`` buckets of ``width_us``."""

    width_us: int
    count: int
    state: dict[str, Bucketed] = field(default_factory=dict)

    def advance(self, keys: Sequence[str], received_us: Int, values: Int) -> Windows:
        """Add observations in log order.

        Parameters
        ----------
        keys : n strings
        received_us : (n,) int64, not falling
        values : (n,) int64
        """
        codes, uniques = factorize(keys)
        timeline = self._timeline(codes, uniques, received_us, values)
        found = timeline.windows(self.count, timeline.rows)
        order = timeline.in_log_order
        result = Windows(
            *([part[order] for part in parts] for parts in (found.before_sums, found.before_counts)),
            *([part[order] for part in parts] for parts in (found.sums, found.counts)),
        )
        self._remember(timeline, codes, uniques, received_us)
        return result

    def advance_totals(
        self, codes: Int, uniques: list[str], received_us: Int, values: Int
    ) -> tuple[Int, Int]:
        """Add observations as ``advance`` does, keys as ``factorize`` gives them; only whole sums and counts.

        Returns
        -------
        sums, counts : (n,) int64 over all buckets, the observation itself included
        """
        timeline = self._timeline(codes, uniques, received_us, values)
        result = timeline.totals(self.count)
        self._remember(timeline, codes, uniques, received_us)
        return result

    def _timeline(self, codes: Int, uniques: Sequence[str], received_us: Int, values: Int) -> _Timeline:
        n, carried = len(codes), self._carried(uniques)
        code = np.concatenate([carried[0], codes])
        bucket = np.concatenate([carried[1], received_us // self.width_us])
        value = np.concatenate([carried[2], values])
        weight = np.concatenate([carried[3], np.ones(n, np.int64)])
        order = np.argsort(code, kind="stable")
        code, bucket = code[order], bucket[order]
        lowest = int(bucket.min()) if n else 0
        span = (int(bucket.max()) - lowest if n else 0) + self.count + 1
        rows = np.flatnonzero(order >= len(carried[0]))
        begins = np.flatnonzero(np.diff(code, prepend=-1))
        return _Timeline(
            place=code * span + (bucket - lowest),
            first_of_key=np.repeat(begins, np.diff(begins, append=len(code))),
            total=np.concatenate([[0], np.cumsum(value[order])]),
            tally=np.concatenate([[0], np.cumsum(weight[order])]),
            rows=rows,
            in_log_order=np.argsort(order[rows], kind="stable"),
        )

    def _carried(self, keys: Sequence[str]) -> tuple[Int, Int, Int, Int]:
        rows = [
            (code, known.bucket - back, known.sums[back], known.counts[back])
            for code, key in enumerate(keys)
            if (known := self.state.get(key)) is not None
            for back in range(self.count - 1, -1, -1)
            if known.counts[back]
        ]
        table = np.array(rows, dtype=np.int64).reshape(-1, 4)
        return table[:, 0], table[:, 1], table[:, 2], table[:, 3]

    def _remember(self, timeline: _Timeline, codes: Int, keys: Sequence[str], received_us: Int) -> None:
        """Keep the windows of each key's last observation."""
        if not keys:
            return
        last = np.zeros(len(keys), np.int64)
        last[codes] = np.arange(len(codes))
        windows = timeline.windows(self.count, timeline.rows[timeline.in_log_order[last]])
        buckets = (received_us[last] // self.width_us).tolist()
        sums = np.stack(windows.sums, axis=1).tolist()
        counts = np.stack(windows.counts, axis=1).tolist()
        for key, bucket, key_sums, key_counts in zip(keys, buckets, sums, counts, strict=True):
            self.state[key] = Bucketed(bucket, tuple(key_sums), tuple(key_counts))


def weights(count: int, half_life: float) -> list[float]:
    """Weight of each bucket, newest first; it halves every ``half_life`` buckets."""
    return [0.5 ** (back / half_life) for back in range(count)]


def fading_mean(
    sums: list[Int], counts: list[Int], fade: Iterable[float], unit: float
) -> tuple[Float, Float]:
    """Weighted mean and weight of bucketed sums.

    Returns
    -------
    mean : (n,) float64, ``sums * unit`` per observation; 0 where there is none
    weight : (n,) float64, faded count
    """
    top = np.zeros(len(sums[0]))
    bottom = np.zeros(len(sums[0]))
    for weight, part, count in zip(fade, sums, counts, strict=True):
        top += weight * part
        bottom += weight * count
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0) * unit, bottom


def newest(keys: Sequence[str], order_us: Int, latest: dict[str, int]) -> NDArray[np.bool_]:
    """Which rows, in log order, are as new as anything seen of their key; ``latest`` is carried on.

    A row that happened before another of the same key that is already known changes nothing.
    """
    if not len(keys):
        return np.zeros(0, np.bool_)
    codes, uniques = factorize(keys)
    known = np.array([latest.get(key, _NEVER_US) for key in uniques], np.int64)
    _, rank = np.unique(np.concatenate([order_us, known]), return_inverse=True)
    row_rank, known_rank = rank[: len(keys)], rank[len(keys) :]
    order = np.argsort(codes, kind="stable")
    place = codes[order] * (len(rank) + 1) + row_rank[order]
    floor = codes[order] * (len(rank) + 1) + known_rank[codes[order]]
    fresh = np.zeros(len(keys), np.bool_)
    fresh[order] = (place >= np.maximum.accumulate(place)) & (place >= floor)
    top = known.copy()
    np.maximum.at(top, codes, order_us)
    latest.update(zip(uniques, top.tolist(), strict=True))
    return fresh


def factorize(keys: Sequence[K]) -> tuple[Int, list[K]]:
    """Codes of keys by first appearance, and the keys themselves."""
    if len(keys) >= MANY and isinstance(keys[0], str) and None not in keys:
        numbers, uniques = pd.factorize(np.array(keys, object))
        return numbers.astype(np.int64), uniques.tolist()
    codes: dict[K, int] = {}
    numbered = [codes.setdefault(key, len(codes)) for key in keys]
    return np.array(numbered, np.int64), list(codes)
