"""Receivers of webhooks over real sockets: honest ones that verify, and ones that misbehave on purpose."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Headers = dict[str, str]


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came in."""

    path: str
    headers: Headers
    body: bytes


Behave = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def answering(status: int = 200, body: bytes = b"ok", **headers: str) -> Behave:
    """Answers at once."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        told = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Length: {len(body)}\r\n{told}Connection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return behave


def saying(raw: bytes) -> Behave:
    """Says these bytes and hangs up."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()

    return behave


async def silent(_: Received, writer: asyncio.StreamWriter) -> None:
    """Never answers."""
    await asyncio.sleep(60)


async def resetting(_: Received, writer: asyncio.StreamWriter) -> None:
    """Ends the connection with a reset."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()


async def dripping(_: Received, writer: asyncio.StreamWriter) -> None:
    """Says yes, and then its body a byte at a time without end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def crawling(_: Received, writer: asyncio.StreamWriter) -> None:
    """Says its very status a byte at a time."""
    for letter in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: " + b"x" * 10_000:
        writer.write(bytes([letter]))
        await writer.drain()
        await asyncio.sleep(0.05)


class Flood:
    """Answers with megabytes, and counts how many the other side took."""

    def __init__(self, megabytes: int = 10) -> None:
        self.megabytes, self.sent = megabytes, 0

    async def __call__(self, _: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {self.megabytes * 1_000_000}\r\n\r\n".encode())
        chunk = b"z" * 100_000
        for _ in range(self.megabytes * 10):
            writer.write(chunk)
            await writer.drain()
            self.sent += len(chunk)


@dataclass(slots=True)
class Receiver:
    """A server with one behaviour, which can change; it keeps what it was sent."""

    behave: Behave
    host: str = "127.0.0.1"
    port: int = 0
    scheme: str = "http"
    received: list[Received] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}/hook"

    def wait_for(self, count: int, within_s: float = 10.0) -> list[Received]:
        """What was received, once it is as much as this."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.received) >= count, within_s), (
                f"{len(self.received)} of {count} came within {within_s} s"
            )
            return list(self.received)

    def begins(self, seen: int, within_s: float) -> bool:
        """Whether a request beyond those seen comes in time."""
        with self._news:
            return self._news.wait_for(lambda: len(self.received) > seen, within_s)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._exchange(reader, writer)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Received(head[0].split(" ")[1], headers, body)
        with self._news:
            self.received.append(request)
            self._news.notify_all()
        await self.behave(request, writer)


@contextmanager
def receiving(
    behave: Behave | None = None, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[Receiver]:
    """A receiver that runs in a thread of its own for as long as the block."""
    receiver = Receiver(behave or answering(), host, scheme="https" if tls else "http")
    begun, over = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def live() -> None:
        loops.append(asyncio.get_running_loop())
        server = await asyncio.start_server(receiver.serve, host, port, ssl=tls)
        receiver.port = server.sockets[0].getsockname()[1]
        begun.set()
        await over.wait()
        server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    assert begun.wait(5), "the receiver did not begin"
    try:
        yield receiver
    finally:
        loops[0].call_soon_threadsafe(over.set)
        thread.join()
