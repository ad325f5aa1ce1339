"""Starts and watches the processes of a service: one engine, one sender, and BentoML's HTTP server."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import IO

import httpx
import structlog

from data_contracts.errors import WorkspaceError
from data_contracts.switches import OFF_SWITCHES
from data_contracts.workspace import WORKSPACE_VARIABLE, Workspace
from serving.engine.heartbeat import forget
from serving.engine.ops import OPS_LAYOUT
from serving.http.access import is_loopback
from serving.http.key_file import read_keys
from serving.meters import METRICS_VARIABLE
from serving.processes import claimed
from serving.settings import Tls, load_settings
from serving.storage.database import refuse_other_layout
from serving.storage.log import LOG_LAYOUT
from serving.upkeep.retention import Retention

log = structlog.get_logger(__name__)

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}

#: BentoML makes a tracing span of every request, also where nobody collects them.
NO_SPANS = "tracing.excluded_urls=.*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait, in seconds, and how often to try."""

    ready_s: float = 60.0
    stop_s: float = 10.0
    look_s: float = 0.1
    ask_s: float = 1.0
    restart_s: float = 1.0
    most_restarts: int = 20
    restarts_fade_s: float = 600.0


#: Processes that keep all that they know on disk: one that ends is started again where it stood.
CRASH_ONLY = ("engine", "sender")
NO_ANSWER = "the HTTP server does not answer"


@dataclass(slots=True)
class Restarts:
    """How often a process ended, and when it may be started again."""

    count: int = 0
    retry_at_s: float = 0.0
    since_s: float = 0.0


@dataclass(slots=True)
class Service:
    """The processes of one running service."""

    workspace: Workspace
    host: str
    port: int
    output: IO[bytes] | None
    patience: Patience
    engine: subprocess.Popen[bytes] = field(init=False)
    sender: subprocess.Popen[bytes] = field(init=False)
    server: subprocess.Popen[bytes] = field(init=False)
    tls: Tls = field(default_factory=Tls)
    _ended: dict[str, Restarts] = field(default_factory=lambda: {name: Restarts() for name in CRASH_ONLY})
    compact_every_s: float = Retention().every_s
    compaction: subprocess.Popen[bytes] | None = None
    _compact_at_s: float = field(init=False)

    @property
    def base_url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls.is_on else 'http'}://{host}:{self.port}"

    @property
    def restarts(self) -> int:
        """How often a process had to be started again."""
        return sum(ended.count for ended in self._ended.values())

    def start(self) -> None:
        shutil.rmtree(self.workspace.metrics, ignore_errors=True)
        forget(self.workspace.heartbeat)
        for name in CRASH_ONLY:
            self._start(name)
        self.server = self._spawn("serving.http_process", self.host, str(self.port))
        self._compact_at_s = time.monotonic() + self.compact_every_s

    def wait_until_ready(self) -> None:
        """Return once forecasts can be asked for; say plainly what is missing if that does not happen in time."""
        deadline_s, missing = time.monotonic() + self.patience.ready_s, self.missing()
        while missing is not None:
            if time.monotonic() > deadline_s:
                raise WorkspaceError(
                    f"the service was not ready within {self.patience.ready_s:.0f} s: {missing}",
                    where=str(self.workspace.root),
                    next_step="see its output",
                )
            time.sleep(self.patience.look_s)
            self.look_after()
            missing = self.missing()
        log.info("service_ready", url=self.base_url)

    def missing(self) -> str | None:
        """Why forecasts cannot be asked for yet; None where they can.

        The certificate is for the outside, and is not checked here, where nothing is told; nor are authorities
        read, which would take 20 ms each time.
        """
        try:
            answer = httpx.get(f"{self.base_url}/readyz", timeout=2.0, verify=False)
        except httpx.TransportError:
            return NO_ANSWER
        return None if answer.status_code == HTTPStatus.OK else answer.text

    def look_after(self) -> None:
        """Start again what may crash; a server that ended ends the service. Compact the log once in a while."""
        self._compact()
        if (code := self.server.poll()) is not None:
            raise WorkspaceError(
                f"the HTTP server ended with code {code}",
                where=str(self.workspace.root),
                next_step=f"see its output; is port {self.port} free?",
            )
        for name in CRASH_ONLY:
            if (code := getattr(self, name).poll()) is not None:
                self._restart(name, code)

    def _compact(self) -> None:
        """Start a compaction when it is time to; one at once."""
        if self.compaction is not None and self.compaction.poll() is not None:
            self.compaction = None
        if self.compaction is None and time.monotonic() >= self._compact_at_s:
            self._compact_at_s = time.monotonic() + self.compact_every_s
            self.compaction = self._spawn("serving.compaction_process", str(self.workspace.root.resolve()))

    def stop(self) -> None:
        """End all processes with everything they started, each politely, then not.

        The API ends first, with the requests that it has begun and the engine still to answer them; then the engine,
        whose events the sender still takes; the sender last.
        """
        for process in (self.server, self.compaction, self.engine, self.sender):
            if process is not None:
                self._end(process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        _signal_group(process, signal.SIGTERM)
        try:
            process.wait(self.patience.stop_s)
        except subprocess.TimeoutExpired:
            log.warning("process_killed", pid=process.pid)
        _signal_group(process, signal.SIGKILL)
        process.wait()

    def _restart(self, name: str, code: int) -> None:
        """Start a process again, unless that was tried just now or too often."""
        ended, now_s = self._ended[name], time.monotonic()
        if now_s < ended.retry_at_s:
            return
        if now_s - ended.since_s > self.patience.restarts_fade_s:
            ended.count = 0
        if ended.count >= self.patience.most_restarts:
            raise WorkspaceError(
                f"the {name} ended {ended.count + 1} times, last with code {code}",
                where=str(self.workspace.root),
                next_step="see its output",
            )
        ended.count, ended.retry_at_s = ended.count + 1, now_s + self.patience.restart_s
        ended.since_s = now_s
        if name == "engine":
            forget(self.workspace.heartbeat)
        log.warning(f"{name}_restarted", code=code, restarts=ended.count)
        self._start(name)

    def _start(self, name: str) -> None:
        process = self._spawn(f"serving.{name}_process", str(self.workspace.root.resolve()))
        setattr(self, name, process)

    def _spawn(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
        )

    def _environment(self) -> Mapping[str, str]:
        root = str(self.workspace.root.resolve())
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        own = {
            WORKSPACE_VARIABLE: root,
            METRICS_VARIABLE: str(self.workspace.metrics.resolve()),
            "BENTOML_HOME": str(Path(root) / ".bentoml"),
            "BENTOML_CONFIG_OPTIONS": NO_SPANS,
            "PYTHONPATH": path,
        }
        return {**os.environ, **OFF_SWITCHES, **ONE_THREAD, **own}


def serve(
    workspace: Workspace, host: str = LOOPBACK, port: int = 3000, patience: Patience | None = None
) -> None:
    """Serve a workspace until told to stop (SIGINT, SIGTERM) or until the parent process ends."""
    refuse_unlocked(workspace, host)
    stop, parent = threading.Event(), os.getppid()

    def told_to_stop(number: int, _: FrameType | None) -> None:
        log.info("service_stopping", signal=number)
        stop.set()

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, told_to_stop)
    with ExitStack() as stack:
        service = stack.enter_context(_started(workspace, host, port, None, patience or Patience()))
        status = Status(service)
        while not stop.wait(service.patience.look_s) and os.getppid() == parent:
            service.look_after()
            status.tell(time.monotonic())


