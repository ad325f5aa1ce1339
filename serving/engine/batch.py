"""What one micro-batch changed, gathered in memory and written in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field

from features.live import Advance
from features.online import Versions
from features.route_book import RouteBook
from serving.decisions.alerts import Watch
from serving.decisions.cadence import RouteCadence
from serving.decisions.incidents import Incident
from serving.decisions.promises import Promise
from serving.decisions.silences import Silence
from serving.engine.history import HistoryWriter, KeptNow
from serving.engine.lessons import Learned
from serving.engine.ops import Checkpoint, OutboxEvent, StoredAlert, StoredForecast, Transaction
from serving.engine.picture import PictureWriter, Sightings


@dataclass(slots=True)
class Batch:
    """Later changes of one thing replace earlier ones, except where each of them is told."""

    feature_state: dict[tuple[str, str], bytes] = field(default_factory=dict)
    publications: list[Versions] = field(default_factory=list)
    route_seqs: dict[str, int] = field(default_factory=dict)
    cadences: dict[str, RouteCadence] = field(default_factory=dict)
    stop_routes: dict[str, str] = field(default_factory=dict)
    latest: dict[str, StoredForecast] = field(default_factory=dict)
    history: list[KeptNow] = field(default_factory=list)
    promises: dict[str, Promise] = field(default_factory=dict)
    watches: dict[tuple[str, str], Watch] = field(default_factory=dict)
    alerts: dict[str, StoredAlert] = field(default_factory=dict)
    incidents: dict[str, Incident] = field(default_factory=dict)
    silences: dict[str, Silence] = field(default_factory=dict)
    outbox: list[OutboxEvent] = field(default_factory=list)
    sightings: Sightings = field(default_factory=Sightings)
    learned: Learned = field(default_factory=Learned)
    forgotten_routes: list[str] = field(default_factory=list)
    swept_us: int | None = None
    forget_history_before_us: int | None = None
    keep_events: int = 0

    def add(self, advance: Advance) -> None:
        self.feature_state.update({(view, key): body for view, key, body in advance.state})
        self.publications += advance.publications

    def forget_route(self, route_id: str) -> None:
        """Forget a route, also what this batch still had to write about it."""
        self.forgotten_routes.append(route_id)
        self.route_seqs.pop(route_id, None)
        self.cadences.pop(route_id, None)
        self.latest = {stop: row for stop, row in self.latest.items() if row.route_id != route_id}
        self.promises = {stop: row for stop, row in self.promises.items() if row.route_id != route_id}
        self.stop_routes = {stop: route for stop, route in self.stop_routes.items() if route != route_id}

    def write(
        self,
        tx: Transaction,
        book: RouteBook,
        checkpoint: Checkpoint,
        picture: PictureWriter,
        history: HistoryWriter,
    ) -> None:
        """Everything, the checkpoint included."""
        tx.forget_routes(self.forgotten_routes)
        tx.save_feature_state((view, key, body) for (view, key), body in self.feature_state.items())
        tx.save_routes((route_id, seq, book.dump(route_id)) for route_id, seq in self.route_seqs.items())
        tx.index_stops(self.stop_routes.items())
        tx.save_cadences(self.cadences.values())
        tx.save_forecasts(self.latest.values())
        history.write(tx.connection, self.history, self.swept_us)
        tx.save_promises(self.promises.values())
        tx.save_watches(watch for watch in self.watches.values() if not watch.is_blank)
        tx.forget_watches(key for key, watch in self.watches.items() if watch.is_blank)
        tx.save_alerts(self.alerts.values())
        tx.save_incidents(self.incidents.values())
        tx.save_silences(self.silences.values())
        tx.enqueue(self.outbox)
        if self.forget_history_before_us is not None:
            tx.forget_history(self.forget_history_before_us, self.keep_events)
        picture.forget(tx.connection, self.forgotten_routes, self.forget_history_before_us)
        picture.write(tx.connection, book, self.route_seqs, self.sightings, self.latest.values(), self.outbox)
        self.learned.write(tx.connection, self.forget_history_before_us)
        tx.save_checkpoint(checkpoint)
