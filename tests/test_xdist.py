"""Many workers on one storage: merged reports, isolation areas, shared directories, conflicts."""

from __future__ import annotations

import json
import re
from textwrap import dedent
from typing import TYPE_CHECKING

import opendal
import pytest

from runs import Suite, needs_xdist, output, section

if TYPE_CHECKING:
    from servers import SeaweedFS, WebDAV

pytestmark = needs_xdist

# Waits until the other worker is there too; what is waited for is a file, never a time.
BARRIER = """
import time
from pathlib import Path

def meet(name, worker):
    Path(f"{name}-{worker}").touch()
    deadline = time.monotonic() + 60
    while len(list(Path().glob(f"{name}-gw*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.005)
"""


def _bucket(server: SeaweedFS) -> list[str]:
    operator = opendal.Operator("s3", **server.kwargs)
    return sorted(entry.path for entry in operator.scan("") if entry.path not in {"", "/"})


def test_a_worker_tells_leftovers_in_one_text(suite: Suite) -> None:
    """For execnet carries each name and each value by itself, in pure Python."""
    suite.lab(retention="all")
    suite.write(
        test_it="""
        def test_one(opendal, record_property):
            record_property("board", "rpi")
            for number in range(100):
                opendal.write_bytes(f"{number}.txt", b"x")
        """,
        conftest="""
        import json
        from pathlib import Path

        import pytest

        @pytest.hookimpl(wrapper=True)
        def pytest_report_from_serializable(data):
            crossed, report = dict(data), (yield)
            if report.when == "teardown":
                both = crossed["user_properties"], report.user_properties
                Path("properties.json").write_text(json.dumps(both))
            return report
        """,
    )
    suite.run("-n1").assert_outcomes(passed=1)
    told = (suite.pytester.path / "properties.json").read_text(encoding="utf-8")
    crossed, properties = json.loads(told)
    assert crossed == [["board", "rpi"]]
    left = [["opendal_leftover", f"lab:{number}.txt"] for number in range(100)]
    assert sorted(properties) == sorted([*crossed, *left])


def test_reports_of_many_tests_are_merged(suite: Suite) -> None:
    suite.lab(retention="all", isolation="test")
    suite.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("number", range(50))
        def test_it(opendal, number):
            opendal.write_bytes(f"{number}.txt", b"x" * number)
        """
    )
    result = suite.run("-n4", "--opendal-report=report.json")
    result.assert_outcomes(passed=50)
    report = suite.report()
    files = [left for left in report["leftovers"] if left["kind"] == "file"]
    assert sorted(left["path"] for left in files) == [
        name for name in suite.left() if name.endswith(".txt")
    ]
    assert len(files) == report["created"] == 50
    assert report["removed"] == 0
    assert {left["test"] for left in files} == {f"test_it.py::test_it[{n}]" for n in range(50)}
    assert {left["worker"] for left in files} <= {"gw0", "gw1", "gw2", "gw3"}
    assert len(section(result)) <= 21


AREAS = """
import os
import pytest

@pytest.mark.parametrize("number", range(6))
def test_it(opendal, opendal_session, number):
    opendal.write_bytes("logs/a.txt", b"x")
    opendal_session.write_bytes(f"{number}/s.txt", b"x")
    with open("areas.txt", "a") as out:
        print(os.environ.get("PYTEST_XDIST_WORKER", "main"), *places(), file=out)
"""
ON_FS = """
def places():
    # Not pathlib's glob, which fails where another worker removes a directory meanwhile (Python 3.11).
    found = os.walk("device")
    return [f"{place}/a.txt".removeprefix("device/") for place, _, names in found if "a.txt" in names]
