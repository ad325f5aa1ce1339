"""Which code makes forecasts: the release, and a digest of the sources that a forecast goes through."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path

from data_contracts import __version__

PACKAGES = ("data_contracts", "features", "training", "serving")


@cache
def code_version() -> str:
    """``0.1.0+4be2c19a83d0``: the same for the same sources, wherever they lie."""
    digest = blake2b(digest_size=6)
    for package in PACKAGES:
        spec = find_spec(package)
        folder = Path(spec.origin).parent if spec and spec.origin else Path(package)
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return f"{__version__}+{digest.hexdigest()}"
