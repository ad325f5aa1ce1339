"""``punctual keys``: the API keys of a workspace. A running service sees a change with its next request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from data_contracts.errors import WorkspaceError
from data_contracts.workspace import Workspace
from pipelines.commands.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption

app = typer.Typer(help="API keys of a workspace: create, list, rotate, revoke.", no_args_is_help=True)

WhichArgument = Annotated[str, typer.Argument(help="Id or name of a key.")]
HOUR_US = 3_600_000_000


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who will hold it; shown in lists and logs.")],
    scope: Annotated[list[str], typer.Option(help="read, ingest, operate or admin; may be repeated.")],
    expires_days: Annotated[float | None, typer.Option(min=0, help="Opens no longer than that.")] = None,
    requests_per_s: Annotated[
        float | None, typer.Option(min=0, help="Rate of its own; else the workspace's.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Make a key and print it once: only its hash is kept."""
    from serving.http.key_file import KeyFile
    from serving.http.keys import Scope
    from serving.times import wall_now_us

    if unknown := sorted(set(scope) - set(Scope)):
        raise WorkspaceError(f"{unknown[0]!r} is no scope", next_step=f"give some of {', '.join(Scope)}")
    now_us = wall_now_us()
    key, text = KeyFile(Workspace(workspace).keys).create(
        name,
        frozenset(Scope(each) for each in scope),
        now_us,
        expires_us=None if expires_days is None else now_us + int(expires_days * 24 * HOUR_US),
        requests_per_s=requests_per_s,
    )
    _show_once(_row(key, now_us), text, json)


@app.command("list")
def list_(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Every key ever made: what it may do, and whether it still opens."""
    from pipelines.terminal import as_json, console, table
    from serving.http.key_file import KeyFile
    from serving.times import wall_now_us

    now_us = wall_now_us()
    rows = [_row(key, now_us) for key in KeyFile(Workspace(workspace).keys).everything()]
    if json:
        print(as_json(rows))
        return
    columns = ("key_id", "name", "scopes", "state", "created_at", "expires_at")
    cells = [tuple(", ".join(row[c]) if c == "scopes" else row[c] for c in columns) for row in rows]
    console.print(table(f"keys of {workspace}", columns, cells))


@app.command("rotate")
def rotate(
    which: WhichArgument,
    grace_hours: Annotated[float, typer.Option(min=0, help="How long the last secret still opens.")] = 24.0,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Give a key another secret, printed once; the last one opens until the time to change over has passed."""
    from serving.http.key_file import KeyFile
    from serving.times import wall_now_us

    now_us = wall_now_us()
    key, text = KeyFile(Workspace(workspace).keys).rotate(which, now_us, int(grace_hours * HOUR_US))
    _show_once(_row(key, now_us), text, json)


@app.command("revoke")
def revoke(
    which: WhichArgument, workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False
) -> None:
    """End a key at once."""
    from pipelines.terminal import as_json, console
    from serving.http.key_file import KeyFile
    from serving.times import wall_now_us

    now_us = wall_now_us()
    row = _row(KeyFile(Workspace(workspace).keys).revoke(which, now_us), now_us)
    if json:
        print(as_json(row))
    else:
        console.print(f"key {row['key_id']} ({row['name']}) opens nothing any more", highlight=False)


def _show_once(row: Mapping[str, Any], text: str, json: bool) -> None:
    from pipelines.terminal import as_json, remarks

    if json:
        print(as_json({**row, "key": text}))
        return
    scopes = ", ".join(row["scopes"])
    remarks.print(f"key {row['key_id']} ({row['name']}: {scopes}); it is shown this once:", highlight=False)
    print(text)


def _row(key: Any, now_us: int) -> dict[str, Any]:
    from serving.times import to_rfc3339, to_rfc3339_or_none

    return {
        "key_id": key.key_id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "state": _state(key, now_us),
        "created_at": to_rfc3339(key.created_us),
        "expires_at": to_rfc3339_or_none(key.expires_us),
        "revoked_at": to_rfc3339_or_none(key.revoked_us),
        "requests_per_s": key.requests_per_s,
    }


def _state(key: Any, now_us: int) -> str:
    if key.is_active(now_us):
        return "active"
    return "expired" if key.revoked_us is None else "revoked"
