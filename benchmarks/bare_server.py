"""The peer of the HTTP benchmarks: bare Starlette on uvicorn, the same models and the same scoring, and nothing else.

No keys, no checks of what is asked, no line to wait in, no limits, no records of what was served:
``python -m benchmarks.bare_server WORKSPACE FD``.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from data_contracts.workspace import Workspace
from serving.api.runtime import open_runtime
from serving.engine.models import load_forecaster
from serving.settings import load_settings


def bare_app(workspace: Workspace) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.runtime = open_runtime(workspace, load_settings(workspace), load_forecaster)
        yield
        app.state.runtime.close()

    async def eta(request: Request) -> Response:
        asked, runtime = orjson.loads(await request.body()), request.app.state.runtime
        forecasts = runtime.eta.of_stops(asked["stop_ids"], runtime.now_us(), False)
        return Response(orjson.dumps({"forecasts": forecasts}), media_type="application/json")

    return Starlette(routes=[Route("/v1/eta", eta, methods=["POST"])], lifespan=lifespan)


def main(arguments: list[str]) -> None:
    workspace, descriptor = arguments
    config = uvicorn.Config(bare_app(Workspace(Path(workspace))), log_level="warning", access_log=False)
    uvicorn.Server(config).run([socket.socket(fileno=int(descriptor))])


if __name__ == "__main__":
    main(sys.argv[1:])
