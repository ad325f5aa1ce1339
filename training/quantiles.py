"""A forecast as a distribution: quantiles on a grid, straight lines between them, exponential tails beyond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

#: The levels that are published.
QUANTILE_LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
#: The levels that a distribution is kept at.
GRID = np.array(
    [0.01, 0.025, 0.05, 0.075, 0.1, *np.arange(0.15, 0.86, 0.05).round(2), 0.9, 0.925, 0.95, 0.975, 0.99]
)
#: Tails are exponential; their scale is the spacing of the outermost quantiles, at least this.
SHORTEST_TAIL_S = 1.0


@dataclass(frozen=True, slots=True)
class QuantileForecast:
    """Arrival of n stops, in seconds after ``as_of``.

    grid_s : (n, len(GRID)) quantiles at GRID, not falling along a row
    mean_s : (n,) mean
    """

    grid_s: Float
    mean_s: Float

    def __len__(self) -> int:
        return len(self.mean_s)

    def at(self, levels: Sequence[float]) -> Float:
        """Quantiles at some levels between 0 and 1: (n, len(levels)); beyond the grid they follow the tails."""
        wanted = np.asarray(levels, np.float64)
        if not ((wanted > 0) & (wanted < 1)).all():
            raise ValueError(f"quantile levels {list(levels)} must lie between 0 and 1")
        right = np.clip(np.searchsorted(GRID, wanted), 1, len(GRID) - 1)
        share = (wanted - GRID[right - 1]) / (GRID[right] - GRID[right - 1])
        low, high = self.grid_s[:, right - 1], self.grid_s[:, right]
        quantiles_s = low + share * (high - low)
        if (early := wanted < GRID[0]).any():
            reach_s = self._tail_s(left=True)[:, None] * np.log(wanted[early] / GRID[0])
            quantiles_s[:, early] = self.grid_s[:, :1] + reach_s
        if (late := wanted > GRID[-1]).any():
            reach_s = self._tail_s(left=False)[:, None] * np.log((1.0 - GRID[-1]) / (1.0 - wanted[late]))
            quantiles_s[:, late] = self.grid_s[:, -1:] + reach_s
        return quantiles_s

    @property
    def quantiles_s(self) -> Float:
        """Quantiles at QUANTILE_LEVELS: (n, 7)."""
        return self.at(QUANTILE_LEVELS)

    def window(self, coverage: float) -> tuple[Float, Float]:
        """Start and end of the central window that holds the arrival with probability ``coverage``."""
        edge = 0.5 * (1.0 - coverage)
        both = self.at((edge, 1.0 - edge))
        return both[:, 0], both[:, 1]

    def late_probability(self, deadline_s: Float) -> Float:
        """P(arrival after the deadline): (n,); NaN where there is no deadline. Falls as the deadline grows."""
        grid, deadline = self.grid_s, np.asarray(deadline_s, np.float64)
        place = (grid <= deadline[:, None]).sum(axis=1)
        right = np.clip(place, 1, len(GRID) - 1)
        rows = np.arange(len(grid))
        low, high = grid[rows, right - 1], grid[rows, right]
        step = np.where(high > low, high - low, 1.0)
        share = np.clip((deadline - low) / step, 0.0, 1.0)
        inside = GRID[right - 1] + share * (GRID[right] - GRID[right - 1])
        below = GRID[0] * np.exp(-np.maximum(grid[:, 0] - deadline, 0.0) / self._tail_s(left=True))
        above = 1.0 - (1.0 - GRID[-1]) * np.exp(
            -np.maximum(deadline - grid[:, -1], 0.0) / self._tail_s(left=False)
        )
        early = np.where(place == 0, below, np.where(place == len(GRID), above, inside))
        return np.where(np.isfinite(deadline), 1.0 - early, np.nan)

    def expected_late_s(self, deadline_s: Float) -> Float:
        """E[(arrival - deadline)+]: (n,); NaN where there is no deadline."""
        grid, deadline = self.grid_s, np.asarray(deadline_s, np.float64)
        tail_s = self._tail_s(left=False)
        beyond = (1.0 - GRID[-1]) * tail_s * np.exp(-np.maximum(deadline - grid[:, -1], 0.0) / tail_s)
        low, high = grid[:, :-1], grid[:, 1:]
        start = np.clip(deadline[:, None], low, high)
        width = np.where(high > low, high - low, 1.0)
        at_start = 1.0 - (GRID[:-1] + (start - low) / width * np.diff(GRID))
        inner = 0.5 * (high - start) * (at_start + (1.0 - GRID[1:]))
        before = np.maximum(grid[:, 0] - deadline, 0.0)
        left = np.where(
            before > 0,
            before - GRID[0] * self._tail_s(left=True) * -np.expm1(-before / self._tail_s(left=True)),
            0.0,
        )
        return np.where(np.isfinite(deadline), inner.sum(axis=1) + beyond + left, np.nan)

    def _tail_s(self, *, left: bool) -> Float:
        """Scale of an exponential tail that goes on with the density of the outermost step."""
        step = self.grid_s[:, 1] - self.grid_s[:, 0] if left else self.grid_s[:, -1] - self.grid_s[:, -2]
        mass = GRID[1] - GRID[0] if left else GRID[-1] - GRID[-2]
        edge = GRID[0] if left else 1.0 - GRID[-1]
        return np.maximum(step * edge / mass, SHORTEST_TAIL_S)
