"""What a storage object does, the same on every storage and on both lines of opendal.

``pytest -v`` of this file reads as a table: behaviour, and in brackets the storage, ``-area`` when
the test works in an isolation area.
"""

from __future__ import annotations

import hashlib
import http.server
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import opendal
import pytest

from pytest_opendal import errors
from pytest_opendal.run import UnclosedFileWarning

from contract import IS_045, KINDS, OPENDAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_opendal.files import Mode
    from pytest_opendal.storage import Storage

    from contract import Lab

# Larger than what a stream to WebDAV survives, and than one part of a multipart upload.
LARGE = bytes(range(251)) * 40_000
TAIL = b"the end"
NAMES = [
    "with space.bin",
    "percent%20.bin",
    "100%.bin",
    "hash#1.bin",
    "question?.bin",
    "plus+and&.bin",
    "Grüße-日本語-🙂.bin",
    "semi;colon:equals=.bin",
    "quote'and\".bin",
    "[brackets]{braces}.bin",
    "~tilde!at@.bin",
    "inner  spaces",
]
# Where an isolation area could make no difference: once for each storage.
literal_paths = pytest.mark.parametrize("lab", KINDS, indirect=True)

ESCAPES = ["..", "../x", "a/../../x", "/../x", "a\\..\\..\\x", "./../x", "a/b/../../..", "x/../../"]
CONTROLS = ["nul\0", "line\nfeed", "tab\t", "del\x7f", "csi\x9b", "sep\u2028", "half\ud800"]


# -- reading and writing


def test_what_is_written_is_read(storage: Storage) -> None:
    storage.write_bytes("boot/image.bin", b"content")
    assert storage.read_bytes("boot/image.bin") == b"content"


def test_an_empty_file_is_a_file(storage: Storage) -> None:
    storage.write_bytes("empty", b"")
    assert storage.read_bytes("empty") == b""
    assert storage.stat("empty").content_length == 0
    assert storage.stat("empty").mode.is_file()


def test_a_second_write_replaces_the_first(storage: Storage) -> None:
    storage.write_bytes("f", b"a longer first content")
    storage.write_bytes("f", b"second")
    assert storage.read_bytes("f") == b"second"


@literal_paths
@pytest.mark.parametrize("data", [bytearray(b"abc"), memoryview(b"abc"), "abc"])
def test_what_can_be_bytes_is_written(storage: Storage, data: bytes) -> None:
    storage.write_bytes("f", data)
    assert storage.read_bytes("f") == b"abc"


@literal_paths
def test_a_number_is_no_content(storage: Storage) -> None:
    with pytest.raises(TypeError):
        storage.write_bytes("f", 5)  # type: ignore[arg-type]
    assert not storage.exists("f")


