"""Parity with real processes: the engine is killed again and again while a day is replayed against it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from data_contracts.workspace import Workspace
from pipelines import demo, replay
from pipelines.demo import Scenario
from pipelines.replay import Pace
from tests.served import parity_of
from training.registry import Registry

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

EVENTS_A_BATCH = 400
BATCHES_A_LIFE = 2


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, int]]:
    """A workspace that served a day while its engine was killed, and how often it was."""
    workspace = Workspace(tmp_path_factory.mktemp("parity") / "workspace")
    trained, _, tables = demo.prepare(workspace, Scenario(size="small", days=10), lambda _: None)
    Registry(workspace).promote(trained.version.version)  # whatever the gate says of so short a history
    deaths = 0

    def kill_now_and_then(done: int, total: int, at: datetime) -> None:
        nonlocal deaths
        if done // EVENTS_A_BATCH % BATCHES_A_LIFE == 0:
            deaths += kill_engine(workspace.root)

    with pytest.MonkeyPatch.context() as patch, demo.live_service(workspace) as client:
        patch.setattr(replay, "LARGEST_BATCH", EVENTS_A_BATCH)
        demo.replay_day(client, tables, Pace(), kill_now_and_then)
    yield workspace, deaths


def command_line(process: psutil.Process) -> list[str]:
    """What started a process; nothing for one that has just ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def kill_engine(root: Path) -> int:
    """Kill the engine of this workspace at once; give how many there were."""
    lines = {process.pid: command_line(process) for process in psutil.Process().children(recursive=True)}
    engines = [
        pid for pid, line in lines.items() if "serving.engine_process" in line and str(root.resolve()) in line
    ]
    for pid in engines:
        os.kill(pid, signal.SIGKILL)
    return len(engines)


def test_parity_holds_over_kills_of_the_engine(killed: tuple[Workspace, int]) -> None:
    workspace, deaths = killed
    report = parity_of(workspace)
    assert deaths >= 2
    assert report["is_identical"]
    assert report["instants"] > 300
