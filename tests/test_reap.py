"""A run that is killed as a whole: the next one names what it left, and a reap removes it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import opendal
import pytest
from click.testing import CliRunner

from pytest_opendal.cli import main

from runs import Suite, needs_xdist, output, section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result

    from servers import Redis, SeaweedFS, WebDAV

# Each worker dies with what its test and its session made; the names are known, for what cannot list.
DIES = """
import os
import threading
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(4))
def test_dies(opendal, opendal_session, number):
    opendal.write_bytes(f"shared/d{number}/a.txt", b"x")
    opendal_session.write_bytes(f"session/{os.environ.get('PYTEST_XDIST_WORKER', 'main')}.txt", b"x")
    Path(f"ready-{number}").touch()
    threading.Event().wait()
"""
DIES_OVER_OLD = """
import threading
from pathlib import Path

def test_dies(opendal):
    opendal.write_bytes("shared", b"during")
    opendal.write_bytes("new.txt", b"x")
    Path("ready-0").touch()
    threading.Event().wait()
"""
LIVES = "def test_lives(opendal): opendal.write_bytes('other.txt', b'x')"
OURS = [
    *(f"shared/d{number}/a.txt" for number in range(4)),
    *(f"session/gw{number}.txt" for number in range(4)),
]


@pytest.fixture(autouse=True)
def _own_temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep off the private directory of whoever runs these tests, which other runs use too."""
    place = tmp_path / "temp"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", str(place))


@dataclass
class Place:
    """A storage that holds something before anybody dies on it."""

    scheme: str
    kwargs: dict[str, str]
    theirs: tuple[str, ...] = ("shared/theirs.txt", "before.txt")
    operator: opendal.Operator = field(init=False)

    def __post_init__(self) -> None:
        self.operator = opendal.Operator(self.scheme, **self.kwargs)
        for name in self.theirs:
            self.operator.write(name, b"theirs")

    def files(self) -> set[str]:
        """Return the files that are there; of a store that cannot list, those that may be."""
        if self.operator.capability().list:
            paths = {entry.path for entry in self.operator.scan("")}
            return {path for path in paths if not path.endswith("/")}
        return {name for name in (*self.theirs, *OURS) if self.operator.exists(name)}

    def is_as_before(self) -> bool:
        """Whether it holds what it held before, and no directory more."""
        if self.scheme == "fs":
            directories = {entry.path for entry in self.operator.scan("")}
            assert {path for path in directories if path.endswith("/")} <= {"/", "shared/"}
        return self.files() == {*self.theirs}


@pytest.fixture
def place(request: pytest.FixtureRequest, suite: Suite) -> Iterator[Place]:
    """The storage of a scheme, on a real server."""
    made = _PLACES[request.param](request, suite)
    yield made
    for name in made.theirs:
        made.operator.delete(name)


def _of_server(fixture: str, scheme: str) -> Callable[[pytest.FixtureRequest, Suite], Place]:
    def make(request: pytest.FixtureRequest, suite: Suite) -> Place:
        server: SeaweedFS | WebDAV | Redis = request.getfixturevalue(fixture)
        return Place(scheme, dict(server.kwargs) | {"root": f"/{suite.pytester.path.name}/"})

    return make


_PLACES: dict[str, Callable[[pytest.FixtureRequest, Suite], Place]] = {
    "fs": lambda _, suite: Place("fs", {"root": str(suite.root)}),
    "s3": _of_server("seaweedfs", "s3"),
    "webdav": _of_server("wsgidav", "webdav"),
    "redis": _of_server("redis", "redis"),
}


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test on these storages."""
    return pytest.mark.parametrize("place", names, indirect=True)


def died(suite: Suite, place: Place, *args: str, workers: int = 4, **keys: Any) -> None:
    """Leave what a run of some workers leaves that is killed in the middle."""
    suite.lab(scheme=place.scheme, kwargs=place.kwargs, **keys)
    suite.write(test_it=DIES)
    suite.kill(f"-n{workers}", *args, ready=workers)
    for marker in suite.pytester.path.glob("ready-*"):
        marker.unlink()
    suite.write(test_it=LIVES)
    assert len(place.files()) == len(place.theirs) + 2 * workers


def reap(*args: str) -> Result:
    """Run the command in the current directory, which is the suite's."""
    return CliRunner().invoke(main, ["reap", *args], catch_exceptions=False)


