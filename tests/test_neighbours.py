"""Beside other plugins of pytest: each in a run of its own, which would notice that one breaks the other.

The environment ``neighbours`` has them all. They are loaded by name, and none of them into the run of
these tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import servers
from runs import SECONDS, Suite, section

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("pytest_asyncio", reason="the environment neighbours tries this one")


class Neighbourhood(Suite):
    """A suite that runs in a process of its own, beside the plugins that it names."""

    def beside(self, plugins: str, *args: str, strict: bool = True) -> pytest.RunResult:
        """Run with these plugins and ours, in this order; a warning is an error unless not strict."""
        named = [f"--opendal-config={self.config}"] if self.config.exists() else []
        loaded = [part for name in plugins.split() for part in ("-p", name)]
        errors = ["-W", "error", "-W", "default::pytest.PytestAssertRewriteWarning"]
        return self.pytester.runpytest_subprocess(
            *loaded,
            *("-p", "pytest_opendal.plugin"),
            *(errors if strict else ()),
            *named,
            *args,
            timeout=SECONDS,
        )

    def check_clean(self) -> None:
        """Make sure that nothing is left, and nothing to be reaped."""
        assert self.left() == []
        assert self.journals == []


@pytest.fixture
def suite(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Neighbourhood:
    """A suite whose storage is cleaned up after each test."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    neighbourhood = Neighbourhood(suite.pytester)
    neighbourhood.lab()
    return neighbourhood


# -- event loops

ASYNC_TESTS = """
async def test_fixtures(image, opendal_async, opendal):
    assert await opendal_async.read_bytes(image) == b"boot"
    assert opendal.get_created_resources() == {"images", image}

@pytest.mark.parametrize("number", range(3))
async def test_files(opendal_async, number):
    assert await opendal_async.list("") == ["/"]
    async with opendal_async.open("log.txt", "w") as file:
        await file.write("one\\ntwo\\n")
    async with opendal_async.open("log.txt", "r") as file:
        assert [line async for line in file] == ["one\\n", "two\\n"]
"""


@pytest.mark.parametrize(("mode", "scope"), [("auto", "session"), ("strict", "function")])
def test_asyncio(suite: Neighbourhood, mode: str, scope: str) -> None:
    suite.write(
        test_it=f"""
        import asyncio, pytest, pytest_asyncio

        pytestmark = pytest.mark.asyncio(loop_scope="{scope}")

        @pytest_asyncio.fixture(loop_scope="{scope}")
        async def image(opendal_async):
            await opendal_async.write_bytes("images/boot.img", b"boot")
            yield "images/boot.img"
            assert await opendal_async.exists("images/boot.img")

        async def test_timeout(opendal_async):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await opendal_async.wait_until("never", 60)
        """
        + ASYNC_TESTS.replace("\n", "\n        ")
    )
    ini = ("-o", f"asyncio_mode={mode}", "-o", f"asyncio_default_fixture_loop_scope={scope}")
    suite.beside("pytest_asyncio.plugin", *ini).assert_outcomes(passed=5)
    suite.check_clean()


def test_anyio(suite: Neighbourhood) -> None:
    suite.write(
        test_it="""
        import anyio, pytest

        pytestmark = pytest.mark.anyio

        @pytest.fixture(params=["asyncio", "trio"])
        def anyio_backend(request):
            return request.param

        @pytest.fixture
        async def image(opendal_async):
            await opendal_async.write_bytes("images/boot.img", b"boot")
            yield "images/boot.img"
            assert await opendal_async.exists("images/boot.img")

        async def test_timeout(opendal_async):
            with pytest.raises(TimeoutError), anyio.fail_after(0.05):
                await opendal_async.wait_until("never", 60)
        """
        + ASYNC_TESTS.replace("\n", "\n        ")
    )
    suite.beside("anyio.pytest_plugin").assert_outcomes(passed=10)
    suite.check_clean()


# -- what a run measures and shows


