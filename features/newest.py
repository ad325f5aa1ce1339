"""Where the newest row of each key lies: in which batch of rows, and at which place there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Batch = TypeVar("Batch")


class Newest(Generic[Batch]):
    """Batches as they came; whose row is the newest is worked out when somebody asks."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[Batch, int]] = {}
        self._coming: list[tuple[list[str], NDArray[Any], Batch, NDArray[Any]]] = []

    def put(self, names: list[str], codes: NDArray[Any], batch: Batch, rows: NDArray[Any]) -> None:
        """Take rows of a batch as the newest of the names with these codes."""
        self._coming.append((names, codes, batch, rows))

    def put_one(self, name: str, batch: Batch) -> None:
        self.put([name], np.zeros(1, np.int64), batch, np.zeros(1, np.int64))

    def join(self, other: Newest[Batch]) -> None:
        """Take up what another one knows of other names."""
        self._rows.update(other._rows)
        self._coming += other._coming

    def get(self, name: str | None) -> tuple[Batch, int] | None:
        return self._known().get(name) if name is not None else None

    def newest(self) -> Mapping[str | None, tuple[Batch, int]]:
        """Batch and place of the newest row of every name; only to be looked at."""
        return self._known()  # type: ignore[return-value]

    def items(self) -> Iterator[tuple[str, tuple[Batch, int]]]:
        return iter(self._known().items())

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())

    def _known(self) -> dict[str, tuple[Batch, int]]:
        for names, codes, batch, rows in self._coming:
            for code, row in zip(codes.tolist(), rows.tolist(), strict=True):
                self._rows[names[code]] = (batch, row)
        self._coming.clear()
        return self._rows
