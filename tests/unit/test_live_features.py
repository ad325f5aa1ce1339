"""One fold: however a log is cut, killed or backfilled, it publishes the same versions and keeps the same state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from itertools import pairwise
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import polars as pl
import pytest
from dask import delayed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_contracts.record import Record
from features import partitions
from features.backfill import backfill, backfill_in_parts, in_log_order
from features.keys import Keys
from features.live import LiveFeatures
from features.observations import EARTH_RADIUS_M, distance_m
from features.online import OnlineReader, OnlineWriter, Status, Versions
from features.route_book import RouteBook
from features.version_files import write_versions
from features.views import (
    DEPOT_STATE,
    TRAVEL_BY_AREA,
    VEHICLE_MOTION,
    VIEWS,
    WEATHER_NOW,
    WEATHER_THEN,
    ZONE_TRAFFIC,
    View,
)
from pipelines.history import folding_pool
from tests.builders import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    SECOND_US,
    START_US,
    Row,
    at,
    city_history,
    every_record,
    make_route,
    make_stop,
    make_tables,
    published,
)

thorough = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
Frames = Mapping[str, pl.DataFrame]

# --- random logs ------------------------------------------------------------------------------------------

GAPS_US = (HOUR_US, DAY_US, 8 * DAY_US, 100 * DAY_US)


class Draws:
    """Draws of a seed, by what they are for."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def among(self, *choices: Any) -> Any:
        return choices[self.random.integers(len(choices))]

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def lag_us(self) -> int:
        """Mostly at once, sometimes late, rarely by days, sometimes by a clock that is ahead."""
        lag_s = self.among(0, 0, 0, 1, 3, 40, 240, 301, 4_000, -2, self.among(0, 90_000, 140_000))
        return int(lag_s * SECOND_US + (lag_s > 0) * self.random.integers(SECOND_US))

    def between(self, start_us: int, end_us: int) -> int:
        return int(self.random.integers(start_us, end_us))


def of_stop(draw: Draws, kind: str, route_id: str, stop: int | None, occurred_us: int) -> Row:
    columns = {
        "route_id": route_id,
        "stop_id": stop and f"{route_id}-S{stop}",
        "kind": kind,
        "sequence": draw.among(None, 1, 2, 7) if kind == "resequenced" else None,
        "occurred_at": occurred_us,
        "received_at": occurred_us + draw.lag_us(),
    }
    return "stop_events", columns


def route_rows(draw: Draws, route_id: str, start_us: int) -> list[Row]:
    """A route of three stops: planned an hour before, driven with noise, told with gaps and doubts."""
    planned = {"occurred_at": start_us - HOUR_US, "received_at": start_us - HOUR_US}
    too_late = planned | {"received_at": start_us + 30 * MINUTE_US}
    own = {"planned_departure_at": draw.among(start_us, None), "courier_id": draw.among("C-1", "C-2", None)}
    own |= {"vehicle_id": draw.among("V-1", "V-2")} | draw.among(planned, planned, too_late)
    rows: list[Row] = [("routes", make_route(route_id, **own))]
    for n in range(1, 4):
        place = {"zone_id": draw.among("Z-0", "Z-1", "Z-2")}
        place |= {"lat": 52 + n / 100, "lon": 4.9} if draw.chance(0.5) else {}
        rows.append(
            ("stops", make_stop(n, route_id, **place, **draw.among(planned, planned, planned, too_late)))
        )
    now_us = start_us + draw.between(0, 20 * MINUTE_US)
    rows.append(of_stop(draw, "departed_depot", route_id, None, now_us))
    for n in range(1, 4):
        for kind, longest in (("arrived", 20), (draw.among("completed", "completed", "failed"), 8)):
            now_us += draw.between(0, longest * MINUTE_US)
            if draw.chance(0.93):
                rows.append(of_stop(draw, kind, route_id, n, now_us))
        if draw.chance(0.2):
            kind = draw.among("skipped", "resequenced", "arrived", "completed", "departed_depot")
            rows.append(of_stop(draw, kind, route_id, draw.among(1, 2, 3, 9), now_us))
        if draw.chance(0.1):
            again = {"occurred_at": now_us, "received_at": now_us, "plan_version": draw.among(1, 2, 3)}
            rows.append(("stops", make_stop(draw.among(1, 2, 3), route_id, **again)))
    return rows


