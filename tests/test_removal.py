"""Removing a directory of this machine: all of it, nothing beside it, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_opendal import errors
from pytest_opendal.backends import local, removal
from pytest_opendal.backends.quick import MOST_ENTRIES
from pytest_opendal.backends.removal import remove_tree

from contract import lab_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from contract import Lab


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with files in directories, beside one with a longer name."""
    place = tmp_path / "tree"
    for name in ("a", "d/a", "d/e/a", "d/empty/"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).mkdir() if name.endswith("/") else (place / name).write_bytes(b"ours")
    (tmp_path / "tree2").mkdir()
    (tmp_path / "tree2" / "theirs").write_bytes(b"theirs")
    return place


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], object]]]:
    """What others do, each before one more file is removed."""
    deeds: list[Callable[[], object]] = []
    unlink = removal._remove_file

    def interrupted(name: str, place: int) -> None:
        if deeds:
            deeds.pop(0)()
        unlink(name, place)

    monkeypatch.setattr(removal, "_remove_file", interrupted)
    yield deeds
    assert not deeds, "nobody came to do it"


def _beside(tree: Path) -> list[str]:
    return sorted(os.listdir(tree.parent))


def test_all_of_a_directory_goes_and_nothing_beside_it(tree: Path) -> None:
    os.mkfifo(tree / "d" / "pipe")
    (tree / "d" / "link").symlink_to("../../tree2")
    (tree / "d" / "gone").symlink_to("nowhere")
    os.link(tree.parent / "tree2" / "theirs", tree / "same file")
    remove_tree(str(tree))
    assert _beside(tree) == ["tree2"]
    assert (tree.parent / "tree2" / "theirs").read_bytes() == b"theirs"


@pytest.mark.parametrize("name", [b"\xff", b" ", b"d /x", b"new\nline"], ids=repr)
def test_names_that_no_storage_would_take(tree: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.path.join(os.fsencode(tree), name)))  # noqa: PTH118
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    remove_tree(str(tree))
    assert _beside(tree) == ["tree2"]


def test_what_a_link_leads_to_is_not_even_looked_at(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may not be readable, or be a mount that takes its time."""
    (tree / "d" / "link").symlink_to(tree.parent / "tree2")
    opened: list[object] = []
    at_first = os.open

    def noted(name: Any, *args: Any, **keys: Any) -> int:
        opened.append(name)
        return at_first(name, *args, **keys)

    monkeypatch.setattr(os, "open", noted)
    remove_tree(str(tree))
    assert sorted(map(str, opened)) == sorted([str(tree), "d", "e", "empty"])


@pytest.mark.parametrize("name", ["empty", "e"])
def test_a_directory_that_cannot_be_read_goes_when_it_is_empty(
    tree: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Root can read all, so the refusal is made up."""
    at_first = os.open

    def refused(opened: Any, *args: Any, **keys: Any) -> int:
        if opened == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), opened)
        return at_first(opened, *args, **keys)

    monkeypatch.setattr(os, "open", refused)
    if name == "empty":
        remove_tree(str(tree))
        assert _beside(tree) == ["tree2"]
    else:
        with pytest.raises(PermissionError):
            remove_tree(str(tree))
        assert (tree / "d" / "e" / "a").exists()


def test_a_deep_tree(tree: Path) -> None:
    deep = Path(tree, *(["x"] * 900))
    deep.mkdir(parents=True)
    (deep / "f").write_bytes(b"x")
    remove_tree(str(tree))
    assert _beside(tree) == ["tree2"]


