"""Output columns of a retrieval: filled part by part, in memory or, where they are too large, in files.

A column of numbers is an array of values and one of flags, so that a part of its rows can be set at any time.
Columns of other types are kept as parts and put in order at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

Int = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where arrays of a known length are made: in memory, or as files in a folder."""

    length: int
    folder: Path | None = None

    def empty(self, dtype: Any, name: str) -> NDArray[Any]:
        """An array of zeros."""
        if self.folder is None or not self.length:
            return np.zeros(self.length, dtype)
        return np.memmap(self.folder / name, dtype, mode="w+", shape=(self.length,))


@dataclass(slots=True)
class NumberColumn:
    """A column of one numeric type; a row that was never set is null."""

    type: pa.DataType
    values: NDArray[Any]
    known: Flags

    @classmethod
    def on(cls, shelf: Shelf, name: str, dtype: pl.DataType) -> NumberColumn:
        kind = pl.Series([], dtype=dtype).to_numpy().dtype
        return cls(
            pa.from_numpy_dtype(kind),
            shelf.empty(kind, f"{name}.values"),
            shelf.empty(np.bool_, f"{name}.known"),
        )

    def put(self, rows: Int, series: pl.Series, at: Int) -> None:
        """Set some rows to elements ``at`` of a series."""
        if series.null_count():
            self.known[rows] = series.is_not_null().to_numpy()[at]
            series = series.fill_null(0)
        else:
            self.known[rows] = True
        self.values[rows] = series.to_numpy()[at]

    def to_arrow(self) -> pa.Array:
        """The column, its values not copied."""
        bits = pa.py_buffer(np.packbits(self.known, bitorder="little"))
        return pa.Array.from_buffers(self.type, len(self.values), [bits, pa.py_buffer(self.values)])

    def to_pandas(self) -> Any:
        """Integers as pandas' nullable ones; floats with NaN."""
        if self.values.dtype.kind in "iu":
            return pd.arrays.IntegerArray(self.values, ~self.known)
        if self.known.all():
            return self.values
        return np.where(self.known, self.values, self.values.dtype.type(np.nan))


@dataclass(slots=True)
class OtherColumn:
    """A column of text, flags, instants or lists."""

    dtype: pl.DataType
    length: int
    rows: list[Int] = field(default_factory=list)
    parts: list[pl.Series] = field(default_factory=list)

    def put(self, rows: Int, series: pl.Series, at: Int) -> None:
        """Set some rows to elements ``at`` of a series."""
        self.rows.append(rows)
        self.parts.append(series.gather(at))

    def to_arrow(self) -> pa.Array:
        place = np.full(self.length, -1, np.int64)
        rows = np.concatenate([np.zeros(0, np.int64), *self.rows])
        place[rows] = np.arange(len(rows))
        parts = pl.concat([pl.Series([], dtype=self.dtype), *self.parts])
        index = pl.Series(place).to_frame("at").select(pl.when(pl.col("at") >= 0).then("at")).to_series()
        return parts.gather(index).to_arrow(compat_level=pl.CompatLevel.oldest())

    def to_pandas(self) -> Any:
        return self.to_arrow().to_pandas()


Column = NumberColumn | OtherColumn


def column_on(shelf: Shelf, name: str, dtype: pl.DataType) -> Column:
    """A column with every row null."""
    if dtype.is_numeric() and not dtype.is_decimal():
        return NumberColumn.on(shelf, name, dtype)
    return OtherColumn(dtype, shelf.length)
