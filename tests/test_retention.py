"""Which resources stay: those of failed tests, all, none; and what counts as a failure."""

from __future__ import annotations

import pytest

from runs import Suite, needs_xdist, section

FAILURES = """
import pytest

@pytest.fixture
def breaks_before(): raise RuntimeError

@pytest.fixture
def breaks_at_end():
    yield
    raise RuntimeError

def test_passes(opendal): opendal.write_bytes("passes", b"x")

def test_call(opendal):
    opendal.write_bytes("call", b"x")
    raise AssertionError

@pytest.fixture
def made(opendal): opendal.write_bytes("setup", b"x")

def test_setup(made, breaks_before): pass

# Fixtures end in the reverse order: this one after the storage, the next one before it.
def test_teardown_after(breaks_at_end, opendal): opendal.write_bytes("teardown-after", b"x")

def test_teardown_before(opendal, breaks_at_end): opendal.write_bytes("teardown-before", b"x")

@pytest.mark.xfail(strict=True)
def test_xfails(opendal):
    opendal.write_bytes("xfails", b"x")
    raise AssertionError

@pytest.mark.xfail(strict=True)
def test_passes_unexpectedly(opendal): opendal.write_bytes("xpasses", b"x")

def test_skips(opendal):
    opendal.write_bytes("skips", b"x")
    pytest.skip("half way")

def test_factory(opendal_factory):
    opendal_factory().write_bytes("factory", b"x")
    raise AssertionError
"""
ALL = [
    "call",
    "factory",
    "passes",
    "setup",
    "skips",
    "teardown-after",
    "teardown-before",
    "xfails",
    "xpasses",
]
OF_FAILED = ["call", "factory", "setup", "teardown-after", "teardown-before", "xpasses"]


@pytest.mark.parametrize(("retention", "kept"), [("none", []), ("failed", OF_FAILED), ("all", ALL)])
def test_retention_keeps(
    suite: Suite, retention: str, kept: list[str], plugin_args: tuple[str, ...]
) -> None:
    suite.lab(retention=retention)
    suite.write(test_it=FAILURES)
    result = suite.run("--opendal-report=report.json", *plugin_args)
    result.assert_outcomes(passed=3, failed=3, errors=3, skipped=1, xfailed=1)
    assert suite.left() == kept
    leftovers = suite.report()["leftovers"]
    assert sorted(left["path"] for left in leftovers) == kept
    assert {left["reason"] for left in leftovers} <= {f"kept: retention {retention}"}
    assert suite.report()["created"] == len(ALL)
    assert suite.report()["removed"] == len(ALL) - len(kept)
    assert suite.journals == []


def test_failed_is_decided_for_each_storage_of_a_test(suite: Suite) -> None:
    suite.several("one", one=suite.fs("one", retention="failed"), two=suite.fs("two"))
    suite.write(
        test_it="""
        def test_it(opendal, opendal_factory):
            opendal.write_bytes("a", b"x")
            opendal_factory("two").write_bytes("b", b"x")
            raise AssertionError
        """
    )
    suite.run().assert_outcomes(failed=1)
    assert suite.left(suite.pytester.path / "one") == ["a"]
    assert suite.left(suite.pytester.path / "two") == []


@pytest.mark.parametrize(("body", "kept"), [("pass", []), ("raise AssertionError", ["s"])])
def test_session_storage_is_kept_when_any_test_failed(
    suite: Suite, body: str, kept: list[str]
) -> None:
    suite.lab(retention="failed")
    suite.write(
        test_it=f"""
        def test_one(opendal_session): opendal_session.write_bytes("s", b"x")
        def test_two(): {body}
        """
    )
    suite.run()
    assert suite.left() == kept


def test_marker_keeps_what_one_test_made(suite: Suite) -> None:
    suite.lab()
    suite.write(
        test_it="""
        import pytest

        @pytest.mark.opendal(retention="all")
        def test_one(opendal): opendal.write_bytes("d/kept", b"x")
        def test_two(opendal): opendal.write_bytes("gone", b"x")
        """
    )
    result = suite.run()
    assert suite.left() == ["d", "d/kept"]
    assert section(result)[2:] == [
        "    d/        -  kept: retention all",
        "    d/kept  1 B  kept: retention all",
    ]


