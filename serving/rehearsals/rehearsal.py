"""Alerts and incidents over a stream of forecasts without a server: the engine's own rules, stages and desks.

What the engine would store and send is gathered instead: spans of alerts, incidents, and the events told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from features.live import LiveFeatures
from serving.decisions.alerts import Rule
from serving.decisions.incidents import Incident
from serving.decisions.rules import StopNow, stop_signal
from serving.engine.advice import Adviser
from serving.engine.batch import Batch
from serving.engine.desk import Desk, Judgement
from serving.engine.disruptions import Disruptions
from serving.engine.ops import StoredAlert
from serving.engine.rounds import EngineSettings
from serving.engine.telling import Document
from serving.rehearsals.alert_evaluation import AlertSpan

Float = NDArray[np.float64]
#: What an alert says of a forecast that nobody reads.
NO_FORECAST: Document = {"late": None, "eta": None, "promise": None, "reasons": [], "prediction_id": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Risks:
    """Late risks of n stops at one instant.

    late_probability, expected_late_s : (n,)
    promise_end_us : (n,) int64, end of the first promise told
    """

    as_of_us: int
    stop_ids: Sequence[str]
    route_ids: Sequence[str]
    late_probability: Float
    expected_late_s: Float
    promise_end_us: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.stop_ids)


@dataclass(slots=True)
class Rehearsal:
    """One run; what it gathers is complete once the last tick is over.

    advice : incidents as they stood when actions were proposed, with the instant
    announced : by alert, when it was time to tell of it and by which rule
    """

    features: LiveFeatures
    settings: EngineSettings
    alerts: dict[str, StoredAlert] = field(default_factory=dict)
    incidents: dict[str, Incident] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)
    advice: list[tuple[int, Incident]] = field(default_factory=list)
    announced: dict[str, tuple[int, Rule]] = field(default_factory=dict)
    desk: Desk = field(init=False)
    disruptions: Disruptions = field(init=False)
    last_us: int = 0

    def __post_init__(self) -> None:
        policies = self.settings
        self.desk = Desk(promise_policy=policies.promises, alert_policy=policies.alerts)
        self.disruptions = Disruptions(
            self.features, self.desk, policies.alerts, policies.rules, policies.incidents
        )

    def tick(self, risks: Risks, live_route_ids: Sequence[str], adviser: Adviser | None = None) -> None:
        """What the engine does at a tick once the routes are scored."""
        batch, book, at_us = Batch(), self.features.book, risks.as_of_us
        for route_id in sorted(self.desk.watched):
            self.disruptions.ended(self.desk.end_stops(route_id, book, at_us, batch), at_us, batch)
        self.disruptions.look(live_route_ids, at_us, self.last_us, batch)
        for row in range(len(risks)):
            late_s = float(risks.expected_late_s[row])
            self.disruptions.judged(self._judge(risks, row, batch), NO_FORECAST, late_s, at_us, batch)
        self.disruptions.tick(at_us, batch, adviser)
        self.last_us = at_us
        self.alerts |= batch.alerts
        self.incidents |= batch.incidents
        self.advice += [(at_us, each) for each in batch.incidents.values() if each.acted_us == at_us]
        self.told.update(event.type for event in batch.outbox)

    def spans(self) -> list[AlertSpan]:
        """Alerts about stops, as the evaluation takes them: from when they were told, by the rule that fired then."""
        return [
            AlertSpan(
                stop_id=alert.stop_id,
                rule=self.announced[alert_id][1].value,
                opened_us=self.announced[alert_id][0],
                resolved_us=alert.resolved_us,
            )
            for alert_id, alert in self.alerts.items()
            if alert.stop_id is not None and alert_id in self.announced
        ]

    def _judge(self, risks: Risks, row: int, batch: Batch) -> Judgement:
        stop_id = risks.stop_ids[row]
        plan = self.features.book.stop(stop_id)
        now = StopNow(
            as_of_us=risks.as_of_us,
            promise_end_us=int(risks.promise_end_us[row]),
            late_probability=float(risks.late_probability[row]),
            expected_late_s=float(risks.expected_late_s[row]),
        )
        level = plan.service_level if plan else None
        signal = stop_signal(stop_id, risks.route_ids[row], now, level, self.settings.alerts)
        decision = self.desk.follow(signal, batch)
        if decision is not None and decision.watch.announced and decision.alert_id is not None:
            self.announced.setdefault(decision.alert_id, (risks.as_of_us, signal.rule))
        return Judgement(row=row, plan=plan, alert=decision, told=signal.told, revision=None)
