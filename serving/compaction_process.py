"""One compaction as a process: ``python -m serving.compaction_process WORKSPACE``; gentle to its neighbours."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import closing
from pathlib import Path

import structlog

from data_contracts.errors import PunctualError
from data_contracts.workspace import Workspace
from serving.engine.seed import open_log
from serving.logs import configure_logging
from serving.processes import alone, watch_parent
from serving.settings import load_settings
from serving.upkeep.compaction import compact

log = structlog.get_logger(__name__)
NICENESS = 10


def main(arguments: list[str]) -> int:
    configure_logging()
    os.nice(NICENESS)
    watch_parent(lambda: os._exit(1))  # it may be cut off anywhere
    workspace = Workspace(Path(arguments[0]))
    try:
        settings = load_settings(workspace)
        with (
            alone(workspace.run / "compaction.lock", threading.Event()),
            closing(open_log(workspace, settings.clock)) as event_log,
        ):
            compact(workspace, event_log, settings.retention)
    except PunctualError as error:
        log.error("compaction_refused", error=str(error))
        return error.exit_code
    except Exception:
        log.exception("compaction_failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