def feed_row(draw: Draws, start_us: int) -> Row:
    occurred_us = draw.between(start_us, start_us + 2 * HOUR_US)
    times = {"occurred_at": occurred_us, "received_at": occurred_us + draw.lag_us()}
    hour_us = occurred_us // HOUR_US * HOUR_US
    return draw.among(
        (
            "pings",
            {
                "vehicle_id": draw.among("V-1", "V-2"),
                "lat": draw.among(52.1, -0.0, 1 / 3),
                "lon": 4.9,
                "speed_mps": draw.among(None, 0.0, 0.5, 8.3, 69.99),
            }
            | times,
        ),
        (
            "traffic",
            {
                "zone_id": draw.among("Z-0", "Z-1"),
                "speed_mps": draw.among(0.0, 3.3, 8.1, 60.0),
                "free_flow_mps": draw.among(0.1, 7.7),
                "incidents": draw.among(None, 0, 3),
            }
            | times,
        ),
        (
            "weather",
            {
                "area_id": "A",
                "kind": draw.among("observed", "forecast"),
                "valid_at": hour_us + draw.among(-1, 0, 1, 2) * HOUR_US,
                "issued_at": hour_us - draw.among(0, 1) * HOUR_US,
                "temperature_c": draw.among(None, -3.1),
                "wind_mps": draw.among(None, 4.4),
            }
            | times,
        ),
        (
            "depots",
            {
                "depot_id": "D-1",
                "parcels_ready_share": draw.among(None, 0.1),
                "sort_delay_s": draw.among(None, 777.7),
            }
            | times,
        ),
    )


def make_log(seed: int, routes: int) -> dict[str, pl.DataFrame]:
    """Routes one after the other or at once, with their feeds; late, shuffled, and some rows twice."""
    draw, rows, start_us = Draws(seed), [], START_US
    for number in range(routes):
        rows += route_rows(draw, f"R-{number}", start_us)
        rows += [feed_row(draw, start_us) for _ in range(draw.among(0, 5, 15))]
        start_us += draw.among(0, *GAPS_US)
    named = [(table, columns | {"event_id": f"{table}-{i:06d}"}) for i, (table, columns) in enumerate(rows)]
    twice = [draw.among(*named) for _ in range(3)]
    late = [(table, columns | {"received_at": columns["received_at"] + HOUR_US}) for table, columns in twice]
    return in_log_order(make_tables(named + late))


def logs() -> st.SearchStrategy[dict[str, pl.DataFrame]]:
    return st.builds(make_log, seed=st.integers(0, 2**32), routes=st.integers(1, 6))


CUTS = st.lists(st.integers(0, 150), max_size=6)


# --- folds ------------------------------------------------------------------------------------------------


def routes_of(features: LiveFeatures) -> list[str]:
    return [route_id for number in range(6) if features.book.route(route_id := f"R-{number}") is not None]


def killed(features: LiveFeatures) -> LiveFeatures:
    """The same state in a new process."""
    again = LiveFeatures()
    for route_id in routes_of(features):
        again.book.load(route_id, features.book.dump(route_id))
    again.restore(list(features.dump()))
    return again


def forget_old(book: RouteBook, now_us: int) -> None:
    """What an engine does now and then."""
    for route_id in {*book.all_route_ids()} - {*book.followed_at(now_us)}:
        book.forget(route_id)


def streamed(
    history: Sequence[Record], cuts: Sequence[int], *, kill: bool = False, sweep: bool = False
) -> tuple[dict[str, Any], LiveFeatures]:
    """Versions and state of a log in micro-batches; killed, or swept of old routes, before each one where asked."""
    features, batches = LiveFeatures(), []
    edges = sorted({0, len(history), *(min(cut, len(history)) for cut in cuts)})
    for start, end in pairwise(edges):
        if sweep:
            forget_old(features.book, history[start].received_us)
        batches += features.advance(history[start:end]).publications
        features = killed(features) if kill else features
    return published(batches), features


def backfilled(ordered: Frames) -> tuple[dict[str, Any], LiveFeatures]:
    features = LiveFeatures()
    versions = backfill(ordered, features)
    return published(batch for batches in versions.values() for batch in batches), features


