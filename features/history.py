"""History state: integer sums in time buckets, so that one large batch and many small ones give the same.

A backfill is one large batch from empty state, live work many small ones; both run ``RollingSums``.
Buckets are of the time at which an observation became known, which never runs backwards in a log. Of one key in
one bucket there is one cell; what a row finds is its own cell so far and the whole cells before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.keys import Keys
from features.newest import Newest

Int = NDArray[np.int64]
Float = NDArray[np.float64]
_NEVER_US = -(2**62)
LARGEST_PLACE = 2**62


class Bucketed(NamedTuple):
    """Sums of one key: of the newest bucket first, then of the ones before it."""

    bucket: int
    sums: tuple[int, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """``Bucketed`` of many keys: buckets (m,), sums and counts (m, count)."""

    buckets: Int
    sums: Int
    counts: Int

    def at(self, row: int) -> Bucketed:
        return Bucketed(
            int(self.buckets[row]), tuple(self.sums[row].tolist()), tuple(self.counts[row].tolist())
        )


@dataclass(frozen=True, slots=True)
class Fading:
    """A forgetting mean as each observation found it, and as it left it; (n,) float64 each.

    mean : sums in the unit asked for, 0 where there is nothing; weight : the faded count
    """

    before_mean: Float
    before_weight: Float
    mean: Float
    weight: Float


@dataclass(frozen=True, slots=True)
class _Cells:
    """Rows by key and then in log order, carried ones first, with the cells that they lie in.

    code, bucket, sums, counts : (m,) of each cell
    cell_of : (n,) where each row lies; value, weight : (n,) what it adds
    rows : places of the new observations; order : their places in the log
    """

    code: Int
    bucket: Int
    sums: Int
    counts: Int
    starts: Int
    cell_of: Int
    running_sum: Int
    running_count: Int
    rows: Int | slice
    order: Int

    def in_log_order(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of the new observations, given by key, in the order of the log."""
        found = np.empty_like(values)
        found[self.order] = values
        return found

    def before(self, back: int, count: int) -> tuple[NDArray[np.bool_], Int]:
        """Of cells from place ``back`` on: whether the cell so many places before is in reach, and how far."""
        apart = self.bucket[back:] - self.bucket[:-back]
        return (self.code[back:] == self.code[:-back]) & (apart < count), apart


