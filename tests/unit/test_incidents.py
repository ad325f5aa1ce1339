"""Incidents: one for each cause, a life cycle that says who and why, and never an end before a beginning."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.decisions.alerts import AlertPolicy, Kind, Rule
from serving.decisions.grouping import IncidentPolicy, Place, Scene, Zones, home_of, why_untold
from serving.decisions.incidents import ENGINE, Cause, Incident, Refused, State, Step, Untold, Why, opened
from serving.decisions.silences import of_settings
from serving.engine.batch import Batch
from serving.engine.incident_desk import IncidentDesk, NewAlert
from serving.engine.incident_documents import incident_document
from serving.engine.telling import tell_incident
from serving.times import US

MINUTE_US = 60 * US
HOUR_US = 60 * MINUTE_US
POLICY = IncidentPolicy(gather_s=120, linger_s=600, mute_s=1800)
PLACE = Place(stop_id="S-1", route_id="R-1", depot_id="D-1", area_id="A", zone_ids=("Z-1", "Z-2"))
NO_ZONES = Zones(centres={})


def new_alert(rule: Rule, subject_id: str, place: Place = PLACE, number: int = 0) -> NewAlert:
    return NewAlert(alert_id=f"{rule}:{subject_id}:{number}", rule=rule, subject_id=subject_id, place=place)


def joined(desk: IncidentDesk, rule: Rule, subject_id: str, at_us: int, place: Place = PLACE) -> Incident:
    incident = desk.joined(new_alert(rule, subject_id, place), at_us, NO_ZONES, Batch())
    assert incident is not None
    return incident


def an_incident(cause: Cause = Cause.STORM, subject_id: str = "A", at_us: int = 0) -> Incident:
    return opened(cause, Kind.AREA, subject_id, "A", at_us)


# --- the life cycle -----------------------------------------------------------------------------------------


def test_every_step_says_who_when_and_why() -> None:
    seen = an_incident().take(Step.ACKNOWLEDGE, 5, "maria", "calling the depot")
    assert isinstance(seen, Incident)
    over = seen.take(Step.RESOLVE, 9, "maria", "sky is clear")
    assert isinstance(over, Incident)
    told = [(each.at_us, each.after.value, each.who, each.why) for each in over.transitions]
    assert told == [
        (0, "open", ENGINE, "ALERT_OPENED"),
        (5, "acknowledged", "maria", "calling the depot"),
        (9, "resolved", "maria", "sky is clear"),
    ]


@pytest.mark.parametrize("step", [Step.ACKNOWLEDGE, Step.SNOOZE, Step.WAKE, Step.RESOLVE])
def test_what_is_resolved_stays_resolved(step: Step) -> None:
    over = an_incident().take(Step.RESOLVE, 1, "x", "")
    assert isinstance(over, Incident)
    assert over.take(step, 2, "x", "", 100) is Refused.ALREADY_RESOLVED


def test_a_snooze_needs_an_instant_that_is_to_come() -> None:
    assert an_incident().take(Step.SNOOZE, 10, "x", "", 10) is Refused.SNOOZE_IN_THE_PAST
    assert an_incident().take(Step.SNOOZE, 10, "x", "") is Refused.SNOOZE_IN_THE_PAST


def test_who_wakes_up_is_as_far_as_before_the_snooze() -> None:
    for seen, state in ((False, State.OPEN), (True, State.ACKNOWLEDGED)):
        incident = an_incident()
        if seen:
            incident = incident.take(Step.ACKNOWLEDGE, 1, "x", "")  # type: ignore[assignment]
        snoozed = incident.take(Step.SNOOZE, 2, "x", "", 50)
        assert isinstance(snoozed, Incident) and snoozed.state is State.SNOOZED
        awake = snoozed.take(Step.WAKE, 50, ENGINE, Why.SNOOZE_OVER)
        assert isinstance(awake, Incident) and (awake.state, awake.snoozed_until_us) == (state, None)


def test_an_incident_is_stored_whole() -> None:
    desk = IncidentDesk(policy=POLICY)
    joined(desk, Rule.LATE_RISK, "S-1", 0)
    incident = desk.open[Cause.ROUTE_BEHIND, "R-1"].take(Step.SNOOZE, 1, "x", "later", 99)
    assert isinstance(incident, Incident)
    assert Incident.load(incident.dump()) == incident
    assert orjson.loads(orjson.dumps(incident_document(incident, AlertPolicy())))["state"] == "snoozed"


# --- grouping -----------------------------------------------------------------------------------------------


def test_late_stops_of_one_route_are_one_incident() -> None:
    desk = IncidentDesk(policy=POLICY)
    joined(desk, Rule.LATE_RISK, "S-1", 0)
    both = joined(desk, Rule.LATE_RISK, "S-2", 1, replace(PLACE, stop_id="S-2"))
    assert (both.cause, both.subject_id, both.stop_ids) == (
        Cause.ROUTE_BEHIND,
        "R-1",
        frozenset({"S-1", "S-2"}),
    )


def test_a_storm_takes_over_the_late_routes_of_its_area_and_whatever_comes_after() -> None:
    desk, batch = IncidentDesk(policy=POLICY), Batch()
    joined(desk, Rule.LATE_RISK, "S-1", 0)
    storm = joined(desk, Rule.SEVERE_WEATHER, "A", MINUTE_US, Place(area_id="A"))
    storm, merged = desk.merge(storm, MINUTE_US, batch)
    assert [each.transitions[-1].why for each in merged] == [f"MERGED {storm.incident_id}"]
    later = joined(
        desk, Rule.LATE_RISK, "S-9", 2 * MINUTE_US, Place(stop_id="S-9", route_id="R-9", area_id="A")
    )
    assert later.incident_id == storm.incident_id
    assert later.stop_ids == {"S-1", "S-9"}
    elsewhere = joined(desk, Rule.LATE_RISK, "S-B", 3, Place(stop_id="S-B", route_id="R-B", area_id="B"))
    assert elsewhere.cause is Cause.ROUTE_BEHIND


def test_the_most_particular_cause_explains_a_late_stop() -> None:
    desk = IncidentDesk(policy=POLICY)
    late = replace(PLACE, left_late=True)
    found = []
    for rule, subject_id in (
        (Rule.ZONE_SLOWED, "Z-1"),
        (Rule.SEVERE_WEATHER, "A"),
        (Rule.DEPOT_BEHIND, "D-1"),
        (Rule.VEHICLE_STUCK, "R-1"),
    ):
        place = Place(route_id="R-1", depot_id="D-1", area_id="A", zone_ids=("Z-1",))
        joined(desk, rule, subject_id, 0, place)
        found.append(home_of(Rule.LATE_RISK, "S-1", late, desk.open, NO_ZONES, 0.0)[0].value)
    assert found == ["slow_zone", "storm", "sort_delay", "breakdown"]


def test_a_depot_explains_only_routes_that_left_it_late() -> None:
    desk = IncidentDesk(policy=POLICY)
    joined(desk, Rule.DEPOT_BEHIND, "D-1", 0)
    assert home_of(Rule.LATE_RISK, "S-1", PLACE, desk.open, NO_ZONES, 0.0)[0] is Cause.ROUTE_BEHIND


def test_slowed_zones_beside_each_other_are_one_incident() -> None:
    desk = IncidentDesk(policy=POLICY)
    zones = Zones(centres={"Z-1": (50.0, 4.0), "Z-2": (50.01, 4.0), "Z-9": (50.5, 4.0)})
    for zone_id in ("Z-1", "Z-2", "Z-9"):
        place = Place(zone_ids=(zone_id,), area_id="A")
        desk.joined(new_alert(Rule.ZONE_SLOWED, zone_id, place), 0, zones, Batch())
    found = {incident.zone_ids for incident in desk.open.values()}
    assert found == {frozenset({"Z-1", "Z-2"}), frozenset({"Z-9"})}


def a_storm_that_ended(told: bool = True) -> tuple[IncidentDesk, Incident]:
    """A storm of two late stops of one route, whose weather cleared after half an hour."""
    desk = IncidentDesk(policy=POLICY)
    storm = joined(desk, Rule.SEVERE_WEATHER, "A", 0, Place(area_id="A"))
    for stop_id in ("S-1", "S-2"):
        joined(desk, Rule.LATE_RISK, stop_id, MINUTE_US, replace(PLACE, stop_id=stop_id))
    if told:
        list(desk.tick(5 * MINUTE_US, Batch()))
    desk.left("severe_weather:A:0", 30 * MINUTE_US, Batch())
    return desk, desk.open[storm.key]


def test_a_storm_is_over_a_while_after_its_weather_though_stops_are_still_late() -> None:
    desk, _ = a_storm_that_ended()
    assert desk.passed(39 * MINUTE_US, Batch()) == []
    ((over, left),) = desk.passed(40 * MINUTE_US, Batch())
    assert (over.state, over.transitions[-1].why) == (State.RESOLVED, "CAUSE_PASSED 2")
    assert sorted(left) == ["late_risk:S-1:0", "late_risk:S-2:0"]
    assert desk.open == {} and over.open_alerts == {}


def test_weather_that_comes_back_keeps_its_storm_open() -> None:
    desk, _ = a_storm_that_ended()
    desk.joined(new_alert(Rule.SEVERE_WEATHER, "A", Place(area_id="A"), 1), 35 * MINUTE_US, NO_ZONES, Batch())
    assert desk.passed(HOUR_US, Batch()) == []


@pytest.mark.parametrize(("rule", "subject_id"), [(Rule.VEHICLE_STUCK, "R-1"), (Rule.DEPOT_BEHIND, "D-1")])
def test_what_held_a_vehicle_or_a_depot_up_stays_with_the_routes_that_it_held_up(
    rule: Rule, subject_id: str
) -> None:
    desk, late = IncidentDesk(policy=POLICY), replace(PLACE, left_late=True)
    joined(desk, rule, subject_id, 0, Place(route_id="R-1", depot_id="D-1", area_id="A"))
    joined(desk, Rule.LATE_RISK, "S-1", MINUTE_US, late)
    desk.left(f"{rule}:{subject_id}:0", 2 * MINUTE_US, Batch())
    assert desk.passed(10 * HOUR_US, Batch()) == [] and len(desk.open) == 1


def test_stops_of_a_storm_that_was_told_are_not_told_again_of_their_route() -> None:
    desk, _ = a_storm_that_ended()
    ((over, left),) = desk.passed(40 * MINUTE_US, Batch())
    for number, stop_id in enumerate(("S-1", "S-2")):
        alert = replace(new_alert(Rule.LATE_RISK, stop_id, replace(PLACE, stop_id=stop_id)), weighed_min=9.0)
        assert alert.alert_id in left
        route = desk.hand_over(over, alert, 40 * MINUTE_US, NO_ZONES, Batch())
        assert route is not None and (route.cause, route.handed) == (Cause.ROUTE_BEHIND, number + 1)
    assert list(desk.tick(3 * HOUR_US, Batch())) == []
    assert desk.open[Cause.ROUTE_BEHIND, "R-1"].untold is Untold.HANDED_OVER
    joined(desk, Rule.LATE_RISK, "S-3", 3 * HOUR_US, replace(PLACE, stop_id="S-3"))
    (told,) = desk.tick(3 * HOUR_US, Batch())
    assert told.stop_ids == {"S-1", "S-2", "S-3"}


def test_stops_of_a_cause_that_nobody_was_told_of_are_news_on_their_route() -> None:
    desk, _ = a_storm_that_ended(told=False)
    ((over, _),) = desk.passed(40 * MINUTE_US, Batch())
    desk.hand_over(over, new_alert(Rule.LATE_RISK, "S-1"), 40 * MINUTE_US, NO_ZONES, Batch())
    (told,) = desk.tick(HOUR_US, Batch())
    assert told.cause is Cause.ROUTE_BEHIND


# --- who is told --------------------------------------------------------------------------------------------


def scene(at_us: int, policy: IncidentPolicy = POLICY, told: int = 0, *others: Incident) -> Scene:
    return Scene(
        at_us=at_us,
        policy=policy,
        open_incidents={each.key: each for each in others},
        told_us=[at_us] * told,
    )


def test_an_incident_gathers_what_follows_at_once_before_it_is_told() -> None:
    incident = replace(an_incident(Cause.ROUTE_BEHIND, "R-1"), stop_ids=frozenset({"S-1"}))
    assert why_untold(incident, scene(119 * US)) is Untold.GATHERING
    assert why_untold(incident, scene(120 * US)) is None


def test_an_incident_that_no_stop_is_late_for_is_told_later() -> None:
    assert why_untold(an_incident(), scene(1799 * US)) is Untold.NO_STOP_LATE_YET
    assert why_untold(an_incident(), scene(1800 * US)) is None


def test_a_storm_silences_the_slow_zones_of_its_area() -> None:
    slow = an_incident(Cause.SLOW_ZONE, "Z-1")
    assert why_untold(slow, scene(HOUR_US, POLICY, 0, an_incident())) is Untold.INHIBITED
    broken = an_incident(Cause.BREAKDOWN, "R-1")
    assert why_untold(broken, scene(HOUR_US, POLICY, 0, an_incident())) is None


def test_a_silence_ends() -> None:
    orders = of_settings([{"cause": "route_behind", "until": "1970-01-01T02:00:00Z"}])
    incident = an_incident(Cause.ROUTE_BEHIND, "R-1")
    quiet = replace(scene(HOUR_US), silences=orders)
    assert why_untold(incident, quiet) is Untold.SILENCED
    assert why_untold(incident, replace(quiet, at_us=2 * HOUR_US)) is None
    assert why_untold(an_incident(), quiet) is None


def test_a_silence_about_something_unknown_is_refused() -> None:
    with pytest.raises(ValueError, match="a silence knows"):
        IncidentPolicy(silences=[{"colour": "red"}])


def test_an_area_is_told_only_so_often() -> None:
    policy = replace(POLICY, most_told_an_hour=3)
    assert why_untold(an_incident(), scene(HOUR_US, policy, 2)) is None
    assert why_untold(an_incident(), scene(HOUR_US, policy, 3)) is Untold.RATE_LIMITED


# --- whatever happens ---------------------------------------------------------------------------------------

PLACES = {
    "S-1": Place(stop_id="S-1", route_id="R-1", depot_id="D-1", area_id="A", zone_ids=("Z-1",)),
    "S-2": Place(stop_id="S-2", route_id="R-1", depot_id="D-1", area_id="A", left_late=True),
    "S-3": Place(stop_id="S-3", route_id="R-2", area_id="A"),
    "A": Place(area_id="A"),
    "R-1": Place(route_id="R-1", depot_id="D-1", area_id="A"),
    "D-1": Place(depot_id="D-1", area_id="A"),
    "Z-1": Place(zone_ids=("Z-1",), area_id="A"),
}
RULE_OF = {
    "S": Rule.LATE_RISK,
    "A": Rule.SEVERE_WEATHER,
    "R": Rule.VEHICLE_STUCK,
    "D": Rule.DEPOT_BEHIND,
    "Z": Rule.ZONE_SLOWED,
}
MOMENTS = st.lists(
    st.one_of(
        st.tuples(st.just("alert"), st.sampled_from(sorted(PLACES))),
        st.tuples(st.just("left"), st.integers(0, 9)),
        st.tuples(st.sampled_from(["acknowledge", "snooze", "resolve"]), st.integers(0, 9)),
        st.tuples(st.just("tick"), st.integers(1, 45)),
        st.tuples(st.just("commit"), st.just(0)),
        st.tuples(st.just("crash"), st.just(0)),
    ),
    max_size=60,
)


class Bench:
    """A desk whose batches are committed, or lost in a crash together with its memory."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.told: list[tuple[str, str]] = []
        self.now_us, self.opened = HOUR_US, 0
        self._start()

    def _start(self) -> None:
        self.desk, self.batch = IncidentDesk(policy=POLICY), Batch()
        self.desk.restore(map(Incident.load, self.stored.values()))

    def do(self, what: str, which: str | int) -> None:
        if what == "alert":
            self._alert(str(which))
        elif what == "left":
            alerts = sorted(each for incident in self.desk.open.values() for each in incident.open_alerts)
            for alert_id in alerts[int(which) : int(which) + 1]:
                self.desk.left(alert_id, self.now_us, self.batch)
        elif what == "tick":
            self.now_us += int(which) * MINUTE_US
            self._pass_on()
            for incident in self.desk.tick(self.now_us, self.batch):
                self._tell(incident)
        elif what == "commit":
            self._commit()
        elif what == "crash":
            self._start()
        else:
            self._command(Step(what), int(which))

    def _alert(self, subject_id: str) -> None:
        self.opened += 1
        alert = new_alert(RULE_OF[subject_id[0]], subject_id, PLACES[subject_id], self.opened)
        incident = self.desk.joined(alert, self.now_us, NO_ZONES, self.batch)
        if incident is not None and incident.cause in (Cause.STORM, Cause.BREAKDOWN):
            _, merged = self.desk.merge(incident, self.now_us, self.batch)
            for over in merged:
                self._tell(over)

    def _pass_on(self) -> None:
        for over, left in self.desk.passed(self.now_us, self.batch):
            self._tell(over)
            for alert_id in left:
                rule, subject_id, number = alert_id.split(":")
                alert = new_alert(Rule(rule), subject_id, PLACES[subject_id], int(number))
                self.desk.hand_over(over, alert, self.now_us, NO_ZONES, self.batch)

    def _command(self, step: Step, which: int) -> None:
        for incident in sorted(self.desk.open.values(), key=lambda each: each.incident_id)[which : which + 1]:
            until_us = self.now_us + 20 * MINUTE_US
            done = self.desk.command(
                incident.incident_id, step, self.now_us, "maria", "", until_us, self.batch
            )
            if isinstance(done, Incident) and done.is_over:
                self._tell(done)

    def _tell(self, incident: Incident) -> None:
        tell_incident(incident, AlertPolicy(), self.now_us, self.batch)

    def _commit(self) -> None:
        self.stored |= {key: incident.dump() for key, incident in self.batch.incidents.items()}
        for event in self.batch.outbox:
            data = orjson.loads(event.body)["data"]
            self.told.append((event.type, data["incident_id"]))
        self.batch = Batch()

    def check(self) -> None:
        known = [Incident.load(body) for body in self.stored.values()]
        live = [incident.key for incident in known if not incident.is_over]
        assert len(live) == len(set(live)), "two open incidents of one cause"
        alerts = [alert_id for incident in self.desk.open.values() for alert_id in incident.open_alerts]
        assert len(alerts) == len(set(alerts)), "an alert in two incidents"
        for incident in known:
            times = [each.at_us for each in incident.transitions]
            assert times == sorted(times) and incident.transitions[0].before is None
            assert all(
                later.before is earlier.after
                for earlier, later in zip(incident.transitions, incident.transitions[1:], strict=False)
            )
            assert all(each.who and each.why is not None for each in incident.transitions)
        assert len(self.told) == len(set(self.told)), "told twice"
        for place, (kind, incident_id) in enumerate(self.told):
            if kind == "disruption.closed":
                assert ("disruption.opened", incident_id) in self.told[:place], "an end before a beginning"


