"""Commands that train, judge, promote and roll back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from data_contracts.workspace import Workspace
from pipelines.commands.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption
from training.published import Protocol


def train(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    held_out_days: Annotated[int, typer.Option(min=1, help="Last days, for the gate alone.")] = 4,
    refresh: Annotated[bool, typer.Option(help="Pass the gate by non-inferiority.")] = False,
    promote: Annotated[bool, typer.Option(help="Hand the challenger over if it passes.")] = True,
    json: JsonOption = False,
) -> None:
    """Train a challenger on the landed history, judge it on the last days, and promote it if it passes."""
    from pipelines.history import landed_history
    from pipelines.terminal import as_json, console, steps
    from pipelines.train import TrainingPlan, train_challenger

    place = Workspace(workspace)
    with steps("training", 8) as tell:
        plan = TrainingPlan(held_out_days=held_out_days, refresh=refresh)
        done = train_challenger(place, landed_history(place), plan=plan, promote=promote, say=tell)
    if json:
        document = {
            "version": done.version.version,
            "promoted": done.promoted,
            "gate": done.comparison.as_json(),
        }
        print(as_json(document | {"figures": done.figures}))
        return
    console.print(figures_table("held-out days", done.figures))
    verdict = f"version {done.version.version}: {done.comparison.verdict.value}"
    console.print(f"{verdict}; {'promoted' if done.promoted else 'not promoted'}")


def promote(
    version: Annotated[str, typer.Argument(help="A registered version.")],
    past_the_gate: Annotated[
        bool, typer.Option("--past-the-gate", help="Promote a version that did not pass.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Make a registered version that passed the gate the champion; what serves swaps to it by itself."""
    from pipelines.terminal import console
    from training.registry import Registry

    Registry(Workspace(workspace)).promote(version, past_the_gate=past_the_gate)
    console.print(f"version {version} is the champion")