@pytest.mark.parametrize("args", [(), ("-n2",)], ids=["plain", "n2"])
def test_cov(suite: Neighbourhood, args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what runs on our own thread, such as a condition, is measured."""
    monkeypatch.delenv("COVERAGE_FILE", raising=False)  # that of our own report
    suite.write(
        board="""
        def is_done(metadata):
            if metadata.content_length:
                return True
            return False
        """,
        test_it="""
        import board

        def test_empty(opendal):
            opendal.write_bytes("empty", b"")
            try:
                opendal.wait_until("empty", 0, condition=board.is_done)
            except TimeoutError:
                pass

        def test_full(opendal):
            opendal.write_bytes("f", b"x")
            opendal.wait_until("f", condition=board.is_done)
        """,
    )
    result = suite.beside(
        "xdist pytest_cov.plugin", "--cov=board", "--cov-branch", "--cov-report=term", *args
    )
    result.assert_outcomes(passed=2)
    result.stdout.re_match_lines([r"board\.py .* 100%"])
    suite.check_clean()


@pytest.mark.parametrize("args", [(), ("-n2",)], ids=["plain", "n2"])
def test_html(suite: Neighbourhood, args: tuple[str, ...]) -> None:
    suite.lab(retention="all")
    suite.write(test_it="def test_keeps(opendal): opendal.write_bytes('boot.log', b'x')")
    plugins = "xdist pytest_metadata.plugin pytest_html.plugin pytest_html.fixtures"
    suite.beside(plugins, "--html=page.html", "--self-contained-html", *args).assert_outcomes(
        passed=1
    )
    page = (suite.pytester.path / "page.html").read_text(encoding="utf-8")
    assert "opendal" in page
    assert "boot.log" in page


# -- what runs a test again

RERUN = """
from pathlib import Path

def test_passes_at_last(opendal):
    assert opendal.get_created_resources() == set()
    number = 1 + len(Path("attempts").read_text() if Path("attempts").exists() else "")
    Path("attempts").write_text("x" * number)
    found = list(opendal.list(""))
    opendal.write_bytes(f"f{number}", b"x")
    assert found == ["/"], "a rerun starts clean"
    assert number == 3

def test_never_passes(opendal):
    found = list(opendal.list(""))
    opendal.write_bytes("bad", b"x")
    assert found == ["/"], "a rerun starts clean"
    raise AssertionError("as always")
"""


@pytest.mark.parametrize(
    ("retention", "args"), [("none", ()), ("failed", ()), ("failed", ("-n1",))], ids=str
)
def test_rerunfailures(suite: Neighbourhood, retention: str, args: tuple[str, ...]) -> None:
    """A rerun starts clean, and `failed` keeps what the last attempt of a failed test made."""
    suite.lab(retention=retention)
    suite.write(test_it=RERUN)
    result = suite.beside(
        "xdist pytest_rerunfailures", "--reruns=2", "--opendal-report=report.json", *args
    )
    result.stdout.no_re_match_line("E .*a rerun starts clean")
    assert result.parseoutcomes() == {"passed": 1, "failed": 1, "rerun": 4}
    report = suite.report()
    left = ["bad"] if retention == "failed" else []
    assert [found["path"] for found in report["leftovers"]] == left
    assert suite.left() == left
    assert (report["created"], report["removed"]) == (6, 6 - len(left))
    assert suite.journals == []


def test_a_rerun_leaves_an_isolation_area_of_its_own(suite: Neighbourhood) -> None:
    suite.lab(retention="failed", isolation="test")
    suite.write(test_it=RERUN)
    result = suite.beside("pytest_rerunfailures", "--reruns=2", "--opendal-report=report.json")
    assert result.parseoutcomes() == {"passed": 1, "failed": 1, "rerun": 4}
    left = [found["path"] for found in suite.report()["leftovers"]]
    files = [name for name in suite.left() if (suite.root / name).is_file()]
    assert [name for name in left if (suite.root / name).is_file()] == files
    assert len(files) == 1
    assert files[0].endswith("/bad")


def test_what_only_a_rerun_made_good_is_no_failure_for_the_session(suite: Neighbourhood) -> None:
    suite.lab(retention="failed")
    suite.write(
        test_a="""
        attempts = []

        def test_it(opendal_session):
            opendal_session.write_bytes("shared", b"x")
            attempts.append(1)
            assert len(attempts) == 2
        """,
        test_b="def test_it(): pass",
    )
    result = suite.beside("pytest_rerunfailures", "--reruns=1")
    assert result.parseoutcomes() == {"passed": 2, "rerun": 1}
    suite.check_clean()


def test_repeat(suite: Neighbourhood) -> None:
    suite.write(
        test_it="""
        def test_it(opendal):
            assert list(opendal.list("")) == ["/"]
            opendal.write_bytes("d/f", b"x")
        """
    )
    suite.beside("pytest_repeat", "--count=3").assert_outcomes(passed=3)
    suite.check_clean()


# -- what ends a test early

HANGS = """
def test_before(opendal_factory):
    opendal_factory("lab").write_bytes("before", b"x")

def test_hangs(opendal_factory):
    opendal_factory("lab").write_bytes("d/f", b"x")
    silent = opendal_factory("silent")
    silent.wait_until("never", 60)

def test_after(opendal_factory):
    lab = opendal_factory("lab")
    assert list(lab.list("")) == ["/"]
    lab.write_bytes("after", b"x")
"""


@pytest.fixture
def silent(suite: Neighbourhood) -> Iterator[None]:
    """A configuration with a storage that answers nothing but its first question."""
    with servers.black_hole() as address:
        kwargs = {"endpoint": f"http://{address}", "bucket": "b", "region": "r"}
        credentials = {"access_key_id": "x", "secret_access_key": "y"}
        s3 = {"scheme": "s3", "kwargs": kwargs | credentials, "retention": "none"}
        suite.several("lab", lab=suite.fs("device"), silent=s3)
        suite.write(
            conftest="""
            from opendal.exceptions import NotFound

            class Silent:
                def __init__(self, operator): self._operator = operator
                def __getattr__(self, name): return getattr(self._operator, name)
                async def stat(self, path, **kwargs):
                    if path == "pytest-opendal-check":
                        raise NotFound("not there")
                    return await self._operator.stat(path, **kwargs)

            def pytest_opendal_operator(storage, operator):
                return Silent(operator) if storage == "silent" else None
            """
        )
        yield


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("args", [(), ("-n1",)], ids=["plain", "n1"])
def test_timeout_by_signal(suite: Neighbourhood, args: tuple[str, ...]) -> None:
    """The test fails in time, its storages are cleaned up, and the run goes on."""
    suite.write(test_it=HANGS)
    result = suite.beside(
        "xdist pytest_timeout", "--timeout=4", "--timeout-method=signal", "--durations=0", *args
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.re_match_lines([r"E +Failed: Timeout \(>4"])
    suite.check_clean()


@pytest.mark.usefixtures("silent")
def test_timeout_by_signal_of_a_test_that_awaits(suite: Neighbourhood) -> None:
    suite.write(
        test_it="""
        import pytest

        @pytest.mark.asyncio
        async def test_hangs(opendal_async, opendal_factory):
            from pytest_opendal import AsyncStorage
            await opendal_async.write_bytes("d/f", b"x")
            await AsyncStorage(opendal_factory("silent")).wait_until("never", 60)

        def test_after(opendal):
            assert list(opendal.list("")) == ["/"]
        """
    )
    result = suite.beside(
        "pytest_asyncio.plugin pytest_timeout",
        "--timeout=4",
        "--timeout-method=signal",
        strict=False,
    )
    result.assert_outcomes(passed=1, failed=1)
    suite.check_clean()


@pytest.mark.usefixtures("silent")
def test_timeout_by_thread_kills_the_run_and_the_next_reaps(suite: Neighbourhood) -> None:
    """That method ends the process at once: nothing is torn down, and the journal tells the rest."""
    suite.write(test_it=HANGS)
    timeout = ("--timeout=4", "--timeout-method=thread")
    result = suite.beside("pytest_timeout", *timeout)
    assert "Timeout" in result.stderr.str() + result.stdout.str()
    assert suite.left() == ["d", "d/f"]
    suite.beside("pytest_timeout", "--opendal-reap", "-k", "after").assert_outcomes(
        passed=1, deselected=2
    )
    suite.check_clean()


@pytest.mark.usefixtures("silent")
def test_timeout_by_thread_kills_a_worker_and_the_controller_takes_over(
    suite: Neighbourhood,
) -> None:
    suite.write(test_it=HANGS)
    timeout = ("--timeout=4", "--timeout-method=thread")
    result = suite.beside("xdist pytest_timeout", *timeout, "-n1", "-k", "not after")
    result.assert_outcomes(passed=1, failed=1)
    suite.check_clean()


# -- what orders and groups tests


def test_randomly(suite: Neighbourhood) -> None:
    """It seeds `random` alike in every process: ours are told apart all the same."""
    suite.lab(isolation="test", retention="all")
    suite.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("number", range(8))
        def test_it(opendal, number):
            opendal.write_bytes("f", bytes([number]))
        """
    )
    runs = set()
    for _ in range(2):
        suite.beside(
            "xdist pytest_randomly", "--randomly-seed=7", "-n2", "--opendal-report=report.json"
        ).assert_outcomes(passed=8)
        report = suite.report()
        assert {left["test"] for left in report["leftovers"]} == {
            f"test_it.py::test_it[{number}]" for number in range(8)
        }
        runs.add(report["run_id"])
    assert len(runs) == 2


