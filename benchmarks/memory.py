"""Peak memory of a piece of work, each in a process of its own, so that nothing is left over from another."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
RESET_PEAK = (Path("/proc/self/clear_refs"), "5")

Open = Callable[[Path], Callable[[], Any]]


def peak_mb(open_work: Open, folder: Path) -> float:
    """How much more memory the work takes than was held before it, in MB; ``open_work`` is not counted."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_measure, args=(theirs, open_work, folder))
    process.start()
    theirs.close()
    peak = float(mine.recv())
    process.join()
    return peak


def _measure(answer: Connection, open_work: Open, folder: Path) -> None:
    work = open_work(folder)
    RESET_PEAK[0].write_text(RESET_PEAK[1])
    before = _mb("VmRSS")
    result = work()
    answer.send(_mb("VmHWM") - before)
    del result


def _mb(name: str) -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
