"""``punctual keys``: a key is shown once, and every change is seen in the list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from data_contracts.errors import WorkspaceError
from data_contracts.workspace import Workspace
from pipelines.commands.keys import app
from serving.http.key_file import KeyRing
from serving.http.keys import Caller
from serving.times import wall_now_us


def keys(workspace: Path, *arguments: str) -> Any:
    done = CliRunner().invoke(
        app, [*arguments, "--json", "--workspace", str(workspace)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def opens(workspace: Path, text: str) -> bool:
    return isinstance(KeyRing(Workspace(workspace).keys, wall_now_us).caller(text), Caller)


def test_a_key_is_made_rotated_and_revoked(tmp_path: Path) -> None:
    made = keys(tmp_path, "create", "dashboard", "--scope", "read", "--scope", "operate")
    assert opens(tmp_path, made["key"]) and made["scopes"] == ["operate", "read"]
    again = keys(tmp_path, "rotate", "dashboard", "--grace-hours", "0")
    assert opens(tmp_path, again["key"]) and not opens(tmp_path, made["key"])
    keys(tmp_path, "revoke", made["key_id"])
    assert not opens(tmp_path, again["key"])
    (row,) = keys(tmp_path, "list")
    assert (row["name"], row["state"]) == ("dashboard", "revoked") and "key" not in row


def test_the_key_alone_is_on_standard_output(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["create", "k", "--scope", "read", "-w", str(tmp_path)])
    assert opens(tmp_path, done.stdout.strip())


def test_the_table_shows_no_secret(tmp_path: Path) -> None:
    made = keys(tmp_path, "create", "k", "--scope", "read", "--expires-days", "1")
    done = CliRunner().invoke(app, ["list", "-w", str(tmp_path)])
    assert "active" in done.stdout and made["key"].rpartition("_")[2] not in done.stdout


@pytest.mark.parametrize(
    "arguments", [("create", "k", "--scope", "everything"), ("revoke", "nobody"), ("rotate", "nobody")]
)
def test_what_cannot_be_done_says_what_can(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(WorkspaceError, match=r"read, ingest, operate, admin|punctual keys list"):
        keys(tmp_path, *arguments)
