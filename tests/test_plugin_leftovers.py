"""What a run tells of what it left: summary, properties, JUnit, JSON, exit code, hooks."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from runs import Suite, output, section

if TYPE_CHECKING:
    from pathlib import Path

KEEPS = """
def test_one(opendal):
    opendal.write_bytes("d/a.txt", b"12345")
    opendal.write_bytes("removed.txt", b"x")
    opendal.delete("removed.txt")

def test_two(opendal): pass
"""
FAILS = "def test_it(opendal):\n    opendal.write_bytes('a', b'x')\n    raise AssertionError"


def test_nothing_is_told_when_nothing_is_left(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    suite.lab()
    suite.write(test_it=KEEPS)
    result = suite.run("--opendal-report=report.json", "--opendal-leftovers=error", *plugin_args)
    assert result.ret == pytest.ExitCode.OK
    assert section(result) == []
    report = suite.report()
    assert (report["created"], report["removed"], report["leftovers"]) == (3, 3, [])


def test_summary_properties_junit_and_json_agree(
    suite: Suite, plugin_args: tuple[str, ...]
) -> None:
    suite.lab(retention="all")
    suite.write(
        test_it=KEEPS,
        conftest="""
        def pytest_runtest_logreport(report):
            if report.user_properties:
                with open("properties.txt", "a") as out:
                    print(report.nodeid, report.when, report.user_properties, file=out)
        """,
    )
    result = suite.run("--opendal-report=report.json", "--junitxml=junit.xml", *plugin_args)
    assert result.ret == pytest.ExitCode.OK
    assert section(result)[1:] == [
        "  test_it.py::test_one",
        "    d/         -  kept: retention all",
        "    d/a.txt  5 B  kept: retention all",
    ]
    path = suite.pytester.path
    expected = [("opendal_leftover", "lab:d"), ("opendal_leftover", "lab:d/a.txt")]
    told = (path / "properties.txt").read_text(encoding="utf-8")
    assert f"test_it.py::test_one teardown {expected}" in told
    case = (path / "junit.xml").read_text(encoding="utf-8").partition('name="test_one"')[2]
    properties = re.findall(r'<property name="(\w+)" value="([^"]+)" ?/>', case)
    assert properties == expected
    _check_report(suite.report(), "gw" if "-n2" in plugin_args else "main", suite.root)


def _check_report(report: dict[str, Any], worker: str, root: Path) -> None:
    assert list(report) == [
        "version",
        "run_id",
        "storages",
        "created",
        "removed",
        "leftovers",
        "remnants",
        "conflicts",
    ]
    assert report["version"] == 1
    (storage,) = report["storages"]
    assert {**storage, "opendal": None} == {
        "name": "lab",
        "scheme": "fs",
        "location": str(root),
        "opendal": None,
        "created": 3,
        "removed": 1,
        "bytes_written": 6,
        "bytes_left": 5,
    }
    assert (report["created"], report["removed"]) == (3, 1)
    for left in report["leftovers"]:
        assert left.pop("worker").startswith(worker)
    common = {"storage": "lab", "test": "test_it.py::test_one", "error": None}
    common["reason"] = "kept: retention all"
    assert report["leftovers"] == [
        {**common, "path": "d", "kind": "dir", "size": None},
        {**common, "path": "d/a.txt", "kind": "file", "size": 5},
    ]
    assert report["remnants"] == report["conflicts"] == []


RERUNS = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    item.user_properties.append(("unhashable", []))
    for left in (2, 1, 0):
        item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        for report in reports:
            if left and report.failed:
                report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
    return True
"""