def state(features: LiveFeatures) -> dict[tuple[str, str], bytes]:
    kept = {(name, key): value for name, key, value in features.dump()}
    return kept | {("route", route_id): features.book.dump(route_id) for route_id in routes_of(features)}


def followed(features: LiveFeatures, at_us: int) -> dict[tuple[str, str], bytes]:
    """Routes of which something may still be heard."""
    book = features.book
    return {("route", route_id): book.dump(route_id) for route_id in book.followed_at(at_us)}


@thorough
@given(ordered=logs(), cuts=CUTS)
def test_any_split_of_a_log_publishes_the_same_versions_and_keeps_the_same_state(
    ordered: Frames, cuts: list[int]
):
    history = every_record(ordered)
    versions, features = streamed(history, range(len(history)))
    again, split = streamed(history, cuts)
    assert again == versions
    assert state(split) == state(features)


@thorough
@given(ordered=logs(), cuts=CUTS)
def test_killed_process_goes_on_as_if_it_had_lived(ordered: Frames, cuts: list[int]):
    history = every_record(ordered)
    versions, features = streamed(history, cuts)
    again, restored = streamed(history, cuts, kill=True)
    assert again == versions
    assert list(restored.dump()) == list(features.dump())
    assert state(restored) == state(features)


@thorough
@given(ordered=logs())
def test_backfill_gives_what_the_log_gives_record_by_record(ordered: Frames):
    history = every_record(ordered)
    versions, features = streamed(history, range(len(history)))
    again, filled = backfilled(ordered)
    assert again == versions
    assert state(filled) == state(features)


@thorough
@given(ordered=logs(), cuts=CUTS)
def test_forgetting_routes_that_are_over_changes_nothing(ordered: Frames, cuts: list[int]):
    history = every_record(ordered)
    versions, features = streamed(history, cuts)
    again, swept = streamed(history, cuts, sweep=True)
    assert again == versions
    assert list(swept.dump()) == list(features.dump())
    last_us = history[-1].received_us
    assert followed(swept, last_us) == followed(features, last_us)


@settings(parent=thorough, max_examples=10)
@given(ordered=logs())
def test_state_that_changed_in_each_batch_is_all_that_has_to_be_kept(ordered: Frames):
    history, features, kept = every_record(ordered), LiveFeatures(), {}
    for record in history:
        kept.update({(view, key): value for view, key, value in features.advance([record]).state})
    assert kept == {(view, key): value for view, key, value in features.dump()}


def known_by(versions: dict[str, Any], until_us: int) -> dict[str, Any]:
    return {view: [row for row in rows if row[1] <= until_us] for view, rows in versions.items()}


@thorough
@given(ordered=logs(), share=st.floats(0, 1))
def test_what_comes_after_an_instant_changes_nothing_before_it(ordered: Frames, share: float):
    history = every_record(ordered)
    until_us = history[int(share * (len(history) - 1))].received_us
    cut = {name: frame.filter(pl.col("received_at") <= until_us) for name, frame in ordered.items()}
    assert backfilled(cut)[0] == known_by(backfilled(ordered)[0], until_us)


@thorough
@given(ordered=logs(), share=st.floats(0, 1), absurd=st.sampled_from([-1e7, 0.0, 1e7]))
def test_absurd_future_values_move_no_earlier_feature(ordered: Frames, share: float, absurd: float):
    history = every_record(ordered)
    until_us = history[int(share * (len(history) - 1))].received_us
    poisoned = {name: poison(name, frame, until_us, absurd) for name, frame in ordered.items()}
    assert known_by(backfilled(poisoned)[0], until_us) == known_by(backfilled(ordered)[0], until_us)


def poison(name: str, frame: pl.DataFrame, after_us: int, absurd: float) -> pl.DataFrame:
    """Every number received after an instant is absurd, and so is when it happened."""
    later = pl.col("received_at") > after_us
    numbers = [c for c, dtype in frame.schema.items() if dtype == pl.Float64 and c != "free_flow_mps"]
    times = [c for c in ("occurred_at", "valid_at", "issued_at") if c in frame.columns]
    return frame.with_columns(
        *[
            pl.when(later).then(abs(absurd) if c.startswith("planned") else absurd).otherwise(c).alias(c)
            for c in numbers
        ],
        *[
            pl.when(later).then(pl.col(c) + int(absurd) * SECOND_US).otherwise(c).cast(pl.Int64).alias(c)
            for c in times
        ],
    )


