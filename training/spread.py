"""By how much errors are wider than their horizon's shape says: of a zone, of a zone at a horizon, of a situation.

A factor widens or narrows the boosters' own spread on one side of the median, before the shapes of
``training.calibration`` are laid on it, so that levels do not cross. Each factor is learned out of fold and drawn
towards its parent by a number of rows: a zone at a horizon towards its zone, a zone towards 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.calibration import GROUP_EDGES_MIN, HIGH, LOW, Calibrator, Raw, group_of

Float = NDArray[np.float64]
Int = NDArray[np.int64]
#: Factor below and above the median.
Factors = tuple[float, float]

HORIZONS = len(GROUP_EDGES_MIN) + 1
#: A zone's factor is drawn towards 1, and a zone's at a horizon towards the zone's, by so many rows.
ZONE_SHRINKAGE = 150.0
CELL_SHRINKAGE = 150.0
SPREAD_BOUNDS = (0.4, 2.5)
SMALLEST_SPREAD = 0.05


@dataclass(frozen=True, slots=True)
class Reach:
    """Errors in units of the 10 and 90 % quantile of their horizon: a tenth is beyond 1 where that is right.

    below, above : (n,)
    """

    below: Float
    above: Float

    @classmethod
    def of(cls, raw: Raw, arrival_s: Float) -> Reach:
        scores, shape = raw.scores(arrival_s), Calibrator.fit(raw, arrival_s).shapes[group_of(raw.median_s)]
        return cls(
            scores / np.minimum(shape[:, LOW], -SMALLEST_SPREAD),
            scores / np.maximum(shape[:, HIGH], SMALLEST_SPREAD),
        )

    def factors(self, rows: Int, parent: Factors, shrinkage: float) -> Factors:
        """Factors of some rows, drawn towards their parent's."""
        weight = len(rows) / (len(rows) + shrinkage)
        below, above = (
            _drawn(reach[rows], towards, weight)
            for reach, towards in zip((self.below, self.above), parent, strict=True)
        )
        return below, above


def _drawn(reach: Float, parent: float, weight: float) -> float:
    if not len(reach):
        return parent
    own = float(np.clip(np.quantile(reach, 0.9), *SPREAD_BOUNDS))
    return own**weight * parent ** (1.0 - weight)


@dataclass(frozen=True, slots=True)
class ZoneSpread:
    """How much wider than its horizon's the errors of each zone are.

    factors : zone -> its factors, then those of each horizon in it
    """

    factors: dict[str, tuple[Factors, ...]] = field(default_factory=dict)

    @classmethod
    def fit(cls, raw: Raw, arrival_s: Float, zone_ids: Sequence[str | None]) -> ZoneSpread:
        """Factors that put a tenth of a zone's errors beyond its 10 and 90 % quantiles."""
        if not len(zone_ids):
            return cls()
        reach, group = Reach.of(raw, arrival_s), group_of(raw.median_s)
        rows: dict[str, list[int]] = {}
        for row, zone_id in enumerate(zone_ids):
            if zone_id is not None:
                rows.setdefault(zone_id, []).append(row)
        return cls({zone_id: _of_zone(reach, np.array(at), group) for zone_id, at in rows.items()})

    def apply(self, raw: Raw, zone_ids: Sequence[str | None]) -> Raw:
        """The boosters' words with each zone's own spread; a zone that was never seen keeps what they say."""
        if not self.factors or not len(zone_ids):
            return raw
        present = {zone_id: code for code, zone_id in enumerate(dict.fromkeys(zone_ids))}
        plain = ((1.0, 1.0),) * (HORIZONS + 1)
        table = np.array([self.factors.get(zone_id or "", plain) for zone_id in present])
        code = np.array([present[zone_id] for zone_id in zone_ids])
        return raw.widened(table[code, 1 + group_of(raw.median_s)])

    @classmethod
    def load(cls, factors: Mapping[str, Sequence[Sequence[float]]]) -> ZoneSpread:
        return cls({zone_id: tuple((b, a) for b, a in cells) for zone_id, cells in factors.items()})


def _of_zone(reach: Reach, rows: Int, group: Int) -> tuple[Factors, ...]:
    own = reach.factors(rows, (1.0, 1.0), ZONE_SHRINKAGE)
    cells = (reach.factors(rows[group[rows] == horizon], own, CELL_SHRINKAGE) for horizon in range(HORIZONS))
    return (own, *cells)