@pytest.mark.parametrize("retention", ["failed", "all"])
@pytest.mark.parametrize("isolation", ["worker", "test"])
def test_kept_resources_stay_in_their_area(
    suite: Suite, isolation: str, retention: str, plugin_args: tuple[str, ...]
) -> None:
    """What is removed in one go at the end must not take with it what was kept."""
    suite.lab(retention=retention, isolation=isolation)
    suite.write(
        test_it="""
        import pytest

        def test_fails(opendal):
            opendal.write_bytes("d/kept", b"x")
            raise AssertionError

        @pytest.mark.opendal(retention="none")
        def test_passes(opendal): opendal.write_bytes("d/gone", b"x")
        """
    )
    suite.run("--opendal-report=report.json", *plugin_args)
    files = [name for name in suite.left() if name.endswith(("kept", "gone"))]
    assert [name.rpartition("/")[2] for name in files] == ["kept"]
    leftovers = suite.report()["leftovers"]
    assert files[0] in [left["path"] for left in leftovers]
    assert {left["reason"] for left in leftovers} == {f"kept: retention {retention}"}


@pytest.mark.parametrize("stop", ["-x", "--maxfail=1"])
def test_stopping_early_cleans_up(suite: Suite, stop: str, plugin_args: tuple[str, ...]) -> None:
    suite.lab(retention="failed")
    suite.write(
        test_it="""
        def test_one(opendal, opendal_session):
            opendal_session.write_bytes("session", b"x")
            opendal.write_bytes("passed", b"x")

        def test_two(opendal):
            opendal.write_bytes("failed", b"x")
            raise AssertionError
        """
    )
    suite.run(stop, "--opendal-retention=none", *plugin_args)
    assert suite.left() == []
    assert suite.journals == []


@needs_xdist
def test_stopping_early_is_no_interrupt(suite: Suite) -> None:
    """Which leaves a storage one second; xdist ends such a run as if it were one."""
    suite.lab(retention="none", timeout=20)
    suite.write(
        conftest="""
        import asyncio

        class Slow:
            def __init__(self, operator): self._operator = operator
            def __getattr__(self, name): return getattr(self._operator, name)
            async def delete(self, path, **kwargs):
                await asyncio.sleep(1.5)
                return await self._operator.delete(path, **kwargs)

        def pytest_opendal_operator(storage, operator): return Slow(operator)
        """,
        test_it="""
        from pathlib import Path

        def test_it(opendal):
            Path("image").write_bytes(b"x")
            opendal.ensure("image", "image")
            raise AssertionError
        """,
    )
    suite.run("-n1", "-x", "--opendal-report=report.json").assert_outcomes(failed=1)
    assert suite.left() == []
    assert suite.report()["leftovers"] == []
    assert suite.journals == []


def test_directories_that_are_kept_are_told_and_stay(suite: Suite) -> None:
    """Also where another test has made and removed one of that name."""
    suite.lab(retention="none")
    suite.write(
        test_it="""
        import pytest

        def test_removes(opendal): opendal.create_dir("d/")

        @pytest.mark.opendal(retention="all")
        def test_keeps(opendal): opendal.create_dir("d/")

        def test_made(opendal): opendal.create_dir("theirs/")

        def test_others():
            from pathlib import Path
            Path("device/theirs").mkdir()
        """
    )
    suite.run("--opendal-report=report.json").assert_outcomes(passed=4)
    assert suite.left() == ["d", "theirs"]
    assert [left["path"] for left in suite.report()["leftovers"]] == ["d"]


RERUNS = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    for begin in (FROM, 0):
        for report in runtestprotocol(item, log=False, nextitem=nextitem)[begin:]:
            item.ihook.pytest_runtest_logreport(report=report)
    return True
