"""When to tell a customer about a window: pure stages, each of which decides with a reason or passes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from serving.customers.home import HomeShare
from serving.customers.preferences import Channel, Preferences
from serving.decisions.promises import DeliveryWindow
from serving.times import US, from_us, to_us

MINUTE_US = 60 * US


class Act(StrEnum):
    TELL = "tell"
    WAIT = "wait"
    KEEP_SILENT = "keep_silent"


class Why(StrEnum):
    """Why a customer is told now, later or not at all."""

    WITHIN_NOTICE = "WITHIN_NOTICE"
    NOTICE_NOT_REACHED = "NOTICE_NOT_REACHED"
    SELDOM_HOME = "SELDOM_HOME"
    QUIET_HOURS = "QUIET_HOURS"
    BEFORE_QUIET_HOURS = "BEFORE_QUIET_HOURS"
    QUIET_UNTIL_OVER = "QUIET_UNTIL_OVER"
    NO_CHANNEL = "NO_CHANNEL"
    WINDOW_OVER = "WINDOW_OVER"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingPolicy:
    """What holds where a customer has said nothing. Somebody who is seldom home is told earlier."""

    notice_minutes: int = 60
    channel: Channel = Channel.EMAIL
    seldom_below: float = 0.5
    seldom_visits: float = 2.0
    seldom_factor: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.notice_minutes <= 1440 or self.seldom_factor < 1:
            raise ValueError("notice_minutes goes from 0 to 1,440, and seldom_factor from 1")
        object.__setattr__(self, "channel", Channel(self.channel))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is known when it is asked whether to tell."""

    window: DeliveryWindow
    now_us: int
    zone: ZoneInfo
    preferences: Preferences
    home: HomeShare
    policy: TimingPolicy

    @property
    def seldom_home(self) -> bool:
        return self.home.visits >= self.policy.seldom_visits and self.home.share < self.policy.seldom_below

    @property
    def notice_us(self) -> int:
        """How long before the window the customer is to know."""
        said = self.preferences.notice_minutes
        minutes = self.policy.notice_minutes if said is None else said
        return int(minutes * (self.policy.seldom_factor if self.seldom_home else 1.0)) * MINUTE_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What to do, when, and why; ``at_us`` is None where nobody is told."""

    act: Act
    why: Why
    at_us: int | None = None


Stage = Callable[[Asked], Timing | None]


def muted(asked: Asked) -> Timing | None:
    """Some customers want to hear nothing."""
    if (asked.preferences.channel or asked.policy.channel) is not Channel.NONE:
        return None
    return Timing(act=Act.KEEP_SILENT, why=Why.NO_CHANNEL)


def over(asked: Asked) -> Timing | None:
    """A window that has passed is no news."""
    if asked.now_us < asked.window.end_us:
        return None
    return Timing(act=Act.KEEP_SILENT, why=Why.WINDOW_OVER)


def early(asked: Asked) -> Timing | None:
    """Before the notice that the customer wants, it waits; before quiet hours that would swallow it, it does not."""
    due_us = asked.window.start_us - asked.notice_us
    if asked.now_us >= due_us:
        return None
    begins_us = quiet_begins(asked.preferences, due_us, asked.zone)
    if begins_us is not None:
        last_us = begins_us - MINUTE_US
        if last_us <= asked.now_us:
            return None
        return Timing(act=Act.WAIT, why=Why.BEFORE_QUIET_HOURS, at_us=last_us)
    why = Why.SELDOM_HOME if asked.seldom_home else Why.NOTICE_NOT_REACHED
    return Timing(act=Act.WAIT, why=why, at_us=due_us)


def quiet(asked: Asked) -> Timing | None:
    """In quiet hours nobody is told; what would be over by their end is not told at all."""
    ends_us = quiet_ends(asked.preferences, asked.now_us, asked.zone)
    if ends_us is None:
        return None
    if ends_us >= asked.window.end_us:
        return Timing(act=Act.KEEP_SILENT, why=Why.QUIET_UNTIL_OVER)
    return Timing(act=Act.WAIT, why=Why.QUIET_HOURS, at_us=ends_us)


def now(asked: Asked) -> Timing | None:
    return Timing(act=Act.TELL, why=Why.WITHIN_NOTICE, at_us=asked.now_us)


STAGES: tuple[Stage, ...] = (muted, over, early, quiet, now)


def when(asked: Asked) -> Timing:
    """The first stage that decides."""
    for stage in STAGES:
        if (timing := stage(asked)) is not None:
            return timing
    raise AssertionError("the last stage always decides")


def quiet_ends(preferences: Preferences, at_us: int, zone: ZoneInfo) -> int | None:
    """When the quiet hours around an instant end; None where it is not quiet then."""
    return _edge(preferences, at_us, zone, step=1)


def quiet_begins(preferences: Preferences, at_us: int, zone: ZoneInfo) -> int | None:
    """When the quiet hours around an instant began; None where it is not quiet then."""
    return _edge(preferences, at_us, zone, step=-1)


def _edge(preferences: Preferences, at_us: int, zone: ZoneInfo, step: int) -> int | None:
    """The end, or for a step of -1 the beginning, of the quiet hours that hold an instant.

    Hours are walked on the absolute clock, so that a day with 23 or 25 of them has its quiet ones too.
    """
    if not preferences.is_quiet(from_us(at_us, zone).hour):
        return None
    whole = from_us(at_us, zone).replace(minute=0, second=0, microsecond=0)
    edge_us = to_us(whole)
    edge_us += 60 * MINUTE_US if step > 0 else 0
    for _ in range(25):
        beyond_us = edge_us if step > 0 else edge_us - 1
        if not preferences.is_quiet(from_us(beyond_us, zone).hour):
            break
        edge_us += step * int(timedelta(hours=1).total_seconds()) * US
    return edge_us
