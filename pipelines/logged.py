"""Records of the service's log as landed tables: what the engine folded, with the sequence it folded them in."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path

import polars as pl

from data_contracts.errors import WorkspaceError
from data_contracts.tables import TABLES
from data_contracts.workspace import Workspace
from serving.storage.archive import SEQ, archived, pages, write_rows
from serving.storage.database import connect_to_read, statements
from serving.storage.log import Head

#: No log is longer.
MOST_RECORDS = 2**62

Frames = Mapping[str, pl.DataFrame]


def log_origin(workspace: Workspace) -> Head:
    """The last record of the history that the log goes on from.

    Raises
    ------
    WorkspaceError
        when nothing has ever been served here
    """
    if not workspace.log.exists():
        raise WorkspaceError(
            "has no log", where=str(workspace.root), next_step="start it with `punctual serve`"
        )
    connection = connect_to_read(workspace.log)
    try:
        row = connection.execute(statements("log")["origin"]).fetchone()
    finally:
        connection.close()
    return Head(*row) if row else Head()


def land_log(workspace: Workspace, folder: Path) -> int:
    """Write the log's rows to ``folder/<table>.parquet``, sequence included; give how many there are.

    What the log has dropped is read from the archive.
    """
    with closing(connect_to_read(workspace.log)) as connection:
        cut = connection.execute(statements("log")["cut"]).fetchone()
    found = chain(archived(workspace), pages(workspace.log, cut[0] if cut else 0, MOST_RECORDS))
    return write_rows(found, folder)


def read_logged(folder: Path) -> dict[str, pl.DataFrame]:
    """Landed rows of a log, table by table in log order, times as integer microseconds."""
    return {
        name: pl.read_parquet(folder / f"{name}.parquet").with_columns(pl.col(pl.Datetime).dt.epoch("us"))
        for name in TABLES
        if (folder / f"{name}.parquet").exists()
    }


def joined(history: Frames, logged: Frames) -> dict[str, pl.DataFrame]:
    """One history: what was landed, and then what the log holds."""
    tables: dict[str, pl.DataFrame] = {}
    for name in TABLES:
        parts = [frames[name] for frames in (history, logged) if name in frames]
        if parts:
            columns = [*TABLES[name].names, SEQ]
            tables[name] = pl.concat([part.select(columns) for part in parts])
    return tables
