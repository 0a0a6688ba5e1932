"""Fixtures, the storages that tests ask for, capabilities, and storages that do not answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import servers
from runs import Suite, output, section

if TYPE_CHECKING:
    from servers import SeaweedFS


def test_one_storage_of_the_command_line_is_the_default(suite: Suite) -> None:
    suite.several("sdcard", sdcard=suite.fs("sd"), results=suite.fs("res"))
    suite.write(test_it="def test_it(opendal): assert opendal.name == 'results'")
    suite.run("--opendal-storage=results").assert_outcomes(passed=1)


def test_each_test_runs_once_per_storage(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    suite.several(None, sdcard=suite.fs("sd"), results=suite.fs("res"), third=suite.fs("3"))
    suite.write(
        test_it="""
        import pytest

        def test_plain(opendal, opendal_factory, request):
            assert request.node.callspec.id == opendal.name == opendal_factory().name
            assert opendal_factory("third").name == "third"

        @pytest.mark.parametrize("size", [1, 2])
        def test_with_parameters(size, opendal): pass

        @pytest.mark.opendal(storage="third")
        def test_marked(opendal): assert opendal.name == "third"

        @pytest.mark.parametrize("opendal", ["third", "sdcard"], indirect=True)
        def test_own(opendal): pass

        def test_without(): pass
        """
    )
    chosen = ["--opendal-storage=sdcard", "--opendal-storage=results"]
    result = suite.run("-v", *chosen, *plugin_args)
    result.assert_outcomes(passed=10)
    for name in (
        "test_plain[[]sdcard]",
        "test_plain[[]results]",
        "test_with_parameters[[]sdcard-1]",
        "test_with_parameters[[]results-2]",
        "test_marked",
        "test_own[[]third]",
        "test_without",
    ):
        result.stdout.fnmatch_lines_random([f"*test_it.py::{name} *"])


def test_factory_opens_other_storages(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    suite.several("sdcard", sdcard=suite.fs("sd"), results=suite.fs("res"))
    suite.write(
        test_it="""
        import pytest
        from pytest_opendal import ConfigInvalid

        def test_it(opendal, opendal_factory):
            results = opendal_factory("results")
            results.write_bytes("log.txt", b"x")
            opendal.write_bytes("d/a.txt", b"x")
            second = opendal_factory("sdcard")
            second.write_bytes("d/b.txt", b"x")
            assert results.get_created_resources() == {"log.txt"}
            assert opendal.get_created_resources() == {"d", "d/a.txt"}
            assert second.get_created_resources() == {"d/b.txt"}

        def test_typo(opendal_factory):
            opendal_factory("reslts")
        """
    )
    result = suite.run(*plugin_args)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E *there is no storage 'reslts'; did you mean 'results'?"])
    assert suite.left(suite.pytester.path / "sd") == []
    assert suite.left(suite.pytester.path / "res") == []


def test_storage_to_await_is_the_one_of_the_test(
    suite: Suite, plugin_args: tuple[str, ...]
) -> None:
    """So options, markers and the end of the test mean both."""
    suite.several("sdcard", sdcard=suite.fs("sd"), results=suite.fs("res", retention="all"))
    suite.write(
        test_it="""
        import asyncio
        import pytest

        def test_each(opendal_async, request):
            assert request.node.callspec.id == opendal_async.name
            asyncio.run(opendal_async.write_bytes("d/f", b"x"))

        @pytest.mark.opendal(storage="results")
        def test_marked(opendal_async, opendal):
            asyncio.run(opendal_async.write_bytes("left", b"x"))
            assert opendal.get_created_resources() == {"left"}

        def test_none(opendal_async, opendal_session):
            from pytest_opendal import AsyncStorage
            assert asyncio.run(AsyncStorage(opendal_session).capability()).write
        """
    )
    chosen = ["--opendal-storage=sdcard", "--opendal-storage=results"]
    result = suite.run(*chosen, "--opendal-report=report.json", *plugin_args)
    result.assert_outcomes(passed=5)
    assert suite.left(suite.pytester.path / "sd") == []
    assert {left["path"] for left in suite.report()["leftovers"]} == {"d", "d/f", "left"}


def test_session_storage_outlives_tests_and_wider_fixtures(suite: Suite) -> None:
    suite.lab()
    suite.write(
        test_it="""
        import pytest

        @pytest.fixture(scope="session")
        def image(opendal_session):
            opendal_session.write_bytes("images/boot.img", b"boot")
            return "images/boot.img"

        @pytest.fixture(scope="module")
        def module_file(opendal_session):
            opendal_session.write_bytes("module.txt", b"x")
            yield "module.txt"
            opendal_session.delete("module.txt")

        @pytest.fixture(scope="class")
        def class_file(opendal_session, module_file):
            opendal_session.write_bytes("class.txt", b"x")
            return "class.txt"

        class TestIt:
            def test_one(self, image, class_file, opendal):
                opendal.write_bytes("images/other.img", b"x")
            def test_two(self, image, class_file, opendal):
                assert not opendal.exists("images/other.img")
                assert opendal.read_bytes(image) == b"boot"

        def test_three(opendal, module_file):
            assert opendal.exists("images/boot.img") and opendal.exists(module_file)
        """,
        test_other="""
        def test_it(opendal):
            assert opendal.exists("images/boot.img") and not opendal.exists("module.txt")
        """,
    )
    result = suite.run()
    result.assert_outcomes(passed=4)
    assert suite.left() == []
    assert section(result) == []


def test_session_leftovers_are_reported(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    suite.lab(retention="all")
    suite.write(test_it="def test_it(opendal_session): opendal_session.write_bytes('s.txt', b'x')")
    result = suite.run("--opendal-report=report.json", *plugin_args)
    assert section(result)[1:] == ["  opendal_session", "    s.txt  1 B  kept: retention all"]
    (left,) = suite.report()["leftovers"]
    assert (left["path"], left["test"]) == ("s.txt", "")


CAPABILITY = """
import pytest

