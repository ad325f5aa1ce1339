"""What the engine logged is what point-in-time retrieval gives, to the bit: late, doubled, shuffled and after kills."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from data_contracts.errors import WorkspaceError
from data_contracts.events import parse
from data_contracts.record import TICK
from data_contracts.workspace import Workspace
from features.vectors import FEATURE_NAMES
from pipelines.cli import app
from pipelines.history import history_end, landed_history
from pipelines.parity import parity
from pipelines.replay import timeline
from pipelines.sources import simulated
from serving.api.ingest import to_new_event
from serving.engine.rounds import EngineSettings
from serving.engine.seed import open_log
from serving.storage.log import Clock, Head, NewEvent
from tests.served import append, build_history, live_on

HISTORY_DAYS = 3
RECORDS_A_LIFE = 1_500
HOUR_US = 3_600_000_000
Events = list[NewEvent]


def serve(workspace: Workspace, events: Events, *, step: int = 137, life: int = RECORDS_A_LIFE) -> None:
    """Append events and apply them; every engine dies after ``life`` records, and the next one goes on."""
    log = append(workspace, events)
    while not live_on(workspace, log, EngineSettings(), step=step, life=life):
        pass


def messy(events: Events, seed_: int = 5) -> Events:
    """The same events: some doubled, some an hour late, some swapped with their neighbours."""
    draw = random.Random(seed_)
    rows = [event for event in events if event.type != TICK]
    ticks = [event for event in events if event.type == TICK]
    doubled = [replace(event, event_id=f"{event.event_id}-again") for event in rows if draw.random() < 0.05]
    late = [
        replace(event, received_us=event.received_us + draw.choice([0, 1, 5_000_000, HOUR_US]))
        for event in [*rows, *doubled]
        if event.received_us is not None
    ]
    return sorted([*late, *ticks], key=lambda event: event.received_us or 0)


@pytest.fixture(scope="module")
def city() -> tuple[dict[str, pa.Table], Events]:
    """Days of history, and the events of the day after it with a tick every two minutes."""
    days = [tables for _, tables in simulated.generate("small", 3, date(2026, 3, 2), HISTORY_DAYS + 1)]
    history, unseen = days[:HISTORY_DAYS], days[HISTORY_DAYS]
    names = dict.fromkeys(name for tables in history for name in tables)
    joined = {name: pa.concat_tables([day[name] for day in history if name in day]) for name in names}
    return joined, [to_new_event(parse(event)) for event in timeline(unseen, timedelta(seconds=120))]


@pytest.fixture(scope="module")
def served(
    city: tuple[dict[str, pa.Table], Events], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workspace]:
    tables, events = city
    workspace = build_history(tmp_path_factory.mktemp("parity") / "w", tables)
    serve(workspace, messy(events))
    yield workspace


@pytest.mark.slow
def test_every_logged_vector_is_retrieved_again_to_the_bit(served: Workspace) -> None:
    found = parity(served)
    assert found.differences == ()
    assert (found.identical, found.absent) == (found.vectors, 0)
    assert found.instants > 200


@pytest.mark.slow
def test_the_log_goes_on_from_the_history_in_sequence_and_in_time(served: Workspace) -> None:
    seq, last_us = history_end(landed_history(served))
    log = open_log(served, Clock.LOG)
    first = log.read(0, 1)[0]
    assert log.origin == Head(seq, last_us)
    assert (first.seq, first.received_us) == (seq + 1, last_us)


@pytest.mark.slow
def test_a_vector_that_was_not_logged_so_is_found_and_named(served: Workspace) -> None:
    place = FEATURE_NAMES.index("route_pace")
    connection = sqlite3.connect(served.ops)
    stop_id, vector = connection.execute("SELECT stop_id, vector FROM forecast_latest LIMIT 1").fetchone()
    wrong = np.frombuffer(vector, np.float32).copy()
    wrong[place] = np.nextafter(wrong[place], np.float32(np.inf))
    save = "UPDATE forecast_latest SET vector = ? WHERE stop_id = ?"
    try:
        connection.execute(save, (wrong.tobytes(), stop_id))
        connection.commit()
        answer = CliRunner().invoke(app, ["features", "parity", "-w", str(served.root), "--json"])
    finally:
        connection.execute(save, (vector, stop_id))
        connection.commit()
        connection.close()
    assert answer.exit_code == 1
    assert '"feature": "route_pace"' in answer.stdout


@pytest.mark.slow
def test_parity_refuses_another_history_than_the_engine_took_up(served: Workspace) -> None:
    batch = served.landed / "pings" / "history.parquet"
    away = batch.rename(batch.with_suffix(".away"))
    try:
        with pytest.raises(WorkspaceError, match="the log goes on from"):
            parity(served)
    finally:
        away.rename(batch)


def test_nothing_logged_is_no_parity(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="has logged no forecast"):
        parity(Workspace(tmp_path))
