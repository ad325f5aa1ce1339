"""Hourly weather of Open-Meteo: its JSON answers as a feed, and its CSV exports beside a source.

An answer has no issue time. With ``received_at`` it is a forecast fetched then (hours that were over are
observations of that moment); without, it is an archive, and an hour counts as known when it is over. Values keep the
hour that they are stamped with, in both forms alike; Open-Meteo's precipitation is the sum up to that stamp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from data_contracts.errors import SourceError
from data_contracts.tables import WEATHER
from pipelines.sources.reading import json_objects
from pipelines.sources.shape import fit
from pipelines.sources.source import Loaded, files
from pipelines.sources.units import convert

#: Snow that melts to 1 mm of water is 0.7 cm deep, the ratio that Open-Meteo itself uses.
SNOW_CM_PER_MM = 0.7
NAMES = {
    "temperature_c": ("temperature_2m",),
    "precipitation_mm": ("precipitation",),
    "snow_cm": ("snowfall",),
    "wind_mps": ("wind_speed_10m", "windspeed_10m"),
    "cloud_share": ("cloud_cover", "cloudcover"),
}
CSV_COLUMNS = {
    "temperature_c": pl.col("temperature_2m (°C)"),
    "precipitation_mm": pl.col("precipitation (mm)"),
    "snow_cm": (pl.col("precipitation (mm)") - pl.col("rain (mm)")).clip(lower_bound=0) * SNOW_CM_PER_MM,
    "wind_mps": pl.col("windspeed_10m (km/h)") / 3.6,
    "cloud_share": pl.col("cloudcover (%)") / 100,
}


class OpenMeteo:
    """Adapter of Open-Meteo's hourly JSON, one area an instance."""

    name = "open_meteo"

    def __init__(self, area_id: str = "area") -> None:
        self.area_id = area_id

    def load(self, paths: Sequence[Path], received_at: datetime | None = None) -> Loaded:
        frames = [
            _hours(answer, file, self.area_id, received_at)
            for file in files(paths, "*.json")
            for answer in json_objects(file)
        ]
        return Loaded({"weather": fit(pl.concat(frames), "weather")})


def weather_of(paths: Sequence[Path], area_id: str) -> pa.Table:
    """Hourly observations from a CSV export, in UTC; an hour is known when it is over."""
    try:
        hours = pl.concat(pl.read_csv(path, infer_schema_length=None) for path in paths)
        valid_at = hours["full_time"].str.to_datetime("%Y-%m-%dT%H:%M", time_zone="UTC", time_unit="us")
        values = hours.select(**CSV_COLUMNS)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise SourceError(
            f"not an hourly weather table ({error})",
            where=str(paths[0]),
            next_step="name a CSV with Open-Meteo's columns",
        ) from error
    known = valid_at.dt.offset_by("1h")
    rows = values.with_columns(
        event_id=pl.format("weather-{}-{}", pl.lit(area_id), valid_at.dt.epoch("s")),
        occurred_at=valid_at,
        received_at=known,
        area_id=pl.lit(area_id),
        kind=pl.lit("observed"),
        valid_at=valid_at,
        issued_at=known,
    )
    return fit(rows, "weather")


def _hours(answer: Mapping[str, Any], file: Path, area_id: str, received_at: datetime | None) -> pl.DataFrame:
    hourly, units = answer.get("hourly"), answer.get("hourly_units", {})
    if not isinstance(hourly, dict) or not isinstance(units, dict) or not hourly.get("time"):
        raise _fault(file, "has no hourly.time", "fetch it with hourly=temperature_2m,precipitation,...")
    valid_at = _valid_at(hourly["time"], answer, file)
    values = {
        column: found
        for column, names in NAMES.items()
        if (found := _values(column, names, hourly, units, file, len(valid_at))) is not None
    }
    over_at = pl.col("valid_at").dt.offset_by("1h")
    at = over_at if received_at is None else pl.lit(received_at).cast(pl.Datetime("us", "UTC"))
    return (
        pl.DataFrame({"valid_at": valid_at, **values})
        .with_columns(
            received_at=at,
            issued_at=at,
            occurred_at=pl.min_horizontal("valid_at", at),
            kind=pl.when(over_at <= at).then(pl.lit("observed")).otherwise(pl.lit("forecast")),
            area_id=pl.lit(area_id),
        )
        .with_columns(
            event_id=pl.format(
                "open_meteo:{}:{}:{}",
                "area_id",
                pl.col("valid_at").dt.epoch("s"),
                pl.col("issued_at").dt.epoch("s"),
            )
        )
    )


def _valid_at(times: Sequence[Any], answer: Mapping[str, Any], file: Path) -> pl.Series:
    """Hours as instants: text of the answer's own offset, or seconds of the epoch."""
    offset_s = answer.get("utc_offset_seconds", 0)
    if not isinstance(offset_s, int):
        raise _fault(file, "utc_offset_seconds is not a whole number", "fetch it again")
    try:
        series = pl.Series("valid_at", times)
        if series.dtype == pl.Int64:
            return pl.from_epoch(series, "s").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        local = series.str.to_datetime("%Y-%m-%dT%H:%M", time_unit="us")
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise _fault(file, f"hourly.time cannot be read ({error})", "fetch it again") from error
    return local.dt.offset_by(f"{-offset_s}s").dt.replace_time_zone("UTC")


def _values(
    column: str, names: Sequence[str], hourly: Mapping[str, Any], units: Mapping[str, Any], file: Path, n: int
) -> pl.Series | None:
    name = next((name for name in names if name in hourly), None)
    if name is None:
        return None
    if not isinstance(hourly[name], list) or len(hourly[name]) != n:
        raise _fault(file, f"hourly.{name} is not a list of {n} values", "fetch it again")
    try:
        given = pl.Series(column, hourly[name], dtype=pl.Float64)
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise _fault(file, f"hourly.{name} holds other things than numbers", "fetch it again") from error
    wanted = WEATHER.column(column).unit
    unit = str(units.get(name, wanted))
    converted = convert(pl.col(column), unit, wanted, where=f"{file}: hourly_units.{name}")
    return given.to_frame().select(converted).to_series()


def _fault(file: Path, what: str, next_step: str) -> SourceError:
    return SourceError(what, where=str(file), next_step=next_step)
