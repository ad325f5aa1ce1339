"""What of the past is kept, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What is kept of the log, and how often what is older is dropped.

    log_s : records younger than this stay, and their ``event_id`` is remembered: the horizon of idempotency
    archive : whether dropped records are written to ``archive/`` first
    """

    log_s: float = 7 * 86_400.0
    every_s: float = 6 * 3_600.0
    snapshots: int = 2
    archive: bool = True

    def __post_init__(self) -> None:
        if not (self.log_s > 0 and self.every_s > 0 and self.snapshots >= 1):
            raise ValueError("retention: log_s and every_s are over 0, and one snapshot at least is kept")
