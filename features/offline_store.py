"""Feast's offline store on Polars: point-in-time joins from Parquet by ``join_asof``.

Named in Feast's configuration as ``features.offline_store.PolarsOfflineStore``. For each entity row and view
it takes the last version whose event timestamp is at most the row's; among equal ones the greatest created
timestamp; nothing when it is older than the view's time to live (boundary included). Rows keep their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureView, OnDemandFeatureView
from feast.data_source import DataSource
from feast.errors import (
    EntityTimestampInferenceException,
    FeastJoinKeysDuringMaterialization,
    SavedDatasetLocationAlreadyExists,
)
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.saved_dataset import SavedDatasetStorage

from data_contracts.errors import WorkspaceError

# Columns of our own; a double underscore at the start is no name of a feature.
ROW = "__row"
AS_OF_US = "__as_of_us"
EVENT_TS_US = "__event_ts_us"
CREATED_US = "__created_us"
VERSION = "__version"


class PolarsOfflineStoreConfig(FeastConfigBaseModel):
    """Nothing to set: the sources say where their files lie."""

    type: Literal["features.offline_store.PolarsOfflineStore"] = "features.offline_store.PolarsOfflineStore"


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOfJoin:
    """How one projection of a view is joined to the entity rows.

    ``keys`` maps columns of the source to columns of the entity rows, ``outputs`` features to their output
    names. ``ttl_us`` is None where versions stay valid for ever.
    """

    path: str
    keys: dict[str, str]
    outputs: dict[str, str]
    event_ts: str
    created: str | None
    ttl_us: int | None


class PolarsRetrievalJob(RetrievalJob):
    """A retrieval that runs when its result is asked for."""

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
        path = _local_path(storage.file_options.uri, self._repo_path)
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=storage.file_options.uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        pq.write_table(self.to_arrow(), partial)
        partial.replace(path)


class PolarsOfflineStore(OfflineStore):
    """Exact on age, ties of the created timestamp, null keys, duplicate rows and row order."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **kwargs: object,
    ) -> RetrievalJob:
        """Join every requested projection to the entity rows as of their timestamps."""
        if not isinstance(entity_df, pd.DataFrame) or kwargs:
            raise NotImplementedError(
                "PolarsOfflineStore: pass the entity rows as a pandas DataFrame, no range"
            )
        event_ts = _event_ts(entity_df)
        joins = _joins(feature_views, feature_refs, config.repo_path, full_feature_names)
        outputs = tuple(name for join in joins for name in join.outputs.values())
        _refuse_clashes(outputs, list(entity_df.columns), full_feature_names)
        return PolarsRetrievalJob(
            lambda: _retrieve(entity_df, event_ts, joins),
            repo_path=config.repo_path,
            full_feature_names=full_feature_names,
            features=outputs,
            on_demand_feature_views=OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            metadata=RetrievalMetadata(
                features=feature_refs,
                keys=[column for column in entity_df.columns if column not in {event_ts, *outputs}],
                min_event_timestamp=_instant(entity_df[event_ts].min()),
                max_event_timestamp=_instant(entity_df[event_ts].max()),
            ),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Take the last version of each key within the dates, both included."""
        versions = _scan(data_source, config.repo_path, join_key_columns)
        times = [timestamp_field, *([created_timestamp_column] if created_timestamp_column else [])]
        latest = (
            _within(versions, timestamp_field, start_date, end_date)
            .sort(times, nulls_last=False, maintain_order=True)
            .unique(join_key_columns, keep="last", maintain_order=True)
        )
        return _pull(config, latest, [*join_key_columns, *feature_name_columns, *times], feature_name_columns)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Take every version within the dates, both included, in the file's order."""
        versions = _scan(data_source, config.repo_path, join_key_columns)
        times = [timestamp_field, *([created_timestamp_column] if created_timestamp_column else [])]
        every = _within(versions, timestamp_field, start_date, end_date)
        return _pull(config, every, [*join_key_columns, *feature_name_columns, *times], feature_name_columns)


def _event_ts(entity_df: pd.DataFrame) -> str:
    """The entity rows' timestamp column: ``event_timestamp``, or the only one that holds instants."""
    if DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL in entity_df.columns:
        return DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL
    instants = list(entity_df.select_dtypes(["datetime", "datetimetz"]).columns)
    if len(instants) != 1:
        raise EntityTimestampInferenceException(DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL)
    return instants[0]


def _joins(
    feature_views: list[FeatureView], feature_refs: list[str], repo_path: Path | None, full_names: bool
) -> list[AsOfJoin]:
    """One join for each requested projection, features in the order of the request."""
    requested: dict[str, list[str]] = {}
    for ref in feature_refs:
        alias, feature = ref.split(":", 1)
        requested.setdefault(alias, []).append(feature)
    projections = {view.projection.name_to_use(): view for view in feature_views}
    return [
        _join(projections[alias], alias, features, repo_path, full_names)
        for alias, features in requested.items()
        if alias in projections
    ]


def _join(
    view: FeatureView, alias: str, features: list[str], repo_path: Path | None, full_names: bool
) -> AsOfJoin:
    source = _file_source(view.batch_source)
    column_of = {to: column for column, to in source.field_mapping.items()}
    renamed = view.projection.join_key_map
    return AsOfJoin(
        path=_source_path(source, repo_path),
        keys={
            column_of.get(key.name, key.name): renamed.get(key.name, key.name) for key in view.entity_columns
        },
        outputs={
            column_of.get(name, name): f"{alias}__{name}" if full_names else name
            for name in dict.fromkeys(features)
        },
        event_ts=source.timestamp_field,
        created=source.created_timestamp_column or None,
        ttl_us=view.ttl // timedelta(microseconds=1) if view.ttl else None,
    )


def _refuse_clashes(outputs: tuple[str, ...], columns: list[str], full_names: bool) -> None:
    """A feature's full name wins over a column of the entity rows; a short name is ambiguous."""
    clashes = sorted(set(outputs) & set(columns))
    if clashes and not full_names:
        raise WorkspaceError(
            f"{', '.join(clashes)}: the entity rows hold a column of that name",
            where="get_historical_features",
            next_step="ask with full_feature_names=True",
        )


def _retrieve(entity_df: pd.DataFrame, event_ts: str, joins: list[AsOfJoin]) -> pa.Table:
    """Join every view to the entity rows; the rows' own columns come back untouched."""
    taken = {name for join in joins for name in join.outputs.values()}
    rows = pa.Table.from_pandas(entity_df, preserve_index=False)
    moments = _moments(rows, event_ts, {key for join in joins for key in join.keys.values()})
    features = [_as_of(moments, join) for join in joins]
    rows = rows.drop_columns([name for name in rows.column_names if name in taken])
    for frame in features:
        found = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        for name in found.column_names:
            rows = rows.append_column(name, found.column(name))
    return rows


def _moments(rows: pa.Table, event_ts: str, keys: set[str]) -> pl.DataFrame:
    """The join keys and instants of the entity rows, by instant; a naive time is UTC."""
    missing = sorted(keys - set(rows.column_names))
    if missing:
        raise WorkspaceError(
            f"the entity rows lack the join keys {', '.join(missing)}",
            where="get_historical_features",
            next_step="add these columns",
        )
    frame = pl.DataFrame(pl.from_arrow(rows.select([event_ts, *sorted(keys)])))
    return frame.select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias(ROW), _epoch_us(event_ts).alias(AS_OF_US), *sorted(keys)
    ).sort(AS_OF_US, nulls_last=True)


