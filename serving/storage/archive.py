"""Records that the log drops, kept as tables: what was learned from them can be learned again.

``archive/<first>-<last>/<table>.parquet`` has the columns of the table and the sequence in the log; ``punctual ingest
canonical`` takes such a folder as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.tables import TABLES, Table
from data_contracts.workspace import Workspace
from serving.storage.database import connect_to_read, statements

SEQ = "seq"
PAGE = 20_000

Rows = list[dict[str, Any]]


def archive(workspace: Workspace, after_seq: int, until_seq: int) -> int:
    """Write the records between two sequences, the last one included; give how many rows there were.

    The folder appears whole or not at all; records of the platform itself (ticks, hand-overs) are not rows.
    """
    final = workspace.archive / f"{after_seq + 1:012d}-{until_seq:012d}"
    staged = final.with_name(f".{final.name}.tmp")
    shutil.rmtree(staged, ignore_errors=True)
    shutil.rmtree(final, ignore_errors=True)
    count = write_rows(pages(workspace.log, after_seq, until_seq), staged)
    staged.replace(final)
    return count


def write_rows(found: Iterator[Mapping[str, Rows]], folder: Path) -> int:
    """Write pages of rows to ``folder/<table>.parquet``; give how many rows there were."""
    folder.mkdir(parents=True, exist_ok=True)
    writers: dict[str, pq.ParquetWriter] = {}
    count = 0
    try:
        for page in found:
            for name, rows in page.items():
                schema = logged_schema(TABLES[name])
                if name not in writers:
                    writers[name] = pq.ParquetWriter(folder / f"{name}.parquet", schema)
                writers[name].write_table(pa.Table.from_pylist(rows, schema))
                count += len(rows)
    finally:
        for writer in writers.values():
            writer.close()
    return count


def pages(log: Path, after_seq: int, until_seq: int) -> Iterator[dict[str, Rows]]:
    """Rows of the log by table, in the order of the log."""
    statement = statements("log")["read_to_archive"]
    with closing(connect_to_read(log)) as connection:
        while records := connection.execute(statement, (after_seq, until_seq, PAGE)).fetchall():
            page: dict[str, Rows] = {}
            for seq, received_us, type_, event_id, body in records:
                if type_ in TABLES:
                    stamps = {"event_id": event_id or "", "received_at": received_us, SEQ: seq}
                    page.setdefault(type_, []).append(orjson.loads(body) | stamps)
            yield page
            after_seq = records[-1][0]


def archived(workspace: Workspace) -> Iterator[dict[str, Rows]]:
    """Rows that were dropped from the log, in its order, as ``pages`` gives those that it holds."""
    for folder in sorted(workspace.archive.glob("[0-9]*-[0-9]*")):
        for file in sorted(folder.glob("*.parquet")):
            for batch in pq.ParquetFile(file).iter_batches(PAGE):
                yield {file.stem: _microseconds(batch).to_pylist()}


def logged_schema(table: Table) -> pa.Schema:
    """Columns of a table, and the sequence in the log."""
    fields = [pa.field(field.name, field.type) for field in table.arrow_schema()]
    return pa.schema([*fields, pa.field(SEQ, pa.int64(), nullable=False)])


def _microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
