"""The operational store commits a micro-batch whole or not at all, and the champion is swapped only for a better."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from data_contracts.errors import ModelError, WorkspaceError
from data_contracts.workspace import Workspace
from serving.decisions.alerts import Kind, Phase, Watch
from serving.decisions.cadence import HistoryTail, RouteCadence
from serving.decisions.promises import DeliveryWindow, Promise
from serving.engine.models import ChampionWatcher, ModelShelf
from serving.engine.ops import Checkpoint, OpsStore, OutboxEvent, StoredAlert, StoredForecast
from serving.engine.readings import OpsReader, Page
from serving.settings import ServiceSettings, load_settings
from serving.storage.log import Clock
from serving.times import from_rfc3339, rfc3339_array, to_rfc3339

FIRST = DeliveryWindow(start_us=1, end_us=2)
PROMISE = Promise(stop_id="S-1", route_id="R-1", first=FIRST, told=FIRST)


def forecast(stop_id: str = "S-1", as_of_us: int = 10, body: bytes = b"{}") -> StoredForecast:
    return StoredForecast(
        stop_id=stop_id,
        route_id="R-1",
        rank=1,
        prediction_id=f"p-{as_of_us}",
        as_of_us=as_of_us,
        eta_us=100,
        late_probability=0.5,
        body=body,
        vector=b"",
        base_s=1.0,
        made_with=b"",
        tail=HistoryTail(as_of_us, 100, 0.5),
    )


@pytest.fixture
def ops(tmp_path: Path) -> OpsStore:
    return OpsStore(tmp_path / "ops.db")


@pytest.fixture
def reader(ops: OpsStore, tmp_path: Path) -> OpsReader:
    return OpsReader(tmp_path / "ops.db")


def test_an_empty_store_starts_at_the_beginning_of_the_log(ops: OpsStore) -> None:
    assert ops.checkpoint() == Checkpoint()


def test_what_is_committed_is_taken_up_again(ops: OpsStore) -> None:
    checkpoint = Checkpoint(seq=7, as_of_us=9, scored_us=8, swept_us=1, model_version="3")
    cadence = RouteCadence(route_id="R-1", dirty=True, touched_us=5, whole_slip_s=1.5)
    watch = Watch(
        slot="stop", kind=Kind.STOP, subject_id="S-1", phase=Phase.OPEN, alert_id="a", told_strength=0.7
    )
    with ops.transaction() as tx:
        tx.save_checkpoint(checkpoint)
        tx.save_cadences([cadence, cadence.finished()])
        tx.save_promises([PROMISE])
        tx.save_watches([watch])
        tx.save_routes([("R-1", 7, b"{}")])
        tx.save_feature_state([("view", "key", b"[]")])
    assert ops.checkpoint() == checkpoint
    assert ops.cadences() == [cadence.finished()]
    assert ops.promises() == [PROMISE]
    assert ops.watches() == [watch]
    assert list(ops.routes()) == [("R-1", b"{}")]
    assert list(ops.feature_state()) == [("view", "key", b"[]")]


def test_a_batch_that_fails_is_as_if_it_never_was(ops: OpsStore, reader: OpsReader) -> None:
    with pytest.raises(RuntimeError), ops.transaction() as tx:
        tx.save_checkpoint(Checkpoint(seq=1))
        tx.save_forecasts([forecast()])
        raise RuntimeError("power cut")
    assert reader.checkpoint() == Checkpoint()
    assert reader.forecast("S-1") is None


def test_readers_see_the_latest_forecast_in_the_order_asked_for(ops: OpsStore, reader: OpsReader) -> None:
    with ops.transaction() as tx:
        tx.save_forecasts([forecast(as_of_us=10, body=b"1"), forecast(as_of_us=20, body=b"2")])
        tx.save_forecasts([forecast("S-2", body=b"3")])
    assert reader.forecast("S-1") == b"2"
    assert [row[1] for row in reader.forecasts(["S-2", "nobody", "S-1"])] == [b"3", b"2"]
    assert ops.history_tails()["S-1"].as_of_us == 20


def test_alerts_are_filtered(ops: OpsStore, reader: OpsReader) -> None:
    alerts = [
        StoredAlert(
            alert_id=f"a{n}",
            rule="late_risk",
            stop_id=f"S-{n}",
            route_id="R-1",
            incident_id=None,
            state=state,
            opened_us=n,
            updated_us=n,
            resolved_us=None,
            body=orjson.dumps(n),
        )
        for n, state in enumerate(["open", "resolved", "open"])
    ]
    with ops.transaction() as tx:
        tx.save_alerts(alerts)
    assert reader.alerts(Page(limit=10), state="open") == [(2, "a2", b"2"), (0, "a0", b"0")]
    assert reader.alerts(Page(limit=10), stop_id="S-1") == [(1, "a1", b"1")]
    assert reader.alerts(Page(limit=1), route_id="R-1") == [(2, "a2", b"2")]
    assert reader.alerts(Page(limit=9, after=(2, "a2"))) == [(1, "a1", b"1"), (0, "a0", b"0")]
    assert reader.counts()["open_alerts"] == 2


def test_an_event_enters_the_outbox_once(ops: OpsStore, reader: OpsReader) -> None:
    event = OutboxEvent(event_id="e-1", type="t", subject="S-1", route_id="R-1", at_us=1, body=b"{}")
    for _ in range(2):
        with ops.transaction() as tx:
            tx.enqueue([event, event])
    assert reader.outbox(0, 10) == [(1, event)]
    assert reader.outbox_span() == (0, 1)


def test_the_newest_events_are_kept_whatever_their_age_so_that_a_slow_sender_finds_its_own(
    ops: OpsStore, reader: OpsReader
) -> None:
    rows = [(n, f"e-{n}", n) for n in (*range(1, 13), 100_010)]
    sql = "INSERT INTO outbox (position, event_id, type, subject, at_us, body) VALUES (?, ?, 't', 'S', ?, x'7b7d')"
    ops._connection.executemany(sql, rows)
    with ops.transaction() as tx:
        tx.forget_history(4, 100_000)
    assert reader.outbox_span() == (3, 100_010)
    with ops.transaction() as tx:
        tx.forget_history(1_000_000, 100_000)
    assert reader.outbox_span() == (10, 100_010)


def test_readers_cannot_write(reader: OpsReader) -> None:
    with pytest.raises(Exception, match="readonly"):
        reader._connection.execute("DELETE FROM alerts")


class Loader:
    """Loads anything but folders named ``corrupt``."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, folder: Path) -> Any:
        self.asked.append(folder.name)
        if folder.name == "corrupt":
            raise ModelError("golden rows differ", where=str(folder))
        return type("Model", (), {"name": "m", "version": folder.name})()


