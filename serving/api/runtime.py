"""What one API worker holds open while it serves a workspace."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog
from starlette.concurrency import run_in_threadpool

from data_contracts.workspace import Workspace
from features.online_place import Reader, reader_at
from serving.api.eta import LiveEta
from serving.customers.store import CustomerStore
from serving.engine.heartbeat import silent_s
from serving.engine.models import ChampionWatcher, Load, ModelShelf
from serving.engine.ops import OpsStore
from serving.engine.picture_reader import PictureReader
from serving.engine.readings import OpsReader
from serving.engine.seed import open_log
from serving.engine.served import ServedLog
from serving.http.turns import Turns
from serving.settings import ServiceSettings
from serving.storage.log import Clock, EventLog
from serving.storage.tail import OutboxTail
from serving.times import wall_now_us
from serving.webhooks.subscriptions import Subscriptions

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Open files and the model of a worker.

    shelf : the model before this one, or whichever a forecast of before was made by
    """

    workspace: Workspace
    settings: ServiceSettings
    log: EventLog
    ops: OpsReader
    picture: PictureReader
    online: Reader
    champion: ChampionWatcher
    shelf: ModelShelf
    eta: LiveEta
    tail: OutboxTail
    turns: Turns
    subscriptions: Subscriptions
    customers: CustomerStore
    served: ServedLog

    @property
    def has_model(self) -> bool:
        """Whether a model serves: in this worker, and in the engine."""
        return self.champion.model is not None and self.ops.checkpoint().model_version is not None

    def unready(self) -> str | None:
        """Why forecasts that know the present cannot be given; None where they can."""
        silence_s = silent_s(self.workspace.heartbeat)
        if self.champion.model is None:
            return "no model is loaded: models/champion.json names none that serves"
        if silence_s is None:
            return "the engine does not apply the log yet: it is starting, or ended"
        if silence_s > self.settings.engine_silent_s:
            return f"the engine has given no sign of life for over {self.settings.engine_silent_s:g} s"
        return None if self.has_model else "the engine has not taken up a model yet"

    def now_us(self) -> int:
        """The present: the wall's, or under the log's clock the last instant that the engine has applied."""
        if self.log.clock is Clock.LOG:
            return self.ops.checkpoint().as_of_us
        return self.log.now_us()

    def latest(self, stop_id: str) -> bytes | None:
        """The latest forecast of a stop, which is kept as served before it is."""
        rows = self.ops.forecasts([stop_id])
        self.served.keep(rows)
        return rows[0][1] if rows else None

    def close(self) -> None:
        self.turns.close()
        self.subscriptions.close()
        self.customers.close()
        self.served.close()
        self.log.close()
        self.ops.close()
        self.picture.close()
        self.online.close()


def open_runtime(workspace: Workspace, settings: ServiceSettings, load: Load) -> Runtime:
    """Open a workspace to serve from; what the engine has not made yet is made empty."""
    event_log, limits = open_log(workspace, settings.clock), settings.limits
    OpsStore(workspace.ops).close()
    ops, online = OpsReader(workspace.ops), reader_at(settings.online_at(workspace))
    subscriptions = Subscriptions(workspace, settings.webhooks, lambda: ops.outbox_span()[1], wall_now_us)
    champion = ChampionWatcher(workspace, ModelShelf(workspace, load))
    served = ServedLog(workspace.served, settings.served)
    champion.poll()
    gc.collect()
    gc.freeze()
    return Runtime(
        workspace=workspace,
        settings=settings,
        log=event_log,
        ops=ops,
        picture=PictureReader(workspace.ops),
        online=online,
        champion=champion,
        shelf=ModelShelf(workspace, load),
        eta=LiveEta(ops, online, champion, served, settings.engine.coverage),
        tail=OutboxTail(lambda: ops.outbox_span()[1], settings.stream.look_s),
        subscriptions=subscriptions,
        customers=CustomerStore(workspace.customers),
        served=served,
        turns=Turns(most=limits.waiting, most_stops=limits.waiting_stops, patience_s=limits.patience_s),
    )


@asynccontextmanager
async def serving(runtime: Runtime) -> AsyncIterator[Runtime]:
    """Follow the champion until the worker ends."""
    follower = asyncio.create_task(_follow_champion(runtime))
    try:
        yield runtime
    finally:
        follower.cancel()
        with suppress(asyncio.CancelledError):
            await follower
        runtime.close()


async def _follow_champion(runtime: Runtime) -> None:
    while True:
        await asyncio.sleep(runtime.settings.model_poll_s)
        try:
            await run_in_threadpool(runtime.champion.poll)
        except Exception:
            log.exception("champion_poll_failed")
