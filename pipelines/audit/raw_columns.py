"""Raw columns as numbers that a booster can use: times as minutes from the asking, words as learnt means."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

Float = NDArray[np.float64]
Integers = NDArray[np.int64]

#: A text column is of a kind when this share of its filled cells is.
MOSTLY = 0.95
DAY_MIN = 1440.0
#: A learnt mean counts the mean of all rows as so many rows.
SHRINK_ROWS = 20.0
_EPOCH_S = (1e9, 2.5e9)
_INSTANTS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
_YEARLESS = "%m-%d %H:%M:%S"
_CLOCKS = ("%H:%M:%S", "%I:%M:%S %p", "%H:%M")


def as_numbers(cells: pl.Series, as_of: pl.Series) -> Float | None:
    """A column as numbers, times as minutes after ``as_of``; None where it holds words."""
    if cells.dtype.is_temporal():
        return _temporal(cells, as_of)
    if cells.dtype == pl.Boolean or cells.dtype.is_numeric():
        return _numeric(cells.cast(pl.Float64), as_of)
    if cells.dtype == pl.Null:
        return np.full(len(cells), np.nan)
    if cells.dtype != pl.String:
        return None
    return _of_text(cells, as_of)


def codes(cells: pl.Series) -> Integers:
    """Each value's number, missing cells among them."""
    return cells.cast(pl.String, strict=False).fill_null("").rank("dense").cast(pl.Int64).to_numpy() - 1


def learnt_means(
    coded: Integers, label: Float, train: NDArray[np.bool_], inner: Integers, parts: int
) -> Float:
    """The shrunk mean label of each value: for training rows from the other inner parts, else from all of them."""
    learnt = _means(coded, label, train)
    for part in range(parts):
        here = train & (inner == part)
        learnt[here] = _means(coded, label, train & (inner != part))[here]
    return learnt


def clock_columns(as_of: pl.Series) -> dict[str, Float]:
    """What the clock says when a forecast is asked for."""
    return {
        "hour": (as_of.dt.hour() + as_of.dt.minute() / 60.0).cast(pl.Float64).to_numpy(),
        "weekday": as_of.dt.weekday().cast(pl.Float64).to_numpy(),
    }


def _means(coded: Integers, label: Float, rows: NDArray[np.bool_]) -> Float:
    size = int(coded.max(initial=0)) + 1
    overall = float(label[rows].mean()) if rows.any() else 0.0
    total = np.bincount(coded[rows], label[rows], size) + SHRINK_ROWS * overall
    means: Float = total / (np.bincount(coded[rows], minlength=size) + SHRINK_ROWS)
    return means[coded]


def _minutes_after(instants: pl.Series, as_of: pl.Series) -> Float:
    """A zone is left out on both sides: a constant offset tells a booster nothing."""
    apart = _naive(instants).dt.timestamp("us") - _naive(as_of).dt.timestamp("us")
    return (apart / 60e6).cast(pl.Float64).to_numpy()


def _naive(instants: pl.Series) -> pl.Series:
    zoned = isinstance(instants.dtype, pl.Datetime) and instants.dtype.time_zone is not None
    return (instants.dt.replace_time_zone(None) if zoned else instants).cast(pl.Datetime("us"))


def _temporal(cells: pl.Series, as_of: pl.Series) -> Float:
    if isinstance(cells.dtype, pl.Duration):
        return (cells.dt.total_microseconds() / 60e6).cast(pl.Float64).to_numpy()
    return _clock(cells, as_of) if cells.dtype == pl.Time else _minutes_after(cells, as_of)


def _clock(cells: pl.Series, as_of: pl.Series) -> Float:
    """Minutes on the clock face after ``as_of``, from half a day before to half a day after."""
    told = (cells.cast(pl.Int64) / 60e9).cast(pl.Float64).to_numpy()
    asked = (as_of.dt.time().cast(pl.Int64) / 60e9).cast(pl.Float64).to_numpy()
    return (told - asked + DAY_MIN / 2) % DAY_MIN - DAY_MIN / 2


def _numeric(cells: pl.Series, as_of: pl.Series) -> Float:
    """Numbers as they stand; those that are seconds or milliseconds of the epoch are times."""
    low, high = cells.quantile(0.05), cells.quantile(0.95)
    for per_s in (1, 1_000, 1_000_000):
        if low is not None and high is not None and _EPOCH_S[0] * per_s < low <= high < _EPOCH_S[1] * per_s:
            instants = (cells * (1_000_000 // per_s)).cast(pl.Int64, strict=False).cast(pl.Datetime("us"))
            return _minutes_after(instants, as_of)
    return cells.to_numpy()


def _of_text(cells: pl.Series, as_of: pl.Series) -> Float | None:
    filled = cells.drop_nulls().len()
    numbers = cells.str.strip_chars().cast(pl.Float64, strict=False)
    if filled - (numbers.len() - numbers.null_count()) <= (1 - MOSTLY) * filled:
        return _numeric(numbers, as_of)
    for form in _INSTANTS:
        instants = cells.str.to_datetime(form, strict=False, time_unit="us")
        if _mostly(instants, filled):
            return _minutes_after(instants, as_of)
    years = as_of.dt.year().cast(pl.String) + "-"
    instants = (years + cells).str.to_datetime(f"%Y-{_YEARLESS}", strict=False, time_unit="us")
    if _mostly(instants, filled):
        return _minutes_after(instants, as_of)
    for form in _CLOCKS:
        clock = cells.str.to_time(form, strict=False)
        if _mostly(clock, filled):
            return _clock(clock, as_of)
    return None


def _mostly(read: pl.Series, filled: int) -> bool:
    return read.len() - read.null_count() >= MOSTLY * filled
