"""The whole chain with real processes: a small city, contracts, Feast, MLflow, and a replay against the service."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import httpx
import pytest

from data_contracts.workspace import Workspace
from pipelines import demo
from pipelines.demo import Scenario
from pipelines.demo_subscribers import Subscriber, settled, subscribed
from pipelines.replay import Pace
from pipelines.train import Trained, TrainingPlan
from training.boosters import BoosterSettings

pytestmark = pytest.mark.end_to_end

#: Who is sent what the replayed day's service tells.
SUBSCRIBERS: list[Subscriber] = []
PACE = Pace(tick=timedelta(minutes=5))
Chain = tuple[Workspace, Trained, date, demo.Tables]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    workspace = Workspace(tmp_path_factory.mktemp("chain") / "workspace")
    scenario, plan = Scenario(size="small", days=12), TrainingPlan(boosters=BoosterSettings(trees=60))
    trained, day, tables = demo.prepare(workspace, scenario, lambda _: None, plan)
    return workspace, trained, day, tables


@pytest.fixture(scope="module")
def replayed(chain: Chain) -> Iterator[httpx.Client]:
    workspace, _, _, tables = chain
    with demo.live_service(workspace) as client, subscribed(client, types=()) as subscribers:
        SUBSCRIBERS[:] = subscribers
        demo.replay_day(client, tables, PACE, lambda *_: None)
        yield client


def test_a_trained_challenger_beats_the_lookup_and_is_promoted(chain: Chain) -> None:
    workspace, trained, _, _ = chain
    assert trained.promoted, trained.comparison
    assert trained.figures["mae_min"] < trained.figures["baselines"]["lookup"]["mae_min"]
    assert workspace.champion.exists()


def test_nothing_of_the_replayed_day_was_in_the_history(chain: Chain) -> None:
    workspace, _, day, _ = chain
    assert not any(day.isoformat() in path.name for path in workspace.landed.rglob("*.parquet"))


def test_every_stop_of_the_day_was_forecast(chain: Chain, replayed: httpx.Client) -> None:
    *_, tables = chain
    for stop_id in set(tables["stops"]["stop_id"].to_pylist()):
        history = replayed.get(f"/v1/stops/{stop_id}/history", params={"limit": 1}).json()["forecasts"]
        assert history, stop_id


def test_each_subscriber_is_sent_every_event_of_the_day_signed_and_each_disruption_begins_once(
    replayed: httpx.Client,
) -> None:
    counts = settled(replayed, patience_s=60.0)
    assert (counts["dead"], counts["pending"]) == (0, 0)
    one, other = SUBSCRIBERS
    ids = [{event["id"] for event in subscriber.events} for subscriber in SUBSCRIBERS]
    assert ids[0] == ids[1] and counts["sent"] == 2 * len(ids[0]) > 0
    assert one.refused == other.refused == 0
    found = replayed.get("/v1/incidents", params={"limit": 1000}).json()["incidents"]
    for incident in found:
        begun = 1 if incident["told_at"] else 0
        assert one.opened(incident["incident_id"]) == other.opened(incident["incident_id"]) == begun


def test_served_forecasts_are_worth_something(chain: Chain, replayed: httpx.Client) -> None:
    *_, tables = chain
    summary = demo.summarize(replayed, tables, seed=1)
    assert summary["n"] > 50
    assert summary["mae_min"] < 30
    assert 0.5 < summary["coverage_80"] <= 1.0


def test_the_log_holds_each_event_once_even_when_the_day_is_sent_again(
    chain: Chain, replayed: httpx.Client
) -> None:
    *_, tables = chain
    before = replayed.get("/v1/summary").json()["log"]["seq"]
    demo.replay_day(replayed, tables, PACE, lambda *_: None)
    assert replayed.get("/v1/summary").json()["log"]["seq"] == before


def test_a_forecast_has_every_field_of_the_api(chain: Chain, replayed: httpx.Client) -> None:
    *_, tables = chain
    stop_id = tables["stops"]["stop_id"][0].as_py()
    forecast = replayed.get(f"/v1/stops/{stop_id}/eta").json()
    fields = "prediction_id stop_id route_id as_of eta window quantiles mean promise late confidence reasons"
    assert set(forecast) >= {*fields.split(), "freshness", "degraded", "model"}
    instants = [datetime.fromisoformat(forecast["quantiles"][q]) for q in ("p05", "p50", "p95")]
    assert instants == sorted(instants)
    assert all(instant.tzinfo == UTC or instant.utcoffset() is not None for instant in instants)
