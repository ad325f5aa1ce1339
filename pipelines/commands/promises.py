"""``punctual promises``: the dial between narrow windows and customers left late."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from data_contracts.errors import SourceError, WorkspaceError
from pipelines.commands.options import JsonOption

app = typer.Typer(help="Promise windows: what width costs, and what it saves.", no_args_is_help=True)


@app.command("curve")
def curve(
    backtest: Annotated[Path, typer.Argument(help="JSON of `punctual backtest --json`.")],
    late_limit: Annotated[
        float | None, typer.Option(help="Largest share of customers left late, between 0 and 0.5.")
    ] = None,
    cost_ratio: Annotated[
        float | None, typer.Option(help="What a late minute costs, in minutes of window; over 2.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Width of windows against the share left late, as a backtest measured it, and what a setting would give."""
    from dataclasses import asdict

    from pipelines.terminal import as_json, console, table
    from serving.decisions.promise_dial import as_measured, as_stated
    from serving.decisions.promises import PromisePolicy

    points = _curve(backtest)
    try:
        tails = PromisePolicy(late_limit=late_limit, cost_ratio=cost_ratio).tails(0.8)
    except ValueError as error:
        raise WorkspaceError(str(error), next_step="give --late-limit or --cost-ratio") from None
    readings = {} if tails is None else {"stated": as_stated(points, tails[1])}
    if tails is not None:
        readings["to reach it"] = as_measured(points, tails[1])
    if json:
        told = {name: None if each is None else asdict(each) for name, each in readings.items()}
        print(as_json({"curve": points, "readings": told}))
        return
    columns = ("coverage", "width_min", "share_late", "share_early")
    console.print(table(f"promises of {backtest.name}", columns, [[p[c] for c in columns] for p in points]))
    for name, each in readings.items():
        text = "beyond what the backtest measured"
        if each is not None:
            text = (
                f"late_limit = {each.late_limit:.3f}: windows of {each.width_min:.1f} min, "
                f"{each.measured:.1%} late, {each.share_early:.1%} early"
            )
        console.print(f"{name}: {text}", highlight=False)
    if readings:
        console.print(
            "set it in punctual.toml: [serving.promises] late_limit = ...", highlight=False, markup=False
        )


def _curve(path: Path) -> list[dict[str, Any]]:
    import orjson

    try:
        figures = orjson.loads(path.read_bytes())
        points: list[dict[str, Any]] = figures["curves"]["promise"]
    except FileNotFoundError:
        raise SourceError("there is no such file", where=str(path), next_step="run a backtest") from None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise SourceError(
            "this has no curve of promises",
            where=str(path),
            next_step="write it with `punctual backtest ... --json`",
        ) from None
    return points
