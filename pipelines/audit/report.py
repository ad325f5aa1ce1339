"""An audit as one HTML file with its plots inside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.audit.found import unused
from pipelines.audit.leaks import ERROR_CUT, Judged
from pipelines.audit.run import Audit, remarks, span
from pipelines.audit.screen import share
from training.page import grow, page, plot, write_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS_SHOWN = 40


def write_report(path: Path, done: Audit) -> None:
    """Write the report whole or not at all."""
    write_page(path, report(done))


def report(done: Audit) -> str:
    """The report's HTML; it refers to nothing outside itself."""
    title = f"Audit of {done.path.name or done.path}"
    parts = [
        f"<h1>{escape(title)}</h1><p>{escape(done.summary)}</p>",
        _table("Verdicts", ("capability", "verdict", "reason"), _verdicts(done)),
        "<ul>" + "".join(f"<li>{escape(remark)}</li>" for remark in remarks(done)) + "</ul>",
        _table("Tables", _TABLE_COLUMNS, [_line(done, place) for place in range(len(done.tables))]),
        plot("Rows per day", lambda axes: _days(axes, done)),
    ]
    if done.outcomes.counts:
        parts.append(plot(f"Arrivals after {done.outcomes.against}", lambda axes: _lateness(axes, done)))
    parts += [
        plot("Null and impossible shares", lambda axes: _shares(axes, done)),
        plot("Stops with a fresh row of each feed", lambda axes: _coverage(axes, done)),
    ]
    if done.leaks:
        columns = ("undeclared column", "filled", "error cut", "AUC", "within", "sign")
        parts += [
            _table("Label leaks", columns, list(map(_leak, done.leaks))),
            plot("What an undeclared column cuts off the error", lambda axes: _cuts(axes, done)),
        ]
    return page(title, parts)


_TABLE_COLUMNS = (
    "table",
    "rows",
    "first",
    "last",
    "silent at end",
    "late",
    "out of order",
    "longest silence",
    "usual",
    "duplicates",
    "breaks contract",
)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<h2>{escape(title)}</h2><table><tr>{head}</tr>{body}</table>"


def _verdicts(done: Audit) -> list[tuple[str, str, str]]:
    return [(one.capability, str(one.answer), one.reason) for one in done.verdicts]


def _line(done: Audit, place: int) -> tuple[str, ...]:
    one = done.tables[place]
    if not one.present:
        return (one.table, "absent", *("-",) * (len(_TABLE_COLUMNS) - 2))
    known, gap = one.lateness, one.silence
    return (
        one.table,
        f"{one.rows:,}",
        f"{one.first_at:%Y-%m-%d}" if one.first_at else "-",
        f"{one.last_at:%Y-%m-%d}" if one.last_at else "-",
        span(one.silent_s),
        share(known.late_share) if known else "-",
        share(known.out_of_order_share) if known else "-",
        f"{span(gap.longest_s)} from {gap.began_at:%Y-%m-%d}" if gap else "-",
        span(gap.usual_s) if gap else "-",
        f"{one.duplicates:,}",
        f"{share(one.bad_share)} {unused(one.reasons)}",
    )


def _leak(one: Judged) -> tuple[str, ...]:
    cut = f"{one.error_cut:.1%}" if one.error_cut is not None else "-"
    auc = f"{one.auc:.3f}" if one.auc is not None else "-"
    within = ", ".join(one.within) or "-"
    return (
        one.column,
        share(one.filled_share),
        cut,
        auc,
        within,
        f"LEAK: {one.sign}" if one.is_leak else str(one.sign),
    )


def _days(axes: Axes, done: Audit) -> None:
    for one in done.tables:
        if one.rows_a_day:
            days = [date.fromisoformat(day) for day in one.rows_a_day]
            axes.plot(days, list(one.rows_a_day.values()), ".", markersize=3, label=one.table)  # type: ignore[arg-type]
    axes.set(ylabel="rows", yscale="log")
    if axes.lines:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    axes.tick_params(axis="x", rotation=30)


def _lateness(axes: Axes, done: Audit) -> None:
    edges, counts = done.outcomes.edges_min, done.outcomes.counts
    axes.stairs(counts, edges, fill=True)
    if done.outcomes.late_share is not None:
        axes.axvline(0, color="0.3", linewidth=1)
    axes.set(xlabel=f"minutes after {done.outcomes.against}", ylabel="stops")


def _shares(axes: Axes, done: Audit) -> None:
    """Columns that are filled in part, and those with values that cannot be true."""
    null = {
        f"{one.table}.{name}": v for one in done.tables for name, v in one.null_share.items() if 0 < v < 1
    }
    wrong = {f"{one.table}.{name}": v for one in done.tables for name, v in one.out_of_range_share.items()}
    names = sorted({*null, *wrong}, key=lambda name: -max(null.get(name, 0), wrong.get(name, 0)))[
        :_COLUMNS_SHOWN
    ]
    axes.barh(names, [null.get(name, 0.0) for name in names], label="null")
    axes.barh(names, [wrong.get(name, 0.0) for name in names], label="impossible", height=0.4)
    axes.set(xlabel="share of rows; columns that are always or never filled are left out", xlim=(0, 1))
    grow(axes, len(names))
    axes.legend()


def _coverage(axes: Axes, done: Audit) -> None:
    names = [one.feed + ("" if one.present else " (absent)") for one in done.coverage]
    axes.barh(names, [one.share for one in done.coverage])
    axes.set(xlabel="share of stops", xlim=(0, 1))
    grow(axes, len(names))


def _cuts(axes: Axes, done: Audit) -> None:
    judged = [one for one in done.leaks or () if one.error_cut is not None][::-1]
    colours = ["tab:red" if one.is_leak else "tab:blue" for one in judged]
    axes.barh([one.column for one in judged], [one.error_cut or 0.0 for one in judged], color=colours)
    axes.axvline(ERROR_CUT, color="0.3", linewidth=1)
    axes.set(xlabel="share of the error that it takes away; red is named as a leak")
    grow(axes, len(judged))