@pytest.mark.parametrize(("retention", "left"), [("all", 7), ("failed", 7), ("none", 0)])
def test_a_rerun_tells_and_counts_a_resource_once(
    suite: Suite, retention: str, left: int, plugin_args: tuple[str, ...]
) -> None:
    suite.lab(retention=retention)
    suite.write(
        conftest=RERUNS,
        test_it="""
        from pathlib import Path

        def test_it(opendal):
            opendal.write_bytes("a", b"x")
            opendal.register_path("dev/")
            Path("device/dev").mkdir(exist_ok=True)
            for number in range(5):
                Path(f"device/dev/{number}").write_text("x")
            raise AssertionError
        """,
    )
    result = suite.run("--junitxml=junit.xml", "--opendal-report=report.json", *plugin_args)
    result.assert_outcomes(failed=1)
    document = ET.parse(suite.pytester.path / "junit.xml")  # noqa: S314
    *_, last = document.iter("testcase")
    properties = [one.get("value") for one in last.iter("property")]
    told = [value for value in properties if (value or "").startswith("lab:")]
    assert len(told) == len(set(told)) == left
    report = suite.report()
    assert len(report["leftovers"]) == left
    # A directory that was there before is not counted, and neither is what a device wrote.
    created = 4 if retention == "all" else 6
    assert (report["created"], report["removed"]) == (created, created - 2 if left else created)


def test_error_fails_a_run_that_leaves_something(
    suite: Suite, plugin_args: tuple[str, ...]
) -> None:
    suite.lab(retention="all")
    suite.write(test_it=KEEPS)
    result = suite.run("--opendal-leftovers=error", *plugin_args)
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["the run fails because 2 resources were left (*=error)"])


def test_error_spares_what_was_kept_of_a_failed_test(suite: Suite) -> None:
    suite.lab(retention="failed")
    suite.write(test_it=FAILS)
    result = suite.run("--opendal-leftovers=error")
    assert section(result)[-1] == "    a  1 B  kept: retention failed"
    assert "the run fails because" not in output(result)


def test_error_leaves_other_exit_codes_alone(suite: Suite) -> None:
    suite.lab(retention="all")
    suite.write(
        test_it="""
        import pytest
        def test_it(opendal):
            opendal.write_bytes('a', b'x')
            pytest.exit("enough", returncode=9)
        """
    )
    assert suite.run("--opendal-leftovers=error").ret == 9


