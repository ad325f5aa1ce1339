"""Alerts replayed without a server are those of the engine: the same rules, stages and instants."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from builders import city_history

from data_contracts.record import MODEL, TICK
from features.vectors import Vectors
from pipelines.alert_backtest import promises
from pipelines.alert_stream import AlertStream, outcomes_of, records
from serving.decisions.alerts import AlertPolicy
from serving.decisions.cadence import Cadence
from serving.engine.readings import Page
from serving.engine.rounds import EngineSettings
from serving.rehearsals.alert_evaluation import AlertSpan, alert_figures
from serving.rehearsals.rehearsal import Rehearsal
from serving.storage.log import NewEvent
from tests.engine_bench import Bench, FakeForecast, FakeForecaster
from training.instants import Instants

DAY = "2026-03-02"
SETTINGS = EngineSettings(
    alerts=AlertPolicy(open_at=0.3, close_below=0.2, least_lead_s=900.0),
    cadence=Cadence(whole_route_s=1.0, silent_route_s=1.0, silent_share=0.0),
)


class WaryForecast(FakeForecast):
    def late_probability(self, deadline_s: Any) -> Any:
        return np.clip((self.quantiles_s[:, 6] + 900.0 - deadline_s) / 1800.0, 0.0, 1.0)


class WaryForecaster(FakeForecaster):
    """Sees lateness early, so that a calm day has alerts too; nothing is learned on the way."""

    def forecast(self, vectors: Vectors, live: Any = None) -> FakeForecast:
        return WaryForecast(super().forecast(vectors).quantiles_s)


@cache
def rehearsed() -> tuple[Rehearsal, list[int]]:
    ordered = city_history()
    stream = AlertStream(
        ordered=ordered,
        forecaster=WaryForecaster(),  # type: ignore[arg-type]
        promise_end_us=_ends(),
        days=frozenset({DAY}),
        instants=Instants.ALONG_ROUTE,
    )
    rehearsal, asked = Rehearsal(stream.features, SETTINGS), []
    for moment in stream.moments():
        rehearsal.tick(moment.risks, moment.live_route_ids)
        asked.append(moment.risks.as_of_us)
    return rehearsal, asked


def _ends() -> dict[str, int]:
    return promises(city_history(), None)  # type: ignore[arg-type]


def by_engine(folder: Path, ticks: list[int]) -> list[AlertSpan]:
    """The same day through the engine, with its log and store, and ticks at the same instants."""
    events = [
        NewEvent(type=record.type, body=record.body, received_us=record.received_us)
        for record in records(city_history())
    ]
    events += [NewEvent(type=TICK, body={}, received_us=at_us) for at_us in ticks]
    events.sort(key=lambda event: (event.received_us or 0, event.type == TICK))
    bench = Bench(folder, SETTINGS, WaryForecaster)
    bench.play(NewEvent(type=MODEL, body={"version": "1"}, received_us=0), *events)
    return [
        AlertSpan(stop_id=alert["stop_id"], rule=alert_id.partition(":")[0], opened_us=opened_us)
        for opened_us, alert_id, body in bench.reader.alerts(Page(limit=100_000))
        if (alert := orjson.loads(body))["stop_id"]
    ]


@pytest.mark.slow
def test_the_engine_opens_the_same_alerts_at_the_same_instants(tmp_path: Path) -> None:
    rehearsal, asked = rehearsed()
    ours = {(span.stop_id, span.rule, span.opened_us) for span in rehearsal.spans()}
    theirs = {(span.stop_id, span.rule, span.opened_us) for span in by_engine(tmp_path / "w", asked)}
    assert ours and ours == theirs


def test_every_promised_stop_of_the_day_has_an_outcome_and_its_alerts_are_judged() -> None:
    rehearsal, asked = rehearsed()
    assert asked == sorted(asked) and all(at_us % 300_000_000 == 0 for at_us in asked)
    known = outcomes_of(city_history(), _ends(), frozenset({DAY}))
    figures = alert_figures(rehearsal.spans(), list(known.values()))
    assert figures["stops"] == len(known) > 100
    assert figures["flagged"] == len({span.stop_id for span in rehearsal.spans()})
