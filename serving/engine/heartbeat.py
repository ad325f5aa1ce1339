"""A sign of life of the engine, by the wall's clock: it is there while the engine applies the log, and only then."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

EVERY_S = 1.0


class Heartbeat:
    """Written by the engine's process; the file's age is how long it has been silent."""

    def __init__(self, path: Path) -> None:
        self._path, self._due_s = path, 0.0

    def beat(self, now_s: float) -> None:
        """Give a sign of life if one is due; ``now_s`` is a monotonic clock. A full disk makes the engine silent."""
        if now_s < self._due_s:
            return
        self._due_s = now_s + EVERY_S
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            self._path.touch()

    def stop(self) -> None:
        """The engine ends, or has not begun."""
        forget(self._path)
        self._due_s = 0.0


def forget(path: Path) -> None:
    """Take away the sign of an engine that is gone."""
    path.unlink(missing_ok=True)


def silent_s(path: Path) -> float | None:
    """Seconds since the last sign of life; None where no engine applies the log."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return None