@needs_xdist
@on("fs", "s3", "webdav", "redis")
def test_what_a_killed_run_left_is_named_and_reaped(suite: Suite, place: Place) -> None:
    died(suite, place)
    files = place.files()

    named = suite.run("--opendal-report=report.json")
    named.assert_outcomes(passed=1)
    named.stdout.fnmatch_lines(
        ["opendal: a run that died left * resources in lab; remove with --opendal-reap*"]
    )
    (remnants,) = suite.report()["remnants"]
    assert remnants.keys() == {"run_id", "started", "host", "storage", "count"}
    assert section(named)[0].startswith(f"remnant of run {remnants['run_id']} (")
    assert section(named)[1:] == [
        f"  {remnants['count']} resources in lab",
        "  remove with: pytest --opendal-reap, or: pytest-opendal reap",
    ]
    assert place.files() == files, "naming touches nothing"

    reaped = suite.run("--opendal-reap", "--opendal-report=report.json")
    reaped.assert_outcomes(passed=1)
    told = (
        f"opendal: reap: removed what a run that died left: {remnants['count']} resources from lab"
    )
    assert told in reaped.stdout.lines
    assert section(reaped) == []
    assert suite.report()["remnants"] == []
    assert place.is_as_before()
    assert suite.journals == []


@needs_xdist
@on("fs", "s3", "webdav")
@pytest.mark.parametrize("isolation", ["worker", "test"])
def test_areas_of_a_killed_run_go_as_a_whole(suite: Suite, place: Place, isolation: str) -> None:
    died(suite, place, workers=2, isolation=isolation)
    # What the device wrote into an area is known to nobody.
    (name,) = [path for path in place.files() if path.endswith("d0/a.txt")]
    place.operator.write(name.replace("a.txt", "of-the-device.txt"), b"x")

    result = reap(str(suite.config))
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "nothing is left"
    assert place.is_as_before()
    assert suite.journals == []


@on("fs")
def test_a_reap_over_and_over_ends_where_the_first_did(suite: Suite, place: Place) -> None:
    suite.lab(kwargs=place.kwargs)
    suite.write(test_it=DIES)
    suite.kill(ready=1)
    assert reap().exit_code == 0
    again = reap()
    assert (again.exit_code, again.output.partition(" (")[0]) == (0, "nothing to reap")


@on("fs")
def test_quiet_runs_are_told_of_a_reap_in_the_summary(suite: Suite, place: Place) -> None:
    suite.lab(kwargs=place.kwargs)
    suite.write(test_it=DIES)
    suite.kill(ready=1)
    suite.write(test_it=LIVES)
    result = suite.run("-q", "--opendal-reap")
    told = [line for line in result.stdout.lines if line.startswith("opendal: ")]
    assert told == ["opendal: reap: removed what a run that died left: 4 resources from lab"]


def test_the_ini_key_reaps_too(suite: Suite) -> None:
    suite.lab()
    suite.write(test_it=DIES)
    suite.kill(ready=1)
    suite.pytester.makeini("[pytest]\nopendal_reap = true\n")
    suite.write(test_it=LIVES)
    suite.run().assert_outcomes(passed=1)
    assert suite.left() == []
    assert suite.journals == []


def test_what_is_put_back_is_told_apart(suite: Suite) -> None:
    suite.root.mkdir()
    (suite.root / "shared").write_text("before", encoding="utf-8")
    suite.lab(on_existing="restore")
    suite.write(test_it=DIES_OVER_OLD)
    suite.kill(ready=1)
    suite.write(test_it=LIVES)
    result = suite.run("--opendal-reap")
    told = [line for line in result.stdout.lines if line.startswith("opendal: reap")]
    assert told == [
        "opendal: reap: removed what a run that died left: 1 resource from lab",
        "opendal: reap: put back what a run that died had replaced: 1 resource on lab",
    ]
    assert (suite.root / "shared").read_text(encoding="utf-8") == "before"


