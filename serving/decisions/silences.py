"""Standing orders not to hear of something: about what, until when, and who gave them for which reason.

What a silence covers happens all the same: alerts open, incidents live, the API lists them. Only nobody is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from serving.decisions.alerts import Kind, Rule
from serving.decisions.incidents import Incident
from serving.times import from_rfc3339

#: What a silence may name.
MATCHERS = ("rule", "cause", "route_id", "depot_id", "zone_id", "area_id", "subject_id")
#: Who gave the orders that stand in the settings.
SETTINGS = "settings"
#: What something is about: by matcher, all the values that it has.
Labels = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """One order. It covers what it names alone: an incident of two routes is not silenced by one of them.

    until_us : None where it stands until it is taken back
    """

    silence_id: str
    who: str
    why: str
    from_us: int
    until_us: int | None
    matchers: Mapping[str, str]

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.matchers) - set(MATCHERS)):
            raise ValueError(f"a silence knows {', '.join(MATCHERS)}; not {unknown[0]}")
        if not self.matchers:
            raise ValueError(f"a silence names what it is about: one or more of {', '.join(MATCHERS)}")

    def lasts(self, at_us: int) -> bool:
        return self.from_us <= at_us and (self.until_us is None or at_us < self.until_us)

    def covers(self, labels: Labels) -> bool:
        """Whether everything that it names is named alone."""
        return all(labels.get(name) == {value} for name, value in self.matchers.items())

    def dump(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def load(cls, body: bytes) -> Silence:
        return cls(**orjson.loads(body))


def of_settings(orders: Iterable[Mapping[str, Any]]) -> tuple[Silence, ...]:
    """The orders of ``[serving.incidents] silences``: matchers, and ``until`` where they end."""
    return tuple(
        Silence(
            silence_id=f"{SETTINGS}-{number}",
            who=SETTINGS,
            why="",
            from_us=0,
            until_us=from_rfc3339(str(order["until"])) if "until" in order else None,
            matchers={name: str(value) for name, value in order.items() if name != "until"},
        )
        for number, order in enumerate(orders)
    )


def is_silenced(silences: Iterable[Silence], labels: Labels, at_us: int) -> bool:
    """Whether one of them covers something now."""
    return any(each.lasts(at_us) and each.covers(labels) for each in silences)


def labels_of_incident(incident: Incident) -> Labels:
    """What an incident is about: its subject, and else all that its alerts are about."""
    about = {
        Kind.ROUTE: ("route_id", incident.route_ids),
        Kind.DEPOT: ("depot_id", incident.depot_ids),
        Kind.ZONE: ("zone_id", incident.zone_ids),
    }
    named = {
        name: frozenset((incident.subject_id,)) if kind is incident.kind else ids
        for kind, (name, ids) in about.items()
    }
    return named | {
        "rule": incident.rules,
        "cause": frozenset((incident.cause.value,)),
        "area_id": _only(incident.area_id),
        "subject_id": frozenset((incident.subject_id,)),
    }


def labels_of_alert(
    rule: Rule,
    subject_id: str,
    *,
    route_id: str | None,
    depot_id: str | None,
    zone_ids: Sequence[str],
    area_id: str | None,
    cause: str | None,
) -> Labels:
    """What an alert is about; the last of its zones is its own."""
    return {
        "rule": frozenset((rule.value,)),
        "cause": _only(cause),
        "route_id": _only(route_id),
        "depot_id": _only(depot_id),
        "zone_id": frozenset(zone_ids[-1:]),
        "area_id": _only(area_id),
        "subject_id": frozenset((subject_id,)),
    }


def _only(value: str | None) -> frozenset[str]:
    return frozenset() if value is None else frozenset((value,))
