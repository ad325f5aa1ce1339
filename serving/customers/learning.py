"""Visits that ended are what home hours are learned from: taken from the engine's picture, each once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import structlog

from serving.customers.home import Visit
from serving.customers.store import CustomerStore, VisitMade
from serving.times import US

log = structlog.get_logger(__name__)

HOME_IF = "completed"
EVERY_S = 30.0
SWEEP_S = 86_400.0
#: Visits older than this teach nothing any more.
KEEP_S = 2 * 365 * 86_400.0


class EndedVisits(Protocol):
    """Where visits are seen: customer, stop, how it ended, and when the door was reached."""

    def visits(self) -> list[tuple[str, str, str, int]]: ...


class HomeLearner:
    """Follows the visits of a running service; what it knows already costs nothing but a look."""

    def __init__(self, seen: EndedVisits, store: CustomerStore) -> None:
        self._seen, self._store = seen, store
        self._known: set[str] = set()
        self._due_s, self._sweep_s = 0.0, 0.0

    def beat(self, now_s: float, now_us: int) -> int:
        """Learn if it is time to; ``now_s`` is a monotonic clock. Give how many visits were new."""
        if now_s < self._due_s:
            return 0
        self._due_s = now_s + EVERY_S
        if now_s >= self._sweep_s:
            self._sweep_s = now_s + SWEEP_S
            self._store.forget(now_us - int(KEEP_S * US))
        return self.learn()

    def learn(self) -> int:
        """Take what ended since the last look."""
        ended = list(self._ended())
        new = [each for each in ended if each.stop_id not in self._known]
        count = self._store.learn(new) if new else 0
        self._known = {each.stop_id for each in ended}
        return count

    def _ended(self) -> Iterator[VisitMade]:
        for customer_id, stop_id, state, at_us in self._seen.visits():
            visit = Visit(at_us=at_us, home=state == HOME_IF)
            yield VisitMade(customer_id=customer_id, stop_id=stop_id, visit=visit)
