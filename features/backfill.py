"""Feature versions of a whole history, and the state to go on from.

Rows of all tables are put in the order in which they became known; that order is the log's sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from data_contracts.tables import TABLES
from features.collections_off import no_collections
from features.feed_folds import FEEDS, frame_columns
from features.folding import Folded, fold_feed, fold_routes, learn, write_view
from features.live import Learned, LiveFeatures
from features.means import KINDS
from features.messages import Frames, messages
from features.online import Versions
from features.partitions import by_entity, by_link, by_route
from features.views import VIEWS

#: A feed that is folded while routes are cut into parts; the others keep processes busy while lessons are.
CUT_AT_ONCE = "traffic"


def in_log_order(tables: Frames, first_seq: int = 1) -> dict[str, pl.DataFrame]:
    """Each table with its log sequence, times as integer microseconds, each event once."""
    order = {name: place for place, name in enumerate(TABLES)}
    stamped = {}
    for name, frame in tables.items():
        times = [column.name for column in TABLES[name].columns if column.dtype == "timestamp"]
        stamped[name] = (
            frame.with_columns(pl.col(times).dt.epoch("us"))
            .sort("received_at", "event_id")
            .unique("event_id", keep="first", maintain_order=True)
            .with_columns(pl.lit(order[name]).alias("table_order"))
        )
    keys = ["received_at", "table_order", "event_id"]
    if not stamped:
        return {}
    sequence = (
        pl.concat([frame.select(keys) for frame in stamped.values()])
        .sort(keys)
        .with_row_index("seq", offset=first_seq)
        .with_columns(pl.col("seq").cast(pl.Int64))
    )
    return {
        name: frame.with_columns(sequence.filter(pl.col("table_order") == order[name])["seq"]).drop(
            "table_order"
        )
        for name, frame in stamped.items()
    }


@no_collections()
def backfill(
    ordered: Frames, features: LiveFeatures, progress: Callable[[str], None] | None = None
) -> dict[str, list[Versions]]:
    """Fold a history into ``features``, in memory and in one go; give every version of every view."""
    say = progress or (lambda _: None)
    learned = Learned()
    versions: dict[str, list[Versions]] = {view.name: [] for view in VIEWS}
    say("routes and stops")
    for told in messages(ordered):
        learned.hear(features.book, told)
    features.book.take_ended()
    say("feeds")
    feeds = {name: frame_columns(name, ordered[name]) for name in FEEDS if name in ordered}
    for published in features.absorb(learned, feeds):
        versions[published.view.name].append(published)
    return versions


def backfill_in_parts(
    ordered: Frames,
    folder: Path,
    executor: Executor,
    parts: int,
    *,
    ends_us: int = 0,
    progress: Callable[[str], None] | None = None,
) -> LiveFeatures:
    """Fold a history part by part and write the version file of every view; give the state to go on from.

    The integers are those of ``backfill``; so are the files, but for the order of their rows. The parts lie in a
    folder beside the version files while they are folded, so that an executor of many machines can reach them.

    parts : into how many each kind of rows is cut, at most
    ends_us : when the history ends; routes that are over by then are not kept
    """
    say = progress or (lambda _: None)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".parts-") as scratch, no_collections():
        place = _Places(Path(scratch))

        def fold(tables: Iterable[str]) -> list[Future[Folded]]:
            return [
                executor.submit(fold_feed, table, place.write({table: rows})[table], place.new())
                for table in tables
                if table in ordered
                for rows in by_entity(table, ordered[table], parts)
            ]

        say("parts")
        feeds = fold([CUT_AT_ONCE])
        routes = [
            executor.submit(fold_routes, place.write(tables), place.new(), ends_us)
            for tables in by_route(ordered, parts)
        ]
        feeds += fold(feed for feed in FEEDS if feed != CUT_AT_ONCE)
        say("routes and stops")
        followed = [part.result() for part in routes]
        taught = [
            executor.submit(learn, kind.__name__, place.write({"learned": rows})["learned"], place.new())
            for kind in KINDS
            for rows in by_link(kind, _all_learned(kind, followed), parts)
        ]
        say("feeds")
        folded = [*followed, *(part.result() for part in [*feeds, *taught])]
        files = {
            view.name: [path for part in folded for path in part.versions.get(view.name, [])]
            for view in VIEWS
        }
        say("feature versions")
        written = [executor.submit(write_view, name, paths, folder) for name, paths in files.items()]
        features = _joined(folded)
        for each in written:
            each.result()
    return features


@dataclass(slots=True)
class _Places:
    """Folders for parts, each of them new."""

    root: Path
    made: int = 0

    def new(self) -> Path:
        self.made += 1
        folder = self.root / str(self.made)
        folder.mkdir()
        return folder

    def write(self, tables: Frames) -> dict[str, Path]:
        """Give tables to whoever folds them."""
        folder = self.new()
        for name, frame in tables.items():
            frame.write_ipc(folder / f"{name}.arrow")
        return {name: folder / f"{name}.arrow" for name in tables}


def _all_learned(kind: type, followed: Sequence[Folded]) -> pl.DataFrame:
    """What all parts taught of one kind, in log order."""
    return pl.concat([pl.read_ipc(part.learned[kind.__name__]) for part in followed]).sort(
        "seq", maintain_order=True
    )


def _joined(folded: Sequence[Folded]) -> LiveFeatures:
    features = LiveFeatures()
    for part in folded:
        features.join(part.features)
        for route_id, body in part.routes.items():
            features.book.load(route_id, body)
    return features
