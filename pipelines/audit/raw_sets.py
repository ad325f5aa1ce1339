"""The raw columns of each adapter's files: what its canonical tables use is declared known, the rest is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import polars as pl

from pipelines.audit.raw import RawForecasts
from pipelines.sources import delhivery, kandy, lade, nyc_taxi, sendy
from pipelines.sources.reading import csv_text, parquet
from pipelines.sources.source import files

LABEL, AS_OF = "minutes to the outcome", "asked at"
_CLOCK = "%Y-%m-%d %H:%M:%S"


def nyc_taxi_raw(paths: Sequence[Path]) -> RawForecasts:
    """A trip is asked about at its pick-up; meter, fares and totals are written when it is over."""
    ids = pl.col("PULocationID", "DOLocationID").cast(pl.String)
    trips = pl.concat(
        [parquet(file).with_columns(ids) for file in files(paths, "*.parquet")], how="diagonal_relaxed"
    )
    start, end = "lpep_pickup_datetime", "lpep_dropoff_datetime"
    minutes = (pl.col(end) - pl.col(start)).dt.total_seconds() / 60
    trips = trips.with_columns(
        minutes.alias(LABEL),
        pl.col(start).alias(AS_OF),
        pl.col(start).dt.date().cast(pl.String).alias("day"),
        pl.col(start).dt.hour().alias("hour of pick-up"),
    ).filter(pl.col(LABEL).is_between(nyc_taxi.SHORTEST_MIN, nyc_taxi.LONGEST_MIN))
    pair = ("PULocationID", "DOLocationID")
    return RawForecasts(
        frame=trips,
        label=LABEL,
        as_of=AS_OF,
        known=(*_but(nyc_taxi.COLUMNS, end), "hour of pick-up"),
        outcomes=(end,),
        fold_by="day",
        within=((), pair),
        together=(pair, ("hour of pick-up", *pair[1:])),
    )


def sendy_raw(paths: Sequence[Path]) -> RawForecasts:
    """An order is asked about when its parcel is picked up; folds keep riders together, since there is no calendar."""
    orders = pl.concat([csv_text(file) for file in files(paths, "Train*.csv")], how="diagonal_relaxed")
    label = pl.col("Time from Pickup to Arrival").cast(pl.Float64, strict=False) / 60
    # One day stands for all of them: only clock times say when anything was.
    picked_up = pl.lit("2001-01-01 ") + pl.col("Pickup - Time")
    orders = orders.with_columns(
        label.alias(LABEL), picked_up.str.to_datetime("%Y-%m-%d %I:%M:%S %p", strict=False).alias(AS_OF)
    )
    outcome = "Time from Pickup to Arrival"
    return RawForecasts(
        frame=orders,
        label=LABEL,
        as_of=AS_OF,
        known=_but(sendy.COLUMNS, outcome, "Rider Id", "Order No"),
        outcomes=(outcome, "Order No"),
        fold_by="Rider Id",
        within=((), ("Rider Id",)),
        ends=("Pickup Lat", "Pickup Long", "Destination Lat", "Destination Long"),
    )


def kandy_raw(paths: Sequence[Path]) -> RawForecasts:
    """Every segment's end is asked about when its bus leaves the first one."""
    runs = pl.concat([csv_text(file) for file in files(paths, "*.csv")], how="diagonal_relaxed")
    trip, at = ["trip_id", "direction"], "{} {}"
    started, ended = (
        pl.format(at, "date", name).str.to_datetime(_CLOCK, strict=False)
        for name in ("start_time", "end_time")
    )
    left = started.filter(pl.col("segment").cast(pl.Float64, strict=False) == 1).first().over(trip)
    runs = runs.with_columns(
        left.alias(AS_OF),
        ((ended - left).dt.total_seconds() / 60).alias(LABEL),
        left.dt.hour().alias("hour of departure"),
        ((ended - started).dt.total_seconds() / 60).alias("minutes of the segment"),
    ).filter(pl.col(LABEL).is_between(0, 180, closed="none"))
    return RawForecasts(
        frame=runs,
        label=LABEL,
        as_of=AS_OF,
        further_labels=("minutes of the segment",),
        known=(*_but(kandy.COLUMNS, "trip_id", "start_time", "end_time", "date"), "hour of departure"),
        outcomes=("end_time", "trip_id"),
        fold_by="date",
        within=((), ("direction", "segment"), ("direction", "segment", "hour of departure")),
        together=(("direction", "segment"),),
    )


def delhivery_raw(paths: Sequence[Path]) -> RawForecasts:
    """A leg is asked about when it starts; other people's predictions of it are columns of the file too."""
    found = [file for file in files(paths, "legs*.csv") if file.name != delhivery.CORRIDORS]
    legs = pl.concat([csv_text(file) for file in found], how="diagonal_relaxed").with_columns(
        pl.col("actual_time").cast(pl.Float64, strict=False).alias(LABEL),
        pl.col("od_start_time").str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False).alias(AS_OF),
    )
    pair = ("source_center", "destination_center")
    known = list(_but(delhivery.COLUMNS, "actual_time", "trip_uuid"))
    corridors = found[0].with_name(delhivery.CORRIDORS)
    if corridors.is_file():
        told = csv_text(corridors).rename(lambda name: name if name in pair else f"corridor's {name}")
        legs = legs.join(told.unique(pair, maintain_order=True), on=pair, how="left", maintain_order="left")
        known += [name for name in told.columns if name not in pair]
    return RawForecasts(
        frame=legs,
        label=LABEL,
        as_of=AS_OF,
        known=tuple(known),
        outcomes=("actual_time",),
        fold_by="trip_uuid",
        within=((), pair),
        together=(pair,),
    )


def lade_raw(paths: Sequence[Path]) -> RawForecasts:
    """An order is asked about when it is accepted; where and when the courier handed it over came later."""
    accepted, delivered = (
        pl.format(f"{lade.DEFAULT_YEAR}-{{}}", name).str.to_datetime(_CLOCK, strict=False)
        for name in ("accept_time", "delivery_time")
    )
    orders = pl.concat([csv_text(file) for file in files(paths, "*.csv")], how="diagonal_relaxed")
    orders = orders.with_columns(
        accepted.alias(AS_OF), ((delivered - accepted).dt.total_seconds() / 60).alias(LABEL)
    )
    later = ("delivery_time", "delivery_gps_time", "delivery_gps_lng", "delivery_gps_lat")
    return RawForecasts(
        frame=orders.filter(pl.col(LABEL) > 0),
        label=LABEL,
        as_of=AS_OF,
        known=_but(lade.COLUMNS, *later, "order_id", "ds"),
        outcomes=("delivery_time", "order_id"),
        fold_by="ds",
        within=((), ("courier_id",)),
        together=(("courier_id", "aoi_id"),),
    )


def _but(columns: Iterable[str], *names: str) -> tuple[str, ...]:
    return tuple(name for name in columns if name not in names)


RAW: dict[str, Callable[[Sequence[Path]], RawForecasts]] = {
    "nyc_taxi": nyc_taxi_raw,
    "sendy": sendy_raw,
    "kandy": kandy_raw,
    "delhivery": delhivery_raw,
    "lade": lade_raw,
}
