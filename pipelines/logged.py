"""Records of the service's log as landed tables: what the engine folded, with the sequence it folded them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.errors import WorkspaceError
from data_contracts.tables import TABLES, Table
from data_contracts.workspace import Workspace
from serving.database import connect_to_read, statements
from serving.log import Head

SEQ = "seq"
PAGE = 50_000

Frames = Mapping[str, pl.DataFrame]
Rows = list[dict[str, Any]]


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
    """Write the log's rows to ``folder/<table>.parquet``, sequence included; give how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    writers: dict[str, pq.ParquetWriter] = {}
    count = 0
    try:
        for page in _pages(workspace.log):
            for name, rows in page.items():
                schema = _schema(TABLES[name])
                if name not in writers:
                    writers[name] = pq.ParquetWriter(folder / f"{name}.parquet", schema)
                writers[name].write_table(pa.Table.from_pylist(rows, schema))
                count += len(rows)
    finally:
        for writer in writers.values():
            writer.close()
    return count


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


def _schema(table: Table) -> pa.Schema:
    fields = [pa.field(field.name, field.type) for field in table.arrow_schema()]
    return pa.schema([*fields, pa.field(SEQ, pa.int64(), nullable=False)])


def _pages(log: Path) -> Iterator[dict[str, Rows]]:
    connection, after = connect_to_read(log), 0
    try:
        while rows := connection.execute(statements("log")["read_after"], (after, PAGE)).fetchall():
            page: dict[str, Rows] = {}
            for seq, received_us, type_, body in rows:
                if type_ in TABLES:
                    stamped = {"event_id": "", **orjson.loads(body), "received_at": received_us, SEQ: seq}
                    page.setdefault(type_, []).append(stamped)
            yield page
            after = rows[-1][0]
    finally:
        connection.close()
