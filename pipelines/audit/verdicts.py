"""What the data can carry: one verdict a capability, with its reason in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from data_contracts.tables import TABLES
from pipelines.audit.coverage import Coverage
from pipelines.audit.outcomes import Outcomes
from pipelines.audit.profile import TableFigures
from pipelines.sources.source import History

#: Fewer outcomes teach nothing; with fewer than ``CALIBRATED`` an 80 % window cannot be held to its coverage.
FEWEST_OUTCOMES = 200
CALIBRATED = 2_000
FEWEST_DAYS = 7
FEWEST_LATE = 50
#: A feed that reaches fewer stops is as good as absent; one that reaches fewer than ``COVERED`` is in part.
REACHED = 0.05
COVERED = 0.80


class Answer(StrEnum):
    YES = "yes"
    PARTLY = "partly"
    NO = "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a capability can be had; ``reason`` says why not, or what to know beside a yes."""

    capability: str
    answer: Answer
    reason: str = ""

    def __str__(self) -> str:
        if self.answer is Answer.PARTLY and self.reason.startswith("no "):
            return f"{self.capability}: {self.reason}"
        return f"{self.capability}: {self.answer}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that the verdicts are made of."""

    tables: Sequence[TableFigures]
    coverage: Sequence[Coverage]
    outcomes: Outcomes
    history: History = History.LIVE
    present: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "present", frozenset(one.table for one in self.tables if one.present))

    @property
    def dated(self) -> bool:
        return self.history is not History.UNDATED

    def covers(self, feed: str) -> float:
        """Share of stops that a feed reaches."""
        return next((one.share for one in self.coverage if one.feed == feed), 0.0)


def verdicts(seen: Evidence) -> list[Verdict]:
    """Every capability in the order in which a deployment needs them."""
    windows = _windows(seen)
    if windows.answer is Answer.NO:
        rest = ("late risk", "reasons", "updates under way", "alerts", "customer messages")
        refused = [Verdict(capability=name, answer=Answer.NO, reason="windows come first") for name in rest]
        return [windows, *refused]
    under_way = _updates(seen)
    return [windows, _late_risk(seen), _reasons(seen), under_way, _alerts(seen, under_way), _messages(seen)]


def in_one_line(found: Sequence[Verdict]) -> str:
    """``windows: yes; late risk: yes; reasons: no traffic feed, so ...``"""
    if found and found[0].answer is Answer.NO:
        return f"{found[0]}; nothing else without them"
    return "; ".join(map(str, found))


def _windows(seen: Evidence) -> Verdict:
    def say(answer: Answer, reason: str = "") -> Verdict:
        return Verdict(capability="windows", answer=answer, reason=reason)

    missing = [name for name, table in TABLES.items() if table.required and name not in seen.present]
    if missing:
        return say(Answer.NO, f"no {', no '.join(missing)}, so there is nothing to learn an arrival from")
    broken = [one for one in seen.tables if one.required and not one.within_budget]
    if broken:
        return say(Answer.NO, "; ".join(map(_over_budget, broken)))
    n, days = seen.outcomes.reached, seen.outcomes.days
    if n < FEWEST_OUTCOMES:
        return say(
            Answer.NO, f"only {n:,} stops with an outcome; {FEWEST_OUTCOMES:,} are the least to learn from"
        )
    if n < CALIBRATED:
        return say(
            Answer.PARTLY, f"only {n:,} stops with an outcome; a window's coverage needs {CALIBRATED:,}"
        )
    if seen.dated and days < FEWEST_DAYS:
        return say(Answer.PARTLY, f"only {days} service days, so that no weekday is seen twice")
    if not seen.dated:
        return say(Answer.YES, "but there is no calendar, so no later day can be held out")
    return say(Answer.YES)


def _over_budget(one: TableFigures) -> str:
    worst = ", ".join(f"{code} {count:,}" for code, count in list(one.reasons.items())[:3])
    allowed = TABLES[one.table].error_budget
    return f"{one.bad_share:.0%} of {one.table} break the contract ({allowed:.0%} allowed): {worst}"


