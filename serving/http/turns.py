"""Whose turn it is: a worker scores one request after the other, and sends away at once what would wait too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

from serving.http.problems import ProblemError
from serving.meters import meters

T = TypeVar("T")

#: Work on so few stops is done on the spot: a thread would cost more than it frees.
ON_THE_SPOT = 8
RETRY_AFTER_S = 1


def overloaded(detail: str) -> ProblemError:
    """503 for what cannot be taken in now; it is meant to come again."""
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", detail, headers=headers)


@dataclass(slots=True, kw_only=True)
class Turns:
    """The line of requests that a worker scores; at most so many, of so many stops in all, for so long.

    refused : how many were sent away
    """

    most: int
    most_stops: int
    patience_s: float
    inside: int = 0
    refused: int = 0
    _stops: int = 0
    _elsewhere: int = 0
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="scoring")
    )

    async def take(self, stops: int, work: Callable[[], T]) -> T:
        """Do the work in its turn.

        Raises
        ------
        ProblemError
            503 when the line is full, or the turn did not come in time
        """
        if self.inside and (self.inside >= self.most or self._stops + stops > self.most_stops):
            self.refused += 1
            raise overloaded(f"{self.inside} requests are waiting to be scored by this worker; come again")
        self.inside += 1
        self._stops += stops
        meters().waiting.inc()
        try:
            await asyncio.sleep(0)  # whoever came at the same time is counted before anybody is served
            if stops <= ON_THE_SPOT and not self._elsewhere:
                return work()
            return await self._in_line(work)
        finally:
            self.inside -= 1
            self._stops -= stops
            meters().waiting.dec()

    async def _in_line(self, work: Callable[[], T]) -> T:
        self._elsewhere += 1
        try:
            done = asyncio.get_running_loop().run_in_executor(self._thread, work)
            return await asyncio.wait_for(done, self.patience_s)
        except TimeoutError:
            self.refused += 1
            raise overloaded(f"its turn did not come within {self.patience_s:g} s") from None
        finally:
            self._elsewhere -= 1

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
