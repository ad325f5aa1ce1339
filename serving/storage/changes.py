"""What customers ask for on their page: records of the log like anything else that happens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from data_contracts.record import COMMAND
from serving.storage.log import NewEvent

CHANGE = "delivery_change"


class Choice(StrEnum):
    """What should become of a delivery."""

    LATER_TODAY = "later_today"
    ANOTHER_DAY = "another_day"
    SAFE_PLACE = "safe_place"
    NEIGHBOUR = "neighbour"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryChange:
    """A choice that a customer made for one stop."""

    stop_id: str
    choice: Choice

    def event(self, command_id: str) -> NewEvent:
        """As the log takes it; the same ``command_id`` counts once."""
        body = {"of": CHANGE, "stop_id": self.stop_id, "choice": self.choice.value}
        return NewEvent(type=COMMAND, event_id=command_id, body=body)


def delivery_change(body: Mapping[str, Any]) -> DeliveryChange | None:
    """The change in a command, None where the command is about something else."""
    if body.get("of") != CHANGE:
        return None
    return DeliveryChange(stop_id=body["stop_id"], choice=Choice(body["choice"]))
