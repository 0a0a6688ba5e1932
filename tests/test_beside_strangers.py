"""What a test and a stranger did to one storage when something was lost or left, one case each.

`test_others_data` found them; `neighbours` says what holds in general.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_opendal import errors
from pytest_opendal.recovery import Recovery
from pytest_opendal.report import Collector, Reason

from contract import lab_of

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_opendal.report import Leftover
    from pytest_opendal.run import Held

    from contract import Lab


def end(lab: Lab, held: Held) -> tuple[Leftover, ...]:
    """End test and run, and return what is told."""
    collector = Collector(lab.process.run_id)
    for note in (lab.end(held), *lab.run.finish()):
        collector.add(note)
    Recovery(lab.run, [held.settings], collector).retry_directories()
    return collector.leftovers()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A local file to upload."""
    file = tmp_path / "image"
    file.write_bytes(b"image")
    return file


def test_a_file_in_the_place_of_our_directory_stays(plain_lab: Lab) -> None:
    plain_lab.need("create_dir")
    held = plain_lab.hold()
    held.storage.write_bytes("a/b", b"ours")
    held.storage.remove_all("a")
    held.storage.register_path("a/b")
    plain_lab.stranger.write("a")
    assert end(plain_lab, held) == ()
    assert plain_lab.stranger.everything() == {"a": b"theirs"}


def test_a_directory_in_the_place_of_our_file_stays(plain_lab: Lab) -> None:
    plain_lab.need("create_dir")
    held = plain_lab.hold()
    held.storage.write_bytes("a", b"ours")
    plain_lab.stranger.delete("a")
    plain_lab.stranger.write("a/b")
    assert end(plain_lab, held) == ()
    assert plain_lab.stranger.read("a/b") == b"theirs"


def test_what_a_device_writes_goes_be_it_file_or_directory(plain_lab: Lab) -> None:
    plain_lab.need("create_dir")
    held = plain_lab.hold()
    held.storage.register_path("log/")
    plain_lab.stranger.write("log")
    assert end(plain_lab, held) == ()
    assert plain_lab.stranger.everything() == {}


def test_a_path_may_be_registered_as_file_and_then_as_directory(fs_lab: Lab) -> None:
    held = fs_lab.hold()
    held.storage.register_path("log")
    held.storage.register_path("log/")
    fs_lab.stranger.write("log/boot.txt")
    assert end(fs_lab, held) == ()
    assert fs_lab.stranger.everything() == {}


def test_a_file_is_not_registered_as_a_directory(plain_lab: Lab) -> None:
    plain_lab.need("list")
    plain_lab.stranger.write("log")
    held = plain_lab.hold()
    with pytest.raises(errors.NotADirectory, match="'log/': is a file"):
        held.storage.register_path("log/")
    assert end(plain_lab, held) == ()
    assert plain_lab.stranger.everything() == {"log": b"theirs"}


def test_a_directory_that_a_stranger_removed_is_ours_when_a_write_makes_it(fs_lab: Lab) -> None:
    fs_lab.stranger.create_dir("theirs/")
    held = fs_lab.hold()
    held.storage.write_bytes("theirs/f", b"ours")
    held.storage.delete("theirs/f")
    fs_lab.stranger.delete("theirs/")
    held.storage.write_bytes("theirs/f", b"ours")
    assert end(fs_lab, held) == ()
    assert fs_lab.stranger.everything() == {}


# -- what all workers share, and what several storage objects have


@pytest.mark.parametrize("on_existing", ["created", "keep", "restore", "refuse"])
@pytest.mark.parametrize("way", ["rename", "rename above", "rename over", "delete", "delete/"])
def test_what_a_test_does_to_what_it_ensured(
    fs_lab: Lab, image: Path, way: str, on_existing: str
) -> None:
    held = fs_lab.hold(on_existing=on_existing)
    storage = held.storage
    storage.ensure("d/image", image)
    if way == "rename":
        storage.rename("d/image", "elsewhere")
    elif way == "rename above":
        storage.rename("d", "e")
    elif way == "rename over":
        storage.write_bytes("new", b"ours")
        if on_existing == "refuse":
            storage.delete("d/image")
        storage.rename("new", "d/image")
    else:
        storage.delete("d/image" + way.removeprefix("delete"))
    assert end(fs_lab, held) == ()
    assert fs_lab.stranger.everything() == {}


def test_a_stranger_has_the_place_of_what_was_ensured_and_deleted(
    plain_lab: Lab, image: Path
) -> None:
    held = plain_lab.hold()
    held.storage.ensure("image", image)
    held.storage.delete("image")
    plain_lab.stranger.write("image")
    assert end(plain_lab, held) == ()
    assert plain_lab.stranger.read("image") == b"theirs"


def test_a_session_follows_what_a_test_does_to_its_files(fs_lab: Lab) -> None:
    session, test = fs_lab.hold("session"), fs_lab.hold("test")
    session.storage.write_bytes("d/f", b"ours")
    test.storage.rename("d", "e")
    assert fs_lab.end(test).leftovers == ()
    assert session.storage.get_created_resources() == {"e", "e/f"}
    assert end(fs_lab, session) == ()
    assert fs_lab.stranger.everything() == {}


def test_a_rename_that_failed_changes_no_record(fs_lab: Lab) -> None:
    session, test = fs_lab.hold("session"), fs_lab.hold("test")
    session.storage.write_bytes("f", b"ours")
    fs_lab.stranger.write("file")
    with pytest.raises(errors.NotADirectory):
        test.storage.rename("f", "file/f")
    assert session.storage.get_created_resources() == {"f"}
    assert test.storage.get_created_resources() == set()


# -- restore