@dataclass(slots=True)
class RollingSums:
    """Sums and counts by key over the last ``count`` buckets of ``width_us``."""

    width_us: int
    count: int
    state: Newest[Kept] = field(default_factory=Newest)

    def known(self, key: str) -> Bucketed | None:
        """What is remembered of a key."""
        found = self.state.get(key)
        return found[0].at(found[1]) if found else None

    def restore(self, key: str, known: Bucketed) -> None:
        kept = Kept(
            np.array([known.bucket], np.int64),
            np.array([known.sums], np.int64),
            np.array([known.counts], np.int64),
        )
        self.state.put_one(key, kept)

    def advance_means(
        self, keys: Keys, received_us: Int, values: Int, half_life: float, unit: float
    ) -> Fading:
        """Add observations in log order; a bucket's weight halves every ``half_life`` buckets.

        Parameters
        ----------
        keys : n, each of them known
        received_us : (n,) int64, not falling
        values : (n,) int64
        """
        cells = self._advance(keys, received_us, values)
        older_sum, older_count = _faded(cells, self.count, half_life)
        cell, rows = cells.cell_of[cells.rows], cells.rows
        start = cells.starts[cell]
        own_sum = cells.running_sum[1:][rows] - cells.running_sum[start]
        own_count = cells.running_count[1:][rows] - cells.running_count[start]
        top, bottom = older_sum[cell], older_count[cell]
        value = cells.running_sum[1:][rows] - cells.running_sum[:-1][rows]
        parts = (
            *_mean(top + (own_sum - value), bottom + (own_count - 1), unit),
            *_mean(top + own_sum, bottom + own_count, unit),
        )
        return Fading(*map(cells.in_log_order, parts))

    def advance_totals(self, keys: Keys, received_us: Int, values: Int) -> tuple[Int, Int]:
        """Add observations as ``advance_means`` does.

        Returns
        -------
        sums, counts : (n,) int64 over all buckets, the observation itself included
        """
        cells = self._advance(keys, received_us, values)
        first = np.arange(len(cells.code))
        for back in range(1, self.count):
            if back >= len(cells.code):
                break
            reaches, _ = cells.before(back, self.count)
            if not reaches.any():
                break
            first[back:] -= reaches
        start = cells.starts[first][cells.cell_of[cells.rows]]
        sums = cells.running_sum[1:][cells.rows] - cells.running_sum[start]
        counts = cells.running_count[1:][cells.rows] - cells.running_count[start]
        return cells.in_log_order(sums), cells.in_log_order(counts)

    def _advance(self, keys: Keys, received_us: Int, values: Int) -> _Cells:
        cells = _cells(keys, received_us // self.width_us, values, self._carried(keys))
        self._remember(cells, keys)
        return cells

    def _carried(self, keys: Keys) -> Int:
        """What is remembered of the keys: rows of code, bucket, sum and count, oldest first within a key."""
        if not len(self.state):
            return np.zeros((0, 4), np.int64)
        rows = [
            (code, known.bucket - back, known.sums[back], known.counts[back])
            for code in dict.fromkeys(keys.codes.tolist())
            if (known := self.known(keys.names[code])) is not None
            for back in range(self.count - 1, -1, -1)
            if known.counts[back]
        ]
        return np.array(rows, np.int64).reshape(-1, 4)

    def _remember(self, cells: _Cells, keys: Keys) -> None:
        """Keep the cells in reach of each key's last one."""
        if not len(cells.code):
            return
        last = np.flatnonzero(np.diff(cells.code, append=-1))
        sums, counts = (np.zeros((len(last), self.count), np.int64) for _ in range(2))
        for back in range(min(self.count, int(np.diff(last, prepend=-1).max()))):
            place = np.maximum(last - back, 0)
            apart = cells.bucket[last] - cells.bucket[place]
            reaches = np.flatnonzero(
                (cells.code[place] == cells.code[last]) & (apart < self.count) & (last >= back)
            )
            sums[reaches, apart[reaches]] = cells.sums[place[reaches]]
            counts[reaches, apart[reaches]] = cells.counts[place[reaches]]
        kept = Kept(cells.bucket[last], sums, counts)
        self.state.put(keys.names, cells.code[last], kept, np.arange(len(last)))


def _cells(keys: Keys, buckets: Int, values: Int, carried: Int) -> _Cells:
    order = keys.order()
    code, bucket, value = keys.codes[order], buckets[order], values[order]
    weight, rows, places = np.ones(len(code), np.int64), slice(None), order
    if len(carried):
        joined = np.argsort(np.concatenate([carried[:, 0], code]), kind="stable")
        code = np.concatenate([carried[:, 0], code])[joined]
        bucket = np.concatenate([carried[:, 1], bucket])[joined]
        value = np.concatenate([carried[:, 2], value])[joined]
        weight = np.concatenate([carried[:, 3], weight])[joined]
        rows = np.flatnonzero(joined >= len(carried))  # type: ignore[assignment]
    begins = np.ones(len(code), np.bool_)
    begins[1:] = (code[1:] != code[:-1]) | (bucket[1:] != bucket[:-1])
    starts = np.flatnonzero(begins)
    running_sum = np.concatenate([[0], np.cumsum(value)])
    running_count = np.concatenate([[0], np.cumsum(weight)])
    ends = np.append(starts[1:], len(code))
    return _Cells(
        code=code[starts],
        bucket=bucket[starts],
        sums=running_sum[ends] - running_sum[starts],
        counts=running_count[ends] - running_count[starts],
        starts=starts,
        cell_of=np.cumsum(begins) - 1,
        running_sum=running_sum,
        running_count=running_count,
        rows=rows,
        order=places,
    )


def _faded(cells: _Cells, count: int, half_life: float) -> tuple[Float, Float]:
    """Faded sum and count of the cells before each one, newest first."""
    fade = np.array(weights(count, half_life))
    sums, counts = np.zeros(len(cells.code)), np.zeros(len(cells.code))
    for back in range(1, min(count, len(cells.code))):
        reaches, apart = cells.before(back, count)
        at = np.flatnonzero(reaches)
        if not len(at):
            break
        weight = fade[apart[at]]
        sums[at + back] += weight * cells.sums[at]
        counts[at + back] += weight * cells.counts[at]
    return sums, counts


def _mean(top: Float, bottom: Float, unit: float) -> tuple[Float, Float]:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0) * unit, bottom


def weights(count: int, half_life: float) -> list[float]:
    """Weight of each bucket, newest first; it halves every ``half_life`` buckets."""
    return [0.5 ** (back / half_life) for back in range(count)]


def newest(keys: Keys, order_us: Int, latest: dict[str, int]) -> NDArray[np.bool_]:
    """Which rows, in log order, are as new as anything seen of their key; ``latest`` is carried on.

    A row that happened before another of the same key that is already known changes nothing.
    """
    fresh = np.zeros(len(keys), np.bool_)
    if not len(keys):
        return fresh
    used, _ = keys.last_rows()
    names = [keys.names[code] for code in used.tolist()]
    known = np.full(len(keys.names), _NEVER_US, np.int64)
    known[used] = [latest.get(name, _NEVER_US) for name in names] if latest else _NEVER_US
    order = keys.order()
    code, happened = keys.codes[order], order_us[order]
    fresh[order] = happened >= np.maximum(_running_max(code, happened), known[code])
    np.maximum.at(known, keys.codes, order_us)
    latest.update(zip(names, known[used].tolist(), strict=True))
    return fresh


def _running_max(code: Int, values: Int) -> Int:
    """Largest value so far of each key; rows lie by key."""
    lowest = int(values.min())
    span = int(values.max()) - lowest + 1
    if (int(code[-1]) + 1) * span >= LARGEST_PLACE:
        ranked, rank = np.unique(values, return_inverse=True)
        return ranked[_running_max(code, rank.astype(np.int64))]
    base = code * span
    return np.maximum.accumulate(base + (values - lowest)) - base + lowest
