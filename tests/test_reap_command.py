"""What the command ``reap`` says and does with what it is given; the deaths are in `test_reap`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from pytest_opendal.backends.local import LocalBackend
from pytest_opendal.cli import main
from pytest_opendal.journal import Journal, Opened
from pytest_opendal.process import Process
from pytest_opendal.remnants import private_directory

if TYPE_CHECKING:
    from click.testing import Result

HOUR_AGO = "20260131T110000-00000a"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a directory of its own, off the configuration and journals of whoever runs this."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENDAL_CONFIG", "OPENDAL_TEST"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))


def reap(*args: str) -> Result:
    """Run the command in the current directory."""
    return CliRunner().invoke(main, ["reap", *args], catch_exceptions=False)


def died(
    storage: str = "sdcard",
    *names: str,
    process: Process | None = None,
    place: str = ".pytest_cache/opendal",
) -> Path:
    """Leave files on a directory, and the journal of a dead process; returns the directory."""
    process = process or Process(HOUR_AGO, "2026-01-31T11:00:00+00:00")
    root = Path(storage).absolute()
    root.mkdir(exist_ok=True)
    journal = Journal(Path(place), process.run_id, f"{process.worker}.{storage}", process.started)
    identity = {"scheme": "fs", "root": str(root)}
    ledger = journal.new_ledger(Opened(storage, identity, "t", "main", "", "none", "created"))
    for name in names or ("a.txt",):
        (root / name).write_bytes(b"x")
        ledger.note(("+", name, "file", False))
    journal.close()
    return root


def test_with_nothing_to_do_it_says_where_it_looked() -> None:
    result = reap()
    assert (result.exit_code, result.output) == (0, "nothing to reap (no journals are here)\n")
    place = Path(".pytest_cache/opendal").absolute()
    place.mkdir(parents=True)
    assert reap().output == f"nothing to reap ({place})\n"


def test_it_tells_what_it_removed_by_run_and_storage() -> None:
    root = died("sdcard", "a.txt", "b.txt")
    result = reap()
    assert result.exit_code == 0
    (first, second, last) = result.output.splitlines()
    assert first.startswith(f"run {HOUR_AGO} (started 2026-01-31T11:00:00+00:00 on ")
    assert second == f"  sdcard (fs, {root}): removed 2 resources"
    assert last == "nothing is left"
    assert list(root.iterdir()) == []


def test_a_dry_run_lists_and_touches_nothing() -> None:
    root = died("sdcard", "a.txt", "b.txt")
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    result = reap("--dry-run")
    assert result.exit_code == 0
    assert result.output.splitlines()[1:] == [
        f"  sdcard (fs, {root}): would remove 2 resources",
        "    a.txt",
        "    b.txt",
        "nothing was touched (--dry-run)",
    ]
    after = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("presses", [1, 2])
def test_an_interrupt_ends_with_the_record_at_hand(
    monkeypatch: pytest.MonkeyPatch, presses: int
) -> None:
    """The first lets it come to its end, a second gives it up; no other is touched."""
    roots = [died(name) for name in ("one", "two", "three")]
    delete, asked = LocalBackend.remove_file, []

    async def interrupted(self: LocalBackend, path: str) -> None:
        asked.append(path)
        if len(asked) <= presses:
            raise KeyboardInterrupt
        await delete(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, "remove_file", interrupted)
        result = reap()
    assert result.exit_code == 1
    assert "interrupted: what was not removed yet is left to the next reap" in result.output
    assert "Traceback" not in result.output
    left = [root.name for root in roots if list(root.iterdir())]
    assert len(left) == (2 if presses == 1 else 3)
    assert reap().exit_code == 0
    assert [list(root.iterdir()) for root in roots] == [[], [], []]


def test_names_of_others_that_no_test_could_use_are_put_back() -> None:
    root = Path("sdcard").absolute()
    died("sdcard")
    (journal,) = Path(".pytest_cache/opendal").glob("*.journal")
    lines = journal.read_text(encoding="utf-8")
    saved = json.dumps(["saved", 0, "d/a\\b.txt", "0-0"])
    journal.write_text(f"{lines}{saved}\n", encoding="utf-8")
    journal.with_suffix(".saved").mkdir()
    (journal.with_suffix(".saved") / "0-0").write_bytes(b"theirs")
    assert reap().exit_code == 0
    assert (root / "d" / "a\\b.txt").read_bytes() == b"theirs"


def test_a_long_list_is_cut() -> None:
    died("sdcard", *(f"{number:02}.txt" for number in range(30)))
    assert reap("--dry-run").output.splitlines()[-2] == "    ... 11 more"


def test_only_one_storage() -> None:
    one, other = died("one"), died("other")
    result = reap("--storage", "one")
    assert (result.exit_code, list(one.iterdir())) == (0, [])
    assert [path.name for path in other.iterdir()] == ["a.txt"]
    assert "other" not in result.output


def test_only_what_is_old_enough() -> None:
    old, new = died("old"), died("new", process=Process.new())
    result = reap("--older-than", "1h")
    assert (result.exit_code, list(old.iterdir())) == (0, [])
    assert [path.name for path in new.iterdir()] == ["a.txt"]
    assert "  new " not in result.output


def test_journals_are_found_from_below_a_project() -> None:
    root = died()
    below = Path("tests/boot")
    below.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(below)
        assert reap().exit_code == 0
    assert list(root.iterdir()) == []


def test_journals_of_runs_without_a_cache_are_found() -> None:
    root = died(place=str(private_directory()))
    assert reap().exit_code == 0
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("area", [(), ("pytest-opendal/r/gw0",)])
def test_what_other_projects_left_without_a_cache_is_named_and_fails_nothing(
    area: tuple[str, ...],
) -> None:
    """Their runs share the private directory; nobody here knows how to reach their storages."""
    Path("lab.yaml").write_text("scheme: fs\nkwargs: {root: sdcard}\n", encoding="utf-8")
    private = private_directory()
    root = died(place=str(private))
    journal = Journal(private, HOUR_AGO, "theirs", "2026-01-31T11:00:00+00:00")
    identity = {"scheme": "s3", "bucket": "theirs"}
    ledger = journal.new_ledger(Opened("lab", identity, "t", "main", "", "none", "created"))
    ledger.note(*(("+", name, "tree", False) for name in area or ("a.txt", "b.txt")))
    journal.close()
    dry = reap("lab.yaml", "--dry-run")
    assert (dry.exit_code, "would leave alone" in dry.output) == (0, True)
    result = reap("lab.yaml")
    assert result.exit_code == 0
    assert list(root.iterdir()) == []
    count = "1 resource" if area else "2 resources"
    assert f"  lab (s3, s3://theirs): left alone {count}" in result.output
    assert "no storage of the configuration is that place" in result.output
    assert result.output.splitlines()[-1] == "nothing is left but that of other projects"
    assert reap().exit_code == 1


def test_other_places_for_journals_are_given() -> None:
    here, there = died("here"), died("there", place="elsewhere")
    assert reap("--journal-dir", "elsewhere").exit_code == 0
    assert list(there.iterdir()) == []
    assert [path.name for path in here.iterdir()] == ["a.txt"]


def test_the_configuration_comes_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("lab.yaml").write_text("scheme: fs\nkwargs: {root: x}\n", encoding="utf-8")
    monkeypatch.setenv("OPENDAL_CONFIG", "lab.yaml")
    assert "there is no storage 'y'" in reap("--storage", "y").output


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--older-than", "24"), "--older-than: '24' is no age; write one such as 30m, 24h or 7d"),
        (("--older-than", "-1h"), "--older-than: '-1h' is no age"),
        (("--older-than", "0s"), "--older-than: '0s' is no age"),
        (("missing.yaml",), "missing.yaml: no such file"),
        (("--storage", "sdcrd"), "no run that died left anything on a storage 'sdcrd'"),
        (("lab.yaml", "--storage", "sdcrd"), "did you mean 'sdcard'?"),
        (("--journal-dir", "missing"), "--journal-dir: missing is no directory"),
    ],
)
def test_a_mistake_is_told_in_one_line(args: tuple[str, ...], words: str) -> None:
    entry = {"scheme": "fs", "kwargs": {"root": "sdcard"}}
    Path("lab.yaml").write_text(json.dumps({"storages": {"sdcard": entry}}), encoding="utf-8")
    root = died()
    result = reap(*args)
    assert result.exit_code == 2
    assert words in result.output
    assert len(result.output.splitlines()) == 1
    assert [path.name for path in root.iterdir()] == ["a.txt"]


def test_a_damaged_journal_is_told_and_the_others_are_reaped() -> None:
    root = died()
    damaged = Path(".pytest_cache/opendal", "20260101T000000-ffffff-main.journal")
    damaged.write_text("rubbish\n", encoding="utf-8")
    damaged.with_suffix(".lock").touch()
    damaged.chmod(0o600)
    result = reap()
    assert result.exit_code == 1
    assert f"{damaged.absolute()}: not a journal of pytest-opendal, left alone" in result.output
    assert list(root.iterdir()) == []
    assert damaged.exists()
