"""The history of forecasts gives back what was put into it, and never outgrows its limits, however a log is cut."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.vectors import FEATURE_NAMES
from serving.engine.history import (
    PASSING,
    TOLD,
    HistoryLimits,
    HistoryWriter,
    KeptNow,
    history_of,
    kept_at,
    spans,
)
from serving.engine.ops import OpsStore
from serving.engine.packing import pack, unpack
from serving.storage.database import connect, connect_to_read, give_back, immediate
from serving.times import US

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=40).map(str.encode)
VECTOR = st.binary(min_size=12, max_size=12)
ROW = st.tuples(TEXT, VECTOR, st.floats(allow_nan=False), TEXT)


def shift_of(stop_id: str) -> bytes:
    return f"{stop_id:>8}".encode()


def kept(stop_id: str, at_s: int, is_told: bool = False) -> KeptNow:
    rng = np.random.default_rng([at_s, *stop_id.encode()])
    body = {"prediction_id": f"{stop_id}@{at_s}", "stop_id": stop_id, "as_of": at_s}
    vector = rng.normal(size=len(FEATURE_NAMES)).astype(np.float32).tobytes()
    return KeptNow(
        stop_id=stop_id,
        as_of_us=at_s * US,
        is_told=is_told,
        start_us=at_s * US,
        end_us=(at_s + 60) * US,
        coverage=0.8,
        shift=shift_of(stop_id),
        row=(orjson.dumps(body), vector, float(at_s), b"[]"),
    )


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    store = OpsStore(tmp_path / "ops.db")
    with store.transaction() as tx:
        yield tx.connection
    store.close()


def ids(connection: sqlite3.Connection, stop_id: str) -> list[str]:
    return [orjson.loads(body)["prediction_id"] for body in history_of(connection, stop_id, 1_000)]


@given(rows=st.lists(ROW, min_size=1, max_size=40))
def test_rows_come_out_as_they_went_in(rows: list[tuple[bytes, bytes, float, bytes]]) -> None:
    assert unpack(pack(rows)) == rows


def test_rows_of_a_layout_that_is_not_known_are_refused() -> None:
    packed = bytearray(pack([(b"{}", b"", 0.0, b"")]))
    packed[0] = 9
    with pytest.raises(ValueError, match="layout 9"):
        unpack(bytes(packed))


def test_a_stop_has_its_forecasts_backwards_whatever_block_they_lie_in(
    connection: sqlite3.Connection,
) -> None:
    writer = HistoryWriter(HistoryLimits())
    writer.write(connection, [kept(f"S-{n}", at) for at in (1, 2) for n in range(70)], None)
    writer.write(connection, [kept(f"S-{n}", 3, is_told=True) for n in range(40, 70)], None)
    assert ids(connection, "S-69") == ["S-69@3", "S-69@2", "S-69@1"]
    assert history_of(connection, "nobody", 9) == []
    row, shift = kept_at(connection, "S-69@3", 3 * US) or ((b"",), b"")
    assert row == kept("S-69", 3).row and shift == shift_of("S-69")
    row, shift = kept_at(connection, "S-69@2", 2 * US) or ((b"",), b"")
    assert row == kept("S-69", 2).row and shift is None
    assert kept_at(connection, "S-69@2", 1 * US) is None


def test_what_was_told_outlives_what_only_passed(connection: sqlite3.Connection) -> None:
    writer = HistoryWriter(HistoryLimits(passing_s=10, told_s=100))
    writer.write(connection, [kept("S-1", 1), kept("S-1", 2, is_told=True), kept("S-1", 50)], 55 * US)
    assert ids(connection, "S-1") == ["S-1@50", "S-1@2"]
    writer.write(connection, [], 103 * US)
    assert ids(connection, "S-1") == []
    assert spans(connection)[TOLD].since_us is None
    assert connection.execute("SELECT count(*) FROM forecast_place").fetchone() == (0,)


@pytest.mark.parametrize("cuts", [(60,), (1, 59), tuple(range(1, 60)), (7, 8, 30)])
def test_a_bound_in_bytes_keeps_the_newest_and_the_same_ones_however_the_log_is_cut(
    connection: sqlite3.Connection, cuts: Sequence[int]
) -> None:
    limits = HistoryLimits(passing_bytes=20_000, told_bytes=3_000)
    ticks = [[kept(f"S-{n}", at, is_told=n == 0 and at % 5 == 0) for n in range(3)] for at in range(60)]
    whole, before = OpsStore(Path(":memory:")), 0
    with whole.transaction() as tx:
        HistoryWriter(limits).write(tx.connection, [row for tick in ticks for row in tick], None)
        expected = {n: ids(tx.connection, f"S-{n}") for n in range(3)}
    for cut in (*cuts, 60):
        rows = [row for tick in ticks[before:cut] for row in tick]
        HistoryWriter(limits).write(connection, rows, None)
        before = cut
        assert spans(connection)[PASSING].size_bytes <= 20_000
        assert spans(connection)[TOLD].size_bytes <= 3_000
    assert {n: ids(connection, f"S-{n}") for n in range(3)} == expected
    assert ids(connection, "S-1")[0] == "S-1@59" and 5 < len(ids(connection, "S-1")) < 59


def test_a_history_at_its_limit_does_not_grow_its_file(tmp_path: Path) -> None:
    store, writer = OpsStore(tmp_path / "ops.db"), HistoryWriter(HistoryLimits(passing_s=60))
    sizes = []
    for at in range(0, 600, 2):
        with store.transaction() as tx:
            rows = [kept(f"S-{n}", at) for n in range(at % 7 * 10)]
            writer.write(tx.connection, rows, at * US if at % 10 == 0 else None)
            (pages,) = tx.connection.execute("PRAGMA page_count").fetchone()
            sizes.append(pages)
    store.close()
    assert max(sizes[200:]) <= 1.05 * max(sizes[60:200])


def test_a_file_that_was_large_once_becomes_small_again(tmp_path: Path) -> None:
    connection = connect(tmp_path / "a.db", synchronous="OFF", schema="CREATE TABLE t (x BLOB)")
    with immediate(connection) as tx:
        tx.executemany("INSERT INTO t VALUES (zeroblob(3000))", [()] * 3_000)
    assert give_back(connection) == 0
    with immediate(connection) as tx:
        tx.execute("DELETE FROM t WHERE rowid > 500")
    while give_back(connection, 500):
        pass
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert (tmp_path / "a.db").stat().st_size < 0.36 * 3_000 * 4_096
    reader = connect_to_read(tmp_path / "a.db")
    assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (500,)
    reader.close()
