"""What to do about an incident: proposed actions, ranked by the gain that the forecaster itself gives them.

A gain is counted in late stops, each weighed by its priority: those that a new order avoids; and a share of those that
stay late but are told in time, since a delay that was told is less bad than one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.itinerary import ItineraryBuilder
from features.routes import Route, StopPlan
from features.vectors import Read
from serving.decisions.alerts import AlertPolicy
from serving.decisions.incidents import Incident
from serving.decisions.promises import Promise
from serving.engine.forecasts import window_document
from serving.engine.resequencing import Task, door_s, drive_s, reordered, solve
from serving.engine.scoring import Manner, Scores, score
from serving.times import US

Float = NDArray[np.float64]
Document = dict[str, Any]
#: Orders are asked for with these margins before the deadlines; the forecaster says which is best.
MARGINS_S = (0.0, 600.0)
#: A route is worth another order from this many stops after the next one on, and up to that many.
FEWEST, MOST = 2, 150
SLOWEST, FASTEST = 3.0, 0.5
#: Windows are offered in whole steps of the clock.
OFFER_STEP_US = 300 * US


class Kind(StrEnum):
    RESEQUENCE = "resequence"
    OFFER_WINDOW = "offer_window"
    NOTIFY = "notify"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvicePolicy:
    """What a late stop that was told counts, and how much is proposed.

    offered_worth, told_worth : share of a late stop that is made good by a new window, or by a message
    least_gain : late stops that a new order must avoid to be worth the trouble
    most_routes : how many routes of an incident are looked at, those with the most lateness first
    """

    offered_worth: float = 0.4
    told_worth: float = 0.15
    least_gain: float = 0.5
    most_routes: int = 2
    most_actions: int = 3
    most_stops: int = 30


@dataclass(slots=True, kw_only=True)
class Adviser:
    """Proposes; ``promises`` are those that customers were told."""

    route_of: Callable[[str], Route | None]
    read: Read
    manner: Manner
    promises: Mapping[str, Promise]
    alerts: AlertPolicy
    policy: AdvicePolicy

    def advise(self, incident: Incident, at_us: int) -> tuple[Document, ...]:
        """Actions for the routes of an incident that are late the most, the best first."""
        scored = [
            (route, self._score(route, at_us))
            for route_id in sorted(incident.route_ids)
            if (route := self.route_of(route_id)) is not None and route.remaining()
        ]
        worst = sorted(scored, key=lambda each: -self._late_stops(each[0], each[1]))
        found: list[Document] = []
        for route, scores in worst[: self.policy.most_routes]:
            found += self._of_route(route, scores, at_us)
        found.sort(key=lambda action: -action["gain"]["late_stops"])
        return tuple(found[: self.policy.most_actions])

    def resequence(self, route: Route, at_us: int, scores: Scores | None = None) -> Document | None:
        """The best other order of a route, None where none avoids enough late stops."""
        stops = route.remaining()
        if not FEWEST < len(stops) <= MOST or any(stop.position is None for stop in stops):
            return None
        now = [stop.stop_id for stop in stops]
        before = self._score(reordered(route, now), at_us)
        task = self._task(stops, scores or before, at_us)
        best: Document | None = None
        for margin_s in MARGINS_S:
            order = [now[0], *solve(task, margin_s)]
            after = self._score(reordered(route, order), at_us)
            avoided = self._late_stops(route, before) - self._late_stops(route, after)
            minutes = self._late_minutes(route, before) - self._late_minutes(route, after)
            if order != now and (best is None or avoided > best["gain"]["late_stops"]):
                best = {
                    "kind": Kind.RESEQUENCE.value,
                    "route_id": route.route_id,
                    "stop_ids": order[1:],
                    "gain": {"late_stops": round(avoided, 2), "minutes": round(minutes, 1)},
                }
        return best if best is not None and best["gain"]["late_stops"] >= self.policy.least_gain else None

    def _of_route(self, route: Route, scores: Scores, at_us: int) -> list[Document]:
        found = [self.resequence(route, at_us, scores)]
        late = [row for row in range(len(scores)) if (scores.risk(row) or 0.0) >= self.alerts.open_at]
        if late:
            found += [self._offer(route, scores, late), self._notify(route, scores, late)]
        return [action for action in found if action is not None]

    def _offer(self, route: Route, scores: Scores, late: Sequence[int]) -> Document:
        kept = (1 + self.manner.coverage) / 2
        worth = self.policy.offered_worth * kept * self._weighed(route, scores, late)
        windows = [
            {
                "stop_id": scores.stop_ids[row],
                "window": window_document(scores.window(row).widened(OFFER_STEP_US)),
            }
            for row in late[: self.policy.most_stops]
        ]
        gain = {"late_stops": round(worth, 2), "minutes": 0.0}
        return {
            "kind": Kind.OFFER_WINDOW.value,
            "route_id": route.route_id,
            "windows": windows,
            "gain": gain,
        }

    def _notify(self, route: Route, scores: Scores, late: Sequence[int]) -> Document:
        worth = self.policy.told_worth * self._weighed(route, scores, late)
        return {
            "kind": Kind.NOTIFY.value,
            "route_id": route.route_id,
            "stop_ids": [scores.stop_ids[row] for row in late[: self.policy.most_stops]],
            "gain": {"late_stops": round(worth, 2), "minutes": 0.0},
        }

    def _score(self, route: Route, at_us: int) -> Scores:
        builder = ItineraryBuilder()
        builder.add(route, at_us)
        return score(builder.build(), self.read, at_us, self.promises, self.manner)

    def _task(self, stops: Sequence[StopPlan], scores: Scores, at_us: int) -> Task:
        """The remaining stops as a routing problem, as slow as the forecast says they are."""
        eta_us = scores.eta_us
        reference_s = sum(door_s(early) + drive_s(early, late) for early, late in pairwise(stops))
        slowness = float(np.clip((eta_us[-1] - eta_us[0]) / US / max(reference_s, 1.0), FASTEST, SLOWEST))
        ends = [self.promises.get(stop.stop_id) for stop in stops[1:]]
        return Task(
            start=stops[0],
            free_s=max(0.0, (int(eta_us[0]) - at_us) / US) + door_s(stops[0], slowness),
            stops=stops[1:],
            deadline_s=[None if end is None else (end.first.end_us - at_us) / US for end in ends],
            slowness=slowness,
        )

    def _weights(self, route: Route, scores: Scores) -> Float:
        plans = [route.stops[stop_id] for stop_id in scores.stop_ids]
        weights = [self.alerts.priority(p.service_level, p.product_type, p.value) for p in plans]
        return np.array(weights, np.float64)

    def _late_stops(self, route: Route, scores: Scores) -> float:
        return float((self._weights(route, scores) * np.nan_to_num(scores.late_probability)).sum())

    def _late_minutes(self, route: Route, scores: Scores) -> float:
        return float((self._weights(route, scores) * np.nan_to_num(scores.expected_late_s)).sum() / 60)

    def _weighed(self, route: Route, scores: Scores, rows: Sequence[int]) -> float:
        weighed = self._weights(route, scores) * np.nan_to_num(scores.late_probability)
        return float(weighed[list(rows)].sum())
