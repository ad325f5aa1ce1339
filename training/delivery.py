"""A forecast of stops as it leaves the forecaster: arrival, completion, and what is kept to learn from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.calibration import Raw
from training.online import Stake, sides_of
from training.quantiles import QuantileForecast


@dataclass(frozen=True, slots=True)
class DeliveryForecast(QuantileForecast):
    """The distribution of n arrivals, and with it that of the completions.

    completion : when the stop is left again; at no level before the arrival
    raw : the boosters' words with the spread of their situation and zone, before calibration
    zone_ids, hours : by which the live calibration tells them apart, beside their horizons
    told : (n, len(GRID)) what the live calibration moved them by; None where it had learned nothing
    """

    completion: QuantileForecast
    raw: Raw
    zone_ids: list[str | None]
    hours: NDArray[np.float32]
    told: NDArray[np.float64] | None = None

    def stake(self, row: int) -> Stake:
        """What must be kept of one row to learn from its outcome."""
        return Stake(
            sides=sides_of(self.zone_ids[row] if self.zone_ids else None, float(self.hours[row])),
            median_s=float(self.raw.median_s[row]),
            below_s=float(self.raw.below_s[row]),
            above_s=float(self.raw.above_s[row]),
            told=() if self.told is None else tuple(self.told[row].tolist()),
        )