"""


@pytest.mark.parametrize("isolation", ["worker", "test"])
def test_areas_are_named_and_gone_on_fs(
    suite: Suite, isolation: str, plugin_args: tuple[str, ...]
) -> None:
    suite.lab(isolation=isolation)
    suite.write(test_it=ON_FS + AREAS)
    result = suite.run("--opendal-report=report.json", *plugin_args)
    result.assert_outcomes(passed=6)
    run_id = suite.report()["run_id"]
    assert re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{6}", run_id)
    seen = (suite.pytester.path / "areas.txt").read_text(encoding="utf-8").splitlines()
    slug = r"test_it\.py-test_it-\d-[0-9a-f]{8}/" if isolation == "test" else ""
    for line in seen:
        worker, *places = line.split()
        area = rf"pytest-opendal/{run_id}/{worker}/{slug}"
        assert any(re.fullmatch(rf"{area}logs/a\.txt", place) for place in places)
    assert suite.left() == []
    assert section(result) == []
    assert suite.journals == []


@pytest.mark.parametrize("isolation", ["none", "worker", "test"])
def test_nothing_is_left_on_s3(suite: Suite, isolation: str, seaweedfs: SeaweedFS) -> None:
    before = _bucket(seaweedfs)
    suite.lab(scheme="s3", kwargs=seaweedfs.kwargs, isolation=isolation)
    suite.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("number", range(20))
        def test_it(opendal, opendal_session, number):
            opendal.write_bytes(f"logs/{number}/a.txt", b"x")
            opendal.create_dir(f"empty-{number}/")
            opendal_session.write_bytes(f"session/{number}.txt", b"x")
        """
    )
    result = suite.run("-n4", "--opendal-report=report.json")
    result.assert_outcomes(passed=20)
    assert section(result) == []
    assert _bucket(seaweedfs) == before
    report = suite.report()
    assert report["created"] == report["removed"] == 60
    assert seaweedfs.secret_access_key not in output(result)


def test_reports_that_pytest_keeps_do_not_hold_what_tests_created(suite: Suite) -> None:
    """It was read when it came; a run with many tests would keep the names of all their files."""
    suite.lab()
    suite.write(
        conftest="""
        import os
        from pathlib import Path

        def pytest_sessionfinish(session):
            stats = session.config.pluginmanager.get_plugin("terminalreporter").stats
            reports = [report for reports in stats.values() for report in reports]
            assert len(reports) == 6
            held = [report.nodeid for report in reports if hasattr(report, "opendal")]
            Path(f"held-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}").write_text(str(len(held)))
        """,
        test_it="""
        import pytest

        @pytest.mark.parametrize("number", range(2))
        def test_it(opendal, number): opendal.write_bytes(f"{number}/a.txt", b"x")
        """,
    )
    result = suite.run("-n1", "--opendal-report=report.json")
    result.assert_outcomes(passed=2)
    held = {file.name: file.read_text() for file in suite.pytester.path.glob("held-*")}
    assert held == {"held-gw0": "0", "held-main": "0"}
    assert suite.report()["created"] == 4


def test_areas_of_a_conftest_configuration_are_gone(suite: Suite) -> None:
    """The controller never sees that configuration, and has to tidy up all the same."""
    suite.write(
        conftest="""
        import pytest

        @pytest.fixture(scope="session")
        def opendal_config(pytestconfig):
            root = pytestconfig.rootpath / "device"
            common = {"retention": "none", "isolation": "test"}
            return {"scheme": "fs", "kwargs": {"root": root}, **common}
        """,
        test_it="""
        import pytest

        @pytest.mark.parametrize("number", range(6))
        def test_it(opendal, number): opendal.write_bytes("logs/a.txt", b"x")
        """,
    )
    result = suite.run("-n2")
    result.assert_outcomes(passed=6)
    assert suite.left() == []
    assert section(result) == []


SHARED = """
import pytest

@pytest.fixture
def last(worker_id):
    yield
    meet("ended", worker_id)

@pytest.mark.parametrize("number", range(2))
def test_it(last, opendal, worker_id, number):
    meet("began", worker_id)
    opendal.write_bytes(f"shared/deep/{worker_id}.txt", b"x")
    meet("written", worker_id)
"""


def test_directory_shared_by_two_workers_is_gone(suite: Suite) -> None:
    suite.lab()
    suite.write(test_it=BARRIER + SHARED)
    result = suite.run("-n2")
    result.assert_outcomes(passed=2)
    assert suite.left() == []
    assert section(result) == []
    assert suite.journals == []


