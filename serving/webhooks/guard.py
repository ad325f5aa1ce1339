"""Which addresses may be connected to, decided on the very address that the connection is made to.

A name is resolved once for each connection; what is checked is what is connected to, so that a name which
changes its mind in between gains nothing. The name itself still goes into ``Host`` and TLS.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import httpcore

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

#: Addresses that look public and on which only a host's own cloud answers.
METADATA = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"))
NAT64 = IPv6Network("64:ff9b::/96")
#: Addresses of a name that are tried, at most.
TRIED = 4


class Refusal(StrEnum):
    """Why an address is not connected to."""

    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    PRIVATE = "private"
    METADATA = "metadata"
    MULTICAST = "multicast"
    NOT_PUBLIC = "not public"


class ForbiddenAddressError(httpcore.ConnectError):
    """A name that leads only to addresses that may not be connected to."""


class AddressGuard:
    """Public addresses, and those of networks that an operator named."""

    def __init__(self, allowed_networks: Iterable[str] = ()) -> None:
        self._allowed = tuple(ip_network(network) for network in allowed_networks)

    def refusal(self, text: str) -> Refusal | None:
        """Why an address is refused, or None."""
        address = ip_address(text.partition("%")[0])
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        if any(form in network for network in self._allowed for form in (address, mapped) if form):
            return None
        return next(filter(None, map(_refusal, (address, *_embedded(address)))), None)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to what a guard lets pass."""

    def __init__(self, guard: AddressGuard, resolve: Resolve | None = None) -> None:
        self._guard, self._resolve = guard, resolve or Resolver()
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error.strerror or error}") from error
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._passed(host, addresses)[:TRIED]:
            try:
                return await self._backend.connect_tcp(
                    address, port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise ForbiddenAddressError("sockets of this host are not connected to")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _passed(self, host: str, addresses: Sequence[str]) -> list[str]:
        refusals = {address: self._guard.refusal(address) for address in addresses}
        passed = [address for address, refusal in refusals.items() if refusal is None]
        if refusals and not passed:
            told = ", ".join(f"{address} ({refusal})" for address, refusal in refusals.items())
            raise ForbiddenAddressError(f"{host} leads to {told}; name the network in allowed_networks")
        return passed


class Resolver:
    """The system's resolver, in threads of its own so that slow names hold up nothing else."""

    def __init__(self, threads: int = 16) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def __call__(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _addresses, host, port)
        return list(dict.fromkeys(found))


def _addresses(host: str, port: int) -> list[str]:
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(row[4][0]) for row in rows]


def _refusal(address: Address) -> Refusal | None:
    tests = (
        (any(address in network for network in METADATA), Refusal.METADATA),
        (address.is_loopback, Refusal.LOOPBACK),
        (address.is_link_local, Refusal.LINK_LOCAL),
        (address.is_multicast, Refusal.MULTICAST),
        (address.is_private, Refusal.PRIVATE),
        (not address.is_global, Refusal.NOT_PUBLIC),
    )
    return next((refusal for holds, refusal in tests if holds), None)


def _embedded(address: Address) -> list[IPv4Address]:
    """IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64 or int(address) >> 32 == 0:
        found.append(IPv4Address(int(address) & 0xFFFF_FFFF))
    return [each for each in found if each is not None]
