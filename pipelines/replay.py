"""Drive a running service with the recorded or simulated events of a day, at any speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pyarrow as pa

from data_contracts.errors import ReplayError
from data_contracts.events import rows_to_events
from data_contracts.record import TICK
from data_contracts.tables import TABLES

Event = Mapping[str, Any]
LARGEST_BATCH = 1_000
#: The service may fall this many records behind before the replay waits for it.
LONGEST_QUEUE = 2_000
PATIENCE_S = 60.0
WAIT_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast log time runs: ``speed`` log seconds a second, None for as fast as the service takes it."""

    speed: float | None = None
    tick: timedelta = timedelta(seconds=60)


def timeline(tables: Mapping[str, pa.Table], tick: timedelta) -> list[Event]:
    """Every row as a wire event with ticks between, in the order in which they were received."""
    events: list[Event] = []
    for name, table in TABLES.items():
        if name in tables:
            events += rows_to_events(table, tables[name])
    events += _ticks(events, tick)
    return sorted(events, key=lambda event: (event["received_at"], event["type"] == TICK))


def batches(events: Sequence[Event], pace: Pace) -> Iterator[Sequence[Event]]:
    """Events that are posted together: of a paced replay what happens in a second, else as many as may be."""
    span_s = pace.speed or float("inf")
    start = 0
    for place, event in enumerate(events):
        ahead_s = 0.0 if place == start else (_instant(event) - _instant(events[start])).total_seconds()
        if place - start >= LARGEST_BATCH or ahead_s >= span_s:
            yield events[start:place]
            start = place
    if start < len(events):
        yield events[start:]


def _ticks(events: Sequence[Event], tick: timedelta) -> Iterator[Event]:
    if not events:
        return
    instants = [str(event["received_at"]) for event in events]
    at, last = datetime.fromisoformat(min(instants)), datetime.fromisoformat(max(instants))
    while at <= last + tick:
        at += tick
        text = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        yield {"type": TICK, "event_id": f"tick-{text}", "occurred_at": text, "received_at": text}


@dataclass(slots=True)
class Replay:
    """Posts events in order and keeps the service from falling far behind.

    on_progress : called with (events posted, log time) after each batch
    """

    client: httpx.Client
    pace: Pace = field(default_factory=Pace)
    on_progress: Callable[[int, datetime], None] | None = None

    def run(self, events: Sequence[Event]) -> dict[str, int]:
        """Post everything and wait until the service has applied it; counts by verdict.

        Raises
        ------
        ReplayError
            when the service refuses an event or stops answering
        """
        counts = {"accepted": 0, "duplicate": 0, "rejected": 0}
        started, first = time.monotonic(), _instant(events[0]) if events else None
        done = 0
        for batch in batches(events, self.pace):
            if self.pace.speed and first:
                log_s = (_instant(batch[0]) - first).total_seconds()
                time.sleep(max(0.0, started + log_s / self.pace.speed - time.monotonic()))
            answer = self._post(batch)
            for verdict in counts:
                counts[verdict] += answer[verdict]
            self._wait_until_behind_at_most(LONGEST_QUEUE)
            done += len(batch)
            if self.on_progress:
                self.on_progress(done, _instant(batch[-1]))
        self._wait_until_behind_at_most(0)
        return counts

    def _post(self, batch: Sequence[Event]) -> dict[str, Any]:
        body = b"\n".join(orjson.dumps(event) for event in batch)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            response = self.client.post(
                "/v1/events", content=body, headers={"content-type": "application/x-ndjson"}
            )
            if response.status_code == 202:
                return dict(response.json())
            if response.status_code not in (429, 503) or time.monotonic() > deadline:
                raise ReplayError(
                    f"the service answered {response.status_code} to a batch: {response.text[:300]}",
                    where=str(self.client.base_url),
                    next_step="see the service's output",
                )
            time.sleep(float(response.headers.get("retry-after", "1")))

    def _wait_until_behind_at_most(self, records: int) -> None:
        deadline, seen = time.monotonic() + PATIENCE_S, -1
        while True:
            summary = self.client.get("/v1/summary").raise_for_status().json()
            if summary["behind"] <= records:
                return
            if summary["checkpoint"]["seq"] != seen:
                deadline, seen = time.monotonic() + PATIENCE_S, summary["checkpoint"]["seq"]
            if time.monotonic() > deadline:
                raise ReplayError(
                    f"the engine has not moved for {PATIENCE_S:.0f} s and is {summary['behind']} records behind",
                    where=str(self.client.base_url),
                    next_step="see the engine's output",
                )
            time.sleep(WAIT_S)


def _instant(event: Event) -> datetime:
    return datetime.fromisoformat(str(event["received_at"]))
