"""What the customer calls take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from serving.http.wire import Window, Wire


class PreferencesBody(Wire):
    """What a customer prefers; what is left out, the operator decides."""

    channel: Literal["email", "sms", "push", "none"] | None = None
    notice_minutes: int | None = Field(default=None, ge=0, le=1440, description="How early to be told.")
    quiet_from_hour: int | None = Field(default=None, ge=0, le=23, description="Local.")
    quiet_to_hour: int | None = Field(default=None, ge=0, le=23, description="Local.")
    safe_place: str | None = Field(default=None, max_length=200, description="Where a parcel may be left.")


class KeptPreferences(PreferencesBody):
    since: datetime


class VisitMade(Wire):
    stop_id: str
    at: datetime
    home: bool


class CustomerExport(Wire):
    """Everything that is kept of a customer."""

    customer_id: str
    preferences: KeptPreferences | None
    visits: list[VisitMade] = Field(description="The oldest first.")


class Erasure(Wire):
    customer_id: str
    erased: int = Field(description="How many facts were kept of the customer.")


class HomeHour(Wire):
    hour: int = Field(ge=0, le=23, description="Local.")
    share: float = Field(ge=0, le=1, description="Chance that somebody is home.")


class Notification(Wire):
    """Whether, when and how to tell the customer of a stop about its window, and why so."""

    stop_id: str
    act: Literal["tell", "wait", "keep_silent"]
    why: str
    at: datetime | None
    channel: Literal["email", "sms", "push", "none"]
    window: Window


class ProposedWindows(Wire):
    """A window to tell, and hours at which somebody is more likely home."""

    stop_id: str
    window: Window
    late_limit: float = Field(description="Chance of an arrival after the window.")
    home_share: float = Field(ge=0, le=1, description="Chance that somebody is home in it.")
    visits: float = Field(description="How many visits of this customer that rests on, as they count.")
    why: Literal["HOME_LIKELY", "SELDOM_HOME", "NOTHING_LEARNED"]
    safe_place: bool = Field(description="Whether a parcel may be left somewhere.")
    better_hours: list[HomeHour]
