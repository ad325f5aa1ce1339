"""The log keeps every acknowledged event once, in an order that never goes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.storage.log import Clock, EventLog, Head, NewEvent, Verdict


def ping(event_id: str, received_us: int | None = None) -> NewEvent:
    return NewEvent(
        type="pings", event_id=event_id, body={"vehicle_id": "V-1", "occurred_at": 5}, received_us=received_us
    )


def wall_log(folder: Path, *instants_us: int) -> EventLog:
    instants = iter(instants_us)
    return EventLog(folder / "log.db", Clock.WALL, now_us=lambda: next(instants))


def test_a_second_message_with_the_same_id_is_a_duplicate(tmp_path: Path) -> None:
    log = wall_log(tmp_path, 100, 200, 300)
    assert log.append([ping("a"), ping("a")]) == [Verdict.ACCEPTED, Verdict.DUPLICATE]
    assert log.append([ping("a")]) == [Verdict.DUPLICATE]
    assert [record.body["vehicle_id"] for record in log.read(0, 10)] == ["V-1"]


def test_reception_never_goes_back_when_the_wall_clock_does(tmp_path: Path) -> None:
    log = wall_log(tmp_path, 1_000, 400, 400)
    log.append([ping("a"), ping("b"), ping("c")])
    assert [record.received_us for record in log.read(0, 10)] == [1_000, 1_001, 1_002]


def test_the_log_clock_takes_the_instant_from_the_event_and_clamps_it(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log.db", Clock.LOG)
    log.append([ping("a", 1_000), ping("b", 900), ping("c"), ping("d", 1_500)])
    assert [record.received_us for record in log.read(0, 10)] == [1_000, 1_000, 1_000, 1_500]
    assert log.now_us() == 1_500


def test_a_duplicate_moves_no_clock(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log.db", Clock.LOG)
    log.append([ping("a", 1_000), ping("a", 9_000), ping("b", 1_100)])
    assert log.last().received_us == 1_100


def test_reading_goes_on_after_a_sequence_number(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log.db", Clock.LOG)
    assert log.last() == Head(0, 0)
    log.append([ping(name, 1) for name in "abcde"])
    first = log.read(0, 2)
    assert [record.seq for record in log.read(first[-1].seq, 10)] == [3, 4, 5]


def test_what_was_appended_is_there_for_another_process(tmp_path: Path) -> None:
    writer, reader = EventLog(tmp_path / "log.db", Clock.LOG), EventLog(tmp_path / "log.db", Clock.LOG)
    writer.append([ping("a", 7)])
    assert reader.last() == Head(1, 7)
    assert reader.append([ping("a", 8)]) == [Verdict.DUPLICATE]


def test_a_failing_batch_leaves_nothing_behind(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log.db", Clock.LOG)
    with pytest.raises(TypeError):
        log.append([ping("a", 1), NewEvent(type="pings", event_id="b", body={"x": object()})])
    assert log.last() == Head()


def test_platform_records_need_no_id(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log.db", Clock.LOG)
    tick = NewEvent(type="tick", body={}, received_us=1)
    assert log.append([tick, tick]) == [Verdict.ACCEPTED, Verdict.ACCEPTED]


def test_a_log_goes_on_from_its_history_whoever_opens_it_first(tmp_path: Path) -> None:
    history = Head(41, 9_000)
    log = EventLog(tmp_path / "log.db", Clock.LOG, history=history)
    again = EventLog(tmp_path / "log.db", Clock.LOG, history=Head(99, 99_000))
    assert log.origin == again.origin == log.last() == history
    again.append([ping("a", 1_000), ping("b", 9_500)])
    assert [(r.seq, r.received_us) for r in log.read(41, 10)] == [(42, 9_000), (43, 9_500)]


def test_a_log_that_has_begun_takes_no_history(tmp_path: Path) -> None:
    EventLog(tmp_path / "log.db", Clock.LOG).append([ping("a", 1)])
    assert EventLog(tmp_path / "log.db", Clock.LOG, history=Head(41, 9_000)).origin == Head()


def test_what_follows_a_tick_was_received_later(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log.db", Clock.LOG)
    tick = NewEvent(type="tick", body={}, received_us=1_000)
    log.append([ping("a", 1_000), tick, ping("b", 1_000), ping("c", 1_000), tick])
    log.append([tick, ping("d", 900)])
    assert [r.received_us for r in log.read(0, 10)] == [1_000, 1_000, 1_001, 1_001, 1_001, 1_002, 1_003]
