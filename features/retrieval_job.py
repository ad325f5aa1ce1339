"""Retrievals of the offline store: they run when their result is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import OnDemandFeatureView
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.saved_dataset import SavedDatasetStorage

from data_contracts.errors import WorkspaceError
from features.as_of_join import AsOfJoin, Memory, Moments, retrieve
from features.columns import Column

ROWS_A_GROUP = 131_072


class PolarsRetrievalJob(RetrievalJob):
    """A retrieval that gives an Arrow table."""

    def __init__(
        self,
        evaluate: Callable[[], pa.Table],
        *,
        repo_path: Path | None,
        full_feature_names: bool = False,
        features: tuple[str, ...] = (),
        on_demand_feature_views: list[OnDemandFeatureView] | None = None,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._evaluate = evaluate
        self._repo_path = repo_path
        self._full_feature_names = full_feature_names
        self._features = features
        self._on_demand_feature_views = on_demand_feature_views or []
        self._metadata = metadata

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def to_df(self, validation_reference: Any = None, timeout: int | None = None) -> pd.DataFrame:
        """Integers of features stay integers (pandas Int64), nulls included."""
        table = self.to_arrow(validation_reference=validation_reference, timeout=timeout)
        return _to_pandas(table, self._features)

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return _to_pandas(self._evaluate(), self._features)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._evaluate()

    def persist(
        self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None
    ) -> None:
        """Write the result to one Parquet file, all of it or nothing."""
        if not isinstance(storage, SavedDatasetFileStorage):
            raise WorkspaceError(
                f"a data set is saved to a file, not to {type(storage).__name__}",
                next_step="pass a SavedDatasetFileStorage",
            )
        path = local_path(storage.file_options.uri, self._repo_path)
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=storage.file_options.uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        pq.write_table(self.to_arrow(), partial, row_group_size=ROWS_A_GROUP)
        partial.replace(path)


class AsOfRetrievalJob(PolarsRetrievalJob):
    """A point-in-time join to entity rows, whose own columns come back untouched."""

    def __init__(
        self,
        entity_df: pd.DataFrame,
        event_ts: str,
        joins: Sequence[AsOfJoin],
        *,
        limit_bytes: int,
        repo_path: Path | None,
        full_feature_names: bool,
        on_demand_feature_views: list[OnDemandFeatureView],
        metadata: RetrievalMetadata,
    ) -> None:
        self._entity_df, self._event_ts, self._joins = entity_df, event_ts, joins
        self._limit_bytes = limit_bytes
        super().__init__(
            self._joined,
            repo_path=repo_path,
            full_feature_names=full_feature_names,
            features=tuple(name for join in joins for name in join.outputs.values()),
            on_demand_feature_views=on_demand_feature_views,
            metadata=metadata,
        )

    def to_df(self, validation_reference: Any = None, timeout: int | None = None) -> pd.DataFrame:
        """Integers of features stay integers (pandas Int64), nulls included."""
        if validation_reference is None and not self.on_demand_feature_views:
            return self._to_df_internal(timeout)
        return super().to_df(validation_reference, timeout)

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        columns = self._columns()
        found = {name: column.to_pandas() for name, column in columns.items()}
        features = pd.DataFrame(found, index=pd.RangeIndex(len(self._entity_df)), copy=False)
        return pd.concat([self._own(columns), features], axis="columns", copy=False)

    def _joined(self) -> pa.Table:
        columns = self._columns()
        rows = pa.Table.from_pandas(self._own(columns), preserve_index=False)
        for name, column in columns.items():
            rows = rows.append_column(name, column.to_arrow())
        return rows

    def _own(self, columns: dict[str, Column]) -> pd.DataFrame:
        """The entity rows, but for columns of a feature's name; nothing is copied."""
        rows = self._entity_df[[name for name in self._entity_df.columns if name not in columns]]
        rows = rows.copy(deep=False)
        rows.index = pd.RangeIndex(len(rows))
        return rows

    def _columns(self) -> dict[str, Column]:
        moments = Moments.of(self._entity_df, self._event_ts, self._joins)
        with TemporaryDirectory(prefix="punctual-join-") as folder:
            return retrieve(moments, self._joins, Memory(self._limit_bytes, Path(folder)))


def local_path(uri: str, repo_path: Path | None) -> Path:
    """Where a file of a source lies; relative to the repository."""
    return Path(FileSource.get_uri_for_file_path(repo_path, uri.removeprefix("file://")))


def _to_pandas(table: pa.Table, features: tuple[str, ...]) -> pd.DataFrame:
    frame = table.to_pandas().reset_index(drop=True)
    nullable = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}
    for name in features:
        if name in table.column_names and table.schema.field(name).type in nullable:
            frame[name] = table.column(name).to_pandas(types_mapper=nullable.get)
    return frame
