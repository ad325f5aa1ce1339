"""What goes wrong on a day: who is struck, from when to when, and how hard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np

from pipelines.simulation.noise import Noise
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Upset:
    """One cause at work, in seconds of the service day; ``subject`` counts zones, depots or vehicles."""

    cause: Cause
    subject: int
    onset_s: float
    end_s: float
    severity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Disruption:
    """An injected disruption as it truly was; exactly one of the four ids says what it struck."""

    cause: Cause
    onset: datetime
    end: datetime
    area_id: str | None = None
    zone_id: str | None = None
    depot_id: str | None = None
    vehicle_id: str | None = None


def draw_upsets(parameters: Parameters, noise: Noise) -> tuple[Upset, ...]:
    """Upsets of a day: a Poisson process per cause, so that those to come do not hang on those that came."""
    size = parameters.size
    subjects = {
        Cause.STORM: 1,
        Cause.SLOW_ZONE: size.zones,
        Cause.SORT_DELAY: size.depots,
        Cause.BREAKDOWN: size.vehicles,
        Cause.INCIDENT: size.zones,
    }
    drawn = [upset for cause, count in subjects.items() for upset in _draw(parameters, noise, cause, count)]
    return struck_once(drawn)


def struck_once(upsets: Iterable[Upset]) -> tuple[Upset, ...]:
    """Keeps the first breakdown and the first sort delay of each subject, and everything else."""
    kept: dict[tuple[object, ...], Upset] = {}
    for place, upset in enumerate(sorted(upsets, key=lambda u: u.onset_s)):
        once = upset.cause in (Cause.BREAKDOWN, Cause.SORT_DELAY)
        kept.setdefault((upset.cause, upset.subject) if once else (place,), upset)
    return tuple(kept.values())


def _draw(parameters: Parameters, noise: Noise, cause: Cause, subjects: int) -> list[Upset]:
    shape, draw = parameters.disruption[cause], noise.generator(f"upset {cause}")
    upsets = []
    for _ in range(draw.poisson(shape.rate * subjects)):
        onset_s = draw.uniform(*shape.onset_h) * HOUR_S
        length_s = draw.uniform(*shape.hours) * HOUR_S
        if cause is Cause.STORM:
            onset_s, length_s = (float(np.ceil(s / HOUR_S) * HOUR_S) for s in (onset_s, length_s))
        upsets.append(
            Upset(
                cause=cause,
                subject=int(draw.integers(subjects)),
                onset_s=onset_s,
                end_s=onset_s + length_s,
                severity=float(draw.uniform(*shape.severity)),
            )
        )
    return upsets
