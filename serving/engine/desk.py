"""What the engine remembers of promises and alerts between two ticks, and how a score moves it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from features.route_book import RouteBook
from features.routes import StopPlan
from serving.decisions.alerts import STOP_SLOT, Action, AlertPolicy, Decision, Reason, Signal, Watch, decide
from serving.decisions.promises import DeliveryWindow, Promise, PromisePolicy, Revise, revise
from serving.decisions.rules import StopNow, stop_signal
from serving.engine.batch import Batch
from serving.engine.scoring import Scores

WatchKey = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A customer is told a new window."""

    before: Promise
    now: Promise
    reason: Revise


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was decided about one row of the scores.

    alert : None where there is nothing to decide, since no rule fires and none is remembered
    told : why the rule says what it says
    """

    row: int
    plan: StopPlan | None
    alert: Decision | None
    told: str
    revision: Revision | None

    @property
    def action(self) -> Action:
        return Action.NONE if self.alert is None else self.alert.action

    @property
    def is_told(self) -> bool:
        """Whether somebody hears of it, so that its reasons are worth computing."""
        return self.revision is not None or self.action in (Action.OPEN, Action.UPDATE)


@dataclass(slots=True, kw_only=True)
class Desk:
    """Promises by stop, and watches by stop and route."""

    promise_policy: PromisePolicy
    alert_policy: AlertPolicy
    promises: dict[str, Promise] = field(default_factory=dict)
    watches: dict[WatchKey, Watch] = field(default_factory=dict)
    watched: dict[str, set[WatchKey]] = field(default_factory=lambda: defaultdict(set))

    def restore(self, promises: Iterable[Promise], watches: Iterable[Watch]) -> None:
        self.promises = {promise.stop_id: promise for promise in promises}
        for watch in watches:
            self._keep(watch)

    def take_up(self, plans: Iterable[StopPlan | None], batch: Batch) -> None:
        """A window in the plan of a stop is the first that its customer was told."""
        for plan in plans:
            if plan is None or plan.stop_id in self.promises:
                continue
            if (promise := planned_promise(plan)) is not None:
                self._promise(promise, batch)

    def hear(self, body: Mapping[str, Any], route_id: str, at_us: int, batch: Batch) -> None:
        """Another system told a customer a window: a row of ``promises``."""
        window = DeliveryWindow(start_us=body["promised_start_at"], end_us=body["promised_end_at"])
        known = self.promises.get(body["stop_id"])
        promise = Promise(
            stop_id=body["stop_id"],
            route_id=route_id,
            first=known.first if known and body["promise_version"] > 1 else window,
            told=window,
            revisions=max(body["promise_version"] - 1, known.revisions if known else 0),
            told_us=at_us,
        )
        self._promise(promise, batch)

    def judge(self, scores: Scores, row: int, book: RouteBook, batch: Batch) -> Judgement:
        """Decide on one row and remember it; nothing is told yet."""
        stop_id = scores.stop_ids[row]
        plan = book.stop(stop_id)
        promise, level = scores.promises[row], plan.service_level if plan else None
        end_us = promise.first.end_us if promise else None
        now = StopNow(
            as_of_us=scores.as_of_us,
            promise_end_us=end_us,
            late_probability=scores.risk(row),
            expected_late_s=float(np.nan_to_num(scores.expected_late_s[row])),
        )
        route_id = scores.vectors.route_ids[row] or ""
        signal = stop_signal(stop_id, route_id, now, level, self.alert_policy)
        decision, revision = self.follow(signal, batch), self._revise(scores, row, batch)
        return Judgement(row=row, plan=plan, alert=decision, told=signal.told, revision=revision)

    def follow(self, signal: Signal, batch: Batch) -> Decision | None:
        """Decide on a signal and remember it; None where there is nothing to decide."""
        before = self.watches.get((signal.slot, signal.subject_id))
        if before is None:
            if signal.strength < signal.bars.open_at:
                return None
            before = Watch.blank(signal)
        decision = decide(before, signal, self.alert_policy)
        if decision.watch != before:
            self._keep(decision.watch)
            batch.watches[decision.watch.key] = decision.watch
        return decision

    def missing(self, seen: Collection[WatchKey], at_us: int, batch: Batch) -> list[Decision]:
        """End the watches of routes, depots, zones and areas of which nothing is said any more."""
        gone = [key for key in self.watches if key[0] != STOP_SLOT and key not in seen]
        return [self._end(key, Reason.ROUTE_OVER, at_us, batch) for key in sorted(gone)]

    def end_stops(self, route_id: str, book: RouteBook, at_us: int, batch: Batch) -> list[Decision]:
        """Stop watching stops of a route that were reached or given up."""
        return [
            self._end(key, reason, at_us, batch)
            for key in sorted(self.watched.get(route_id, ()))
            if key[0] == STOP_SLOT and (reason := _ended(book, key[1])) is not None
        ]

    def forget_route(
        self, route_id: str, stop_ids: Iterable[str], at_us: int, batch: Batch
    ) -> list[Decision]:
        """Forget a route's promises, and end whatever is still watched of it."""
        for stop_id in stop_ids:
            self.promises.pop(stop_id, None)
        watched = sorted(self.watched.get(route_id, ()))
        ends = [self._end(key, Reason.ROUTE_OVER, at_us, batch) for key in watched]
        self.watched.pop(route_id, None)
        return ends

    def _revise(self, scores: Scores, row: int, batch: Batch) -> Revision | None:
        before = self.promises.get(scores.stop_ids[row])
        if before is None:
            return None
        now, reason = revise(before, scores.window(row), scores.as_of_us, self.promise_policy)
        if not isinstance(reason, Revise):
            return None
        self._promise(now, batch)
        return Revision(before=before, now=now, reason=reason)

    def _promise(self, promise: Promise, batch: Batch) -> None:
        self.promises[promise.stop_id] = promise
        batch.promises[promise.stop_id] = promise

    def _keep(self, watch: Watch) -> None:
        if watch.is_blank:
            self.watches.pop(watch.key, None)
            self.watched.get(watch.route_id or "", set()).discard(watch.key)
            return
        self.watches[watch.key] = watch
        if watch.route_id is not None:
            self.watched[watch.route_id].add(watch.key)

    def _end(self, key: WatchKey, reason: Reason, at_us: int, batch: Batch) -> Decision:
        before = self.watches.pop(key)
        signal = Signal(
            kind=before.kind,
            subject_id=before.subject_id,
            rule=before.rule,
            as_of_us=at_us,
            strength=0.0,
            bars=self.alert_policy.bars(None),
            route_id=before.route_id,
            ended=reason,
        )
        decision = decide(before, signal, self.alert_policy)
        if before.route_id is not None:
            self.watched[before.route_id].discard(key)
        batch.watches[key] = Watch.blank(signal)
        return decision


def planned_promise(plan: StopPlan) -> Promise | None:
    """The promise that stands in the plan of a stop, if one does."""
    if plan.promised_end_us is None:
        return None
    start_us = plan.promised_end_us if plan.promised_start_us is None else plan.promised_start_us
    window = DeliveryWindow(start_us=start_us, end_us=plan.promised_end_us)
    return Promise(stop_id=plan.stop_id, route_id=plan.route_id, first=window, told=window)


def _ended(book: RouteBook, stop_id: str) -> Reason | None:
    if book.arrived(stop_id) is not None:
        return Reason.STOP_REACHED
    return None if book.closed(stop_id) is None else Reason.STOP_CLOSED