@settings(parent=thorough, max_examples=15)
@given(ordered=logs(), cuts=CUTS, wait_us=st.sampled_from([0, SECOND_US, 2 * HOUR_US, 40 * DAY_US]))
def test_memory_and_online_store_answer_the_same(
    tmp_path_factory: pytest.TempPathFactory, ordered: Frames, cuts: list[int], wait_us: int
):
    path = tmp_path_factory.mktemp("online") / "online.db"
    writer, reader, history = OnlineWriter(path), OnlineReader(path), every_record(ordered)
    features = LiveFeatures()
    for record in history:
        writer.publish_all(features.advance([record]).publications)
    for view in VIEWS:
        ids = [*features.latest[view.name], "unheard of", None]
        for as_of_us in (history[-1].received_us + wait_us, START_US):
            ours, theirs = (read(view, ids, as_of_us) for read in (features.read, reader.read))
            assert ours.values.tobytes() == theirs.values.tobytes()
            assert ours.known_us.tolist() == theirs.known_us.tolist()
            assert ours.status.tolist() == theirs.status.tolist()
    writer.close()
    reader.close()


def test_history_is_put_in_the_order_in_which_it_became_known():
    rows: list[Row] = [
        ("traffic", {"event_id": "b", "received_at": at(1), "occurred_at": at(0)}),
        ("traffic", {"event_id": "a", "received_at": at(1), "occurred_at": at(1)}),
        ("traffic", {"event_id": "a", "received_at": at(0), "occurred_at": at(9)}),
        ("routes", make_route(event_id="z", received_at=at(1), occurred_at=at(1))),
    ]
    ordered = in_log_order(make_tables(rows), first_seq=5)
    seen = [(record.seq, record.body["event_id"]) for record in every_record(ordered)]
    assert seen == [(5, "a"), (6, "z"), (7, "b")]
    assert ordered["traffic"]["occurred_at"].to_list() == [at(9), at(0)], "the first of two is kept"


def test_history_of_nothing_is_nothing():
    assert in_log_order({}) == {}
    assert all(not batches for batches in backfill({}, LiveFeatures()).values())


# --- what each feed says ----------------------------------------------------------------------------------


def heard(table: str, *rows: dict[str, Any]) -> LiveFeatures:
    """Features after rows of one feed, each ``occurred`` and ``known`` at a minute after 08:00."""
    features = LiveFeatures()
    for seq, row in enumerate(rows, start=1):
        occurred, known = row["occurred"], row.get("known", row["occurred"])
        times = {"occurred_at": at(occurred), "received_at": at(known)}
        features.advance([Record(seq, at(known), table, row | times)])
    return features


def value(features: LiveFeatures, view: View, key: str, name: str, minute: float = 60) -> float:
    rows = features.read(view, [key], at(minute))
    return float(rows.values[0, view.field_names.index(name)])


def ping(occurred: float, speed_mps: float | None = 5.0, **columns: Any) -> dict[str, Any]:
    return {
        "vehicle_id": "V",
        "lat": 52.0,
        "lon": 4.0,
        "speed_mps": speed_mps,
        "occurred": occurred,
    } | columns


def test_vehicle_speed_is_the_mean_of_five_minutes():
    pings = heard("pings", ping(0, 60.0), ping(10, 2.0), ping(11, 0.0), ping(12, None))
    assert value(pings, VEHICLE_MOTION, "V", "speed_mps") == pytest.approx(2 / 3, abs=1e-3)
    assert value(pings, VEHICLE_MOTION, "V", "moving_share") == pytest.approx(2 / 4)


def test_ping_older_than_the_last_one_changes_nothing():
    pings = heard("pings", ping(10), ping(8, known=11, lat=10.0))
    assert value(pings, VEHICLE_MOTION, "V", "lat") == 52.0


def test_ping_that_took_more_than_five_minutes_changes_nothing():
    pings = heard("pings", ping(10), ping(12, known=17.1, lat=10.0))
    assert value(pings, VEHICLE_MOTION, "V", "lat") == 52.0


