"""How fast work gets done, minute by minute: metres driven in each zone, seconds served at the doors.

Times come from integrating a rate, so whoever starts later never ends earlier (the FIFO property: Ichoua,
Gendreau and Potvin 2003), and slowing a zone never makes anybody early.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

import numpy as np

from pipelines.simulation.disruptions import HOUR_S, Cause, Upset
from pipelines.simulation.noise import Array, autoregressive
from pipelines.simulation.weather import Weather
from pipelines.simulation.world import World

TICK_S = 60.0
TICKS = 30 * 60
NEVER = (1e9, 1e9)


class Rates:
    """Work per second in each row, constant within a tick; rows are the zones, then the doors."""

    def __init__(self, rate: Array) -> None:
        """``rate`` : (rows, ticks) float, positive."""
        self.rate = rate
        self.done = np.zeros((rate.shape[0], rate.shape[1] + 1))
        np.cumsum(rate * TICK_S, axis=1, out=self.done[:, 1:])
        self._rate, self._done = rate.tolist(), self.done.tolist()

    def finish_s(self, row: int, start_s: float, work: float, pause: tuple[float, float] = NEVER) -> float:
        """When work that starts at ``start_s`` is finished, if nothing is done during ``pause``."""
        end_s = self._finish_s(row, start_s, work)
        stop_s, resume_s = pause
        if end_s <= stop_s or start_s >= resume_s:
            return end_s
        left = work if start_s >= stop_s else work - (self._at(row, stop_s) - self._at(row, start_s))
        return self._finish_s(row, resume_s, max(0.0, left))

    def work(self, row: Array, start_s: Array, end_s: Array) -> Array:
        """Work done between two instants, element by element."""
        return self._all_at(row, end_s) - self._all_at(row, start_s)

    def _finish_s(self, row: int, start_s: float, work: float) -> float:
        done, rate = self._done[row], self._rate[row]
        target = self._at(row, start_s) + work
        tick = min(bisect_right(done, target) - 1, TICKS - 1)
        return max(start_s, tick * TICK_S + (target - done[tick]) / rate[tick])

    def _at(self, row: int, at_s: float) -> float:
        tick = min(int(at_s / TICK_S), TICKS - 1)
        return self._done[row][tick] + self._rate[row][tick] * (at_s - tick * TICK_S)

    def _all_at(self, row: Array, at_s: Array) -> Array:
        tick = np.clip((at_s / TICK_S).astype(int), 0, TICKS - 1)
        return self.done[row, tick] + self.rate[row, tick] * (at_s - tick * TICK_S)


def usual_speed_mps(world: World, weekend: bool) -> Array:
    """(zones, ticks) speed by the time of day alone, which is all that a plan knows."""
    p = world.parameters.streets
    hour = np.arange(TICKS) * TICK_S / HOUR_S
    peaks = zip(p.peak_hours, p.peak_width_h, strict=True)
    peak = sum((np.exp(-(((hour - at) / width) ** 2) / 2) for at, width in peaks), np.zeros(TICKS))
    depth = world.peak_depth * (p.weekend_depth_share if weekend else 1.0)
    midday = p.midday_depth * ((hour > 7) & (hour < 19))
    return world.free_flow_mps[:, None] * (1 - depth[:, None] * peak - midday)


def true_speed_mps(
    world: World, weekend: bool, weather: Weather, normal: Array, upsets: Iterable[Upset]
) -> Array:
    """(zones, ticks) speed as it is; ``normal`` : (zones + 1, ticks), whose last row all zones share."""
    p = world.parameters.streets
    state = autoregressive(normal, float(np.exp(-TICK_S / p.congestion_memory_s)))
    shared = np.sqrt(p.congestion_shared) * state[-1] + np.sqrt(1 - p.congestion_shared) * state[:-1]
    speed_mps = usual_speed_mps(world, weekend) * np.exp(p.congestion_sd * shared)
    speed_mps = np.minimum(speed_mps, p.fastest_share * world.free_flow_mps[:, None])
    speed_mps *= by_tick(weather.speed_factor(world.parameters.weather))
    for upset in upsets:
        if upset.cause in (Cause.SLOW_ZONE, Cause.INCIDENT):
            speed_mps[upset.subject, ticks_from(upset.onset_s) : ticks_from(upset.end_s)] *= upset.severity
    return np.clip(speed_mps, 0.3, 60.0)


def by_tick(hourly: Array) -> Array:
    """Hourly values spread over the ticks of the service day."""
    return np.repeat(hourly, int(HOUR_S / TICK_S))[:TICKS]


def ticks_from(at_s: float) -> int:
    """The first tick that starts at or after an instant."""
    return int(np.clip(np.ceil(at_s / TICK_S), 0, TICKS))
