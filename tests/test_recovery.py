"""A worker that is killed: the controller of the same run removes what it left, or tells of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import opendal
import pytest

from runs import Suite, needs_xdist, output, section

if TYPE_CHECKING:
    from servers import SeaweedFS

pytestmark = needs_xdist

# One test dies once; the others go on in its replacement and in the other worker.
DIES = """
import os
import pytest
from pathlib import Path

@pytest.mark.parametrize("number", range(6))
def test_it(opendal, opendal_session, number):
    opendal.write_bytes(f"d{number}/a.txt", b"x")
    opendal_session.write_bytes(f"session-{os.getpid()}.txt", b"x")
    if number == 2:
        (Path.cwd() / "died").touch(exist_ok=False)
        os.kill(os.getpid(), 9)
"""


def _kill(suite: Suite, *args: str, **keys: Any) -> pytest.RunResult:
    suite.lab(**keys)
    suite.write(test_it=DIES)
    result = suite.run("-n2", "--opendal-report=report.json", *args)
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["*crashed while running 'test_it.py::test_it[[]2]'*"])
    return result


@pytest.mark.parametrize("isolation", ["none", "worker", "test"])
def test_crashed_worker_leaves_nothing_on_fs(suite: Suite, isolation: str) -> None:
    result = _kill(suite, isolation=isolation)
    assert suite.left() == []
    assert section(result) == []
    assert suite.journals == []
    report = suite.report()
    assert report["created"] == report["removed"] > 0


@pytest.mark.parametrize("isolation", ["none", "test"])
def test_crashed_worker_leaves_nothing_on_s3(
    suite: Suite, isolation: str, seaweedfs: SeaweedFS
) -> None:
    operator = opendal.Operator("s3", **seaweedfs.kwargs)
    before = sorted(entry.path for entry in operator.scan(""))
    result = _kill(suite, scheme="s3", kwargs=seaweedfs.kwargs, isolation=isolation)
    assert sorted(entry.path for entry in operator.scan("")) == before
    assert section(result) == []
    assert suite.journals == []
    assert seaweedfs.secret_access_key not in output(result)


@pytest.mark.parametrize("retention", ["failed", "all"])
@pytest.mark.parametrize("isolation", ["none", "worker", "test"])
def test_what_retention_keeps_of_a_crashed_worker_is_reported(
    suite: Suite, isolation: str, retention: str
) -> None:
    result = _kill(suite, "--opendal-details", retention=retention, isolation=isolation)
    leftovers = suite.report()["leftovers"]
    crashed = [left for left in leftovers if left["reason"] == "worker crashed"]
    of_test = [left for left in crashed if left["test"] == "test_it.py::test_it[2]"]
    assert [left["path"].rpartition("/")[2] for left in of_test if left["kind"] == "file"] == [
        "a.txt"
    ]
    assert len({left["worker"] for left in crashed}) == 1
    assert any(line.endswith(" crashed") for line in section(result))
    # What was reported is there, and what is there was reported.
    files = [name for name in suite.left() if name.endswith(".txt")]
    assert files == sorted({left["path"] for left in leftovers if left["kind"] == "file"})
    assert suite.journals == []


def test_kept_of_a_crashed_worker_fails_no_run(suite: Suite) -> None:
    """The crash itself fails it."""
    result = _kill(suite, "--opendal-leftovers=error", retention="failed")
    assert "the run fails because" not in output(result)


def test_crash_before_anything_was_reported(suite: Suite) -> None:
    """No configuration, and the controller has heard of no storage before the worker dies."""
    suite.write(
        test_it="""
        import os

        def test_it(opendal, tmp_path_factory):
            opendal.write_bytes("d/a.txt", b"x")
            os.kill(os.getpid(), 9)
        """
    )
    result = suite.run("-n1", "--basetemp=tmp")
    result.assert_outcomes(failed=1)
    assert section(result) == []
    assert list((suite.pytester.path / "tmp").rglob("d")) == []
    assert suite.journals == []


def test_crash_of_a_run_that_uses_no_storage(suite: Suite) -> None:
    suite.write(test_it="import os\ndef test_it(): os.kill(os.getpid(), 9)")
    result = suite.run("-n1")
    result.assert_outcomes(failed=1)
    assert "opendal leftovers" not in output(result)


def test_old_content_is_put_back_for_a_crashed_worker(suite: Suite) -> None:
    suite.root.mkdir()
    (suite.root / "config.txt").write_text("before", encoding="utf-8")
    suite.lab(on_existing="restore")
    suite.write(
        test_it="""
        import os

        def test_it(opendal):
            opendal.write_bytes("config.txt", b"during")
            opendal.write_bytes("new.txt", b"x")
            os.kill(os.getpid(), 9)
        """
    )
    suite.run("-n1").assert_outcomes(failed=1)
    assert suite.left() == ["config.txt"]
    assert (suite.root / "config.txt").read_text(encoding="utf-8") == "before"
    assert suite.journals == []


def test_foreign_files_survive_a_crashed_worker(suite: Suite) -> None:
    suite.lab()
    suite.write(
        test_it="""
        import os
        from pathlib import Path

        def test_it(opendal):
            opendal.write_bytes("d/a.txt", b"x")
            Path("device/d/foreign.txt").write_text("theirs")
            os.kill(os.getpid(), 9)
        """
    )
    result = suite.run("-n1", "--opendal-report=report.json")
    assert suite.left() == ["d", "d/foreign.txt"]
    (left,) = suite.report()["leftovers"]
    assert (left["path"], left["reason"]) == ("d", "holds files of others")
    assert section(result)[-1].strip() == "holds d/foreign.txt"


def test_failed_deletion_of_a_finished_worker_is_no_crash(suite: Suite) -> None:
    """It is told as what it is, and waits in the journal for a reap."""
    suite.lab(retention="failed")
    suite.write(
        conftest="""
        class Stubborn:
            def __init__(self, operator): self._operator = operator
            def __getattr__(self, name): return getattr(self._operator, name)
            async def delete(self, path, **kwargs): raise PermissionError("no")

        def pytest_opendal_operator(storage, operator): return Stubborn(operator)
        """,
        test_it="def test_it(opendal): opendal.write_bytes('a.txt', b'x')",
    )
    suite.run("-n1", "--opendal-report=report.json")
    (left,) = suite.report()["leftovers"]
    assert left["reason"] == "delete failed"
    assert [name for name in suite.journals if name.endswith(".journal")]


def test_storage_that_only_a_conftest_knows_stays_in_the_journal(
    suite: Suite, seaweedfs: SeaweedFS
) -> None:
    """No journal holds credentials, so the controller cannot reach it; it says so."""
    settings = {"scheme": "s3", "kwargs": seaweedfs.kwargs, "retention": "none"}
    suite.write(
        conftest=f"""
        import pytest

        @pytest.fixture(scope="session")
        def opendal_config(): return {settings | {"isolation": "test"}!r}
        """,
        test_it="""
        import os

        def test_it(opendal):
            opendal.write_bytes("a.txt", b"x")
            os.kill(os.getpid(), 9)
        """,
    )
    result = suite.run("-n1", "--opendal-report=report.json")
    (left,) = suite.report()["leftovers"]
    assert left["error"].startswith("its storage is not in this run's configuration; it stays")
    (journal,) = [name for name in suite.journals if name.endswith(".journal")]
    place = suite.pytester.path / ".pytest_cache" / "opendal"
    assert seaweedfs.secret_access_key not in (place / journal).read_text(encoding="utf-8")
    assert seaweedfs.secret_access_key not in output(result)
    opendal.Operator("s3", **seaweedfs.kwargs).remove_all(f"{left['path']}/")


# Four workers meet in one directory; what replaces the dead one writes there too.
MEETS = """
import os
import pytest
from pathlib import Path

