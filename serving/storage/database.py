"""SQLite as a workspace uses it: write-ahead log, a busy timeout, and statements kept in ``serving/sql``."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from data_contracts.errors import WorkspaceError

BUSY_TIMEOUT_S = 10.0
LEAST_PAGES = 256
JOURNAL_LIMIT_BYTES = 64 * 1024 * 1024
_NAMED = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def statements(file: str) -> Mapping[str, str]:
    """The statements of ``sql/<file>.sql`` by the name in their ``-- name:`` line."""
    text = files("serving").joinpath("sql", f"{file}.sql").read_text(encoding="utf-8")
    parts = _NAMED.split(text)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def connect(
    path: Path, *, synchronous: Literal["FULL", "NORMAL", "OFF"], schema: str, layout: int = 1
) -> sqlite3.Connection:
    """Open a database for writing, with its tables made where they are not there.

    ``layout`` counts what earlier code could not read; a file of another layout is refused before anything is written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = _open(path)
    try:
        _refuse_other_layout(connection, path, layout)
    except BaseException:
        connection.close()
        raise
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_LIMIT_BYTES}")
    if connection.execute("PRAGMA user_version").fetchone() != (layout,):
        connection.execute(f"PRAGMA user_version = {layout}")
    connection.executescript(schema)  # after its layout: whoever finds a table finds its layout
    return connection


def refuse_other_layout(path: Path, layout: int) -> None:
    """Say so, where a database is there that this code cannot read; nothing is made or changed."""
    if not path.exists():
        return
    with closing(connect_to_read(path)) as connection, suppress(sqlite3.DatabaseError):
        _refuse_other_layout(connection, path, layout)


def _refuse_other_layout(connection: sqlite3.Connection, path: Path, layout: int) -> None:
    is_empty = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if is_empty or max(found, 1) == layout:
        return
    age, next_step = (
        ("a newer", "use that release, or restore a backup that this one made")
        if found > layout
        else (
            "an earlier",
            "use that release; a state alone may be moved away, it is made again from the log",
        )
    )
    raise WorkspaceError(
        f"was written by {age} release (layout {found}; this one reads {layout})",
        where=str(path),
        next_step=next_step,
    )


def give_back(connection: sqlite3.Connection, most_pages: int = 2_000) -> int:
    """Make the file smaller where much of it is free; how many pages the disk was given back.

    A quarter stays: what is about to be written finds room without growing the file.
    """
    (pages,), (free,) = (
        connection.execute(f"PRAGMA {each}").fetchone() for each in ("page_count", "freelist_count")
    )
    spare = min(free - pages // 4, most_pages)
    if spare < LEAST_PAGES:
        return 0
    connection.execute(f"PRAGMA incremental_vacuum({spare})").fetchall()
    (left,) = connection.execute("PRAGMA page_count").fetchone()
    return int(pages - left)


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a database that somebody else writes."""
    connection = _open(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def copy_database(source: Path, target: Path) -> None:
    """A consistent copy of a database that others may be writing; what is at ``target`` is replaced.

    Readers of the target see the old content or the new, never a mixture.
    """
    with closing(connect_to_read(source)) as reading, closing(_open(target)) as writing:
        reading.backup(writing)


def is_sound(path: Path) -> bool:
    """Whether a file is a database that can be read from end to end."""
    try:
        with closing(connect_to_read(path)) as connection:
            return connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        return False


@contextmanager
def immediate(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One write transaction: committed on leaving, rolled back on any error, that of the commit included."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have ended it already
            connection.execute("ROLLBACK")
        raise


def is_full(error: BaseException) -> bool:
    """Whether it means that the disk takes no more, or not as it should."""
    name = getattr(error, "sqlite_errorname", "")
    return name == "SQLITE_FULL" or name.startswith("SQLITE_IOERR")


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
    return connection
