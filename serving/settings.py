"""Settings of a workspace's service, read from its ``punctual.toml`` by entry points only."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from data_contracts.errors import WorkspaceError
from data_contracts.workspace import Workspace
from features.online_redis import is_redis
from serving.customers.timing import TimingPolicy
from serving.decisions.alerts import AlertPolicy
from serving.decisions.cadence import Cadence
from serving.decisions.grouping import IncidentPolicy
from serving.decisions.promises import PromisePolicy
from serving.decisions.rules import RulePolicy
from serving.engine.advice import AdvicePolicy
from serving.engine.drift import DriftPolicy
from serving.engine.rounds import EngineSettings
from serving.engine.served import ServedSettings
from serving.http.limits import Limits
from serving.storage.log import Clock
from serving.upkeep.retention import Retention
from serving.webhooks.policy import SendingPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files of the server's certificate (with its chain) and private key, PEM; both or neither."""

    certificate: str | None = None
    private_key: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("tls needs both certificate and private_key")

    @property
    def is_on(self) -> bool:
        return self.certificate is not None

    def paths(self, workspace: Workspace) -> tuple[Path, Path] | None:
        """Certificate and key, relative ones taken from the workspace's folder; None where TLS is off."""
        if self.certificate is None or self.private_key is None:
            return None
        return workspace.root / self.certificate, workspace.root / self.private_key


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """How events are streamed. A stream ends after ``longest_s``, and a client comes back by itself."""

    heartbeat_s: float = 15.0
    look_s: float = 0.1
    retry_s: float = 2.0
    send_timeout_s: float = 30.0
    longest_s: float = 3600.0
    most: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardSettings:
    """How the ops room looks.

    basemap_style : address of a MapLibre style; without one the map is drawn from the workspace itself
    basemap_hosts : further origins from which that style takes tiles, glyphs and sprites
    """

    basemap_style: str | None = None
    basemap_hosts: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How a workspace is served.

    online_store : URL of a Redis server that takes the place of the workspace's own online store
    engine_silent_s : an engine that gave no sign of life for so long makes the service unready
    """

    clock: Clock = Clock.WALL
    engine: EngineSettings = field(default_factory=EngineSettings)
    limits: Limits = field(default_factory=Limits)
    tls: Tls = field(default_factory=Tls)
    retention: Retention = field(default_factory=Retention)
    stream: StreamSettings = field(default_factory=StreamSettings)
    webhooks: SendingPolicy = field(default_factory=SendingPolicy)
    timing: TimingPolicy = field(default_factory=TimingPolicy)
    served: ServedSettings = field(default_factory=ServedSettings)
    dashboard: DashboardSettings = field(default_factory=DashboardSettings)
    online_store: str | None = None
    model_poll_s: float = 1.0
    engine_silent_s: float = 30.0
    workers: int = 2

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers = {self.workers}: the API needs at least one")
        if self.online_store is not None and not is_redis(self.online_store):
            raise ValueError("online_store is the URL of a Redis server: redis://host:6379/0")

    def online_at(self, workspace: Workspace) -> str:
        """Where the online store is: a file, or a Redis URL."""
        return self.online_store or str(workspace.online)

    def shown(self) -> dict[str, Any]:
        """Every setting, without what a URL says of a user and a password; of a channel, how it is spoken to."""
        told = asdict(self)
        told["webhooks"]["channels"] = {
            name: f"{url.partition('://')[0]}://..." for name, url in self.webhooks.channels.items()
        }
        if self.online_store is not None:
            told["online_store"] = (
                urlsplit(self.online_store)._replace(netloc=_host(self.online_store)).geturl()
            )
        return told


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def load_settings(workspace: Workspace) -> ServiceSettings:
    """Defaults, with what the ``[serving]`` table of the workspace says instead."""
    if not workspace.settings.exists():
        return ServiceSettings()
    try:
        table = tomllib.loads(workspace.settings.read_text(encoding="utf-8")).get("serving", {})
        return _service_settings(table)
    except (tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise WorkspaceError(
            str(error), where=str(workspace.settings), next_step="correct the [serving] table"
        ) from error


def _service_settings(table: dict[str, Any]) -> ServiceSettings:
    parts = {
        "cadence": Cadence(),
        "promises": PromisePolicy(),
        "alerts": AlertPolicy(),
        "rules": RulePolicy(),
        "incidents": IncidentPolicy(),
        "advice": AdvicePolicy(),
        "drift": DriftPolicy(),
    }
    retention = _changed(Retention(), table.pop("retention", {}), "retention")
    engine = EngineSettings(
        coverage=float(table.pop("coverage", EngineSettings().coverage)),
        history=retention.history,
        **{name: _changed(default, table.pop(name, {}), name) for name, default in parts.items()},
    )
    settings = ServiceSettings(
        clock=Clock(table.pop("clock", Clock.WALL)),
        engine=engine,
        limits=_changed(Limits(), table.pop("limits", {}), "limits"),
        tls=_changed(Tls(), table.pop("tls", {}), "tls"),
        retention=retention,
        stream=_changed(StreamSettings(), table.pop("stream", {}), "stream"),
        timing=_changed(TimingPolicy(), table.pop("timing", {}), "timing"),
        webhooks=_changed(SendingPolicy(), table.pop("webhooks", {}), "webhooks"),
        served=_changed(ServedSettings(), table.pop("served", {}), "served"),
        dashboard=_changed(DashboardSettings(), table.pop("dashboard", {}), "dashboard"),
        online_store=table.pop("online_store", None),
        model_poll_s=float(table.pop("model_poll_s", ServiceSettings().model_poll_s)),
        engine_silent_s=float(table.pop("engine_silent_s", ServiceSettings().engine_silent_s)),
        workers=int(table.pop("workers", ServiceSettings().workers)),
    )
    if table:
        raise ValueError(f"[serving] does not know {', '.join(sorted(table))}")
    return settings


def _changed(default: Any, values: dict[str, Any], where: str) -> Any:
    known = {each.name for each in fields(default)}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{where} has no {', '.join(unknown)}; it knows {', '.join(sorted(known))}")
    return replace(default, **values)
