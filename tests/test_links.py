"""Links in a root are followed to read and write, and never to remove: what they lead to stays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_opendal import errors
from pytest_opendal.reap import Reaper
from pytest_opendal.remnants import find

from contract import HAS_JUMPSTARTER, Lab, lab_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_opendal.run import Held
    from pytest_opendal.storage import Storage

OUTSIDE = {"file": b"theirs", "in": b"theirs too", "sub/deep": b"far"}


class Place:
    """A root with the links ``file``, ``dir`` and ``gone``, and what they lead to outside of it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.outside = lab.tmp / "outside"
        for name, content in OUTSIDE.items():
            (self.outside / name).parent.mkdir(parents=True, exist_ok=True)
            (self.outside / name).write_bytes(content)
        self.held: Held = lab.hold()
        self.storage: Storage = self.held.storage
        self.storage.write_bytes("d/ours", b"ours")
        self.base = Path(lab.kwargs["root"]) / lab.area

    def link(self, *names: str) -> None:
        """Put links to a file, a directory and nothing beside ``names``' directory."""
        for name in names:
            leads = {"file": "file", "dir": "", "gone": "nothing"}[name.rpartition("/")[2]]
            (self.base / name).symlink_to(self.outside / leads)

    def stands(self, name: str) -> bool:
        """Whether the link is still there."""
        return (self.base / name).is_symlink()

    def untouched(self) -> bool:
        """Whether all that the links lead to is as it was."""
        found = {
            path.relative_to(self.outside).as_posix(): path.read_bytes()
            for path in self.outside.rglob("*")
            if path.is_file()
        }
        return found == OUTSIDE


def _place(kind: str, request: pytest.FixtureRequest, tmp: Path) -> Iterator[Place]:
    kind, _, way = kind.partition("-")
    with lab_of(kind, request, tmp, "test" if way == "area" else "none") as lab:
        place = Place(lab)
        if way == "slow":  # as on a file system of another machine
            lab.run.connection(place.held.settings).backend._quick = None  # type: ignore[attr-defined]
        yield place


