"""Commands that look at single forecasts."""

from __future__ import annotations

from typing import Annotated

import typer

from data_contracts.workspace import Workspace
from pipelines.commands.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption


def explain(
    prediction_id: Annotated[str, typer.Argument(help="The prediction_id of a forecast that was served.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Make a served forecast again from what was kept of it; exit code 1 if it does not come out the same."""
    from pipelines.terminal import as_json, console, table
    from serving.engine.explain import explain as made_again

    found = made_again(Workspace(workspace), prediction_id)
    if json:
        print(as_json(found.as_json()))
        raise typer.Exit(0 if found.same else 1)
    forecast = found.forecast
    about = [
        ("stop", forecast["stop_id"]),
        ("as of", forecast["as_of"]),
        ("arrival", forecast["eta"]),
        ("window", f"{forecast['window']['start']} to {forecast['window']['end']}"),
        ("late", forecast["late"]["probability"] if forecast["late"] else "nothing promised"),
        ("model", f"{forecast['model']['name']}, version {forecast['model']['version']}"),
        ("lessons of the live calibration", found.calibration),
        ("code then", found.code_then),
        ("code now", found.code_now),
        ("made again", "the same to the last digit" if found.same else "NOT the same"),
    ]
    console.print(table(prediction_id, ("what", "value"), [(what, str(value)) for what, value in about]))
    rows = [(name, "" if value is None else f"{value:g}") for name, value in found.features.items()]
    console.print(table("what it was made of", ("feature", "value"), rows))
    raise typer.Exit(0 if found.same else 1)
