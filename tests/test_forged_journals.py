"""A journal that was damaged or forged is told and left alone; nothing outside of a root is touched."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_opendal import aftermath, remnants
from pytest_opendal.journal import Journal, Opened
from pytest_opendal.process import Process
from pytest_opendal.reap import Reaper
from pytest_opendal.recovery import Recovery
from pytest_opendal.report import Collector
from pytest_opendal.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_opendal.journal import Event
    from pytest_opendal.reap import Reaped
    from pytest_opendal.remnants import Found

RUN = "20260131T120000-abcdef"
EVENTS: tuple[Event, ...] = (
    ("+", "made", "file", False),
    ("+", "d", "dir", False),
    ("+", "d/in", "file", False),
    ("+", "tree", "tree", False),
    ("+", "theirs", "file", True),
    ("saved", "theirs", "0-0"),
    ("saved", "gone", None),
    ("moving", "was", "is"),
    ("renaming", "d/in", "d/to"),
    ("-1", "d/to"),
    ("restored", "gone"),
)


class Died:
    """A journal of a process that was killed, the storage it is about, and files of others around."""

    def __init__(self, tmp: Path) -> None:
        self.above = tmp / "above"
        self.root = self.above / "root"
        self.journals = self.above / "journals"
        self.outside = ("secret", "root-secret/file", "x-1.once", "journals.saved/0-0")
        for name in (
            "root/made",
            "root/d/in",
            "root/tree/f",
            "root/theirs",
            "root/is",
            *self.outside,
        ):
            (self.above / name).parent.mkdir(parents=True, exist_ok=True)
            (self.above / name).write_bytes(name.encode())
        journal = Journal(self.journals, RUN, "main", "2026-01-31T12:00:00+00:00")
        identity = {"scheme": "fs", "root": str(self.root)}
        opened = Opened("lab", identity, "t", "main", "", "none", "restore")
        journal.new_ledger(opened).note(*EVENTS)
        journal.close()
        self.path = journal.path
        (self.journals / f"{RUN}-main.saved").mkdir()
        (self.journals / f"{RUN}-main.saved/0-0").write_bytes(b"old")

    def lines(self) -> list[Any]:
        """Return what the journal says."""
        return [json.loads(line) for line in self.path.read_bytes().splitlines()]

    def write(self, lines: Sequence[Any]) -> None:
        """Let the journal say something else."""
        self.path.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    def reap(self) -> tuple[Found, list[Reaped]]:
        """Do what the command does, all of whose lines have to be printable."""
        found = remnants.find([self.journals])
        remnants.counted(found.remnants)
        run = Run(Process.new(), self.above / "new")
        try:
            reaper = Reaper(run, [])
            told = [*aftermath.command_lines(reaper.plan(found.remnants), dry=True)]
            reaped = reaper.reap(found.remnants)
        finally:
            run.close()
        told += [*aftermath.command_lines(reaped, dry=False), *aftermath.reaped_lines(reaped)]
        assert all(line.isprintable() for line in told), told
        return found, reaped

    def check(self) -> None:
        """Fail unless all that is not in the root is as it was."""
        for name in self.outside:
            assert (self.above / name).read_bytes() == name.encode()
        assert self.root.is_dir()


@pytest.fixture
def died(tmp_path: Path) -> Died:
    return Died(tmp_path)


def test_what_is_not_forged_is_removed_and_put_back(died: Died) -> None:
    found, (reaped,) = died.reap()
    assert (found.alone, reaped.left) == ((), ())
    assert sorted(path.name for path in died.root.iterdir()) == ["theirs", "was"]
    assert (died.root / "theirs").read_bytes() == b"old"
    assert not died.path.exists()


@pytest.mark.parametrize("way", ["owner", "host", "name"])
def test_the_controller_of_a_run_takes_over_no_forged_journal_of_it(died: Died, way: str) -> None:
    """Where others may write too: a directory for the journals of all users."""
    if way == "owner":
        died.path.chmod(0o666)
    header, *events = died.lines()
    if way == "host":
        header[3] = "elsewhere"
    if way == "name":
        events.append(["+", 0, "../secret", "file", False])
    died.write([header, *events])
    before = sorted(died.root.rglob("*"))
    run = Run(Process(RUN, "2026-01-31T12:00:00+00:00", "gw0"), died.above / "new")
    collector = Collector(RUN)
    Recovery(run, [], collector).take_over(died.journals, RUN, ())
    run.close()
    died.check()
    assert sorted(died.root.rglob("*")) == before
    (told,) = collector.result().alone
    assert str(died.path) in told
    assert told.endswith("left alone")


_BAD = (
    "../secret",
    "..",
    "",
    "/",
    ".",
    "a/../../secret",
    "/etc/passwd",
    "a\\..\\..\\secret",
    "\0",
    "a/.. /secret",
)


@pytest.mark.parametrize("name", _BAD)
@pytest.mark.parametrize(
    "event",
    [
        ["+", 0, "NAME", "file", False],
        ["+", 0, "NAME", "tree", False],
        ["moved", 0, "NAME", "x"],
        ["moved", 0, "x", "NAME"],
        ["saved", 0, "NAME", "0-0"],
        ["saved", 0, "theirs", "NAME"],
    ],
    ids=lambda event: f"{event[0]}-{event.index('NAME')}-{event[-2]}",
)
def test_a_name_that_no_run_would_write_is_not_acted_upon(
    died: Died, event: list[Any], name: str
) -> None:
    died.write([*died.lines(), [name if value == "NAME" else value for value in event]])
    found, reaped = died.reap()
    (line,) = found.alone
    assert "left alone" in line
    assert reaped == []
    assert (died.root / "made").exists()
    died.check()


def test_no_run_creates_a_name_with_a_control_character(died: Died) -> None:
    died.write([*died.lines(), ["+", 0, "a\n", "file", False]])
    found, reaped = died.reap()
    assert ("left alone" in found.alone[0], reaped) == (True, [])


def test_others_may_have_chosen_any_name(died: Died) -> None:
    died.write([*died.lines(), ["saved", 0, "d/a\n\\b ", None]])
    _, (reaped,) = died.reap()
    assert "d/a\n\\b " in (*reaped.restored, *(left.path for left in reaped.left))


@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("value", ["../x", "..", "\x1b[2J\n", "*", None, 5, [], {}])
def test_a_header_that_no_run_would_write_is_not_acted_upon(
    died: Died, at: int, value: object
) -> None:
    header, *rest = died.lines()
    header[at] = value
    died.write([header, *rest])
    died.reap()
    died.check()


@pytest.mark.parametrize("root", ["\ud800", "\0", "relative", ""])
def test_a_root_that_is_none_is_no_storage(died: Died, root: str) -> None:
    text = json.dumps(died.lines()).replace(json.dumps(str(died.root)), json.dumps(root))
    died.write(json.loads(text))
    _, (reaped,) = died.reap()
    assert (reaped.removed, reaped.failed) == ((), len(reaped.left))
    died.check()


_STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 9),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([*_BAD, "d", "d/in", "made", "theirs", "end", "-", ">", "open", "\ud800"]),
    st.just([]),
    st.just({}),
    st.just(["a"]),
    st.just({"a": "b"}),
)


@st.composite
def _forged(draw: st.DrawFn, lines: list[Any]) -> list[Any]:
    forged: list[Any] = json.loads(json.dumps(lines))
    for _ in range(draw(st.integers(1, 3))):
        line = draw(st.sampled_from([line for line in forged if isinstance(line, list)]))
        fields = line[2] if len(line) > 2 and isinstance(line[2], dict) and line[2] else line
        keys = [*fields] if isinstance(fields, dict) else [*range(len(fields))]
        key = draw(st.sampled_from([key for key in keys if key != "identity"] or [0]))
        if draw(st.booleans()) or not fields:
            forged.append([draw(_STRANGE) for _ in range(draw(st.integers(0, 5)))])
        else:
            fields[key] = draw(_STRANGE)
    return forged


@pytest.mark.parametrize(
    "examples",
    [pytest.param(40, id="some"), pytest.param(5000, id="many", marks=pytest.mark.sweep)],
)
def test_no_forged_journal_is_a_crash_or_leads_outside(tmp_path: Path, examples: int) -> None:
    lines = Died(tmp_path).lines()

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=examples < 100,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_forged(lines))
    def reap(forged: list[Any]) -> None:
        shutil.rmtree(tmp_path / "above")
        died = Died(tmp_path)
        died.write(forged)
        died.reap()
        died.check()

    reap()


@pytest.mark.parametrize("examples", [40])
def test_no_damaged_byte_is_a_crash(tmp_path: Path, examples: int) -> None:
    content = Died(tmp_path).path.read_bytes()

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(st.integers(0, len(content) - 1), st.integers(0, 255))
    def reap(at: int, byte: int) -> None:
        shutil.rmtree(tmp_path / "above")
        died = Died(tmp_path)
        died.path.write_bytes(content[:at] + bytes([byte]) + content[at + 1 :])
        died.reap()
        died.check()

    reap()
