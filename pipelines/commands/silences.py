"""``punctual silences``: orders not to hear of something. A running service takes them up from its log."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_contracts.workspace import Workspace
from pipelines.commands.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from serving.engine.commands import SilenceCommand
    from serving.storage.log import EventLog

app = typer.Typer(
    help="Silences: what nobody wants to be told of for a while. Begin, list, end.", no_args_is_help=True
)

WhoOption = Annotated[str, typer.Option(help="Who says so.", envvar="USER")]


@app.command("begin")
def begin(
    about: Annotated[
        list[str], typer.Option(help="What it is about, e.g. zone_id=Z-1; with several, all of them at once.")
    ],
    minutes: Annotated[float, typer.Option(min=1, max=10_080, help="For how long.")],
    why: Annotated[str, typer.Option(help="For whoever wonders.")] = "",
    who: WhoOption = "operator",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Nobody is told of something for some minutes; its alerts and incidents are listed all the same."""
    from data_contracts.errors import WorkspaceError
    from serving.decisions.silences import MATCHERS
    from serving.engine.commands import SilenceCommand
    from serving.times import US, wall_now_us

    matchers = dict(each.partition("=")[::2] for each in about)
    until_us = wall_now_us() + int(minutes * 60 * US)
    order = SilenceCommand(
        silence_id=f"silence-{uuid.uuid4().hex}", who=who, why=why, until_us=until_us, matchers=matchers
    )
    try:
        order.silence(0)
    except ValueError as error:
        raise WorkspaceError(
            str(error), where="--about", next_step=f"name one as {MATCHERS[0]}=VALUE"
        ) from error
    _append(workspace, order)
    _say(f"silence {order.silence_id} is on its way to the engine", order.silence_id, json)


@app.command("list")
def list_(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Silences that are not over, as the engine knows them."""
    from pipelines.terminal import as_json, console, table
    from serving.engine.ops import OpsStore
    from serving.times import to_rfc3339_or_none, wall_now_us

    ops = OpsStore(Workspace(workspace).ops)
    found = ops.silences(wall_now_us())
    ops.close()
    rows = [
        {
            "silence_id": each.silence_id,
            "about": dict(each.matchers),
            "until": to_rfc3339_or_none(each.until_us),
            "who": each.who,
            "why": each.why,
        }
        for each in found
    ]
    if json:
        print(as_json(rows))
        return
    columns = ("silence_id", "about", "until", "who", "why")
    shown = [
        row | {"about": ", ".join(f"{name}={value}" for name, value in each.matchers.items())}
        for row, each in zip(rows, found, strict=True)
    ]
    console.print(
        table(f"silences of {workspace}", columns, [tuple(row[c] for c in columns) for row in shown])
    )


@app.command("end")
def end(
    which: Annotated[str, typer.Argument(help="Id of a silence.")],
    who: WhoOption = "operator",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """What was silenced is told again."""
    from data_contracts.errors import UnknownIdError
    from serving.engine.commands import SilenceCommand
    from serving.engine.ops import OpsStore
    from serving.times import wall_now_us

    ops = OpsStore(Workspace(workspace).ops)
    known = [each.silence_id for each in ops.silences(wall_now_us())]
    ops.close()
    if which not in known:
        raise UnknownIdError(
            f"no silence {which!r} is under way", next_step="`punctual silences list` names those that are"
        )
    _append(workspace, SilenceCommand(silence_id=which, who=who, ends=True))
    _say(f"the end of silence {which} is on its way to the engine", which, json)


def _append(workspace: Path, order: SilenceCommand) -> None:
    with _log(workspace) as log:
        log.append([order.event(f"command-{uuid.uuid4().hex}")])


@contextmanager
def _log(workspace: Path) -> Iterator[EventLog]:
    from serving.settings import load_settings
    from serving.storage.log import EventLog

    place = Workspace(workspace)
    log = EventLog(place.log, load_settings(place).clock)
    try:
        yield log
    finally:
        log.close()


def _say(text: str, silence_id: str, json: bool) -> None:
    from pipelines.terminal import as_json, console

    if json:
        print(as_json({"silence_id": silence_id}))
    else:
        console.print(text, highlight=False)
