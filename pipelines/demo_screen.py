"""How the demo looks: steps, a live table of stops, and a summary."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import structlog
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipelines import demo, demo_subscribers
from pipelines.replay import Pace
from pipelines.terminal import WIDTH_WITHOUT_TERMINAL, console, remarks, steps, table, write_json
from pipelines.train import Trained
from training.registry import Registry
from training.report import write_report

PREPARATION_STEPS = 18
INCIDENT_COLUMNS = ("incident", "open", "severity", "stops", "routes", "evidence")
#: Incidents that the table shows, those that struck the most stops first.
SHOWN_INCIDENTS = 6
COLUMNS = ("stop", "promised", "forecast 80 %", "late", "main reason", "alert")
#: Without a terminal the table is printed each time this much of the day has passed.
PRINTED_TIMES = 4
#: Log time between two rounds of scoring.
TICK = timedelta(seconds=120)


def show_demo(root: Path, *, seed: int, days: int, keep: bool) -> None:
    """Run the demo and print what it finds."""
    _only_warnings()
    workspace, scenario = demo.default_workspace(root), demo.Scenario(seed=seed, days=days)
    with steps("preparing the reference city", PREPARATION_STEPS) as tell:
        trained, day, tables = demo.prepare(workspace, scenario, tell)
    zone = ZoneInfo(tables["routes"]["timezone"][0].as_py())
    remarks.print("starting the service ...", highlight=False)
    with demo.live_service(workspace) as client, demo_subscribers.subscribed(client) as subscribers:
        console.print(
            f"Replaying {day:%A %d %B %Y}, which the model has never seen, against {client.base_url}"
        )
        console.print(f"Ops room      {client.base_url}/ops", soft_wrap=True)
        try:
            shown = _replay(client, tables, zone, keep)
        except KeyboardInterrupt:
            console.print("stopped")
            return
        summary = demo.summarize(client, tables, scenario.seed)
        report = workspace.reports / "demo.json"
        write_json(report, {"day": str(day), "served": summary, "held_out": trained.figures})
        write_report(workspace.reports / "held_out_days.html", "Held-out days of the demo", trained.figures)
        whole, incidents = _summary_table(summary, trained), demo.incident_rows(client, zone)
        listed, proposed = incidents_table(incidents), proposals(incidents, shown.proposed)
        console.print(whole)
        console.print(listed)
        console.print(proposed, soft_wrap=True, highlight=False)
        console.print(f"Webhooks      {_webhooks(client, subscribers, incidents)}", soft_wrap=True)
        _write_text(workspace.reports / "demo.txt", [*shown.tables[-2:-1], whole, listed, proposed])
        console.print(f"MLflow runs   {Registry(workspace).uri}", soft_wrap=True)
        console.print(f"reports       {report.parent}", soft_wrap=True)
        if keep:
            _keep(client)


def _webhooks(
    client: httpx.Client,
    subscribers: Sequence[demo_subscribers.Subscriber],
    incidents: Sequence[demo.IncidentRow],
) -> str:
    """What subscribers were sent about the first incident, and in all."""
    counts = demo_subscribers.settled(client)
    first = incidents[0] if incidents else None
    incident_id, what = (first.incident_id, first.cause) if first else (None, "")
    return demo_subscribers.told(subscribers, incident_id, what, counts)


def _only_warnings() -> None:
    """The service's own log goes to its file; of this process only warnings are worth a line."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


@dataclass(slots=True)
class Shown:
    """What was shown while the day went by: live tables, and by incident what was last proposed and when."""

    tables: list[Table] = field(default_factory=list)
    proposed: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)


