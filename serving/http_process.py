"""BentoML's HTTP server as a process: ``python -m serving.http_process HOST PORT``. It ends with its parent."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from data_contracts.workspace import WORKSPACE_VARIABLE, Workspace
from serving.processes import watch_parent
from serving.settings import load_settings

SERVICE = "serving.service:PunctualService"


def main(arguments: list[str]) -> None:
    from bentoml_cli.cli import cli

    host, port = arguments
    watch_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    root = str(Path(__file__).resolve().parent.parent)
    cli(["serve", SERVICE, "--host", host, "--port", port, "--working-dir", root, *tls_arguments()])


def tls_arguments() -> list[str]:
    """What BentoML is told of the workspace's certificate."""
    workspace = Workspace(Path(os.environ[WORKSPACE_VARIABLE]))
    files = load_settings(workspace).tls.paths(workspace)
    return ["--ssl-certfile", str(files[0]), "--ssl-keyfile", str(files[1])] if files else []


if __name__ == "__main__":
    main(sys.argv[1:])
