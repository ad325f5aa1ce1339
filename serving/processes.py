"""How a process of the service learns that it is to end."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from data_contracts.errors import WorkspaceError


def told_to_stop() -> threading.Event:
    """Set once this process is asked to end (SIGINT, SIGTERM), or the one that started it is gone."""
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    watch_parent(stop.set)
    return stop


def watch_parent(gone: Callable[[], object]) -> None:
    """Do something once the process that started this one is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        gone()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


@contextmanager
def alone(path: Path, stop: threading.Event) -> Iterator[None]:
    """Hold the place of a workspace's one process of a kind; one that comes while another ends waits for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        while not stop.is_set():
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                stop.wait(0.1)
        yield


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold a workspace's place of the service, or say by which process it is served already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise WorkspaceError(
                f"is served already, by process {file.read().strip() or 'unknown'}",
                where=str(path.parent.parent),
                next_step="stop that one first: a workspace has one service, a service has many workers",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
