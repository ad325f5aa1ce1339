"""An incident as the API and the events tell it."""

from __future__ import annotations

from typing import Any

from serving.decisions.alerts import AlertPolicy
from serving.decisions.incidents import Incident, Transition
from serving.times import to_rfc3339, to_rfc3339_or_none

#: Stops that the API names of one incident.
MOST_STOPS = 1_000
#: Steps of its life that the API names.
MOST_STEPS = 1_000


def incident_document(
    incident: Incident, policy: AlertPolicy, most_stops: int = MOST_STOPS, most_steps: int = MOST_STEPS
) -> dict[str, Any]:
    """Everything that people may know of an incident: its stops as far as there is room, its last steps."""
    stop_ids = sorted(incident.stop_ids)
    return {
        "incident_id": incident.incident_id,
        "cause": incident.cause.value,
        "state": incident.state.value,
        "severity": policy.severity(incident.worst_min),
        "subject": {"kind": incident.kind.value, "id": incident.subject_id},
        "area_id": incident.area_id,
        "opened_at": to_rfc3339(incident.opened_us),
        "updated_at": to_rfc3339(incident.updated_us),
        "resolved_at": to_rfc3339_or_none(incident.resolved_us),
        "snoozed_until": to_rfc3339_or_none(incident.snoozed_until_us),
        "told_at": to_rfc3339_or_none(incident.told_us),
        "untold": incident.untold.value if incident.untold else None,
        "evidence": list(incident.evidence),
        "alerts": {"open": len(incident.open_alerts), "total": incident.alerts},
        "weighed_minutes": round(sum(incident.open_alerts.values()), 1),
        "affected": {
            "stops": len(stop_ids),
            "stop_ids": stop_ids[:most_stops],
            "route_ids": sorted(incident.route_ids)[:most_stops],
            "zone_ids": sorted(incident.zone_ids)[:most_stops],
        },
        "actions": list(incident.actions),
        "transitions": [_transition(each) for each in incident.transitions[-most_steps:]],
    }


def _transition(done: Transition) -> dict[str, Any]:
    return {
        "at": to_rfc3339(done.at_us),
        "from": done.before.value if done.before else None,
        "to": done.after.value,
        "who": done.who,
        "why": done.why,
    }
