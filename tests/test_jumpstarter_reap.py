"""What a killed run left behind an exporter is reaped through that exporter, and through no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import exporters
from runs import Suite, needs_xdist

pytest.importorskip("jumpstarter_driver_opendal", reason=exporters.NOT_INSTALLED)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DIES = """
import os
import threading
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(2))
def test_dies(opendal, number):
    opendal.write_bytes(f"d{number}/a.txt", b"x")
    Path(f"ready-{number}").touch()
    threading.Event().wait()
"""


@pytest.fixture
def remote(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """A suite that dies; nothing of a surrounding shell of Jumpstarter's reaches it."""
    for name in [name for name in os.environ if name.startswith(("JMP_", "JUMPSTARTER_"))]:
        monkeypatch.delenv(name)
    suite.write(test_it=DIES)
    return suite


def configure(suite: Suite, **keys: object) -> None:
    """Put the storage of a suite behind an exporter."""
    entry = {"jumpstarter": keys, "retention": "none"}
    suite.config.write_text(json.dumps({"storages": {"dut": entry}}), encoding="utf-8")


def board(directory: Path, name: str) -> Path:
    """Return the configuration of an exporter with one storage, which holds a file already."""
    tree = {"storage": exporters.opendal(directory / name)}
    (directory / name / "theirs.txt").touch()
    return exporters.exporter_file(directory / f"{name}.yaml", tree)


def files(directory: Path) -> list[str]:
    """Return all that is on a board."""
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


def reap(
    suite: Suite, *args: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own, as gRPC wants it."""
    command = [sys.executable, "-c", "from pytest_opendal.cli import main; main()", "reap"]
    place = suite.pytester.path / ".pytest_cache" / "opendal"
    place.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [*command, str(suite.config), "--journal-dir", str(place), *args],
        check=False,
        cwd=suite.pytester.path,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=120,
    )


@needs_xdist
@pytest.mark.parametrize("isolation", ["none", "test"])
def test_reap_goes_to_the_exporter_that_it_was(
    remote: Suite, tmp_path: Path, isolation: str
) -> None:
    configure(remote)
    with (
        exporters.exporter(board(tmp_path, "one")) as one,
        exporters.exporter(board(tmp_path, "other")) as other,
    ):
        remote.kill("-n2", f"--opendal-isolation={isolation}", ready=2, **one.environment)
        left = files(tmp_path / "one")
        assert len(left) > 2

        missed = reap(remote, environ=other.environment)
        assert missed.returncode == 1
        assert f"it is on the exporter {one.address}, and this run reaches" in missed.stdout
        assert files(tmp_path / "one") == left

        done = reap(remote, environ=one.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert files(tmp_path / "one") == files(tmp_path / "other") == ["theirs.txt"]
    assert remote.journals == []


def test_an_exporter_that_is_served_here_is_served_for_the_reap(
    remote: Suite, tmp_path: Path
) -> None:
    configure(remote, exporter_config=str(board(tmp_path, "board")))
    remote.kill(ready=1)
    assert files(tmp_path / "board") == ["d0", "d0/a.txt", "theirs.txt"]
    done = reap(remote)
    assert done.returncode == 0, done.stdout + done.stderr
    assert files(tmp_path / "board") == ["theirs.txt"]


def test_old_areas_are_found_behind_an_exporter(remote: Suite, tmp_path: Path) -> None:
    configure(remote, exporter_config=str(board(tmp_path, "board")))
    area = tmp_path / "board" / "pytest-opendal" / "20260101T000000-aaaaaa" / "gw0"
    area.mkdir(parents=True)
    (area / "a.txt").touch()
    done = reap(remote, "--older-than", "24h")
    assert done.returncode == 0, done.stdout + done.stderr
    assert files(tmp_path / "board") == ["theirs.txt"]


@needs_xdist
def test_boards_that_workers_leased_are_leased_again(remote: Suite, tmp_path: Path) -> None:
    """Each by its name, since any other board would do for the selector."""
    boards = [board(tmp_path, name) for name in ("board1", "board2")]
    directory = tmp_path / "controller"
    client = directory / "client.yaml"
    configure(remote, selector="board=rpi4", client=str(client), lease="worker")
    with exporters.controller(directory, *boards):
        remote.kill("-n2", ready=2)
    client.unlink()
    # Leases of processes that were killed have come to their end; the first one is of board1.
    with exporters.controller(directory, *boards) as lab:
        done = reap(remote)
        assert (lab.told("create"), lab.told("delete")) == (2 + 2, 2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert files(tmp_path / "board1") == files(tmp_path / "board2") == ["theirs.txt"]
