"""What a customer prefers about being told and being delivered to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Channel(StrEnum):
    """How to tell the customer."""

    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """Of one customer; what is not said is None, and means that the operator decides.

    quiet_from_hour, quiet_to_hour : local hours between which nobody is told anything; both or neither
    """

    channel: Channel | None = None
    notice_minutes: int | None = None
    quiet_from_hour: int | None = None
    quiet_to_hour: int | None = None
    safe_place: str | None = None

    def __post_init__(self) -> None:
        if (self.quiet_from_hour is None) != (self.quiet_to_hour is None):
            raise ValueError("quiet hours have a beginning and an end; give both or neither")
        for name in ("quiet_from_hour", "quiet_to_hour"):
            hour = getattr(self, name)
            if hour is not None and not 0 <= hour <= 23:
                raise ValueError(f"{name} is {hour}; hours go from 0 to 23")
        if self.notice_minutes is not None and not 0 <= self.notice_minutes <= 1440:
            raise ValueError(f"notice_minutes is {self.notice_minutes}; it goes from 0 to 1,440")

    def is_quiet(self, hour: int) -> bool:
        """Whether a local hour lies in the quiet ones, which may reach over midnight."""
        begins, ends = self.quiet_from_hour, self.quiet_to_hour
        if begins is None or ends is None or begins == ends:
            return False
        return begins <= hour < ends if begins < ends else hour >= begins or hour < ends
