"""The sender as a process: ``python -m serving.sender_process WORKSPACE``."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from pathlib import Path

import structlog

from data_contracts.errors import PunctualError
from data_contracts.workspace import Workspace
from serving.customers.learning import HomeLearner
from serving.customers.store import CustomerStore
from serving.engine.ops import OpsStore
from serving.engine.picture_reader import PictureReader
from serving.engine.readings import OpsReader
from serving.logs import configure_logging
from serving.meters import count_into_folder
from serving.processes import alone, told_to_stop
from serving.settings import load_settings
from serving.times import wall_now_us
from serving.webhooks.channels import ChannelPost
from serving.webhooks.policy import Answer, SendingPolicy
from serving.webhooks.post import WebhookPost
from serving.webhooks.sender import Sender
from serving.webhooks.signing import open_secrets
from serving.webhooks.store import DueMessage, SenderStore

log = structlog.get_logger(__name__)

LEARN_LOOK_S = 5.0


async def run(workspace: Workspace, policy: SendingPolicy, stop: asyncio.Event) -> None:
    """Send until told to stop, and learn from visits on the side."""
    OpsStore(workspace.ops).close()
    store, outbox = SenderStore(workspace.sender, "NORMAL"), OpsReader(workspace.ops)
    web, channels = WebhookPost(open_secrets(workspace.webhook_key), policy), ChannelPost(policy)

    async def post(message: DueMessage, at_us: int) -> Answer:
        if message.webhook.channel is not None:
            return await channels(message)
        return await web(message, store.generations(message.webhook.webhook_id, at_us), at_us)

    log.info("sender_started", position=store.position())
    learning = asyncio.create_task(learn(workspace))
    try:
        await Sender(outbox, store, post, policy, wall_now_us).run(stop)
    finally:
        learning.cancel()
        await asyncio.gather(learning, return_exceptions=True)
        await web.close()
        await channels.close()
        outbox.close()
        store.close()
    log.info("sender_stopped")


async def learn(workspace: Workspace) -> None:
    """Look at visits that ended every now and then; what goes wrong there holds up no event."""
    seen, store = PictureReader(workspace.ops), CustomerStore(workspace.customers)
    learner = HomeLearner(seen, store)
    try:
        while True:
            try:
                await asyncio.to_thread(learner.beat, time.monotonic(), wall_now_us())
            except Exception:
                log.exception("visits_not_learned")
            await asyncio.sleep(LEARN_LOOK_S)
    finally:
        seen.close()
        store.close()


async def _until_told(workspace: Workspace, policy: SendingPolicy, told: threading.Event) -> None:
    stop = asyncio.Event()

    async def follow() -> None:
        while not told.is_set():
            await asyncio.sleep(0.05)
        stop.set()

    following = asyncio.create_task(follow())
    await run(workspace, policy, stop)
    following.cancel()


def main(arguments: list[str]) -> int:
    configure_logging()
    count_into_folder()
    if len(arguments) != 1:
        print("usage: python -m serving.sender_process WORKSPACE", file=sys.stderr)
        return 2
    workspace, told = Workspace(Path(arguments[0])), told_to_stop()
    try:
        policy = load_settings(workspace).webhooks
        with alone(workspace.sender.with_suffix(".lock"), told):
            asyncio.run(_until_told(workspace, policy, told))
    except PunctualError as error:
        log.error("sender_refused", error=str(error))
        return error.exit_code
    except Exception:
        log.exception("sender_failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
