"""Feast's online store on the packed vectors of ``features.online``: the same bytes, the same rules.

Named in Feast's configuration as ``features.online_store.PackedOnlineStore``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from feast import Entity, FeatureView
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.types import Float32
from pydantic import StrictStr

from data_contracts.errors import WorkspaceError
from features.online import OnlineRows, Status, Versions
from features.online_place import Reader, Writer, may_hold_something, reader_at, writer_at
from features.views import KNOWN, Field, View

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: An entity, its features, its event timestamp and its created timestamp, as Feast hands them over.
FeastRow = tuple[EntityKey, dict[str, Value], datetime, datetime | None]


class PackedOnlineStoreConfig(FeastConfigBaseModel):
    """Where the vectors lie: a file or a Redis URL.

    ``as_of`` fixes the instant that reads stand at, for a replayed log.
    """

    type: Literal["features.online_store.PackedOnlineStore"] = "features.online_store.PackedOnlineStore"
    path: StrictStr
    as_of: datetime | None = None


class PackedOnlineStore(OnlineStore):
    """One packed vector for each entity and view; refuses older versions, enforces age on read."""

    def __init__(self) -> None:
        self._readers: dict[str, Reader] = {}
        self._writers: dict[str, Writer] = {}

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[FeastRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows that are newer than what is stored; a row without a key is left out."""
        self._writer(config).publish(_versions(view_of(table), data))
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Read values as of now: None for an entity never seen, null values for one that is too old."""
        view = view_of(table)
        as_of_us = epoch_us(config.online_store.as_of or datetime.now(UTC))
        rows = self._reader(config).read(view, [entity_id(key) for key in entity_keys], as_of_us)
        names = requested_features or [*view.field_names, KNOWN]
        return _protos(view, rows, names)

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Refuse views that do not fit one packed vector; forget the deleted ones."""
        for table in tables_to_keep:
            view_of(table)
        if tables_to_delete:
            self._writer(config).forget(table.name for table in tables_to_delete)

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        if may_hold_something(config.online_store.path):
            self._writer(config).forget(table.name for table in tables)
        self._disconnect()

    async def close(self) -> None:
        self._disconnect()

    def _disconnect(self) -> None:
        for reader in self._readers.values():
            reader.close()
        for writer in self._writers.values():
            writer.close()

    def _reader(self, config: RepoConfig) -> Reader:
        path = config.online_store.path
        if path not in self._readers:
            self._readers[path] = reader_at(path)
        return self._readers[path]

    def _writer(self, config: RepoConfig) -> Writer:
        path = config.online_store.path
        if path not in self._writers:
            self._writers[path] = writer_at(path)
        return self._writers[path]


def view_of(table: FeatureView) -> View:
    """The view that a Feast definition stands for, with the same schema hash."""
    if len(table.entity_columns) != 1:
        raise WorkspaceError(
            f"it has {len(table.entity_columns)} join keys, a packed vector has one",
            where=table.name,
            next_step="join the keys into one text column",
        )
    fields = [field for field in table.features if field.name != KNOWN]
    other = [f"{field.name} {field.dtype}" for field in fields if field.dtype != Float32]
    if other:
        raise WorkspaceError(
            f"a packed vector holds Float32 alone, not {', '.join(other)}",
            where=table.name,
            next_step="declare these fields as Float32",
        )
    return View(
        name=table.name,
        entity=table.entity_columns[0].name,
        fields=tuple(_field(field.name, field.tags, field.description) for field in fields),
        ttl=table.ttl or timedelta.max,
        meaning=table.description,
    )


def _field(name: str, tags: dict[str, str], meaning: str) -> Field:
    low, high = float(tags.get("low", "-inf")), float(tags.get("high", "inf"))
    return Field(name=name, unit=tags.get("unit", ""), low=low, high=high, meaning=meaning)


def entity_id(key: EntityKey) -> str | None:
    """The plain join key; None where it is null."""
    value = key.entity_values[0]
    kind = value.WhichOneof("val")
    return None if kind is None else str(getattr(value, kind))


def epoch_us(instant: datetime) -> int:
    """Microseconds since the epoch, to the last one; a naive time is UTC."""
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


def _versions(view: View, data: list[FeastRow]) -> Versions:
    keyed = [(entity, row) for row in data if (entity := entity_id(row[0])) is not None]
    return Versions(
        view=view,
        ids=[entity for entity, _ in keyed],
        values=_matrix(view, [row[1] for _, row in keyed]),
        known_us=np.array([epoch_us(row[2]) for _, row in keyed], np.int64),
        created_us=np.array([epoch_us(row[3] or EPOCH) for _, row in keyed], np.int64),
    )


def _matrix(view: View, values: list[dict[str, Value]]) -> npt.NDArray[np.float32]:
    """Feature protos as rows in the view's field order; a null is NaN."""
    flat = [_number(row.get(name)) for row in values for name in view.field_names]
    return np.array(flat, np.float32).reshape(len(values), len(view.fields))


def _number(value: Value | None) -> float:
    return value.float_val if value is not None and value.HasField("float_val") else float("nan")


def _protos(
    view: View, rows: OnlineRows, names: list[str]
) -> list[tuple[datetime | None, dict[str, Value] | None]]:
    position = {name: index for index, name in enumerate(view.field_names)}
    answers: list[tuple[datetime | None, dict[str, Value] | None]] = []
    for values, known_us, status in zip(
        rows.values.tolist(), rows.known_us.tolist(), rows.status.tolist(), strict=True
    ):
        if status == Status.MISSING:
            answers.append((None, None))
        elif status != Status.PRESENT:
            answers.append((None, {name: Value() for name in names}))
        else:
            known = EPOCH + timedelta(microseconds=known_us)
            answers.append((known, {name: _value(name, values, position, known_us) for name in names}))
    return answers


def _value(name: str, values: list[float], position: dict[str, int], known_us: int) -> Value:
    return Value(int64_val=known_us) if name == KNOWN else Value(float_val=values[position[name]])
