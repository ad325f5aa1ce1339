"""What of the past is kept, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from serving.engine.history import HistoryLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What is kept of the log and of forecasts, and how often what is older of the log is dropped.

    log_s : records younger than this stay, and their ``event_id`` is remembered: the horizon of idempotency
    snapshot_s : a snapshot of the engine's state that is younger than this is good enough to cut behind
    archive : whether dropped records are written to ``archive/`` first
    forecasts_s, forecasts_bytes : how long, and how much, forecasts are kept that only passed
    told_s, told_bytes : the same for those that somebody was told of, by an alert or a new window
    """

    log_s: float = 7 * 86_400.0
    every_s: float = 3_600.0
    snapshots: int = 2
    snapshot_s: float = 6 * 3_600.0
    archive: bool = True
    forecasts_s: float = HistoryLimits().passing_s
    forecasts_bytes: int = HistoryLimits().passing_bytes
    told_s: float = HistoryLimits().told_s
    told_bytes: int = HistoryLimits().told_bytes

    def __post_init__(self) -> None:
        if not (self.log_s > 0 and self.every_s > 0 and self.snapshots >= 1):
            raise ValueError("retention: log_s and every_s are over 0, and one snapshot at least is kept")
        if not min(self.forecasts_s, self.forecasts_bytes, self.told_s, self.told_bytes) > 0:
            raise ValueError("retention: forecasts are kept for over 0 seconds, in over 0 bytes")

    @property
    def history(self) -> HistoryLimits:
        """As the engine keeps to it."""
        return HistoryLimits(
            passing_s=self.forecasts_s,
            passing_bytes=self.forecasts_bytes,
            told_s=self.told_s,
            told_bytes=self.told_bytes,
        )