def _replay(client: httpx.Client, tables: demo.Tables, zone: ZoneInfo, keep: bool) -> Shown:
    """Replay the day; give what its quarters showed. One that is kept can be watched from noon on."""
    seen = Shown()
    with Live(console=console, refresh_per_second=4, transient=True) as live:

        def show(done: int, total: int, at: datetime) -> None:
            worth_keeping = done * (PRINTED_TIMES + 1) >= (len(seen.tables) + 1) * total
            if not console.is_terminal and not worth_keeping:
                return
            rows = demo.live_rows(client, zone)
            if not rows:
                return
            clock = f"{at.astimezone(zone):%H:%M}"
            shown = stops_table(f"{clock} · {done:,} of {total:,} events", rows)
            for incident in demo.incident_rows(client, zone):
                if incident.actions:
                    seen.proposed[incident.incident_id] = clock, incident.actions
            if worth_keeping:
                seen.tables.append(shown)
            if console.is_terminal:
                live.update(shown)
            else:
                console.print(shown)

        def live_from(at: datetime) -> None:
            console.print(
                f"It is {at.astimezone(zone):%H:%M}. The day goes on at {demo.LIVE_SPEED:.0f} times its pace; "
                f"watch it in the ops room: {client.base_url}/ops (Ctrl-C ends it).",
                soft_wrap=True,
            )

        demo.replay_day(client, tables, Pace(tick=TICK), show, live_from if keep else None)
    return seen


def _write_text(path: Path, parts: Sequence[Table | str]) -> None:
    """What was shown, as text."""
    page = Console(file=StringIO(), width=WIDTH_WITHOUT_TERMINAL)
    for part in parts:
        page.print(part, soft_wrap=isinstance(part, str), highlight=False)
    lines = page.file.getvalue().splitlines()  # type: ignore[attr-defined]
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


def stops_table(title: str, rows: Sequence[demo.StopRow]) -> Table:
    """The live table."""
    shown = Table(title=title, title_justify="left")
    for column in COLUMNS:
        shown.add_column(column, justify="right" if column == "late" else "left", no_wrap=True)
    for row in rows:
        late = "-" if row.late_probability is None else f"{row.late_probability:.0%}"
        style = "bold red" if row.alert else None
        shown.add_row(row.stop_id, row.promised, row.forecast, late, row.reason, row.alert, style=style)
    return shown


def incidents_table(rows: Sequence[demo.IncidentRow]) -> Table:
    """What happened, one line for each cause."""
    shown = Table(title=f"Incidents told: {len(rows)}", title_justify="left")
    for column in INCIDENT_COLUMNS:
        is_count = column in ("stops", "routes")
        shown.add_column(column, justify="right" if is_count else "left", no_wrap=column != "evidence")
    for row in rows[:SHOWN_INCIDENTS]:
        counts = f"{row.stops:,}", f"{row.routes:,}"
        shown.add_row(row.cause, row.span, row.severity, *counts, row.evidence)
    return shown


def proposals(rows: Sequence[demo.IncidentRow], proposed: Mapping[str, tuple[str, tuple[str, ...]]]) -> str:
    """What was proposed about the first incident while there was still something to do."""
    if not rows or rows[0].incident_id not in proposed:
        return "Nothing was proposed about the first incident."
    clock, actions = proposed[rows[0].incident_id]
    return "\n".join([f"Proposed at {clock} about {rows[0].cause}:", *(f"  {action}" for action in actions)])


def _summary_table(summary: Mapping[str, Any], trained: Trained) -> Table:
    alerts, held_out = summary["alerts"], trained.figures
    lead = alerts["median_lead_min"]
    rows = [
        ("served forecasts", summary["n"]),
        ("MAE, min", summary["mae_min"]),
        ("coverage of the 80 % window", summary["coverage_80"]),
        ("width of the 80 % window, min", summary["width_80_min"]),
        ("stops late / all", f"{alerts['late']} / {alerts['stops']}"),
        ("alerts raised / true", f"{alerts['raised']} / {alerts['true']}"),
        ("median lead of true alerts, min", lead),
        ("MAE on held-out days, min (plan)", f"{held_out['mae_min']:.2f} ({_plan_mae(held_out)})"),
        ("model", f"version {trained.version.version}, {'champion' if trained.promoted else 'not promoted'}"),
    ]
    return table("The replayed day", ("what", "value"), rows)


def _plan_mae(figures: Mapping[str, Any]) -> str:
    plan = figures["baselines"]["plan"]
    return f"{plan['mae_min']:.2f}" if plan else "-"


def _keep(client: httpx.Client) -> None:
    console.print(
        f"The service runs on {client.base_url} (ops room: /ops, API: /docs). Ctrl-C ends it.", soft_wrap=True
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        stop.wait()
    except KeyboardInterrupt:
        console.print("stopped")
