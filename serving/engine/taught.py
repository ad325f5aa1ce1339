"""What outcomes have taught a model since it was trained, as its forecasts use it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from training.online import OnlineCalibrator

#: A part of a calibration as it lies in ``ops.db``: its name, the state that changed it last, and its numbers.
PartRow = tuple[str, int, bytes]


@dataclass(frozen=True, slots=True)
class Taught:
    """A state of the live calibration of one model version.

    number : how many lessons made it, which names it; 0 before the first
    live : None before the first
    """

    number: int = 0
    live: OnlineCalibrator | None = None

    @classmethod
    def of(cls, live: OnlineCalibrator) -> Taught:
        return cls(live.seen, live) if live.seen else UNTAUGHT

    @classmethod
    def as_told(cls, number: int, shift: bytes) -> Taught:
        """What moves a forecast as it was moved when it was told."""
        return cls(number, OnlineCalibrator.standing(number, np.frombuffer(shift, np.float64)))

    def after(self, parts: Iterable[PartRow]) -> Taught:
        """With parts as they were committed since."""
        live, number = self.fresh(), self.number
        for name, changed, numbers in parts:
            live.parts[name] = np.frombuffer(numbers, np.float64)
            number = max(number, changed)
        live.seen = number
        return Taught.of(live)

    def fresh(self) -> OnlineCalibrator:
        """One that may go on learning without moving this."""
        return OnlineCalibrator() if self.live is None else self.live.copy()

    def changed_since(self, before: Taught) -> list[PartRow]:
        """Parts that were taught something since."""
        if self.live is None:
            return []
        changed = self.live.changed_since(before.live or OnlineCalibrator())
        return [(name, self.number, part.tobytes()) for name, part in changed.items()]


UNTAUGHT = Taught()
