"""The log is kept as long as it is said to be, and nothing that anybody still needs goes with what is dropped."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_contracts.errors import WorkspaceError
from data_contracts.workspace import Workspace
from features.live import LiveFeatures
from pipelines.logged import land_log, read_logged
from serving.engine.engine import Engine
from serving.engine.ops import OpsStore
from serving.engine.rounds import EngineSettings
from serving.storage.archive import archived
from serving.storage.database import is_sound
from serving.storage.log import Clock, EventLog, Head, NewEvent, Verdict
from serving.times import US
from serving.upkeep.compaction import compact, recover, snapshots
from serving.upkeep.retention import Retention
from tests.builders import NOON_US
from tests.engine_bench import FakeForecaster, FakePublisher, everything, late_day, ping, tick

HOUR_S = 3600.0
KEEP_AN_HOUR = Retention(log_s=HOUR_S)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day in which an engine applied everything; five hours after its last event, the clock ticked twice."""
    workspace = Workspace(tmp_path_factory.mktemp("played"))
    log = EventLog(workspace.log, Clock.LOG)
    run(workspace, log, *late_day(), later(5), later(5.5))
    log.close()
    return workspace.root


@pytest.fixture
def workspace(played: Path, tmp_path: Path) -> Workspace:
    return Workspace(shutil.copytree(played, tmp_path / "w"))


@pytest.fixture
def log(workspace: Workspace) -> Iterator[EventLog]:
    log = EventLog(workspace.log, Clock.LOG)
    yield log
    log.close()


def run(workspace: Workspace, log: EventLog, *events: NewEvent) -> None:
    """Append, and let an engine that starts anew apply."""
    log.append(events)
    recover(workspace, log)
    ops = OpsStore(workspace.ops)
    engine = Engine(log, ops, LiveFeatures(), FakeForecaster, FakePublisher(), EngineSettings())
    while engine.step(500):
        pass
    ops.close()


def later(hours: float) -> NewEvent:
    return tick(hours * HOUR_S)


def state(workspace: Workspace) -> dict[str, list[Any]]:
    return everything(workspace.root)


def test_what_is_old_and_applied_is_dropped_and_the_rest_stays(workspace: Workspace, log: EventLog) -> None:
    before = log.last()
    done = compact(workspace, log, KEEP_AN_HOUR)
    assert (done.dropped, done.kept_after_seq) == (before.seq - 2, before.seq - 2)
    assert [record.seq for record in log.read(0, 100)] == [before.seq - 1, before.seq]
    assert log.last() == before
    log.append([later(6)])
    assert log.last().seq == before.seq + 1


def test_nothing_young_is_dropped(workspace: Workspace, log: EventLog) -> None:
    assert compact(workspace, log, Retention()).dropped == 0
    assert not snapshots(workspace) and log.cut() == Head()


def test_nothing_is_dropped_before_the_engine_has_applied_it(workspace: Workspace, log: EventLog) -> None:
    applied = log.last().seq
    log.append([later(50), later(51), later(52)])
    compact(workspace, log, KEEP_AN_HOUR)
    assert log.read(0, 1)[0].seq == applied + 1


def test_the_last_record_stays_so_that_time_and_sequence_go_on(workspace: Workspace, log: EventLog) -> None:
    last = log.last()
    compact(workspace, log, Retention(log_s=1e-6))
    assert log.last() == last
    log.append([later(9)])
    assert log.last().seq == last.seq + 1


def test_an_event_id_is_remembered_for_as_long_as_the_log_is_kept(
    workspace: Workspace, log: EventLog
) -> None:
    old, young = ping(5.6 * HOUR_S), ping(6.8 * HOUR_S)
    run(workspace, log, old, young, later(7.0))
    compact(workspace, log, KEEP_AN_HOUR)
    assert log.append([young]) == [Verdict.DUPLICATE]
    assert log.append([old]) == [Verdict.ACCEPTED]


