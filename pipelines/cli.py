"""The ``punctual`` command. Heavy libraries are imported by the command that needs them, so that help is instant."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from data_contracts import __version__
from data_contracts.errors import PunctualError
from data_contracts.switches import OFF_SWITCHES
from data_contracts.workspace import Workspace

app = typer.Typer(
    name="punctual",
    help="Delivery-window prediction and disruption alerting for last-mile fleets.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
features_app = typer.Typer(
    help="Feature versions, their registry and the online store.", no_args_is_help=True
)
app.add_typer(features_app, name="features")

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="PUNCTUAL_WORKSPACE", help="Folder of one tenant's files.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT_WORKSPACE = Path("workspace")


def main() -> None:
    """Run the command; what Punctual raises on purpose ends in one message and its exit code."""
    os.environ.update({name: value for name, value in OFF_SWITCHES.items() if name not in os.environ})
    try:
        app()
    except PunctualError as error:
        print(f"punctual: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("punctual: stopped", file=sys.stderr)
        sys.exit(130)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"punctual {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the service running until Ctrl-C.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the simulated city.")] = 403,
    days: Annotated[int, typer.Option(min=8, help="Days of history before the replayed day.")] = 14,
) -> None:
    """The whole chain on a simulated city: history, model, service, and an unseen day replayed against it."""
    from pipelines.demo_screen import show_demo

    show_demo(workspace, seed=seed, days=days, keep=keep)


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to write <table>/<day>.parquet into.")],
    size: Annotated[str, typer.Option(help="small, demo, reference or metro.")] = "demo",
    seed: Annotated[int, typer.Option(help="Same seed, same content.")] = 403,
    first_day: Annotated[str, typer.Option(help="First service day, YYYY-MM-DD.")] = "2026-01-05",
    days: Annotated[int, typer.Option(min=1, help="How many days.")] = 7,
) -> None:
    """Write days of the reference city as canonical tables."""
    from pipelines.sources import simulated
    from pipelines.terminal import console, steps

    with steps("simulating", days) as tell:
        start = _day(first_day)
        rows = simulated.write(
            out, size, seed, start, days, lambda done, total: tell(f"day {done} of {total}")
        )
    console.print(f"{rows:,} rows of {days} days in {out}")


@app.command()
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


@app.command()
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


@features_app.command("build")
def features_build(workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Make every version of every view from the landed history and register the views with Feast."""
    from pipelines.history import build_features, landed_history, write_state
    from pipelines.terminal import console, steps

    place = Workspace(workspace)
    with steps("building features", 5) as tell:
        tell("reading landed rows")
        ordered = landed_history(place)
        features = build_features(place, ordered, tell)
        write_state(place, features, ordered)
    count = sum(len(rows) for rows in features.latest.values())
    console.print(f"feature versions in {place.features}; {count:,} entities have one")


