"""Keeping a workspace small: a snapshot of the engine's state, then the log without what is old and applied.

What is kept of the log is also how long an ``event_id`` is remembered: an event that is sent again after that counts
as a new one.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import structlog

from data_contracts.errors import WorkspaceError
from data_contracts.workspace import Workspace
from serving.engine.ops import Checkpoint, OpsStore
from serving.storage.archive import archive
from serving.storage.database import copy_database, is_sound
from serving.storage.log import EventLog, Head
from serving.times import US
from serving.upkeep.retention import Retention

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """What a compaction did; ``kept_after_seq`` is the last record that the log does not hold any more."""

    snapshot_seq: int
    kept_after_seq: int
    dropped: int = 0
    archived: int = 0


def compact(
    workspace: Workspace, event_log: EventLog, retention: Retention, now_s: float | None = None
) -> Compaction:
    """Snapshot, archive, truncate, in this order, so that a crash between two of them loses nothing.

    Nothing is dropped that a snapshot does not hold, and nothing younger than ``retention.log_s``. A new snapshot is
    taken where the newest is too old by ``now_s``, the time of the files' clock.
    """
    cut = event_log.cut()
    before_us = event_log.last().received_us - int(retention.log_s * US)
    until = event_log.last_before(_checkpoint(workspace.ops).seq, before_us)
    if until is None or until.seq <= cut.seq:
        unfinished = event_log.truncate(cut) if cut.seq else 0
        event_log.give_back()
        return Compaction(snapshot_seq=0, kept_after_seq=cut.seq, dropped=unfinished)
    snapshot_seq = _good_enough(workspace, until, retention.snapshot_s, now_s) or snapshot(workspace)
    after_seq = max(cut.seq, event_log.origin.seq)
    archived = archive(workspace, after_seq, until.seq) if retention.archive else 0
    dropped = event_log.truncate(until)
    event_log.give_back()
    for old in snapshots(workspace)[: -retention.snapshots]:
        old.unlink()
    done = Compaction(snapshot_seq=snapshot_seq, kept_after_seq=until.seq, dropped=dropped, archived=archived)
    log.info("log_compacted", dropped=dropped, archived=archived, kept_after_seq=until.seq)
    return done


def snapshot(workspace: Workspace) -> int:
    """Copy the engine's state while it goes on; give the record as of which it is."""
    workspace.snapshots.mkdir(parents=True, exist_ok=True)
    staged = workspace.snapshots / ".staged.db"
    staged.unlink(missing_ok=True)
    copy_database(workspace.ops, staged)
    seq = _checkpoint(staged).seq
    staged.replace(workspace.snapshots / f"{seq:012d}.db")
    for left in workspace.snapshots.glob(".staged.db-*"):
        left.unlink()
    return seq


def _good_enough(workspace: Workspace, until: Head, young_s: float, now_s: float | None) -> int | None:
    """The newest snapshot, if it is young and holds all that is to be dropped."""
    for path in snapshots(workspace)[-1:]:
        age_s = (time.time() if now_s is None else now_s) - path.stat().st_mtime
        if int(path.stem) >= until.seq and age_s < young_s and is_sound(path):
            return int(path.stem)
    return None


def snapshots(workspace: Workspace) -> list[Path]:
    """Snapshots, the oldest first."""
    return sorted(workspace.snapshots.glob("[0-9]*.db"))


def recover(workspace: Workspace, event_log: EventLog) -> int | None:
    """Take the newest good snapshot up where the state does not reach the log; None where nothing was needed.

    Raises
    ------
    WorkspaceError
        when records are missing between state and log, and no snapshot closes the gap
    """
    cut = event_log.cut()
    if _checkpoint(workspace.ops).seq >= cut.seq:
        return None
    for path in reversed(snapshots(workspace)):
        seq = int(path.stem)
        if seq >= cut.seq and is_sound(path):
            copy_database(path, workspace.ops)
            log.warning("snapshot_taken_up", seq=seq, log_begins_after=cut.seq)
            return seq
    raise WorkspaceError(
        f"the log begins after record {cut.seq:,}, and neither ops.db nor a snapshot holds the state there",
        where=str(workspace.root),
        next_step="bring the workspace back with `punctual restore`",
    )


def _checkpoint(ops: Path) -> Checkpoint:
    try:
        with closing(OpsStore(ops)) as store:
            return store.checkpoint()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        next_step = "move it away (with its -wal and -shm); the newest snapshot, or the log, is then taken up"
        raise WorkspaceError(f"is broken: {error}", where=str(ops), next_step=next_step) from None
