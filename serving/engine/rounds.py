"""What happens at a tick: the routes that are due are scored, judged, stored and told."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson

from data_contracts.record import Record
from features.live import LiveFeatures
from serving.decisions.alerts import AlertPolicy
from serving.decisions.cadence import Cadence, Due, HistoryTail, RouteCadence, due, slipped, worth_keeping
from serving.decisions.grouping import IncidentPolicy
from serving.decisions.promises import PromisePolicy
from serving.decisions.rules import RulePolicy
from serving.engine.advice import AdvicePolicy, Adviser
from serving.engine.batch import Batch
from serving.engine.desk import Desk
from serving.engine.disruptions import Disruptions
from serving.engine.drift import DriftPolicy, drift
from serving.engine.forecasts import ModelName, documents
from serving.engine.history import HistoryLimits, KeptNow
from serving.engine.kept import made_with_of
from serving.engine.lessons import Lessons
from serving.engine.ops import OpsStore, StoredForecast
from serving.engine.outbox import EventType, outbox_event
from serving.engine.scoring import Forecaster, Manner, Scores, score
from serving.engine.taught import Taught
from serving.engine.telling import Document
from serving.times import US


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How often, how sure and how loud."""

    coverage: float = 0.8
    cadence: Cadence = field(default_factory=Cadence)
    promises: PromisePolicy = field(default_factory=PromisePolicy)
    alerts: AlertPolicy = field(default_factory=AlertPolicy)
    rules: RulePolicy = field(default_factory=RulePolicy)
    incidents: IncidentPolicy = field(default_factory=IncidentPolicy)
    advice: AdvicePolicy = field(default_factory=AdvicePolicy)
    drift: DriftPolicy = field(default_factory=DriftPolicy)
    history: HistoryLimits = field(default_factory=HistoryLimits)


