"""Customers: told when they want to be, found when they tend to be home, and forgotten when they ask for it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import orjson
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from data_contracts.workspace import Workspace
from pipelines.cli import app as command
from pipelines.personal import erase_landed, landed_visits
from serving.customers import wire
from serving.customers.advice import LEVELS, at_level
from serving.customers.home import (
    PRIOR_VISITS,
    STRENGTHS,
    USUAL_SHARE,
    HomeShare,
    Usual,
    Visit,
    best_hours,
    home_share,
)
from serving.customers.learning import HomeLearner
from serving.customers.preferences import Channel, Preferences
from serving.customers.store import CustomerStore, VisitMade
from serving.customers.timing import Act, Asked, TimingPolicy, Why, quiet_begins, quiet_ends, when
from serving.decisions.promises import DeliveryWindow
from serving.storage.log import Clock, EventLog
from serving.times import US, from_us, to_rfc3339, to_us, wall_now_us
from tests.api_client import PROBLEM, Client, play
from tests.builders import NOON_US
from tests.engine_bench import MODEL, late_day, route_events, tick

HOUR_US, DAY_US = 3600 * US, 86_400 * US
BRUSSELS = ZoneInfo("Europe/Brussels")
UNKNOWN = HomeShare(share=USUAL_SHARE, visits=0.0)
QUIET = Preferences(channel=Channel.SMS, notice_minutes=60, quiet_from_hour=21, quiet_to_hour=8)


def at(hour: float, day: int = 2, zone: ZoneInfo = BRUSSELS) -> int:
    """A local instant of March 2026."""
    minutes = round(hour * 60)
    return to_us(datetime(2026, 3, day, minutes // 60, minutes % 60, tzinfo=zone))


def asked(now_us: int, start: float, end: float, day: int = 2, **changes: Any) -> Asked:
    known: dict[str, Any] = {
        "window": DeliveryWindow(start_us=at(start, day), end_us=at(end, day)),
        "now_us": now_us,
        "zone": BRUSSELS,
        "preferences": QUIET,
        "home": UNKNOWN,
        "policy": TimingPolicy(),
    }
    return Asked(**known | changes)


# --- when to tell -----------------------------------------------------------------------------------------


def test_a_customer_is_told_once_the_notice_is_reached() -> None:
    early = when(asked(at(9), 14, 15))
    assert (early.act, early.why, early.at_us) == (Act.WAIT, Why.NOTICE_NOT_REACHED, at(13))
    now = when(asked(at(13.5), 14, 15))
    assert (now.act, now.why, now.at_us) == (Act.TELL, Why.WITHIN_NOTICE, at(13.5))


def test_nobody_is_told_in_quiet_hours() -> None:
    told = when(asked(at(6.5), 8.25, 9, preferences=replace(QUIET, notice_minutes=180)))
    assert (told.act, told.why, told.at_us) == (Act.WAIT, Why.QUIET_HOURS, at(8))


def test_what_would_be_over_by_the_end_of_quiet_hours_is_not_told() -> None:
    told = when(asked(at(6), 6.5, 7.5))
    assert (told.act, told.why, told.at_us) == (Act.KEEP_SILENT, Why.QUIET_UNTIL_OVER, None)


def test_a_notice_that_falls_into_quiet_hours_comes_before_them() -> None:
    told = when(asked(at(18), 8.5, 10, day=3))
    assert (told.act, told.why, told.at_us) == (Act.WAIT, Why.BEFORE_QUIET_HOURS, at(21) - 60 * US)


def test_somebody_who_is_seldom_home_is_told_earlier() -> None:
    seldom = HomeShare(share=0.2, visits=5.0)
    told = when(asked(at(9), 14, 15, home=seldom))
    assert (told.why, told.at_us) == (Why.SELDOM_HOME, at(12))
    assert when(asked(at(12.5), 14, 15, home=seldom)).act is Act.TELL
    assert when(asked(at(9), 14, 15, home=HomeShare(share=0.2, visits=1.0))).at_us == at(13)


def test_a_customer_who_wants_no_messages_gets_none() -> None:
    told = when(asked(at(13.5), 14, 15, preferences=Preferences(channel=Channel.NONE)))
    assert (told.act, told.why) == (Act.KEEP_SILENT, Why.NO_CHANNEL)


def test_a_window_that_has_passed_is_no_news() -> None:
    assert when(asked(at(15), 14, 15)).why is Why.WINDOW_OVER


def test_where_nothing_was_said_the_operators_settings_hold() -> None:
    policy = TimingPolicy(notice_minutes=30)
    assert when(asked(at(9), 14, 15, preferences=Preferences(), policy=policy)).at_us == at(13.5)


INSTANTS = st.integers(at(0, 1), at(0, 31))
PREFERENCES = st.builds(
    lambda quiet, notice: Preferences(
        channel=Channel.PUSH, notice_minutes=notice, quiet_from_hour=quiet[0], quiet_to_hour=quiet[1]
    ),
    st.tuples(st.integers(0, 23), st.integers(0, 23)) | st.just((None, None)),
    st.none() | st.integers(0, 1440),
)


@given(INSTANTS, st.integers(-30 * 3600, 72 * 3600), st.integers(60, 6 * 3600), PREFERENCES)
def test_nobody_is_ever_told_in_quiet_hours_or_after_the_window(
    now_us: int, starts_in_s: int, width_s: int, preferences: Preferences
) -> None:
    window = DeliveryWindow(start_us=now_us + starts_in_s * US, end_us=now_us + (starts_in_s + width_s) * US)
    known = replace(asked(now_us, 14, 15), window=window, preferences=preferences)
    told = when(known)
    if told.at_us is None:
        assert told.act is Act.KEEP_SILENT
        return
    assert now_us <= told.at_us < window.end_us
    assert not preferences.is_quiet(from_us(told.at_us, BRUSSELS).hour)
    assert (told.act is Act.TELL) == (told.at_us == now_us)
    if told.act is Act.WAIT:
        again = when(replace(known, now_us=told.at_us))
        assert again.act is Act.TELL, "who waits is told when the wait is over"


@given(INSTANTS, st.integers(0, 23), st.integers(0, 23))
def test_quiet_hours_have_edges_around_every_instant_in_them(at_us: int, begins: int, ends: int) -> None:
    quiet = Preferences(quiet_from_hour=begins, quiet_to_hour=ends)
    first, last = quiet_begins(quiet, at_us, BRUSSELS), quiet_ends(quiet, at_us, BRUSSELS)
    if not quiet.is_quiet(from_us(at_us, BRUSSELS).hour):
        assert first is last is None
        return
    assert first is not None and last is not None and first <= at_us < last
    assert not quiet.is_quiet(from_us(last, BRUSSELS).hour)
    assert not quiet.is_quiet(from_us(first - 1, BRUSSELS).hour)


def test_quiet_hours_end_by_the_clock_also_when_it_is_put_forward() -> None:
    """On 29 March 2026 the clocks of Brussels go from 2 to 3."""
    assert quiet_ends(QUIET, at(1, 29), BRUSSELS) == at(8, 29)
    assert at(8, 29) - at(21, 28) == 10 * HOUR_US


@pytest.mark.parametrize(
    "changes",
    [
        {"quiet_from_hour": 21},
        {"quiet_from_hour": 21, "quiet_to_hour": 24},
        {"notice_minutes": 1441},
        {"notice_minutes": -1},
    ],
)
def test_preferences_that_say_nothing_sensible_cannot_be_made(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"quiet|notice"):
        Preferences(**changes)  # type: ignore[arg-type]


# --- when somebody is home --------------------------------------------------------------------------------


def visits(*found: tuple[int, float, bool]) -> list[Visit]:
    return [Visit(at_us=at(hour, day), home=home) for day, hour, home in found]


def share(known: list[Visit], hour: float, day: int = 20) -> float:
    return home_share(known, at(hour, day), at(0, 21), BRUSSELS).share


def test_who_was_found_in_the_evening_is_likely_home_in_the_evening() -> None:
    known = visits(
        *((day, 10.0, False) for day in (2, 3, 4, 5)), *((day, 19.0, True) for day in (9, 10, 11, 12))
    )
    assert share(known, 10) < 0.5 < 0.9 < share(known, 19)
    best = best_hours(known, from_us(at(0, 20), BRUSSELS), at(0, 21), BRUSSELS)
    assert best[0][0] >= 18


def test_nothing_known_is_what_is_usual() -> None:
    assert share([], 10) == pytest.approx(USUAL_SHARE)
    assert home_share([], at(10), at(11), BRUSSELS, Usual(share=0.6)).share == pytest.approx(0.6)


def test_a_visit_on_the_other_kind_of_day_counts_less() -> None:
    weekend, weekday = visits((14, 10.0, False)), visits((13, 10.0, False))
    assert share(weekday, 10) < share(weekend, 10) < USUAL_SHARE


def test_what_was_not_known_yet_teaches_nothing() -> None:
    later = visits((20, 10.0, False))
    assert home_share(later, at(10, 22), at(9, 20), BRUSSELS).visits == 0.0


@given(st.lists(st.tuples(st.integers(1, 28), st.floats(0, 23.9), st.booleans()), max_size=30), INSTANTS)
def test_a_share_is_a_chance_and_another_visit_that_found_somebody_never_lowers_it(
    found: list[tuple[int, float, bool]], at_us: int
) -> None:
    known = visits(*found)
    one = home_share(known, at_us, at(0, 31), BRUSSELS)
    more = home_share([*known, Visit(at_us=at_us, home=True)], at_us, at(0, 31), BRUSSELS)
    assert 0.0 <= one.share <= 1.0 and more.share >= one.share - 1e-12


def test_levels_between_published_quantiles_lie_on_straight_lines() -> None:
    quantiles = {name: round(level * 1000) for name, level in LEVELS.items()}
    assert [at_level(quantiles, level) for level in (0.01, 0.05, 0.2, 0.5, 0.93, 0.99)] == [
        50,
        50,
        200,
        500,
        930,
        950,
    ]


# --- what is kept, and forgotten --------------------------------------------------------------------------


@pytest.fixture
def store(workspace: Workspace) -> Iterator[CustomerStore]:
    store = CustomerStore(workspace.customers)
    yield store
    store.close()


def made(stop_id: str, at_us: int, home: bool = True, customer_id: str = "CU-1") -> VisitMade:
    return VisitMade(customer_id=customer_id, stop_id=stop_id, visit=Visit(at_us=at_us, home=home))


def test_a_visit_is_learned_once_however_often_it_is_seen(store: CustomerStore) -> None:
    for _ in range(2):
        store.learn([made("S-1", 10), made("S-2", 20, home=False)])
    assert store.visits("CU-1") == [Visit(at_us=10, home=True), Visit(at_us=20, home=False)]
    assert store.usual().share == 0.5


def test_a_visit_that_is_seen_again_says_nothing_new_of_how_customers_differ(tmp_path: Path) -> None:
    once, twice = CustomerStore(tmp_path / "once"), CustomerStore(tmp_path / "twice")
    found = of_customers(30, lambda who, hour: who % 3 > 0)
    once.learn(found)
    for _ in range(2):
        twice.learn(found)
    assert once.usual() == twice.usual()
    once.close()
    twice.close()


def of_customers(count: int, home: Callable[[int, float], bool]) -> list[VisitMade]:
    """Ten visits of each customer, in the morning of one day and in the evening of the next."""
    return [
        made(f"S-{who}-{day}", at(hour, day), home(who, hour), f"CU-{who}")
        for who in range(count)
        for day in range(2, 12)
        for hour in ((10.0, 18.0)[day % 2],)
    ]


def test_customers_with_habits_are_believed_sooner_than_those_who_are_all_alike(tmp_path: Path) -> None:
    def learned(name: str, home: Callable[[int, float], bool]) -> Usual:
        store = CustomerStore(tmp_path / name)
        store.learn(of_customers(60, home))
        usual = store.usual()
        store.close()
        return usual

    luck = random.Random(5)
    habits = learned("habits", lambda who, hour: (hour < 12) == (who % 2 == 0))
    alike = learned("alike", lambda who, hour: luck.random() < 0.9)
    assert habits.counts_for == STRENGTHS[0] and alike.counts_for >= 100
    assert alike.share == pytest.approx(0.9, abs=0.05)


def test_a_few_visits_do_not_say_how_much_customers_differ(store: CustomerStore) -> None:
    store.learn(of_customers(5, lambda who, hour: hour < 12))
    assert store.usual().counts_for == PRIOR_VISITS


def test_an_older_word_does_not_replace_a_newer_one(store: CustomerStore) -> None:
    store.prefer("CU-1", QUIET, 20)
    store.prefer("CU-1", Preferences(channel=Channel.NONE), 10)
    assert store.preferences("CU-1") == QUIET and store.preferences("CU-2") == Preferences()


def test_what_is_erased_is_gone_from_the_disk_and_not_learned_again(
    store: CustomerStore, workspace: Workspace
) -> None:
    store.prefer("CU-secret-1", replace(QUIET, safe_place="behind the blue shed"), 5)
    store.prefer("CU-2", QUIET, 5)
    store.learn([made("S-1", 10, customer_id="CU-secret-1"), made("S-2", 10, customer_id="CU-2")])
    assert store.erase("CU-secret-1", 100) == 2
    stored = b"".join(path.read_bytes() for path in workspace.root.glob("customers.db*"))
    assert b"blue shed" not in stored and b"CU-secret-1" not in stored and b"CU-2" in stored
    assert store.export("CU-secret-1") == {"customer_id": "CU-secret-1", "preferences": None, "visits": []}
    store.learn([made("S-1", 10, customer_id="CU-secret-1"), made("S-9", 200, customer_id="CU-secret-1")])
    assert store.visits("CU-secret-1") == [Visit(at_us=200, home=True)]
    assert len(store.visits("CU-2")) == 1


def test_a_running_service_learns_the_visits_that_end(store: CustomerStore) -> None:
    class Seen:
        rows: list[tuple[str, str, str, int]] = []  # noqa: RUF012

        def visits(self) -> list[tuple[str, str, str, int]]:
            return self.rows

    seen = Seen()
    learner = HomeLearner(seen, store)
    seen.rows = [("CU-1", "S-1", "completed", 10)]
    assert (learner.beat(100.0, wall_now_us()), learner.beat(101.0, wall_now_us())) == (1, 0)
    seen.rows = [*seen.rows, ("CU-1", "S-2", "failed", 20)]
    assert (learner.beat(200.0, wall_now_us()), learner.learn()) == (1, 0)
    assert [visit.home for visit in store.visits("CU-1")] == [True, False]


# --- over the API -----------------------------------------------------------------------------------------


def send(client: Client, method: str, path: str, **content: Any) -> httpx.Response:
    return client._portal.call(partial(client._client.request, method, path, **content))


def test_preferences_are_said_read_and_taken_back(client: Client) -> None:
    path = "/v1/customers/CU-1/preferences"
    assert client.get(path).status_code == 404
    said = {"channel": "sms", "notice_minutes": 30, "quiet_from_hour": 21, "quiet_to_hour": 8}
    assert wire.KeptPreferences.model_validate(send(client, "PUT", path, json=said).json()).channel == "sms"
    assert client.get(path).json() | said == client.get(path).json()
    exported = wire.CustomerExport.model_validate(client.get("/v1/customers/CU-1").json())
    assert exported.preferences is not None and exported.preferences.notice_minutes == 30
    assert send(client, "DELETE", path).status_code == 204
    assert send(client, "DELETE", path).status_code == client.get(path).status_code == 404


@pytest.mark.parametrize(
    "said",
    [
        {"channel": "pigeon"},
        {"quiet_from_hour": 21},
        {"notice_minutes": 2000},
        {"safe_place": "x" * 201},
        {"address": "1 High Street"},
    ],
)
def test_preferences_that_make_no_sense_are_refused(client: Client, said: dict[str, Any]) -> None:
    answer = send(client, "PUT", "/v1/customers/CU-1/preferences", json=said)
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)


def customer_event(event_id: str = "c-1", **changes: Any) -> dict[str, Any]:
    stamp = to_rfc3339(NOON_US)
    return {
        "type": "customers",
        "event_id": event_id,
        "occurred_at": stamp,
        "received_at": stamp,
        "customer_id": "CU-7",
        "channel": "email",
        "notice_minutes": 45,
        "safe_place": "the green box",
    } | changes


def test_what_is_personal_never_enters_the_log(client: Client, workspace: Workspace) -> None:
    answer = client.post(
        "/v1/events",
        json=[customer_event(), customer_event("c-2", quiet_from_hour=22), customer_event("c-1")],
    )
    assert [row["verdict"] for row in answer.json()["rows"]] == ["accepted", "rejected", "duplicate"]
    assert "quiet hours" in answer.json()["rows"][1]["reason"]
    (record,) = EventLog(workspace.log, Clock.LOG).read(0, 10)
    assert dict(record.body) == {"customer_id": "CU-7", "occurred_at": NOON_US}
    stored = b"".join(path.read_bytes() for path in workspace.root.glob("log.db*"))
    assert b"green box" not in stored
    assert client.get("/v1/customers/CU-7/preferences").json()["safe_place"] == "the green box"
    assert send(client, "DELETE", "/v1/customers/CU-7").json() == {"customer_id": "CU-7", "erased": 1}
    assert client.get("/v1/customers/CU-7/preferences").status_code == 404


def test_a_stops_customer_is_told_when_that_is_wanted_and_why(client: Client, workspace: Workspace) -> None:
    play(workspace, MODEL, *late_day())
    told = wire.Notification.model_validate(client.get("/v1/stops/R-1-S3/notification").json())
    assert told.act in ("tell", "wait", "keep_silent") and told.why in set(Why)
    assert client.get("/v1/stops/nobody/notification").status_code == 404


def test_a_window_is_proposed_with_its_chance_of_being_late(client: Client, workspace: Workspace) -> None:
    play(workspace, MODEL, *route_events(), tick(0))
    found = wire.ProposedWindows.model_validate(client.get("/v1/stops/R-1-S3/windows").json())
    assert found.window.start < found.window.end and found.late_limit == 0.1
    assert (found.why, found.better_hours) == ("NOTHING_LEARNED", [])
    assert client.get("/v1/stops/nobody/windows").status_code == 404


# --- landed history and the command -----------------------------------------------------------------------


def land_a_city(workspace: Workspace) -> None:
    """Two days of the small reference city, landed as its adapter gives them."""
    from pipelines.sources.simulated import generate

    for day, tables in generate("small", 3, date(2026, 3, 2), 2):
        for name, table in tables.items():
            folder = workspace.landed / name
            folder.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, folder / f"{day}.parquet")


def run(workspace: Workspace, *words: str) -> str:
    done = CliRunner().invoke(command, [*words, "--workspace", str(workspace.root)])
    assert done.exit_code == 0, (done.output, done.exception)
    return str(done.stdout)


def test_history_is_learned_exported_and_erased_by_the_command(workspace: Workspace) -> None:
    land_a_city(workspace)
    first = orjson.loads(run(workspace, "customers", "learn", "--json"))
    assert first == orjson.loads(run(workspace, "customers", "learn", "--json"))
    assert first["visits"] > 100 and first["preferences"] > 100
    made = landed_visits(workspace)
    who = next(each.customer_id for each in made if not each.visit.home)
    exported = orjson.loads(run(workspace, "customers", "export", who))
    assert exported["preferences"] is not None
    assert len(exported["visits"]) == sum(each.customer_id == who for each in made)
    landed = pl.read_parquet(workspace.landed / "customers" / "*.parquet")
    assert who in landed["customer_id"].to_list()
    erased = orjson.loads(run(workspace, "customers", "erase", who, "--json"))
    assert erased["landed_rows"] == 1 and erased["erased"] == 1 + len(exported["visits"])
    left = pl.read_parquet(workspace.landed / "customers" / "*.parquet")
    assert who not in left["customer_id"].to_list() and len(left) == len(landed) - 1
    assert erase_landed(workspace, who) == 0
    assert orjson.loads(run(workspace, "customers", "export", who))["visits"] == []


def test_learned_hours_are_worth_more_than_what_is_usual(workspace: Workspace) -> None:
    """On customers of whom half are home in the morning and half in the evening."""
    usual, own = 0.0, 0.0
    for number in range(40):
        likes_morning = number % 2 == 0
        known = visits(
            *((day, 10.0 if day % 2 else 18.0, (day % 2 == 1) == likes_morning) for day in range(2, 12))
        )
        for hour in (10.0, 18.0):
            home = (hour == 10.0) == likes_morning
            usual += (0.5 - home) ** 2
            own += (
                home_share(known, at(hour, 20), at(0, 20), BRUSSELS, Usual(share=0.5, counts_for=3.0)).share
                - home
            ) ** 2
    assert own < 0.5 * usual
    assert from_us(at(10), UTC).hour == 9
