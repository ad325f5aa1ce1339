"""``punctual backup`` and ``punctual restore``: one file that holds a workspace, taken while it is served.

A plain tar: every database as a consistent copy, every other file as it is, and last a manifest with the SHA-256
of each. What reads is copied before what it reads: the sender's state before the engine's, and that before the log.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from data_contracts import __version__
from data_contracts.errors import WorkspaceError
from data_contracts.workspace import Workspace
from serving.engine.readings import OpsReader
from serving.storage.database import copy_database, is_sound
from serving.storage.log import Clock, EventLog

MANIFEST = "manifest.json"
_SQLITE = b"SQLite format 3\x00"
#: What is made anew, or counts only while a service runs.
_LEFT_OUT_FOLDERS = frozenset({"run", ".bentoml"})
_LEFT_OUT_ENDINGS = ("-wal", "-shm", "-journal", ".lock", ".tmp")
#: Copied before everything else, in this order.
_FIRST = ("models/champion.json", "sender.db", "ops.db", "log.db")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a backup holds."""

    files: int
    bytes: int
    log_seq: int
    checkpoint_seq: int


def backup(workspace: Workspace, target: Path) -> Contents:
    """Write a workspace to one file, readable by its owner alone; it appears whole or not at all."""
    if not workspace.root.is_dir():
        raise WorkspaceError("no such workspace", where=str(workspace.root), next_step="name one with -w")
    staged = target.with_name(f".{target.name}.tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _write(workspace, staged)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            contents = _checked(staged, Path(folder) / "workspace")
        staged.replace(target)
    except OSError as error:
        raise WorkspaceError(str(error), where=str(target), next_step="try again") from None
    finally:
        staged.unlink(missing_ok=True)
    return contents


def _write(workspace: Workspace, staged: Path) -> None:
    hashes: dict[str, str] = {}
    with os.fdopen(os.open(staged, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name, path in _parts(workspace):
                hashes[name] = _add(tar, name, path)
            _add_bytes(tar, MANIFEST, orjson.dumps({"version": __version__, "files": hashes}))
        file.flush()
        os.fsync(file.fileno())


def restore(source: Path, workspace: Workspace) -> Contents:
    """Bring a workspace back into a folder that is empty or not there; it appears whole or not at all.

    Raises
    ------
    WorkspaceError
        when the file is no whole backup, or the folder holds something already
    """
    root = workspace.root
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise WorkspaceError(
            "holds something already", where=str(root), next_step="move it away, or name another folder"
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}.") as folder:
        staged = Path(folder) / "workspace"
        contents = _checked(source, staged)
        if root.exists():
            root.rmdir()
        staged.replace(root)
    return contents


def _checked(source: Path, folder: Path) -> Contents:
    """Unpack a backup and look at every file of it."""
    try:
        with tarfile.open(source, mode="r:") as tar:
            tar.extractall(folder, filter="data")
        manifest = folder / MANIFEST
        hashes: dict[str, str] = orjson.loads(manifest.read_bytes())["files"]
        manifest.unlink()
    except (tarfile.TarError, OSError, KeyError, TypeError, orjson.JSONDecodeError) as error:
        raise _no_backup(source, f"not a whole backup ({error})") from None
    found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    for name in sorted(found.keys() ^ hashes.keys()):
        raise _no_backup(source, f"{name} is in the file or in its manifest, and not in both")
    for name, path in found.items():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != hashes[name]:
                raise _no_backup(source, f"{name} is not what was written")
        if _is_database(path) and not is_sound(path):
            raise _no_backup(source, f"{name} is a broken database")
    size = sum(path.stat().st_size for path in found.values())
    return Contents(files=len(found), bytes=size, **_reach(Workspace(folder), source))


def _reach(workspace: Workspace, source: Path) -> dict[str, int]:
    """How far log and state reach; a log that ends before the state would lose what the state knows."""
    log_seq = checkpoint_seq = 0
    if workspace.log.exists():
        with closing(EventLog(workspace.log, Clock.WALL)) as event_log:
            log_seq = event_log.last().seq
    if workspace.ops.exists():
        with closing(OpsReader(workspace.ops)) as reader:
            checkpoint_seq = reader.checkpoint().seq
    if checkpoint_seq > log_seq:
        raise _no_backup(source, f"its state is at record {checkpoint_seq:,}, its log ends at {log_seq:,}")
    return {"log_seq": log_seq, "checkpoint_seq": checkpoint_seq}


def _parts(workspace: Workspace) -> Iterator[tuple[str, Path]]:
    """Names and paths, databases as copies that last as long as they are being looked at."""
    root = workspace.root
    names = [path.relative_to(root).as_posix() for path in _files(root)]
    names.sort(key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}.") as folder:
        copy = Path(folder) / "copy.db"
        for name in names:
            path = root / name
            if _is_database(path):
                copy_database(path, copy)
                yield name, copy
                copy.unlink()
            elif path.exists():
                yield name, path


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, followlinks=True):
        here = Path(folder)
        if here == root:
            folders[:] = [name for name in folders if name not in _LEFT_OUT_FOLDERS]
        folders.sort()
        for name in sorted(names):
            if not name.endswith(_LEFT_OUT_ENDINGS):
                yield here / name


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except FileNotFoundError:
        return False


def _add(tar: tarfile.TarFile, name: str, path: Path) -> str:
    """Add a file, also one that grows meanwhile; give the SHA-256 of what was added."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, int(path.stat().st_mtime), path.stat().st_mode & 0o777
        hashed = _Hashed(file)
        tar.addfile(info, hashed)
    return hashed.digest.hexdigest()


class _Hashed:
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self.digest.update(chunk)
        return chunk


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _no_backup(source: Path, what: str) -> WorkspaceError:
    return WorkspaceError(what, where=str(source), next_step="take another backup; nothing was changed")
