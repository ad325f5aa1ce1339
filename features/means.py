"""Forgetting means of what stop events teach: drives, the pace that their priors missed, doors and departures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from features.history import RollingSums
from features.keys import Keys
from features.lessons import Columns, Lessons, columns_of, of_departures, of_doors, of_drives
from features.observations import LOG_UNIT, Departure, Door, Drive, Observation
from features.online import Versions
from features.priors import travel_prior
from features.views import ROLLING_MEANS, RollingMean, microseconds

Int = NDArray[np.int64]
Float = NDArray[np.float64]
MILLIONTH = 1e-6
#: A drive further from its prior than this teaches no more: millionths of ln(actual / prior).
LARGEST_PACE = 1_000_000
#: Kinds of observations, in the order in which they are learned from.
KINDS: tuple[type, ...] = (Drive, Door, Departure)


class Means:
    """Every rolling mean's state."""

    def __init__(self) -> None:
        self.sums = {
            mean.view.name: RollingSums(microseconds(mean.width), mean.count) for mean in ROLLING_MEANS
        }

    def learn(self, observations: Iterable[Observation]) -> list[Versions]:
        """Move the means by observations in log order; give what became of them."""
        by_kind: dict[type, list[Observation]] = {kind: [] for kind in KINDS}
        for observation in observations:
            by_kind[type(observation)].append(observation)
        publications = []
        for kind, observed in by_kind.items():
            if observed:
                publications += self.learn_columns(kind, columns_of(observed, kind))
        return publications

    def learn_columns(self, kind: type, columns: Columns) -> list[Versions]:
        """The same of observations of one kind, as columns."""
        if kind is Drive:
            return self._learn_drives(of_drives(columns))
        return (
            self._learn("service", of_doors(columns))
            if kind is Door
            else self._learn("departure", of_departures(columns))
        )

    def _learn_drives(self, drives: Lessons) -> list[Versions]:
        """Each drive is judged against what its prior said before it: that is its pace."""
        found: dict[str, Float] = {}
        publications = self._learn("travel", drives, found=found)
        expected = np.rint(travel_prior(found) / LOG_UNIT).astype(np.int64)
        pace = np.clip(drives.values - expected, -LARGEST_PACE, LARGEST_PACE)
        return publications + self._learn("pace", drives, pace) + self._learn("spread", drives, np.abs(pace))

    def _learn(
        self,
        observation: str,
        lessons: Lessons,
        values: Int | None = None,
        found: dict[str, Float] | None = None,
    ) -> list[Versions]:
        """Move the means of one kind of observation; ``found`` receives what each row found before it."""
        publications = []
        for mean in ROLLING_MEANS:
            if mean.observation == observation:
                versions, before = self._advance(mean, lessons, lessons.values if values is None else values)
                publications += versions
                if found is not None:
                    found |= before
        return publications

    def _advance(
        self, mean: RollingMean, lessons: Lessons, values: Int
    ) -> tuple[list[Versions], Mapping[str, Float]]:
        """Move one mean; what a row without a key found has weight 0."""
        name, keys = mean.view.name, lessons.keys[mean.key]
        before = {f"{name}__mean": np.zeros(len(lessons)), f"{name}__weight": np.zeros(len(lessons))}
        at = np.flatnonzero(keys.codes >= 0)
        if not len(at):
            return [], before
        keys, received_us, seq = keys.take(at), lessons.received_us[at], lessons.seq[at]
        moved = self.sums[name].advance_means(keys, received_us, values[at], mean.half_life, MILLIONTH)
        before[f"{name}__mean"][at] = moved.before_mean.astype(np.float32)
        before[f"{name}__weight"][at] = moved.before_weight.astype(np.float32)
        after = np.empty((len(at), 2), np.float32)
        after[:, 0], after[:, 1] = moved.mean, moved.weight
        versions = Versions(view=mean.view, ids=keys, values=after, known_us=received_us, created_us=seq)
        return [_last_of_record(versions, keys)], before


def _last_of_record(versions: Versions, keys: Keys) -> Versions:
    """Versions to publish: a record may teach several things of a key, and makes one version of it."""
    seq = versions.created_us
    if (seq[1:] > seq[:-1]).all():
        return versions
    order = keys.order()
    code, of_key = keys.codes[order], seq[order]
    last = np.ones(len(order), np.bool_)
    last[:-1] = (code[1:] != code[:-1]) | (of_key[1:] != of_key[:-1])
    return versions.take(np.sort(order[last]))