def test_directory_left_to_another_worker_is_gone(suite: Suite) -> None:
    """The worker that made the directory ends first, while the other's file is still in it."""
    suite.lab()
    suite.write(
        test_it=BARRIER
        + """
import pytest

@pytest.fixture
def ended(worker_id):
    yield
    if worker_id == "gw0": meet("ended", worker_id)

@pytest.fixture
def waits(worker_id):
    yield
    if worker_id == "gw1": meet("ended", worker_id)

@pytest.mark.parametrize("number", range(2))
def test_it(ended, opendal, waits, worker_id, number):
    if worker_id == "gw0":
        opendal.write_bytes("shared/deep/first.txt", b"x")
    meet("made", worker_id)
    if worker_id == "gw1":
        opendal.write_bytes("shared/deep/second.txt", b"x")
    meet("both", worker_id)
"""
    )
    result = suite.run("-n2")
    result.assert_outcomes(passed=2)
    assert suite.left() == []
    assert section(result) == []


CONFLICT = """
import pytest

@pytest.mark.parametrize("number", range(2))
def test_it(opendal, worker_id, number):
    # Not at the very same moment, at which opendal 0.47 breaks off one of the writes.
    if worker_id == "gw1":
        meet("first", worker_id)
    opendal.write_bytes("boot/image", b"x")
    opendal.write_bytes(f"own-{worker_id}", b"x")
    if worker_id == "gw0":
        meet("first", worker_id)
    meet("written", worker_id)
"""


def test_two_workers_on_one_path_are_a_conflict(suite: Suite) -> None:
    suite.lab(on_existing="keep")
    suite.root.joinpath("boot").mkdir(parents=True)
    suite.root.joinpath("boot/image").write_text("before", encoding="utf-8")
    suite.write(test_it=BARRIER + CONFLICT)
    result = suite.run("-n2", "--opendal-report=report.json", "--opendal-leftovers=error")
    assert result.ret == pytest.ExitCode.OK
    (conflict,) = suite.report()["conflicts"]
    assert (conflict["storage"], conflict["path"]) == ("lab", "boot/image")
    assert sorted(conflict["tests"]) == ["test_it.py::test_it[0]", "test_it.py::test_it[1]"]
    assert sorted(conflict["workers"]) == ["gw0", "gw1"]
    result.stdout.fnmatch_lines(["conflicts: *", "  lab: boot/image", "    gw0  test_it*"])


@pytest.mark.parametrize("isolation", ["worker", "test"])
def test_isolated_workers_have_no_conflict(suite: Suite, isolation: str) -> None:
    suite.lab(isolation=isolation)
    suite.write(test_it=BARRIER + CONFLICT)
    result = suite.run("-n2", "--opendal-report=report.json")
    result.assert_outcomes(passed=2)
    assert suite.report()["conflicts"] == []
    assert suite.left() == []


def test_one_after_the_other_is_no_conflict(suite: Suite) -> None:
    suite.lab()
    suite.write(
        test_it="""
        import pytest, time
        from pathlib import Path

        # The one test begins when the other one's storage has ended.
        @pytest.fixture(autouse=True)
        def turn(worker_id):
            deadline = time.monotonic() + 60
            while worker_id == "gw1" and not Path("gw0-ended").exists():
                assert time.monotonic() < deadline
                time.sleep(0.005)
            yield
            Path(f"{worker_id}-ended").touch()

        @pytest.fixture
        def storage(turn, opendal): return opendal

        @pytest.mark.parametrize("number", range(2))
        def test_it(storage, number): storage.write_bytes("boot/image", b"x")
        """
    )
    result = suite.run("-n2", "--opendal-report=report.json")
    result.assert_outcomes(passed=2)
    assert suite.report()["conflicts"] == []
    assert suite.report()["created"] == 4


def test_each_worker_has_its_embedded_storage(suite: Suite) -> None:
    """They have one name: what was removed from one is still told of the other."""
    suite.write(
        conftest="""
        import pytest
        from pathlib import Path

        @pytest.fixture
        def place(opendal_config):
            return Path(opendal_config.storages["default"].kwargs["root"])
        """,
        test_it="""
        import pytest

        @pytest.mark.xdist_group("one")
        def test_foreign(opendal, place):
            opendal.create_dir("d")
            (place / "d" / "others.txt").write_text("x")

        @pytest.mark.xdist_group("two")
        def test_two(opendal, opendal_session):
            opendal.create_dir("d")
            opendal_session.write_bytes("d/x", b"x")
        """,
    )
    result = suite.run("-n2", "--dist=loadgroup", "--opendal-report=report.json")
    result.assert_outcomes(passed=2)
    report = suite.report()
    (left,) = report["leftovers"]
    assert (left["path"], left["holds"]) == ("d", ["d/others.txt"])
    work = {info["location"]: info for info in report["storages"]}
    assert len(work) == 2
    there = work.pop(left["location"])
    assert (there["created"], there["removed"]) == (1, 0)
    assert [(info["created"], info["removed"]) for info in work.values()] == [(2, 2)]
    assert section(result)[0] == f"storage default (fs, {left['location']})"