def test_restore_leaves_what_a_stranger_wrote_where_the_test_removed(plain_lab: Lab) -> None:
    plain_lab.stranger.write("f", b"old")
    held = plain_lab.hold(on_existing="restore")
    held.storage.delete("f")
    plain_lab.stranger.write("f", b"new")
    assert end(plain_lab, held) == ()
    assert plain_lab.stranger.read("f") == b"new"


def test_restore_puts_back_the_newest_foreign_content(plain_lab: Lab) -> None:
    plain_lab.stranger.write("f", b"old")
    held = plain_lab.hold(on_existing="restore")
    held.storage.delete("f")
    plain_lab.stranger.write("f", b"new")
    held.storage.write_bytes("f", b"ours")
    assert end(plain_lab, held) == ()
    assert plain_lab.stranger.read("f") == b"new"


def test_restore_tells_of_a_directory_in_the_place_of_a_file(fs_lab: Lab) -> None:
    fs_lab.stranger.write("f", b"old")
    held = fs_lab.hold(on_existing="restore")
    held.storage.delete("f")
    fs_lab.stranger.write("f/g")
    (left,) = end(fs_lab, held)
    assert (left.path, left.reason) == ("f", Reason.FAILED)
    assert left.error is not None
    assert "something else is there now; the old content is kept" in left.error
    assert fs_lab.stranger.read("f/g") == b"theirs"


def test_restore_forgets_what_a_failed_rename_did_not_write_over(fs_lab: Lab) -> None:
    fs_lab.stranger.write("f", b"old")
    fs_lab.stranger.create_dir("d/")
    held = fs_lab.hold(on_existing="restore")
    with pytest.raises(errors.StorageError):
        held.storage.rename("d", "f")
    fs_lab.stranger.write("f", b"new")
    assert end(fs_lab, held) == ()
    assert fs_lab.stranger.read("f") == b"new"


def test_restore_moves_back_what_a_stranger_put_into_our_directory(fs_lab: Lab) -> None:
    held = fs_lab.hold(on_existing="restore")
    held.storage.write_bytes("d/mine", b"ours")
    fs_lab.stranger.write("d/theirs")
    held.storage.rename("d", "e")
    end(fs_lab, held)
    assert fs_lab.stranger.everything() == {"d/": None, "d/theirs": b"theirs"}


def test_restore_of_an_empty_directory_outlives_the_end_of_the_run(fs_lab: Lab) -> None:
    fs_lab.stranger.create_dir("d/")
    held = fs_lab.hold(on_existing="restore")
    held.storage.delete("d/")
    held.storage.write_bytes("d/f", b"ours")
    assert end(fs_lab, held) == ()
    assert fs_lab.stranger.everything() == {"d/": None}


def test_restore_after_something_moved_was_deleted(fs_lab: Lab) -> None:
    fs_lab.stranger.write("a", b"a")
    fs_lab.stranger.write("b", b"b")
    before = fs_lab.stranger.everything()
    held = fs_lab.hold(on_existing="restore")
    held.storage.rename("a", "b")
    held.storage.delete("b")
    assert end(fs_lab, held) == ()
    assert fs_lab.stranger.everything() == before


def test_restore_and_ensure_in_one_place(fs_lab: Lab, image: Path) -> None:
    fs_lab.stranger.write("f", b"old")
    held = fs_lab.hold(on_existing="restore")
    held.storage.delete("f")
    held.storage.ensure("f", image)
    assert end(fs_lab, held) == ()
    assert fs_lab.stranger.everything() == {"f": b"old"}


@pytest.mark.parametrize(("way", "path"), [("remove_all", "d"), ("delete", "d/")])
def test_restore_of_an_empty_directory_with_the_name_of_our_file(
    request: pytest.FixtureRequest, tmp_path: Path, way: str, path: str
) -> None:
    with lab_of("moto", request, tmp_path) as lab:
        lab.stranger.create_dir("d/")
        held = lab.hold(on_existing="restore")
        held.storage.write_bytes("d", b"ours")
        getattr(held.storage, way)(path)
        assert end(lab, held) == ()
        assert lab.stranger.everything() == {"d/": None}


def test_what_was_ensured_in_a_directory_of_a_test_takes_the_directory_along(
    fs_lab: Lab, image: Path
) -> None:
    held = fs_lab.hold()
    held.storage.create_dir("d/")
    held.storage.ensure("d/image", image)
    fs_lab.end(held)
    assert [record.created.get("d") for record in fs_lab.replayed()], "a reap would remove it"
    fs_lab.finish()
    assert fs_lab.stranger.everything() == {}


def test_a_service_that_cannot_rename_is_not_asked(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with lab_of("moto", request, tmp_path) as lab:
        held = lab.hold()
        held.storage.write_bytes("f", b"ours")
        with pytest.raises(errors.Unsupported, match="lab: rename 'f': the service cannot rename"):
            held.storage.rename("f", "g")
        assert lab.replayed()[0].at("g") == []


def test_a_file_is_not_what_a_directory_of_its_name_means(plain_lab: Lab, image: Path) -> None:
    plain_lab.need("list")
    held = plain_lab.hold(on_existing="restore")
    held.storage.ensure("f", image)
    held.storage.remove_all("f/")
    assert held.storage.exists("f")
    assert end(plain_lab, held) == ()
    assert plain_lab.stranger.everything() == {}


def test_restore_gives_up_what_was_ensured_for_a_stranger(plain_lab: Lab, image: Path) -> None:
    held = plain_lab.hold(on_existing="restore")
    held.storage.ensure("f", image)
    held.storage.delete("f")
    plain_lab.stranger.write("f")
    assert end(plain_lab, held) == ()
    assert plain_lab.stranger.read("f") == b"theirs"
