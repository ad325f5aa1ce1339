"""Commands that bring data in and say what it carries."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from data_contracts.workspace import Workspace
from pipelines.commands.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to write <table>/<day>.parquet into.")],
    size: Annotated[str, typer.Option(help="small, demo, reference, metro or a perturbed city.")] = "demo",
    seed: Annotated[int, typer.Option(help="Same seed, same content.")] = 403,
    first_day: Annotated[str, typer.Option(help="First service day, YYYY-MM-DD.")] = "2026-01-05",
    days: Annotated[int, typer.Option(min=1, help="How many days.")] = 7,
    truth: Annotated[
        Path | None,
        typer.Option(help="Folder for what a judge may see: truth, costs of disruptions, oracle."),
    ] = None,
    rollouts: Annotated[int, typer.Option(min=50, help="Futures that the oracle looks at.")] = 400,
) -> None:
    """Write days of the reference city as canonical tables."""
    from pipelines.sources import simulated
    from pipelines.terminal import console, steps

    with steps("simulating", days + (truth is not None)) as tell:
        start = _day(first_day)
        rows = simulated.write(
            out, size, seed, start, days, lambda done, total: tell(f"day {done} of {total}")
        )
        if truth is not None:
            tell("truth and oracle")
            simulated.write_truth(truth, size, seed, start, days, rollouts)
    console.print(f"{rows:,} rows of {days} days in {out}")


def ingest(
    source: Annotated[str, typer.Argument(help="Name of the adapter.")],
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or globs.")],
    batch: Annotated[str, typer.Option(help="Name of the batch; landing it again replaces it.")] = "history",
    weather: Annotated[Path | None, typer.Option(help="Weather file or folder.")] = None,
    data_docs: Annotated[
        bool, typer.Option("--data-docs", help="Write Great Expectations' pages of the rows as they came in.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Land a source in a workspace: good rows, and the refused ones with their reasons."""
    from pipelines.land import land
    from pipelines.sources.registry import source as adapter
    from pipelines.terminal import as_json, console, steps, table

    with steps(f"landing {source}", 2) as tell:
        tell("reading")
        loaded = adapter(source).load(paths, weather)
        tell("checking contracts")
        report = land(Workspace(workspace), loaded.tables, batch, data_docs=data_docs)
    if json:
        print(as_json(report.as_json() | {"excluded": dict(loaded.excluded)}))
        return
    rows = [
        (t.table, t.rows, t.good, t.late, t.bad, t.duplicates, _reasons(t.reasons)) for t in report.tables
    ]
    columns = ("table", "rows", "landed", "of them late", "quarantined", "duplicates", "why")
    console.print(table(f"batch {batch} in {workspace}", columns, rows))
    if report.data_docs:
        console.print(f"data docs: {report.data_docs}")


def _reasons(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in sorted(reasons.items(), key=lambda r: -r[1])[:4])


def audit(
    path: Annotated[
        Path | None, typer.Argument(help="A source's folder or a workspace; --workspace if left out.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Name of the adapter or feed, where the files do not tell.")
    ] = None,
    weather: Annotated[Path | None, typer.Option(help="Weather file or folder.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write every figure to this file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report with plots to this file.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """What data can carry: figures, label leaks, a verdict a capability; exit 1 if no forecast."""
    from pipelines.audit.report import write_report
    from pipelines.audit.run import audit as run
    from pipelines.audit.screen import show
    from pipelines.terminal import console, steps, write_json

    with steps("audit", 20) as tell:
        done = run(path or workspace, source, weather, tell)
    show(done)
    if json:
        write_json(json, done.as_json())
        console.print(f"every figure: {json}")
    if report:
        write_report(report, done)
        console.print(f"with plots:   {report}")
    if not done.carries_a_forecast:
        raise typer.Exit(1)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a day; write it as YYYY-MM-DD") from error