def test_two_configurations_with_one_name_are_two_storages(suite: Suite) -> None:
    for name in ("a", "b"):
        conftest = f"""
            import pytest

            @pytest.fixture(scope="session")
            def opendal_config():
                return {{"scheme": "fs", "kwargs": {{"root": "root_{name}"}}, "retention": "none"}}
        """
        (suite.pytester.mkdir(name) / "conftest.py").write_text(dedent(conftest), encoding="utf-8")
    (suite.pytester.path / "a" / "test_a.py").write_text(
        "from pathlib import Path\n"
        "def test_foreign(opendal):\n"
        "    opendal.create_dir('d')\n"
        "    Path('root_a/d/other').write_text('x')\n"
    )
    (suite.pytester.path / "b" / "test_b.py").write_text(
        "def test_two(opendal, opendal_session):\n"
        "    opendal.create_dir('d')\n"
        "    opendal_session.write_bytes('d/x', b'x')\n"
    )
    result = suite.run("--opendal-report=report.json")
    result.assert_outcomes(passed=2)
    assert [left["path"] for left in suite.report()["leftovers"]] == ["d"]
    assert suite.left(suite.pytester.path / "root_b") == []


def test_what_only_a_worker_can_see_is_not_told_when_it_is_gone(
    suite: Suite, wsgidav: WebDAV
) -> None:
    suite.write(
        conftest=f"""
        import pytest

        @pytest.fixture(scope="session")
        def opendal_config():
            return {{"scheme": "webdav", "kwargs": {wsgidav.kwargs}, "retention": "all"}}
        """,
        test_it="""
        def test_1(opendal): opendal.write_bytes("kept-by-all/a.txt", b"1")
        def test_2(opendal): opendal.write_bytes("kept-by-all/b.txt", b"12")
        def test_3(opendal): opendal.delete("kept-by-all/a.txt")
        """,
    )
    result = suite.run("-n1")
    assert [line for line in section(result) if line.startswith("    ")] == [
        "    kept-by-all/         -  kept: retention all",
        "    kept-by-all/b.txt  2 B  kept: retention all",
    ]


def test_a_directory_that_a_worker_removes_at_its_end_is_not_told(
    suite: Suite, wsgidav: WebDAV
) -> None:
    """The controller does not know the storage of a conftest, and cannot look."""
    suite.write(
        conftest=f"""
        import pytest

        @pytest.fixture(scope="session")
        def opendal_config():
            return {{"scheme": "webdav", "kwargs": {wsgidav.kwargs}, "retention": "none"}}
        """,
        test_it="""
        def test_two(opendal, opendal_session):
            opendal.create_dir("ours-until-the-end")
            opendal_session.write_bytes("ours-until-the-end/x", b"x")
        """,
    )
    result = suite.run("-n1", "--opendal-report=report.json")
    result.assert_outcomes(passed=1)
    assert not (wsgidav.directory / "ours-until-the-end").exists()
    assert section(result) == []
    assert (suite.report()["created"], suite.report()["removed"]) == (2, 2)


def test_directory_that_a_late_file_makes_again_is_gone(suite: Suite) -> None:
    """A file is published when it is closed, after the test that made its directory has ended."""
    suite.lab()
    suite.write(
        test_it=BARRIER
        + """
import pytest

@pytest.mark.parametrize("number", range(2))
def test_it(opendal, worker_id, number):
    if worker_id == "gw0":
        opendal.write_bytes("shared/deep/first.txt", b"x")
    meet("made", worker_id)
    late = opendal.open("shared/deep/late.txt", "wb") if worker_id == "gw1" else None
    meet("opened", worker_id)
    if late is not None:
        deadline = time.monotonic() + 60
        while Path("device/shared").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        late.close()
"""
    )
    result = suite.run("-n2")
    result.assert_outcomes(passed=2)
    assert suite.left() == []
    assert section(result) == []
