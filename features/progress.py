"""What each message made of its route's progress: the versions of the view ``route_progress``."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from features.keys import Keys
from features.messages import Message
from features.online import Versions
from features.routes import Route
from features.views import ROUTE_PROGRESS

#: Of the noted columns those that count, and those that are microseconds and become seconds.
COUNTS, TIMES = (2, 4), (3, 5, 6, 7, 8)


@dataclass(slots=True)
class ProgressLog:
    """Progress of routes as each message left it."""

    route_ids: list[str] = field(default_factory=list)
    noted: list[tuple[int, ...]] = field(default_factory=list)

    def add(self, route: Route | None, told: Message) -> None:
        """Note a route that this message has moved on."""
        if route is None or route.progress.known_us != told.received_us:
            return
        done = route.progress
        self.route_ids.append(route.route_id)
        self.noted.append(
            (
                told.received_us,
                told.seq,
                done.phase,
                done.lag_us,
                len(done.visited),
                done.depot_slip_us,
                done.travel_slip_us,
                done.service_slip_us,
                done.halt_us,
            )
        )

    def versions(self) -> list[Versions]:
        """The progress view's versions; none where nothing happened."""
        if not self.route_ids:
            return []
        noted = np.array(self.noted, np.int64)
        values = np.empty((len(noted), len(ROUTE_PROGRESS.fields)), np.float32)
        for column in COUNTS:
            values[:, column - 2] = noted[:, column]
        for column in TIMES:
            values[:, column - 2] = noted[:, column] / 1e6
        return [
            Versions(
                view=ROUTE_PROGRESS,
                ids=Keys.of(self.route_ids),
                values=values,
                known_us=noted[:, 0],
                created_us=noted[:, 1],
            )
        ]
