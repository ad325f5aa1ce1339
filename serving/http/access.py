"""Who is calling, and whether they may: asked before a call is answered.

While a workspace has no keys, only this machine may call, and only directly: a request that came through a proxy or
from another site's page in a browser is refused. From the first key on, every call that has a scope needs a key.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import ip_address

import structlog
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data_contracts.errors import WorkspaceError
from serving.http import keys
from serving.http.key_file import KeyRing
from serving.http.keys import LOCAL, Caller, Refusal
from serving.http.limits import Limits
from serving.http.problems import ProblemError
from serving.http.rates import SLOTS, Rates
from serving.http.sessions import refuse_forgery, session_in
from serving.http.signing import Purpose, Signer, Void
from serving.meters import meters
from serving.times import wall_now_us

log = structlog.get_logger(__name__)

#: Where requests with a wrong key are counted, all together; slots of keys begin with 1.
REFUSED_SLOT = 0
#: From here on, calls that need no key are counted, by address.
OPEN_SLOTS = SLOTS // 2
_BEARER = b"bearer "
_CHALLENGE = {"WWW-Authenticate": "Bearer"}
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})


def caller_of(connection: HTTPConnection) -> Caller:
    """Who makes this request; every call with a scope has one."""
    caller: Caller = connection.state.caller
    return caller


class Access:
    """Lets a request in as somebody, or raises a problem that says why not."""

    def __init__(self, ring: KeyRing, rates: Rates, limits: Limits, signer: Signer) -> None:
        self.ring, self._rates, self._limits, self.signer = ring, rates, limits, signer

    def admit(self, scope: Scope, needed: keys.Scope) -> Caller:
        """The caller of a request, who has the scope that is needed."""
        caller = self._identify(scope)
        self._count(caller)
        if needed not in caller.scopes:
            held = ", ".join(sorted(caller.scopes))
            detail = f"this call needs the scope {needed}; the key {caller.name!r} has {held}"
            raise ProblemError(HTTPStatus.FORBIDDEN, "scope-missing", detail)
        return caller

    def let_through(self, scope: Scope) -> None:
        """Count a call that needs no key, by the address that it comes from."""
        address = (scope.get("client") or ("",))[0]
        slot = OPEN_SLOTS + zlib.crc32(address.encode()) % OPEN_SLOTS
        self._take(slot, self._limits.open_requests_per_s, "your address")

    def caller_of_key(self, text: str, scope: Scope) -> Caller:
        """Who holds a key that somebody signs in with."""
        caller = self._admitted(lambda: self.ring.caller(text), scope)
        self._count(caller)
        return caller

    def _count(self, caller: Caller) -> None:
        if caller is not LOCAL:
            self._take(
                caller.slot % OPEN_SLOTS, caller.requests_per_s or self._limits.requests_per_s, caller.name
            )

    def _identify(self, scope: Scope) -> Caller:
        return self._admitted(lambda: self._by_session(scope) or self.ring.caller(bearer_key(scope)), scope)

    def _by_session(self, scope: Scope) -> Caller | Refusal | None:
        """Who is signed in; None where the request brings a key, or no session that still counts."""
        headers = scope["headers"]
        if any(name == b"authorization" for name, _ in headers):
            return None
        session = session_in(headers)
        claims = self.signer.open(Purpose.SESSION, session, wall_now_us()) if session else Void.INVALID
        if isinstance(claims, Void) or session is None:
            return None
        refuse_forgery(self.signer, session, scope.get("method", "GET"), headers)
        return self.ring.caller_of_id(str(claims["key_id"]))

    def _admitted(self, find: Callable[[], Caller | Refusal], scope: Scope) -> Caller:
        try:
            if self.ring.is_empty:
                return local_caller(scope)
            found = find()
        except WorkspaceError as error:
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "keys-unreadable", error.what) from None
        if isinstance(found, Refusal):
            self._take(REFUSED_SLOT, self._limits.refused_keys_per_s, "callers without a good key")
            log.info("key_refused", reason=found.name, path=scope["path"])
            raise _unauthorized("key-refused", f"{found}; see `punctual keys list`")
        return found

    def _take(self, slot: int, per_s: float, who: str) -> None:
        wait_s = self._rates.wait_s(slot, per_s)
        if wait_s:
            detail = f"{who}: more than {per_s:g} requests a second; go on in {wait_s:.1f} s"
            headers = {"Retry-After": str(math.ceil(wait_s))}
            raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests", detail, headers)


class Guard:
    """Around one route: nobody gets in whom the app does not admit, and every answer is timed; costs microseconds."""

    def __init__(self, app: ASGIApp, call: str, needed: keys.Scope | None) -> None:
        self._app, self._call, self._needed = app, call, needed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s, status = time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._answered(status, started_s)
            await send(message)

        try:
            access: Access = scope["app"].state.access
            if self._needed is None:
                access.let_through(scope)
            else:
                scope.setdefault("state", {})["caller"] = access.admit(scope, self._needed)
            await self._app(scope, receive, watched)
        except Exception as error:
            if not status:
                self._answered(getattr(error, "status", HTTPStatus.INTERNAL_SERVER_ERROR), started_s)
            raise

    def _answered(self, status: int, started_s: float) -> None:
        counted = meters()
        counted.call_s.labels(self._call).observe(time.perf_counter() - started_s)
        counted.calls.labels(self._call, str(int(status))).inc()


def bearer_key(scope: Scope) -> str:
    """The key in a request's ``Authorization`` header."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(given) != 1 or given[0][: len(_BEARER)].lower() != _BEARER:
        detail = "send a key: `Authorization: Bearer punctual_...`; `punctual keys create` makes one"
        raise _unauthorized("key-missing", detail)
    return given[0][len(_BEARER) :].strip().decode("latin-1")


def local_caller(scope: Scope) -> Caller:
    """The caller from this machine; anybody else is refused while there are no keys."""
    if not _is_local(scope):
        detail = (
            "this workspace has no keys, so only programs on its own machine may call it, and not through a "
            "proxy or from another site's page; make a key with `punctual keys create`"
        )
        raise ProblemError(HTTPStatus.FORBIDDEN, "loopback-only", detail)
    return LOCAL


def _is_local(scope: Scope) -> bool:
    client = scope.get("client")
    if not client or not is_loopback(client[0]):
        return False
    for name, value in scope["headers"]:
        if name == b"host" and _without_port(value.decode("latin-1")) not in _LOCAL_NAMES:
            return False
        if name in _FORWARDED or (name == b"sec-fetch-site" and value == b"cross-site"):
            return False
        if (
            name == b"origin"
            and _without_port(value.decode("latin-1").partition("://")[2]) not in _LOCAL_NAMES
        ):
            return False
    return True


def is_loopback(host: str) -> bool:
    """Whether an address is reached from its own machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _unauthorized(kind: str, detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.UNAUTHORIZED, kind, detail, headers=_CHALLENGE)
