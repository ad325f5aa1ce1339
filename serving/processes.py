"""How a process of the service learns that it is to end."""

from __future__ import annotations

import os
import signal
import threading


def told_to_stop() -> threading.Event:
    """Set once this process is asked to end (SIGINT, SIGTERM), or the one that started it is gone."""
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    stop_with_parent(stop)
    return stop


def stop_with_parent(stop: threading.Event) -> None:
    """Stop when the process that started this one is gone."""
    parent = os.getppid()

    def watch() -> None:
        while not stop.wait(1.0):
            if os.getppid() != parent:
                stop.set()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
