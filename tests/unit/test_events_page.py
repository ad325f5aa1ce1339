"""What the page says of events is what the engine sends."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from pipelines.events_page import events_page
from serving.engine.drift import DriftPolicy
from serving.engine.outbox import EventType
from serving.engine.rounds import EngineSettings
from serving.http.wire_events import EVENT_DATA, MEANINGS, CloudEvent
from serving.webhooks.policy import Outcome, Why
from tests.engine_bench import Bench, late_day


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Every event of a day on which a courier is late, watched by an engine that calls anything a drift."""
    settings = EngineSettings(drift=DriftPolicy(off_by=0.0, every_lessons=1))
    bench = Bench(tmp_path_factory.mktemp("day"), settings)
    bench.play(*late_day())
    return [event.body for _, event in bench.reader.outbox(0, 10_000)]


def test_every_event_of_a_day_is_as_it_is_documented(sent: list[bytes]) -> None:
    seen = set()
    for body in sent:
        event = CloudEvent.model_validate_json(body)
        seen.add(event.type)
        EVENT_DATA[EventType(event.type)].model_validate(event.data)
        assert set(event.data) <= set(EVENT_DATA[EventType(event.type)].model_fields)
    assert seen >= {"model.calibration.drifted", "eta.window.changed", "disruption.opened"}, seen
    assert len(seen) >= 6, seen


def test_every_event_fits_a_webhook_whole(sent: list[bytes]) -> None:
    assert max(map(len, sent)) < 20_000


@pytest.mark.parametrize("event_type", EventType)
def test_every_type_has_its_meaning_and_its_data_on_the_page(event_type: EventType) -> None:
    page = events_page()
    assert f"### `{event_type.value}`\n\n{MEANINGS[event_type]}" in page
    model = EVENT_DATA[event_type]
    table = page.split(f"\n### {model.__name__}\n")[1].split("\n### ")[0]
    assert all(f"| `{name}` |" in table for name in model.model_fields)


def test_the_page_names_every_end_of_an_attempt_and_links_to_what_is_there() -> None:
    page = events_page()
    assert all(f"`{word}`" in page for word in (*Outcome, *Why))
    linked = {part.split(")")[0] for part in page.split("](#")[1:]}
    headings = {line[4:].lower() for line in page.splitlines() if line.startswith("### ")}
    assert linked <= headings
    docs = Path(__file__).parents[2] / "docs"
    for part in page.split("](decisions/")[1:]:
        assert (docs / "decisions" / part.split(")")[0]).exists()


def test_the_example_is_an_event() -> None:
    example = events_page().split("```json\n")[1].split("\n```")[0]
    event = CloudEvent.model_validate(orjson.loads(example))
    EVENT_DATA[EventType(event.type)].model_validate(event.data)
