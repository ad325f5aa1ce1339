"""What the calls about silences take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import Field, model_validator

from serving.http.wire import HowLong, Id, Wire


class Matchers(Wire):
    """What a silence is about: it covers what each of these names, alone. One at least is given."""

    rule: Id | None = Field(default=None, description="Of the alerts, such as `zone_slowed`.")
    cause: Id | None = Field(default=None, description="Of the incident, such as `storm`.")
    route_id: Id | None = None
    depot_id: Id | None = None
    zone_id: Id | None = None
    area_id: Id | None = None
    subject_id: Id | None = Field(default=None, description="Of the incident or alert itself.")

    @model_validator(mode="after")
    def names_something(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError("name what it is about: one or more of " + ", ".join(type(self).model_fields))
        return self


class NewSilence(HowLong):
    """An order not to hear of something ``until`` an instant, or for some ``minutes``."""

    matchers: Matchers


class Silence(Wire):
    """An order not to hear of something: what it covers happens all the same, and nobody is told."""

    silence_id: str
    who: str
    why: str
    from_: datetime = Field(alias="from")
    until: datetime | None
    matchers: Matchers


class SilenceList(Wire):
    silences: list[Silence]


class SilenceAnswer(Wire):
    command_id: str
    applied: bool = Field(description="Whether the engine has done it; if not, it will.")
    silence: Silence