def test_order(suite: Neighbourhood) -> None:
    """A test is cleaned up before the one that is ordered after it begins."""
    suite.write(
        test_it="""
        import pytest

        @pytest.mark.order(2)
        def test_second(opendal):
            assert list(opendal.list("")) == ["/"]

        @pytest.mark.order(1)
        def test_first(opendal, opendal_session):
            assert not opendal_session.exists("shared")
            opendal_session.write_bytes("shared", b"x")
            opendal_session.delete("shared")
            opendal.write_bytes("f", b"x")
        """
    )
    suite.beside("pytest_order.plugin").assert_outcomes(passed=2)
    suite.check_clean()


@pytest.mark.parametrize("dist", ["loadscope", "loadfile", "loadgroup", "worksteal", "each"])
def test_dist(suite: Neighbourhood, dist: str) -> None:
    """Each way to give tests to workers, with the leftovers of each test."""
    suite.several("here", here=suite.fs("device"), kept=suite.fs("kept", retention="all"))
    suite.write(
        test_it="""
        import pytest

        @pytest.mark.xdist_group("board")
        class TestBoard:
            @pytest.mark.parametrize("number", range(6))
            def test_it(self, opendal, opendal_session, opendal_factory, number, worker_id):
                opendal.write_bytes(f"{worker_id}/{number}/f", b"x")
                opendal_session.write_bytes(f"{worker_id}/s{number}", b"x")
                opendal_factory("kept").write_bytes(f"{worker_id}-{number}", b"x")
        """,
        test_other="""
        def test_it(opendal, worker_id): opendal.write_bytes(f"g{worker_id}", b"x")
        """,
    )
    result = suite.beside("xdist", "-n2", f"--dist={dist}", "--opendal-report=report.json")
    times = 2 if dist == "each" else 1
    result.assert_outcomes(passed=7 * times)
    suite.check_clean()
    report = suite.report()
    kept = [
        f"{left['worker']}-{left['test'].rpartition('[')[2][0]}" for left in report["leftovers"]
    ]
    assert sorted(kept) == suite.left(suite.pytester.path / "kept")
    assert len(kept) == 6 * times