class Status:
    """Tells whether forecasts can be asked for, and what is missing, each time that it is another thing.

    A service that is not ready goes on: it takes events, and may be given its first model while it runs.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._due_s = service, 0.0
        self._missing: str | None = NO_ANSWER

    def tell(self, now_s: float) -> None:
        """Ask once in a while; ``now_s`` is a monotonic clock."""
        if now_s < self._due_s:
            return
        self._due_s = now_s + self._service.patience.ask_s
        before, self._missing = self._missing, self._service.missing()
        if self._missing is None and before is not None:
            log.info("service_ready", url=self._service.base_url)
        elif self._missing != before:
            log.warning("service_not_ready", url=self._service.base_url, missing=self._missing)


def refuse_unlocked(workspace: Workspace, host: str) -> None:
    """Until a workspace has keys, it is served to its own machine alone."""
    if not is_loopback(host) and not read_keys(workspace.keys):
        raise WorkspaceError(
            f"there are no keys, and {host} can be reached from other machines",
            where=str(workspace.root),
            next_step="make one with `punctual keys create NAME --scope read`, or listen on 127.0.0.1",
        )


def checked_tls(workspace: Workspace) -> Tls:
    """The TLS settings of a workspace, once its certificate and key were found to be a pair."""
    tls = load_settings(workspace).tls
    if (files := tls.paths(workspace)) is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files, password="")
        except (OSError, ValueError) as error:
            raise WorkspaceError(
                f"no certificate with its key, unlocked and in PEM: {error}",
                where=f"{files[0]}, {files[1]}",
                next_step="correct [serving.tls]",
            ) from None
    return tls


@contextmanager
def running_service(
    workspace: Workspace,
    port: int,
    host: str = LOOPBACK,
    patience: Patience | None = None,
    output: Path | None = None,
) -> Iterator[str]:
    """A ready service for as long as the block runs; gives its base URL. ``output`` takes what it prints."""
    with ExitStack() as stack:
        sink = stack.enter_context(output.open("ab")) if output else None
        service = stack.enter_context(_started(workspace, host, port, sink, patience or Patience()))
        service.wait_until_ready()
        watcher = stack.enter_context(_watched(service))
        yield service.base_url
        if watcher:
            raise watcher[0]


@contextmanager
def _started(
    workspace: Workspace, host: str, port: int, output: IO[bytes] | None, patience: Patience
) -> Iterator[Service]:
    tls, every_s = checked_tls(workspace), load_settings(workspace).retention.every_s
    if not tls.is_on and not is_loopback(host):
        log.warning("served_without_tls", host=host)
    refuse_other_layout(workspace.log, LOG_LAYOUT)
    refuse_other_layout(workspace.ops, OPS_LAYOUT)
    with claimed(workspace.run / "service.lock"):
        service = Service(workspace, host, port, output, patience, tls=tls, compact_every_s=every_s)
        service.start()
        try:
            yield service
        finally:
            service.stop()


@contextmanager
def _watched(service: Service) -> Iterator[list[WorkspaceError]]:
    """Look after a service from a thread; what it could not mend is in the list."""
    done, failures = threading.Event(), list[WorkspaceError]()

    def watch() -> None:
        while not done.wait(service.patience.look_s):
            try:
                service.look_after()
            except WorkspaceError as failure:
                failures.append(failure)
                return

    thread = threading.Thread(target=watch, name="service-watch", daemon=True)
    thread.start()
    try:
        yield failures
    finally:
        done.set()
        thread.join()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal a process and everything it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