@pytest.mark.parametrize("number", range(12))
def test_it(opendal, opendal_session, number):
    opendal.write_bytes(f"shared/{number}.txt", b"x")
    opendal_session.write_bytes(f"shared/session-{number}.txt", b"x")
    if number == 1:
        (Path.cwd() / "died").touch(exist_ok=False)
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("retention", ["none", "failed", "all"])
@pytest.mark.parametrize("scheme", ["fs", "s3"])
def test_four_workers_and_a_replacement_in_one_directory(
    suite: Suite, seaweedfs: SeaweedFS, scheme: str, retention: str
) -> None:
    kwargs = {"root": str(suite.root)}
    if scheme == "s3":
        kwargs = seaweedfs.kwargs | {"root": f"/{suite.pytester.path.name}/"}
    suite.lab(scheme=scheme, kwargs=kwargs, retention=retention)
    suite.write(test_it=MEETS)
    result = suite.run("-n4", "--opendal-report=report.json", "--opendal-details")
    result.assert_outcomes(passed=11, failed=1)

    operator = opendal.Operator(scheme, **kwargs)
    there = {entry.path for entry in operator.scan("") if not entry.path.endswith("/")}
    leftovers = [left for left in suite.report()["leftovers"] if left["kind"] == "file"]
    assert {left["path"] for left in leftovers} == there
    crashed = {left["path"] for left in leftovers if left["reason"] == "worker crashed"}
    if retention == "none":
        assert there == set()
    else:
        assert {"shared/1.txt", "shared/session-1.txt"} <= crashed
    if retention == "failed":
        assert [path for path in there if "session" not in path] == ["shared/1.txt"]
    if retention == "all":
        assert len(there) == 24
    assert suite.journals == []
    operator.remove_all("shared/")
