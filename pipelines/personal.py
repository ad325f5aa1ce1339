"""Personal data in landed files: visits to learn home hours from, preferences to take over, and rows to erase."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from data_contracts.tables import CUSTOMERS, STOP_EVENTS, STOPS
from data_contracts.workspace import Workspace
from pipelines.land import read_landed
from serving.customers.home import Visit
from serving.customers.learning import HOME_IF
from serving.customers.preferences import Preferences
from serving.customers.store import CustomerStore, VisitMade, preferences_from

ENDED = (HOME_IF, "failed")


def learn_from_history(workspace: Workspace, store: CustomerStore) -> tuple[int, int]:
    """Take visits and preferences over from the landed history; give how many of each. Twice is as once."""
    visits = store.learn(landed_visits(workspace))
    said = read_landed(workspace, CUSTOMERS).sort("received_at").collect()
    for row in said.iter_rows(named=True):
        at_us = int(row["received_at"].timestamp() * 1_000_000)
        store.prefer(row["customer_id"], _preferences(row), at_us)
    return visits, len(said)


def landed_visits(workspace: Workspace) -> list[VisitMade]:
    """Visits of the landed history that found somebody, or nobody."""
    owners = read_landed(workspace, STOPS).select("stop_id", "customer_id").drop_nulls().unique("stop_id")
    ended = read_landed(workspace, STOP_EVENTS).filter(pl.col("kind").is_in(ENDED))
    rows = (
        ended.join(owners, on="stop_id")
        .sort("received_at")
        .unique("stop_id", keep="last", maintain_order=True)
        .select("customer_id", "stop_id", "kind", pl.col("occurred_at").dt.epoch("us"))
        .collect()
    )
    return [
        VisitMade(customer_id=customer_id, stop_id=stop_id, visit=Visit(at_us=at_us, home=kind == HOME_IF))
        for customer_id, stop_id, kind, at_us in rows.iter_rows()
    ]


def erase_landed(workspace: Workspace, customer_id: str) -> int:
    """Take a customer's preferences out of landed and quarantined files; give how many rows went."""
    folders = (workspace.landed / CUSTOMERS.name, workspace.quarantine / CUSTOMERS.name)
    return sum(_erase(path, customer_id) for folder in folders for path in sorted(folder.glob("*.parquet")))


def _erase(path: Path, customer_id: str) -> int:
    rows = pl.read_parquet(path)
    kept = rows.filter(pl.col("customer_id").cast(pl.String).ne_missing(customer_id))
    if len(kept) < len(rows):
        staged = path.with_name(f".{path.name}.tmp")
        kept.write_parquet(staged)
        staged.replace(path)
    return len(rows) - len(kept)


def _preferences(row: dict[str, object]) -> Preferences:
    """What a landed row says; quiet hours without an end say nothing."""
    quiet = ("quiet_from_hour", "quiet_to_hour")
    if any(row[name] is None for name in quiet):
        row = {**row, **dict.fromkeys(quiet)}
    return preferences_from(row)
