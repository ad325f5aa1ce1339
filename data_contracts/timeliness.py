"""How late the rows of a batch came, and which of its feeds had fallen silent by its end.

Late rows are normal input: they are landed like any other, since what was received late still teaches, and what
may be used at an instant is decided by ``received_at`` alone. Lateness and silence are told, not punished.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.contract import Table


def count_late(table: Table, rows: pa.Table) -> int:
    """Rows that were received more than the allowed lateness after they occurred."""
    lateness_us = pc.subtract(_ticks(rows, "received_at"), _ticks(rows, "occurred_at"))
    allowed_us = round(table.allowed_lateness.total_seconds() * 1_000_000)
    return pc.sum(pc.greater(lateness_us, allowed_us)).as_py() or 0


def newest_received_at(rows: pa.Table) -> datetime | None:
    """When the last of the rows was received; None where there are none."""
    return pc.max(rows["received_at"]).as_py()


def silent_s(rows: pa.Table, batch: Iterable[pa.Table]) -> float | None:
    """Seconds from a table's last row to the last row of its whole batch; None where either has none."""
    newest = newest_received_at(rows)
    last = max((at for each in batch if (at := newest_received_at(each)) is not None), default=None)
    return None if newest is None or last is None else (last - newest).total_seconds()


def is_stale(table: Table, silent_for_s: float | None) -> bool:
    """Whether a feed had been silent for longer than its contract's freshness."""
    limit = table.freshness
    return limit is not None and silent_for_s is not None and silent_for_s > limit.total_seconds()


def _ticks(rows: pa.Table, name: str) -> pa.ChunkedArray:
    return rows[name].cast(pa.int64())
