"""The BentoML service: the API mounted as it is, with readiness and liveness of its own.

Loaded by BentoML's workers, which find the workspace in ``PUNCTUAL_WORKSPACE``. BentoML's metrics middleware is
off, since it slows every request; ``/metrics`` is then the app's own.
"""

from __future__ import annotations

import os
from http import HTTPStatus
from pathlib import Path

import bentoml
from starlette.exceptions import HTTPException

from data_contracts.workspace import WORKSPACE_VARIABLE, Workspace
from serving.api.api import create_app
from serving.api.runtime import Runtime
from serving.logs import configure_logging
from serving.meters import count_into_folder
from serving.settings import load_settings

_workspace = Workspace(Path(os.environ.get(WORKSPACE_VARIABLE, "workspace")))
configure_logging()
count_into_folder()
_settings = load_settings(_workspace)
app = create_app(_workspace, _settings)


@bentoml.service(
    name="punctual",
    workers=_settings.workers,
    traffic={"timeout": 30},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(app)
class PunctualService:
    """Holds nothing itself: what a worker has open belongs to the app's lifespan."""

    def __is_ready__(self) -> bool:
        runtime = _runtime()
        why = "this worker is still starting" if runtime is None else runtime.unready()
        if why is not None:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, why)
        return True

    def __is_alive__(self) -> bool:
        return _runtime() is not None


def _runtime() -> Runtime | None:
    return getattr(app.state, "runtime", None)
