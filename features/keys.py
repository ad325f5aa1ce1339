"""Keys of many rows: a number for each row, and the names behind the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, overload

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

Int = NDArray[np.int64]
K = TypeVar("K")
#: From so many rows on, a hash table in C is quicker than a dictionary.
MANY = 2_000
#: Codes below this fit into 16 bits, which numpy sorts by counting.
FEW_NAMES = 65_536


class Keys(Sequence[str]):
    """The key of each row, as a sequence of strings that is kept as numbers.

    codes : (n,) int64, places in ``names``; -1 where a row has no key
    """

    __slots__ = ("codes", "names")

    def __init__(self, codes: Int, names: list[str]) -> None:
        self.codes, self.names = codes, names

    @classmethod
    def of(cls, values: Sequence[str | None] | pl.Series) -> Keys:
        """Number some strings by first appearance; None is no key."""
        if isinstance(values, Keys):
            return values
        if isinstance(values, pl.Series):
            return cls._of_series(values)
        return _without_none(*factorize(values))

    @classmethod
    def _of_series(cls, series: pl.Series) -> Keys:
        encoded = series.to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return cls(codes, encoded.dictionary.to_pylist())

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Keys: ...
    def __getitem__(self, row: int | slice) -> str | Keys:
        if isinstance(row, slice):
            return Keys(self.codes[row], self.names)
        return self.names[self.codes[row]]

    def __iter__(self) -> Iterator[str]:
        return map(self.names.__getitem__, self.codes.tolist())

    def take(self, rows: NDArray[Any]) -> Keys:
        """Keys of some rows, by their places or by flags; names stay as they are."""
        return Keys(self.codes[rows], self.names)

    def order(self) -> Int:
        """Rows in the order of their names' numbers, each key's own in the order given."""
        return in_order(self.codes, len(self.names))

    def last_rows(self) -> tuple[Int, Int]:
        """The codes that occur, rising, and the last row of each."""
        last = np.full(len(self.names), -1, np.int64)
        last[self.codes] = np.arange(len(self.codes))
        used = np.flatnonzero(last >= 0)
        return used, last[used]

    def with_numbers(self, numbers: Int, name_of: Callable[[str, int], str]) -> Keys:
        """Keys made of a key and a whole number from 0 each; none where there was none."""
        base = int(numbers.max(initial=0)) + 1
        return _renamed(
            np.where(self.codes < 0, -1, self.codes * base + numbers),
            lambda code: name_of(self.names[code // base], code % base),
        )

    def with_keys(self, other: Keys, name_of: Callable[[str, str], str]) -> Keys:
        """Keys made of two keys each."""
        return self.with_numbers(other.codes, lambda name, code: name_of(name, other.names[code]))

    def to_arrow(self) -> pa.DictionaryArray:
        """The keys as they are, numbered."""
        codes = pa.array(self.codes.astype(np.int32), mask=self.codes < 0)
        return pa.DictionaryArray.from_arrays(codes, pa.array(self.names, pa.string()))


def in_order(codes: Int, names: int) -> Int:
    """Places in the order of their codes, which stay below ``names``; equal ones in the order given."""
    narrow = codes.astype(np.uint16) if names < FEW_NAMES else codes
    return np.argsort(narrow, kind="stable")


def _renamed(combined: Int, name_of: Callable[[int], str]) -> Keys:
    numbered = combined.tolist()
    if len(numbered) < MANY:
        codes, found = factorize(numbered)
    else:
        import pandas as pd  # a fifth of a second, and most processes never have so many rows

        codes, uniques = pd.factorize(combined)
        codes, found = codes.astype(np.int64), uniques.tolist()
    # Two combinations may have one name, and a key that is missing has none.
    places, names = factorize([name_of(code) if code >= 0 else None for code in found])
    return _without_none(places[codes], names)


def _without_none(codes: Int, names: list[str | None]) -> Keys:
    """Keys of numbered names, of which one may be None: no key."""
    if None not in names:
        return Keys(codes, names)  # type: ignore[arg-type]
    gone = names.index(None)
    moved = np.where(codes == gone, -1, codes - (codes > gone))
    return Keys(moved, [name for name in names if name is not None])


def factorize(keys: Sequence[K]) -> tuple[Int, list[K]]:
    """Codes of keys by first appearance, and the keys themselves."""
    if len(keys) >= MANY and isinstance(keys[0], str) and None not in keys:
        import pandas as pd

        numbers, uniques = pd.factorize(np.array(keys, object))
        return numbers.astype(np.int64), uniques.tolist()
    codes: dict[K, int] = {}
    numbered = [codes.setdefault(key, len(codes)) for key in keys]
    return np.array(numbered, np.int64), list(codes)
