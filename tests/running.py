"""The service as it runs, and the days that are sent to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import polars as pl

from data_contracts.record import Record
from data_contracts.workspace import Workspace
from features.live import LiveFeatures
from features.route_book import RouteBook
from features.vectors import Vectors, assemble
from pipelines.demo import free_port
from serving.supervisor import Patience, running_service
from serving.times import US, to_rfc3339
from tests.builders import DAY_US, NOON_US, promised_route
from training.boosters import BoosterSettings
from training.dataset import Dataset
from training.forecaster import train

TINY = BoosterSettings(trees=5, leaves=4, min_rows_in_leaf=5)
PATIENCE = Patience(ready_s=90.0, restart_s=0.1)


def event(table: str, row: dict[str, Any], event_id: str, at_us: int) -> dict[str, Any]:
    """A row as it goes over the wire."""
    told = {name: to_rfc3339(value) if name.endswith("_at") else value for name, value in row.items()}
    stamp = to_rfc3339(at_us)
    return {"type": table, "event_id": event_id, "occurred_at": stamp, "received_at": stamp} | told


def plan(route_id: str, at_us: int = NOON_US - 60 * US, start_us: int = NOON_US) -> list[dict[str, Any]]:
    rows = promised_route(route_id, 4, start_us=start_us)
    return [event(table, row, f"{route_id}-{n}", at_us) for n, (table, row) in enumerate(rows)]


def moment(table: str, at_us: int, **row: Any) -> dict[str, Any]:
    return event(table, row, f"{table}-{at_us}-{'-'.join(map(str, row.values()))}", at_us)


def some_vectors(day: int) -> Vectors:
    book, at_us = RouteBook(), NOON_US + day * DAY_US
    names = [f"R-{day}-{n}" for n in range(8)]
    for name in names:
        for seq, (table, row) in enumerate(promised_route(name, 4, start_us=at_us)):
            book.apply(Record(seq, at_us, table, row))
    return assemble(book.itinerary(names, at_us), LiveFeatures().read, at_us)


def crown_a_model(workspace: Workspace) -> None:
    """Train the smallest real model there can be."""
    days = [some_vectors(day) for day in range(8)]
    vectors = Vectors(
        [stop for each in days for stop in each.stop_ids],
        [route for each in days for route in each.route_ids],
        np.concatenate([each.as_of_us for each in days]),
        np.concatenate([each.matrix for each in days]),
        np.concatenate([each.base_s for each in days]),
        {feed: np.concatenate([each.ages_s[feed] for each in days]) for feed in days[0].ages_s},
    )
    noise = np.random.default_rng(7).gamma(4.0, 120.0, len(vectors))
    dates = [f"2026-03-{2 + day:02d}" for day, each in enumerate(days) for _ in each.stop_ids]
    rows = Dataset(
        vectors,
        pl.DataFrame({"service_date": dates, "cluster": dates}),
        vectors.base_s + noise,
        vectors.as_of_us + DAY_US,
    )
    model = train(rows, name="tiny", version="1", settings=TINY)
    model.save(workspace.models / "1", vectors)
    workspace.champion.write_text('{"version": "1", "alias": "champion"}')


def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, f"nothing happened within {within_s} s"
        time.sleep(0.05)


def caught_up(client: httpx.Client) -> bool:
    return bool(client.get("/v1/summary").json()["behind"] == 0)


def send(client: httpx.Client, *events: dict[str, Any]) -> None:
    lines = b"\n".join(orjson.dumps(each) for each in events)
    answer = client.post("/v1/events", content=lines, headers={"content-type": "application/x-ndjson"})
    assert (answer.status_code, answer.json()["rejected"]) == (202, 0), answer.text
    until(lambda: caught_up(client))


@contextmanager
def speaking_to(workspace: Workspace, output: Path) -> Iterator[httpx.Client]:
    with (
        running_service(workspace, free_port(), patience=PATIENCE, output=output) as url,
        httpx.Client(base_url=url, timeout=10.0) as client,
    ):
        yield client


def said(output: Path) -> str:
    return output.read_text(errors="replace")[-4000:]
