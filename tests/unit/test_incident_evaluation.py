"""An incident is right when it names the cause of what truly happened, there and then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serving.decisions.alerts import Kind
from serving.decisions.incidents import Cause, Incident, opened
from serving.rehearsals.incident_evaluation import MINUTE_US, TrueDisruption, incident_figures, names

SLOW = TrueDisruption(
    disruption_id="X-1",
    cause=Cause.SLOW_ZONE,
    onset_us=100 * MINUTE_US,
    end_us=200 * MINUTE_US,
    zone_ids=frozenset({"Z-1", "Z-2"}),
)


def an_incident(cause: Cause, subject_id: str, opened_min: int, resolved_min: int | None = None) -> Incident:
    incident = opened(cause, Kind.ZONE, subject_id, "A", opened_min * MINUTE_US)
    resolved_us = None if resolved_min is None else resolved_min * MINUTE_US
    return replace(incident, zone_ids=frozenset({subject_id}), resolved_us=resolved_us)


@pytest.mark.parametrize(
    ("incident", "is_right"),
    [
        (an_incident(Cause.SLOW_ZONE, "Z-2", 110), True),
        (an_incident(Cause.SLOW_ZONE, "Z-9", 110), False),
        (an_incident(Cause.STORM, "Z-2", 110), False),
        (an_incident(Cause.SLOW_ZONE, "Z-2", 231), False),
        (an_incident(Cause.SLOW_ZONE, "Z-2", 50, 99), False),
    ],
)
def test_cause_place_and_time_must_fit(incident: Incident, is_right: bool) -> None:
    assert names(incident, SLOW, {}) is is_right


def test_a_storm_may_be_announced() -> None:
    storm = replace(SLOW, cause=Cause.STORM, area_id="A")
    incident = opened(Cause.STORM, Kind.AREA, "A", "A", 40 * MINUTE_US)
    assert names(replace(incident, resolved_us=90 * MINUTE_US), storm, {})


def test_a_sort_delay_may_be_named_by_its_routes() -> None:
    late = replace(SLOW, cause=Cause.SORT_DELAY, depot_id="D-1")
    incident = opened(Cause.SORT_DELAY, Kind.ROUTE, "R-1", "A", 110 * MINUTE_US)
    assert names(incident, late, {"R-1": "D-1"}) and not names(incident, late, {"R-1": "D-2"})


def test_figures_count_each_disruption_once_with_its_soonest_name() -> None:
    incidents = [
        an_incident(Cause.SLOW_ZONE, "Z-1", 130),
        an_incident(Cause.SLOW_ZONE, "Z-2", 112),
        an_incident(Cause.SLOW_ZONE, "Z-7", 112),
        an_incident(Cause.ROUTE_BEHIND, "R-1", 112),
    ]
    figures = incident_figures(incidents, [SLOW, replace(SLOW, disruption_id="X-2", cause=Cause.STORM)], {})
    assert (figures["disruptions"], figures["named"], figures["share"]) == (2, 1, 0.5)
    assert figures["median_delay_min"] == 12.0
    assert (figures["incidents"], figures["incidents_true"]) == (3, 2)
    assert figures["incidents_false_by_cause"]["slow_zone"] == 1