@features_app.command("materialize")
def features_materialize(workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Publish the last version of every entity to the online store."""
    from pipelines.history import landed_history, materialize
    from pipelines.terminal import console, steps

    place = Workspace(workspace)
    with steps("materializing", 1) as tell:
        tell("materializing")
        until = materialize(place, landed_history(place))
    console.print(f"online store {place.online} holds what was known by {until:%Y-%m-%d %H:%M:%S} UTC")


@features_app.command("parity")
def features_parity(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Retrieve every vector that the engine logged again from landed rows; exit 1 unless all are the same."""
    from pipelines.parity import parity
    from pipelines.terminal import as_json, console, steps, table

    with steps("parity", 7) as tell:
        found = parity(Workspace(workspace), tell)
    if json:
        print(as_json(found.as_json()))
    else:
        columns = ("feature", "vectors", "first stop", "as of us", "logged", "retrieved")
        rows = [
            (d.feature, d.vectors, d.stop_id, d.as_of_us, d.logged, d.retrieved) for d in found.differences
        ]
        if rows:
            console.print(table("differences", columns, rows))
        console.print(
            f"{found.identical:,} of {found.vectors:,} vectors at {found.instants:,} instants "
            f"are identical ({found.share:.2%}); {found.absent:,} could not be retrieved"
        )
    if not found.is_identical:
        raise typer.Exit(1)


@features_app.command("list")
def features_list(json: JsonOption = False) -> None:
    """Every feature of a vector: unit, bounds and meaning."""
    from features.moment import FEATURES
    from pipelines.terminal import as_json, console, table

    columns = ("feature", "unit", "low", "high", "meaning")
    rows = [(f.name, f.unit, f.low, f.high, f.meaning) for f in FEATURES]
    if json:
        print(as_json([dict(zip(columns, row, strict=True)) for row in rows]))
    else:
        console.print(table("features", columns, rows))


@features_app.command("show")
def features_show(
    name: Annotated[str, typer.Argument(help="A feature or a view.")], json: JsonOption = False
) -> None:
    """One feature or view: what it means and what it is made of."""
    from pipelines.catalogue import describe
    from pipelines.terminal import as_json, console, table

    found = describe(name)
    if json:
        print(as_json(found))
    else:
        console.print(table(name, ("what", "value"), list(found.items())))


@app.command()
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


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="A registered version.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Make a registered version the champion; what serves swaps to it by itself."""
    from pipelines.terminal import console
    from training.registry import Registry

    Registry(Workspace(workspace)).promote(version)
    console.print(f"version {version} is the champion")


@app.command()
def rollback(workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Make the champion before this one the champion again."""
    from pipelines.terminal import console
    from training.registry import Registry

    console.print(f"version {Registry(Workspace(workspace)).rollback()} is the champion again")


@app.command()
def models(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Registered versions and their aliases."""
    from pipelines.terminal import as_json, console, table
    from training.registry import Registry

    found = [(v.version, ", ".join(v.aliases), v.run_id) for v in Registry(Workspace(workspace)).versions()]
    if json:
        print(as_json([dict(zip(("version", "aliases", "run_id"), row, strict=True)) for row in found]))
    else:
        console.print(table("registered versions", ("version", "aliases", "run"), found))


@app.command()
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
) -> None:
    """Train on some files, judge on others, by the evaluation contract."""
    from pipelines.backtest import backtest as run
    from pipelines.sources.registry import source as adapter
    from pipelines.terminal import console, steps, write_json
    from training.report import write_report

    with steps(f"backtest {source}", 13) as tell:
        done = run(adapter(source), train, test, weather=weather, folder=folder, say=tell)
    console.print(figures_table(f"{source}: {done.figures['n']:,} forecasts", done.figures))
    if json:
        write_json(json, done.figures)
        console.print(f"every figure: {json}")
    if report:
        write_report(report, f"Backtest of {source}", done.figures)
        console.print(f"with plots:   {report}")


def figures_table(title: str, figures: Mapping[str, Any]) -> Any:
    """The figures of a backtest beside their baselines."""
    from pipelines.terminal import table

    names = ("mae_min", "rmse_min", "pinball_min", "coverage_80", "width_80_min", "interval_score_80")
    lines = {"Punctual": figures, "with online calibration": figures["live"]}
    lines |= {name: figures["baselines"][name] or {} for name in ("plan", "lookup", "lightgbm_plain")}
    rows = [(who, *(line.get(name) for name in names)) for who, line in lines.items()]
    return table(title, ("forecast", *names), rows)


@app.command()
def serve(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
) -> None:
    """Serve a workspace: one engine and the HTTP API, until stopped."""
    from serving.engine_process import configure_logging
    from serving.supervisor import serve as run

    configure_logging()
    run(Workspace(workspace), host, port)


@app.command()
def replay(
    source: Annotated[str, typer.Argument(help="Name of the adapter.")],
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or globs.")],
    url: Annotated[str, typer.Option(help="Base URL of the service.")] = "http://127.0.0.1:3000",
    speed: Annotated[
        float | None, typer.Option(help="Log seconds a second; as fast as it goes if left out.")
    ] = None,
    tick_s: Annotated[float, typer.Option(min=1, help="Seconds of log time between ticks.")] = 60.0,
) -> None:
    """Drive a running service (with ``clock = "log"``) with recorded or simulated events."""
    from datetime import timedelta

    import httpx

    from pipelines.replay import Pace, Replay, timeline
    from pipelines.sources.registry import source as adapter
    from pipelines.terminal import console, steps

    pace = Pace(speed=speed, tick=timedelta(seconds=tick_s))
    events = timeline(adapter(source).load(paths, None).tables, pace.tick)
    with steps("replaying", len(events)) as tell, httpx.Client(base_url=url, timeout=30.0) as client:
        counts = Replay(client, pace, lambda done, at: tell.of(done, len(events), f"{at:%m-%d %H:%M}")).run(
            events
        )
    console.print(
        f"{len(events):,} events: " + ", ".join(f"{count:,} {name}" for name, count in counts.items())
    )


@app.command()
def config(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Settings in force for a workspace, defaults included."""
    from dataclasses import asdict

    from pipelines.terminal import as_json, console, table
    from serving.settings import load_settings

    settings = asdict(load_settings(Workspace(workspace)))
    if json:
        print(as_json(settings))
    else:
        console.print(
            table(f"[serving] of {workspace}", ("setting", "value"), sorted(_dotted(settings).items()))
        )


def _dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= (
            _dotted(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
        )
    return flat


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a day; write it as YYYY-MM-DD") from error


if __name__ == "__main__":
    main()
