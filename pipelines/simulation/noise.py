"""Randomness with an address: (seed, path, purpose, entity, index), so that twins stay in step."""

from __future__ import annotations

import zlib
from itertools import pairwise

import numpy as np
from scipy.special import ndtr, ndtri

Array = np.ndarray


class Noise:
    """Arrays of draws, one per purpose; what is drawn for one purpose never shifts another.

    An entry of an array is addressed by entity and index, not by the order of the draws: a twin that cancels
    a stop leaves the noise of every other stop as it was.
    """

    def __init__(self, seed: int, *path: int) -> None:
        self.seed, self.path = seed, path
        self._drawn: dict[tuple[str, tuple[int, ...]], Array] = {}

    def child(self, *path: int) -> Noise:
        """Independent noise at a longer path."""
        return Noise(self.seed, *self.path, *path)

    def generator(self, purpose: str) -> np.random.Generator:
        key = (*self.path, zlib.crc32(purpose.encode()))
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(self.seed, spawn_key=key)))

    def normal(self, purpose: str, *shape: int) -> Array:
        """Standard normal draws, the same array at every call."""
        if (purpose, shape) not in self._drawn:
            self._drawn[purpose, shape] = self.generator(purpose).standard_normal(shape)
        return self._drawn[purpose, shape]

    def uniform(self, purpose: str, *shape: int) -> Array:
        """Draws from [0, 1), the same array at every call."""
        if (purpose, shape) not in self._drawn:
            self._drawn[purpose, shape] = self.generator(purpose).random(shape)
        return self._drawn[purpose, shape]

    def by_day(self, law: str, purpose: str, days: int, *shape: int) -> Array:
        """(days, *shape) ``normal`` or ``uniform`` draws whose days lie side by side in memory."""
        drawn: Array = getattr(self, law)(purpose, *shape[::-1], days)
        return drawn.T

    def habits(self, purpose: str, count: int, sd: float) -> Array:
        """Factors around one, evenly from a lognormal, dealt out at random so that no city is odd."""
        even = ndtri((np.arange(count) + 0.5) / count)
        return lognormal(self.generator(purpose).permutation(even), sd)


def lognormal(normal: Array, sd: float) -> Array:
    """Factors around one: exp(sd z - sd^2 / 2), of mean 1."""
    return np.exp(sd * normal - sd * sd / 2)


def normal_above(least: Array, uniform: Array) -> Array:
    """Standard normals that are known to lie above ``least``, from draws in [0, 1)."""
    return -ndtri(np.maximum(ndtr(-least) * (1 - uniform), 1e-300))


def autoregressive(normal: Array, memory: float, before: Array | None = None) -> Array:
    """AR(1) of unit variance along the last axis: x[t] = memory x[t-1] + sqrt(1 - memory^2) z[t].

    It goes on from ``before`` where that is given, and else starts in its stationary law.
    """
    state = np.array(normal.T, order="C")
    fresh = slice(0 if before is not None else 1, None)
    state[fresh] *= np.sqrt(1 - memory**2)
    if before is not None and len(state):
        state[0] += memory * before.T
    for last, here in pairwise(state):
        here += memory * last
    return state.T


def between(share: Array, low_high: tuple[float, float]) -> Array:
    """Maps shares in [0, 1) onto a range."""
    low, high = low_high
    return low + (high - low) * share
