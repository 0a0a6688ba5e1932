"""Areas of runs whose journals are gone with their hosts: found on the storage by name and age."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import opendal
import pytest
from click.testing import CliRunner

from pytest_opendal.areas import living_here
from pytest_opendal.cli import main
from pytest_opendal.journal import Journal

import servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

    from servers import Redis

OLD = "20260101T000000-aaaaaa"
SOMEBODYS = {
    "pytest-opendal/notes.txt",
    "pytest-opendal/archive/20260101T000000-aaaaaa/a.txt",
    "pytest-opendal/20260101T000000-XYZ/a.txt",
    "pytest-opendal/20269999T000000-aaaaaa/a.txt",
    "pytest-opendal/20260101T000000-bbbbbb.txt",
    "pytest-opendal-mine/20260101T000000-aaaaaa/a.txt",
}


def area(run_id: str) -> set[str]:
    """Return what a run with workers leaves in its area."""
    return {f"pytest-opendal/{run_id}/gw{number}/test_a/d/a.txt" for number in range(2)}


def young() -> str:
    """Return the id of a run that started an hour ago."""
    return f"{datetime.now(UTC) - timedelta(hours=1):%Y%m%dT%H%M%S}-cccccc"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a directory of its own, off the configuration and journals of whoever runs this."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENDAL_CONFIG", "OPENDAL_TEST"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))


@pytest.fixture(params=["fs", "s3", "webdav"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[opendal.Operator]:
    """A storage that can list, and ``lab.yaml`` for it."""
    scheme: str = request.param
    if scheme == "fs":
        kwargs = {"root": str(tmp_path / "device")}
    else:
        server = request.getfixturevalue({"s3": "seaweedfs", "webdav": "wsgidav"}[scheme])
        kwargs = server.kwargs | {"root": f"/{tmp_path.name}/"}
    configure(scheme, kwargs)
    operator = opendal.Operator(scheme, **kwargs)
    yield operator
    operator.remove_all("/")


def configure(scheme: str, kwargs: dict[str, str]) -> None:
    """Write ``lab.yaml`` for one storage."""
    entry = {"scheme": scheme, "kwargs": kwargs}
    Path("lab.yaml").write_text(json.dumps({"storages": {"lab": entry}}), encoding="utf-8")


def put(operator: opendal.Operator, *groups: set[str]) -> None:
    """Write files."""
    for name in set().union(*groups):
        operator.write(name, b"x")


def files(operator: opendal.Operator) -> set[str]:
    """Return all files of a storage."""
    return {entry.path for entry in operator.scan("") if not entry.path.endswith("/")}


def reap(*args: str) -> Result:
    """Run the command in the current directory."""
    return CliRunner().invoke(main, ["reap", *args], catch_exceptions=False)


def test_old_areas_go_and_nothing_else(storage: opendal.Operator) -> None:
    recent = young()
    put(storage, SOMEBODYS, area(OLD), area("20260102T000000-bbbbbb"), area(recent))
    planned = reap("lab.yaml", "--older-than", "24h", "--dry-run")
    assert planned.exit_code == 0
    assert [line.strip() for line in planned.output.splitlines() if line.startswith("    ")] == [
        f"pytest-opendal/{OLD}",
        "pytest-opendal/20260102T000000-bbbbbb",
    ]
    assert files(storage) >= area(OLD)

    result = reap("lab.yaml", "--older-than", "24h")
    assert result.exit_code == 0, result.output
    assert f"run {OLD} (started 2026-01-01T00:00:00+00:00)" in result.output
    assert result.output.splitlines()[-1] == "nothing is left"
    assert files(storage) == SOMEBODYS | area(recent)


def test_without_an_age_no_area_is_looked_for(storage: opendal.Operator) -> None:
    put(storage, area(OLD))
    assert reap("lab.yaml").output.startswith("nothing to reap")
    assert files(storage) == area(OLD)


def test_the_last_area_takes_the_directory_of_areas_with_it(storage: opendal.Operator) -> None:
    put(storage, area(OLD), {"theirs.txt"})
    assert reap("lab.yaml", "--older-than", "1h").exit_code == 0
    assert not storage.exists("pytest-opendal/")
    assert files(storage) == {"theirs.txt"}


def test_a_second_reap_finds_nothing(storage: opendal.Operator) -> None:
    """SeaweedFS goes on listing the directory of an area that is gone."""
    put(storage, area(OLD), SOMEBODYS)
    assert reap("lab.yaml", "--older-than", "1h").exit_code == 0
    for dry in ([], ["--dry-run"]):
        assert reap("lab.yaml", "--older-than", "1h", *dry).output.startswith("nothing to reap")


def test_a_run_that_lives_on_this_host_is_spared_however_old(storage: opendal.Operator) -> None:
    """Also when its journal is in another project, of which this one knows nothing."""
    run_id = f"20260101T000000-{os.urandom(3).hex()}"  # tests beside this one see it live
    put(storage, area(run_id))
    text = (
        "import sys; from pathlib import Path; from pytest_opendal.journal import Journal\n"
        f"living = Journal(Path('elsewhere'), {run_id!r}, 'gw0', '')\n"
        "living.begin(); print(flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as living:
        assert living.stdout is not None
        living.stdout.readline()
        assert run_id in living_here()
        result = reap("lab.yaml", "--older-than", "24h")
        assert result.output.startswith("nothing to reap")
        assert files(storage) == area(run_id)
        living.communicate()
    assert reap("lab.yaml", "--older-than", "24h").exit_code == 0
    assert files(storage) == set()


def test_a_run_whose_journal_nobody_here_may_judge_is_spared(storage: opendal.Operator) -> None:
    put(storage, area(OLD))
    place = Path(".pytest_cache/opendal")
    journal = Journal(place, OLD, "gw0", "")
    journal.begin()
    text = journal.path.read_text(encoding="utf-8")
    path = place / f"{OLD}-gw1.journal"
    path.touch(0o600)
    path.write_text(text.replace(socket.gethostname(), "lab-host-9"), encoding="utf-8")
    path.with_suffix(".lock").touch()
    journal.close()
    result = reap("lab.yaml", "--older-than", "24h")
    assert "journal of host lab-host-9, to be reaped there" in result.output
    assert result.exit_code == 0
    assert files(storage) == area(OLD)


def test_what_a_link_leads_to_is_in_no_area(tmp_path: Path) -> None:
    configure("fs", {"root": str(tmp_path / "device")})
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "a.txt").touch()
    areas = tmp_path / "device" / "pytest-opendal"
    areas.mkdir(parents=True)
    (areas / OLD).symlink_to(theirs)
    assert reap("lab.yaml", "--older-than", "24h").exit_code == 0
    assert (theirs / "a.txt").exists()


def test_a_protected_area_stays(tmp_path: Path) -> None:
    kwargs = {"root": str(tmp_path / "device")}
    entry = {"scheme": "fs", "kwargs": kwargs, "protect": [f"pytest-opendal/{OLD}"]}
    Path("lab.yaml").write_text(json.dumps(entry), encoding="utf-8")
    put(opendal.Operator("fs", **kwargs), area(OLD))
    result = reap("lab.yaml", "--older-than", "24h")
    assert result.exit_code == 1
    assert "protected by" in result.output


def test_an_area_stays_with_what_is_protected_in_it(tmp_path: Path) -> None:
    kwargs = {"root": str(tmp_path / "device")}
    entry = {"scheme": "fs", "kwargs": kwargs, "protect": ["*.key"]}
    Path("lab.yaml").write_text(json.dumps(entry), encoding="utf-8")
    operator = opendal.Operator("fs", **kwargs)
    put(operator, {*area(OLD), f"pytest-opendal/{OLD}/main/a.key"})
    result = reap("lab.yaml", "--older-than", "24h")
    assert result.exit_code == 1
    assert "a.key': protected by '*.key'" in result.output
    assert f"pytest-opendal/{OLD}/main/a.key" in files(operator)


def test_a_root_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    configure("fs", {"root": str(tmp_path / "device")})
    assert reap("lab.yaml", "--older-than", "24h").exit_code == 0
    assert not (tmp_path / "device").exists()


def test_a_store_that_cannot_list_says_so(redis: Redis) -> None:
    configure("redis", redis.kwargs)
    result = reap("lab.yaml", "--older-than", "24h")
    assert result.exit_code == 0
    assert "lab: cannot list, so old areas cannot be found on it" in result.output


def test_a_storage_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with servers.refused() as address:
        configure("webdav", {"endpoint": f"http://{address}"})
        result = reap("lab.yaml", "--older-than", "24h")
    assert result.exit_code == 1
    assert "connection refused" in result.output
    assert result.output.splitlines()[-1] == "1 could not be removed"


def test_without_a_configuration_it_says_that_areas_are_not_looked_for() -> None:
    result = reap("--older-than", "24h")
    assert result.exit_code == 0
    assert "only runs with a journal here are found" in result.output