def test_warn_issues_one_warning(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    suite.lab(retention="all")
    suite.write(test_it=KEEPS)
    result = suite.run("--opendal-leftovers=warn", *plugin_args, strict=False)
    result.assert_outcomes(passed=2, warnings=1)
    text = "*LeftoverWarning: opendal: 2 resources left behind: 2 in lab"
    result.stdout.fnmatch_lines(["*warnings summary*", text])
    assert len(section(result)) == 4


def test_warning_that_is_an_error_fails_the_run(suite: Suite) -> None:
    suite.lab(retention="all")
    suite.write(test_it=KEEPS)
    result = suite.run("--opendal-leftovers=warn")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert section(result)[-1].startswith("the run fails because 2 resources were left (")
    assert "Traceback" not in output(result)


def test_files_of_others_are_no_warning(suite: Suite) -> None:
    suite.lab()
    suite.write(
        test_it="""
        from pathlib import Path
        def test_it(opendal):
            opendal.create_dir("d")
            Path("device/d/theirs").write_text("x")
        """
    )
    result = suite.run("--opendal-leftovers=warn")
    assert result.ret == pytest.ExitCode.OK
    assert section(result)[-1] == "      holds d/theirs"


def test_ignore_is_silent(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    suite.lab(retention="all")
    suite.write(test_it=KEEPS)
    result = suite.run("--opendal-leftovers=ignore", *plugin_args)
    assert result.ret == pytest.ExitCode.OK
    assert "leftover" not in output(result)


def test_details_list_everything(suite: Suite) -> None:
    suite.lab(retention="all")
    suite.write(
        test_it="""
        def test_it(opendal):
            for number in range(40):
                opendal.write_bytes(f"{number:03}", b"x")
        """
    )
    assert len(section(suite.run())) == 20
    assert len(section(suite.run("--opendal-details"))) == 42
    assert len(section(suite.run("-v"))) == 42


def test_failed_deletion_is_told(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    """A layer that refuses to delete stands for a storage that does."""
    suite.lab()
    suite.write(
        conftest="""
        class Stubborn:
            def __init__(self, operator): self._operator = operator
            def __getattr__(self, name): return getattr(self._operator, name)
            async def delete(self, path, **kwargs):
                if path == "stubborn": raise PermissionError("no")
                return await self._operator.delete(path, **kwargs)

        def pytest_opendal_operator(storage, operator):
            return Stubborn(operator)
        """,
        test_it="""
        def test_it(opendal):
            for name in ("stubborn", "a", "b"):
                opendal.write_bytes(name, b"x")
        """,
    )
    args = ("--opendal-leftovers=error", "--opendal-report=report.json")
    result = suite.run(*args, *plugin_args)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert suite.left() == ["stubborn"]
    (left,) = suite.report()["leftovers"]
    assert (left["path"], left["reason"]) == ("stubborn", "delete failed")
    assert left["error"].startswith("lab: delete 'stubborn': ")
    assert (suite.report()["created"], suite.report()["removed"]) == (3, 2)
    assert [name for name in suite.journals if name.endswith(".journal")]


def test_report_that_cannot_be_written_fails_the_run(suite: Suite) -> None:
    suite.lab()
    suite.write(test_it=KEEPS)
    (suite.pytester.path / "file").write_text("", encoding="utf-8")
    result = suite.run("--opendal-report=file/report.json")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["ERROR: cannot write the opendal report *file/report.json: *"])
    assert "Traceback" not in output(result)


def test_leftovers_are_told_of_a_run_with_an_exit_code_of_its_own(suite: Suite) -> None:
    suite.lab(retention="all")
    suite.write(
        test_it="""
        import pytest

        def test_1(opendal): opendal.write_bytes("a", b"x")
        def test_2(): pytest.exit("enough", returncode=42)
        """
    )
    result = suite.run()
    assert result.ret == 42
    assert "    a  1 B  kept: retention all" in section(result)
    assert section(suite.run("--no-summary")) == []


def test_leftovers_are_told_after_an_error_of_pytest_itself(
    suite: Suite, plugin_args: tuple[str, ...]
) -> None:
    suite.lab(retention="all")
    suite.write(
        conftest="""
        import os

        def pytest_runtest_logfinish():
            if "PYTEST_XDIST_WORKER" not in os.environ:
                raise RuntimeError("boom")
        """,
        test_it="def test_it(opendal): opendal.write_bytes('a', b'x')",
    )
    result = suite.run(*plugin_args)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert section(result)[-1] == "    a  1 B  kept: retention all"
    assert len([line for line in result.outlines if " opendal leftovers " in line]) == 1


def test_a_file_that_is_never_closed_is_warned_of(suite: Suite) -> None:
    """The warning, which may be an error, keeps nothing from being removed and told."""
    suite.lab(retention="failed")
    suite.write(
        test_it="""
        def test_it(opendal, opendal_factory):
            for number, storage in enumerate((opendal, opendal_factory())):
                storage.open(f"open-{number}.txt", "wb").write(b"half")
                storage.write_bytes(f"{number}.txt", b"x")
        """
    )
    result = suite.run("--opendal-report=report.json", strict=False)
    result.assert_outcomes(passed=1, warnings=2)
    result.stdout.fnmatch_lines(["*lab: 'open-0.txt' was opened for writing and never closed; *"])
    assert suite.left() == []
    result = suite.run("--opendal-report=report.json")
    result.assert_outcomes(passed=1, errors=1)
    assert suite.left() == []
    assert suite.report()["created"] == suite.report()["removed"] > 0


HOOKS = """
import json, os

def tell(*what):
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    with open(f"hooks-{worker}.txt", "a") as out:
        print(json.dumps(what), file=out)

def pytest_opendal_config(config, lab):
    tell("config", type(config).__name__, sorted(lab.storages))

def pytest_opendal_operator(storage, operator):
    tell("operator", storage, type(operator).__name__)

def pytest_opendal_created(storage, path, nodeid):
    tell("created", storage, path, nodeid)

def pytest_opendal_leftovers(leftovers):
    tell("leftovers", [left.path for left in leftovers])
"""


def test_hooks_are_called(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    suite.several("sdcard", sdcard=suite.fs("sd", retention="all"), results=suite.fs("res"))
    suite.write(conftest=HOOKS, test_it="def test_it(opendal): opendal.write_bytes('d/a', b'x')")
    suite.run(*plugin_args).assert_outcomes(passed=1)
    main = _told(suite, "main")
    configured = ["config", "Config", ["results", "sdcard"]]
    used = [
        ["operator", "sdcard", "AsyncOperator"],
        ["created", "sdcard", "d", "test_it.py::test_it"],
        ["created", "sdcard", "d/a", "test_it.py::test_it"],
    ]
    if "-n2" not in plugin_args:
        assert main == [configured, *used, ["leftovers", ["d", "d/a"]]]
        return
    workers = [_told(suite, name) for name in ("gw0", "gw1")]
    assert main == [configured, ["leftovers", ["d", "d/a"]]]
    assert sorted(workers, key=len) == [[configured], [configured, *used]]


def _told(suite: Suite, worker: str) -> list[Any]:
    path = suite.pytester.path / f"hooks-{worker}.txt"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_hook_that_raises_costs_neither_report_nor_summary(
    suite: Suite, plugin_args: tuple[str, ...]
) -> None:
    suite.lab(retention="all")
    suite.write(
        conftest="def pytest_opendal_leftovers(leftovers): raise RuntimeError('no\\nboard')",
        test_it="def test_it(opendal): opendal.write_bytes('a', b'x')",
    )
    result = suite.run("--opendal-report=report.json", *plugin_args)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert [left["path"] for left in suite.report()["leftovers"]] == ["a"]
    assert section(result)[-2:] == [
        "    a  1 B  kept: retention all",
        "ERROR: a hook pytest_opendal_leftovers raised RuntimeError: no board",
    ]


def test_config_hook_is_called_for_what_a_conftest_gives(suite: Suite) -> None:
    given = """
import pytest

@pytest.fixture(scope="session")
def opendal_config():
    return {"storages": {"mine": {"scheme": "memory"}}}
"""
    suite.write(
        conftest=HOOKS + given, test_it="def test_it(opendal): pass\ndef test_b(opendal): pass"
    )
    suite.run().assert_outcomes(passed=2)
    assert _told(suite, "main")[0] == ["config", "Config", ["mine"]]
    assert [line[0] for line in _told(suite, "main")] == ["config", "operator", "leftovers"]


def test_a_directory_that_holds_files_of_others_survives(
    suite: Suite, plugin_args: tuple[str, ...]
) -> None:
    suite.lab()
    suite.write(
        test_it=f"""
        from pathlib import Path

        def test_it(opendal):
            opendal.write_bytes("d/e/mine.txt", b"x")
            Path({os.fspath(suite.root)!r}, "d/foreign.txt").write_text("theirs")
        """
    )
    args = ("--opendal-leftovers=error", "--opendal-report=report.json")
    result = suite.run(*args, *plugin_args)
    assert result.ret == pytest.ExitCode.OK
    assert suite.left() == ["d", "d/foreign.txt"]
    (left,) = suite.report()["leftovers"]
    assert (left["path"], left["reason"]) == ("d", "holds files of others")
    assert left["holds"] == ["d/foreign.txt"]
    result.stdout.fnmatch_lines(["    d/  -  holds files of others", "      holds d/foreign.txt"])
    assert suite.journals == []
