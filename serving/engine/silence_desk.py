"""The silences that an engine knows: those of its settings, and those that operators gave and took back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from serving.decisions.silences import Labels, Silence, is_silenced
from serving.engine.batch import Batch
from serving.engine.commands import SilenceCommand


@dataclass(slots=True, kw_only=True)
class SilenceDesk:
    """``standing`` are those of the settings; ``given`` by id those of operators that are not over."""

    standing: Sequence[Silence] = ()
    given: dict[str, Silence] = field(default_factory=dict)

    def restore(self, silences: Iterable[Silence]) -> None:
        self.given = {each.silence_id: each for each in silences}

    def command(self, asked: SilenceCommand, at_us: int, batch: Batch) -> bool:
        """Begin a silence or end one; whether there was anything to do."""
        silence = self.given.get(asked.silence_id)
        if asked.ends:
            if silence is None or not silence.lasts(at_us):
                return False
            silence = replace(silence, until_us=at_us)
        elif silence is None:
            silence = asked.silence(at_us)
        else:
            return False
        self.given[silence.silence_id] = batch.silences[silence.silence_id] = silence
        return True

    def at(self, at_us: int) -> list[Silence]:
        """Those that last now; of operators' that are over nothing is remembered."""
        self.given = {
            silence_id: each
            for silence_id, each in self.given.items()
            if each.until_us is None or at_us < each.until_us
        }
        return [each for each in (*self.standing, *self.given.values()) if each.lasts(at_us)]

    def covers(self, labels: Labels, at_us: int) -> bool:
        return is_silenced((*self.standing, *self.given.values()), labels, at_us)

    @property
    def is_empty(self) -> bool:
        return not self.standing and not self.given
