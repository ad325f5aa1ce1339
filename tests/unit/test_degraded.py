"""A feed that is dead or stale widens windows by what its absence was found to cost, and is named; nothing fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from test_explain import live

from data_contracts.workspace import Workspace
from serving.api.api import create_app
from serving.engine.explain import explain
from serving.settings import ServiceSettings
from serving.storage.log import Clock, NewEvent
from serving.times import US, from_rfc3339
from tests.api_client import Client, calling, crown
from tests.builders import NOON_US, make_dataset
from tests.engine_bench import MODEL, happened, ping, route_events, tick
from training.boosters import BoosterSettings
from training.forecaster import DeliveryForecaster, train
from training.situations import name_of

SETTINGS = ServiceSettings(clock=Clock.LOG)
#: What a missing feed costs in this test, as a factor of the spread on either side of the median.
COST = {"telemetry": 2.0, "traffic": 3.0, "weather": 1.5, "depot": 1.0}


@dataclass(frozen=True)
class Place:
    """A workspace with a model to which missing feeds cost what ``COST`` says."""

    workspace: Workspace
    client: Client

    def play(self, *events: NewEvent) -> None:
        live(self.workspace, *events)

    def forecast(self, stop_id: str = "R-1-S3") -> dict[str, Any]:
        scored = self.client.post("/v1/eta", json={"stop_ids": [stop_id]})
        assert scored.status_code == 200, scored.text
        stored = self.client.get(f"/v1/stops/{stop_id}/eta").json()
        found: dict[str, Any] = scored.json()["forecasts"][0]
        assert stored["degraded"] == found["degraded"]
        assert explain(self.workspace, found["prediction_id"]).same
        return found


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = make_dataset(600, days=4)
    model = train(rows, name="tiny", version="1", settings=BoosterSettings(trees=5, leaves=4))
    factors = {name_of(code): _factor(code) for code in range(1 << 7)}
    model = replace(model, situations=replace(model.situations, factors=factors, evidence=()))
    folder = tmp_path_factory.mktemp("models") / "1"
    model.save(folder, rows.vectors)
    assert DeliveryForecaster.load(folder).known_feeds == ("telemetry", "traffic", "weather", "depot")
    return folder


def _factor(code: int) -> tuple[float, float]:
    factor = 1.0
    for bit, cost in enumerate(COST.values()):
        factor *= cost if code >> bit & 1 else 1.0
    return factor, factor


@pytest.fixture
def place(model_folder: Path, tmp_path: Path) -> Iterator[Place]:
    workspace = Workspace(tmp_path / "w")
    crown(workspace)
    (workspace.models / "1").symlink_to(model_folder)
    live(workspace, MODEL, *route_events(stops=4), tick(0), happened("departed_depot", 1), tick(2))
    with calling(create_app(workspace, SETTINGS)) as client:
        yield Place(workspace, client)


def observed(table: str, after_s: float, **body: Any) -> NewEvent:
    at_us = NOON_US + int(after_s * US)
    return NewEvent(
        type=table,
        event_id=f"{table}-{after_s}-{body}",
        body={**body, "occurred_at": at_us},
        received_us=at_us,
    )


def traffic(after_s: float) -> list[NewEvent]:
    speeds = {"speed_mps": 8.0, "free_flow_mps": 10.0, "incidents": 0}
    return [observed("traffic", after_s, zone_id=f"Z-{n}", **speeds) for n in range(6)]


def weather(after_s: float) -> NewEvent:
    at_us = NOON_US + int(after_s * US)
    told = {"temperature_c": 5.0, "precipitation_mm": 0.0, "snow_cm": 0.0, "wind_mps": 3.0}
    return observed("weather", after_s, area_id="A", kind="observed", valid_at=at_us, issued_at=at_us, **told)


def spread_s(forecast: dict[str, Any]) -> float:
    """From the median to the end of the window: the side that is never cut off at the instant."""
    return (from_rfc3339(forecast["window"]["end"]) - from_rfc3339(forecast["eta"])) / US


def names(forecast: dict[str, Any]) -> Sequence[str]:
    confidence = forecast["confidence"]
    assert confidence["reasons"] == [f"STALE_{feed.upper()}" for feed in forecast["degraded"]]
    return forecast["degraded"]


def test_with_no_feed_at_all_there_are_forecasts_of_low_confidence(place: Place) -> None:
    forecast = place.forecast()
    assert names(forecast) == ["telemetry", "traffic", "weather", "depot"]
    assert forecast["confidence"]["level"] == "low"
    assert forecast["freshness"] == {"telemetry_s": None, "traffic_s": None, "weather_s": None}


def test_a_feed_that_dies_is_named_and_its_cost_is_in_the_window(place: Place) -> None:
    depot = observed("depots", 3, depot_id="D", parcels_ready_share=1.0, sort_delay_s=0.0)
    place.play(ping(3), *traffic(3), weather(3), depot, tick(4))
    whole = place.forecast()
    assert names(whole) == ["depot"], "the route names no depot"
    place.play(*(event for at in range(60, 1_900, 60) for event in (ping(at), tick(at + 1))))
    place.play(weather(1_899), tick(1_902))
    stale = place.forecast()
    assert names(stale) == ["traffic", "depot"]
    assert stale["confidence"]["level"] == "low" and whole["confidence"]["level"] == "medium"
    place.play(*traffic(1_903), ping(1_903.5), tick(1_904))
    again = place.forecast()
    assert names(again) == ["depot"]
    assert spread_s(stale) > 2.0 * spread_s(again) > 0


def test_the_engine_names_a_feed_that_fell_silent_without_any_new_event(place: Place) -> None:
    place.play(ping(3), *traffic(3), weather(3), tick(4))
    assert "telemetry" not in place.forecast()["degraded"]
    place.play(*(tick(at) for at in range(30, 400, 30)))
    assert "telemetry" in place.forecast()["degraded"]