def test_what_is_mounted_in_it_stays(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precious = tree / "mnt" / "precious"
    precious.parent.mkdir()
    precious.touch()
    fstat = os.fstat

    def of_another_disk(place: int) -> os.stat_result:
        found = fstat(place)
        is_mounted = Path(f"/proc/self/fd/{place}").readlink().name == "mnt"
        return os.stat_result((*found[:2], found.st_dev + is_mounted, *found[3:10]))

    monkeypatch.setattr(os, "fstat", of_another_disk)
    with pytest.raises(OSError, match="busy"):
        remove_tree(str(tree))
    assert precious.exists()


def test_a_missing_directory_is_no_error(tree: Path) -> None:
    remove_tree(str(tree / "missing"))
    assert _beside(tree) == ["tree", "tree2"]


def test_others_may_remove_from_it_too(tree: Path, meanwhile: list[Callable[[], object]]) -> None:
    meanwhile.append((tree / "d" / "e" / "a").unlink)
    meanwhile.append((tree / "d" / "empty").rmdir)
    remove_tree(str(tree))
    assert _beside(tree) == ["tree2"]


def test_a_directory_that_becomes_a_link_is_not_followed(
    tree: Path, meanwhile: list[Callable[[], object]]
) -> None:
    """A link to another's directory, in the place of one that was ours a moment ago."""

    def swap() -> None:
        (tree / "d").rename(tree.parent / "away")
        (tree / "d").symlink_to(tree.parent / "tree2")

    meanwhile.append(swap)
    remove_tree(str(tree))
    assert (tree.parent / "tree2" / "theirs").read_bytes() == b"theirs"
    assert not tree.exists()


def test_what_others_put_into_it_meanwhile_is_an_error(
    tree: Path, meanwhile: list[Callable[[], object]]
) -> None:
    """Nothing is removed that nobody saw."""
    late = tree / "d" / "new"  # when `d` has been listed, and what is in `d/e` is removed
    meanwhile.extend([lambda: None, lambda: None, lambda: late.write_bytes(b"theirs")])
    with pytest.raises(OSError, match="not empty"):
        remove_tree(str(tree))
    assert late.read_bytes() == b"theirs"


def test_who_gives_up_leaves_the_rest(tree: Path, meanwhile: list[Callable[[], object]]) -> None:
    given_up = threading.Event()
    meanwhile.append(given_up.set)
    remove_tree(str(tree), given_up)
    left = [path for path in tree.rglob("*") if path.is_file()]
    assert len(left) == 2


# -- as part of a storage


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    with lab_of("fs", request, tmp_path, "none") as lab:
        yield lab


def _many(lab: Lab, count: int) -> Path:
    place = Path(lab.kwargs["root"]) / "d"
    place.mkdir(parents=True)
    for number in range(count):
        (place / f"f{number}").write_bytes(b"x")
    return place


@pytest.mark.parametrize("count", [1, MOST_ENTRIES + 1], ids=["at once", "on a thread"])
@pytest.mark.parametrize(
    ("number", "kind", "reason"),
    [
        (errno.EACCES, errors.PermissionDenied, "permission denied"),
        (errno.EBUSY, errors.StorageError, "device or resource busy"),
        (errno.EROFS, errors.StorageError, "read-only file system"),
    ],
)
def test_what_cannot_be_removed_is_told_with_its_reason(
    lab: Lab,
    count: int,
    number: int,
    kind: type[errors.StorageError],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that refuses; root is refused nothing."""
    place = _many(lab, count)

    def refuse(name: str, _place: int) -> None:
        raise OSError(number, os.strerror(number), f"{name} connection is a directory")

    monkeypatch.setattr(removal, "_remove_file", refuse)
    with pytest.raises(kind, match=f"^lab: remove_all 'd/': {reason}$") as caught:
        lab.open().remove_all("d")
    assert caught.type is kind, "a name says nothing of what went wrong"
    assert len(list(place.iterdir())) == count


def test_a_removal_past_its_time_goes_on_where_it_was(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow is no failure, and the removal that is given up ends."""
    place = _many(lab, 200)
    at_normal_speed, begun, ended = removal._remove_file, [], []

    def slowly(name: str, directory: int) -> None:
        threading.Event().wait(0.003)
        at_normal_speed(name, directory)

    def counted(directory: str, given_up: threading.Event) -> None:
        begun.append(directory)
        remove_tree(directory, given_up)
        ended.append(given_up.is_set())

    monkeypatch.setattr(removal, "_remove_file", slowly)
    monkeypatch.setattr(local, "remove_tree", counted)
    connection = lab.run.connection(lab.settings())
    connection.timeout = 0.2
    connection.backend._quick = None  # type: ignore[attr-defined]  # nothing at once
    lab.open().remove_all("d")
    assert not place.exists()
    assert len(begun) > 1, "it never came to its time limit"
    assert ended == [True] * (len(begun) - 1) + [False]