def test_nothing_is_reaped_where_no_test_runs(suite: Suite) -> None:
    """An editor collects tests over and over."""
    suite.lab()
    suite.write(test_it=DIES)
    suite.kill(ready=1)
    left = suite.left()
    assert left
    suite.write(test_it=LIVES)
    result = suite.run("--opendal-reap", "--collect-only")
    assert result.ret == pytest.ExitCode.OK
    assert suite.left() == left
    assert "died" in output(result)
    # Tools read what is printed here.
    quiet = suite.run("--collect-only", "-q").stdout.lines
    assert [line for line in quiet if line][:-1] == ["test_it.py::test_lives"]
    suite.run("--opendal-reap").assert_outcomes(passed=1)
    assert suite.left() == []


@needs_xdist
def test_the_controller_reaps_before_its_workers_begin(suite: Suite) -> None:
    suite.lab()
    suite.write(test_it=DIES)
    suite.kill(ready=1)
    suite.write(test_it="def test_it(opendal, n): assert not opendal.exists('shared')")
    suite.write(
        conftest="""
        def pytest_generate_tests(metafunc): metafunc.parametrize("n", range(4))
        """
    )
    result = suite.run("-n2", "--opendal-reap")
    result.assert_outcomes(passed=4)
    assert (
        output(result).count("reap: removed what a run that died left: 5 resources from lab") == 1
    )
    assert suite.journals == []


def test_without_a_cache_the_private_directory_is_looked_into(suite: Suite) -> None:
    """It is one for all projects of this user: only what is on the storages of this one counts."""
    suite.lab()
    suite.write(test_it=DIES)
    suite.kill("-p", "no:cacheprovider", ready=1)
    suite.write(test_it=LIVES)
    assert "died left 5 resources in lab" in output(suite.run())
    suite.lab(kwargs={"root": str(suite.pytester.path / "of-another-project")})
    assert "died" not in output(suite.run())
    assert "died" not in output(suite.run("-p", "no:cacheprovider"))
    suite.lab()
    assert "died left 5 resources in lab" in output(suite.run("-p", "no:cacheprovider"))
    assert reap().exit_code == 0
    assert suite.left() == []


@pytest.mark.parametrize(
    ("ini", "text", "place"),
    [
        ("pytest.ini", "cache_dir = .my cache/pytest", ".my cache/pytest/opendal"),
        ("pytest.ini", "opendal_journal_dir = journals", "journals"),
        ("below/pytest.ini", "", "below/.pytest_cache/opendal"),
    ],
    ids=["cache_dir", "journal_dir", "rootdir"],
)
def test_the_command_that_a_run_names_finds_the_journals(
    suite: Suite, ini: str, text: str, place: str
) -> None:
    """Also where the command alone would not look for them."""
    file = suite.pytester.path / ini
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"[pytest]\n{text}\n", encoding="utf-8")
    tests = file.parent / "test_it.py"
    suite.lab()
    tests.write_text(DIES, encoding="utf-8")
    suite.kill(str(tests), ready=1)
    tests.write_text(LIVES, encoding="utf-8")
    result = suite.run(str(tests))
    (hint,) = [line for line in section(result) if "remove with" in line]
    (header,) = [line for line in result.stdout.lines if "remove with --opendal-reap" in line]
    command = hint.partition(", or: ")[2]
    assert header.endswith(f", or: {command}")
    assert shlex.split(command) == ["pytest-opendal", "reap", "--journal-dir", place]
    assert reap(*shlex.split(command)[2:]).exit_code == 0
    assert suite.left() == []


def test_the_place_that_the_ini_file_names_is_looked_into(suite: Suite) -> None:
    suite.pytester.makeini("[pytest]\nopendal_journal_dir = journals\n")
    suite.lab()
    suite.write(test_it=DIES)
    suite.kill(ready=1)
    place = suite.pytester.path / "journals"
    assert len(os.listdir(place)) == 2
    suite.write(test_it=LIVES)
    suite.run("--opendal-reap").assert_outcomes(passed=1)
    assert (suite.left(), os.listdir(place)) == ([], [])


