"""Leftovers as the lines that GitHub's runner reads; its escapes are those of its toolkit."""

from __future__ import annotations

import pytest

from pytest_opendal.github import MOST, commands, is_wanted
from pytest_opendal.report import Leftover, Reason, RunReport

from runs import Suite, needs_xdist, output

PLACES = {"tests/test_boot.py::test_flash": ("tests/test_boot.py", 12)}


def left(path: str, test: str = "tests/test_boot.py::test_flash", **values: object) -> Leftover:
    """Return a leftover that matters in the given values only."""
    given = {"size": 512, "reason": Reason.KEPT, "error": None} | values
    return Leftover("sdcard", path, "file", test=test, worker="gw0", **given)  # type: ignore[arg-type]


def told(*leftovers: Leftover, mode: str = "report", workspace: str = "") -> list[str]:
    """Return the lines for these leftovers."""
    run = RunReport("run-1", (), 9, 5, leftovers, (), ())
    return list(
        commands(run, mode=mode, places=PLACES, root="/home/runner/lab/suite", workspace=workspace)
    )


def test_a_test_is_told_once_with_its_place_and_what_it_left() -> None:
    assert told(left("a"), left("b", size=None)) == [
        "::warning title=opendal leftovers,file=tests/test_boot.py,line=12::"
        "tests/test_boot.py::test_flash left 2 resources"
        "%0Asdcard:a (512 B, kept: retention all)%0Asdcard:b (kept: retention all)"
    ]


def test_files_are_named_as_the_checkout_has_them() -> None:
    (line,) = told(left("a"), workspace="/home/runner/lab")
    assert ",file=suite/tests/test_boot.py,line=12::" in line


def test_what_has_no_place_is_told_without_one() -> None:
    (line,) = told(left("a", test=""))
    assert line.startswith("::warning title=opendal leftovers::opendal_session left 1 resource%0A")


def test_what_others_chose_cannot_end_the_line_or_begin_another() -> None:
    (line,) = told(left("100%\n::error::x", test="t.py::test[a,b:c]"))
    assert "\n" not in line
    assert "sdcard:100%25\\n::error::x" in line


def test_a_file_name_cannot_end_its_property(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLACES, "odd", ("a,b:c%.py", 3))
    (line,) = told(left("a", test="odd"))
    assert ",file=a%2Cb%3Ac%25.py,line=3::" in line


def test_an_error_is_told_with_its_reason() -> None:
    (line,) = told(left("a", reason=Reason.FAILED, error="PermissionDenied: a", size=None))
    assert line.endswith("%0Asdcard:a (PermissionDenied: a)")


@pytest.mark.parametrize(
    ("mode", "reason", "level"),
    [
        ("report", Reason.FAILED, "warning"),
        ("error", Reason.FAILED, "error"),
        ("error", Reason.KEPT_FAILED, "warning"),
    ],
)
def test_what_fails_the_run_is_an_error(mode: str, reason: Reason, level: str) -> None:
    (line,) = told(left("a", reason=reason), mode=mode)
    assert line.startswith(f"::{level} ")


def test_ignore_tells_nothing() -> None:
    assert told(left("a"), mode="ignore") == []


def test_a_long_list_of_one_test_is_cut() -> None:
    (line,) = told(*(left(f"f{number}") for number in range(9)))
    assert line.endswith("sdcard:f4 (512 B, kept: retention all)%0A... and 4 more")


def test_many_tests_are_told_in_as_many_lines_as_github_shows() -> None:
    many = [left("a", test=f"t.py::test_{number:02}") for number in range(MOST + 5)]
    lines = told(*many)
    assert len(lines) == MOST
    assert lines[-1].endswith("::6 more tests left 6 resources; the log lists them")
    assert len(told(*many[:MOST])) == MOST


def test_only_github_actions_wants_them() -> None:
    assert is_wanted({"GITHUB_ACTIONS": "true"})
    assert not is_wanted({"GITHUB_ACTIONS": "false"})
    assert not is_wanted({})


@pytest.mark.parametrize(
    "args", [(), pytest.param(("-n2",), marks=needs_xdist)], ids=["plain", "n2"]
)
def test_a_run_there_prints_them_with_the_line_of_the_test(
    suite: Suite, args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.lab(retention="all")
    suite.write(test_it="\n\ndef test_it(opendal):\n    opendal.write_bytes('a', b'12345')")
    plain = output(suite.run(*args))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(suite.pytester.path.parent))

    there = suite.run(*args)

    assert "::warning" not in plain
    name = suite.pytester.path.name
    assert (
        there.stdout.lines.count(
            f"::warning title=opendal leftovers,file={name}/test_it.py,line=1::"
            "test_it.py::test_it left 1 resource%0Alab:a (5 B, kept: retention all)"
        )
        == 1
    )


def test_names_in_the_table_are_no_commands(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    suite.lab(retention="all")
    suite.write(
        test_it="""
        from pathlib import Path
        import pytest

        @pytest.mark.opendal(retention="none")
        def test_foreign(opendal):
            opendal.create_dir("d")
            Path("device/d/a##[error]x").touch()

        def test_kept(opendal): opendal.write_bytes("::stop-commands::x", b"1")
        """
    )
    result = suite.run()
    told = [line for line in result.outlines if not line.startswith("::warning ")]
    assert "      holds d/a#\\#[error]x" in told
    assert "    \\::stop-commands::x  1 B  kept: retention all" in told
    assert not [line for line in told if "##[" in line or line.lstrip().startswith("::")]