def _late_risk(seen: Evidence) -> Verdict:
    found = seen.outcomes
    late = round((found.late_share or 0.0) * found.promised)
    if not found.promised:
        reason = "against a deadline that the caller gives: no promised window is told"
        return Verdict(capability="late risk", answer=Answer.YES, reason=reason)
    if min(late, found.promised - late) < FEWEST_LATE:
        reason = f"only {late:,} of {found.promised:,} promised stops were late"
        return Verdict(capability="late risk", answer=Answer.PARTLY, reason=reason)
    return Verdict(capability="late risk", answer=Answer.YES)


#: Feed -> what it is called where it is absent, and what cannot be told without it.
_CAUSES = {
    "traffic": ("traffic feed", "road conditions cannot be told from slow service"),
    "weather": ("weather feed", "rain and snow cannot be told from traffic"),
}


def _reasons(seen: Evidence) -> Verdict:
    lacks = [lack for feed in _CAUSES if (lack := _lack(seen, feed))]
    if not seen.outcomes.timed_doors:
        lacks.append(
            "no time between arrival and completion, so slow service cannot be told from slow driving"
        )
    nothing = all(seen.covers(one.feed) < REACHED for one in seen.coverage)
    if nothing and not seen.outcomes.timed_doors:
        reason = (
            "no traffic, weather or telemetry and no service times, so a delay can be told but not its cause"
        )
        return Verdict(capability="reasons", answer=Answer.NO, reason=reason)
    return Verdict(
        capability="reasons", answer=Answer.PARTLY if lacks else Answer.YES, reason=", and ".join(lacks)
    )


def _lack(seen: Evidence, feed: str) -> str:
    name, cost = _CAUSES[feed]
    share = seen.covers(feed)
    present = any(one.feed == feed and one.present for one in seen.coverage)
    if not present:
        return f"no {name}, so {cost}"
    if share < REACHED:
        return f"no {name} at the time of the stops, so {cost}"
    return f"a {name} for {share:.0%} of stops only, so elsewhere {cost}" if share < COVERED else ""


def _updates(seen: Evidence) -> Verdict:
    def say(answer: Answer, reason: str = "") -> Verdict:
        return Verdict(capability="updates under way", answer=answer, reason=reason)

    if seen.history is not History.LIVE:
        return say(
            Answer.NO, "no row says when an outcome was known, so nothing of the day can move a forecast"
        )
    telemetry = seen.covers("telemetry")
    if telemetry < REACHED and seen.outcomes.stops_a_route < 2:
        reason = "nothing is heard between departure and arrival (one stop a route, no telemetry)"
        return say(Answer.PARTLY, f"{reason}, so only other vehicles' trips move a forecast")
    if telemetry < REACHED:
        return say(Answer.YES, "but without telemetry a vehicle is heard of only at its stops")
    if telemetry < COVERED:
        return say(Answer.PARTLY, f"telemetry for {telemetry:.0%} of stops only")
    return say(Answer.YES)


def _alerts(seen: Evidence, under_way: Verdict) -> Verdict:
    def say(answer: Answer, reason: str = "") -> Verdict:
        return Verdict(capability="alerts", answer=answer, reason=reason)

    if under_way.answer is Answer.NO:
        return say(Answer.NO, "nothing moves a forecast under way")
    if seen.covers("telemetry") < REACHED and seen.outcomes.stops_a_route < 2:
        return say(
            Answer.NO, "nothing is heard of a trip before it is over, so an alert would come with the delay"
        )
    if not seen.outcomes.promised:
        return say(Answer.PARTLY, "no promised window, so there is nothing to be late for until one is given")
    return say(Answer.YES)


def _messages(seen: Evidence) -> Verdict:
    def say(answer: Answer, reason: str = "") -> Verdict:
        return Verdict(capability="customer messages", answer=answer, reason=reason)

    if "customers" not in seen.present:
        return say(Answer.NO, "no customers table, so nobody's channel and quiet hours are known")
    if not seen.outcomes.promised:
        return say(Answer.PARTLY, "no promised window that a message could correct")
    return say(Answer.YES)