def test_a_run_without_configuration_is_reaped_too(suite: Suite) -> None:
    """Its storage was in pytest's own temp tree, where the journal tells it."""
    suite.write(test_it=DIES)
    base = suite.pytester.path / "base"
    suite.kill(f"--basetemp={base}", ready=1)
    assert [*base.rglob("a.txt")]
    result = reap()
    assert (result.exit_code, [*base.rglob("a.txt")]) == (0, [])


def test_what_was_in_memory_or_in_a_removed_temp_tree_is_no_remnant(suite: Suite) -> None:
    suite.lab(scheme="memory", kwargs={})
    suite.write(test_it=DIES)
    suite.kill(ready=1)
    suite.write(test_it=LIVES)
    result = suite.run("--opendal-report=report.json")
    assert suite.report()["remnants"] == []
    assert "died" not in output(result)
    assert reap().exit_code == 0
    assert suite.journals == []


def test_a_journal_that_tells_of_nothing_goes_with_the_next_run(suite: Suite) -> None:
    suite.lab()
    suite.write(
        test_it="""
        import threading
        from pathlib import Path

        def test_done(opendal): opendal.write_bytes("a.txt", b"x")

        def test_waits():
            Path("ready-0").touch()
            threading.Event().wait()
        """
    )
    suite.kill(ready=1)
    assert len(suite.journals) == 2
    suite.write(test_it=LIVES)
    assert "died" not in output(suite.run())
    assert suite.journals == []


# -- what must not be touched


@on("fs", "s3")
def test_a_living_run_beside_a_reap_is_untouched(suite: Suite, place: Place) -> None:
    suite.lab(scheme=place.scheme, kwargs=place.kwargs)
    suite.write(test_it=DIES)
    process = suite.start()
    try:
        while not [*suite.pytester.path.glob("ready-*")]:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
        files = place.files()
        result = reap(str(suite.config), "--older-than", "1s")
        assert (result.exit_code, place.files()) == (0, files)
        assert "died" not in output(suite.run("--opendal-reap", "--collect-only"))
        assert place.files() == files
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert reap(str(suite.config)).exit_code == 0
    assert place.is_as_before()


@needs_xdist
def test_a_crashed_worker_of_a_living_run_is_left_to_that_run(suite: Suite) -> None:
    """Its retention is the run's business: what a failed test left is kept, whoever reaps beside it."""
    suite.lab(retention="failed")
    suite.write(
        test_it="""
        import os
        import time
        from pathlib import Path

        def test_crashes(opendal):
            opendal.write_bytes("evidence.txt", b"x")
            os.kill(os.getpid(), 9)

        def test_waits():
            Path("ready").touch()
            while not Path("reaped").exists():
                time.sleep(0.02)
        """
    )
    process = suite.start("-n1")
    while not (suite.pytester.path / "ready").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    result = reap()
    (suite.pytester.path / "reaped").touch()
    said = process.communicate()[0]
    assert result.output.startswith("nothing to reap")
    assert suite.left() == ["evidence.txt"]
    assert "worker gw0 crashed" in said


def test_what_existed_before_is_put_back_and_the_rest_of_others_stays(suite: Suite) -> None:
    suite.root.mkdir()
    (suite.root / "config.txt").write_text("before", encoding="utf-8")
    (suite.root / "old").mkdir()
    (suite.root / "old" / "data.txt").write_text("data", encoding="utf-8")
    suite.lab(on_existing="restore")
    suite.write(
        test_it="""
        import threading
        from pathlib import Path

        def test_dies(opendal):
            opendal.write_bytes("config.txt", b"during")
            opendal.rename("old/data.txt", "moved.txt")
            opendal.write_bytes("new/a.txt", b"x")
            opendal.remove_all("old")
            Path("device/new/theirs.txt").write_text("theirs")
            Path("ready-0").touch()
            threading.Event().wait()
        """
    )
    suite.kill(ready=1)
    planned = reap("--dry-run").output
    assert "would remove 2 resources, would put back 3 resources\n" in planned
    listed = planned.partition("would put back")[2].splitlines()[1:-1]
    assert listed == [
        "    new",
        "    new/a.txt",
        "    config.txt: put back",
        "    moved.txt: put back",
        "    old: put back",
    ]
    result = reap()
    assert result.exit_code == 0, result.output
    assert "removed 1 resource, put back 2 resources\n" in result.output
    assert "new/: holds files of others: new/theirs.txt" in result.output
    assert suite.left() == ["config.txt", "new", "new/theirs.txt", "old", "old/data.txt"]
    assert (suite.root / "config.txt").read_text(encoding="utf-8") == "before"
    assert suite.journals == []


