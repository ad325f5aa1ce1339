"""Structured logs: one JSON object a line, each with a stable event name, and never a secret."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

HIDDEN = "[hidden]"
#: Fields that hold a secret whatever it looks like.
_SECRET_FIELDS = frozenset({"authorization", "cookie", "key", "password", "secret", "token"})
#: What our own secrets look like, in any text: API keys, and secrets of webhooks.
_SECRETS = re.compile(r"(punctual_[0-9a-f]{8}_|whsec_)[0-9A-Za-z+/=_-]{16,}|(bearer )\S+", re.IGNORECASE)


def hide_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The same line without what opens anything."""
    return {
        name: HIDDEN if name.lower() in _SECRET_FIELDS else _hidden(value) for name, value in event.items()
    }


def configure_logging() -> None:
    """One JSON object a line on standard error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            hide_secrets,
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return _SECRETS.sub(lambda found: f"{found[1] or found[2]}{HIDDEN}", value)
    if isinstance(value, Mapping):
        return hide_secrets(None, "", dict(value))
    if isinstance(value, list | tuple | set | frozenset):
        return [_hidden(each) for each in value]
    return value
