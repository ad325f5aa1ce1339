"""The pages: the ops room and a customer's page. They are clients of the public API like any other.

Nothing in them comes from another host, and the content security policy lets nothing else in; a base map of another
host is let in by naming it in the settings.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from serving.http.asking import runtime_of

FOLDER = Path(__file__).parents[1] / "dashboard"
PAGES, ASSETS = FOLDER / "pages", FOLDER / "assets"
#: Asked for anew each time; the answer is "not modified" as long as a file stays the same.
FRESH = "no-cache"


def security_headers(hosts: str = "") -> dict[str, str]:
    """Headers of every page; ``hosts`` are the origins of a base map, separated by blanks."""
    policy = (
        "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; font-src 'self'; "
        f"img-src 'self' data: blob: {hosts}; connect-src 'self' {hosts}; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": " ".join(policy.split()).replace(" ;", ";"),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "geolocation=(), camera=(), microphone=()",
        "Cache-Control": FRESH,
    }


def origins_of(style: str | None) -> str:
    """Origin of a base map's style, which may also serve its tiles; empty where the map draws its own."""
    parts = urlsplit(style or "")
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") and parts.netloc else ""


class Assets(StaticFiles):
    """Files of the pages, each with the same headers as the pages."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in security_headers().items()]

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        await super().__call__(scope, receive, send_guarded)


def ops_room(request: Request) -> Response:
    return _page("ops.html", request)


def track_page(request: Request) -> Response:
    return _page("track.html", request)


def page_settings(request: Request) -> Response:
    """What the pages have to know before anybody has signed in."""
    settings = runtime_of(request).settings.dashboard
    return JSONResponse({"basemap_style": settings.basemap_style}, headers={"Cache-Control": FRESH})


def to_ops_room(_: Request) -> Response:
    return RedirectResponse("/ops")


def page_routes() -> list[BaseRoute]:
    """Routes of the pages; they are not part of the API's document."""
    return [
        Route("/", to_ops_room, methods=["GET"]),
        Route("/ops", ops_room, methods=["GET"]),
        Route("/ops/settings", page_settings, methods=["GET"]),
        Route("/track", track_page, methods=["GET"]),
        Mount("/assets", Assets(directory=ASSETS), name="assets"),
    ]


def _page(name: str, request: Request) -> Response:
    settings = runtime_of(request).settings.dashboard
    hosts = " ".join(filter(None, (origins_of(settings.basemap_style), *settings.basemap_hosts)))
    return FileResponse(PAGES / name, headers=security_headers(hosts))