@pytest.mark.parametrize("on_existing", ["created", "restore"])
@pytest.mark.parametrize("is_there", [True, False])
def test_only_what_comes_back_is_told_as_put_back(
    suite: Suite, on_existing: str, *, is_there: bool
) -> None:
    suite.root.mkdir()
    (suite.root / "theirs").write_text("theirs", encoding="utf-8")
    suite.lab(on_existing=on_existing)
    suite.write(
        test_it="""
        import threading
        from pathlib import Path

        def test_dies(opendal):
            opendal.rename("theirs", "moved")
            opendal.write_bytes("ours", b"x")
            Path("ready-0").touch()
            threading.Event().wait()
        """
    )
    suite.kill(ready=1)
    if not is_there:
        (suite.root / "moved").unlink()
    planned = reap("--dry-run").output
    assert ("would put back 1 resource" in planned) == (on_existing == "restore")
    output = reap().output
    assert "removed 1 resource" in output
    assert ("put back 1 resource" in output) == (on_existing == "restore" and is_there)
    there = {"created": ["moved"], "restore": ["theirs"]}
    assert suite.left() == (there[on_existing] if is_there else [])


def test_an_area_that_could_not_be_removed_goes_with_those_above(suite: Suite) -> None:
    suite.lab(isolation="test")
    suite.write(
        test_it="""
        from pathlib import Path

        def test_fails(opendal):
            opendal.write_bytes("a/x", b"x")
            Path("device/pytest-opendal").rename("device/aside")
            Path("device/pytest-opendal").symlink_to("aside")
        """
    )
    text = output(suite.run())
    assert "delete failed" in text
    areas = suite.root / "pytest-opendal"
    areas.unlink()
    (suite.root / "aside").rename(areas)
    assert reap().exit_code == 0
    assert suite.left() == []


def test_what_retention_kept_before_the_kill_stays(suite: Suite) -> None:
    suite.lab(retention="failed")
    suite.write(
        test_it="""
        import threading
        from pathlib import Path

        def test_fails(opendal):
            opendal.write_bytes("evidence.txt", b"x")
            assert False

        def test_dies(opendal):
            opendal.write_bytes("rubbish.txt", b"x")
            Path("ready-0").touch()
            threading.Event().wait()
        """
    )
    suite.kill(ready=1)
    assert suite.left() == ["evidence.txt", "rubbish.txt"]
    assert reap().exit_code == 0
    assert suite.left() == ["evidence.txt"]


@on("s3")
def test_another_bucket_is_another_place(suite: Suite, place: Place) -> None:
    died_serially(suite, place)
    files = place.files()
    suite.lab(scheme="s3", kwargs=place.kwargs | {"root": "/elsewhere"})
    result = reap(str(suite.config))
    assert result.exit_code == 1
    assert "no storage of the configuration is that place" in result.output
    told = suite.run("--opendal-reap")
    told.stdout.fnmatch_lines(
        ["opendal: reap: * left in lab (s3, *): no storage of the configuration*"]
    )
    assert place.files() == files
    assert reap().exit_code == 1
    assert place.files() == files
    suite.lab(scheme="s3", kwargs=place.kwargs)
    assert reap(str(suite.config)).exit_code == 0
    assert place.is_as_before()


def died_serially(suite: Suite, place: Place, **keys: Any) -> None:
    """Leave what one killed process leaves."""
    suite.lab(scheme=place.scheme, kwargs=place.kwargs, **keys)
    suite.write(test_it=DIES)
    suite.kill(ready=1)
    suite.write(test_it=LIVES)


