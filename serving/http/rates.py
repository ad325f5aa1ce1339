"""How fast each caller calls, counted over every process of this machine.

One number a caller: the instant at which everything let through so far would have come at the allowed rate (the
"theoretical arrival time" of the generic cell rate algorithm). It lies in a file that every worker maps; a lock on
its eight bytes is held while it is moved on, and the kernel lets go of it if a worker dies.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

SLOTS = 8192
_SECOND_NS = 1_000_000_000
_PLACE = struct.Struct("<q")


class Rates:
    """Lets callers through at their rate, with bursts of ``burst_s`` seconds' worth."""

    def __init__(
        self, path: Path, burst_s: float = 2.0, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._path, self._burst_s, self._now_ns = path, burst_s, now_ns
        self._lock = threading.Lock()
        self._file: int | None = None
        self._map: mmap.mmap | None = None

    def wait_s(self, slot: int, per_s: float) -> float:
        """Let one request through and give 0, or say in how many seconds the next one may come."""
        place = slot % SLOTS * _PLACE.size
        with self._lock:
            places = self._places()
            assert self._file is not None
            fcntl.lockf(self._file, fcntl.LOCK_EX, _PLACE.size, place)
            try:
                (used_until_ns,) = _PLACE.unpack_from(places, place)
                moved_ns, wait_ns = admit(used_until_ns, self._now_ns(), per_s, self._burst_s)
                if moved_ns != used_until_ns:
                    _PLACE.pack_into(places, place, moved_ns)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, _PLACE.size, place)
        return wait_ns / _SECOND_NS

    def _places(self) -> mmap.mmap:
        if self._map is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            os.ftruncate(self._file, SLOTS * _PLACE.size)
            self._map = mmap.mmap(self._file, SLOTS * _PLACE.size)
        return self._map

    def close(self) -> None:
        if self._map is not None and self._file is not None:
            self._map.close()
            os.close(self._file)
            self._map = self._file = None


def admit(used_until_ns: int, now_ns: int, per_s: float, burst_s: float) -> tuple[int, int]:
    """The next "used until", and how long to wait: 0 where the request is let through.

    A number that no run of requests can have left, such as one from before the machine was started anew, counts as
    nothing used.
    """
    step_ns = int(_SECOND_NS / per_s)
    room_ns = max(step_ns, int(burst_s * _SECOND_NS))
    used_until_ns = max(used_until_ns, now_ns) if used_until_ns <= now_ns + room_ns else now_ns
    over_ns = used_until_ns + step_ns - now_ns - room_ns
    return (used_until_ns, over_ns) if over_ns > 0 else (used_until_ns + step_ns, 0)