@pytest.mark.opendal_capability("presign_read", "read")
def test_missing(opendal): raise AssertionError

@pytest.mark.opendal_capability("read", "write")
def test_there(opendal): pass

@pytest.mark.opendal_capability("presign_read")
def test_session(opendal_session): raise AssertionError

@pytest.fixture
def image(opendal_session): return "image"

@pytest.mark.opendal_capability("presign_read", "presign_stat")
def test_session_below(image): raise AssertionError
"""


@pytest.mark.parametrize("test", ["def test_it(): pass", "def test_it(request): pass"])
def test_a_capability_that_is_none_is_refused_without_a_storage_too(
    suite: Suite, test: str
) -> None:
    suite.write(test_it=f"import pytest\n@pytest.mark.opendal_capability('presign_raed')\n{test}")
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: test_it.py:2: *'presign_raed' is no capability; did you *"]
    )


def test_missing_capability_skips(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    suite.lab()
    suite.write(test_it=CAPABILITY)
    result = suite.run("-rs", *plugin_args)
    result.assert_outcomes(passed=1, skipped=3)
    result.stdout.fnmatch_lines_random(
        ["SKIPPED * storage 'lab' lacks presign_read", "SKIPPED *lacks presign_read, presign_stat"]
    )


def test_capability_is_asked_of_the_storage_of_each_run(suite: Suite, seaweedfs: SeaweedFS) -> None:
    s3 = {"scheme": "s3", "kwargs": seaweedfs.kwargs, "retention": "none", "isolation": "test"}
    suite.several(None, here=suite.fs("here"), bucket=s3)
    suite.write(
        test_it="""
        import pytest

        @pytest.mark.opendal_capability("presign_read")
        def test_it(opendal): assert opendal.name == "bucket"
        """
    )
    result = suite.run("--opendal-storage=here", "--opendal-storage=bucket")
    result.assert_outcomes(passed=1, skipped=1)


def test_refused_storage_fails_once(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    """The first test fails with one clear line, the others are skipped with it; per worker."""
    with servers.refused() as address:
        _check_broken(suite, f"http://{address}", plugin_args, "lab: connect: *")


def test_silent_storage_fails_once(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    with servers.black_hole() as address:
        expected = "lab: connect: no answer within 0.5 s (timeout)"
        _check_broken(suite, f"http://{address}", plugin_args, expected)


def _check_broken(suite: Suite, url: str, args: tuple[str, ...], expected: str) -> None:
    kwargs = {"endpoint": url, "bucket": "b", "region": "r", "disable_config_load": "true"}
    suite.lab(scheme="s3", kwargs={**kwargs, "access_key_id": "x", "secret_access_key": "y"})
    suite.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("number", range(8))
        def test_it(opendal, number): raise AssertionError

        def test_session(opendal_session): raise AssertionError

        def test_other(): pass
        """
    )
    result = suite.run("-rs", "--opendal-timeout=0.5", *args)
    workers = 2 if "-n2" in args else 1
    result.assert_outcomes(errors=workers, skipped=9 - workers, passed=1)
    result.stdout.fnmatch_lines([expected])
    assert "During handling" not in output(result)
    result.stdout.fnmatch_lines([f"SKIPPED * storage is broken: {expected}"])
    assert "Traceback" not in output(result)
    assert section(result) == []
    assert suite.journals == []


def test_broken_storage_does_not_stop_the_others(suite: Suite) -> None:
    with servers.refused() as address:
        kwargs = {"endpoint": f"http://{address}", "bucket": "b", "region": "r"}
        broken = {
            "scheme": "s3",
            "kwargs": {**kwargs, "access_key_id": "x", "secret_access_key": "y"},
        }
        suite.several(None, broken=broken, works=suite.fs("works"))
        suite.write(test_it="def test_one(opendal): pass\ndef test_two(opendal): pass")
        storages = ["--opendal-storage=broken", "--opendal-storage=works"]
        result = suite.run("--opendal-timeout=5", *storages)
    result.assert_outcomes(errors=1, skipped=1, passed=2)


def test_a_storage_is_no_garbage_that_only_the_collector_finds(
    suite: Suite, plugin_args: tuple[str, ...]
) -> None:
    """Python would stop for that in other tests, and what one held stays until then."""
    suite.lab()
    suite.write(
        test_it="""
        import gc, weakref

        HELD = []

        def test_uses(opendal, opendal_factory):
            gc.disable()
            for storage in (opendal, opendal_factory()):
                storage.write_bytes("d/a.txt", b"x")
                with storage.open("d/b.txt", "w") as file:
                    file.write("x")
                with storage.open("d/b.txt") as file:
                    assert file.read() == b"x"
                assert sorted(storage.list("d")) == ["d/", "d/a.txt", "d/b.txt"]
                HELD.append(weakref.ref(storage))

        def test_after():
            gc.enable()
            assert [held() for held in HELD] in ([None, None], [])
        """
    )
    suite.run(*plugin_args).assert_outcomes(passed=2)
