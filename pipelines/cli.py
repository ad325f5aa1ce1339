"""The ``punctual`` command. Heavy libraries are imported by the command that needs them, so that help is instant."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from data_contracts import __version__
from data_contracts.errors import PunctualError
from data_contracts.switches import OFF_SWITCHES
from pipelines.commands import (
    customers,
    data,
    features,
    forecasts,
    keys,
    models,
    promises,
    service,
    silences,
    upkeep,
    webhooks,
)

app = typer.Typer(
    name="punctual",
    help="Delivery-window prediction and disruption alerting for last-mile fleets.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
#: In the order that help lists them.
COMMANDS = (
    service.demo,
    data.simulate,
    data.ingest,
    data.audit,
    models.train,
    models.promote,
    models.rollback,
    models.reconcile,
    models.models,
    models.backtest,
    models.lade,
    service.serve,
    service.replay,
    service.link,
    forecasts.explain,
    service.config,
    upkeep.backup,
    upkeep.restore,
    upkeep.compact,
)
GROUPS = {
    "features": features.app,
    "keys": keys.app,
    "webhooks": webhooks.app,
    "silences": silences.app,
    "customers": customers.app,
    "promises": promises.app,
}

for command in COMMANDS:
    app.command()(command)
for name, group in GROUPS.items():
    app.add_typer(group, name=name)


def main() -> None:
    """Run the command; what Punctual raises on purpose ends in one message and its exit code."""
    os.environ.update({name: value for name, value in OFF_SWITCHES.items() if name not in os.environ})
    try:
        app()
    except PunctualError as error:
        print(f"punctual: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("punctual: stopped", file=sys.stderr)
        sys.exit(130)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"punctual {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    main()