def test_a_compacted_log_goes_on_to_the_same_state(played: Path, tmp_path: Path) -> None:
    whole, cut = (Workspace(shutil.copytree(played, tmp_path / name)) for name in ("whole", "cut"))
    for place in (whole, cut):
        log = EventLog(place.log, Clock.LOG)
        if place is cut:
            assert compact(place, log, KEEP_AN_HOUR).dropped
        run(place, log, *(later(6 + n / 60) for n in range(5)))
        log.close()
    assert state(whole) == state(cut)


def test_a_lost_state_is_taken_up_from_the_snapshot(workspace: Workspace, log: EventLog) -> None:
    compact(workspace, log, KEEP_AN_HOUR)
    run(workspace, log, later(6), later(6.5))
    before = state(workspace)
    for path in workspace.root.glob("ops.db*"):
        path.unlink()
    run(workspace, log)
    assert state(workspace) == before


def test_a_state_that_does_not_reach_the_log_is_never_run_on(workspace: Workspace, log: EventLog) -> None:
    compact(workspace, log, KEEP_AN_HOUR)
    for path in (*workspace.root.glob("ops.db*"), *snapshots(workspace)):
        path.unlink()
    with pytest.raises(WorkspaceError, match="punctual restore"):
        recover(workspace, log)


def test_a_broken_snapshot_is_passed_over(workspace: Workspace, log: EventLog) -> None:
    compact(workspace, log, KEEP_AN_HOUR)
    (good,) = snapshots(workspace)
    broken = workspace.snapshots / f"{10**9:012d}.db"
    broken.write_bytes(good.read_bytes()[:5000] + b"\0" * 5000)
    for path in workspace.root.glob("ops.db*"):
        path.unlink()
    assert recover(workspace, log) == int(good.stem)


def test_a_broken_state_is_named_with_what_to_do(workspace: Workspace, log: EventLog) -> None:
    for path in workspace.root.glob("ops.db-*"):
        path.unlink()
    workspace.ops.write_bytes(b"nonsense" * 4096)
    with pytest.raises(WorkspaceError, match="move it away"):
        recover(workspace, log)


def test_only_so_many_snapshots_are_kept(workspace: Workspace, log: EventLog) -> None:
    for hours in range(6, 14):
        run(workspace, log, later(hours), later(hours + 0.5))
        compact(workspace, log, Retention(log_s=600.0, snapshots=3, snapshot_s=0.0))
    assert len(snapshots(workspace)) == 3
    assert {path.name for path in workspace.snapshots.iterdir()} == {
        path.name for path in snapshots(workspace)
    }


def test_a_snapshot_is_cut_behind_until_it_is_old(workspace: Workspace, log: EventLog) -> None:
    keep = Retention(log_s=HOUR_S, snapshot_s=900.0)
    run(workspace, log, later(8), later(8.5), later(9.8))
    first = compact(workspace, log, Retention(log_s=2 * HOUR_S, snapshot_s=900.0))
    again = compact(workspace, log, keep)
    assert again.snapshot_seq == first.snapshot_seq and again.dropped == 2
    run(workspace, log, later(9.9), later(12))
    assert compact(workspace, log, keep).snapshot_seq > first.snapshot_seq, "it did not hold what was dropped"
    run(workspace, log, later(12.1))
    old_s = time.time() + 1_000.0
    assert (
        compact(workspace, log, Retention(log_s=60.0, snapshot_s=900.0), old_s).snapshot_seq == log.last().seq
    )


def test_what_was_dropped_can_be_learned_from_again(
    workspace: Workspace, log: EventLog, tmp_path: Path
) -> None:
    land_log(workspace, tmp_path / "before")
    done = compact(workspace, log, KEEP_AN_HOUR)
    land_log(workspace, tmp_path / "after")
    before, after = read_logged(tmp_path / "before"), read_logged(tmp_path / "after")
    assert before.keys() == after.keys() and done.archived == sum(map(len, before.values()))
    for name in before:
        assert before[name].equals(after[name]), name
    (folder,) = workspace.archive.iterdir()
    assert set(pq.read_table(folder / "stops.parquet")["event_id"].to_pylist()) >= {"R-1-S1-plan"}


