"""What operators do: records of the log, so that a replay does it again at the same place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from data_contracts.record import COMMAND
from serving.decisions.incidents import Step
from serving.decisions.silences import Silence
from serving.storage.log import NewEvent

#: What an operator may ask of an incident.
ASKED = (Step.ACKNOWLEDGE, Step.SNOOZE, Step.RESOLVE)
INCIDENT, SILENCE = "incident", "silence"


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentCommand:
    """A step that somebody asked an incident to take.

    until_us : how long it is snoozed
    """

    incident_id: str
    step: Step
    who: str
    why: str
    until_us: int | None = None

    def event(self, command_id: str) -> NewEvent:
        """As the log takes it; the same ``command_id`` counts once."""
        body = {"of": INCIDENT, **asdict(self), "step": self.step.value}
        return NewEvent(type=COMMAND, event_id=command_id, body=body)


def incident_command(body: Mapping[str, Any]) -> IncidentCommand | None:
    """The command in a record, None where it is about something else."""
    if body.get("of") != INCIDENT:
        return None
    return IncidentCommand(
        incident_id=body["incident_id"],
        step=Step(body["step"]),
        who=body["who"],
        why=body["why"],
        until_us=body["until_us"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceCommand:
    """An order not to hear of something, or its end.

    until_us : when it ends by itself
    ends : whether it is taken back
    """

    silence_id: str
    who: str
    why: str = ""
    until_us: int | None = None
    matchers: Mapping[str, str] = field(default_factory=dict)
    ends: bool = False

    def event(self, command_id: str) -> NewEvent:
        """As the log takes it; the same ``command_id`` counts once."""
        return NewEvent(type=COMMAND, event_id=command_id, body={"of": SILENCE, **asdict(self)})

    def silence(self, at_us: int) -> Silence:
        """What begins at an instant."""
        return Silence(
            silence_id=self.silence_id,
            who=self.who,
            why=self.why,
            from_us=at_us,
            until_us=self.until_us,
            matchers=self.matchers,
        )


def silence_command(body: Mapping[str, Any]) -> SilenceCommand | None:
    """The command in a record, None where it is about something else."""
    if body.get("of") != SILENCE:
        return None
    return SilenceCommand(**{name: value for name, value in body.items() if name != "of"})
