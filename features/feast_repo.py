"""The Feast repository, built in code from ``features.views``: nothing is defined twice.

Feast is imported where it is used, so that the command stays quick.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING, Any

from data_contracts.workspace import Workspace
from features.version_files import CREATED, EVENT_TS
from features.views import KNOWN, LOOKUPS, VIEWS, Lookup, View

if TYPE_CHECKING:
    import pandas as pd
    from feast import Entity, FeatureService, FeatureStore, FeatureView

PROJECT = "punctual"
SERVICE = "eta"
WRITE_BATCH_ROWS = 10_000
OURS = "schema_hash"  # the tag that marks a view of this code
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def output_names(lookup: Lookup) -> tuple[str, ...]:
    """The columns of one lookup in what ``historical`` returns."""
    return tuple(f"{lookup.alias}__{name}" for name in (*lookup.view.field_names, KNOWN))


def open_store(
    workspace: Workspace, *, as_of: datetime | None = None, online: str | None = None
) -> FeatureStore:
    """Open the workspace's Feast store.

    ``as_of`` fixes the instant of online reads, for a replayed log; ``online`` is the URL of a Redis server
    that takes the place of the workspace's own online store.
    """
    from feast import FeatureStore, RepoConfig

    workspace.registry.parent.mkdir(parents=True, exist_ok=True)
    described = describe_repo(workspace, online=online)
    described["online_store"]["as_of"] = as_of
    return FeatureStore(config=RepoConfig(**described, repo_path=workspace.root.resolve()))


def describe_repo(workspace: Workspace, *, online: str | None = None) -> dict[str, Any]:
    """Feast's configuration of a workspace, as ``feature_store.yaml`` would hold it."""
    return {
        "project": PROJECT,
        "provider": "local",
        "registry": {
            "registry_type": "sql",
            "path": f"sqlite:///{workspace.registry.resolve()}",
            "cache_ttl_seconds": 60,
            "serve_features_while_materializing": True,
            "sqlalchemy_config_kwargs": {"connect_args": {"timeout": 30}},
        },
        "offline_store": {"type": "features.offline_store.PolarsOfflineStore"},
        "online_store": {
            "type": "features.online_store.PackedOnlineStore",
            "path": online or str(workspace.online.resolve()),
        },
        "materialization": {"pull_latest_features": True, "online_write_batch_size": WRITE_BATCH_ROWS},
        "entity_key_serialization_version": 3,
    }


def write_repo_file(workspace: Workspace, *, online: str | None = None) -> None:
    """Write the configuration where Feast's own command looks for it: ``feast -c WORKSPACE ui``.

    It is made anew with every build; a Redis URL with a password makes it readable by its owner alone.
    """
    import yaml

    staged = workspace.repo_file.with_suffix(".tmp")
    staged.touch(mode=0o600)
    staged.write_text(
        yaml.safe_dump(describe_repo(workspace, online=online), sort_keys=False), encoding="utf-8"
    )
    staged.replace(workspace.repo_file)


def apply(store: FeatureStore) -> None:
    """Register entities, views and the service; doing it again changes nothing.

    A view of ours that has left the code leaves the registry; views that others added stay.
    """
    entities = _entities()
    views = {view.name: _feature_view(view, entities[view.entity]) for view in VIEWS}
    left = [view for view in store.list_feature_views() if OURS in view.tags and view.name not in views]
    store.apply(
        [*entities.values(), *views.values(), _service(views)],
        objects_to_delete=[*left, *[view.batch_source for view in left if view.batch_source]],
        partial=False,
    )


def historical(store: FeatureStore, entity_frame: pd.DataFrame) -> pd.DataFrame:
    """What each row could have known at its ``event_timestamp``: columns ``{alias}__{field}``, rows in order.

    The frame holds ``event_timestamp`` and every key column of ``LOOKUPS``; its other columns are kept.
    """
    service = store.get_feature_service(SERVICE)
    job = store.get_historical_features(entity_df=entity_frame, features=service, full_feature_names=True)
    return job.to_df()


def materialize(store: FeatureStore, until: datetime) -> None:
    """Write the last version of every entity known by ``until`` to the online store.

    It always starts from the beginning: a late version is never missed, an older one never overwrites.
    """
    with redirect_stdout(StringIO()):  # Feast prints its progress, a command's output is its own
        store.materialize(start_date=EPOCH, end_date=until)


def _entities() -> dict[str, Entity]:
    from feast import Entity, ValueType

    names = dict.fromkeys(view.entity for view in VIEWS)
    return {name: Entity(name=name, join_keys=[name], value_type=ValueType.STRING) for name in names}


def _feature_view(view: View, entity: Entity) -> FeatureView:
    from feast import FeatureView, FileSource

    return FeatureView(
        name=view.name,
        entities=[entity],
        ttl=view.ttl,
        schema=_schema(view),
        source=FileSource(
            name=view.name,
            path=f"features/{view.name}.parquet",
            timestamp_field=EVENT_TS,
            created_timestamp_column=CREATED,
        ),
        description=view.meaning,
        tags={OURS: view.schema_hash},
    )


def _schema(view: View) -> list[Any]:
    from feast import Field
    from feast.types import Float32, Int64, String

    values = [
        Field(
            name=field.name,
            dtype=Float32,
            description=field.meaning,
            tags={"unit": field.unit, "low": str(field.low), "high": str(field.high)},
        )
        for field in view.fields
    ]
    known = Field(
        name=KNOWN,
        dtype=Int64,
        description="When the version became known.",
        tags={"unit": "us since the epoch"},
    )
    return [Field(name=view.entity, dtype=String), *values, known]


def _service(views: dict[str, FeatureView]) -> FeatureService:
    from feast import FeatureService

    return FeatureService(
        name=SERVICE,
        features=[_projection(lookup, views[lookup.view.name]) for lookup in LOOKUPS],
        description="What the arrival model may know of a remaining stop.",
    )


def _projection(lookup: Lookup, view: FeatureView) -> FeatureView:
    return view.with_name(lookup.alias).with_join_key_map({lookup.view.entity: lookup.key})
