"""The engine as a process: ``python -m serving.engine_process WORKSPACE``."""

from __future__ import annotations

import gc
import sqlite3
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import structlog

from data_contracts.errors import PunctualError
from data_contracts.record import MODEL, TICK
from data_contracts.workspace import Workspace
from features.live import LiveFeatures
from features.online_place import writer_at
from serving.engine.engine import Engine
from serving.engine.engine_meter import EngineMeter
from serving.engine.heartbeat import Heartbeat
from serving.engine.models import ChampionWatcher, ModelShelf
from serving.engine.ops import OpsStore
from serving.engine.seed import open_log, seed
from serving.logs import configure_logging
from serving.meters import count_into_folder, meters
from serving.processes import alone, told_to_stop
from serving.settings import ServiceSettings, load_settings
from serving.storage.database import is_full
from serving.storage.log import Clock, EventLog, NewEvent
from serving.upkeep.compaction import recover

log = structlog.get_logger(__name__)

IDLE_S = 0.02
RECORDS_A_STEP = 2000
#: How long the engine leaves a full disk alone.
FULL_WAIT_S = 5.0


@dataclass(slots=True)
class Ticker:
    """Under the wall clock, a tick record each interval; a missed one is not made up for."""

    log: EventLog
    every_s: float
    due_s: float = 0.0

    def beat(self, now_s: float) -> None:
        """Append a tick if one is due; ``now_s`` is a monotonic clock."""
        if now_s < self.due_s:
            return
        self.due_s = now_s + self.every_s
        self.log.append([NewEvent(type=TICK, body={})])


class HandOver:
    """Turns a new champion into a record of the log, so that every replay swaps at the same place."""

    def __init__(self, log: EventLog, watcher: ChampionWatcher, every_s: float) -> None:
        self._log, self._watcher, self._every_s = log, watcher, every_s
        self._due_s, self._told = 0.0, ""

    def beat(self, now_s: float, serving_version: str | None) -> None:
        """Look for a new champion if it is time to."""
        if now_s < self._due_s:
            return
        self._due_s = now_s + self._every_s
        self._watcher.poll()
        version = self._watcher.version
        if version is None or version in (serving_version, self._told):
            return
        self._log.append([NewEvent(type=MODEL, body={"version": version, "alias": "champion"})])
        self._told = version


def run(workspace: Workspace, settings: ServiceSettings, stop: threading.Event) -> None:
    """Apply the log until told to stop. While the disk is full, wait; nothing is lost, since the log has it all."""
    while not stop.is_set():
        try:
            _apply(workspace, settings, stop)
        except sqlite3.OperationalError as error:
            if not is_full(error):
                raise
            log.error("storage_full", error=str(error), where=str(workspace.root), again_in_s=FULL_WAIT_S)
            stop.wait(FULL_WAIT_S)


def _apply(workspace: Workspace, settings: ServiceSettings, stop: threading.Event) -> None:
    """Take the state up from the checkpoint, and go on from there."""
    heartbeat = Heartbeat(workspace.heartbeat)
    heartbeat.stop()
    event_log = open_log(workspace, settings.clock)
    shelf = ModelShelf(workspace)
    recover(workspace, event_log)
    with closing(writer_at(settings.online_at(workspace))) as online, closing(OpsStore(workspace.ops)) as ops:
        seed(ops, workspace, event_log.origin)
        committed = EngineMeter(settings.clock).committed
        engine = Engine(event_log, ops, LiveFeatures(), shelf.get, online, settings.engine, committed)
        meters().engine_starts.inc()
        hand_over = HandOver(event_log, ChampionWatcher(workspace, shelf), settings.model_poll_s)
        ticker = Ticker(event_log, settings.engine.cadence.tick_s) if settings.clock is Clock.WALL else None
        log.info("engine_started", seq=engine.checkpoint.seq, published=engine.republish())
        gc.collect()
        gc.freeze()
        while not stop.is_set():
            now_s = time.monotonic()
            heartbeat.beat(now_s)
            hand_over.beat(now_s, engine.checkpoint.model_version)
            if ticker is not None:
                ticker.beat(now_s)
            if not engine.step(RECORDS_A_STEP):
                stop.wait(IDLE_S)
        heartbeat.stop()
        log.info("engine_stopped", seq=engine.checkpoint.seq)


def main(arguments: list[str]) -> int:
    configure_logging()
    count_into_folder()
    if len(arguments) != 1:
        print("usage: python -m serving.engine_process WORKSPACE", file=sys.stderr)
        return 2
    workspace, stop = Workspace(Path(arguments[0])), told_to_stop()
    try:
        with alone(workspace.run / "engine.lock", stop):
            run(workspace, load_settings(workspace), stop)
    except PunctualError as error:
        log.error("engine_refused", error=str(error))
        return error.exit_code
    except Exception:
        log.exception("engine_failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
