"""Commands of the feature platform."""

from __future__ import annotations

from typing import Annotated

import typer

from data_contracts.workspace import Workspace
from pipelines.commands.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption

app = typer.Typer(help="Feature versions, their registry and the online store.", no_args_is_help=True)


@app.command("build")
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


@app.command("materialize")
def features_materialize(workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Publish the last version of every entity to the online store."""
    from pipelines.history import landed_history, materialize
    from pipelines.terminal import console, steps

    place = Workspace(workspace)
    with steps("materializing", 1) as tell:
        tell("materializing")
        until = materialize(place, landed_history(place))
    console.print(f"online store {place.online} holds what was known by {until:%Y-%m-%d %H:%M:%S} UTC")


@app.command("parity")
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


@app.command("list")
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


@app.command("show")
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