def test_jam_is_how_far_a_zone_is_below_its_free_flow():
    row = {"zone_id": "Z", "free_flow_mps": 10.0, "incidents": 2}
    zone = heard("traffic", row | {"occurred": 0, "speed_mps": 10.0}, row | {"occurred": 5, "speed_mps": 4.0})
    assert value(zone, ZONE_TRAFFIC, "Z", "jam") == pytest.approx(0.6)
    assert value(zone, ZONE_TRAFFIC, "Z", "jam_hour") == pytest.approx(0.3)
    assert value(zone, ZONE_TRAFFIC, "Z", "incidents") == 2.0


def weather(occurred: float, kind: str, valid: float, temperature_c: float) -> dict[str, Any]:
    times = {"valid_at": at(valid), "issued_at": at(occurred), "occurred": occurred}
    return {"area_id": "A", "kind": kind, "temperature_c": temperature_c} | times


def test_weather_now_is_observed_and_weather_then_is_what_was_issued_last():
    area = heard(
        "weather",
        weather(0, "observed", -60, 3.0),
        weather(0, "forecast", 60, 9.0),
        weather(30, "forecast", 60, 7.0),
        weather(10, "forecast", 60, 1.0) | {"known": 40},
    )
    hour = f"A|{at(60) // HOUR_US}"
    assert value(area, WEATHER_NOW, "A", "temperature_c") == 3.0
    assert value(area, WEATHER_THEN, hour, "temperature_c") == 7.0


def test_depot_that_does_not_say_how_late_it_sorts_has_no_delay():
    depot = heard("depots", {"depot_id": "D", "parcels_ready_share": 0.4, "occurred": 0})
    assert value(depot, DEPOT_STATE, "D", "ready_share") == pytest.approx(0.4)
    assert np.isnan(value(depot, DEPOT_STATE, "D", "sort_delay_s"))


def test_value_is_there_until_its_time_to_live_has_passed_and_not_before_it_was_known():
    depot, ttl_min = heard("depots", {"depot_id": "D", "occurred": 0, "known": 3}), 12 * 60
    at_minute = [
        depot.read(DEPOT_STATE, ["D"], at(m)).status[0] for m in (2.99, 3, 3 + ttl_min, 3.01 + ttl_min)
    ]
    assert at_minute == [Status.FUTURE, Status.PRESENT, Status.PRESENT, Status.EXPIRED]


def test_drive_is_judged_against_what_was_known_before_it():
    features = LiveFeatures()
    publications: list[Versions] = []
    rows: list[Row] = []
    for number in range(3):
        route = make_route(f"R-{number}", received_at=at(-60), occurred_at=at(-60))
        stop = make_stop(1, f"R-{number}", received_at=at(-60), occurred_at=at(-60))
        rows += [("routes", route), ("stops", stop)]
        for kind, minute in (("departed_depot", 30.0 * number), ("arrived", 30.0 * number + 20)):
            event = {"route_id": f"R-{number}", "kind": kind, "occurred_at": at(minute)}
            if kind == "arrived":
                event["stop_id"] = f"R-{number}-S1"
            rows.append(("stop_events", event | {"received_at": at(minute)}))
    for record in every_record(in_log_order(make_tables(rows))):
        publications += features.advance([record]).publications
    pace = [v.values[0, 0] for v in publications if v.view.name == "pace_by_route"]
    assert pace[0] == pytest.approx(np.log(2), abs=1e-6), "nothing was known yet"
    assert 0 < pace[2] < pace[1] < pace[0], "the habit of the pair explains more and more of it"


