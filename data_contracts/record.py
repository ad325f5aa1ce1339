"""A record of the log: one event in the order in which it became known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TICK = "tick"
MODEL = "model"
COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Record:
    """An event as every consumer sees it, live or in a backfill.

    ``type`` is a canonical table's name, or ``tick`` (the clock), ``model`` (a hand-over) or ``command`` (what an
    operator did). In ``body`` every timestamp is an integer: microseconds since the epoch, UTC.
    """

    seq: int
    received_us: int
    type: str
    body: Mapping[str, Any]