@given(MOMENTS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_happens_there_is_one_incident_a_cause_and_no_end_before_a_beginning(
    moments: list[tuple[str, str | int]],
) -> None:
    bench = Bench()
    for what, which in moments:
        bench.do(what, which)
        bench.check()
    bench.do("commit", 0)
    bench.check()


@given(MOMENTS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_engine_that_restarts_after_every_commit_ends_as_one_that_never_did(
    moments: list[tuple[str, str | int]],
) -> None:
    whole, broken = Bench(), Bench()
    for what, which in moments:
        if what == "crash":
            continue
        whole.do(what, which)
        broken.do(what, which)
        whole.do("commit", 0)
        broken.do("commit", 0)
        broken.do("crash", 0)
    assert (broken.stored, broken.told) == (whole.stored, whole.told)


def test_a_cause_that_somebody_resolved_opens_no_new_incident_for_a_while() -> None:
    desk, batch = IncidentDesk(policy=POLICY), Batch()
    storm = joined(desk, Rule.SEVERE_WEATHER, "A", 0, Place(area_id="A"))
    desk.command(storm.incident_id, Step.RESOLVE, MINUTE_US, "maria", "drizzle", None, batch)
    again = new_alert(Rule.SEVERE_WEATHER, "A", Place(area_id="A"), 1)
    assert desk.joined(again, 2 * MINUTE_US, NO_ZONES, batch) is None
    assert desk.joined(again, HOUR_US, NO_ZONES, batch) is not None


def test_an_incident_outlives_its_alerts_a_little() -> None:
    desk, batch = IncidentDesk(policy=POLICY), Batch()
    incident = joined(desk, Rule.LATE_RISK, "S-1", 0)
    list(desk.tick(3 * MINUTE_US, batch))
    desk.left(next(iter(incident.open_alerts)), 4 * MINUTE_US, batch)
    assert list(desk.tick(13 * MINUTE_US, batch)) == []
    (over,) = desk.tick(14 * MINUTE_US, batch)
    assert (over.state, over.transitions[-1].why) == (State.RESOLVED, "ALERTS_OVER")


def test_an_incident_that_was_over_before_it_was_told_is_never_told() -> None:
    desk, batch = IncidentDesk(policy=replace(POLICY, linger_s=0)), Batch()
    incident = joined(desk, Rule.LATE_RISK, "S-1", 0)
    desk.left(next(iter(incident.open_alerts)), US, batch)
    assert list(desk.tick(2 * US, batch)) == []
    assert batch.incidents[incident.incident_id].untold is Untold.OVER


def test_an_event_about_a_large_incident_stays_under_20_kb() -> None:
    many = [f"S-20260119-04-{number:03}" for number in range(1500)]
    windows = [{"stop_id": stop_id, "window": {"start": "x" * 24, "end": "x" * 24}} for stop_id in many[:30]]
    actions = [{"kind": "resequence", "route_id": "R-20260119-04", "stop_ids": many[:150]}] * 2
    incident = replace(
        an_incident(),
        stop_ids=frozenset(many),
        route_ids=frozenset(many[:300]),
        zone_ids=frozenset(many[:300]),
        actions=(*actions, {"kind": "offer_window", "windows": windows}),
        told_us=1,
    )
    for number in range(40):
        incident = incident.take(Step.SNOOZE, number + 1, "maria", "y" * 500, 10**9)  # type: ignore[assignment]
    batch = Batch()
    tell_incident(incident, AlertPolicy(), 99, batch)
    assert len(batch.outbox[0].body) < 20_000
    assert orjson.loads(batch.outbox[0].body)["data"]["affected"]["stops"] == 1500
