"""A worker's line is short: what would wait too long is told so at once, and nobody is forgotten in it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from serving.http.problems import ProblemError
from serving.http.turns import ON_THE_SPOT, Turns


def line(most: int = 4, most_stops: int = 10_000, patience_s: float = 5.0) -> Turns:
    return Turns(most=most, most_stops=most_stops, patience_s=patience_s)


async def all_of(turns: Turns, stops: int, *works: Callable[[], Any]) -> list[Any]:
    return await asyncio.gather(*(turns.take(stops, work) for work in works), return_exceptions=True)


@pytest.mark.parametrize("stops", [1, ON_THE_SPOT + 1])
def test_more_than_the_line_holds_are_sent_away_at_once_with_when_to_come_again(stops: int) -> None:
    turns = line(most=4)
    answers = asyncio.run(all_of(turns, stops, *[lambda: "done"] * 10))
    refused = [answer for answer in answers if isinstance(answer, ProblemError)]
    assert answers.count("done") == 4
    assert (len(refused), turns.refused, turns.inside) == (6, 6, 0)
    assert {(each.status, each.kind) for each in refused} == {(503, "overloaded")}
    assert all(int(each.headers["Retry-After"]) >= 1 for each in refused if each.headers)


def test_stops_count_too_but_a_large_request_alone_is_never_too_large() -> None:
    turns = line(most_stops=100)
    answers = asyncio.run(all_of(turns, 400, lambda: "first", lambda: "second"))
    assert answers[0] == "first"
    assert isinstance(answers[1], ProblemError)


def test_the_loop_goes_on_while_a_large_request_is_scored() -> None:
    turns, release = line(), threading.Event()

    async def meanwhile() -> str:
        large = asyncio.create_task(turns.take(500, release.wait))
        while not turns.inside:
            await asyncio.sleep(0)
        small = asyncio.create_task(turns.take(1, lambda: "small"))
        await asyncio.sleep(0.01)
        assert not small.done(), "one after the other"
        release.set()
        await large
        return await small

    assert asyncio.run(meanwhile()) == "small"


def test_a_turn_that_does_not_come_in_time_is_refused_and_not_done_later() -> None:
    turns, release, done = line(patience_s=0.05), threading.Event(), []

    async def impatient() -> list[Any]:
        answers = await all_of(turns, 100, lambda: release.wait(2.0), lambda: done.append("late"))
        release.set()
        await asyncio.sleep(0.05)
        return answers

    started_s = time.monotonic()
    answers = asyncio.run(impatient())
    assert all(isinstance(answer, ProblemError) and answer.kind == "overloaded" for answer in answers)
    assert (done, turns.inside) == ([], 0)
    assert time.monotonic() - started_s < 1.0


def test_a_failure_frees_its_place() -> None:
    turns = line(most=1)

    def fails() -> None:
        raise ValueError("of its own")

    for stops in (1, 100):
        for _ in range(3):
            (answer,) = asyncio.run(all_of(turns, stops, fails))
            assert isinstance(answer, ValueError)
    assert turns.inside == 0
