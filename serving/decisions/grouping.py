"""Which incident an alert belongs to, and whether anybody is told of it: pure stages, each with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from features.observations import distance_m
from serving.decisions.alerts import Kind, Rule
from serving.decisions.incidents import CAUSE_OF, Cause, Incident, State, Untold
from serving.decisions.silences import Silence, is_silenced, labels_of_incident, of_settings
from serving.times import US

Key = tuple[Cause, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentPolicy:
    """How alerts are gathered and how often people are told.

    gather_s : an incident is told this long after it opened, so that what follows at once is in it
    linger_s : an incident whose alerts are over is resolved once that has lasted, and so is one whose cause has passed
    mute_s : how long a cause opens no new incident after somebody resolved its last
    zone_reach_m : slowed zones this close to each other are one incident
    await_stops_s : an incident that no stop is late for yet is told after this at the latest
    inhibiting : while one of these is open, the stops that it explains are not told one by one
    most_told_an_hour : of each area
    silences : orders that stand; what a silence names, and ``until`` where one ends
    """

    gather_s: float = 120.0
    await_stops_s: float = 1800.0
    linger_s: float = 900.0
    mute_s: float = 1800.0
    zone_reach_m: float = 2500.0
    inhibiting: Sequence[str] = (Cause.STORM.value,)
    most_told_an_hour: int = 20
    silences: Sequence[Mapping[str, Any]] = ()
    actions_every_s: float = 3600.0

    def __post_init__(self) -> None:
        of_settings(self.silences)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the subject of an alert is, and what could explain it.

    zone_ids : of a stop, the zones that its route still passes on the way to it
    left_late : whether its route has not left, or left the depot late
    """

    stop_id: str | None = None
    route_id: str | None = None
    depot_id: str | None = None
    area_id: str | None = None
    zone_ids: Sequence[str] = ()
    position: tuple[float, float] | None = None
    left_late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Zones:
    """Centres of zones, by id: where the stops seen in them lie on average."""

    centres: Mapping[str, tuple[float, float]]

    def are_near(self, one: str, others: Iterable[str], reach_m: float) -> bool:
        here = self.centres.get(one)
        found = (self.centres.get(other) for other in others)
        return here is not None and any(there and distance_m(here, there) <= reach_m for there in found)


def in_order(incidents: Iterable[Incident]) -> list[Incident]:
    """The oldest first: an order that a restart does not change."""
    return sorted(incidents, key=lambda each: (each.opened_us, each.incident_id))


def home_of(
    rule: Rule,
    subject_id: str,
    place: Place,
    open_incidents: Mapping[Key, Incident],
    zones: Zones,
    reach_m: float,
) -> tuple[Cause, Kind, str]:
    """The cause that an alert is grouped under, and its subject: group."""
    cause = CAUSE_OF.get(rule)
    if cause is None:
        return _explained(place, open_incidents)
    if cause is Cause.STORM:
        return cause, Kind.AREA, subject_id
    if cause is Cause.SORT_DELAY:
        at_depot = place.depot_id is not None
        return (cause, Kind.DEPOT, str(place.depot_id)) if at_depot else (cause, Kind.ROUTE, subject_id)
    if cause is Cause.BREAKDOWN:
        return cause, Kind.ROUTE, subject_id
    for incident in in_order(open_incidents.values()):
        if incident.cause is cause and zones.are_near(subject_id, incident.zone_ids, reach_m):
            return cause, Kind.ZONE, incident.subject_id
    return cause, Kind.ZONE, subject_id


def _explained(place: Place, open_incidents: Mapping[Key, Incident]) -> tuple[Cause, Kind, str]:
    """What explains a late stop, the most particular first: its vehicle, its depot, the sky, the streets."""
    route_id, depot_id, area_id = place.route_id or "", place.depot_id or "", place.area_id or ""
    if (Cause.BREAKDOWN, route_id) in open_incidents:
        return Cause.BREAKDOWN, Kind.ROUTE, route_id
    if place.left_late and (Cause.SORT_DELAY, depot_id) in open_incidents:
        return Cause.SORT_DELAY, Kind.DEPOT, depot_id
    if (Cause.STORM, area_id) in open_incidents:
        return Cause.STORM, Kind.AREA, area_id
    for incident in in_order(open_incidents.values()):
        if incident.cause is Cause.SLOW_ZONE and not incident.zone_ids.isdisjoint(place.zone_ids):
            return incident.cause, Kind.ZONE, incident.subject_id
    return Cause.ROUTE_BEHIND, Kind.ROUTE, route_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the stages see besides the incident itself."""

    at_us: int
    policy: IncidentPolicy
    open_incidents: Mapping[Key, Incident]
    told_us: Sequence[int]
    silences: Sequence[Silence] = ()


Stage = Callable[[Incident, Scene], Untold | None]


def gather(incident: Incident, scene: Scene) -> Untold | None:
    """What has just opened waits for what follows at once, and longer while no stop is late for it."""
    waited_s = (scene.at_us - incident.opened_us) / US
    if waited_s < scene.policy.gather_s:
        return Untold.GATHERING
    alone = not incident.stop_ids and waited_s < scene.policy.await_stops_s
    return Untold.NO_STOP_LATE_YET if alone else None


def handed_over(incident: Incident, scene: Scene) -> Untold | None:
    """Whoever was told of a cause knows what was late for it; a route is news again with its next late stop."""
    return Untold.HANDED_OVER if incident.alerts and incident.alerts == incident.handed else None


def snooze(incident: Incident, scene: Scene) -> Untold | None:
    """Somebody has put it off."""
    return Untold.SNOOZED if incident.state is State.SNOOZED else None


def inhibit(incident: Incident, scene: Scene) -> Untold | None:
    """A storm explains the slow zones and late routes of its area."""
    explained = incident.cause in (Cause.SLOW_ZONE, Cause.ROUTE_BEHIND)
    return Untold.INHIBITED if explained and is_inhibited(incident.area_id, scene) else None


def silence(incident: Incident, scene: Scene) -> Untold | None:
    """A standing order not to hear of it."""
    return Untold.SILENCED if is_silenced(scene.silences, labels_of_incident(incident), scene.at_us) else None


def rate_limit(incident: Incident, scene: Scene) -> Untold | None:
    """An area is told of so many incidents an hour and no more; the rest waits."""
    recent = sum(scene.at_us - told_us < 3600 * US for told_us in scene.told_us)
    return Untold.RATE_LIMITED if recent >= scene.policy.most_told_an_hour else None


STAGES: tuple[Stage, ...] = (gather, handed_over, snooze, inhibit, silence, rate_limit)


def why_untold(incident: Incident, scene: Scene) -> Untold | None:
    """Why nobody is told of an incident now, None where it is to be told."""
    for stage in STAGES:
        if (reason := stage(incident, scene)) is not None:
            return reason
    return None


def is_inhibited(area_id: str | None, scene: Scene) -> bool:
    """Whether something open in an area silences what it explains."""
    return any((Cause(cause), area_id or "") in scene.open_incidents for cause in scene.policy.inhibiting)