def test_a_root_that_is_not_there_is_not_made(suite: Suite) -> None:
    """It may be a card that is not mounted now."""
    suite.lab()
    suite.write(test_it=DIES)
    suite.kill(ready=1)
    card = suite.root.rename(suite.pytester.path / "unplugged")
    result = reap()
    assert result.exit_code == 1
    assert "its root does not exist; mount it, or remove" in result.output
    assert not suite.root.exists()
    card.rename(suite.root)
    assert reap().exit_code == 0
    assert suite.left() == []


def test_what_the_configuration_protects_now_stays(suite: Suite) -> None:
    suite.lab()
    suite.write(test_it=DIES)
    suite.kill(ready=1)
    suite.lab(protect=["session/*"])
    result = reap(str(suite.config))
    assert result.exit_code == 1
    assert "protected by 'session/*' in the configuration" in result.output
    assert suite.left() == ["session", "session/main.txt"]
    suite.lab()
    assert reap(str(suite.config)).exit_code == 0
    assert suite.left() == []


def test_what_one_reap_removed_the_next_does_not_touch(suite: Suite) -> None:
    """Somebody may have put something of his own there since."""
    suite.lab()
    suite.write(test_it=DIES)
    suite.kill(ready=1)
    suite.lab(protect=["session/*"])
    assert reap(str(suite.config)).exit_code == 1
    (suite.root / "shared" / "d0").mkdir(parents=True)
    theirs = suite.root / "shared" / "d0" / "a.txt"
    theirs.write_text("theirs", encoding="utf-8")
    suite.lab()
    assert reap(str(suite.config)).exit_code == 0
    assert theirs.read_text(encoding="utf-8") == "theirs"


def test_two_reaps_at_a_time_share_the_work(suite: Suite) -> None:
    suite.lab()
    suite.write(test_it=DIES)
    suite.kill(ready=1)
    command = [sys.executable, "-c", "from pytest_opendal.cli import main; main()", "reap"]
    running = [
        subprocess.Popen(command, cwd=suite.pytester.path, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert sum("removed 5" in text for text in said) == 1, said
    assert suite.left() == []


@on("s3")
def test_a_dead_server_leaves_the_journal_for_the_next_reap(suite: Suite, place: Place) -> None:
    died_serially(suite, place)
    silent = place.kwargs["endpoint"]
    (journal,) = (suite.pytester.path / ".pytest_cache" / "opendal").glob("*.journal")
    told = journal.read_text(encoding="utf-8")
    # A server that is gone has the same address; so let the journal tell that of one that is.
    journal.write_text(told.replace(silent, "http://127.0.0.1:9"), encoding="utf-8")
    suite.lab(scheme="s3", kwargs=place.kwargs | {"endpoint": "http://127.0.0.1:9"})
    started = time.monotonic()
    result = reap(str(suite.config))
    assert time.monotonic() - started < 30
    assert result.exit_code == 1
    assert "connection refused" in result.output
    assert journal.exists()


@needs_xdist
def test_a_storage_that_only_a_conftest_knows_is_reaped_with_a_file(
    suite: Suite, seaweedfs: SeaweedFS
) -> None:
    kwargs = seaweedfs.kwargs | {"root": "/conftest"}
    settings = {"scheme": "s3", "kwargs": kwargs, "retention": "none"}
    suite.write(
        conftest=f"""
        import pytest

        @pytest.fixture(scope="session")
        def opendal_config(): return {settings!r}
        """,
        test_it="""
        import os

        def test_it(opendal):
            opendal.write_bytes("a.txt", b"x")
            os.kill(os.getpid(), 9)
        """,
    )
    suite.run("-n1", "--opendal-report=report.json")
    (left,) = suite.report()["leftovers"]
    assert "pytest-opendal reap FILE" in left["error"]
    assert "only a configuration tells how to reach it" in reap().output
    suite.config.write_text(json.dumps(settings), encoding="utf-8")
    result = reap(str(suite.config))
    assert (result.exit_code, suite.journals) == (0, [])
    assert not opendal.Operator("s3", **kwargs).exists("a.txt")
