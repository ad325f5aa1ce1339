"""Commands of the feature platform."""

from __future__ import annotations

from typing import Annotated

import typer

from data_contracts.workspace import Workspace
from pipelines.commands.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption

app = typer.Typer(help="Feature versions, their registry and the online store.", no_args_is_help=True)


@app.command("build")
def features_build(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes that fold parts of the history; cores if left out.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make every version of every view from the landed history and register the views with Feast."""
    from features.vectors import feature_set_hash
    from features.version_files import version_counts
    from pipelines.history import build_features, landed_history, write_state
    from pipelines.terminal import as_json, console, steps, table
    from serving.settings import load_settings

    place = Workspace(workspace)
    with steps("building features", 5) as tell:
        tell("reading landed rows")
        ordered = landed_history(place)
        online = load_settings(place).online_store
        features = build_features(place, ordered, tell, processes=processes, online=online)
        write_state(place, features, ordered)
    rows = [
        (name, count, len(features.latest[name])) for name, count in version_counts(place.features).items()
    ]
    columns = ("view", "versions", "entities")
    if json:
        views = [dict(zip(columns, row, strict=True)) for row in rows]
        events = {name: len(frame) for name, frame in ordered.items()}
        print(as_json({"views": views, "events": events, "feature_set": feature_set_hash()}))
    else:
        console.print(table(f"feature versions in {place.features}", columns, rows))


@app.command("materialize")
def features_materialize(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Publish the last version of every entity to the online store of the workspace's settings."""
    from pipelines.history import landed_history, materialize
    from pipelines.terminal import as_json, console, steps
    from serving.settings import load_settings

    place = Workspace(workspace)
    settings = load_settings(place)
    with steps("materializing", 1) as tell:
        tell("materializing")
        until = materialize(place, landed_history(place), settings.online_store)
    online = settings.shown()["online_store"] or str(place.online)
    if json:
        print(as_json({"online_store": online, "known_until": until.isoformat()}))
    else:
        console.print(f"online store {online} holds what was known by {until:%Y-%m-%d %H:%M:%S} UTC")


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
def features_list(
    views: Annotated[bool, typer.Option("--views", help="The views that have memory instead.")] = False,
    json: JsonOption = False,
) -> None:
    """Every feature of a vector: unit, bounds and meaning; and the hash of the set."""
    from features.vectors import feature_set_hash
    from pipelines.catalogue import listed_features, listed_views
    from pipelines.terminal import as_json, console, table

    found = listed_views() if views else listed_features()
    if json:
        print(as_json(found))
    else:
        rows = [tuple(row.values()) for row in found]
        console.print(table("views" if views else "features", tuple(found[0]), rows))
        console.print(f"feature set {feature_set_hash()}")


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
