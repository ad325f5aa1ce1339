"""How fast work gets done, tick by tick: seconds of free driving in each district, seconds served at the doors.

Times come from integrating a rate, so whoever starts later never ends earlier (the FIFO property: Ichoua,
Gendreau and Potvin 2003), and slowing a zone never makes anybody early. Every array has a leading axis of days
that are simulated side by side: one for a single day, hundreds for the futures of an oracle.
"""

from __future__ import annotations

import numpy as np

from pipelines.simulation.disruptions import HOUR_S, Cause, Upsets
from pipelines.simulation.noise import Array
from pipelines.simulation.weather import Weather
from pipelines.simulation.world import World

TICK_S = 300.0
DAWN_S = 6 * HOUR_S
TICKS = 18 * 12
NEVER_S = 1e9
SLOWEST_SHARE = 0.03


class Rates:
    """Work per second in each row, constant within a tick; rows are the districts, the doors and the cycle paths."""

    def __init__(self, rate: Array, first_tick: int = 0) -> None:
        """``rate`` : (days, rows, ticks) float, positive; the first and the last tick last for ever."""
        self.start_s = DAWN_S + first_tick * TICK_S
        self.days, self.rows, self.ticks = rate.shape
        by_day = np.zeros((self.rows, self.ticks + 1, self.days))
        by_day[:, :-1] = rate.transpose(1, 2, 0)
        done = np.zeros_like(by_day)
        np.cumsum(by_day[:, :-1], axis=1, out=done[:, 1:])
        done *= TICK_S
        self._rate, self._done = by_day.ravel(), done.ravel()

    def lane(self, day: Array | int, row: Array | int) -> Array:
        """Where the rates of a row on a day begin; the days lie side by side, as they are asked for together."""
        return np.asarray(row) * ((self.ticks + 1) * self.days) + day

    @property
    def doors(self) -> int:
        return self.rows - 2

    @property
    def cycle_paths(self) -> int:
        return self.rows - 1

    def finish_s(self, lane: Array, start_s: Array, work: Array, stop_s: Array, resume_s: Array) -> Array:
        """When work is finished that starts at ``start_s``, if none is done from ``stop_s`` to ``resume_s``.

        Each array is (visits,); ``lane`` as of ``lane(day, row)``.
        """
        end_s = self._finish_s(lane, start_s, work)
        held = np.flatnonzero((end_s > stop_s) & (start_s < resume_s))
        if held.size:
            lane, start_s, work, stop_s, resume_s = (a[held] for a in (lane, start_s, work, stop_s, resume_s))
            done = self.work(lane, start_s, np.maximum(start_s, stop_s))
            end_s[held] = self._finish_s(lane, resume_s, np.maximum(work - done, 0))
        return end_s

    def work(self, lane: Array, start_s: Array, end_s: Array) -> Array:
        """Work done between two instants."""
        return self._done_by(lane, end_s) - self._done_by(lane, start_s)

    def at(self, lane: Array, at_s: Array) -> Array:
        """Work per second at an instant."""
        return self._rate[lane + self._tick(at_s) * self.days]

    def _finish_s(self, lane: Array, start_s: Array, work: Array) -> Array:
        days, last = self.days, self.ticks - 1
        tick = self._tick(start_s)
        entry = lane + tick * days
        target = self._done[entry] + self._rate[entry] * (start_s - self.start_s - tick * TICK_S) + work
        behind = np.flatnonzero((self._done[entry + days] < target) & (tick < last))
        while behind.size:
            tick[behind] += 1
            entry[behind] += days
            behind = behind[(self._done[entry[behind] + days] < target[behind]) & (tick[behind] < last)]
        at_s = self.start_s + tick * TICK_S + (target - self._done[entry]) / self._rate[entry]
        return np.maximum(start_s, at_s)

    def _done_by(self, lane: Array, at_s: Array) -> Array:
        tick = self._tick(at_s)
        entry = lane + tick * self.days
        return self._done[entry] + self._rate[entry] * (at_s - self.start_s - tick * TICK_S)

    def _tick(self, at_s: Array) -> Array:
        return np.clip((at_s - self.start_s) / TICK_S, 0, self.ticks - 1).astype(int)


def usual_flow(world: World, weekend: bool) -> Array:
    """(districts, ticks) speed against free flow by the time of day alone, which is all that a plan knows."""
    p = world.parameters.streets
    hour = (DAWN_S + np.arange(TICKS) * TICK_S) / HOUR_S
    peaks = zip(p.peak_hours, p.peak_width_h, strict=True)
    peak = sum((np.exp(-(((hour - at) / width) ** 2) / 2) for at, width in peaks), np.zeros(TICKS))
    depth = world.peak_depth * (p.weekend_depth_share if weekend else 1.0)
    midday = p.midday_depth * ((hour > 7) & (hour < 19))
    return 1 - depth[:, None] * peak - midday


def true_rates(world: World, usual: Array, weather: Weather, congestion: Array, upsets: Upsets) -> Array:
    """(days, rows, ticks) rates as they are; ``congestion`` : (days, districts + 1, ticks), the last shared by all.

    The ticks are the last ones of the service day.
    """
    p, days, ticks = world.parameters, congestion.shape[0], congestion.shape[2]
    shared = np.sqrt(p.streets.congestion_shared)
    state = np.sqrt(1 - p.streets.congestion_shared) * congestion[:, :-1] + shared * congestion[:, -1:]
    sky = by_tick(weather.speed_factor(p.weather), ticks)
    rates = np.empty((days, p.size.districts + 2, ticks))
    flow = rates[:, :-2]
    np.multiply(usual[:, TICKS - ticks :], np.exp(p.streets.congestion_sd * state), out=flow)
    np.minimum(flow, p.streets.fastest_share, out=flow)
    flow *= sky[:, None]
    _slow(flow, upsets.of(Cause.SLOW_ZONE, Cause.INCIDENT))
    np.maximum(flow, SLOWEST_SHARE, out=flow)
    rates[:, -2] = by_tick(weather.service_rate(p.weather), ticks)
    rates[:, -1] = sky
    return rates


def by_tick(hourly: Array, ticks: int = TICKS) -> Array:
    """(days, 24) hourly values spread over the last ticks of the service day."""
    return np.repeat(hourly, int(HOUR_S / TICK_S), axis=-1)[..., -ticks:]


def tick_from(at_s: Array | float) -> Array:
    """The first tick that starts at or after an instant."""
    return np.clip(np.ceil((np.asarray(at_s) - DAWN_S) / TICK_S), 0, TICKS).astype(int)


def _slow(flow: Array, struck: Upsets) -> None:
    before = TICKS - flow.shape[2]
    first, last = (np.maximum(tick_from(at) - before, 0) for at in (struck.onset_s, struck.end_s))
    for day, district, begin, end, factor in zip(
        struck.day, struck.subject, first, last, struck.severity, strict=True
    ):
        flow[day, district, begin:end] *= factor
