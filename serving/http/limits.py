"""How much one request, one key and one machine may ask for."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may ask for, how many a key may make (those of a machine's own callers, without keys, are
    not counted), and how many, of how many stops, a worker lets wait for how long to be scored."""

    body_bytes: int = 8 * 1024 * 1024
    events: int = 10_000
    stops: int = 1_000
    rows: int = 1_000
    features: int = 100_000
    requests_per_s: float = 1_000.0
    refused_keys_per_s: float = 20.0
    open_requests_per_s: float = 50.0
    waiting: int = 64
    waiting_stops: int = 10_000
    patience_s: float = 5.0

    def __post_init__(self) -> None:
        for each in fields(self):
            if not getattr(self, each.name) > 0:
                raise ValueError(f"limits.{each.name} is over 0")
