"""Commands that keep a workspace: ``punctual backup``, ``restore`` and ``compact``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from data_contracts.workspace import Workspace
from pipelines.commands.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; replaced once the new one was checked.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Write a workspace to one file, also while it is served. The file holds secrets of webhooks: keep it safe."""
    from pipelines.terminal import steps
    from serving.upkeep.backup import backup as write

    with steps("backup", 1) as tell:
        tell("copying and checking")
        contents = write(Workspace(workspace), file)
    _tell(f"{file} holds", asdict(contents), json)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `punctual backup` wrote.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Bring a workspace back from a backup, into a folder that is empty or not there."""
    from pipelines.terminal import steps
    from serving.upkeep.backup import restore as read

    with steps("restore", 1) as tell:
        tell("unpacking and checking")
        contents = read(file, Workspace(workspace))
    _tell(f"{workspace} holds", asdict(contents), json)


def compact(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Snapshot the state and drop what is old and applied from the log; `punctual serve` does it by itself."""
    from contextlib import closing

    from serving.engine.seed import open_log
    from serving.settings import load_settings
    from serving.upkeep.compaction import compact as run

    place = Workspace(workspace)
    settings = load_settings(place)
    with closing(open_log(place, settings.clock)) as event_log:
        done = run(place, event_log, settings.retention)
    _tell(f"log of {workspace}", asdict(done), json)


def _tell(title: str, figures: dict[str, Any], json: bool) -> None:
    from pipelines.terminal import as_json, console, table

    if json:
        print(as_json(figures))
    else:
        rows = [(name.replace("_", " "), value) for name, value in figures.items()]
        console.print(table(title, ("what", "value"), rows))
