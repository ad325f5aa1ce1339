"""What the engine tells of its own speed, after each commit."""

from __future__ import annotations

from collections.abc import Callable

from serving.engine.batch import Batch
from serving.meters import meters
from serving.storage.log import Clock
from serving.times import US, wall_now_us


class EngineMeter:
    """Counts what was committed, and how long events took to become part of a forecast.

    Under the log's clock, instants of reception say nothing about how long anything took, so that no lag is told.
    """

    def __init__(self, clock: Clock, now_us: Callable[[], int] = wall_now_us) -> None:
        self._clock, self._now_us = clock, now_us
        self._told_us: dict[str, int] = {}

    def committed(self, batch: Batch, records: int, step_s: float) -> None:
        """``records`` were applied and committed with all that came of them in ``step_s`` seconds."""
        counted = meters()
        counted.records.inc(records)
        counted.stops.inc(len(batch.latest))
        counted.steps_s.observe(step_s)
        if self._clock is Clock.WALL:
            for lag_us in self._lags_us(batch, self._now_us()):
                counted.event_to_forecast_s.observe(max(0, lag_us) / US)

    def _lags_us(self, batch: Batch, now_us: int) -> list[int]:
        """One for each route that was scored with an event that no earlier forecast knew."""
        lags_us = []
        for route_id, cadence in batch.cadences.items():
            is_new = cadence.touched_us > self._told_us.get(route_id, 0)
            if is_new and not cadence.dirty and cadence.scored_us is not None:
                lags_us.append(now_us - cadence.touched_us)
                self._told_us[route_id] = cadence.touched_us
        for route_id in batch.forgotten_routes:
            self._told_us.pop(route_id, None)
        return lags_us