def _as_of(moments: pl.DataFrame, join: AsOfJoin) -> pl.DataFrame:
    """The join's features for each entity row, in the rows' own order.

    Only the number of the version goes through the join; its features are gathered afterwards.
    """
    versions = _versions(moments, join)
    numbered = versions.select(EVENT_TS_US, *join.keys).with_row_index(VERSION)
    usable = pl.lit(True) if join.ttl_us is None else pl.col(AS_OF_US) - pl.col(EVENT_TS_US) <= join.ttl_us
    at = (
        moments.select(ROW, AS_OF_US, *_left_keys(join, versions.schema, moments.schema))
        .join_asof(
            numbered,
            left_on=AS_OF_US,
            right_on=EVENT_TS_US,
            by=list(join.keys),
            strategy="backward",
            coalesce=False,
            check_sortedness=False,
        )
        .select(ROW, pl.when(usable).then(VERSION).alias(VERSION))
        .sort(ROW)
        .get_column(VERSION)
    )
    return versions.select(pl.col(name).gather(at).alias(output) for name, output in join.outputs.items())


def _versions(moments: pl.DataFrame, join: AsOfJoin) -> pl.DataFrame:
    """The versions that any entity row could take, by event and created timestamp."""
    first_us = pl.lit(moments[AS_OF_US].min(), pl.Int64)
    last_us = pl.lit(moments[AS_OF_US].max(), pl.Int64)
    in_reach = pl.col(EVENT_TS_US) <= last_us
    if join.ttl_us is not None:
        in_reach &= pl.col(EVENT_TS_US) >= first_us - join.ttl_us
    created = _epoch_us(join.created) if join.created else pl.lit(0, pl.Int64)
    return (
        pl.scan_parquet(join.path)
        .select(
            _epoch_us(join.event_ts).alias(EVENT_TS_US),
            created.alias(CREATED_US),
            *dict.fromkeys([*join.keys, *join.outputs]),
        )
        .filter(in_reach)
        .sort(EVENT_TS_US, CREATED_US, nulls_last=False, maintain_order=True)
        .drop(CREATED_US)
        .collect()
    )


