"""The order in which a day is replayed."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.tables import TABLES
from pipelines.replay import LARGEST_BATCH, Pace, batches, timeline

START = datetime(2026, 1, 5, 8, tzinfo=UTC)


def pings(seconds: list[int]) -> pa.Table:
    stamps = [START + timedelta(seconds=second) for second in seconds]
    rows = [
        {
            "event_id": f"p-{place}",
            "occurred_at": at,
            "received_at": at,
            "vehicle_id": "V-1",
            "route_id": None,
            "lat": 52.0,
            "lon": 4.9,
            "speed_mps": 5.0,
            "status": None,
        }
        for place, at in enumerate(stamps)
    ]
    return pa.Table.from_pylist(rows, TABLES["pings"].arrow_schema())


@given(st.lists(st.integers(0, 7_200), min_size=1, max_size=40))
def test_events_and_ticks_come_in_the_order_of_their_reception(seconds: list[int]) -> None:
    events = timeline({"pings": pings(seconds)}, timedelta(seconds=60))
    instants = [datetime.fromisoformat(str(event["received_at"])) for event in events]
    assert instants == sorted(instants)
    assert sum(event["type"] == "pings" for event in events) == len(seconds)


@given(st.lists(st.integers(0, 7_200), min_size=1, max_size=40))
def test_ticks_are_even_and_the_last_one_follows_the_last_event(seconds: list[int]) -> None:
    events = timeline({"pings": pings(seconds)}, timedelta(seconds=60))
    ticks = [datetime.fromisoformat(str(e["received_at"])) for e in events if e["type"] == "tick"]
    assert events[-1]["type"] == "tick"
    assert {later - earlier for earlier, later in pairwise(ticks)} <= {timedelta(seconds=60)}
    assert len({event["event_id"] for event in events}) == len(events)


def test_nothing_makes_no_events() -> None:
    assert timeline({}, timedelta(seconds=60)) == []


@given(st.lists(st.integers(0, 7_200), min_size=1, max_size=60), st.sampled_from([None, 1.0, 30.0, 600.0]))
def test_batches_hold_every_event_once_and_of_a_paced_replay_at_most_a_second(
    seconds: list[int], speed: float | None
) -> None:
    events = timeline({"pings": pings(seconds)}, timedelta(seconds=60))
    cut = list(batches(events, Pace(speed=speed)))
    assert [event for batch in cut for event in batch] == events
    for batch in cut:
        first, last = (datetime.fromisoformat(str(batch[n]["received_at"])) for n in (0, -1))
        assert 0 < len(batch) <= LARGEST_BATCH
        assert speed is None or (last - first).total_seconds() < speed