def test_a_compaction_that_was_interrupted_is_finished_by_the_next(
    workspace: Workspace, log: EventLog
) -> None:
    head = log.last()

    class Killed(Exception):
        pass

    truncate = EventLog.truncate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EventLog, "truncate", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            compact(workspace, log, KEEP_AN_HOUR)
    assert log.read(0, 1)[0].seq == 1
    assert compact(workspace, log, KEEP_AN_HOUR).kept_after_seq == head.seq - 2
    assert truncate is EventLog.truncate
    rows = [row for page in archived(workspace) for found in page.values() for row in found]
    assert len({row["seq"] for row in rows}) == len(rows)


def test_events_are_taken_while_the_log_is_truncated(workspace: Workspace, log: EventLog) -> None:
    seconds = [replace(ping(5.5 * HOUR_S), event_id=f"p{n}") for n in range(6000)]
    run(workspace, log, *seconds, later(7), later(7.5))
    before = log.last().seq
    other, taken = EventLog(workspace.log, Clock.LOG), []

    def append() -> None:
        for n in range(50):
            taken.extend(other.append([tick(8 * HOUR_S + n)]))

    thread = threading.Thread(target=append)
    thread.start()
    done = compact(workspace, log, KEEP_AN_HOUR)
    thread.join()
    other.close()
    assert done.dropped == before - 2 and len(taken) == 50
    assert log.last().received_us == NOON_US + int(8 * HOUR_S + 49) * US


def test_the_log_is_left_to_others_between_two_steps(workspace: Workspace, log: EventLog) -> None:
    other, rests = EventLog(workspace.log, Clock.LOG), list[float]()

    def rest(rest_s: float) -> None:
        rests.append(rest_s)
        started_s = time.monotonic()
        other.append([tick(8 * HOUR_S + len(rests))])
        assert time.monotonic() - started_s < 1.0

    dropped = log.truncate(Head(log.last().seq - 1, 0), records_at_once=10, rest=rest)
    other.close()
    assert len(rests) == dropped // 10 > 3 and min(rests) > 0.0


@pytest.mark.parametrize("kills", [1, pytest.param(50, marks=pytest.mark.on_demand)])
def test_kills_in_the_middle_of_a_compaction_lose_nothing(
    workspace: Workspace, log: EventLog, tmp_path: Path, kills: int
) -> None:
    run(
        workspace,
        log,
        *(replace(ping(5.5 * HOUR_S), event_id=f"k{n}") for n in range(3000)),
        later(7),
        later(7.5),
    )
    workspace.settings.write_text('[serving]\nclock = "log"\n[serving.retention]\nlog_s = 3600\n')
    land_log(workspace, tmp_path / "before")
    command = [sys.executable, "-m", "serving.compaction_process", str(workspace.root)]
    draw = random.Random(7)
    started_s = time.monotonic()
    assert subprocess.run([*command[:-1], str(tmp_path / "empty")], capture_output=True).returncode == 0
    start_s = time.monotonic() - started_s
    for _ in range(kills):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(start_s * draw.uniform(0.6, 1.1))
        process.kill()
        process.wait()
    assert subprocess.run(command, capture_output=True).returncode == 0
    land_log(workspace, tmp_path / "after")
    before, after = read_logged(tmp_path / "before"), read_logged(tmp_path / "after")
    assert {name: rows.sort("seq").rows() for name, rows in before.items()} == {
        name: rows.sort("seq").rows() for name, rows in after.items()
    }
    assert log.read(0, 1)[0].seq == log.last().seq - 1
    assert all(is_sound(path) for path in snapshots(workspace))
