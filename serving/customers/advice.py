"""What to tell a customer of one stop, and when: preferences and learned hours, laid over its forecast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from serving.customers.home import HomeShare, best_hours, home_share
from serving.customers.preferences import Preferences
from serving.customers.store import CustomerStore
from serving.customers.timing import Asked, Timing, TimingPolicy, when
from serving.decisions.promises import DeliveryWindow, PromisePolicy
from serving.times import from_rfc3339, from_us, to_rfc3339

Document = dict[str, Any]
LEVELS = {"p05": 0.05, "p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95}


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerStop:
    """A stop, whose it is, and the clocks there."""

    stop_id: str
    customer_id: str | None
    zone: ZoneInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisor:
    """Advice at an instant."""

    store: CustomerStore
    timing: TimingPolicy
    promises: PromisePolicy
    coverage: float
    now_us: int

    def notification(self, stop: CustomerStop, window: DeliveryWindow) -> Document:
        """Whether, when and how to tell of a window."""
        preferences = self._preferences(stop)
        home = self._home(stop, window)
        asked = Asked(
            window=window,
            now_us=self.now_us,
            zone=stop.zone,
            preferences=preferences,
            home=home,
            policy=self.timing,
        )
        decided: Timing = when(asked)
        return {
            "stop_id": stop.stop_id,
            "act": decided.act.value,
            "why": decided.why.value,
            "at": None if decided.at_us is None else to_rfc3339(decided.at_us),
            "channel": (preferences.channel or self.timing.channel).value,
            "window": _window(window),
        }

    def proposal(self, stop: CustomerStop, forecast: Mapping[str, Any]) -> Document:
        """The window that the dial gives, and hours of its day at which somebody is more likely home."""
        usual = (1.0 - self.coverage) / 2.0
        early, late = self.promises.tails(self.coverage) or (usual, usual)
        quantiles_us = {name: from_rfc3339(text) for name, text in forecast["quantiles"].items()}
        window = DeliveryWindow(
            start_us=at_level(quantiles_us, early), end_us=at_level(quantiles_us, 1.0 - late)
        ).widened(int(self.promises.round_to_s * 1_000_000))
        home = self._home(stop, window)
        day = from_us(window.start_us, stop.zone)
        visits = self._visits(stop)
        hours = best_hours(visits, day, self.now_us, stop.zone, self.store.usual()) if visits else []
        better = [
            {"hour": hour, "share": round(share.share, 3)}
            for hour, share in hours
            if share.share > home.share + 1e-9
        ]
        return {
            "stop_id": stop.stop_id,
            "window": _window(window),
            "late_limit": round(late, 4),
            "home_share": round(home.share, 3),
            "visits": round(home.visits, 1),
            "why": self._why(home),
            "safe_place": self._preferences(stop).safe_place is not None,
            "better_hours": better,
        }

    def _why(self, home: HomeShare) -> str:
        if home.visits < self.timing.seldom_visits:
            return "NOTHING_LEARNED"
        return "SELDOM_HOME" if home.share < self.timing.seldom_below else "HOME_LIKELY"

    def _preferences(self, stop: CustomerStop) -> Preferences:
        return Preferences() if stop.customer_id is None else self.store.preferences(stop.customer_id)

    def _visits(self, stop: CustomerStop) -> list[Any]:
        return [] if stop.customer_id is None else self.store.visits(stop.customer_id)

    def _home(self, stop: CustomerStop, window: DeliveryWindow) -> HomeShare:
        middle_us = (window.start_us + window.end_us) // 2
        return home_share(self._visits(stop), middle_us, self.now_us, stop.zone, self.store.usual())


def at_level(quantiles_us: Mapping[str, int], level: float) -> int:
    """An instant between the published quantiles, in a straight line; beyond them the outermost."""
    known = [(LEVELS[name], at_us) for name, at_us in quantiles_us.items()]
    known.sort()
    if level <= known[0][0]:
        return known[0][1]
    for (low, at_low), (high, at_high) in pairwise(known):
        if level <= high:
            return at_low + round((level - low) / (high - low) * (at_high - at_low))
    return known[-1][1]


def _window(window: DeliveryWindow) -> dict[str, str]:
    return {"start": to_rfc3339(window.start_us), "end": to_rfc3339(window.end_us)}
