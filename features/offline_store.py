"""Feast's offline store: point-in-time joins from Parquet files, as ``features.as_of_join`` defines them.

Named in Feast's configuration as ``features.offline_store.PolarsOfflineStore``. Rows keep their order.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import polars as pl
import pyarrow as pa
from feast import FeatureView, OnDemandFeatureView
from feast.data_source import DataSource
from feast.errors import EntityTimestampInferenceException, FeastJoinKeysDuringMaterialization
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import PositiveInt

from data_contracts.errors import WorkspaceError
from features.as_of_join import AsOfJoin
from features.retrieval_job import AsOfRetrievalJob, PolarsRetrievalJob, local_path


class PolarsOfflineStoreConfig(FeastConfigBaseModel):
    """How much memory a join may take; larger ones go on in partitions, their columns in temporary files."""

    type: Literal["features.offline_store.PolarsOfflineStore"] = "features.offline_store.PolarsOfflineStore"
    memory_mb: PositiveInt = 4096


class PolarsOfflineStore(OfflineStore):
    """Exact on age, ties of the created timestamp, null keys, duplicate rows and row order."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """Join every requested projection to the entity rows as of their timestamps.

        Without entity rows there is one for each entity that has a version within the dates, as of the end.
        """
        joins = _joins(feature_views, feature_refs, config.repo_path, full_feature_names)
        if filter_by_created_timestamp:
            joins = [replace(join, by_created=join.created is not None) for join in joins]
        if entity_df is None:
            entity_df = _every_entity(joins, start_date, end_date)
        if not isinstance(entity_df, pd.DataFrame):
            raise NotImplementedError(
                "PolarsOfflineStore: pass the entity rows as a pandas DataFrame, or none"
            )
        event_ts = _event_ts(entity_df)
        outputs = tuple(name for join in joins for name in join.outputs.values())
        _refuse_clashes(outputs, list(entity_df.columns), full_feature_names)
        return AsOfRetrievalJob(
            entity_df,
            event_ts,
            joins,
            limit_bytes=config.offline_store.memory_mb * 2**20,
            repo_path=config.repo_path,
            full_feature_names=full_feature_names,
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


def _every_entity(joins: list[AsOfJoin], start: datetime | None, end: datetime | None) -> pd.DataFrame:
    """A row at the end of the dates, by default now, for each entity that has a version within them."""
    end = end or datetime.now(UTC)
    names = {tuple(sorted(join.keys.values())) for join in joins}
    if len(names) != 1:
        raise WorkspaceError(
            "without entity rows the views must share their join keys",
            where="get_historical_features",
            next_step="pass entity rows",
        )
    seen = pl.concat([_entities_of(join, start, end) for join in joins], how="diagonal_relaxed").unique(
        maintain_order=True
    )
    rows = seen.to_pandas()
    instant = pd.Timestamp(end).as_unit("us")
    return rows.assign(
        **{
            DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL: pd.Series(
                [instant] * len(rows), dtype="datetime64[us, UTC]"
            )
        }
    )


def _entities_of(join: AsOfJoin, start: datetime | None, end: datetime) -> pl.DataFrame:
    versions = _within(pl.scan_parquet(join.path), join.event_ts, start, end)
    keyed = versions.select(pl.col(column).alias(key) for column, key in sorted(join.keys.items()))
    return keyed.drop_nulls().unique().sort(pl.all()).collect()


def _refuse_clashes(outputs: tuple[str, ...], columns: list[str], full_names: bool) -> None:
    """A feature's full name wins over a column of the entity rows; a short name is ambiguous."""
    clashes = sorted(set(outputs) & set(columns))
    if clashes and not full_names:
        raise WorkspaceError(
            f"{', '.join(clashes)}: the entity rows hold a column of that name",
            where="get_historical_features",
            next_step="ask with full_feature_names=True",
        )


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
    event_us = pl.col(event_ts).dt.epoch("us")
    if start is not None:
        versions = versions.filter(event_us >= _epoch_us_of(start))
    if end is not None:
        versions = versions.filter(event_us <= _epoch_us_of(end))
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
    path = local_path(source.path, repo_path)
    if not path.exists():
        raise WorkspaceError(
            "the versions of this view have not been built",
            where=str(path),
            next_step="run `punctual features build`",
        )
    return str(path)


def _instant(value: Any) -> datetime:
    """A timestamp of the entity rows as an aware datetime."""
    instant = pd.Timestamp(value)
    return (instant.tz_localize(UTC) if instant.tzinfo is None else instant).to_pydatetime(warn=False)


def _epoch_us_of(instant: datetime) -> int:
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