def rollback(workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Make the champion before this one the champion again."""
    from pipelines.terminal import console
    from training.registry import Registry

    console.print(f"version {Registry(Workspace(workspace)).rollback()} is the champion again")


def reconcile(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    every: Annotated[
        float | None, typer.Option(min=1, help="Look again every so many seconds, until stopped.")
    ] = None,
) -> None:
    """Serve the version that MLflow's alias ``champion`` names, where somebody moved it there."""
    import time

    from data_contracts.errors import ModelError
    from pipelines.terminal import console, remarks
    from training.registry import Registry

    registry = Registry(Workspace(workspace))
    while True:
        try:
            version = registry.reconcile()
        except ModelError as error:
            if every is None:
                raise
            remarks.print(f"refused: {error}")
        else:
            console.print(f"version {version} is the champion" if version else "nothing to do")
        if every is None:
            return
        time.sleep(every)


def models(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Registered versions and their aliases."""
    from pipelines.terminal import as_json, console, table
    from training.registry import Registry

    versions = Registry(Workspace(workspace)).versions()
    found = [(v.version, ", ".join(v.aliases), v.gate, v.run_id) for v in versions]
    columns = ("version", "aliases", "gate", "run_id")
    if json:
        print(as_json([dict(zip(columns, row, strict=True)) for row in found]))
    else:
        console.print(table("registered versions", columns, found))


def backtest(
    source: Annotated[str, typer.Argument(help="Name of the adapter.")],
    train: Annotated[list[Path], typer.Option(help="Training files, folders or globs; may be repeated.")],
    test: Annotated[list[Path], typer.Option(help="Test files, folders or globs; may be repeated.")],
    weather: Annotated[Path | None, typer.Option(help="Weather file or folder.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write every figure to this file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report with plots to this file.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Build here and keep it: landed rows, quarantine, features.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="What `simulate --truth` wrote of the test: judge beside the oracle.")
    ] = None,
    per_route: Annotated[
        int | None, typer.Option(min=1, help="At most so many instants a route in training.")
    ] = None,
    alerts: Annotated[
        bool, typer.Option("--alerts", help="Replay alerts too: thresholds from validation days.")
    ] = False,
    budget: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="Alerts: the largest share of stops to flag.")
    ] = 0.10,
    precision: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="Alerts: how often they are to be right.")
    ] = 0.80,
) -> None:
    """Train on some files, judge on others, by the evaluation contract."""
    from pipelines.alert_backtest import AlertGoal
    from pipelines.backtest import backtest as run
    from pipelines.judged_reasons import Truth
    from pipelines.sources.registry import source as adapter
    from pipelines.terminal import console, steps, write_json
    from training.report import write_report

    with steps(f"backtest {source}", 16 if alerts else 13) as tell:
        done = run(
            adapter(source),
            train,
            test,
            weather=weather,
            folder=folder,
            truth=None if truth is None else Truth.read(truth),
            per_route=per_route,
            say=tell,
            alerts=AlertGoal(budget=budget, precision=precision) if alerts else None,
        )
    console.print(figures_table(f"{source}: {done.figures['n']:,} forecasts", done.figures))
    if beside := done.figures.get("oracle"):
        console.print(
            f"on the {beside['n']:,} forecasts that the oracle was asked about: pinball "
            f"{beside['ours_pinball_min']:.3f} min against its {beside['pinball_min']:.3f}, ratio {beside['ratio']:.3f}"
        )
    if told := done.figures.get("alerts"):
        console.print(alerts_table(told))
        console.print(told["proposal"]["in_words"])
    if reasons := done.figures.get("reasons"):
        console.print(
            f"reasons of {reasons['n']:,} disrupted stops: {reasons['right']:.1%} right, "
            f"the most frequent cause alone {reasons['majority_class']:.1%}"
        )
    if json:
        write_json(json, done.figures)
        console.print(f"every figure: {json}")
    if report:
        write_report(report, f"Backtest of {source}", done.figures)
        console.print(f"with plots:   {report}")


def lade(
    paths: Annotated[list[Path], typer.Argument(help="One city's file, as it is published.")],
    protocol: Annotated[
        Protocol, typer.Option(help="compat: as published, filtered by the label; honest: nothing filtered.")
    ] = Protocol.HONEST,
    json: Annotated[Path | None, typer.Option(help="Write every figure to this file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report with plots to this file.")] = None,
) -> None:
    """LaDe's arrival-time task on a city's file, split by date, by the published protocol or an honest one."""
    from pipelines.lade import judge_lade
    from pipelines.terminal import console, steps, table, write_json
    from training.report import write_report

    with steps(f"lade, {protocol}", 13) as tell:
        done = judge_lade(paths, protocol, say=tell)
    console.print(figures_table(f"lade: {done.figures['n']:,} forecasts", done.figures))
    console.print(
        table(f"LaDe's figures, {protocol}", ("figure", "value"), list(done.figures["lade"].items()))
    )
    if json:
        write_json(json, done.figures)
        console.print(f"every figure: {json}")
    if report:
        write_report(report, f"LaDe, {protocol}", done.figures)
        console.print(f"with plots:   {report}")


def figures_table(title: str, figures: Mapping[str, Any]) -> Any:
    """The figures of a backtest beside their baselines."""
    from pipelines.terminal import table

    names = ("mae_min", "rmse_min", "pinball_min", "coverage_80", "width_80_min", "interval_score_80")
    lines = {"Punctual": figures, "with online calibration": figures["live"]}
    lines |= {name: figures["baselines"][name] or {} for name in ("plan", "lookup", "lightgbm_plain")}
    rows = [(who, *(line.get(name) for name in names)) for who, line in lines.items()]
    return table(title, ("forecast", *names), rows)


def alerts_table(figures: Mapping[str, Any]) -> Any:
    """What alerts were worth on the test days, beside the lookup under the same rule and a raw threshold."""
    from pipelines.terminal import table

    names = ("budget", "precision", "recall", "median_lead_min", "flap_rate", "raised")
    lines = {"Punctual": figures, "lookup": figures["lookup"], "raw threshold": figures["raw_threshold"]}
    rows = [(who, *(line[name] for name in names)) for who, line in lines.items()]
    opened = ", ".join(f"{budget}: {each['open_at']:g}" for budget, each in figures["proposed"].items())
    return table(f"alerts from {figures['open_at']:g} on (by budget {opened})", ("alerts", *names), rows)