def _left_keys(join: AsOfJoin, right: pl.Schema, left: pl.Schema) -> list[pl.Expr]:
    """The entity rows' key columns under the source's names and types; a fraction matches no integer."""
    keys = []
    for column, key in join.keys.items():
        value = pl.col(key)
        if left[key].is_float() and right[column].is_integer():
            value = pl.when(value == value.floor()).then(value)
        keys.append(value.cast(right[column], strict=False).alias(column))
    return keys


def _epoch_us(column: str) -> pl.Expr:
    return pl.col(column).dt.epoch("us")


def _scan(source: DataSource, repo_path: Path | None, join_keys: list[str]) -> pl.LazyFrame:
    path = _source_path(_file_source(source), repo_path)
    versions = pl.scan_parquet(path)
    columns = set(versions.collect_schema().names())
    if not set(join_keys) <= columns:
        raise FeastJoinKeysDuringMaterialization(path, set(join_keys), columns)
    return versions.filter(pl.all_horizontal(pl.col(key).is_not_null() for key in join_keys))


def _within(
    versions: pl.LazyFrame, event_ts: str, start: datetime | None, end: datetime | None
) -> pl.LazyFrame:
    if start is not None:
        versions = versions.filter(_epoch_us(event_ts) >= _epoch_us_of(start))
    if end is not None:
        versions = versions.filter(_epoch_us(event_ts) <= _epoch_us_of(end))
    return versions


def _pull(
    config: RepoConfig, versions: pl.LazyFrame, columns: list[str], features: list[str]
) -> PolarsRetrievalJob:
    """A job for these columns; for all of them when no feature is named, as Feast has it."""
    chosen = versions.select(*dict.fromkeys(columns)) if features else versions

    def evaluate() -> pa.Table:
        # Feast's materialization writes the first chunk of a table and no other.
        return chosen.collect().rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()

    return PolarsRetrievalJob(evaluate, repo_path=config.repo_path, features=tuple(features))


def _file_source(source: DataSource | None) -> FileSource:
    if isinstance(source, FileSource):
        return source
    raise WorkspaceError(
        f"PolarsOfflineStore reads Parquet files, not {type(source).__name__}",
        next_step="give the feature view a FileSource",
    )


def _source_path(source: FileSource, repo_path: Path | None) -> str:
    path = _local_path(source.path, repo_path)
    if not path.exists():
        raise WorkspaceError(
            "the versions of this view have not been built",
            where=str(path),
            next_step="run `punctual features build`",
        )
    return str(path)


def _local_path(uri: str, repo_path: Path | None) -> Path:
    return Path(FileSource.get_uri_for_file_path(repo_path, uri.removeprefix("file://")))


def _to_pandas(table: pa.Table, features: tuple[str, ...]) -> pd.DataFrame:
    frame = table.to_pandas().reset_index(drop=True)
    nullable = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype()}
    for name in features:
        if name in table.column_names and table.schema.field(name).type in nullable:
            frame[name] = table.column(name).to_pandas(types_mapper=nullable.get)
    return frame


def _instant(value: Any) -> datetime:
    """A timestamp of the entity rows as an aware datetime."""
    instant = pd.Timestamp(value)
    return (instant.tz_localize(UTC) if instant.tzinfo is None else instant).to_pydatetime(warn=False)


def _epoch_us_of(instant: datetime) -> int:
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
