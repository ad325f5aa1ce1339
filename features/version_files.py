"""Versions of views as files: what the offline store reads, one Parquet file a view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features.keys import Keys
from features.online import Versions
from features.views import KNOWN, VIEWS, View

EVENT_TS = "event_timestamp"
CREATED = "created"
_INSTANT = pa.timestamp("us", tz="UTC")


def _numbered(schema: pa.Schema) -> pa.Schema:
    """The same with the keys of its entities as numbers of their names."""
    return schema.set(0, pa.field(schema.names[0], pa.dictionary(pa.int32(), pa.string()), nullable=False))


def version_schema(view: View) -> pa.Schema:
    """The columns of a view's version file; ``created`` is the log sequence as microseconds of an instant."""
    return pa.schema(
        [
            pa.field(view.entity, pa.string(), nullable=False),
            pa.field(EVENT_TS, _INSTANT, nullable=False),
            pa.field(CREATED, _INSTANT, nullable=False),
            pa.field(KNOWN, pa.int64(), nullable=False),
            *[pa.field(name, pa.float32()) for name in view.field_names],
        ],
        metadata={b"punctual.view": view.name.encode(), b"punctual.schema": view.schema_hash.encode()},
    )


def version_table(view: View, versions: Iterable[Versions]) -> pa.Table:
    """Versions of a view as the offline store keeps them, one batch after the other; keys are numbered."""
    schema = _numbered(version_schema(view))
    return pa.Table.from_batches([_batch(each, schema) for each in versions], schema).unify_dictionaries()


def _batch(versions: Versions, schema: pa.Schema) -> pa.RecordBatch:
    known = pa.array(versions.known_us, pa.int64())
    created = pa.array(versions.created_us, pa.int64())
    values = [pa.array(versions.values[:, place]) for place in range(versions.values.shape[1])]
    ids = Keys.of(versions.ids).to_arrow()
    columns = [ids, known.cast(_INSTANT), created.cast(_INSTANT), known, *values]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def write_versions(folder: Path, versions: Mapping[str, Sequence[Versions]]) -> None:
    """One Parquet file a view; a file is replaced whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for view in VIEWS:
        write_table(folder, view, version_table(view, versions.get(view.name, [])))


def write_missing_versions(folder: Path) -> None:
    """Give every view without versions an empty file, so that retrieval answers nulls."""
    folder.mkdir(parents=True, exist_ok=True)
    for view in VIEWS:
        if not version_path(folder, view).exists():
            write_table(folder, view, version_schema(view).empty_table())


def version_counts(folder: Path) -> dict[str, int]:
    """How many versions of each view there are."""
    paths = {view.name: version_path(folder, view) for view in VIEWS}
    return {name: pq.read_metadata(path).num_rows if path.exists() else 0 for name, path in paths.items()}


def version_path(folder: Path, view: View) -> Path:
    return folder / f"{view.name}.parquet"


def write_table(folder: Path, view: View, table: pa.Table) -> None:
    """Put a view's versions in the place of those before; keys that are numbered are spelled out to who reads."""
    target = version_path(folder, view)
    staged = target.with_suffix(".parquet.tmp")
    pq.write_table(table, staged, use_dictionary=[view.entity], store_schema=False)
    staged.replace(target)