def crown(workspace: Workspace, text: str, at_ns: int) -> None:
    workspace.champion.parent.mkdir(parents=True, exist_ok=True)
    workspace.champion.write_text(text)
    os.utime(workspace.champion, ns=(at_ns, at_ns))


def test_a_corrupt_champion_leaves_the_previous_one_serving(tmp_path: Path) -> None:
    workspace, loader = Workspace(tmp_path), Loader()
    watcher = ChampionWatcher(workspace, ModelShelf(workspace, loader))
    assert not watcher.poll()
    crown(workspace, '{"version": "1", "alias": "champion"}', 1_000)
    assert watcher.poll() and not watcher.poll()
    crown(workspace, '{"version": "corrupt"}', 2_000)
    assert not watcher.poll()
    crown(workspace, '{"versi', 3_000)
    assert not watcher.poll()
    assert (watcher.version, watcher.model.version if watcher.model else None) == ("1", "1")
    crown(workspace, '{"version": "2"}', 4_000)
    assert watcher.poll()
    assert watcher.version == "2"
    assert loader.asked == ["1", "corrupt", "2"]


def test_settings_come_from_the_workspace(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert load_settings(workspace) == ServiceSettings()
    workspace.settings.write_text(
        '[serving]\nclock = "log"\ncoverage = 0.9\n[serving.cadence]\nnext_stops = 5\n[serving.alerts]\nopen_at = 0.4\n'
    )
    settings = load_settings(workspace)
    assert (settings.clock, settings.engine.coverage) == (Clock.LOG, 0.9)
    assert (settings.engine.cadence.next_stops, settings.engine.alerts.open_at) == (5, 0.4)


@pytest.mark.parametrize("text", ["[serving]\nclok = 1\n", "[serving.limits]\nx = 1\n", "[serving\n"])
def test_a_wrong_setting_is_named(tmp_path: Path, text: str) -> None:
    workspace = Workspace(tmp_path)
    workspace.settings.write_text(text)
    with pytest.raises(WorkspaceError, match=r"punctual\.toml"):
        load_settings(workspace)


def test_instants_are_told_in_utc() -> None:
    assert to_rfc3339(1_772_452_800_000_000) == "2026-03-02T12:00:00Z"
    assert from_rfc3339("2026-03-02T13:00:00.000001+01:00") == 1_772_452_800_000_001
    assert rfc3339_array(np.array([[1_772_452_800_250_999]])) == [["2026-03-02T12:00:00.250Z"]]
    with pytest.raises(ValueError, match="time zone"):
        from_rfc3339("2026-03-02T12:00:00")
