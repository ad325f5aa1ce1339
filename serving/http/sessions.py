"""What a browser's session is made of, and when it counts."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie

from serving.http.problems import ProblemError
from serving.http.signing import Purpose, Signer

COOKIE = "punctual_session"
CSRF_HEADER = b"x-csrf-token"
#: Methods that change nothing.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
Headers = Iterable[tuple[bytes, bytes]]


def csrf_of(signer: Signer, session: str) -> str:
    """The token that goes with a session."""
    return signer.mark(Purpose.CSRF, session)


def session_in(headers: Headers) -> str | None:
    """The session in a request's cookies."""
    for name, value in headers:
        if name == b"cookie":
            try:
                found = SimpleCookie(value.decode("latin-1")).get(COOKIE)
            except CookieError:
                return None
            if found is not None:
                return found.value
    return None


def refuse_forgery(signer: Signer, session: str, method: str, headers: Headers) -> None:
    """Raise unless a request that changes something brings the session's own token."""
    if method in SAFE:
        return
    given = next((value for name, value in headers if name == CSRF_HEADER), b"")
    if not hmac.compare_digest(given, csrf_of(signer, session).encode()):
        detail = "a session that changes something sends its csrf_token as X-CSRF-Token; see GET /v1/session"
        raise ProblemError(HTTPStatus.FORBIDDEN, "csrf-token-missing", detail)
