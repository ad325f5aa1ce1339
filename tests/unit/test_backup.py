"""A backup is one file that was read again before it counts, and comes back whole or not at all."""

from __future__ import annotations

import io
import json
import shutil
import stat
import tarfile
import threading
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from data_contracts.errors import WorkspaceError
from data_contracts.workspace import Workspace
from pipelines.cli import app
from serving.http.key_file import KeyFile
from serving.http.keys import Scope
from serving.storage.log import Clock, EventLog
from serving.upkeep.backup import MANIFEST, backup, restore
from tests.api_client import crown, play
from tests.engine_bench import everything, late_day, tick


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Workspace(tmp_path_factory.mktemp("played") / "w")
    crown(workspace)
    play(workspace, *late_day())
    workspace.settings.write_text('[serving]\nclock = "log"\n')
    KeyFile(workspace.keys).create("k", frozenset({Scope.READ}), 1)
    (workspace.run).mkdir()
    (workspace.run / "rates").write_bytes(b"x")
    return workspace.root


@pytest.fixture
def workspace(played: Path, tmp_path: Path) -> Workspace:
    return Workspace(shutil.copytree(played, tmp_path / "w"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backups" / "w.tar"


def test_a_workspace_comes_back_as_it_was(workspace: Workspace, file: Path, tmp_path: Path) -> None:
    told = backup(workspace, file)
    back = Workspace(tmp_path / "back")
    assert restore(file, back) == told
    assert everything(back.root) == everything(workspace.root)
    assert told.log_seq == told.checkpoint_seq == EventLog(back.log, Clock.LOG).last().seq > 0
    for name in ("keys.json", "punctual.toml", "models/champion.json"):
        assert (back.root / name).read_bytes() == (workspace.root / name).read_bytes()
    assert stat.S_IMODE(back.keys.stat().st_mode) == 0o600
    assert not back.run.exists()


def test_the_engine_goes_on_in_what_came_back(workspace: Workspace, file: Path, tmp_path: Path) -> None:
    backup(workspace, file)
    back = Workspace(tmp_path / "back")
    restore(file, back)
    for place in (workspace, back):
        play(place, *(tick(9000 + n) for n in range(5)))
    assert everything(back.root) == everything(workspace.root)


def test_a_backup_is_read_by_its_owner_alone_and_leaves_nothing_beside_it(
    workspace: Workspace, file: Path
) -> None:
    backup(workspace, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]
    assert [path.name for path in workspace.root.parent.iterdir() if path.name.startswith(".")] == []


def test_a_backup_taken_under_load_is_consistent(workspace: Workspace, file: Path, tmp_path: Path) -> None:
    done = threading.Event()

    def work() -> None:
        n = 0
        while not done.is_set():
            n += 1
            play(workspace, tick(9000 + n))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for n in range(3):
            told = backup(workspace, tmp_path / f"{n}.tar")
            assert told.log_seq >= told.checkpoint_seq > 0
    finally:
        done.set()
        thread.join()
    restore(tmp_path / "2.tar", Workspace(tmp_path / "back"))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_was_cut_off_is_refused(
    workspace: Workspace, file: Path, tmp_path: Path, share: float
) -> None:
    backup(workspace, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share) // 512 * 512])
    back = tmp_path / "back"
    with pytest.raises(WorkspaceError, match="backup"):
        restore(file, Workspace(back))
    assert not back.exists()


def test_a_changed_byte_is_found(workspace: Workspace, file: Path, tmp_path: Path) -> None:
    backup(workspace, file)
    content = bytearray(file.read_bytes())
    place = content.index(b"[serving]")
    content[place + 1] ^= 1
    file.write_bytes(content)
    with pytest.raises(WorkspaceError, match=r"punctual\.toml is not what was written"):
        restore(file, Workspace(tmp_path / "back"))


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_a_file_that_would_write_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "evil.tar"
    with tarfile.open(file, "w") as tar:
        for member, content in ((name, b"x"), (MANIFEST, orjson.dumps({"files": {}}))):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(WorkspaceError):
        restore(file, Workspace(tmp_path / "deep" / "back"))
    assert not (tmp_path / "evil").exists() and not (tmp_path / "deep" / "evil").exists()


def test_what_lies_in_a_folder_is_never_overwritten(workspace: Workspace, file: Path) -> None:
    backup(workspace, file)
    with pytest.raises(WorkspaceError, match="holds something"):
        restore(file, workspace)


def test_a_backup_of_nothing_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no such workspace"):
        backup(Workspace(tmp_path / "nowhere"), file)
    assert not file.exists()


def test_by_command(workspace: Workspace, file: Path, tmp_path: Path) -> None:
    def punctual(*arguments: str) -> dict[str, int]:
        done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        found: dict[str, int] = json.loads(done.stdout)
        return found

    told = punctual("backup", str(file), "-w", str(workspace.root))
    assert told == punctual("restore", str(file), "-w", str(tmp_path / "back"))
    assert punctual("compact", "-w", str(tmp_path / "back"))["dropped"] == 0
