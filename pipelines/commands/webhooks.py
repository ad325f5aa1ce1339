"""``punctual webhooks``: who is sent events, and what became of each. A running service takes a change up by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_contracts.workspace import Workspace
from pipelines.commands.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from serving.webhooks.subscriptions import Subscriptions

app = typer.Typer(
    help="Webhooks of a workspace: add, list, rotate, look at attempts, send once more.", no_args_is_help=True
)

WhichArgument = Annotated[str, typer.Argument(help="Id of a webhook.")]
LimitOption = Annotated[int, typer.Option(min=1, max=10_000, help="How many rows at most.")]


@app.command("add")
def add(
    url: Annotated[str | None, typer.Argument(help="Where to send; https.")] = None,
    channel: Annotated[
        str | None, typer.Option(help="A channel of the settings instead, spoken to by Apprise.")
    ] = None,
    type_: Annotated[
        list[str], typer.Option("--type", help="Only these, e.g. stop.delay.*; may be repeated.")
    ] = [],  # noqa: B006
    description: Annotated[str, typer.Option(help="For whoever reads the list.")] = "",
    secret: Annotated[
        str | None,
        typer.Option(help="What the receiver verifies with already.", envvar="PUNCTUAL_WEBHOOK_SECRET"),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Subscribe to events; the secret that the receiver verifies with is printed this once."""
    from pipelines.terminal import as_json, remarks
    from serving.webhooks.subscriptions import Wanted

    wanted = Wanted(url=url, channel=channel, types=tuple(type_), description=description, secret=secret)
    with _subscriptions(workspace) as subscriptions:
        made = subscriptions.create(wanted)
    if json:
        print(as_json(made))
        return
    if made["secret"] is None:
        remarks.print(f"webhook {made['webhook_id']}", highlight=False)
        return
    remarks.print(f"webhook {made['webhook_id']}; its secret is shown this once:", highlight=False)
    print(made["secret"])


@app.command("list")
def list_(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Every webhook, and how its messages stand."""
    with _subscriptions(workspace) as subscriptions:
        found = subscriptions.everything()
    rows = [each | each["messages"] | {"to": each["url"] or f"channel {each['channel']}"} for each in found]
    columns = ("webhook_id", "to", "types", "state", "reason", "pending", "sent", "dead")
    _show(f"webhooks of {workspace}", columns, rows, found if json else None)


@app.command("remove")
def remove(which: WhichArgument, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Forget a webhook, with what was or is to be sent to it."""
    with _subscriptions(workspace) as subscriptions:
        subscriptions.remove(which)
    _say(f"webhook {which} is forgotten")


@app.command("rotate")
def rotate(
    which: WhichArgument, workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False
) -> None:
    """Another secret, printed once; the last one signs beside it until the time to change over has passed."""
    from pipelines.terminal import as_json, remarks

    with _subscriptions(workspace) as subscriptions:
        rotated = subscriptions.rotate(which)
    if json:
        print(as_json(rotated))
        return
    remarks.print(f"the one before signs as well until {rotated['earlier_secrets_until']}", highlight=False)
    print(rotated["secret"])


@app.command("enable")
def enable(which: WhichArgument, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Send to a disabled webhook again."""
    with _subscriptions(workspace) as subscriptions:
        subscriptions.enable(which)
    _say(f"webhook {which} is active")


@app.command("test")
def test(which: WhichArgument, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Send an event that means nothing; see its attempt."""
    with _subscriptions(workspace) as subscriptions:
        event_id = subscriptions.test(which)
    _say(f"event {event_id} is on its way; see `punctual webhooks attempts {which}`")


@app.command("attempts")
def attempts(
    which: WhichArgument,
    event: Annotated[str | None, typer.Option(help="Of this event alone.")] = None,
    limit: LimitOption = 50,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """The delivery log, the newest first."""
    with _subscriptions(workspace) as subscriptions:
        rows = subscriptions.attempts(which, event, limit)
    columns = ("event_id", "at", "outcome", "status", "took_ms", "detail")
    _show(f"attempts of {which}", columns, rows, rows if json else None)


@app.command("messages")
def messages(
    which: WhichArgument,
    state: Annotated[str | None, typer.Option(help="pending, sent or dead.")] = None,
    limit: LimitOption = 50,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """What waits, what was sent, and dead letters, the newest first."""
    with _subscriptions(workspace) as subscriptions:
        rows = subscriptions.messages(which, state, limit)
    columns = ("event_id", "type", "subject", "state", "why", "tries", "created_at", "next_attempt_at")
    _show(f"messages of {which}", columns, rows, rows if json else None)


@app.command("redeliver")
def redeliver(
    which: WhichArgument,
    event: Annotated[
        list[str], typer.Option(help="Only these events; all dead letters if left out. May be repeated.")
    ] = [],  # noqa: B006
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Send events once more, from the start of the schedule."""
    with _subscriptions(workspace) as subscriptions:
        count = subscriptions.redeliver(which, event or None)
    _say(f"{count:,} events are on their way again")


@contextmanager
def _subscriptions(workspace: Any) -> Iterator[Subscriptions]:
    from serving.engine.ops import OpsStore
    from serving.engine.readings import OpsReader
    from serving.settings import load_settings
    from serving.times import wall_now_us
    from serving.webhooks.subscriptions import Subscriptions

    place = Workspace(workspace)
    OpsStore(place.ops).close()
    outbox = OpsReader(place.ops)
    found = Subscriptions(place, load_settings(place).webhooks, lambda: outbox.outbox_span()[1], wall_now_us)
    try:
        yield found
    finally:
        found.close()
        outbox.close()


def _show(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    document: Sequence[Mapping[str, Any]] | None,
) -> None:
    """A table, or the document as JSON where there is one."""
    from pipelines.terminal import as_json, console, table

    if document is not None:
        print(as_json(document))
        return
    cells = [
        tuple(", ".join(row[c]) if isinstance(row[c], list) else row[c] for c in columns) for row in rows
    ]
    console.print(table(title, columns, cells))


def _say(text: str) -> None:
    from pipelines.terminal import console

    console.print(text, highlight=False)
