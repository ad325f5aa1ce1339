"""The published sets as they are: each loads, keeps its contracts, and has the rows that it should have."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_contracts.workspace import Workspace
from pipelines.land import land
from pipelines.sources.registry import source

DATA = Path(__file__).parents[3] / "shared" / "data"
MONTH = "nyc_green_taxi/green_tripdata_2021-01.parquet"

pytestmark = pytest.mark.real_data


@pytest.mark.parametrize(
    ("name", "path", "weather", "routes", "stops_a_route"),
    [
        pytest.param("nyc_taxi", MONTH, "nyc_weather", (60_000, 76_000), 1, marks=pytest.mark.slow),
        ("sendy", "sendy_nairobi", None, (16_901, 16_901), 1),
        ("kandy", "kandy_bus", None, (4_800, 5_000), 15),
        ("delhivery", "delhivery", None, (4_452, 4_452), 1),
        ("lade", "lade_jilin_sample", None, (10, 20), None),
    ],
)
def test_each_published_set_lands_within_its_error_budget(
    name: str,
    path: str,
    weather: str | None,
    routes: tuple[int, int],
    stops_a_route: int | None,
    tmp_path: Path,
) -> None:
    folder = DATA / path
    if not folder.exists():
        pytest.skip(f"{folder} is absent: the data sets are not part of the project")
    loaded = source(name).load([folder], DATA / weather if weather else None)
    report = {one.table: one for one in land(Workspace(tmp_path), loaded.tables, "batch").tables}
    assert routes[0] <= report["routes"].good <= routes[1]
    assert sum(one.bad + one.duplicates for one in report.values()) == 0
    if stops_a_route is not None:
        assert report["stops"].good == stops_a_route * report["routes"].good
    assert not loaded.unreadable


def test_delhiverys_corridors_land_as_context(tmp_path: Path) -> None:
    folder = DATA / "delhivery"
    if not folder.exists():
        pytest.skip(f"{folder} is absent: the data sets are not part of the project")
    context = source("delhivery").load([folder]).context
    report = {one.table: one for one in land(Workspace(tmp_path), context, "context").tables}
    assert 15_000 < report["routes"].good < 25_000
    assert all(one.bad == 0 for one in report.values())
