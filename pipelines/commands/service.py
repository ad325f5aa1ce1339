"""Commands that run the service and drive it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from data_contracts.workspace import Workspace
from pipelines.commands.options import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption


def demo(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the service running until Ctrl-C.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the simulated city.")] = 517,
    days: Annotated[int, typer.Option(min=8, help="Days of history before the replayed day.")] = 14,
) -> None:
    """The whole chain on a simulated city: history, model, service, and an unseen day replayed against it."""
    from pipelines.demo_screen import show_demo

    show_demo(workspace, seed=seed, days=days, keep=keep)


def serve(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 3000,
) -> None:
    """Serve a workspace: engine, sender and HTTP API, until stopped; without a model, events are taken all the same."""
    from serving.logs import configure_logging
    from serving.supervisor import serve as run

    configure_logging()
    run(Workspace(workspace), host, port)


def replay(
    source: Annotated[str, typer.Argument(help="Name of the adapter.")],
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or globs.")],
    url: Annotated[str, typer.Option(help="Base URL of the service.")] = "http://127.0.0.1:3000",
    speed: Annotated[
        float | None, typer.Option(help="Log seconds a second; as fast as it goes if left out.")
    ] = None,
    tick_s: Annotated[float, typer.Option(min=1, help="Seconds of log time between ticks.")] = 60.0,
    key: Annotated[
        str | None,
        typer.Option(
            envvar="PUNCTUAL_KEY", show_envvar=True, help="A key with the scope admin, if it has keys."
        ),
    ] = None,
) -> None:
    """Drive a running service (with ``clock = "log"``) with recorded or simulated events."""
    from datetime import timedelta

    import httpx

    from pipelines.replay import Pace, Replay, timeline
    from pipelines.sources.registry import source as adapter
    from pipelines.terminal import console, steps

    pace = Pace(speed=speed, tick=timedelta(seconds=tick_s))
    events = timeline(adapter(source).load(paths, None).tables, pace.tick)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with (
        steps("replaying", len(events)) as tell,
        httpx.Client(base_url=url, headers=headers, timeout=30.0) as client,
    ):
        counts = Replay(client, pace, lambda done, at: tell.of(done, len(events), f"{at:%m-%d %H:%M}")).run(
            events
        )
    console.print(
        f"{len(events):,} events: " + ", ".join(f"{count:,} {name}" for name, count in counts.items())
    )


def link(
    stop_id: Annotated[str, typer.Argument(help="The stop whose customer gets it.")],
    hours: Annotated[int, typer.Option(min=1, max=720, help="How long it opens.")] = 48,
    url: Annotated[str, typer.Option(help="Where customers reach the service.")] = "http://127.0.0.1:3000",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Make the signed, expiring link of a stop's customer page."""
    from data_contracts.errors import UnknownIdError
    from pipelines.terminal import as_json, console
    from serving.api.track_calls import track_path
    from serving.engine.picture_reader import PictureReader
    from serving.http.signing import Signer
    from serving.times import US, to_rfc3339, wall_now_us

    place = Workspace(workspace)
    picture = PictureReader(place.ops) if place.ops.exists() else None
    if picture is None or picture.stop(stop_id) is None:
        what = f"stop {stop_id!r} is not known"
        raise UnknownIdError(what, where=str(place.root), next_step="see `GET /v1/stops`")
    picture.close()
    until_us = wall_now_us() + hours * 3600 * US
    address = url.rstrip("/") + track_path(Signer(place.signing), stop_id, until_us)
    if json:
        print(as_json({"url": address, "expires_at": to_rfc3339(until_us)}))
    else:
        console.print(address, soft_wrap=True, highlight=False)


def config(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Settings in force for a workspace, defaults included."""
    from pipelines.terminal import as_json, console, table
    from serving.settings import load_settings

    settings = load_settings(Workspace(workspace)).shown()
    if json:
        print(as_json(settings))
    else:
        console.print(
            table(f"[serving] of {workspace}", ("setting", "value"), sorted(_dotted(settings).items()))
        )


def _dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= (
            _dotted(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
        )
    return flat