class Rounds:
    """Cadence of every route, and the desk that decides on what is scored."""

    def __init__(self, features: LiveFeatures, settings: EngineSettings) -> None:
        self._features, self._book, self._settings = features, features.book, settings
        self._routes: dict[str, RouteCadence] = {}
        self._tails: dict[str, HistoryTail] = {}
        self._lessons = Lessons()
        self.desk = Desk(promise_policy=settings.promises, alert_policy=settings.alerts)
        self.disruptions = Disruptions(
            features, self.desk, settings.alerts, settings.rules, settings.incidents
        )

    def restore(self, ops: OpsStore, as_of_us: int) -> None:
        self._routes = {route.route_id: route for route in ops.cadences()}
        self._tails = ops.history_tails()
        self._lessons.restore(ops.taught_parts(), ops.stakes())
        self.desk.restore(ops.promises(), ops.watches())
        self.disruptions.restore(ops, as_of_us)

    def touch(self, route_id: str, record: Record, batch: Batch) -> None:
        """Something happened to a route."""
        before = self._routes.get(route_id) or RouteCadence(route_id=route_id)
        self._set(before.touched(record.received_us), batch)

    def run(self, at_us: int, last_us: int, model: Forecaster, batch: Batch) -> None:
        """Learn from what was reached, then score what is due; a route whose slip has moved is scored whole at once.

        ``last_us`` is when the last round was, 0 before the first.
        """
        cadence = self._settings.cadence
        dirty = [route.route_id for route in self._routes.values() if route.dirty]
        before = self._lessons.taught(model.version)
        self._lessons.learn(dirty, self._book, model, at_us, batch.learned)
        self._tell_drift(before, model, at_us, batch)
        manner = self._manner(model)
        since_s = (at_us - last_us) / US if last_us else 0.0
        todo = due(self._routes.values(), at_us, since_s, cadence)
        scores = self._score(todo, at_us, manner, batch)
        if scores is None:
            return
        slips = self._slips(scores)
        moved = tuple(
            route_id
            for route_id in todo.next_stops
            if slipped(self._routes[route_id], slips.get(route_id), cadence)
        )
        self._judge(scores, model, frozenset(moved), batch)
        self._note(todo, slips, at_us, batch)
        again = self._score(Due(moved, ()), at_us, manner, batch) if moved else None
        if again is not None:
            self._judge(again, model, frozenset(), batch)
            self._note(Due(moved, ()), slips, at_us, batch)

    def end_stops(self, at_us: int, batch: Batch) -> None:
        """Close the alerts of stops that were reached or given up."""
        for route_id in sorted(route.route_id for route in self._routes.values() if route.dirty):
            self.disruptions.ended(self.desk.end_stops(route_id, self._book, at_us, batch), at_us, batch)

    def sweep(self, at_us: int, batch: Batch) -> None:
        """Forget old history, and routes that ended or fell silent long ago."""
        batch.swept_us, batch.keep_events = at_us, self._settings.cadence.keep_events
        batch.forget_history_before_us = at_us - int(self._settings.cadence.keep_history_s * US)
        for route_id in [route_id for route_id in self._routes if self._is_over(route_id, at_us)]:
            route = self._book.route(route_id)
            if route is not None:
                self._book.forget(route_id)
            self.forget(route_id, list(route.stops) if route else [], at_us, batch)

    def forget(self, route_id: str, stop_ids: Sequence[str], at_us: int, batch: Batch) -> None:
        """Forget what was decided and promised of a route that is over."""
        self.disruptions.ended(self.desk.forget_route(route_id, stop_ids, at_us, batch), at_us, batch)
        self._lessons.forget(stop_ids, batch.learned)
        for stop_id in stop_ids:
            self._tails.pop(stop_id, None)
        batch.forget_route(route_id)
        self._routes.pop(route_id, None)

    def close(self, at_us: int, model: Forecaster | None, batch: Batch) -> None:
        """What a tick ends with: incidents that are due are told, with actions where there is a model."""
        adviser = None if model is None else self._adviser(model)
        self.disruptions.tick(at_us, batch, adviser)

    def look(self, at_us: int, last_us: int, batch: Batch) -> None:
        """Ask what is about routes, depots, zones and areas."""
        live = sorted(route.route_id for route in self._routes.values() if route.live)
        self.disruptions.look(live, at_us, last_us, batch)

    def _is_over(self, route_id: str, at_us: int) -> bool:
        route = self._book.route(route_id)
        return route is None or route.is_over(at_us)

    def _tell_drift(self, before: Taught, model: Forecaster, at_us: int, batch: Batch) -> None:
        news = drift(before, self._lessons.taught(model.version), self._settings.drift)
        if news is not None:
            data = {"model": model.name, "version": model.version, **news}
            batch.outbox.append(outbox_event(EventType.CALIBRATION_DRIFTED, model.name, at_us, data))

    def _manner(self, model: Forecaster) -> Manner:
        taught = self._lessons.taught(model.version)
        coverage = self._settings.coverage
        tails = self._settings.promises.tails(coverage)
        return Manner(forecaster=model, coverage=coverage, taught=taught, tails=tails)

    def _adviser(self, model: Forecaster) -> Adviser:
        return Adviser(
            route_of=self._book.route,
            read=self._features.read,
            manner=self._manner(model),
            promises=self.desk.promises,
            alerts=self._settings.alerts,
            policy=self._settings.advice,
        )

    def _set(self, cadence: RouteCadence, batch: Batch) -> None:
        self._routes[cadence.route_id] = cadence
        batch.cadences[cadence.route_id] = cadence

    def _score(self, todo: Due, at_us: int, manner: Manner, batch: Batch) -> Scores | None:
        """Scores of the routes that are due; one with nothing left to reach is finished."""
        asked = [*todo.whole, *todo.next_stops]
        itinerary = self._book.itinerary(
            asked, at_us, dict.fromkeys(todo.next_stops, self._settings.cadence.next_stops)
        )
        for route_id in sorted(set(asked) - {route_id for route_id in itinerary.route_ids if route_id}):
            self._set(self._routes[route_id].finished(), batch)
        if not len(itinerary):
            return None
        self.desk.take_up(map(self._book.stop, itinerary.stop_ids), batch)
        return score(itinerary, self._features.read, at_us, self.desk.promises, manner)

    def _slips(self, scores: Scores) -> dict[str, float]:
        """How late each route's next stop is against its plan, in seconds."""
        slips = {}
        for row in np.flatnonzero(scores.rank == 1):
            plan = self._book.stop(scores.stop_ids[row])
            if plan is not None and plan.planned_arrival_us is not None:
                slips[plan.route_id] = (int(scores.eta_us[row]) - plan.planned_arrival_us) / US
        return slips

    def _note(self, scored: Due, slips: Mapping[str, float], at_us: int, batch: Batch) -> None:
        for is_whole, route_ids in ((True, scored.whole), (False, scored.next_stops)):
            for route_id in route_ids:
                if self._routes[route_id].live:
                    cadence = self._routes[route_id].scored(at_us, is_whole, slips.get(route_id))
                    self._set(cadence, batch)

    def _judge(self, scores: Scores, model: Forecaster, leave: Collection[str], batch: Batch) -> None:
        """Decide on every row but those of some routes, store its forecast, and tell what changed."""
        rows = [row for row, route_id in enumerate(scores.vectors.route_ids) if route_id not in leave]
        judgements = [self.desk.judge(scores, row, self._book, batch) for row in rows]
        told = [judgement.row for judgement in judgements if judgement.is_told]
        reasons = dict(zip(told, model.reasons(scores.vectors, told), strict=True)) if told else {}
        self._lessons.stake(scores, model.version, batch.learned)
        texts, made_with = documents(scores, ModelName.of(model), reasons), made_with_of(scores)
        for judgement in judgements:
            row = judgement.row
            self._store(scores, row, texts[row], made_with[row].pack(), judgement.is_told, batch)
            late_s = float(scores.expected_late_s[row])
            self.disruptions.judged(judgement, texts[row], late_s, scores.as_of_us, batch)

    def _store(
        self, scores: Scores, row: int, text: Document, made_with: bytes, is_told: bool, batch: Batch
    ) -> None:
        """Keep the latest forecast of a stop, and in the history what is told or has moved."""
        stop_id, as_of_us, body = scores.stop_ids[row], scores.as_of_us, orjson.dumps(text)
        vector, base_s = scores.vectors.matrix[row].tobytes(), float(scores.vectors.base_s[row])
        now = HistoryTail(as_of_us, int(scores.eta_us[row]), scores.risk(row))
        if is_told or worth_keeping(self._tails, stop_id, now, self._settings.cadence):
            self._tails[stop_id] = now
            batch.history.append(
                KeptNow(
                    stop_id=stop_id,
                    as_of_us=as_of_us,
                    is_told=is_told,
                    start_us=int(scores.start_us[row]),
                    end_us=int(scores.end_us[row]),
                    coverage=scores.coverage,
                    shift=scores.shift(row),
                    row=(body, vector, base_s, made_with),
                )
            )
        batch.latest[stop_id] = StoredForecast(
            stop_id=stop_id,
            route_id=text["route_id"],
            rank=int(scores.rank[row]),
            prediction_id=text["prediction_id"],
            as_of_us=as_of_us,
            eta_us=now.eta_us,
            late_probability=now.late_probability,
            body=body,
            vector=vector,
            base_s=base_s,
            made_with=made_with,
            tail=self._tails[stop_id],
        )
