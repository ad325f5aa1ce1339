"""Folding the parts of a history: each part is read from files, and its versions are written to files.

Any number of processes, on one machine or many that share a folder, may fold parts at once; what an executor is asked
to run are the functions of this module, with paths and names as their arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

import polars as pl
import pyarrow as pa
import pyarrow.feather as feather

from features.collections_off import no_collections
from features.feed_folds import frame_columns
from features.lessons import columns_of
from features.live import Learned, LiveFeatures
from features.means import KINDS
from features.messages import messages
from features.online import Versions
from features.partitions import spans
from features.route_book import RouteBook
from features.version_files import version_table, write_table
from features.views import VIEWS, View

VIEW_NAMED = {view.name: view for view in VIEWS}


@dataclass(frozen=True, slots=True)
class Folded:
    """What became of one part.

    features : state of the part's own entities
    versions : view -> files of its versions
    learned : kind of observation -> file of what is still to be learned from
    routes : dumped routes of which something may still be heard
    """

    features: LiveFeatures = field(default_factory=LiveFeatures)
    versions: dict[str, list[Path]] = field(default_factory=dict)
    learned: dict[str, Path] = field(default_factory=dict)
    routes: dict[str, bytes] = field(default_factory=dict)


@no_collections()
def fold_routes(paths: Mapping[str, Path], out: Path, ends_us: int) -> Folded:
    """Follow the routes of one part until its end; what that teaches is left for ``learn``."""
    features, learned = LiveFeatures(), Learned()
    for span in spans(_read(paths)):
        for told in messages(span):
            learned.hear(features.book, told)
    progress = features.absorb(Learned(progress=learned.progress), {})
    left = {}
    for kind in KINDS:
        observed = [each for each in learned.observations if type(each) is kind]
        left[kind.__name__] = _write_learned(out / f"{kind.__name__}.arrow", kind, observed)
    book = features.book
    routes = {route_id: book.dump(route_id) for route_id in book.followed_at(ends_us)}
    features.book = RouteBook()
    return Folded(features, _write(progress, out), left, routes)


@no_collections()
def fold_feed(table: str, path: Path, out: Path) -> Folded:
    """Fold one part of a feed."""
    features, published = LiveFeatures(), []
    for span in spans(_read({table: path})):
        published += features.absorb(Learned(), {table: frame_columns(table, span[table])})
    return Folded(features, _write(published, out))


@no_collections()
def learn(kind: str, path: Path, out: Path) -> Folded:
    """Move the means by what was observed in one part."""
    features = LiveFeatures()
    frame = pl.read_ipc(path)
    columns = {name: frame[name] for name in frame.columns}
    published = features.learn_columns(next(each for each in KINDS if each.__name__ == kind), columns)
    return Folded(features, _write(published, out))


def write_view(name: str, parts: Sequence[Path], folder: Path) -> int:
    """Put the parts of a view into its file; give how many versions there are."""
    view = VIEW_NAMED[name]
    tables = [feather.read_table(part, memory_map=True) for part in parts]
    table = pa.concat_tables(tables) if tables else version_table(view, [])
    write_table(folder, view, table.unify_dictionaries())
    return len(table)


def _read(paths: Mapping[str, Path]) -> dict[str, pl.DataFrame]:
    return {name: pl.read_ipc(path) for name, path in paths.items()}


def _write(published: Sequence[Versions], out: Path) -> dict[str, list[Path]]:
    by_view: dict[View, list[Versions]] = {}
    for versions in published:
        by_view.setdefault(versions.view, []).append(versions)
    written = {}
    for view, batches in by_view.items():
        path = out / f"{view.name}.arrow"
        feather.write_feather(version_table(view, batches), path, compression="uncompressed")
        written[view.name] = [path]
    return written


def _write_learned(path: Path, kind: type[Any], observed: Sequence[Any]) -> Path:
    hints = get_type_hints(kind)
    schema = {
        name: pl.String if str in _types_of(hints.get(name, int)) else pl.Int64
        for name in columns_of([], kind)
    }
    pl.DataFrame(columns_of(observed, kind), schema=schema).write_ipc(path)
    return path


def _types_of(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    return get_args(hint) or (hint,)