def test_events_understood_by_one_record_make_one_version(tmp_path: Path):
    """A route that is planned too late teaches two drives at once; every reader sees both."""
    events: list[dict[str, Any]] = [
        {"kind": "departed_depot", "minute": 0},
        {"kind": "arrived", "stop_id": "R-1-S1", "minute": 10},
        {"kind": "completed", "stop_id": "R-1-S1", "minute": 12},
        {"kind": "arrived", "stop_id": "R-1-S2", "minute": 32},
    ]
    rows: list[Row] = [
        ("stops", make_stop(n, occurred_at=at(-60), received_at=at(-60), plan_version=1)) for n in (1, 2)
    ]
    for told in events:
        occurred_us = at(told.pop("minute"))
        times = {"occurred_at": occurred_us, "received_at": occurred_us}
        rows.append(("stop_events", {"route_id": "R-1"} | told | times))
    rows.append(("routes", make_route(occurred_at=at(-60), received_at=at(40))))
    ordered = in_log_order(make_tables(rows))
    writer, reader = OnlineWriter(tmp_path / "online.db"), OnlineReader(tmp_path / "online.db")
    features = LiveFeatures()
    for record in every_record(ordered):
        writer.publish_all(features.advance([record]).publications)
    weight = [read(TRAVEL_BY_AREA.view, ["A"], at(50)).values[0, 1] for read in (features.read, reader.read)]
    versions, _ = backfilled(ordered)
    for view, found in versions.items():
        keys = [row[:3] for row in found]
        assert len(set(keys)) == len(keys), f"{view} has two versions of one record"
    writer.close()
    reader.close()
    assert weight == [2.0, 2.0]


def test_distance_is_that_of_the_sphere_over_a_city():
    start, end = (52.37, 4.89), (52.31, 4.95)
    a, b, c, d = map(np.radians, (*start, *end))
    cosine = np.sin(a) * np.sin(c) + np.cos(a) * np.cos(c) * np.cos(d - b)
    assert distance_m(start, end) == pytest.approx(EARTH_RADIUS_M * np.arccos(cosine), rel=1e-4)


# --- in parts ---------------------------------------------------------------------------------------------


class DaskExecutor(Executor):
    """Runs what it is asked to on Dask, arguments and result as Dask would send them to another machine."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        sent = cloudpickle.loads(cloudpickle.dumps(delayed(fn)(*args, **kwargs)))
        done.set_result(cloudpickle.loads(cloudpickle.dumps(sent.compute(scheduler="synchronous"))))
        return done


def written(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every version file, to the bit, whatever their order."""
    return {
        view.name: sorted(
            (key, created, known, values.tobytes())
            for key, created, known, values in zip(
                *(frame[name].to_list() for name in (view.entity, "created", "known_us")),
                frame.select(view.field_names).to_numpy(),
                strict=True,
            )
        )
        for view in VIEWS
        for frame in [pl.read_parquet(folder / f"{view.name}.parquet")]
    }


@settings(parent=thorough, max_examples=12)
@given(ordered=logs(), parts=st.integers(1, 4), rows_a_span=st.sampled_from([1, 40, 10**9]))
def test_a_history_in_parts_of_routes_entities_and_days_gives_what_it_gives_in_one(
    tmp_path_factory: pytest.TempPathFactory, ordered: Frames, parts: int, rows_a_span: int
):
    whole, folder = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("parts")
    features = LiveFeatures()
    write_versions(whole, backfill(ordered, features))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions.spans, "__defaults__", (rows_a_span,))
        ends_us = max(frame["received_at"].max() for frame in ordered.values())
        joined = backfill_in_parts(ordered, folder, DaskExecutor(), parts, ends_us=ends_us)
    assert written(folder) == written(whole)
    assert state(joined) == dict(dumped(features)) | followed(features, ends_us)
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{view.name}.parquet" for view in VIEWS)


@pytest.mark.slow
def test_parts_are_folded_by_processes_of_their_own(tmp_path: Path):
    ordered = city_history(days=2)
    features = LiveFeatures()
    write_versions(tmp_path / "whole", backfill(ordered, features))
    with folding_pool(2) as pool:
        joined = backfill_in_parts(ordered, tmp_path / "parts", pool, 3)
    assert written(tmp_path / "parts") == written(tmp_path / "whole")
    assert dict(dumped(joined)) == dict(dumped(features))


def dumped(features: LiveFeatures) -> Iterator[tuple[tuple[str, str], bytes]]:
    return (((view, key), body) for view, key, body in features.dump())


def test_routes_that_hand_a_stop_over_and_places_that_share_a_key_stay_together():
    names = Keys.of(["a", "b", "c", "d"])
    shared = Keys.of(["x", "y", "x", None])
    labels = partitions.linked([names, shared]).tolist()
    assert labels[0] == labels[2] and len(set(labels)) == 3
    places = Keys.of(["p", "q", "r", "p"])
    start, end = places[:2], places[2:]
    assert len(set(partitions.linked([Keys.of(["k", "l"]), start, end]).tolist())) == 1, (
        "one starts where the other ends"
    )
