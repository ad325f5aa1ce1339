"""No caller is let through faster than its rate, however many processes let callers through."""

from __future__ import annotations

import multiprocessing
import struct
import time
from collections.abc import Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.http.rates import SLOTS, Rates, admit

SECOND_NS = 1_000_000_000


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_ns = 5 * SECOND_NS

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def rates(tmp_path: Path, watch: Watch) -> Iterator[Rates]:
    rates = Rates(tmp_path / "run" / "rates", burst_s=2.0, now_ns=watch)
    yield rates
    rates.close()


def let_through(rates: Rates, slot: int, per_s: float, tries: int) -> int:
    return sum(rates.wait_s(slot, per_s) == 0 for _ in range(tries))


def test_a_burst_is_let_through_and_then_the_rate(rates: Rates, watch: Watch) -> None:
    assert let_through(rates, 1, 10.0, 100) == 20
    watch.now_ns += SECOND_NS
    assert let_through(rates, 1, 10.0, 100) == 10


def test_the_wait_that_is_told_is_enough_and_not_more(rates: Rates, watch: Watch) -> None:
    let_through(rates, 1, 10.0, 20)
    wait_s = rates.wait_s(1, 10.0)
    assert wait_s == pytest.approx(0.1)
    watch.now_ns += int(wait_s * SECOND_NS) - 1000
    assert rates.wait_s(1, 10.0) > 0
    watch.now_ns += 1000
    assert rates.wait_s(1, 10.0) == 0


def test_callers_do_not_use_up_each_others_rate(rates: Rates) -> None:
    let_through(rates, 1, 1.0, 50)
    assert let_through(rates, 2, 1.0, 50) == 2


def test_a_rate_below_one_in_the_burst_lets_single_requests_through(rates: Rates, watch: Watch) -> None:
    assert let_through(rates, 1, 0.1, 5) == 1
    watch.now_ns += 10 * SECOND_NS
    assert let_through(rates, 1, 0.1, 5) == 1


def test_what_was_used_before_the_machine_started_anew_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "rates"
    path.write_bytes(struct.pack("<q", 2**62) * SLOTS)
    rates = Rates(path, now_ns=lambda: SECOND_NS)
    assert rates.wait_s(3, 5.0) == 0
    rates.close()


@given(
    st.lists(st.integers(0, SECOND_NS), min_size=1, max_size=200),
    st.floats(0.2, 500.0),
    st.floats(0.0, 5.0),
    st.integers(-(2**63), 2**63 - 1),
)
def test_in_any_span_no_more_than_burst_and_rate_are_let_through(
    gaps_ns: list[int], per_s: float, burst_s: float, before_ns: int
) -> None:
    now_ns, used_until_ns, through = 0, before_ns, []
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        used_until_ns, wait_ns = admit(used_until_ns, now_ns, per_s, burst_s)
        if wait_ns == 0:
            through.append(now_ns)
        assert 0 <= wait_ns <= SECOND_NS / per_s + burst_s * SECOND_NS
    step_ns, most = int(SECOND_NS / per_s), max(burst_s, 1 / per_s)
    for first in range(0, len(through), 7):
        span_ns = through[-1] - through[first]
        assert (len(through) - first) * step_ns <= span_ns + most * SECOND_NS + step_ns


def _call(path: Path, together: Barrier, told: Queue[tuple[int, float, float]]) -> None:
    rates, count = Rates(path, burst_s=0.5), 0
    together.wait(120)
    started_s = time.monotonic()
    while time.monotonic() < started_s + 1.0:
        count += rates.wait_s(7, 200.0) == 0
    told.put((count, started_s, time.monotonic()))
    rates.close()


def test_several_processes_share_one_rate(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    told: Queue[tuple[int, float, float]] = context.Queue()
    together = context.Barrier(3)
    callers = [context.Process(target=_call, args=(tmp_path / "rates", together, told)) for _ in range(3)]
    for caller in callers:
        caller.start()
    counts, starts, ends = zip(*(told.get(timeout=120) for _ in callers), strict=True)
    for caller in callers:
        caller.join(60)
    assert 200 <= sum(counts) <= 200.0 * (max(ends) - min(starts) + 0.5) + 1