@pytest.fixture(params=["fs", "fs-slow", "fs-area"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from _place(request.param, request, tmp_path)


@pytest.fixture(params=["fs", "fs-slow"])
def literal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from _place(request.param, request, tmp_path)


@pytest.fixture
def area(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from _place("fs-area", request, tmp_path)


@pytest.fixture(params=["exporter_fs", "exporter_fs-area"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if not HAS_JUMPSTARTER:
        pytest.skip("the exporter's driver is not installed")
    yield from _place(request.param, request, tmp_path)


@pytest.mark.parametrize("link", ["file", "dir", "gone", "d/dir", "d/gone"])
@pytest.mark.parametrize("method", ["delete", "remove_all"])
def test_removing_a_link_removes_the_link_only(place: Place, link: str, method: str) -> None:
    place.link(link)
    getattr(place.storage, method)(link)
    assert not place.stands(link)
    assert place.untouched()


@pytest.mark.parametrize("method", ["delete", "remove_all"])
def test_a_link_to_a_directory_may_have_its_slash(place: Place, method: str) -> None:
    place.link("dir", "file")
    getattr(place.storage, method)("dir/")
    getattr(place.storage, method)("file/")
    assert not place.stands("dir")
    assert place.stands("file"), "of a directory of that name, there is none"
    assert place.untouched()


def test_a_tree_goes_with_the_links_in_it(place: Place) -> None:
    place.link("d/file", "d/dir", "d/gone")
    place.storage.remove_all("d")
    assert not (place.base / "d").exists()
    assert place.untouched()


REMOVALS: dict[str, Callable[[Storage], object]] = {
    "delete": lambda storage: storage.delete("dir/in"),
    "delete of a directory": lambda storage: storage.delete("dir/sub/"),
    "remove_all": lambda storage: storage.remove_all("dir/sub"),
    "remove_all of a file": lambda storage: storage.remove_all("dir/in"),
}


@pytest.mark.parametrize("way", REMOVALS)
def test_nothing_is_removed_through_a_link(place: Place, way: str) -> None:
    place.link("dir")
    with pytest.raises(errors.StorageError, match="nothing is removed through|is not empty"):
        REMOVALS[way](place.storage)
    assert place.untouched()


def test_nothing_is_moved_away_through_a_link(place: Place) -> None:
    place.link("dir")
    for source in ("dir/in", "dir/sub"):
        with pytest.raises(errors.PathEscape, match="nothing is moved away through a link"):
            place.storage.rename(source, "mine")
    assert place.untouched()


def test_a_link_itself_can_be_moved(place: Place) -> None:
    place.link("dir")
    place.storage.rename("dir", "moved")
    assert place.stands("moved")
    assert place.untouched()


@pytest.mark.parametrize("size", [4, 20 << 20], ids=["small", "large"])
def test_a_file_is_not_copied_onto_itself_through_a_link(literal: Place, size: int) -> None:
    """It would be emptied before it is read."""
    theirs = literal.base / "theirs"
    theirs.write_bytes(b"x" * size)
    (literal.base / "link").symlink_to("theirs")
    for source, target in (("theirs", "link"), ("link", "theirs")):
        with pytest.raises(errors.IsSameFile, match="are the same file"):
            literal.storage.copy(source, target)
    for write in (literal.storage.write_from_path, literal.storage.ensure):
        with pytest.raises(errors.IsSameFile, match="nothing was written"):
            write("link", theirs)
    assert theirs.read_bytes() == b"x" * size


def test_reading_follows_links(place: Place) -> None:
    place.link("file", "dir")
    assert place.storage.read_bytes("file") == b"theirs"
    assert place.storage.read_bytes("dir/sub/deep") == b"far"
    place.storage.copy("dir/sub", "copied")
    assert place.storage.read_bytes("copied/deep") == b"far"


def test_what_is_written_through_a_link_stays_and_is_told(literal: Place) -> None:
    literal.link("dir")
    literal.storage.write_bytes("dir/new", b"ours")
    assert (literal.outside / "new").read_bytes() == b"ours"
    note = literal.lab.end(literal.held)
    told = {left.path: left.error or "" for left in note.leftovers}
    assert "the link 'dir' leads there, and nothing is removed through" in told["dir/new"]
    assert literal.stands("dir")
    assert (literal.outside / "new").exists()


def test_of_a_link_that_was_written_over_the_link_goes(literal: Place) -> None:
    literal.link("file")
    literal.storage.write_bytes("file", b"ours")
    assert (literal.outside / "file").read_bytes() == b"ours"
    literal.lab.end(literal.held)
    assert not literal.stands("file")
    assert (literal.outside / "file").read_bytes() == b"ours"


def test_no_file_is_made_where_a_link_leads_nowhere(place: Place) -> None:
    place.link("gone")
    with pytest.raises(errors.PathEscape, match="leads nowhere|out of the isolation area"):
        place.storage.write_bytes("gone", b"x")
    assert place.stands("gone")
    assert place.untouched()


WRITES: dict[str, Callable[[Storage], object]] = {
    "write_bytes": lambda storage: storage.write_bytes("dir/new", b"x"),
    "write_bytes to a link": lambda storage: storage.write_bytes("file", b"x"),
    "create_dir": lambda storage: storage.create_dir("dir/new"),
    "copy": lambda storage: storage.copy("d/ours", "dir/new"),
    "rename": lambda storage: storage.rename("d/ours", "dir/new"),
    "open": lambda storage: storage.open("dir/new", "wb"),
}


@pytest.mark.parametrize("way", WRITES)
def test_nothing_is_written_out_of_an_area(area: Place, way: str) -> None:
    """What is in an area goes with it, and what is elsewhere would stay without a word."""
    area.link("dir", "file")
    with pytest.raises(errors.PathEscape, match="leads out of the isolation area"):
        WRITES[way](area.storage)
    assert area.untouched()


def test_the_end_of_a_test_follows_no_link(place: Place) -> None:
    place.storage.register_path("tree/")
    (place.base / "tree").mkdir()
    place.link("d/dir", "d/file", "d/gone", "tree/dir", "tree/gone")
    place.lab.end(place.held)
    assert not (place.base / "tree").exists()
    assert place.untouched()


def test_an_area_goes_with_the_links_in_it(area: Place) -> None:
    area.link("dir", "d/file", "d/gone")
    assert not area.lab.end(area.held).leftovers
    assert not area.base.exists()
    assert area.untouched()


def test_a_directory_that_became_a_link_is_not_followed(literal: Place) -> None:
    literal.storage.write_bytes("made/in", b"ours")
    (literal.base / "made/in").unlink()
    (literal.base / "made").rmdir()
    (literal.base / "made").symlink_to(literal.outside)
    literal.lab.end(literal.held)
    assert literal.untouched()


def test_a_reap_follows_no_link(literal: Place) -> None:
    """Somebody replaced the directories of a run that died by links."""
    literal.storage.write_bytes("made/in", b"ours")
    literal.storage.register_path("sub/")
    literal.storage.write_bytes("sub/x", b"ours")
    literal.lab.run.journal.close()
    for name in ("made", "sub"):
        for path in (literal.base / name).iterdir():
            path.unlink()
        (literal.base / name).rmdir()
        (literal.base / name).symlink_to(literal.outside)
    run = literal.lab.new_run()
    try:
        Reaper(run, [literal.lab.settings()]).reap(find([literal.lab.tmp / "journals"]).remnants)
    finally:
        run.close()
    assert literal.untouched()


def test_a_link_that_could_not_be_put_back_is_not_removed(literal: Place) -> None:
    storage = literal.lab.open(on_existing="restore")
    literal.link("dir", "file")
    for remove in (storage.delete, storage.remove_all):
        for link in ("dir", "file"):
            with pytest.raises(errors.Unsupported, match="is a link, which on_existing: restore"):
                remove(link)
    assert literal.stands("dir")
    assert literal.stands("file")


@pytest.mark.parametrize("path", ["dir", "dir/", "dir/sub", "dir/sub/"])
def test_an_exporter_is_not_asked_to_follow_a_link(remote: Place, path: str) -> None:
    remote.link("dir")
    with pytest.raises(errors.PathEscape, match="nothing is removed through a link"):
        remote.storage.remove_all(path)
    assert remote.untouched()


def test_an_exporter_deletes_nothing_through_a_link(remote: Place) -> None:
    remote.link("dir")
    with pytest.raises(errors.PathEscape, match="nothing is removed through a link"):
        remote.storage.delete("dir/in")
    assert remote.untouched()


def test_links_that_an_exporter_cannot_remove_are_told(remote: Place) -> None:
    """OpenDAL 0.45 there stops at a link to a directory; it is said what is left."""
    remote.link("d/dir")
    note = remote.lab.end(remote.held)
    assert remote.untouched()
    assert remote.stands("d/dir")
    assert note.leftovers


def test_a_copy_onto_a_hard_link_of_the_source_parts_them(literal: Place) -> None:
    theirs = literal.base / "theirs"
    theirs.write_bytes(b"theirs")
    (literal.base / "twin").hardlink_to(theirs)
    literal.storage.copy("theirs", "twin")
    assert theirs.read_bytes() == (literal.base / "twin").read_bytes() == b"theirs"
    assert theirs.stat().st_nlink == 1


def test_a_file_is_not_copied_onto_itself_through_a_linked_directory(literal: Place) -> None:
    (literal.base / "real").mkdir()
    (literal.base / "real" / "x").write_bytes(b"theirs")
    (literal.base / "alias").symlink_to("real")
    before = (literal.base / "real" / "x").stat().st_ino
    for source, target in (("real/x", "alias/x"), ("alias/x", "real/x")):
        with pytest.raises(errors.IsSameFile, match="are the same file"):
            literal.storage.copy(source, target)
    assert (literal.base / "real" / "x").stat().st_ino == before
