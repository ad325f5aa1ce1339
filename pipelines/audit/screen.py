"""An audit in the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table as Shown

from pipelines.audit.found import unused
from pipelines.audit.profile import TableFigures
from pipelines.audit.run import Audit, remarks, span
from pipelines.terminal import console, table

_LEAKS_TOLD = 12


def show(done: Audit) -> None:
    """Print every table, the remarks, and the verdicts last, where they are read."""
    console.print(_tables(done))
    for one in (_quality(done), _coverage(done), _skews(done), _leaks(done)):
        if one is not None:
            console.print(one)
    for name, counts in (
        ("left out by the set's own rules", done.excluded),
        ("unreadable cells", done.unreadable),
    ):
        if counts:
            console.print(f"{name}: {unused(counts)}", highlight=False)
    for remark in remarks(done):
        console.print(f"- {remark}", highlight=False)
    rows = [(one.capability, str(one.answer), one.reason) for one in done.verdicts]
    console.print(table(f"what {done.path} can carry", ("capability", "verdict", "reason"), rows))
    console.print(done.summary, highlight=False)


def share(value: float | None) -> str:
    """A share in per cent; a small one does not read as none."""
    if value is None:
        return "-"
    return f"{value:.0%}" if value in (0.0, 1.0) else f"{value:.2%}" if value < 0.1 else f"{value:.1%}"


def _tables(done: Audit) -> Shown:
    columns = (
        "table",
        "rows",
        "first",
        "last",
        "silent at end",
        "late",
        "out of order",
        "longest silence",
        "usual",
    )
    rows = [_line(one) for one in done.tables if one.present or one.required]
    absent = [one.table for one in done.tables if not one.present and not one.required]
    until = f", until {done.until:%Y-%m-%d %H:%M} UTC" if done.until else ""
    shown = table(f"{done.source} in {done.path}{until}", columns, rows)
    shown.caption = f"absent: {', '.join(absent)}" if absent else None
    return shown


def _line(one: TableFigures) -> tuple[object, ...]:
    if not one.present:
        return (one.table, "absent", "-", "-", "-", "-", "-", "-", "-")
    known, gap = one.lateness, one.silence
    return (
        one.table,
        one.rows,
        f"{one.first_at:%Y-%m-%d}" if one.first_at else "-",
        f"{one.last_at:%Y-%m-%d}" if one.last_at else "-",
        span(one.silent_s) + (" (stale)" if one.fresh is False else ""),
        share(known.late_share) if known else "-",
        share(known.out_of_order_share) if known else "-",
        f"{span(gap.longest_s)} from {gap.began_at:%Y-%m-%d}" if gap else "-",
        span(gap.usual_s) if gap else "-",
    )


def _quality(done: Audit) -> Shown:
    columns = ("table", "breaks contract", "duplicates", "key conflicts", "why", "columns with nulls")
    rows = [
        (one.table, share(one.bad_share), one.duplicates, one.conflicts, _why(one), ", ".join(_nulls(one)))
        for one in done.tables
        if one.present
    ]
    return table("contracts", columns, rows)


def _why(one: TableFigures) -> str:
    now = unused(dict(list(one.reasons.items())[:4]))
    before = f"quarantined at landing: {unused(one.refused_before)}" if one.refused_before else ""
    return "; ".join(filter(None, (now, before))) or "-"


def _nulls(one: TableFigures) -> Iterator[str]:
    empty = [name for name, value in one.null_share.items() if value == 1.0]
    part = sorted(((v, n) for n, v in one.null_share.items() if 0.0 < v < 1.0), reverse=True)
    yield from (f"{name} {share(value)}" for value, name in part[:5])
    if empty:
        yield f"{len(empty)} never filled"


def _coverage(done: Audit) -> Shown | None:
    rows = [
        (one.feed, share(one.share) if one.present else "absent", span(one.limit_s)) for one in done.coverage
    ]
    title = f"{done.outcomes.reached:,} stops with a fresh row when the drive to them began"
    return table(title, ("feed", "share of stops", "fresh within"), rows) if done.outcomes.reached else None


def _skews(done: Audit) -> Shown | None:
    rows = [(one.feed, f"{one.ahead_s:+,.1f} s", one.how, one.rows) for one in done.skews]
    return (
        table("clocks beside the stop events'", ("feed", "ahead by", "seen", "rows"), rows) if rows else None
    )


def _leaks(done: Audit) -> Shown | None:
    """The columns that are named, and the nearest of the others."""
    if not done.leaks:
        return None
    columns = ("undeclared column", "filled", "error, min", "with it", "cut", "AUC", "within", "leak")
    rows = [
        (
            one.column,
            share(one.filled_share),
            one.before_min,
            one.with_min,
            f"{one.error_cut:.1%}" if one.error_cut is not None else "-",
            one.auc,
            ", ".join(one.within) or "-",
            f"LEAK: {one.sign}" if one.is_leak else str(one.sign),
        )
        for one in done.leaks[:_LEAKS_TOLD]
    ]
    return table("raw columns without a declared known-at time", columns, rows)
