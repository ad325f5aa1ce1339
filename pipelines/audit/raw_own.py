"""Columns of our own tables' files that no contract knows: nobody has said when they are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa

from data_contracts.tables import ROUTES, STOPS
from pipelines.audit.coverage import drives
from pipelines.audit.profile import check
from pipelines.audit.raw import RawForecasts
from pipelines.audit.recognise import own_files
from pipelines.sources.canonical import MAPPING
from pipelines.sources.reading import read_any

LABEL, AS_OF = "minutes to the outcome", "asked at"
_NOT_KNOWN = {"event_id", "received_at", "occurred_at", "stop_id", "route_id"}


def own_raw(path: Path, tables: Mapping[str, pa.Table]) -> RawForecasts | None:
    """Stops with the undeclared columns of their files, asked about at departure; None where there are none.

    A mapping file says by itself what is left out, so that its files are not looked at.
    """
    extra = _extra(path)
    if extra is None or any(name not in tables for name in ("routes", "stops", "stop_events")):
        return None
    good = check({name: tables[name] for name in ("routes", "stops", "stop_events")}).good
    departed = (
        good["stop_events"]
        .filter(pl.col("kind") == "departed_depot")
        .group_by("route_id")
        .agg(pl.col("occurred_at").min().alias(AS_OF))
    )
    known = [name for name in STOPS.names if name not in _NOT_KNOWN]
    stops = good["stops"].sort("received_at").unique("stop_id", keep="first").select("stop_id", *known)
    routes = good["routes"].unique("route_id", keep="first").select("route_id", *_OF_ROUTE)
    rows = (
        drives(good)
        .select("stop_id", "route_id", "reached_at")
        .join(departed, on="route_id")
        .join(stops, on="stop_id")
        .join(routes, on="route_id")
        .join(extra, on="stop_id", how="left")
        .with_columns(((pl.col("reached_at") - pl.col(AS_OF)).dt.total_microseconds() / 60e6).alias(LABEL))
        .filter(pl.col(LABEL) > 0)
    )
    return RawForecasts(
        frame=rows,
        label=LABEL,
        as_of=AS_OF,
        known=(*known, *(name for name in _OF_ROUTE if name != "service_date")),
        outcomes=("reached_at", "stop_id", "route_id"),
        fold_by="service_date",
        within=((), ("zone_id",)),
    )


_OF_ROUTE = ("service_date", "origin_zone_id", "depot_id", "courier_id", "vehicle_type")


def _extra(path: Path) -> pl.DataFrame | None:
    """The columns of stop files that the contract does not know, by stop."""
    if (path / MAPPING).is_file():
        return None
    declared = {*STOPS.names, *ROUTES.names}
    frames = []
    for file in own_files(path, STOPS):
        frame = read_any(file)
        extra = [n for n, dtype in frame.schema.items() if n not in declared and not dtype.is_nested()]
        if extra:
            frames.append(frame.select(pl.col("stop_id").cast(pl.String), *extra))
    return pl.concat(frames, how="diagonal_relaxed").unique("stop_id", keep="last") if frames else None
