"""What goes wrong on a day: who is struck, from when to when, and how hard."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np

from pipelines.simulation.noise import Array, Noise, between
from pipelines.simulation.parameters import Parameters

HOUR_S = 3600.0


class Cause(StrEnum):
    STORM = "storm"
    SLOW_ZONE = "slow_zone"
    SORT_DELAY = "sort_delay"
    BREAKDOWN = "breakdown"
    INCIDENT = "incident"


#: Causes that count as injected disruptions; an incident is the small change of every day.
INJECTED = (Cause.STORM, Cause.SLOW_ZONE, Cause.SORT_DELAY, Cause.BREAKDOWN)
CAUSES = tuple(Cause)
_ONCE = [CAUSES.index(Cause.SORT_DELAY), CAUSES.index(Cause.BREAKDOWN)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disruption:
    """An injected disruption as it truly was; exactly one of the four ids says what it struck.

    A slow zone slows its whole district: ``zone_id`` is its middle and ``zone_ids`` are all that are slowed.
    """

    disruption_id: str
    cause: Cause
    onset: datetime
    end: datetime
    area_id: str | None = None
    zone_id: str | None = None
    depot_id: str | None = None
    vehicle_id: str | None = None
    zone_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Upsets:
    """Causes at work, one entry each; ``subject`` counts districts, depots or vehicles.

    day : which of the days that are simulated side by side; cause : place in ``CAUSES``
    """

    day: Array
    cause: Array
    subject: Array
    onset_s: Array
    end_s: Array
    severity: Array

    def __len__(self) -> int:
        return len(self.day)

    def take(self, chosen: Array) -> Upsets:
        return Upsets(*(column[chosen] for column in self._columns()))

    def of(self, *causes: Cause) -> Upsets:
        """Only those of some causes."""
        return self.take(np.isin(self.cause, [CAUSES.index(cause) for cause in causes]))

    def spread(self, days: int) -> Upsets:
        """Those of one day, on each of many days."""
        repeated = self.take(np.tile(np.arange(len(self)), days))
        return Upsets(np.repeat(np.arange(days), len(self)), *repeated._columns()[1:])

    def then(self, later: Upsets, now_s: float) -> Upsets:
        """These as far as they have begun by now, and ``later`` ones that have not."""
        known, to_come = self.take(self.onset_s <= now_s), later.take(later.onset_s > now_s)
        pairs = zip(known._columns(), to_come._columns(), strict=True)
        return Upsets(*(np.concatenate(pair) for pair in pairs)).struck_once()

    def struck_once(self) -> Upsets:
        """Only the first breakdown and the first sort delay of each subject, and everything else."""
        ordered = self.take(np.lexsort((self.onset_s, self.day)))
        key = (ordered.day * len(CAUSES) + ordered.cause) * (
            1 + ordered.subject.max(initial=0)
        ) + ordered.subject
        first = np.zeros(len(ordered), bool)
        first[np.unique(key, return_index=True)[1]] = True
        return ordered.take(first | ~np.isin(ordered.cause, _ONCE))

    def _columns(self) -> tuple[Array, ...]:
        return self.day, self.cause, self.subject, self.onset_s, self.end_s, self.severity


def subjects(parameters: Parameters, cause: Cause) -> int:
    """How many there are that a cause can strike."""
    size = parameters.size
    counts = {
        Cause.STORM: 1,
        Cause.SLOW_ZONE: size.districts,
        Cause.SORT_DELAY: size.depots,
        Cause.BREAKDOWN: size.routes,
        Cause.INCIDENT: size.districts,
    }
    return counts[cause]


def draw_upsets(parameters: Parameters, noise: Noise, days: int = 1) -> Upsets:
    """Upsets of some days: a Poisson process per cause, so that those to come do not hang on those that came."""
    drawn = [_draw(parameters, noise, cause, days)._columns() for cause in CAUSES]
    return Upsets(*(np.concatenate(column) for column in zip(*drawn, strict=True))).struck_once()


def _draw(parameters: Parameters, noise: Noise, cause: Cause, days: int) -> Upsets:
    shape, draw, count = (
        parameters.disruption[cause],
        noise.generator(f"upset {cause}"),
        subjects(parameters, cause),
    )
    each = draw.poisson(shape.rate * count, days)
    onset, length, severity, subject = draw.random((4, int(each.sum())))
    onset_s, length_s = between(onset, shape.onset_h) * HOUR_S, between(length, shape.hours) * HOUR_S
    if cause is Cause.STORM:
        onset_s, length_s = (np.ceil(s / HOUR_S) * HOUR_S for s in (onset_s, length_s))
    return Upsets(
        day=np.repeat(np.arange(days), each),
        cause=np.full(len(onset_s), CAUSES.index(cause)),
        subject=np.floor(subject * count).astype(int),
        onset_s=onset_s,
        end_s=onset_s + length_s,
        severity=between(severity, shape.severity),
    )