# -- tests in tests


def test_subtests(suite: Neighbourhood) -> None:
    """A failed subtest is a failure of its test: what that made is kept."""
    suite.lab(retention="failed")
    suite.write(
        test_it="""
        def test_good(opendal, subtests):
            for number in range(2):
                with subtests.test(number=number):
                    opendal.write_bytes(f"good{number}", b"x")

        def test_bad(opendal, subtests):
            for number in range(2):
                with subtests.test(number=number):
                    opendal.write_bytes(f"bad{number}", b"x")
                    assert number == 1
        """
    )
    result = suite.beside("xdist", "--opendal-report=report.json")
    assert result.ret == 1
    assert suite.left() == ["bad0", "bad1"]
    assert {left["test"] for left in suite.report()["leftovers"]} == {"test_it.py::test_bad"}


# -- pytest's own


def test_last_failed(suite: Neighbourhood) -> None:
    """Only what failed runs again, and what the first run left is there as the file says."""
    suite.lab(retention="failed")
    suite.write(
        test_it="""
        def test_good(opendal): opendal.write_bytes("good", b"x")
        def test_bad(opendal):
            opendal.write_bytes("bad", b"x")
            assert 0
        """
    )
    suite.beside("xdist").assert_outcomes(passed=1, failed=1)
    assert suite.left() == ["bad"]
    again = suite.beside("xdist", "--lf")
    again.assert_outcomes(failed=1)
    assert [line.split()[0] for line in section(again)][-1] == "bad"
    assert suite.journals == []


@pytest.mark.parametrize("args", [(), ("-n2",)], ids=["plain", "n2"])
def test_without_what_pytest_brings(suite: Neighbourhood, args: tuple[str, ...]) -> None:
    suite.lab(retention="failed")
    suite.write(
        test_it="""
        def test_good(opendal): opendal.write_bytes("good", b"x")
        def test_bad(opendal):
            opendal.write_bytes("bad", b"x")
            assert 0
        """
    )
    without = [
        part
        for name in ("terminal", "cacheprovider", "logging", "junitxml", "stepwise")
        for part in ("-p", f"no:{name}")
    ]
    result = suite.beside("xdist", *without, "--opendal-report=report.json", *args)
    assert result.ret == 1
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    assert [left["path"] for left in suite.report()["leftovers"]] == ["bad"]
    assert suite.left() == ["bad"]
