"""A forecast of stops as it leaves the forecaster: arrival, completion, and what is kept to learn from it."""

from __future__ import annotations

from dataclasses import dataclass

from training.calibration import Raw
from training.online import Stake
from training.quantiles import QuantileForecast


@dataclass(frozen=True, slots=True)
class DeliveryForecast(QuantileForecast):
    """The distribution of n arrivals, and with it that of the completions.

    completion : when the stop is left again; at no level before the arrival
    raw : the boosters' words with the spread of their situation and zone, before calibration
    """

    completion: QuantileForecast
    raw: Raw
    zone_ids: list[str | None]

    def stake(self, row: int) -> Stake:
        """What must be kept of one row to learn from its outcome."""
        return Stake(
            zone_id=self.zone_ids[row] if self.zone_ids else None,
            median_s=float(self.raw.median_s[row]),
            below_s=float(self.raw.below_s[row]),
            above_s=float(self.raw.above_s[row]),
        )
