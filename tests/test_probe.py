"""A storage is tried as a test would use it, and holds afterwards what it held before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_opendal.probe import ROUNDS, Probe, probe
from pytest_opendal.process import Process
from pytest_opendal.run import Hooks, Run
from pytest_opendal.settings import StorageSettings
from pytest_opendal.sheet import capability_lines, duration, storage_lines

import faults
import servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(Process.new(), tmp_path / "journals")
    yield made
    made.finish()
    made.close()


def _fs(root: Path, **keys: Any) -> StorageSettings:
    return StorageSettings(name="sdcard", scheme="fs", kwargs={"root": str(root)}, **keys)


def test_a_directory_answers_and_is_left_as_it_was(run: Run, tmp_path: Path) -> None:
    found = probe(run, _fs(tmp_path / "sd"))

    assert found.problem is None
    assert found.read_only is None
    assert list(found.seconds) == ["write", "read", "stat", "delete"]
    assert all(0 < seconds < 5 for seconds in found.seconds.values())
    assert found.rounds == ROUNDS
    assert found.capability is not None
    assert found.capability.rename
    run.finish()
    assert list((tmp_path / "sd").iterdir()) == []


def test_retention_isolation_and_existing_files_of_the_settings_do_not_count(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "sd").mkdir()
    (tmp_path / "sd" / "file").write_text("mine")

    found = probe(run, _fs(tmp_path / "sd", retention="all", on_existing="refuse"))

    run.finish()
    assert found.problem is None
    assert [path.name for path in (tmp_path / "sd").iterdir()] == ["file"]
    assert (tmp_path / "sd" / "file").read_text() == "mine"


def test_a_server_is_measured_too(run: Run, seaweedfs: servers.SeaweedFS) -> None:
    kwargs = {**seaweedfs.kwargs, "root": "/probe"}

    found = probe(run, StorageSettings(name="results", scheme="s3", kwargs=kwargs))

    assert found.problem is None
    assert list(found.seconds) == ["write", "read", "stat", "delete"]


def test_credentials_that_may_only_read_are_told(run: Run, seaweedfs: servers.SeaweedFS) -> None:
    kwargs = {
        **seaweedfs.kwargs,
        "access_key_id": seaweedfs.readonly_access_key_id,
        "secret_access_key": seaweedfs.readonly_secret_access_key,
    }
    settings = StorageSettings(name="results", scheme="s3", kwargs=kwargs)

    found = probe(run, settings)

    assert found.problem is None
    assert list(found.seconds) == ["stat"]
    lines = list(storage_lines(settings, found))
    assert lines[0].endswith(": ok, but read-only")
    assert lines[1].startswith("  writing is refused: ")
    assert "Access Denied" in lines[1] or "AccessDenied" in lines[1]
    assert lines[2].startswith("  stat ")


def test_what_the_configuration_protects_is_read_only(run: Run, tmp_path: Path) -> None:
    found = probe(run, _fs(tmp_path / "sd", protect=("**",)))

    assert found.read_only == "protected by '**' in the configuration"


def test_without_writing_nothing_is_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sd").mkdir()
    noted: list[str] = []
    run.hooks = Hooks(created=lambda _storage, path, _test: noted.append(path))

    found = probe(run, _fs(tmp_path / "sd"), writes=False)

    assert (found.problem, found.read_only, list(found.seconds)) == (None, None, ["stat"])
    assert noted == []


@pytest.mark.parametrize("key", ["root", "atomic_write_dir"])
def test_without_writing_no_directory_is_made_either(run: Run, tmp_path: Path, key: str) -> None:
    kwargs = {"root": str(tmp_path), key: str(tmp_path / "sd")}
    settings = StorageSettings(name="sdcard", scheme="fs", kwargs=kwargs)

    found = probe(run, settings, writes=False)

    text = f"there is no directory {tmp_path}/sd, and nothing is to be written"
    assert found == Probe(problem=text)
    assert not (tmp_path / "sd").exists()


def test_a_server_that_is_not_there_is_a_problem(run: Run) -> None:
    with servers.refused() as address:
        kwargs = {"endpoint": f"http://{address}"}
        found = probe(run, StorageSettings(name="nas", scheme="webdav", kwargs=kwargs))

    assert found == Probe(problem="nas: connect: connection refused")


def test_a_server_that_falls_silent_is_a_problem(run: Run, wsgidav: servers.WebDAV) -> None:
    with faults.proxy(wsgidav.endpoint.removeprefix("http://")) as proxy:
        run.hooks = Hooks(created=lambda *_: proxy.silent.set())
        kwargs = {**wsgidav.kwargs, "endpoint": f"http://{proxy.address}"}
        settings = StorageSettings(name="nas", scheme="webdav", kwargs=kwargs, timeout=0.5)
        found = probe(run, settings)

    assert found.problem is not None
    assert "no answer within 0.5 s" in found.problem


def test_what_cannot_be_removed_again_is_a_problem(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(self: object, path: str) -> None:
        raise PermissionError("it is bolted to the floor")

    monkeypatch.setattr("pytest_opendal.backends.local.LocalBackend.remove_tree", refuse)

    found = probe(run, _fs(tmp_path / "sd"))

    assert found.problem is not None
    assert found.problem.startswith("could not be removed again: sdcard: remove_all")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.000123, "0.12 ms"),
        (0.00234, "2.34 ms"),
        (0.0123, "12.3 ms"),
        (0.345, "345 ms"),
        (1.234, "1.23 s"),
        (12.34, "12.3 s"),
    ],
)
def test_times_have_three_digits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_storage_is_told_in_two_lines(tmp_path: Path) -> None:
    times = dict.fromkeys(("write", "read", "stat", "delete"), 0.00123)

    assert list(storage_lines(_fs(tmp_path), Probe(seconds=times, rounds=5))) == [
        f"sdcard (fs, {tmp_path}): ok",
        "  write 1.23 ms, read 1.23 ms, stat 1.23 ms, delete 1.23 ms (1 KiB, median of 5)",
    ]


def test_capabilities_that_no_storage_has_are_left_out(run: Run, tmp_path: Path) -> None:
    directory = probe(run, _fs(tmp_path), writes=False).capability
    assert directory is not None
    copy = directory.model_copy(update={"rename": False})

    rows = {
        line.split()[0]: line.split()[1:] for line in capability_lines({"a": directory, "b": copy})
    }

    assert rows["rename"] == ["yes", "-"]
    assert "presign_read" not in rows
    assert list(capability_lines({})) == []
