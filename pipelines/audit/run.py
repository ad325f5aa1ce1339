"""An audit from a folder to its verdicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from data_contracts.tables import TABLES
from pipelines.audit.coverage import Coverage, coverage
from pipelines.audit.found import Found, find
from pipelines.audit.leaks import Judged, find_leaks
from pipelines.audit.outcomes import Outcomes, outcomes
from pipelines.audit.profile import TableFigures, check, last_instant, table_figures
from pipelines.audit.raw import RawForecasts
from pipelines.audit.skew import Skew, skews
from pipelines.audit.verdicts import Answer, Evidence, Verdict, in_one_line, verdicts
from pipelines.sources.source import History

Say = Callable[[str], None]
#: A silence of all events that is no weekend.
WORTH_SAYING_S = 4 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the data of one path can carry.

    leaks : every raw column without a declared known-at time; None where there are no raw columns to judge
    known : raw columns that are declared known when a forecast is asked for
    """

    source: str
    path: Path
    history: History
    until: datetime | None
    tables: tuple[TableFigures, ...]
    coverage: tuple[Coverage, ...]
    skews: tuple[Skew, ...]
    outcomes: Outcomes
    leaks: tuple[Judged, ...] | None
    known: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    excluded: dict[str, int]
    unreadable: dict[str, int]

    @property
    def carries_a_forecast(self) -> bool:
        return self.verdicts[0].answer is not Answer.NO

    @property
    def summary(self) -> str:
        return in_one_line(self.verdicts)

    @property
    def named(self) -> tuple[str, ...]:
        """Columns that look like label leaks."""
        return tuple(one.column for one in self.leaks or () if one.is_leak)

    def as_json(self) -> dict[str, Any]:
        body = {
            "source": self.source,
            "path": str(self.path),
            "history": self.history.value,
            "until": self.until,
            "carries_a_forecast": self.carries_a_forecast,
            "summary": self.summary,
            "verdicts": {v.capability: {"answer": v.answer.value, "reason": v.reason} for v in self.verdicts},
            "tables": {one.table: _table(one) for one in self.tables},
            "coverage": {one.feed: asdict(one) for one in self.coverage},
            "clock_skew": [asdict(one) | {"remark": one.remark} for one in self.skews],
            "outcomes": asdict(self.outcomes),
            "leaks": None
            if self.leaks is None
            else [asdict(one) | {"leak": one.is_leak} for one in self.leaks],
            "leaking_columns": list(self.named),
            "declared_columns": list(self.known),
            "excluded": self.excluded,
            "unreadable": self.unreadable,
        }
        return body | {"remarks": remarks(self)}


def audit(path: Path, name: str | None = None, weather: Path | None = None, say: Say | None = None) -> Audit:
    """Audit a source's folder or a workspace."""
    tell = say or (lambda _: None)
    tell("reading")
    return audited(find(path, name, weather), tell)


def audited(found: Found, say: Say) -> Audit:
    """The figures and verdicts of what was found."""
    say("checking contracts")
    checked = check(found.tables)
    good = checked.good
    dated = found.history is not History.UNDATED
    until = last_instant(good) if dated else None
    say("spans, lateness, silences")
    tables = tuple(
        table_figures(checked, name, until, dated=dated, refused=found.refused.get(name)) for name in TABLES
    )
    say("coverage and clocks")
    covered = tuple(coverage(good))
    became = outcomes(good)
    evidence = Evidence(tables=tables, coverage=covered, outcomes=became, history=found.history)
    raw = found.raw()
    return Audit(
        source=found.name,
        path=found.path,
        history=found.history,
        until=until,
        tables=tables,
        coverage=covered,
        skews=tuple(skews(good, tables)),
        outcomes=became,
        leaks=None if raw is None else tuple(find_leaks(raw, say)),
        known=_declared(raw),
        verdicts=tuple(verdicts(evidence)),
        excluded=found.excluded,
        unreadable=found.unreadable,
    )


def remarks(done: Audit) -> list[str]:
    """What to know beside the figures, in words."""
    told = [skew.remark for skew in done.skews if skew.remark]
    if done.history is History.UNDATED:
        told.append("the files have no calendar: spans, silences and freshness mean nothing and are left out")
    elif done.history is not History.LIVE:
        told.append("the files do not say when an outcome was known: lateness cannot be told")
    silent = [one.table for one in done.tables if one.present and one.lateness is None]
    if silent and done.history is History.LIVE:
        told.append(f"received_at is a copy of occurred_at in {', '.join(silent)}: lateness cannot be told")
    told += [
        f"{one.table}: {one.lateness.ahead_share:.1%} of rows were received before they happened"
        for one in done.tables
        if one.lateness is not None and one.lateness.ahead_share > 0.001
    ]
    told += [
        f"{one.table} ends {span(one.silent_s)} before the data do, which is longer than its contract allows"
        for one in done.tables
        if one.fresh is False
    ]
    told += [
        f"{one.table}: nothing for {span(one.silence.longest_s)} from {one.silence.began_at:%Y-%m-%d}"
        for one in done.tables
        if one.table == "stop_events" and one.silence and one.silence.longest_s >= WORTH_SAYING_S
    ]
    if done.named:
        told.append(
            f"looks like a label leak, keep it out or declare when it is known: {', '.join(done.named)}"
        )
    return told


def span(seconds: float | None) -> str:
    """A length of time as a person says it."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} s"


def _declared(raw: RawForecasts | None) -> tuple[str, ...]:
    return raw.known if raw is not None else ()


def _table(one: TableFigures) -> dict[str, Any]:
    shares = {"present": one.present, "bad_share": one.bad_share, "within_budget": one.within_budget}
    return asdict(one) | shares
