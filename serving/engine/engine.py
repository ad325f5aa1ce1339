"""The engine: reads the log, moves the features, scores at ticks, decides, and commits all of it at once.

Time comes from records alone, and scores are made at ticks alone, so that replaying a log gives the same
state however it is cut into micro-batches. The engine is crash-only: after an error it starts again from its
checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from data_contracts.record import COMMAND, MODEL, TICK, Record
from features.live import LiveFeatures
from features.online import Versions
from serving.engine.batch import Batch
from serving.engine.history import HistoryWriter
from serving.engine.ops import OpsStore
from serving.engine.outbox import EventType, outbox_event
from serving.engine.picture import PictureWriter
from serving.engine.rounds import EngineSettings, Rounds
from serving.engine.scoring import Forecaster
from serving.storage.changes import delivery_change
from serving.times import US

log = structlog.get_logger(__name__)

#: Records that change what is stored of a route; a ping only makes it worth scoring.
PLANS = ("routes", "stops", "stop_events")


class Log(Protocol):
    """Where records come from."""

    def read(self, after_seq: int, limit: int) -> list[Record]: ...


class Publisher(Protocol):
    """Where feature versions go for the API to read."""

    def publish_all(self, batches: Iterable[Versions]) -> int: ...


class Engine:
    """One consumer of the log. ``load_model`` gives the model of a version, or None if it must not serve."""

    def __init__(
        self,
        log: Log,
        ops: OpsStore,
        features: LiveFeatures,
        load_model: Callable[[str], Forecaster | None],
        publisher: Publisher,
        settings: EngineSettings,
        on_commit: Callable[[Batch, int, float], None] | None = None,
    ) -> None:
        self._on_commit = on_commit
        self._log, self._ops, self._publisher = log, ops, publisher
        self._features, self._load_model, self._settings = features, load_model, settings
        self._rounds = Rounds(features, settings)
        self._picture, self._history = PictureWriter(), HistoryWriter(settings.history)
        self._model: Forecaster | None = None
        self.checkpoint = ops.checkpoint()
        self._restore()

    def step(self, limit: int = 1000) -> int:
        """Apply the next records, at most ``limit``; give how many there were."""
        records = self._log.read(self.checkpoint.seq, limit)
        if not records:
            return 0
        started_s, batch = time.perf_counter(), Batch()
        for events, tick in cut_at_ticks(records):
            self._advance(events, batch)
            if tick is not None:
                self._tick(tick.received_us, batch)
        last = records[-1]
        self.checkpoint = replace(self.checkpoint, seq=last.seq, as_of_us=last.received_us)
        with self._ops.transaction() as tx:
            batch.write(tx, self._features.book, self.checkpoint, self._picture, self._history)
        if batch.swept_us is not None:
            self._ops.give_back()
        self._publisher.publish_all(batch.publications)
        if self._on_commit is not None:
            self._on_commit(batch, len(records), time.perf_counter() - started_s)
        return len(records)

    def republish(self) -> int:
        """Publish the newest version of everything, as after a crash between commit and publication."""
        return self._publisher.publish_all(self._features.newest())

    def _restore(self) -> None:
        for route_id, body in self._ops.routes():
            self._features.book.load(route_id, body)
        self._features.restore(self._ops.feature_state())
        self._rounds.restore(self._ops, self.checkpoint.as_of_us)
        if self.checkpoint.model_version is not None:
            self._model = self._load_model(self.checkpoint.model_version)

    def _advance(self, records: Sequence[Record], batch: Batch) -> None:
        if not records:
            return
        advance = self._features.advance(records)
        batch.add(advance)
        for record, route_ids in zip(records, advance.touched, strict=True):
            batch.sightings.see(record, route_ids)
            for route in advance.ended.get(record.seq, ()):
                self._rounds.forget(route.route_id, list(route.stops), record.received_us, batch)
            if record.type == MODEL:
                self._take_model(str(record.body["version"]))
            elif record.type == "promises":
                self._hear_promise(record, batch)
            elif record.type == COMMAND:
                self._rounds.disruptions.command(record.body, record.received_us, batch)
                self._hear_change(record, batch)
            for route_id in route_ids:
                self._note_route(route_id, record, batch)

    def _note_route(self, route_id: str, record: Record, batch: Batch) -> None:
        if record.type in PLANS:
            batch.route_seqs[route_id] = record.seq
        if record.type == "stops":
            batch.stop_routes[record.body["stop_id"]] = record.body["route_id"]
        self._rounds.touch(route_id, record, batch)

    def _hear_promise(self, record: Record, batch: Batch) -> None:
        plan = self._features.book.stop(record.body["stop_id"])
        if plan is not None:
            self._rounds.desk.hear(record.body, plan.route_id, record.received_us, batch)

    def _hear_change(self, record: Record, batch: Batch) -> None:
        """A customer chose something; operators and their systems are told."""
        change = delivery_change(record.body)
        plan = self._features.book.stop(change.stop_id) if change else None
        if change is not None and plan is not None:
            data = {"stop_id": plan.stop_id, "route_id": plan.route_id, "choice": change.choice.value}
            at_us, about = record.received_us, str(record.seq)
            batch.outbox.append(outbox_event(EventType.CHANGE_REQUESTED, plan.stop_id, at_us, data, about))

    def _take_model(self, version: str) -> None:
        model = self._load_model(version)
        if model is None:
            log.warning("model_refused", version=version, kept=self.checkpoint.model_version)
            return
        self._model = model
        self.checkpoint = replace(self.checkpoint, model_version=version)
        log.info("model_taken", version=version)

    def _tick(self, at_us: int, batch: Batch) -> None:
        if at_us - self.checkpoint.swept_us >= self._settings.cadence.sweep_s * US:
            self._rounds.sweep(at_us, batch)
            self.checkpoint = replace(self.checkpoint, swept_us=at_us)
        self._rounds.end_stops(at_us, batch)
        self._rounds.look(at_us, self.checkpoint.scored_us, batch)
        if self._model is not None:
            self._rounds.run(at_us, self.checkpoint.scored_us, self._model, batch)
            self.checkpoint = replace(self.checkpoint, scored_us=at_us)
        self._rounds.close(at_us, self._model, batch)


def cut_at_ticks(records: Sequence[Record]) -> Iterator[tuple[list[Record], Record | None]]:
    """Runs of records, each with the tick that ends it; the last run may have none."""
    run: list[Record] = []
    for record in records:
        if record.type == TICK:
            yield run, record
            run = []
        else:
            run.append(record)
    if run:
        yield run, None
