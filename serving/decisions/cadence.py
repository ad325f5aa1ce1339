"""Which routes are scored at a tick, and how much of each: pure decisions on log time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil

from serving.times import US


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """How often things are done, in seconds of the log's clock."""

    tick_s: float = 1.0
    whole_route_s: float = 30.0
    whole_routes_a_tick: int = 40
    silent_route_s: float = 60.0
    silent_share: float = 0.1
    longest_silent_s: float = 600.0
    next_stops: int = 3
    slip_moved_s: float = 60.0
    history_s: float = 900.0
    history_moved_s: float = 60.0
    history_moved_share: float = 0.05
    history_moved_probability: float = 0.05
    sweep_s: float = 60.0
    keep_history_s: float = 7 * 86_400.0
    keep_events: int = 100_000

    def most_whole_routes(self, live: int, since_tick_s: float) -> int:
        """How many routes a tick may score whole: half as many again as keep up, so that no tick stalls."""
        share = min(1.0, since_tick_s / self.whole_route_s)
        return max(self.whole_routes_a_tick, ceil(1.5 * share * live))


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteCadence:
    """When a route was last touched and scored; ``whole_slip_s`` is its slip when it was last scored whole.

    A route without a stop left to reach is not live; it is scored again only if something new happens to it.
    """

    route_id: str
    live: bool = True
    dirty: bool = False
    touched_us: int = 0
    scored_us: int | None = None
    whole_us: int | None = None
    whole_slip_s: float | None = None

    def touched(self, at_us: int) -> RouteCadence:
        return replace(self, live=True, dirty=True, touched_us=at_us)

    def finished(self) -> RouteCadence:
        return replace(self, live=False, dirty=False)

    def scored(self, at_us: int, whole: bool, slip_s: float | None) -> RouteCadence:
        if not whole:
            return replace(self, dirty=False, scored_us=at_us)
        return replace(self, dirty=False, scored_us=at_us, whole_us=at_us, whole_slip_s=slip_s)


@dataclass(frozen=True, slots=True)
class Due:
    """Routes to score at a tick: some whole, some only their next stops."""

    whole: tuple[str, ...]
    next_stops: tuple[str, ...]


def due(routes: Iterable[RouteCadence], tick_us: int, since_tick_s: float, cadence: Cadence) -> Due:
    """A dirty route has its next stops scored now, and is scored whole once in a while; a silent one too.

    Those that were scored whole longest ago come first; what a tick cannot take waits for the next.
    """
    live = [route for route in routes if route.live]
    rested = [route for route in live if _has_rested(route, tick_us, cadence)]
    rested.sort(key=lambda route: (route.whole_us or 0, route.route_id))
    whole = {route.route_id for route in rested[: cadence.most_whole_routes(len(live), since_tick_s)]}
    next_stops = [route.route_id for route in live if route.dirty and route.route_id not in whole]
    return Due(tuple(sorted(whole)), tuple(sorted(next_stops)))


def slipped(route: RouteCadence, slip_s: float | None, cadence: Cadence) -> bool:
    """Whether the slip has moved so far since the last whole scoring that the later stops are wrong too."""
    if slip_s is None or route.whole_slip_s is None:
        return False
    return abs(slip_s - route.whole_slip_s) > cadence.slip_moved_s


@dataclass(frozen=True, slots=True)
class HistoryTail:
    """The last forecast of a stop that was kept."""

    as_of_us: int
    eta_us: int
    late_probability: float | None


def worth_keeping(tails: Mapping[str, HistoryTail], stop_id: str, now: HistoryTail, cadence: Cadence) -> bool:
    """Whether a forecast goes into the history: the first, one that moved, or one after a while.

    How far it must move grows with how far ahead the stop is, so that the history of a long route stays small.
    """
    last = tails.get(stop_id)
    if last is None or now.as_of_us - last.as_of_us >= cadence.history_s * US:
        return True
    moved_s = abs(now.eta_us - last.eta_us) / US
    risk_moved = abs((now.late_probability or 0.0) - (last.late_probability or 0.0))
    ahead_s = (now.eta_us - now.as_of_us) / US
    far_s = max(cadence.history_moved_s, cadence.history_moved_share * ahead_s)
    return moved_s >= far_s or risk_moved >= cadence.history_moved_probability


def _has_rested(route: RouteCadence, tick_us: int, cadence: Cadence) -> bool:
    """A route of which nothing is heard is scored ever less often."""
    silent_s = cadence.silent_share * (tick_us - route.touched_us) / US
    silent_s = min(max(silent_s, cadence.silent_route_s), cadence.longest_silent_s)
    rest_s = cadence.whole_route_s if route.dirty else silent_s
    return route.whole_us is None or tick_us - route.whole_us >= rest_s * US
