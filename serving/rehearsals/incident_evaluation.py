"""Whether incidents named what truly happened: against injected disruptions, by the evaluation contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from serving.decisions.incidents import Cause, Incident

MINUTE_US = 60_000_000
#: A storm is announced before it comes, and what it caused lasts.
AHEAD_US, AFTER_US = 120 * MINUTE_US, 30 * MINUTE_US


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueDisruption:
    """What truly happened, and whom it struck: an area, zones, a depot or the routes of a vehicle."""

    disruption_id: str
    cause: Cause
    onset_us: int
    end_us: int
    area_id: str | None = None
    zone_ids: frozenset[str] = frozenset()
    depot_id: str | None = None
    route_ids: frozenset[str] = frozenset()


def incident_figures(
    incidents: Sequence[Incident], disruptions: Sequence[TrueDisruption], depot_of: Mapping[str, str]
) -> dict[str, Any]:
    """How many disruptions were named by their cause, how soon, and how many named incidents were one."""
    named = [incident for incident in incidents if incident.cause is not Cause.ROUTE_BEHIND]
    found = {
        truth.disruption_id: [each for each in named if names(each, truth, depot_of)] for truth in disruptions
    }
    right = {each.incident_id for matches in found.values() for each in matches}
    return {
        **_share(disruptions, found),
        "by_cause": {
            cause.value: _share([t for t in disruptions if t.cause is cause], found)
            for cause in Cause
            if cause is not Cause.ROUTE_BEHIND
        },
        "incidents": len(named),
        "incidents_true": len(right),
        "incidents_false_by_cause": {
            cause.value: sum(each.cause is cause and each.incident_id not in right for each in named)
            for cause in Cause
            if cause is not Cause.ROUTE_BEHIND
        },
    }


def names(incident: Incident, truth: TrueDisruption, depot_of: Mapping[str, str]) -> bool:
    """Whether an incident is of a disruption's cause and overlaps it in place and time."""
    if incident.cause is not truth.cause or not _in_time(incident, truth):
        return False
    match truth.cause:
        case Cause.STORM:
            return incident.subject_id == truth.area_id
        case Cause.SLOW_ZONE:
            return not incident.zone_ids.isdisjoint(truth.zone_ids)
        case Cause.SORT_DELAY:
            return depot_of.get(incident.subject_id, incident.subject_id) == truth.depot_id
        case _:
            return incident.subject_id in truth.route_ids


def _in_time(incident: Incident, truth: TrueDisruption) -> bool:
    resolved_us = incident.resolved_us if incident.resolved_us is not None else truth.end_us
    ahead_us = AHEAD_US if truth.cause is Cause.STORM else 0
    return incident.opened_us <= truth.end_us + AFTER_US and resolved_us >= truth.onset_us - ahead_us


def _share(truths: Sequence[TrueDisruption], found: Mapping[str, Sequence[Incident]]) -> dict[str, Any]:
    delays = [
        (min(each.opened_us for each in found[truth.disruption_id]) - truth.onset_us) / MINUTE_US
        for truth in truths
        if found[truth.disruption_id]
    ]
    return {
        "disruptions": len(truths),
        "named": len(delays),
        "share": len(delays) / len(truths) if truths else None,
        "median_delay_min": median(delays) if delays else None,
    }