"""


@pytest.mark.parametrize("logged_from", [2, 3], ids=["teardown-logged", "nothing-logged"])
def test_a_test_that_runs_again_begins_clean(
    suite: Suite, logged_from: int, plugin_args: tuple[str, ...]
) -> None:
    """What a failed attempt kept goes, also from the report; what the last one made is kept."""
    suite.lab(retention="failed")
    suite.write(
        conftest=RERUNS.replace("FROM", str(logged_from)),
        test_it="""
        attempts = {"test_good": 0, "test_bad": 0}

        def try_again(opendal, name):
            attempts[name] += 1
            assert list(opendal.list("")) in (["/"], ["/", "bad1"])
            opendal.write_bytes(f"{name[5:]}{attempts[name]}", b"x")
            return attempts[name]

        def test_good(opendal): assert try_again(opendal, "test_good") == 2
        def test_bad(opendal): assert try_again(opendal, "test_bad") == 3
        """,
    )
    # They see each other's files, so one worker runs both.
    together = ["--dist=loadfile"] if "-n2" in plugin_args else []
    result = suite.run("--opendal-report=report.json", *plugin_args, *together)
    result.assert_outcomes(passed=1, failed=1)
    report = suite.report()
    assert [left["path"] for left in report["leftovers"]] == ["bad2"]
    assert (report["created"], report["removed"]) == (4, 3)
    assert suite.left() == ["bad2"]


@pytest.mark.parametrize("where", ["test", "fixture"])
def test_exit_cleans_up(suite: Suite, where: str) -> None:
    suite.lab(retention="failed")
    suite.write(
        test_it=f"""
        import pytest

        @pytest.fixture
        def leaves(opendal):
            opendal.write_bytes("made", b"x")
            if {where == "fixture"}: pytest.exit("enough", returncode=7)

        def test_it(opendal_session, leaves):
            opendal_session.write_bytes("session", b"x")
            pytest.exit("enough", returncode=7)
        """
    )
    result = suite.run()
    assert result.ret == 7
    assert suite.left() == []
    assert suite.journals == []


@pytest.mark.parametrize("where", ["call", "teardown"])
def test_what_is_kept_is_told_once_after_an_exit(
    suite: Suite, where: str, plugin_args: tuple[str, ...]
) -> None:
    suite.lab(retention="all")
    suite.write(
        test_it=f"""
        import pytest

        @pytest.fixture
        def leaves(opendal):
            opendal.write_bytes("made", b"x")
            yield
            if {where == "teardown"}: pytest.exit("enough")

        def test_it(leaves):
            if {where == "call"}: pytest.exit("enough")
        """
    )
    suite.run("--opendal-report=report.json", *plugin_args)
    report = suite.report()
    assert [left["path"] for left in report["leftovers"]] == ["made"]
    assert report["created"] == 1


one_process = pytest.mark.parametrize("args", [(), pytest.param(("-n1",), marks=needs_xdist)])


@one_process
def test_what_a_later_test_removed_is_not_told_as_kept(suite: Suite, args: tuple[str, ...]) -> None:
    suite.lab(retention="failed")
    suite.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("board", ["bad", "good"])
        def test_boot(opendal, board):
            opendal.write_bytes("logs/boot.log", board.encode())
            assert board == "good"
        """
    )
    result = suite.run("--opendal-report=report.json", *args)
    result.assert_outcomes(passed=1, failed=1)
    assert suite.left() == ["logs"]
    assert section(result)[2:] == ["    logs/  -  kept: retention failed"]
    assert (suite.report()["created"], suite.report()["removed"]) == (3, 2)


@one_process
def test_what_two_tests_kept_and_a_third_deleted_is_not_left(
    suite: Suite, args: tuple[str, ...]
) -> None:
    suite.lab(retention="all")
    suite.write(
        test_it="""
        def test_1(opendal): opendal.write_bytes("a.txt", b"12345")
        def test_2(opendal): opendal.write_bytes("a.txt", b"12345")
        def test_3(opendal): opendal.delete("a.txt")
        """
    )
    result = suite.run("--opendal-leftovers=error", "--opendal-report=report.json", *args)
    result.assert_outcomes(passed=3)
    assert result.ret == pytest.ExitCode.OK
    assert section(result) == []
    (storage,) = suite.report()["storages"]
    assert (storage["created"], storage["removed"], storage["bytes_left"]) == (2, 2, 0)


@one_process
def test_what_a_later_test_renamed_is_told_where_it_is(suite: Suite, args: tuple[str, ...]) -> None:
    suite.lab(retention="all")
    suite.write(
        test_it="""
        def test_1(opendal): opendal.write_bytes("a.txt", b"12345")
        def test_2(opendal): opendal.rename("a.txt", "b.txt")
        """
    )
    result = suite.run(*args)
    assert section(result)[1:] == ["  test_it.py::test_2", "    b.txt  5 B  moved there"]


def test_what_is_kept_in_memory_is_still_told(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    """The controller has another memory, in which nothing is."""
    suite.lab(scheme="memory", kwargs={}, retention="all")
    suite.write(test_it="def test_it(opendal): opendal.write_bytes('a', b'x')")
    assert section(suite.run(*plugin_args))[-1] == "    a  1 B  kept: retention all"


def test_a_kept_file_whose_name_is_no_unicode_is_told(
    suite: Suite, plugin_args: tuple[str, ...]
) -> None:
    suite.lab(retention="failed")
    suite.write(
        test_it="""
        import os

        def test_it(opendal):
            opendal.register_path("dev/")
            os.makedirs("device/dev")
            for name in (b"log-\\xff.txt", "\\ufffd".encode()):
                with open(b"device/dev/" + name, "wb") as file:
                    file.write(b"x")
            raise AssertionError
        """
    )
    assert section(suite.run(*plugin_args))[2:] == [
        "    dev/             -  kept: retention failed",
        "    dev/log-\ufffd.txt    -  kept: retention failed",
        "    dev/\ufffd          1 B  kept: retention failed",
    ]