@literal_paths
def test_a_file_larger_than_a_webdav_stream_or_a_part(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    storage.write_from_path("from-path", tmp_path / "large")
    with storage.open("opened", "wb") as file:
        for start in range(0, len(LARGE), 1 << 20):
            file.write(LARGE[start : start + (1 << 20)])
    storage.write_bytes("at-once", LARGE)
    for name in ("from-path", "opened", "at-once"):
        assert storage.read_bytes(name) == LARGE
    storage.read_into_path("opened", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == LARGE


@literal_paths
@pytest.mark.parametrize("name", NAMES)
def test_names_come_back_as_they_were_given(lab: Lab, storage: Storage, name: str) -> None:
    storage.write_bytes(f"d/{name}", b"x")
    assert storage.read_bytes(f"d/{name}") == b"x"
    assert storage.stat(f"d/{name}").content_length == 1
    assert f"d/{name}" in storage.get_created_resources()
    if not lab.lacks("list"):
        assert list(storage.list("d/")) == ["d/", f"d/{name}"]
    if lab.kind == "wsgidav" and not {"?", ";"}.isdisjoint(name):
        with pytest.raises(errors.Unsupported, match="may cut the target"):
            storage.copy(f"d/{name}", f"d/copy of {name}")
    elif not lab.lacks("copy"):
        storage.copy(f"d/{name}", f"d/copy of {name}")
        assert storage.read_bytes(f"d/copy of {name}") == b"x"
    storage.delete(f"d/{name}")
    assert not storage.exists(f"d/{name}")


@literal_paths
@pytest.mark.parametrize("name", NAMES)
def test_directories_may_have_any_name_too(lab: Lab, storage: Storage, name: str) -> None:
    lab.need("create_dir")
    storage.create_dir(f"{name}/sub/")
    storage.write_bytes(f"{name}/sub/file", b"x")
    assert sorted(storage.scan(name)) == [f"{name}/", f"{name}/sub/", f"{name}/sub/file"]
    storage.remove_all(name)
    assert not storage.exists(f"{name}/")


# -- ranges and conditions


@literal_paths
@pytest.mark.parametrize(
    ("offset", "size", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 4, b"3456"),
        (0, 4, b"0123"),
        (8, 100, b"89"),
        (10, None, b""),
        (10, 5, b""),
        (100, 5, b""),
        (0, 0, b""),
    ],
)
def test_a_range_means_what_a_slice_means(
    storage: Storage, offset: int, size: int | None, expected: bytes
) -> None:
    storage.write_bytes("f", b"0123456789")
    assert storage.read_bytes("f", offset=offset, size=size) == expected


def test_a_range_of_nothing_is_not_found(storage: Storage) -> None:
    with pytest.raises(errors.NotFound):
        storage.read_bytes("missing", offset=5)


@literal_paths
def test_a_negative_range_is_refused(storage: Storage) -> None:
    storage.write_bytes("f", b"0123456789")
    with pytest.raises(ValueError, match="offset"):
        storage.read_bytes("f", offset=-1)
    with pytest.raises(ValueError, match="size"):
        storage.read_bytes("f", size=-1)


def test_if_match_and_if_none_match(plain_lab: Lab) -> None:
    storage = plain_lab.open()
    storage.write_bytes("f", b"one")
    etag = storage.stat("f").etag or '"none"'
    if IS_045 and plain_lab.kind in {"seaweedfs", "moto"}:
        for read in (storage.read_bytes, storage.stat):
            with pytest.raises(errors.Unsupported, match=rf"0\.46 or newer.*{OPENDAL}"):
                read("f", if_match=etag)
        return
    if plain_lab.scheme != "s3" or plain_lab.is_remote:
        with pytest.raises(errors.Unsupported):
            storage.stat("f", if_match=etag)
        return
    assert storage.read_bytes("f", if_match=etag) == b"one"
    assert storage.stat("f", if_match=etag).content_length == 3
    assert storage.read_bytes("f", if_none_match='"other"') == b"one"
    with pytest.raises(errors.ConditionNotMatch):
        storage.read_bytes("f", if_match='"other"')
    with pytest.raises(errors.ConditionNotMatch):
        storage.read_bytes("f", offset=1, if_match='"other"')
    with pytest.raises(errors.ConditionNotMatch):
        storage.stat("f", if_none_match=etag)


OPTIONS = {
    "content_type": "text/x-log",
    "cache_control": "no-store",
    "content_disposition": "attachment",
    "user_metadata": {"board": "rpi4"},
}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_write_option_is_stored_or_refused(plain_lab: Lab, tmp_path: Path, option: str) -> None:
    storage = plain_lab.open()
    given = {option: OPTIONS[option]}
    (tmp_path / "src").write_bytes(LARGE)
    # opendal 0.45 stores this one on S3, and says that it cannot.
    undeclared = plain_lab.scheme == "s3" and option == "content_disposition"
    stores = getattr(storage.capability(), f"write_with_{option}") or undeclared
    if not stores or plain_lab.lacks("options"):
        with pytest.raises(errors.Unsupported, match=option):
            storage.write_bytes("f", b"x", **given)  # type: ignore[arg-type]
        with pytest.raises(errors.Unsupported, match=option):
            storage.write_from_path("f", tmp_path / "src", **given)  # type: ignore[arg-type]
        assert not storage.exists("f")
        assert storage.get_created_resources() == set()
        return
    if plain_lab.kind == "wsgidav":
        # It says so, and stores properties only when its administrator lets it.
        with pytest.raises(errors.StorageError, match="PROPPATCH.*403"):
            storage.write_bytes("f", b"x", **given)  # type: ignore[arg-type]
        assert plain_lab.stranger.everything() == {}
        assert storage.get_created_resources() == set()
        return
    storage.write_bytes("bytes", b"x", **given)  # type: ignore[arg-type]
    storage.write_from_path("path", tmp_path / "src", **given)  # type: ignore[arg-type]
    with storage.open("file", "wb", **given) as file:
        file.write(b"x")
    for name in ("bytes", "path", "file"):
        if plain_lab.scheme == "s3" or option != "cache_control":
            assert _stored(storage, name, option) == OPTIONS[option]


def _stored(storage: Storage, name: str, option: str) -> object:
    if option == "cache_control":
        # opendal for Python does not report this one.
        signed = storage.presign_stat(name, 60)
        request = urllib.request.Request(signed.url, method=signed.method)  # noqa: S310
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return answer.headers["Cache-Control"]
    return getattr(storage.stat(name), option)


def test_options_of_newer_opendal_name_the_version(s3_lab: Lab) -> None:
    if not IS_045:
        pytest.skip("this opendal has them")
    storage = s3_lab.open()
    with pytest.raises(errors.Unsupported, match=rf"user_metadata needs opendal 0\.46 .*{OPENDAL}"):
        storage.write_bytes("f", b"x", user_metadata={"a": "b"})
    with pytest.raises(errors.Unsupported, match=rf"if_not_exists needs opendal 0\.46 .*{OPENDAL}"):
        storage.write_bytes("f", b"x", if_not_exists=True)
    assert storage.get_created_resources() == set()


def test_if_not_exists_spares_what_is_there(plain_lab: Lab) -> None:
    storage = plain_lab.open()
    plain_lab.stranger.write("theirs")
    if not storage.capability().write_with_if_not_exists:
        with pytest.raises(errors.Unsupported, match="if_not_exists"):
            storage.write_bytes("theirs", b"x", if_not_exists=True)
    else:
        with pytest.raises((errors.ConditionNotMatch, errors.AlreadyExists)):
            storage.write_bytes("theirs", b"x", if_not_exists=True)
        storage.write_bytes("mine", b"x", if_not_exists=True)
        assert storage.get_created_resources() == {"mine"}
    assert plain_lab.stranger.read("theirs") == b"theirs"


# -- open files


@literal_paths
def test_reading_by_lines_and_iteration(storage: Storage) -> None:
    storage.write_bytes("log", b"one\ntwo\nthree")
    with storage.open("log", "rb") as file:
        assert file.readline() == b"one\n"
        assert list(file) == [b"two\n", b"three"]
        assert file.read() == b""


@literal_paths
def test_text_modes_are_utf8_and_keep_line_ends(storage: Storage) -> None:
    with storage.open("log", "w") as file:
        assert file.write("grün\r\n") == 6
        file.write("zwei\n")
    assert storage.read_bytes("log") == "grün\r\nzwei\n".encode()
    with storage.open("log", "r") as file:
        assert list(file) == ["grün\r\n", "zwei\n"]


@literal_paths
def test_positions_are_right_after_a_carriage_return(storage: Storage, tmp_path: Path) -> None:
    """As a serial console writes them."""
    storage.write_bytes("log", b"one\rtwo\r\nthree\r")
    with storage.open("log", "r") as file:
        assert file.read(4) == "one\r"
        assert file.tell() == 4
        assert file.readline() == "two\r\n"
        assert file.tell() == 9
        assert file.seek(-1, 1) == 8
        file.read_into_path(tmp_path / "rest")
    assert (tmp_path / "rest").read_bytes() == b"\nthree\r"


@literal_paths
@pytest.mark.parametrize("mode", ["rb", "r"])
def test_seek_and_tell_count_bytes(storage: Storage, mode: str) -> None:
    content = "0123456789äöü\nabc\n" * 3000
    data = content.encode()
    storage.write_bytes("f", data)
    with storage.open("f", mode) as file:  # type: ignore[arg-type]
        assert file.tell() == 0
        first = file.read(5)
        assert first in (b"01234", "01234")
        assert file.tell() == 5
        assert file.seek(2) == 2
        assert file.read(3) in (b"234", "234")
        assert file.seek(1, 1) == 6
        assert file.read(1) in (b"6", "6")
        assert file.seek(-4, 2) == len(data) - 4
        assert file.read() in (b"abc\n", "abc\n")
        assert file.tell() == len(data)
        assert file.seek(0) == 0
        assert file.read() in (data, content)


@literal_paths
def test_reading_in_pieces_is_reading_at_once(storage: Storage) -> None:
    storage.write_bytes("f", LARGE)
    with storage.open("f", "rb") as file:
        pieces = [file.read(999_983) for _ in range(12)]
    assert b"".join(pieces) == LARGE


def test_an_open_file_tells_what_it_can(storage: Storage) -> None:
    with storage.open("f", "wb") as file:
        told = (file.readable(), file.writable(), file.seekable(), file.closed)
        assert told == (False, True, False, False)
        assert file.tell() == 0
        file.write(b"abc")
        assert file.tell() == 3
        with pytest.raises(OSError, match="cannot read"):
            file.read()
        with pytest.raises(OSError, match="cannot seek"):
            file.seek(0)
    assert file.closed
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")
    with storage.open("f", "rb") as file:
        assert (file.readable(), file.writable(), file.seekable()) == (True, False, True)
        with pytest.raises(OSError, match="cannot write"):
            file.write(b"x")
    assert file.closed


@pytest.mark.parametrize("mode", ["rb", "r"])
def test_opening_what_is_missing_fails_at_once(storage: Storage, mode: str) -> None:
    with pytest.raises(errors.NotFound, match="missing"):
        storage.open("missing", mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["rb", "wb", "ab", "r", "w", "a"])
def test_a_directory_cannot_be_opened(lab: Lab, storage: Storage, mode: str) -> None:
    with pytest.raises((errors.IsADirectory, errors.Unsupported)):
        storage.open("d/", mode)  # type: ignore[arg-type]
    if lab.has_directories:
        storage.create_dir("d/")
        with pytest.raises((errors.IsADirectory, errors.Unsupported)):
            storage.open("d", mode).close()  # type: ignore[arg-type]
        assert storage.stat("d").mode.is_dir()


@literal_paths
def test_modes_are_those_six(storage: Storage) -> None:
    with pytest.raises(ValueError, match="rb, wb, ab, r, w, a"):
        storage.open("f", "r+")  # type: ignore[arg-type]


@literal_paths
@pytest.mark.parametrize(
    ("mode", "data", "said"),
    [
        ("w", b"x", "takes str in mode 'w', not bytes"),
        ("wb", "x", "takes bytes in mode 'wb', not str"),
    ],
)
def test_text_and_bytes_are_not_mixed_up(
    storage: Storage, mode: Mode, data: Any, said: str
) -> None:
    with pytest.raises(TypeError, match=rf"^write\(\) {said}$"), storage.open("f", mode) as file:
        file.write(data)
    assert not storage.exists("f")


def test_an_exception_publishes_nothing(lab: Lab, storage: Storage) -> None:
    lab.stranger.write("theirs")
    for name in ("fresh", "deep/below/fresh", "theirs"):
        with pytest.raises(ZeroDivisionError), storage.open(name, "wb") as file:
            file.write(LARGE)
            raise ZeroDivisionError
    assert not storage.exists("fresh")
    assert not storage.exists("deep/below/fresh")
    assert storage.read_bytes("theirs") == b"theirs"
    assert storage.get_created_resources() == set()
    assert not lab.has_directories or not storage.exists("deep/")


@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_a_file_that_is_never_closed_publishes_nothing(lab: Lab, mode: str) -> None:
    if mode == "ab":
        lab.need("append")
    held = lab.hold()
    lab.stranger.write("theirs")
    for name in ("fresh", "theirs"):
        held.storage.open(name, mode).write(LARGE)  # type: ignore[arg-type]
    before = lab.stranger.read("theirs")
    with pytest.warns(UnclosedFileWarning, match="never closed"):
        lab.end(held)
    assert before == b"theirs"
    assert not any(path.endswith("fresh") for path in lab.stranger.everything())
    if not lab.area:
        assert lab.stranger.read("theirs") == b"theirs"


def test_append_adds_to_the_end_or_is_refused(lab: Lab, storage: Storage) -> None:
    storage.write_bytes("log", b"one\n")
    if lab.lacks("append"):
        with pytest.raises(errors.Unsupported, match="append"):
            storage.open("log", "ab")
        assert storage.read_bytes("log") == b"one\n"
        return
    with storage.open("log", "ab") as file:
        assert file.tell() == 4
        file.write(b"two\n")
    with storage.open("log", "a") as file:
        file.write("drei\n")
    with storage.open("new", "ab") as file:
        file.write(LARGE)
        file.write(LARGE)
    with storage.open("empty", "ab"):
        pass
    assert storage.read_bytes("log") == b"one\ntwo\ndrei\n"
    assert storage.read_bytes("new") == LARGE * 2
    assert storage.read_bytes("empty") == b""


# -- local files, other operators, URLs


def test_a_missing_local_source_leaves_the_target_untouched(
    lab: Lab, storage: Storage, tmp_path: Path
) -> None:
    lab.stranger.write("theirs")
    for name in ("theirs", "fresh/file"):
        with pytest.raises(FileNotFoundError, match="no local file"):
            storage.write_from_path(name, tmp_path / "nothing-here")
        with pytest.raises(IsADirectoryError, match="is a directory"):
            storage.write_from_path(name, tmp_path)
    assert storage.read_bytes("theirs") == b"theirs"
    assert not storage.exists("fresh/file")
    assert storage.get_created_resources() == set()


def test_a_missing_source_of_an_operator_leaves_the_target_untouched(
    lab: Lab, storage: Storage, tmp_path: Path
) -> None:
    lab.stranger.write("theirs")
    other = opendal.Operator("fs", root=str(tmp_path / "other"))
    for name in ("theirs", "fresh"):
        with pytest.raises(errors.NotFound, match="nothing-here"):
            storage.write_from_path(name, "nothing-here", other)
    assert storage.read_bytes("theirs") == b"theirs"
    assert storage.get_created_resources() == set()


@literal_paths
@pytest.mark.parametrize("content", [b"small", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("kind", [opendal.Operator, opendal.AsyncOperator])
def test_content_goes_to_and_from_another_operator(
    storage: Storage, tmp_path: Path, kind: type[opendal.Operator], content: bytes
) -> None:
    other = kind("fs", root=str(tmp_path / "other"))
    (tmp_path / "other" / "src").write_bytes(content)
    storage.write_from_path("f", "src", other)
    assert storage.read_bytes("f") == content
    storage.read_into_path("f", "back/dst", other)
    assert (tmp_path / "other" / "back" / "dst").read_bytes() == content


def test_nothing_reaches_another_operator_when_the_file_is_missing(
    storage: Storage, tmp_path: Path
) -> None:
    other = opendal.Operator("fs", root=str(tmp_path / "other"))
    (tmp_path / "other" / "dst").write_bytes(b"old")
    with pytest.raises(errors.NotFound, match="missing"):
        storage.read_into_path("missing", "dst", other)
    assert (tmp_path / "other" / "dst").read_bytes() == b"old"


@literal_paths
def test_a_large_file_reaches_a_storage_that_takes_no_stream(
    request: pytest.FixtureRequest, storage: Storage
) -> None:
    server = request.getfixturevalue("wsgidav")
    other = opendal.Operator("webdav", root="/other", **server.kwargs)
    storage.write_bytes("f", LARGE)
    storage.read_into_path("f", "dst", other)
    assert (server.directory / "other" / "dst").read_bytes() == LARGE


class _Files(http.server.BaseHTTPRequestHandler):
    """Serves a large file, half of it under /broken, and nothing else."""

    def do_GET(self) -> None:
        place = self.path.partition("?")[0]
        if place not in {"/whole", "/broken"}:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(LARGE) + len(TAIL)))
        self.end_headers()
        self.wfile.write(LARGE)
        if place == "/whole":
            self.wfile.write(TAIL)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _web() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@literal_paths
def test_content_comes_from_a_url(storage: Storage) -> None:
    with _web() as url:
        storage.write_from_path("f", f"{url}/whole?X-Amz-Signature=SIGNED")
    assert storage.read_bytes("f") == LARGE + TAIL


@pytest.mark.parametrize("place", ["broken", "missing"])
def test_a_url_that_breaks_off_leaves_the_target_untouched(
    lab: Lab, storage: Storage, place: str
) -> None:
    lab.stranger.write("theirs")
    before = lab.stranger.everything()
    with _web() as url:
        for name in ("theirs", "fresh"):
            with pytest.raises(errors.StorageError) as caught:
                storage.write_from_path(name, f"{url}/{place}?X-Amz-Signature=SIGNED")
            assert "SIGNED" not in str(caught.value)
            assert place in str(caught.value)
    assert lab.stranger.everything() == before
    assert storage.get_created_resources() == set()


def test_reading_into_a_path_is_complete_or_changes_nothing(
    lab: Lab, storage: Storage, tmp_path: Path
) -> None:
    target = tmp_path / "dst"
    target.write_bytes(b"old")
    with pytest.raises(errors.NotFound):
        storage.read_into_path("missing", target)
    if lab.has_directories:
        storage.create_dir("d")
        with pytest.raises((errors.IsADirectory, errors.NotFound)):
            storage.read_into_path("d", target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.glob("*dst*")] == ["dst"]
    storage.write_bytes("f", LARGE)
    storage.read_into_path("f", target)
    storage.read_into_path("f", tmp_path / "not" / "yet" / "there")
    assert target.read_bytes() == LARGE
    assert (tmp_path / "not" / "yet" / "there").read_bytes() == LARGE
    with storage.open("f", "rb") as file:
        file.seek(7)
        file.read_into_path(target)
    assert target.read_bytes() == LARGE[7:]
    with pytest.raises(IsADirectoryError, match="not"):
        storage.read_into_path("f", tmp_path / "not")


@literal_paths
def test_a_path_may_be_a_device(storage: Storage) -> None:
    storage.write_bytes("f", b"x")
    storage.read_into_path("f", Path("/dev/null"))
    assert Path("/dev/null").is_char_device()


# -- hash, stat, exists


@literal_paths
@pytest.mark.parametrize("content", [b"", b"content", LARGE], ids=["empty", "small", "large"])
def test_hash_has_all_algorithms(storage: Storage, content: bytes) -> None:
    storage.write_bytes("f", content)
    for algo in sorted(hashlib.algorithms_guaranteed):
        if not algo.startswith("shake"):
            assert storage.hash("f", algo) == hashlib.new(algo, content).hexdigest()
    assert storage.hash("f") == hashlib.sha256(content).hexdigest()
    assert storage.hash("f", "SHA512") == hashlib.sha512(content).hexdigest()


def test_hash_of_the_wrong_thing(lab: Lab, storage: Storage) -> None:
    with pytest.raises(errors.NotFound):
        storage.hash("missing")
    with pytest.raises(ValueError, match=r"^hashlib has no algorithm 'sha257' here; did you mean "):
        storage.hash("f", "sha257")
    with pytest.raises(ValueError, match="have no fixed length"):
        storage.hash("f", "shake_128")
    with pytest.raises(errors.IsADirectory):
        storage.hash("d/")
    if lab.has_directories:
        storage.create_dir("d")
        with pytest.raises(errors.IsADirectory):
            storage.hash("d")


def test_stat_and_exists_of_a_file(storage: Storage) -> None:
    storage.write_bytes("d/f", b"content")
    found = storage.stat("d/f")
    assert (found.mode.is_file(), found.mode.is_dir(), found.content_length) == (True, False, 7)
    assert storage.exists("d/f")
    assert not storage.exists("d/f/")
    assert not storage.exists("d/f/below")
    assert not storage.exists("d/missing")
    with pytest.raises(errors.NotFound, match="d/missing"):
        storage.stat("d/missing")


@pytest.mark.parametrize("made", ["create_dir", "file below"])
@pytest.mark.parametrize("path", ["d", "d/", "/d", "./d/"])
def test_stat_and_exists_of_a_directory(lab: Lab, storage: Storage, made: str, path: str) -> None:
    lab.need("list")
    if made == "create_dir":
        storage.create_dir("d/")
    else:
        storage.write_bytes("d/f", b"content")
    assert storage.exists(path)
    found = storage.stat(path)
    assert (found.mode.is_dir(), found.mode.is_file(), found.content_length) == (True, False, 0)
    assert not storage.exists("dd/")


def test_the_root_exists(lab: Lab, storage: Storage) -> None:
    lab.need("list")
    assert lab.open(isolation="test").exists("/")
    storage.write_bytes("f", b"x")
    assert storage.exists("/")
    assert storage.stat("").mode.is_dir()


# -- list and scan


def _fill(storage: Storage) -> None:
    for name in ("x/a", "x/sub/deep/b", "xy/c", "x.txt", "top"):
        storage.write_bytes(name, b"content")


@pytest.mark.parametrize("path", ["x", "x/", "/x", "x//", ".\\x"])
def test_list_is_of_one_directory(lab: Lab, storage: Storage, path: str) -> None:
    lab.need("list")
    _fill(storage)
    entries = list(storage.list(path))
    assert entries[0] == "x/"
    assert sorted(entries) == ["x/", "x/a", "x/sub/"]


@pytest.mark.parametrize("path", ["x", "x/", "/x"])
def test_scan_is_of_all_below(lab: Lab, storage: Storage, path: str) -> None:
    lab.need("list")
    _fill(storage)
    entries = list(storage.scan(path))
    assert entries[0] == "x/"
    assert sorted(entries) == ["x/", "x/a", "x/sub/", "x/sub/deep/", "x/sub/deep/b"]
    assert sorted(storage.list(path, recursive=True)) == sorted(entries)


@pytest.mark.parametrize("path", ["", "/", "."])
def test_list_of_the_root(lab: Lab, storage: Storage, path: str) -> None:
    lab.need("list")
    _fill(storage)
    assert sorted(storage.list(path)) == ["/", "top", "x.txt", "x/", "xy/"]
    assert len(list(storage.scan(path))) == 10


def test_list_of_an_empty_root(lab: Lab, storage: Storage) -> None:
    lab.need("list")
    assert list(storage.list("/")) == ["/"]
    assert list(storage.scan("")) == ["/"]


def test_list_of_a_file_is_the_file(lab: Lab, storage: Storage) -> None:
    lab.need("list")
    _fill(storage)
    assert list(storage.list("top")) == ["top"]
    assert list(storage.scan("x/a")) == ["x/a"]
    assert list(storage.list("top/")) == []


def test_list_of_what_is_missing_is_empty(lab: Lab, storage: Storage) -> None:
    lab.need("list")
    storage.write_bytes("missing-not", b"")
    for path in ("missing", "missing/", "no/such/directory", "missing-not/below/"):
        assert list(storage.list(path)) == []
        assert list(storage.scan(path)) == []


def test_list_of_an_empty_directory_is_itself(lab: Lab, storage: Storage) -> None:
    lab.need("create_dir")
    storage.create_dir("d/e/")
    assert list(storage.list("d/e")) == ["d/e/"]
    assert sorted(storage.scan("d")) == ["d/", "d/e/"]


def test_a_long_list_comes_in_batches_and_may_be_left_early(lab: Lab, storage: Storage) -> None:
    lab.need("list")
    if lab.kind not in {"memory", "fs"}:
        pytest.skip("2,100 files are made on fs and memory only, for speed")
    for number in range(2100):
        lab.stranger.write(f"many/{number}", b"")
    assert len(list(storage.list("many"))) == 2101
    entries = storage.list("many")
    assert next(entries) == "many/"
    entries.close()
    for _, entry in zip(range(1500), storage.list("many"), strict=False):
        assert entry.startswith("many/")


def test_listing_needs_a_service_that_lists(lab: Lab, storage: Storage) -> None:
    if not lab.lacks("list"):
        pytest.skip("this one lists")
    with pytest.raises(errors.Unsupported, match="lab: list '.*d/'"):
        list(storage.list("d/"))
    with pytest.raises(errors.Unsupported, match="remove_all"):
        storage.remove_all("d/")


# -- directories


def test_create_dir_makes_those_above(lab: Lab, storage: Storage) -> None:
    lab.need("create_dir")
    storage.create_dir("a/b/c")
    for path in ("a/", "a/b/", "a/b/c/", "a/b/c"):
        assert storage.stat(path).mode.is_dir()
    storage.create_dir("a/b/c/")
    storage.create_dir("/")
    assert list(storage.list("a/b/c")) == ["a/b/c/"]


def test_create_dir_over_an_implied_directory_adds_nothing_to_see(
    lab: Lab, storage: Storage
) -> None:
    lab.need("create_dir")
    storage.write_bytes("d/f", b"x")
    storage.create_dir("d")
    storage.delete("d/f")
    assert storage.exists("d/")
    assert list(storage.list("d")) == ["d/"]


def test_a_file_in_the_way_of_a_directory(lab: Lab, storage: Storage) -> None:
    lab.need("create_dir")
    if not lab.has_directories:
        pytest.skip("an object store may have a file and a directory of one name")
    lab.stranger.write("file")
    ways: dict[str, Callable[[], object]] = {
        "create": lambda: storage.create_dir("file/"),
        "create below": lambda: storage.create_dir("file/below"),
        "write": lambda: storage.write_bytes("file/below", b"x"),
        "open": lambda: storage.open("file/below", "wb").close(),
        "write deeper": lambda: storage.write_bytes("file/deep/er", b"x"),
    }
    for name, use in ways.items():
        with pytest.raises((NotADirectoryError, errors.AlreadyExists), match="file"):
            pytest.fail(f"{name} did not fail: {use()}")
    assert lab.stranger.read("file") == b"theirs"
    assert storage.get_created_resources() == set()


# -- copying and moving


def test_copy_of_a_file(lab: Lab, storage: Storage) -> None:
    lab.need("copy")
    storage.write_bytes("a/f", b"content")
    storage.copy("a/f", "b/c/g")
    assert storage.read_bytes("b/c/g") == storage.read_bytes("a/f") == b"content"
    storage.write_bytes("other", b"other")
    storage.copy("other", "b/c/g")
    assert storage.read_bytes("b/c/g") == b"other"


@pytest.mark.parametrize("source", ["x", "x/"])
def test_copy_of_a_directory_takes_all_below(lab: Lab, storage: Storage, source: str) -> None:
    lab.need("copy")
    _fill(storage)
    storage.create_dir("x/empty/")
    storage.copy(source, "new/place")
    assert sorted(storage.scan("new/place")) == sorted(
        entry.replace("x/", "new/place/", 1) for entry in storage.scan("x")
    )
    assert storage.read_bytes("new/place/sub/deep/b") == b"content"
    assert not storage.exists("new/place/c")


def test_copy_and_rename_of_nothing(lab: Lab, storage: Storage) -> None:
    for operation in ("copy", "rename"):
        if not lab.lacks(operation):
            with pytest.raises(errors.NotFound, match=f"lab: {operation} '.*missing'"):
                getattr(storage, operation)("missing", "target")
    assert storage.get_created_resources() == set()


def test_copy_and_rename_onto_itself_or_below_itself(lab: Lab, storage: Storage) -> None:
    storage.write_bytes("d/f", b"x")
    for operation in (storage.copy, storage.rename):
        with pytest.raises(errors.IsSameFile):
            operation("d/f", "d/./f")
        with pytest.raises(errors.InvalidPath):
            operation("d", "d/below")
        with pytest.raises(errors.InvalidPath):
            operation("/", "d")
    assert storage.read_bytes("d/f") == b"x"


def test_a_file_is_not_copied_to_the_name_of_a_directory(lab: Lab, storage: Storage) -> None:
    lab.need("copy")
    storage.write_bytes("f", b"x")
    with pytest.raises(errors.IsADirectory):
        storage.copy("f", "d/")
    assert not storage.exists("d")


@pytest.mark.parametrize("whose", ["ours", "theirs"])
@pytest.mark.parametrize("operation", ["copy", "rename"])
def test_a_directory_is_never_replaced_by_a_file(
    lab: Lab, storage: Storage, operation: str, whose: str
) -> None:
    lab.need("rename")
    storage.write_bytes("f", b"x")
    if whose == "ours":
        storage.create_dir("d/")
    lab.stranger.write("d/theirs")
    with pytest.raises(errors.IsADirectory):
        getattr(storage, operation)("f", "d")
    assert lab.stranger.read("d/theirs") == b"theirs"
    assert storage.read_bytes("f") == b"x"


def test_what_the_service_cannot_do_is_unsupported(lab: Lab, storage: Storage) -> None:
    storage.write_bytes("f", b"x")
    asked = 0
    for operation in ("copy", "rename"):
        if lab.lacks(operation):
            asked += 1
            with pytest.raises(errors.Unsupported, match=f"lab: {operation}"):
                getattr(storage, operation)("f", "g")
    if lab.lacks("create_dir"):
        asked += 1
        with pytest.raises(errors.Unsupported, match="lab: create_dir"):
            storage.create_dir("d/")
    if not asked:
        pytest.skip("this one copies, renames and makes directories")
    assert storage.get_created_resources() == {"f"}


def test_rename_of_a_file(lab: Lab, storage: Storage) -> None:
    lab.need("rename")
    storage.write_bytes("a/f", b"content")
    storage.rename("a/f", "b/c/g")
    assert storage.read_bytes("b/c/g") == b"content"
    assert not storage.exists("a/f")


@pytest.mark.parametrize("source", ["x", "x/"])
def test_rename_of_a_directory_takes_all_below(lab: Lab, storage: Storage, source: str) -> None:
    lab.need("rename")
    _fill(storage)
    storage.rename(source, "new/place/")
    assert not storage.exists("x/")
    assert sorted(storage.scan("new/place")) == [
        "new/place/",
        "new/place/a",
        "new/place/sub/",
        "new/place/sub/deep/",
        "new/place/sub/deep/b",
    ]
    assert storage.read_bytes("xy/c") == b"content"


# -- removing


def test_delete_of_a_file_and_of_nothing(lab: Lab, storage: Storage) -> None:
    storage.write_bytes("d/f", b"x")
    storage.delete("d/f")
    assert not storage.exists("d/f")
    storage.delete("d/f")
    storage.delete("no/such")
    if not lab.lacks("list"):
        storage.delete("no/such/")


@pytest.mark.parametrize("path", ["d", "d/"])
def test_delete_of_an_empty_directory(lab: Lab, storage: Storage, path: str) -> None:
    lab.need("create_dir")
    storage.create_dir("d/")
    storage.delete(path)
    if lab.has_directories or path == "d/":
        assert not storage.exists("d/")


@pytest.mark.parametrize("path", ["d", "d/"])
def test_delete_spares_a_directory_that_is_not_empty(lab: Lab, storage: Storage, path: str) -> None:
    lab.need("list")
    storage.write_bytes("d/f", b"x")
    if lab.has_directories or path == "d/":
        with pytest.raises(errors.StorageError, match="not empty"):
            storage.delete(path)
    else:
        storage.delete(path)
    assert storage.read_bytes("d/f") == b"x"
    assert "d/f" in storage.get_created_resources()


@pytest.mark.parametrize("path", ["x", "x/", "/x", "y/../x"])
def test_remove_all_spares_siblings(lab: Lab, storage: Storage, path: str) -> None:
    lab.need("list")
    _fill(storage)
    storage.remove_all(path)
    # Not `list`: SeaweedFS lists the shell of an emptied directory for a while.
    assert sorted(storage.scan("/")) == ["/", "top", "x.txt", "xy/", "xy/c"]
    assert not storage.exists("x/")
    assert storage.read_bytes("xy/c") == b"content"


def test_remove_all_of_a_file_and_of_nothing(lab: Lab, storage: Storage) -> None:
    lab.need("list")
    _fill(storage)
    storage.remove_all("top")
    storage.remove_all("no/such")
    storage.remove_all("no/such/")
    storage.remove_all("x.txt/")
    assert not storage.exists("top")
    assert storage.exists("x.txt")
    assert "x.txt" in storage.get_created_resources()


def test_remove_all_of_a_file_whose_name_begins_another(lab: Lab, storage: Storage) -> None:
    lab.need("list")
    for name in ("log", "log.1", "log-old/f"):
        storage.write_bytes(name, b"x")
    storage.remove_all("log")
    assert sorted(storage.scan("/")) == ["/", "log-old/", "log-old/f", "log.1"]


@pytest.mark.parametrize("path", ["", "/", "x/..", "./"])
def test_remove_all_of_the_root(lab: Lab, storage: Storage, path: str) -> None:
    lab.need("list")
    _fill(storage)
    before = lab.stranger.everything()
    if not lab.area:
        with pytest.raises(errors.Protected, match="root of a shared storage"):
            storage.remove_all(path)
        assert lab.stranger.everything() == before
        return
    storage.remove_all(path)
    assert list(storage.scan("/")) == ["/"]
    assert storage.get_created_resources() == set()


def test_the_root_is_never_written_moved_or_removed(lab: Lab, storage: Storage) -> None:
    storage.write_bytes("f", b"x")
    ways: list[Callable[[], object]] = [
        lambda: storage.delete("/"),
        lambda: storage.delete(""),
        lambda: storage.write_bytes("/", b""),
        lambda: storage.rename("/", "x"),
        lambda: storage.rename("f", "/"),
        lambda: storage.copy("f", ""),
        lambda: storage.register_path("/"),
    ]
    for use in ways:
        with pytest.raises((errors.InvalidPath, errors.IsADirectory)):
            use()
    assert storage.read_bytes("f") == b"x"


# -- paths


def _path_taking(storage: Storage, path: str, tmp_path: Path) -> dict[str, object]:
    (tmp_path / "src").write_bytes(b"x")
    return {
        "write_bytes": lambda: storage.write_bytes(path, b"x"),
        "read_bytes": lambda: storage.read_bytes(path),
        "write_from_path": lambda: storage.write_from_path(path, tmp_path / "src"),
        "read_into_path": lambda: storage.read_into_path(path, tmp_path / "dst"),
        "open-rb": lambda: storage.open(path, "rb"),
        "open-wb": lambda: storage.open(path, "wb"),
        "open-ab": lambda: storage.open(path, "ab"),
        "stat": lambda: storage.stat(path),
        "hash": lambda: storage.hash(path),
        "copy-from": lambda: storage.copy(path, "t"),
        "copy-to": lambda: storage.copy("f", path),
        "rename-from": lambda: storage.rename(path, "t"),
        "rename-to": lambda: storage.rename("f", path),
        "remove_all": lambda: storage.remove_all(path),
        "create_dir": lambda: storage.create_dir(path),
        "delete": lambda: storage.delete(path),
        "exists": lambda: storage.exists(path),
        "list": lambda: storage.list(path),
        "scan": lambda: storage.scan(path),
        "presign_stat": lambda: storage.presign_stat(path, 60),
        "presign_read": lambda: storage.presign_read(path, 60),
        "presign_write": lambda: storage.presign_write(path, 60),
        "presign_delete": lambda: storage.presign_delete(path, 60),
        "register_path": lambda: storage.register_path(path),
        "wait_until": lambda: storage.wait_until(path, 0),
        "ensure": lambda: storage.ensure(path, tmp_path / "src"),
    }


@pytest.mark.parametrize("path", ESCAPES)
def test_a_path_that_leaves_the_root_is_refused(
    lab: Lab, storage: Storage, tmp_path: Path, path: str
) -> None:
    storage.write_bytes("f", b"x")
    lab.stranger.write("/x", b"theirs")
    before = lab.stranger.everything()
    above = sorted(tmp_path.joinpath("above").rglob("*"))
    for name, use in _path_taking(storage, path, tmp_path).items():
        with pytest.raises(errors.PathEscape, match=r"lab: \w+: .* would leave"):
            use()  # type: ignore[operator]
            pytest.fail(name)
    assert lab.stranger.everything() == before
    assert sorted(tmp_path.joinpath("above").rglob("*")) == above
    assert storage.get_created_resources() == {"f"}


@literal_paths
@pytest.mark.parametrize("path", CONTROLS, ids=ascii)
def test_a_path_with_control_characters_is_refused(
    lab: Lab, storage: Storage, tmp_path: Path, path: str
) -> None:
    storage.write_bytes("f", b"x")
    before = lab.stranger.everything()
    for name, use in _path_taking(storage, path, tmp_path).items():
        with pytest.raises(ValueError, match="control character") as caught:
            use()  # type: ignore[operator]
            pytest.fail(name)
        assert type(caught.value) is errors.InvalidPath
    assert lab.stranger.everything() == before
    assert storage.get_created_resources() == {"f"}


@literal_paths
@pytest.mark.parametrize(
    "path", ["/d/f", "d//f", "d\\f", "./d/./f", "x/../d/f", "\\d\\f", "//d///f", Path("d/f")]
)
def test_a_file_has_one_name_however_it_is_spelled(storage: Storage, path: str) -> None:
    storage.write_bytes(path, b"one")
    assert storage.read_bytes("d/f") == b"one"
    storage.write_bytes("d/f", b"two")
    assert storage.read_bytes(path) == b"two"
    assert "d/f" in storage.get_created_resources()
    storage.delete(path)
    assert not storage.exists("d/f")


@literal_paths
@pytest.mark.parametrize("path", [" lead", "d/trail ", "trail /", "in /f", "d/ f", "\u3000wide"])
def test_white_space_that_opendal_would_cut_off_is_refused(storage: Storage, path: str) -> None:
    for use in (storage.read_bytes, storage.create_dir, storage.list, storage.remove_all):
        with pytest.raises(errors.InvalidPath, match="white space"):
            use(path)


@literal_paths
def test_white_space_within_a_name_is_kept(lab: Lab, storage: Storage) -> None:
    storage.write_bytes("a b/c  d", b"x")
    assert storage.read_bytes("a b/c  d") == b"x"
    assert lab.stranger.read("a b/c  d") == b"x"
    assert "a b/c  d" in storage.get_created_resources()
    storage.delete("a b/c  d")
    assert not storage.exists("a b/c  d")


@literal_paths
@pytest.mark.parametrize("path", ["d/", "d\\", "d/.", "d//", "d/x/.."])
def test_a_directory_is_no_name_for_a_file(storage: Storage, path: str) -> None:
    with pytest.raises(errors.IsADirectory, match="names a directory"):
        storage.write_bytes(path, b"x")
    assert storage.get_created_resources() == set()


# -- waiting, ensuring, registering


def test_wait_until_sees_what_others_write(lab: Lab, storage: Storage) -> None:
    stranger = lab.stranger
    writer = threading.Timer(0.1, lambda: stranger.write("result", b"done"))
    writer.start()
    found = storage.wait_until("result", 10, condition=lambda found: found.content_length > 0)
    assert found.content_length == 4
    writer.join()
    assert storage.get_created_resources() == set()


def test_wait_until_asks_the_condition(lab: Lab, storage: Storage) -> None:
    lab.stranger.write("log", b"12")
    found = storage.wait_until("log", 1, condition=lambda found: found.content_length > 1)
    assert found.content_length == 2
    with pytest.raises(errors.StorageTimeout, match=r"wait_until 'log'.*there with 2 bytes"):
        storage.wait_until("log", 0.1, condition=lambda found: found.content_length > 2)


@literal_paths
def test_a_condition_may_ask_the_storage(storage: Storage) -> None:
    """It is asked on another thread than the one that answers."""
    storage.write_bytes("log", b"done")
    storage.wait_until("log", 5, condition=lambda _: b"done" in storage.read_bytes("log"))
    length = len(b"done")
    storage.assert_stat(
        "log", content_length=lambda found: found == len(storage.read_bytes("log")) == length
    )


@literal_paths
def test_wait_until_ends(storage: Storage) -> None:
    start = time.monotonic()
    with pytest.raises(errors.StorageTimeout, match=r"wait_until 'never'.*nothing there"):
        storage.wait_until("never", 0.2)
    assert 0.2 <= time.monotonic() - start < 5


def test_wait_until_knows_directories(lab: Lab, storage: Storage) -> None:
    lab.need("list")
    lab.stranger.write("d/f")
    assert storage.wait_until("d", 1).mode.is_dir()
    assert storage.wait_until("d/", 1).mode.is_dir()


def test_ensure_uploads_only_what_differs(storage: Storage, tmp_path: Path) -> None:
    source = tmp_path / "image"
    source.write_bytes(b"version 1")
    assert storage.ensure("image", source) is True
    assert storage.ensure("image", source) is False
    source.write_bytes(b"version 2")
    assert storage.ensure("image", source) is True
    assert storage.read_bytes("image") == b"version 2"
    with pytest.raises(FileNotFoundError):
        storage.ensure("other", tmp_path / "missing")
    assert storage.get_created_resources() == {"image"}


def test_a_registered_path_is_removed_when_the_device_wrote_it(lab: Lab) -> None:
    held = lab.hold()
    lab.stranger.write("d/theirs")
    before = lab.stranger.everything()
    held.storage.register_path("log.txt")
    held.storage.register_path("d/more.txt")
    if not lab.lacks("list"):
        held.storage.register_path("traces/")
        lab.stranger.write("traces/1/a")
    lab.stranger.write("log.txt")
    lab.stranger.write("d/more.txt")
    assert {"log.txt", "d/more.txt"} <= held.storage.get_created_resources()
    lab.end(held)
    left = {
        path: content for path, content in lab.stranger.everything().items() if lab.area in path
    }
    assert left == ({} if lab.area and not lab.lacks("list") else before)


def test_registering_what_never_comes_is_no_failure(lab: Lab) -> None:
    held = lab.hold()
    held.storage.register_path("log.txt")
    held.storage.register_path("d/log.txt")
    assert lab.end(held).leftovers == ()


# -- presigning


def test_presigned_requests_work_for_strangers(lab: Lab, storage: Storage) -> None:
    lab.need("presign")
    storage.write_bytes("f", b"content")
    storage.assert_presign("f", "read")
    storage.assert_presign("f", "stat")
    storage.assert_presign("g", "write", content=b"written by a stranger")
    assert storage.read_bytes("g") == b"written by a stranger"
    assert storage.get_created_resources() == {"f", "g"}
    if IS_045:
        with pytest.raises(errors.Unsupported, match=f"presign delete with opendal {OPENDAL}"):
            storage.presign_delete("g", 60)
    else:
        storage.assert_presign("g", "delete")
        assert "g" not in storage.get_created_resources()
        assert not storage.exists("g")


@pytest.mark.parametrize("operation", ["stat", "read", "write", "delete"])
def test_a_lifetime_is_a_number_of_seconds(storage: Storage, operation: str) -> None:
    sign = getattr(storage, f"presign_{operation}")
    for wrong in (None, "60", 1.5, True):
        with pytest.raises(TypeError, match="expire_second is a whole number of seconds, not"):
            sign("new", wrong)
    for beyond in (-1, 10**18):
        with pytest.raises(ValueError, match=f"is 0 to 2147483647 seconds, not {beyond}"):
            sign("new", beyond)
    assert storage.get_created_resources() == set()


def test_a_presigned_request_shows_no_signature(lab: Lab, storage: Storage) -> None:
    lab.need("presign")
    signed = storage.presign_read("f", 60)
    assert signed.method == "GET"
    assert lab.kwargs["access_key_id"] in signed.url
    for text in (repr(signed), str(signed), f"{signed}"):
        assert lab.kwargs["access_key_id"] not in text
        assert "Signature=" not in text
        assert "/f?..." in text


@literal_paths
@pytest.mark.parametrize("operation", ["read", "stat", "write", "delete"])
def test_presigning_needs_a_service_that_signs(lab: Lab, storage: Storage, operation: str) -> None:
    if not lab.lacks("presign"):
        pytest.skip("this one signs")
    with pytest.raises(errors.Unsupported, match=f"lab: presign_{operation} '.*f'"):
        getattr(storage, f"presign_{operation}")("f", 60)
    assert storage.get_created_resources() == set()


# -- the storage object itself


def test_the_capability_is_what_this_suite_thinks(lab: Lab, storage: Storage) -> None:
    found = storage.capability()
    for feature in ("copy", "rename", "create_dir", "list", "presign"):
        assert getattr(found, feature) == (not lab.lacks(feature)), feature
    assert found.write_can_append == (not lab.lacks("append"))


def test_a_closed_storage_says_so(lab: Lab) -> None:
    held = lab.hold()
    lab.end(held)
    with pytest.raises(errors.StorageError, match="closed when its fixture ended"):
        held.storage.write_bytes("f", b"x")


def test_neither_repr_nor_pickle_gives_credentials_away(lab: Lab, storage: Storage) -> None:
    import pickle

    secrets = [
        value for key, value in lab.kwargs.items() if "key" in key or key in {"password", "secret"}
    ]
    for thing in (storage, storage._core.connection.backend, storage._core.connection.settings):
        assert not any(secret in repr(thing) for secret in secrets)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(storage)
