"""A workspace whose engine was run over a log, and killed on the way: what parity is asked of.

``python -m tests.served WORKSPACE`` is an engine in a process of its own; it ends when the log is applied.
"""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from data_contracts.record import MODEL
from data_contracts.workspace import Workspace
from features.live import LiveFeatures
from features.online import OnlineWriter
from pipelines.history import build_features, landed_history, write_state
from pipelines.land import land
from serving.decisions.cadence import Cadence
from serving.engine.engine import Engine
from serving.engine.history import HistoryLimits
from serving.engine.ops import OpsStore
from serving.engine.rounds import EngineSettings
from serving.engine.seed import open_log, seed
from serving.storage.database import connect_to_read, statements
from serving.storage.log import Clock, EventLog, NewEvent
from tests.engine_bench import FakeForecaster

LONGEST_LIFE_S = 900.0
#: What was scored is kept for good.
KEEPS_ALL = EngineSettings(
    cadence=Cadence(keep_history_s=1e9), history=HistoryLimits(passing_s=1e9, told_s=1e9)
)
STEP = 500


def build_history(root: Path, tables: Mapping[str, pa.Table]) -> Workspace:
    workspace = Workspace(root)
    land(workspace, tables, "history")
    ordered = landed_history(workspace)
    write_state(workspace, build_features(workspace, ordered), ordered)
    return workspace


def append(workspace: Workspace, events: Sequence[NewEvent]) -> EventLog:
    """A log with its model and these events."""
    log = open_log(workspace, Clock.LOG)
    log.append([NewEvent(type=MODEL, event_id="model", body={"version": "1"}), *events])
    return log


def live_on(workspace: Workspace, log: EventLog, settings: EngineSettings, *, step: int, life: float) -> bool:
    """One engine, which dies after ``life`` records; whether the log is applied."""
    ops, online = OpsStore(workspace.ops), OnlineWriter(workspace.online)
    seed(ops, workspace, log.origin)
    engine = Engine(log, ops, LiveFeatures(), FakeForecaster, online, settings)
    lived, count = 0, 0
    while lived < life and (count := engine.step(step)):
        lived += count
    ops.close()
    online.close()
    return not count


def run_engine_to_the_end(root: Path) -> None:
    workspace = Workspace(root)
    live_on(workspace, open_log(workspace, Clock.LOG), KEEPS_ALL, step=STEP, life=float("inf"))


def serve_over_kills(workspace: Workspace, records_a_life: tuple[int, int], *, draws: int = 7) -> int:
    """Run engines in processes, each killed at once after a number of records; give how many were."""
    draw, deaths = random.Random(draws), 0
    while True:
        until = applied(workspace) + draw.randint(*records_a_life)
        process = subprocess.Popen([sys.executable, "-m", "tests.served", str(workspace.root)])
        deadline = time.monotonic() + LONGEST_LIFE_S
        try:
            while process.poll() is None and applied(workspace) < until and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            ended = process.poll()
            process.kill()  # at once, wherever it is; nothing if it has ended
            process.wait()
        if ended is not None:
            assert ended == 0
            return deaths
        assert applied(workspace) > 0, "an engine has not moved"
        deaths += 1


def parity_of(workspace: Workspace) -> dict[str, Any]:
    """What ``punctual features parity`` reports, by its own process; a difference fails there."""
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "features",
        "parity",
        "-w",
        str(workspace.root),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    report: dict[str, Any] = orjson.loads(done.stdout)
    print({name: value for name, value in report.items() if name != "differences"})
    return report


def applied(workspace: Workspace) -> int:
    """The last record that an engine has applied; 0 before the first."""
    if not workspace.ops.exists():
        return 0
    connection = connect_to_read(workspace.ops)
    try:
        row = connection.execute(statements("ops")["checkpoint"]).fetchone()
    except sqlite3.OperationalError:  # its tables are not made yet
        return 0
    finally:
        connection.close()
    return row[0] if row else 0


if __name__ == "__main__":
    run_engine_to_the_end(Path(sys.argv[1]))
