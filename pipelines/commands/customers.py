"""``punctual customers``: what is kept of a customer, read, exported and erased."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_contracts.workspace import Workspace
from pipelines.commands.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from serving.customers.store import CustomerStore

app = typer.Typer(help="Personal data of customers: learn, export, erase.", no_args_is_help=True)

WhoArgument = Annotated[str, typer.Argument(help="Pseudonymous id of a customer.")]


@app.command("learn")
def learn(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Take visits and preferences over from the landed history; a running service learns its own visits."""
    from pipelines.personal import learn_from_history
    from pipelines.terminal import as_json, console

    with _store(workspace) as store:
        visits, preferences = learn_from_history(Workspace(workspace), store)
    if json:
        print(as_json({"visits": visits, "preferences": preferences}))
    else:
        console.print(f"{visits:,} visits and {preferences:,} preferences are known")


@app.command("export")
def export(
    who: WhoArgument,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Everything that is kept of a customer, as JSON."""
    from pipelines.terminal import as_json, remarks, write_json

    with _store(workspace) as store:
        document = store.export(who)
    if out is None:
        print(as_json(document))
    else:
        write_json(out, document)
        remarks.print(f"written: {out}", highlight=False)


@app.command("erase")
def erase(
    who: WhoArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Forget a customer: preferences, visits and landed rows. What is in the log is a pseudonym."""
    from pipelines.personal import erase_landed
    from pipelines.terminal import as_json, console
    from serving.times import wall_now_us

    if not yes and not json:
        typer.confirm(f"erase everything kept of {who}?", abort=True)
    with _store(workspace) as store:
        facts = store.erase(who, wall_now_us())
    rows = erase_landed(Workspace(workspace), who)
    if json:
        print(as_json({"customer_id": who, "erased": facts, "landed_rows": rows}))
    else:
        console.print(f"{facts:,} facts and {rows:,} landed rows are gone", highlight=False)


@contextmanager
def _store(workspace: Path) -> Iterator[CustomerStore]:
    from serving.customers.store import CustomerStore

    store = CustomerStore(Workspace(workspace).customers)
    try:
        yield store
    finally:
        store.close()
