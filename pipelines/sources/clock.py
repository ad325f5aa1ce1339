"""Times as people write them, as instants: epochs, naive clock times with a zone, times without a year."""

from __future__ import annotations

from collections import Counter

import polars as pl

from data_contracts.errors import SourceError
from pipelines.sources.shape import utc

#: Units of an epoch, and how many microseconds one of them lasts.
EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
_ZONED = r"([Zz]|[+-]\d{2}:?\d{2})$"
_NAIVE_FORMATS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
_UTC = pl.Datetime("us", "UTC")


def as_instants(
    given: pl.Series,
    *,
    unit: str | None,
    timezone: str | None,
    time_format: str | None,
    year: int | None,
    where: str,
    unreadable: Counter[str],
) -> pl.Series:
    """Instants of a column; a cell that is no time becomes null and is counted.

    Raises
    ------
    SourceError
        when no cell can be read, or times without a zone come without a ``timezone``
    """
    if unit is not None:
        read = _from_epoch(given, unit, where)
    elif isinstance(given.dtype, pl.Datetime):
        read = _placed(given, timezone, where) if given.dtype.time_zone is None else given.cast(_UTC)
    else:
        read = _from_text(given.cast(pl.String).str.strip_chars(), time_format, timezone, year, where)
    refused = read.is_null() & given.is_not_null()
    if refused.any() and read.null_count() == len(read):
        raise SourceError(
            f"none of its {len(read)} rows is a time (first: {given.filter(refused)[0]!r:.60})",
            where=where,
            next_step='give its format, such as "%d.%m.%Y %H:%M", or unit = "epoch_ms"',
        )
    if refused.any():
        unreadable[given.name] += int(refused.sum())
    return read


def _from_epoch(given: pl.Series, unit: str, where: str) -> pl.Series:
    if unit not in EPOCHS:
        what = f"unit {unit!r} is not one of times"
        raise SourceError(what, where=where, next_step=f"give one of {', '.join(EPOCHS)}")
    micros = given.cast(pl.Float64, strict=False) * EPOCHS[unit]
    return micros.round().cast(pl.Int64, strict=False).cast(_UTC)


def _from_text(
    text: pl.Series, time_format: str | None, timezone: str | None, year: int | None, where: str
) -> pl.Series:
    if time_format is not None:
        return _by_format(text, time_format, timezone, year, where)
    zoned = text.str.contains(_ZONED).fill_null(True)
    if zoned.all():
        whole = text.str.replace("[Zz]$", "+00:00").str.replace(" ", "T")
        return whole.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, time_unit="us").cast(_UTC)
    tries = [text.str.to_datetime(form, strict=False, time_unit="us") for form in _NAIVE_FORMATS]
    local = pl.select(pl.coalesce(tries)).to_series()
    return _placed(local, timezone, where)


def _by_format(
    text: pl.Series, time_format: str, timezone: str | None, year: int | None, where: str
) -> pl.Series:
    if "%z" in time_format:
        return text.str.to_datetime(time_format, strict=False, time_unit="us").cast(_UTC)
    if "%Y" not in time_format and "%y" not in time_format:
        if year is None:
            what = f"format {time_format!r} has no year"
            raise SourceError(what, where=where, next_step="give year = 2024 in the mapping")
        text, time_format = f"{year}-" + text, f"%Y-{time_format}"
    return _placed(text.str.to_datetime(time_format, strict=False, time_unit="us"), timezone, where)


def _placed(local: pl.Series, timezone: str | None, where: str) -> pl.Series:
    if timezone is None:
        what = "its times have no zone"
        raise SourceError(what, where=where, next_step='give timezone = "Europe/Berlin" in the mapping')
    return local.to_frame("local").select(utc(pl.col("local"), timezone)).to_series()
