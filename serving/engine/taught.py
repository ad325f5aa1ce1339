"""What outcomes have taught a model since it was trained, as its forecasts use it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.online import OnlineCalibrator


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
    def from_shift(cls, number: int, shift: bytes) -> Taught:
        """As it was when a forecast was made: what moved it, without what it goes on learning with."""
        return cls(number, OnlineCalibrator(seen=number, shift=np.frombuffer(shift, np.float64)))

    @property
    def shift(self) -> bytes:
        """What it adds to each level, float64."""
        return b"" if self.live is None else np.asarray(self.live.shift, np.float64).tobytes()


UNTAUGHT = Taught()
