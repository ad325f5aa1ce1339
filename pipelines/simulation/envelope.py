"""How a message travels: its id, when it happened, when it was received, and whether it came twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.tables import TABLES
from pipelines.simulation.noise import Array, Noise, between
from pipelines.simulation.parameters import MessageParameters

Messages = dict[str, pa.Table]

_MICROS = pa.timestamp("us", tz="UTC")


class Envelope:
    """Gives each row of a table its two times; the fate of a row hangs on its slot alone."""

    def __init__(self, start: datetime, noise: Noise, parameters: MessageParameters) -> None:
        self.start, self.noise, self.parameters = start, noise, parameters

    def seal(
        self,
        table: str,
        columns: Mapping[str, Any],
        occurred_s: Array,
        slot: Array,
        slots: int,
        more_delay_s: float = 0.0,
        topic: str = "",
    ) -> pa.Table:
        """The rows of a canonical table in the order in which they are received, duplicates included.

        ``slot`` : (rows,) int below ``slots``, the same for a row whenever it is asked for; ``topic`` tells rows
        apart that share one.
        """
        p = self.parameters
        kind, late, again = (
            self.noise.uniform(f"{table}{topic} {f}", slots)[slot] for f in ("delay", "late", "twice")
        )
        received_s = occurred_s + more_delay_s + between(kind**2, p.delay_s)
        received_s += np.where(late < p.late_share, _exponential(late / p.late_share) * p.late_mean_s, 0.0)
        twice = np.flatnonzero(again < p.duplicate_share)
        later_s = received_s[twice] + 1 + 59 * again[twice] / p.duplicate_share
        row = np.concatenate([np.arange(len(slot)), twice])
        received_s = np.concatenate([received_s, later_s])
        order = np.argsort(received_s, kind="stable")
        times = {
            "occurred_at": timestamps(self.start, occurred_s[row[order]]),
            "received_at": timestamps(self.start, received_s[order]),
        }
        take = pa.array(row[order])
        return as_table(table, {**{name: pa.array(v).take(take) for name, v in columns.items()}, **times})


def as_table(table: str, columns: Mapping[str, Any]) -> pa.Table:
    """Columns as a canonical table; those that are not given are null."""
    schema = TABLES[table].arrow_schema()
    rows = len(columns["event_id"])
    arrays = [
        pa.array(columns[field.name]).cast(field.type)
        if field.name in columns
        else pa.nulls(rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def empty(table: str) -> pa.Table:
    return TABLES[table].arrow_schema().empty_table()


def timestamps(start: datetime, at_s: Array) -> pa.Array:
    """Seconds after ``start`` as UTC timestamps; null where infinite."""
    known = np.isfinite(at_s)
    micros = int(start.timestamp()) * 1_000_000 + np.rint(np.where(known, at_s, 0) * 1e6).astype(np.int64)
    return pa.array(micros, pa.int64(), mask=~known).cast(_MICROS)


def named(ids: Sequence[str], index: Array) -> pa.Array:
    """The ids at these places; null where the place is negative."""
    return pa.array(ids, pa.string()).take(pa.array(index, pa.int64(), mask=np.asarray(index) < 0))


def joined_id(*parts: pa.Array | str | Array) -> pa.Array:
    """Event ids such as ``P-20260105-03-00017``, from text and whole numbers."""
    return pc.binary_join_element_wise(*(_text(part) for part in parts), "-")


def _text(part: pa.Array | str | Array) -> pa.Array | pa.Scalar:
    if isinstance(part, np.ndarray):
        return pc.utf8_lpad(pa.array(part).cast(pa.string()), 2, "0")
    return pa.scalar(part) if isinstance(part, str) else part


def _exponential(uniform: Array) -> Array:
    return -np.log1p(-np.minimum(uniform, 1 - 1e-12))
