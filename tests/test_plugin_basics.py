"""The plugin without any configuration, and beside pytest's own plugins that are turned off."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from runs import Suite, output, section

if TYPE_CHECKING:
    from pathlib import Path

ROUND_TRIP = """
def test_one(opendal):
    opendal.write_bytes("logs/deep/a.txt", b"x")
    assert opendal.read_bytes("logs/deep/a.txt") == b"x"
    assert opendal.get_created_resources() == {"logs", "logs/deep", "logs/deep/a.txt"}

def test_two(opendal, opendal_factory, opendal_session):
    opendal_session.write_bytes("shared/s.txt", b"x")
    opendal_factory().write_bytes("f.txt", b"x")
    opendal.write_bytes("shared/o.txt", b"x")
"""


def _files_below(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if path.is_file() and path.suffix == ".txt"]


def test_works_with_no_configuration(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    suite.write(test_it=ROUND_TRIP)
    result = suite.run("--basetemp=tmp", *plugin_args)
    result.assert_outcomes(passed=2)
    assert "opendal:" not in output(result)
    assert section(result) == []
    embedded = list((suite.pytester.path / "tmp").rglob("pytest-opendal*"))
    assert embedded
    assert [path for place in embedded for path in place.iterdir()] == []
    assert suite.journals == []


@pytest.mark.parametrize("plugin", ["terminal", "logging", "cacheprovider", "xdist", "junitxml"])
def test_works_beside_a_plugin_that_is_turned_off(
    suite: Suite, plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(suite.pytester.mkdir("temporary")))
    suite.lab(retention="all")
    suite.write(test_it=ROUND_TRIP)
    result = suite.run("-p", f"no:{plugin}", "--opendal-report=report.json")
    assert result.ret == pytest.ExitCode.OK
    assert suite.left() == [
        "f.txt",
        "logs",
        "logs/deep",
        "logs/deep/a.txt",
        "shared",
        "shared/o.txt",
        "shared/s.txt",
    ]
    assert len(suite.report()["leftovers"]) == len(suite.left())


def test_can_be_turned_off(suite: Suite) -> None:
    suite.write(test_it="def test_it(pytestconfig): assert not hasattr(pytestconfig, 'opendal')")
    result = suite.run("-p", "no:opendal")
    result.assert_outcomes(passed=1)


def test_collecting_only_opens_no_storage(suite: Suite) -> None:
    suite.lab()
    suite.write(test_it=ROUND_TRIP)
    result = suite.run("--collect-only", "-q")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["test_it.py::test_one", "test_it.py::test_two"])
    assert not suite.root.exists()


def test_a_storage_can_be_asked_for_inside_a_test(suite: Suite) -> None:
    suite.lab()
    suite.write(
        test_it="""
        def test_it(request):
            request.getfixturevalue("opendal").write_bytes("a.txt", b"x")
        """
    )
    result = suite.run()
    result.assert_outcomes(passed=1)
    assert suite.left() == []


def test_markers_fixtures_and_options_are_described(suite: Suite) -> None:
    markers = suite.run("--markers")
    markers.stdout.fnmatch_lines(
        ["@pytest.mark.opendal(storage=*", "@pytest.mark.opendal_capability(name, ...)*"]
    )
    fixtures = suite.run("--fixtures", "-q")
    fixtures.stdout.fnmatch_lines(
        ["opendal -- *", "opendal_config*", "opendal_session*", "opendal_factory*"]
    )
    options = suite.run("--help")
    for name in ("config", "storage", "retention", "isolation", "leftovers", "report", "timeout"):
        options.stdout.fnmatch_lines([f"*--opendal-{name}=*"])
        options.stdout.fnmatch_lines([f"*opendal_{name} (*"])


def test_strict_markers_know_ours(suite: Suite) -> None:
    suite.write(
        test_it="""
        import pytest
        @pytest.mark.opendal(isolation="test")
        @pytest.mark.opendal_capability("read")
        def test_it(opendal): opendal.write_bytes("a", b"")
        """
    )
    suite.run("--strict-markers").assert_outcomes(passed=1)


def test_header_tells_the_storage(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    suite.several("sdcard", sdcard=suite.fs("sd"), results=suite.fs("res"))
    suite.write(test_it="def test_it(opendal): pass")
    result = suite.run(*plugin_args)
    lines = result.stdout.lines
    (start,) = [number for number, line in enumerate(lines) if line.startswith("opendal: ")]
    assert re.fullmatch(r"opendal: \S+lab\.yaml, opendal 0\.\d+\.\d+", lines[start])
    assert lines[start + 1] == f"  storage sdcard (fs, {suite.pytester.path / 'sd'}) and 1 other"


def test_quiet_run_has_no_header(suite: Suite) -> None:
    suite.lab()
    suite.write(test_it="def test_it(opendal): pass")
    assert "opendal" not in output(suite.run("-q"))


def test_journals_survive_a_cleared_cache(suite: Suite) -> None:
    """A second run with ``--cache-clear`` must not take the journal of a running one."""
    suite.lab()
    suite.write(
        test_it="""
        import subprocess, sys
        from pathlib import Path

        PLACE = Path(".pytest_cache/opendal")

        def test_it(opendal):
            opendal.write_bytes("a.txt", b"x")
            (journal,) = PLACE.glob("*.journal")
            assert journal.stat().st_mode & 0o777 == 0o600
            command = [sys.executable, "-m", "pytest", "--cache-clear", "--collect-only", "-q"]
            subprocess.run(command, check=True)
            assert list(PLACE.glob("*.journal")) == [journal]
        """
    )
    suite.run().assert_outcomes(passed=1)
    assert suite.journals == []


def test_journals_are_private_when_the_cache_is_off(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = suite.pytester.mkdir("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    suite.lab()
    suite.write(
        test_it="""
        import os
        from pathlib import Path

        def test_it(opendal):
            opendal.write_bytes("a.txt", b"x")
            (place,) = Path(os.environ["TMPDIR"]).glob("pytest-opendal-*")
            assert place.stat().st_mode & 0o777 == 0o700
            assert list(place.glob("*.journal"))
        """
    )
    suite.run("-p", "no:cacheprovider", "--basetemp=tmp").assert_outcomes(passed=1)
    (place,) = temporary.glob("pytest-opendal-*")
    assert list(place.iterdir()) == []


def test_journals_go_where_the_ini_key_says(suite: Suite) -> None:
    suite.lab()
    suite.pytester.makeini("[pytest]\nopendal_journal_dir = journals\n")
    suite.write(
        test_it="""
        from pathlib import Path

        def test_it(opendal):
            opendal.write_bytes("a.txt", b"x")
            assert list(Path("journals").glob("*.journal"))
        """
    )
    suite.run().assert_outcomes(passed=1)
    assert list((suite.pytester.path / "journals").iterdir()) == []


def test_the_embedded_storage_needs_the_temp_tree_of_pytest(suite: Suite) -> None:
    suite.write(test_it="def test_it(opendal):\n    pass")
    result = suite.run("-p", "no:tmpdir")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*tmpdir is switched off; name a configuration with *"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_no_test_pays_for_a_request_of_ours(suite: Suite) -> None:
    """Making one takes pytest as long as all that a test does with a small file in memory."""
    suite.write(
        test_it="def test_it(opendal, opendal_async, request):\n    assert 'request' in request.fixturenames",
        test_ours="def test_ours(opendal, opendal_async):\n    pass",
        conftest="""
        def pytest_collection_finish(session):
            ours, = (item for item in session.items if item.name == "test_ours")
            assert "request" not in ours.fixturenames
        """,
    )
    suite.run().assert_outcomes(passed=2)


def test_each_fixture_says_what_it_is(suite: Suite) -> None:
    """In `pytest --fixtures`, where a user looks; also with which scope."""
    result = suite.run("--fixtures")
    told = re.findall(
        r"^(opendal\w*)(?: \[(\w+) scope\])? -- .*\n    (.+)$", result.stdout.str(), re.MULTILINE
    )
    assert {name: scope for name, scope, _ in told} == {
        "opendal": "",
        "opendal_async": "",
        "opendal_config": "session",
        "opendal_factory": "",
        "opendal_flasher": "session",
        "opendal_session": "session",
    }
    assert all(len(sentence) > 30 and "no docstring" not in sentence for *_, sentence in told)
