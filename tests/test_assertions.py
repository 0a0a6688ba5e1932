"""Claims hold or fail, and a failure tells what is needed to find the reason."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import opendal
import pytest

from pytest_opendal import assertions, contents
from pytest_opendal.digests import Data
from pytest_opendal.errors import (
    IsADirectory,
    NotADirectory,
    NotFound,
    PathEscape,
    PermissionDenied,
    StorageTimeout,
    Unsupported,
)
from pytest_opendal.models import Metadata, PresignedRequest

from subjects import FILE, Bucket, Operated, Shelf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from pytest_opendal.paths import StrPath

    from servers import S3, SeaweedFS

HELLO = b"hello world"
SHA256 = hashlib.sha256(HELLO).hexdigest()
MD5 = hashlib.md5(HELLO, usedforsecurity=False).hexdigest()
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"
BOOT = {"boot/kernel.img": HELLO, "boot/cmdline.txt": b"quiet", "boot/overlays/a.dtbo": b"1"}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf(BOOT)


def holds(claim: Coroutine[Any, Any, object]) -> None:
    asyncio.run(claim)


def failure(claim: Coroutine[Any, Any, object]) -> list[str]:
    """Return the lines of the message with which a claim fails."""
    with pytest.raises(AssertionError) as caught:
        asyncio.run(claim)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return str(caught.value).splitlines()


# The content of a file.


@pytest.mark.parametrize(
    "expected", [SHA256, SHA256.upper(), f"sha256:{SHA256}", f"md5:{MD5}", HELLO]
)
def test_a_file_has_its_hash_in_every_form(shelf: Shelf, expected: str | bytes) -> None:
    holds(assertions.assert_hash(shelf, "boot/kernel.img", expected))


def test_a_file_has_the_hash_of_an_equal_local_file(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "kernel.img"
    path.write_bytes(HELLO)
    holds(assertions.assert_hash(shelf, "boot/kernel.img", path))


@pytest.mark.parametrize("algo", ["sha1", "SHA512", "blake2b", "sha3_256"])
def test_any_algorithm_of_hashlib_may_be_named(shelf: Shelf, algo: str) -> None:
    expected = hashlib.new(algo, HELLO, usedforsecurity=False).hexdigest()
    holds(assertions.assert_hash(shelf, "boot/kernel.img", expected, algo))
    holds(assertions.assert_hash(shelf, "boot/kernel.img", f"{algo}:{expected}"))
    holds(assertions.assert_hash(shelf, "boot/kernel.img", HELLO, algo))


def test_a_wrong_digest_is_shown_above_the_actual_one(shelf: Shelf) -> None:
    assert failure(assertions.assert_hash(shelf, "boot/kernel.img", f"md5:{'0' * 32}")) == [
        "shelf:boot/kernel.img has another content than expected",
        f"  expected: md5 {'0' * 32}",
        f"  actual:   md5 {MD5} (11 bytes)",
        "  hint: give the content (bytes or a local path) and not its digest, to see what differs",
    ]


def test_the_digest_of_nothing_tells_that_nothing_was_expected(shelf: Shelf) -> None:
    lines = failure(assertions.assert_hash(shelf, "boot/kernel.img", f"md5:{EMPTY_MD5}"))
    assert lines[1] == f"  expected: md5 {EMPTY_MD5} (0 bytes)"


def test_a_wrong_content_is_shown_where_it_differs(shelf: Shelf) -> None:
    wrong = hashlib.sha256(b"hello World").hexdigest()
    assert failure(assertions.assert_hash(shelf, "boot/kernel.img", b"hello World")) == [
        "shelf:boot/kernel.img has another content than expected",
        f"  expected: sha256 {wrong} (11 bytes)",
        f"  actual:   sha256 {SHA256} (11 bytes)",
        "  first difference at offset 6 (0x6):",
        "    expected: 68 65 6c 6c 6f 20 57 6f 72 6c 64  |hello World|",
        "    actual:   68 65 6c 6c 6f 20 77 6f 72 6c 64  |hello world|",
        "                                ^^",
    ]


def test_a_truncated_file_is_told_from_a_wrong_one(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "kernel.img"
    path.write_bytes(HELLO * 1000)
    lines = failure(assertions.assert_hash(shelf, "boot/kernel.img", path, "md5"))
    assert lines[1].endswith("(11000 bytes)")
    assert lines[2].endswith("(11 bytes)")
    assert lines[3] == "  actual ends at offset 11, equal so far:"


@pytest.mark.parametrize("digest", [bytes.fromhex(SHA256), SHA256.encode()])
def test_a_digest_given_as_bytes_is_noticed(shelf: Shelf, digest: bytes) -> None:
    lines = failure(assertions.assert_hash(shelf, "boot/kernel.img", digest))
    assert lines[-1] == "  hint: these bytes are the digest itself; give it as a str of hex digits"


class Fickle(Shelf):
    """Loses its files when it is asked for a hash."""

    async def hash(self, path: StrPath, algo: str = "sha256") -> str:
        try:
            return await super().hash(path, algo)
        finally:
            self.files.clear()


def test_a_file_that_vanishes_while_it_is_compared_still_has_a_message() -> None:
    lines = failure(assertions.assert_hash(Fickle({"f": HELLO}), "f", b"hello"))
    assert lines[2] == f"  actual:   sha256 {SHA256}"
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("expected", "algo", "error", "message"),
    [
        ("abc", "sha256", ValueError, "'abc' .* is no digest"),
        (SHA256, "md5", ValueError, "the 32 hex digits of md5"),
        (SHA256, "sha265", ValueError, "did you mean 'sha256'"),
        (HELLO, "sha265", ValueError, "did you mean 'sha256'"),
        (5, "sha256", TypeError, "not int"),
    ],
)
def test_a_mistake_in_what_is_expected_is_found_before_the_storage_is_asked(
    shelf: Shelf, expected: Any, algo: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        asyncio.run(assertions.assert_hash(shelf, "boot/kernel.img", expected, algo))
    assert shelf.asked == []


def test_a_missing_local_file_is_an_error_before_the_storage_is_asked(
    shelf: Shelf, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="there is no local file"):
        asyncio.run(assertions.assert_hash(shelf, "boot/kernel.img", tmp_path / "nothing"))
    assert shelf.asked == []


class Refusing(Shelf):
    """Raises an error for everything but listings."""

    def __init__(self, error: Exception) -> None:
        super().__init__({"f": b""})
        self.error = error

    async def hash(self, path: StrPath, algo: str = "sha256") -> str:
        self.asked.append(f"{algo} of {path}")
        raise self.error


def test_a_directory_has_no_hash() -> None:
    claim = assertions.assert_hash(Refusing(IsADirectory("")), "d", SHA256)
    assert failure(claim) == [
        "shelf:d is a directory, where a file is needed; assert_tree compares directories"
    ]


def test_a_file_above_the_path_makes_it_missing() -> None:
    lines = failure(assertions.assert_hash(Refusing(NotADirectory("")), "f/x", SHA256))
    assert lines == ["shelf:f/x does not exist", "  nearest in shelf:/: f"]


def test_trouble_with_the_storage_is_no_failed_claim() -> None:
    with pytest.raises(StorageTimeout):
        asyncio.run(assertions.assert_hash(Refusing(StorageTimeout("slow")), "f", SHA256))


# A path that is missing.


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("boot/kernle.img", "nearest in shelf:boot/: kernel.img"),
        ("BOOT/kernel.img", "nearest in shelf:/: boot/"),
        ("/boot/KERNEL.IMG", "nearest in shelf:boot/: kernel.img"),
        ("boot/overlay/a.dtbo", "nearest in shelf:boot/: overlays/"),
        ("boot/zzz", "shelf:boot/ holds: cmdline.txt, kernel.img, overlays/"),
        ("zzz/deeper/still", "shelf:/ holds: boot/"),
    ],
)
def test_the_nearest_names_are_shown(shelf: Shelf, path: str, line: str) -> None:
    lines = failure(assertions.assert_exists(shelf, path))
    assert lines == [f"shelf:{path.lstrip('/')} does not exist", f"  {line}"]


def test_every_claim_about_a_missing_path_fails_alike(shelf: Shelf) -> None:
    claims = [
        assertions.assert_hash(shelf, "boot/kernel", HELLO),
        assertions.assert_stat(shelf, "boot/kernel", content_length=1),
        assertions.assert_exists(shelf, "boot/kernel"),
        assertions.assert_tree(shelf, "boot/kernel", {"x": None}),
    ]
    for claim in claims:
        assert failure(claim) == [
            "shelf:boot/kernel does not exist",
            "  nearest in shelf:boot/: kernel.img",
        ]


def test_at_most_five_names_are_shown() -> None:
    shelf = Shelf({f"log-{number}": b"" for number in range(9)})
    assert failure(assertions.assert_exists(shelf, "log-x"))[1].count("log-") == 5
    lines = failure(assertions.assert_exists(shelf, "zzz"))
    assert lines[1] == "  shelf:/ holds: log-0, log-1, log-2, log-3, log-4 ... and 4 more"


class Crowded(Shelf):
    """Has files without end."""

    given = 0

    async def list(self, path: StrPath) -> AsyncIterator[str]:
        while True:
            self.given += 1
            yield f"{path}file-{self.given}".lstrip("/")


def test_the_names_are_looked_for_among_a_thousand() -> None:
    crowded = Crowded()
    assert failure(assertions.assert_exists(crowded, "zzz"))[1].endswith("and 995 more")
    assert crowded.given == 1000


class Unlistable(Shelf):
    """Cannot list, as a Redis store cannot."""

    async def list(self, path: StrPath) -> AsyncIterator[str]:
        raise Unsupported(f"list {path}")
        yield ""


def test_a_storage_that_cannot_list_has_no_names_to_show() -> None:
    shelf = Unlistable({"a/c": b""})
    lines = failure(assertions.assert_exists(shelf, "a/b"))
    assert lines == ["shelf:a/b does not exist, and no name near it is known"]
    assert failure(assertions.assert_absent(shelf, "a")) == ["shelf:a exists", "  a directory"]


# Existence.


@pytest.mark.parametrize("path", ["boot/kernel.img", "boot", "boot/", "/boot/overlays/"])
def test_what_is_there_exists(shelf: Shelf, path: str) -> None:
    holds(assertions.assert_exists(shelf, path))


def test_what_is_not_there_is_absent(shelf: Shelf) -> None:
    holds(assertions.assert_absent(shelf, "boot/kernel"))


def test_a_file_that_should_be_absent_is_described(shelf: Shelf) -> None:
    lines = failure(assertions.assert_absent(shelf, "boot/kernel.img"))
    assert lines == ["shelf:boot/kernel.img exists", "  a file of 11 bytes"]


def test_a_directory_that_should_be_absent_is_described(shelf: Shelf) -> None:
    lines = failure(assertions.assert_absent(shelf, "boot/"))
    assert lines[1] == "  a directory that holds: cmdline.txt, kernel.img, overlays/"


class Dated(Shelf):
    """Knows when its files changed."""

    when = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)

    async def stat(self, path: StrPath) -> Metadata:
        return (await super().stat(path)).model_copy(update={"last_modified": self.when})


def test_a_file_that_should_be_absent_tells_when_it_was_changed() -> None:
    lines = failure(assertions.assert_absent(Dated({"f": b"1"}), "f"))
    assert lines[1] == "  a file of 1 byte, last modified 2026-01-02 03:04:00 UTC"


# Metadata.


def test_fields_that_are_as_expected_hold(shelf: Shelf) -> None:
    holds(assertions.assert_stat(shelf, "boot/kernel.img"))
    holds(
        assertions.assert_stat(
            shelf,
            "boot/kernel.img",
            content_length=11,
            mode="file",
            content_type=lambda text: text.startswith("text/"),
            etag=None,
        )
    )
    holds(assertions.assert_stat(shelf, "boot/kernel.img", mode=FILE))
    holds(assertions.assert_stat(shelf, "boot", mode="dir"))


def test_all_fields_that_differ_are_shown_beside_each_other(shelf: Shelf) -> None:
    claim = assertions.assert_stat(
        shelf, "boot/kernel.img", content_length=12, mode="dir", content_type="text/plain", etag="x"
    )
    assert failure(claim) == [
        "metadata of shelf:boot/kernel.img differs from what is expected",
        "  field           expected  actual",
        "  content_length  12        11",
        "  mode            'dir'     'file'",
        "  etag            'x'       None",
        "  None: this service, or the installed opendal, does not tell etag",
    ]


def is_large(size: int) -> bool:
    return size > 1000


def test_a_condition_that_does_not_hold_is_named(shelf: Shelf) -> None:
    lines = failure(assertions.assert_stat(shelf, "boot/kernel.img", content_length=is_large))
    assert lines[2] == "  content_length  is_large is true  11"


def test_a_condition_that_raises_does_not_hold_and_says_why(shelf: Shelf) -> None:
    claim = assertions.assert_stat(shelf, "boot/kernel.img", etag=is_large)
    assert failure(claim)[2].startswith("  etag   is_large is true  None, TypeError: '>' not supp")


def test_an_object_without_a_name_can_be_a_condition(shelf: Shelf) -> None:
    class Never:
        def __call__(self, _: object) -> bool:
            return False

        def __repr__(self) -> str:
            return "never"

    lines = failure(assertions.assert_stat(shelf, "boot/kernel.img", content_length=Never()))
    assert lines[2] == "  content_length  never is true  11"


def test_a_long_value_is_cut(shelf: Shelf) -> None:
    lines = failure(assertions.assert_stat(shelf, "boot/kernel.img", content_type="x" * 5000))
    assert len(lines[2]) < 300


def test_an_unknown_field_gets_a_did_you_mean(shelf: Shelf) -> None:
    with pytest.raises(TypeError, match="no field 'content_lenght'; did you mean 'content_length'"):
        asyncio.run(assertions.assert_stat(shelf, "boot/kernel.img", content_lenght=1))
    assert shelf.asked == []


def test_a_mode_is_file_or_dir(shelf: Shelf) -> None:
    with pytest.raises(ValueError, match="mode is 'file' or 'dir', not 'directory'"):
        asyncio.run(assertions.assert_stat(shelf, "boot", mode="directory"))


# Trees.


def test_a_tree_holds_what_is_named_in_every_form(shelf: Shelf, tmp_path: Path) -> None:
    local = tmp_path / "kernel.img"
    local.write_bytes(HELLO)
    for kernel in (HELLO, SHA256, f"md5:{MD5}", local, None):
        tree = {"kernel.img": kernel, "./cmdline.txt": b"quiet", "overlays/a.dtbo": None}
        holds(assertions.assert_tree(shelf, "boot", tree))
        holds(assertions.assert_tree(shelf, "boot/", {**tree, "overlays/": None}))
    holds(assertions.assert_tree(shelf, "", dict.fromkeys(BOOT)))


def test_a_tree_may_be_named_by_paths_and_by_what_a_variable_holds(shelf: Shelf) -> None:
    """What mypy checks here is that users need no annotation."""
    by_path = dict.fromkeys(map(Path, BOOT))
    by_name = {name: b"".join([content]) for name, content in BOOT.items()}
    holds(assertions.assert_tree(shelf, "", by_path))
    holds(assertions.assert_tree(shelf, "", by_name))


def test_a_file_and_a_directory_of_one_name_are_told_apart_by_the_slash() -> None:
    shelf = Shelf({"x/d": HELLO, "x/d/f": HELLO})
    holds(assertions.assert_tree(shelf, "x", {"d": HELLO, "d/": None, "d/f": None}))
    lines = failure(assertions.assert_tree(shelf, "x", {"d/": None, "d/f": None}))
    assert lines[1:] == ["  unexpected:", "    d"]


@pytest.mark.parametrize("path", ["boot/kernel.img", "boot/kernel.img/"])
def test_a_file_is_no_tree(shelf: Shelf, directory: Path, path: str) -> None:
    claim = "boot/kernel.img is a file, where a directory is needed"
    assert failure(assertions.assert_tree(shelf, path, {})) == [f"shelf:{claim}"]
    assert told_of(directory, "assert_tree", path, {}) == f"lab:{claim}"


def test_an_empty_storage_is_an_empty_tree() -> None:
    holds(assertions.assert_tree(Shelf(), "/", {}))


def test_all_that_is_wrong_in_a_tree_is_listed_in_order(shelf: Shelf) -> None:
    shelf.files |= {"boot/b": b"", "boot/a": b"", "boot/e/x": b""}
    claim = assertions.assert_tree(
        shelf,
        "boot",
        {
            "z.img": None,
            "y/": None,
            "kernel.img": f"md5:{EMPTY_MD5}",
            "cmdline.txt": b"quite",
            "overlays": None,
            "overlays/a.dtbo": None,
            "b/": None,
        },
    )
    assert failure(claim) == [
        "shelf:boot holds other files than expected: 2 missing, 2 unexpected, 4 differing",
        "  missing:",
        "    y/",
        "    z.img",
        "  unexpected:",
        "    a",
        "    e/x",
        "  differing:",
        "    b/",
        "      expected: a directory",
        "      actual:   a file",
        "    cmdline.txt",
        f"      expected: sha256 {hashlib.sha256(b'quite').hexdigest()} (5 bytes)",
        f"      actual:   sha256 {hashlib.sha256(b'quiet').hexdigest()} (5 bytes)",
        "      first difference at offset 3 (0x3):",
        "        expected: 71 75 69 74 65  |quite|",
        "        actual:   71 75 69 65 74  |quiet|",
        "                           ^^",
        "    kernel.img",
        f"      expected: md5 {EMPTY_MD5} (0 bytes)",
        f"      actual:   md5 {MD5} (11 bytes)",
        "    overlays",
        "      expected: a file",
        "      actual:   a directory",
    ]


def test_at_most_twenty_entries_of_each_kind_are_listed() -> None:
    shelf = Shelf({f"d/{number:02}": b"" for number in range(30)})
    lines = failure(assertions.assert_tree(shelf, "d", {}))
    assert lines[0].endswith("30 unexpected")
    assert lines[-2:] == ["    19", "    ... and 10 more"]
    assert len(lines) == 23


def test_a_file_that_vanishes_from_a_tree_is_missing() -> None:
    class Vanishing(Shelf):
        async def hash(self, path: StrPath, algo: str = "sha256") -> str:
            raise NotFound(f"{path} {algo}")

    lines = failure(assertions.assert_tree(Vanishing({"d/f": b""}), "d", {"f": b""}))
    assert lines[1:] == ["  missing:", "    f"]


class Denying(Shelf):
    """Refuses the hash of ``f``, and is silent about all others."""

    async def hash(self, path: StrPath, algo: str = "sha256") -> str:
        if path != "d/f":
            await asyncio.Event().wait()
        await asyncio.sleep(0)  # the others have begun
        raise PermissionDenied(f"no {algo} of {path}")


class Slow(Data):
    """A content whose hash never comes."""

    async def hash(self, algo: str) -> str:
        await asyncio.Event().wait()
        return algo


@pytest.mark.parametrize(
    "claim",
    [
        lambda storage: assertions.assert_tree(storage, "d", dict.fromkeys("abfcd", HELLO)),
        lambda storage: contents.compare(storage, "d/f", Slow(HELLO)),
    ],
)
def test_nothing_goes_on_after_a_claim_that_could_not_be_checked(
    claim: Callable[[Shelf], Coroutine[Any, Any, object]],
) -> None:
    async def check() -> None:
        with pytest.raises(PermissionDenied):
            await claim(Denying({f"d/{name}": HELLO for name in "abfcd"}))
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(check())


def test_siblings_with_the_same_beginning_are_no_part_of_a_tree() -> None:
    shelf = Shelf({"out/f": b"", "output/f": b"", "out.txt": b""})
    holds(assertions.assert_tree(shelf, "out", {"f": b""}))


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        ({"d/": b""}, ValueError, "'d/' is a directory"),
        ({"": None}, ValueError, "'' names no entry"),
        ({"a": None, "./a": None}, ValueError, "'./a' is given twice"),
        ({"../a": None}, PathEscape, "would leave"),
        ({"a": "abc"}, ValueError, "is no digest"),
        ({"a": 5}, TypeError, "not int"),
    ],
)
def test_a_mistake_in_a_tree_is_found_before_the_storage_is_asked(
    shelf: Shelf, tree: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        asyncio.run(assertions.assert_tree(shelf, "boot", tree))
    assert shelf.asked == []


# The same over a real directory.


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, content in BOOT.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "root"


def test_claims_hold_over_a_real_directory(directory: Path) -> None:
    async def claim() -> None:
        storage = Operated(opendal.AsyncOperator("fs", root=str(directory)))
        await assertions.assert_hash(storage, "boot/kernel.img", directory / "boot/kernel.img")
        await assertions.assert_stat(storage, "boot/kernel.img", content_length=11, mode="file")
        await assertions.assert_stat(storage, "boot/", mode="dir")
        await assertions.assert_absent(storage, "boot/kernel.img/x")
        await assertions.assert_tree(storage, "", dict(BOOT))
        await assertions.assert_tree(storage, "boot/overlays", {"a.dtbo": b"1"})

    asyncio.run(claim())


def told_of(directory: Path, name: str, *arguments: Any) -> str:
    """Return how a claim about a real directory fails."""

    async def claim() -> None:
        storage = Operated(opendal.AsyncOperator("fs", root=str(directory)))
        await getattr(assertions, name)(storage, *arguments)

    with pytest.raises(AssertionError) as caught:
        asyncio.run(claim())
    return str(caught.value)


def test_claims_fail_over_a_real_directory(directory: Path) -> None:
    (directory / "empty").mkdir()

    told = partial(told_of, directory)
    assert told("assert_exists", "boot/kernel.im").endswith("nearest in lab:boot/: kernel.img")
    assert told("assert_exists", "empty/x").endswith("lab:empty/ is empty")
    assert told("assert_hash", "boot/kernel.img/x", b"").startswith("lab:boot/kernel.img/x does no")
    assert "first difference at offset 10 " in told(
        "assert_hash", "boot/kernel.img", b"hello worlt"
    )
    assert "lab:empty/ exists\n  a directory that holds: nothing" in told("assert_absent", "empty/")
    assert "missing:\n    x" in told("assert_tree", "empty", {"x": None})
    assert told("assert_tree", "emty", {}).endswith("nearest in lab:/: empty/")


@pytest.mark.parametrize("claim", [("assert_exists", "kernel.img"), ("assert_tree", "", {})])
def test_names_that_others_chose_reach_no_terminal_as_they_are(
    directory: Path, claim: tuple[Any, ...]
) -> None:
    (directory / "kernel\x1b[31m.img").touch()
    text = told_of(directory, *claim)
    assert "kernel\\x1b[31m.img" in text
    assert "\x1b" not in text


# Signed requests: what was signed.

SIGNED = "https://s3.example/bucket/boot/kernel.img?X-Amz-Expires=60&X-Amz-Signature=secret"


class Signing(Shelf):
    """Signs everything in the same way."""

    def __init__(self, url: str = SIGNED, method: str = "GET") -> None:
        super().__init__(BOOT)
        self.request = PresignedRequest(url=url, method=method, headers={"x-secret": "secret"})

    async def presign(self, operation: str, path: StrPath, expire_second: int) -> PresignedRequest:
        self.asked.append(f"presign_{operation} {path} {expire_second}")
        return self.request


def end(**left: float) -> str:
    return (
        (datetime.now(UTC) + timedelta(**left)).strftime("%Y-%m-%dT%H:%M:%SZ").replace(":", "%3A")
    )


@pytest.mark.parametrize(
    "url",
    [
        SIGNED,
        "http://s3.example/kernel.img",
        "https://s3.example/kernel.img?Expires=1&sig=x",
        "https://storage.example/kernel.img?X-Goog-Expires=60",
        f"https://azure.example/kernel.img?sig=x&se={end(seconds=60)}",
    ],
    ids=["s3", "bare", "expires", "google", "azure"],
)
def test_a_sound_request_is_returned_and_not_performed_unless_asked(url: str) -> None:
    storage = Signing(url)
    claim = assertions.assert_presign(storage, "boot/kernel.img", fetch=False)
    assert asyncio.run(claim) is storage.request
    assert storage.asked == ["presign_read boot/kernel.img 60"]


@pytest.mark.parametrize(
    ("url", "method", "fault"),
    [
        (SIGNED, "PUT", "method:  expected GET, actual PUT"),
        ("/bucket/boot/kernel.img", "GET", "url:     expected an absolute http or https URL"),
        ("ftp://s3.example/kernel.img", "GET", "url:     expected an absolute http or https URL"),
        ("https://s3.example/other.img", "GET", "path:    expected 'kernel.img' in the URL"),
        (SIGNED.replace("=60", "=3600"), "GET", "expiry:  expected 60 s, actual 3600 s"),
        (
            "https://storage.example/kernel.img?X-Goog-Expires=1",
            "GET",
            "expiry:  expected 60 s, actual 1 s",
        ),
        (
            "https://azure.example/kernel.img?sig=x&se=tomorrow",
            "GET",
            "expiry:  expected a time with its zone, actual 'tomorrow'",
        ),
        (
            f"https://azure.example/kernel.img?sig=x&se={end(hours=1)}",
            "GET",
            "expiry:  expected in 60 s, actual ",
        ),
    ],
    ids=["method", "path-only", "ftp", "name", "s3", "google", "azure-time", "azure"],
)
def test_a_request_that_was_not_asked_for_is_told(url: str, method: str, fault: str) -> None:
    lines = failure(assertions.assert_presign(Signing(url, method), "boot/kernel.img"))
    claim = "presigned read of shelf:boot/kernel.img is not the request that was asked for"
    assert lines[0] == claim
    assert lines[1].startswith(f"  {fault}")
    assert lines[2].startswith(f"  request: {method} ")
    assert "secret" not in "".join(lines)


def test_all_faults_of_a_request_are_told_at_once() -> None:
    lines = failure(assertions.assert_presign(Signing(method="POST"), "boot/other", "write", 5))
    assert [line.split(":")[0] for line in lines[1:]] == [
        "  method",
        "  path",
        "  expiry",
        "  request",
    ]


def test_a_name_may_need_quotes_in_a_url() -> None:
    url = "https://s3.example/%C3%A9t%C3%A9%20100%25"
    holds(assertions.assert_presign(Signing(url), "été 100%", fetch=False))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"operation": "raed"}, ValueError, "'raed' cannot be signed; did you mean 'read'"),
        ({"operation": "delete", "content": b""}, ValueError, "leave it out"),
        ({"content": "text"}, TypeError, "not str"),
    ],
)
def test_a_mistake_in_an_argument_is_found_before_anything_is_signed(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    storage = Signing()
    with pytest.raises(error, match=message):
        asyncio.run(assertions.assert_presign(storage, "boot/kernel.img", **arguments))
    assert storage.asked == []


def test_a_storage_that_cannot_sign_is_no_failed_claim(shelf: Shelf) -> None:
    with pytest.raises(Unsupported):
        asyncio.run(assertions.assert_presign(shelf, "boot/kernel.img"))


# Signed requests: what they do. First over a small web server that can be made to fail.


async def fetched(bucket: Bucket, path: str, operation: str, content: Any = None) -> None:
    async with bucket.serving():
        await assertions.assert_presign(bucket, path, operation, content=content)


def bucket(answer: str | None = None) -> Bucket:
    return Bucket({"boot/kernel.img": HELLO}, answer)


@pytest.mark.parametrize("operation", ["read", "stat", "write", "delete"])
def test_a_signed_request_works_for_a_stranger(operation: str) -> None:
    holds(fetched(bucket(), "boot/kernel.img", operation))


def test_what_a_stranger_has_removed_is_forgotten() -> None:
    target = bucket()
    holds(fetched(target, "boot/kernel.img", "delete"))
    assert target.asked[-1] == "forget boot/kernel.img"


@pytest.mark.parametrize("operation", ["read", "stat"])
def test_the_content_that_a_stranger_gets_may_be_given(operation: str, tmp_path: Path) -> None:
    local = tmp_path / "kernel.img"
    local.write_bytes(HELLO)
    for content in (HELLO, local):
        holds(fetched(bucket(), "boot/kernel.img", operation, content))


def test_the_content_that_a_stranger_writes_may_be_given(tmp_path: Path) -> None:
    local = tmp_path / "kernel.img"
    local.write_bytes(b"new")
    for content in (b"new", local):
        target = bucket()
        holds(fetched(target, "boot/new.img", "write", content))
        assert target.files["boot/new.img"] == b"new"


def test_a_default_content_is_another_each_time() -> None:
    target = bucket()
    holds(fetched(target, "one", "write"))
    holds(fetched(target, "other", "write"))
    assert target.files["one"] != target.files["other"]


@pytest.mark.parametrize("operation", ["read", "stat", "delete"])
def test_a_missing_path_is_told_before_a_stranger_asks_for_it(operation: str) -> None:
    assert failure(fetched(bucket(), "boot/kernel", operation)) == [
        "bucket:boot/kernel does not exist",
        "  nearest in bucket:boot/: kernel.img",
    ]


OK = "HTTP/1.1 200 OK\r\n"
CHUNKED = f"{OK}Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "size"),
    [
        (f"{OK}Content-Length: 5\r\n\r\nhello", "5 bytes"),
        (f"{OK}Content-Length: 6\r\n\r\nhello_", "6 bytes"),
        (f"{OK}Content-Length: 11\r\n\r\nhello", "5 bytes of 11 that were announced"),
        (f"{CHUNKED}b\r\nhello", "5 bytes, then the server hung up"),
        (CHUNKED, "0 bytes, then the server hung up"),
        (f"{OK}\r\nhello world!", "more than 11 bytes"),
        (f"{OK}Content-Length: 12\r\n\r\nhello world!", "12 bytes"),
    ],
    ids=["short", "other", "cut", "cut-chunk", "no-chunk", "long", "long-announced"],
)
def test_a_wrong_body_is_told_with_both_sizes(answer: str, size: str) -> None:
    lines = failure(fetched(bucket(answer), "boot/kernel.img", "read"))
    claim = "gave other content than the storage reads"
    assert lines[0] == f"presigned read of bucket:boot/kernel.img {claim}"
    assert lines[1:3] == ["  expected: 11 bytes", f"  actual:   {size}"]
    assert lines[3].startswith("  request:  GET http://127.0.0.1:")
    assert lines[3].endswith("/boot/kernel.img?...")
    assert "at offset" in lines[4]
    assert lines[5].startswith("    expected: ")


@pytest.mark.parametrize(
    ("answer", "size"),
    [
        (f"{OK}Content-Length: 20\r\n\r\nhello world", "11 bytes of 20 that were announced"),
        (f"{CHUNKED}b\r\nhello world\r\n", "11 bytes, then the server hung up"),
    ],
)
def test_a_body_that_is_cut_after_what_is_expected_is_no_success(answer: str, size: str) -> None:
    for content in (HELLO, None):
        lines = failure(fetched(bucket(answer), "boot/kernel.img", "read", content))
        assert lines[0].endswith("boot/kernel.img was cut off after all that is expected")
        assert lines[1:3] == ["  expected: 11 bytes", f"  actual:   {size}"]


@pytest.mark.parametrize(
    ("answer", "claim"),
    [
        (f"{OK}Content-Length: 5\r\n\r\n", ["tells another size", "Content-Length 5"]),
        (f"{OK}\r\n", ["tells another size", "no Content-Length"]),
        (f"{OK}Content-Length: 11\r\n\r\nhello world", ["was answered with a body"]),
    ],
)
def test_a_wrong_answer_to_stat_is_told(answer: str, claim: list[str]) -> None:
    text = "\n".join(failure(fetched(bucket(answer), "boot/kernel.img", "stat")))
    assert all(part in text for part in claim)


@pytest.mark.parametrize(
    ("operation", "claim"),
    [
        ("write", "was accepted (200 OK), but the storage holds other content"),
        ("delete", "was accepted (200 OK), but the path still exists"),
    ],
)
def test_a_server_that_does_not_do_what_it_accepts_is_found_out(operation: str, claim: str) -> None:
    lines = failure(fetched(bucket(f"{OK}\r\n"), "boot/kernel.img", operation))
    assert lines[0] == f"presigned {operation} of bucket:boot/kernel.img {claim}"


def test_a_server_that_stores_nothing_is_found_out_where_the_content_is_there_already() -> None:
    lines = failure(fetched(bucket(f"{OK}\r\n"), "boot/kernel.img", "write", HELLO))
    assert lines[0].endswith("was accepted (200 OK), but the storage holds other content")
    assert lines[3] == "  sent:     other bytes first, since the file holds these already"


def test_a_content_that_is_there_already_can_be_written() -> None:
    target = bucket()
    holds(fetched(target, "boot/kernel.img", "write", HELLO))
    assert target.files["boot/kernel.img"] == HELLO


def test_a_file_that_was_accepted_and_not_stored_is_told() -> None:
    lines = failure(fetched(bucket(f"{OK}\r\n"), "boot/new.img", "write", b"new"))
    assert lines[0].endswith("was accepted (200 OK), but the storage holds no such file")
    assert lines[1] == "  expected: 3 bytes"


@pytest.mark.parametrize("operation", ["read", "stat", "write", "delete"])
def test_a_refusal_is_told_in_the_servers_own_words(operation: str) -> None:
    error = "<Error><Code>AccessDenied</Code><Message>No.</Message><Key>secret</Key></Error>"
    answer = f"HTTP/1.1 403 Forbidden\r\n\r\n{error}"
    lines = failure(fetched(bucket(answer), "boot/kernel.img", operation))
    assert lines[0] == f"presigned {operation} of bucket:boot/kernel.img was refused"
    assert lines[1].strip() in {"expected: 200", "expected: 2xx"}
    assert lines[2:4] == ["  actual:   403 Forbidden", "  server:   AccessDenied: No."]
    assert "secret" not in "".join(lines)


def test_what_a_server_says_reaches_no_terminal_as_it_is() -> None:
    answer = "HTTP/1.1 403 No\x1b[31m\r\n\r\nno \x1b[2J\x1b]0;title\x07"
    lines = failure(fetched(bucket(answer), "boot/kernel.img", "read"))
    assert lines[2:4] == [
        "  actual:   403 No\\x1b[31m",
        "  server:   no \\x1b[2J\\x1b]0;title\\x07",
    ]


@pytest.mark.parametrize("operation", ["write", "delete"])
def test_a_secret_in_the_words_of_a_server_that_lies_is_cut(operation: str) -> None:
    text = "\n".join(failure(fetched(bucket("HTTP/1.1 200 secret\x1b\r\n\r\n"), "f", operation)))
    assert "secret" not in text
    assert "\x1b" not in text


def test_a_redirect_is_shown_and_not_followed() -> None:
    answer = "HTTP/1.1 302 Found\r\nLocation: http://other.example/x?secret\r\n\r\n"
    lines = failure(fetched(bucket(answer), "boot/kernel.img", "read"))
    assert lines[0].endswith("was redirected, which is not followed")
    assert lines[3] == "  location: http://other.example/x?..."


def test_a_server_that_is_not_there_is_told() -> None:
    lines = failure(assertions.assert_presign(bucket(), "boot/kernel.img"))
    assert lines[0] == "presigned read of bucket:boot/kernel.img got no answer"
    assert lines[1].startswith("  reason:  no connection with 127.0.0.1")


# And over real S3 servers.


def lab(server: S3, root: str) -> Operated:
    return Operated(opendal.AsyncOperator("s3", root=root, **server.kwargs))


def on_s3(server: S3, root: str, claim: Callable[[Operated], Coroutine[Any, Any, None]]) -> None:
    """Run a claim on a bucket where ``f`` holds some bytes."""

    async def prepared() -> None:
        storage = lab(server, root)
        await storage.operator.write("f", HELLO * 10_000)
        await claim(storage)

    asyncio.run(prepared())


@pytest.fixture
def root(request: pytest.FixtureRequest) -> str:
    """A directory of the bucket for this test alone."""
    return f"/{request.node.name}"


@pytest.mark.parametrize("operation", ["read", "stat", "write"])
def test_s3_takes_a_stranger_with_a_signed_request(
    seaweedfs: SeaweedFS, root: str, operation: str
) -> None:
    async def claim(storage: Operated) -> None:
        request = await assertions.assert_presign(storage, "f", operation, 30)
        assert "X-Amz-Expires=30" in request.url

    on_s3(seaweedfs, root, claim)


def test_s3_lets_a_stranger_delete(seaweedfs: SeaweedFS, root: str) -> None:
    async def claim(storage: Operated) -> None:
        try:
            await assertions.assert_presign(storage, "f", "delete")
        except Unsupported:
            assert not hasattr(opendal, "types"), "opendal can sign this since 0.47"
        else:
            await assertions.assert_absent(storage, "f")

    on_s3(seaweedfs, root, claim)


def test_a_large_file_passes_through_s3_in_blocks(
    seaweedfs: SeaweedFS, root: str, tmp_path: Path
) -> None:
    local = tmp_path / "large"
    local.write_bytes(bytes(range(256)) * 40_000)

    async def claim(storage: Operated) -> None:
        await assertions.assert_presign(storage, "large file", "write", content=local)
        await assertions.assert_presign(storage, "large file", content=local)
        await assertions.assert_hash(storage, "large file", local)

    on_s3(seaweedfs, root, claim)


def told(caught: pytest.ExceptionInfo[AssertionError], server: S3) -> str:
    """Return the message, which holds no secret."""
    text = str(caught.value)
    assert server.access_key_id not in text
    assert "X-Amz" not in text
    return text


def test_a_wrong_body_is_found_on_s3(seaweedfs: SeaweedFS, root: str) -> None:
    content = HELLO * 9_999 + b"hello World"

    async def claim(storage: Operated) -> None:
        with pytest.raises(AssertionError) as caught:
            await assertions.assert_presign(storage, "f", content=content)
        text = told(caught, seaweedfs)
        assert "gave other content than expected" in text
        assert "first difference at offset 109995 (0x1adab)" in text

    on_s3(seaweedfs, root, claim)


class WrongMethod(Operated):
    """Signs a write and calls it what was asked for."""

    async def presign(self, operation: str, path: StrPath, expire_second: int) -> PresignedRequest:
        asked = await super().presign(operation, path, expire_second)
        signed = await super().presign("write", path, expire_second)
        return asked.model_copy(update={"url": signed.url})


@pytest.mark.parametrize("operation", ["read", "stat"])
def test_a_signature_for_another_method_is_found_on_s3(
    seaweedfs: SeaweedFS, root: str, operation: str
) -> None:
    async def claim(storage: Operated) -> None:
        with pytest.raises(AssertionError) as caught:
            await assertions.assert_presign(WrongMethod(storage.operator), "f", operation)
        text = told(caught, seaweedfs)
        assert "expected: 200\n  actual:   403 Forbidden" in text
        if operation == "read":
            assert "server:   SignatureDoesNotMatch: The request signature we calculated" in text

    on_s3(seaweedfs, root, claim)


def test_a_wrong_key_is_found_on_s3(seaweedfs: SeaweedFS, root: str) -> None:
    async def claim(storage: Operated) -> None:
        kwargs = seaweedfs.kwargs | {"secret_access_key": "wrong"}
        operator = opendal.AsyncOperator("s3", root=root, **kwargs)
        with pytest.raises(AssertionError) as caught:
            await assertions.assert_presign(Mixed(storage.operator, operator), "f")
        assert "actual:   403 Forbidden" in told(caught, seaweedfs)

    on_s3(seaweedfs, root, claim)


class Mixed(Operated):
    """Signs by another operator than the one that does everything else."""

    def __init__(self, operator: opendal.AsyncOperator, signer: opendal.AsyncOperator) -> None:
        super().__init__(operator)
        self.signer = Operated(signer)

    async def presign(self, operation: str, path: StrPath, expire_second: int) -> PresignedRequest:
        return await self.signer.presign(operation, path, expire_second)


def test_a_key_that_may_not_write_is_found_on_s3(seaweedfs: SeaweedFS, root: str) -> None:
    async def claim(storage: Operated) -> None:
        signer = opendal.AsyncOperator("s3", root=root, **seaweedfs.readonly_kwargs)
        mixed = Mixed(storage.operator, signer)
        await assertions.assert_presign(mixed, "f", "read")
        with pytest.raises(AssertionError) as caught:
            await assertions.assert_presign(mixed, "f", "write")
        text = told(caught, seaweedfs)
        assert "expected: 2xx\n  actual:   403 Forbidden\n  server:   AccessDenied" in text
        assert seaweedfs.readonly_access_key_id not in text

    on_s3(seaweedfs, root, claim)


class Signed(Operated):
    """Gives the same signed request again and again."""

    request: PresignedRequest | None = None

    async def presign(self, operation: str, path: StrPath, expire_second: int) -> PresignedRequest:
        self.request = self.request or await super().presign(operation, path, expire_second)
        return self.request


def test_an_expired_request_is_found_on_s3(seaweedfs: SeaweedFS, root: str) -> None:
    async def claim(storage: Operated) -> None:
        again = Signed(storage.operator)
        with pytest.raises(AssertionError) as caught:  # until the server refuses
            async with asyncio.timeout(20):
                while True:
                    await assertions.assert_presign(again, "f", expire_second=1)
                    await asyncio.sleep(0.1)
        text = told(caught, seaweedfs)
        assert "server:   AccessDenied: Request has expired" in text

    on_s3(seaweedfs, root, claim)


def test_moto_stores_what_a_stranger_writes(moto: S3, root: str) -> None:
    """It stores an empty file when a request has the default Content-Type of urllib."""

    async def claim(storage: Operated) -> None:
        await assertions.assert_presign(storage, "f", "write", content=b"new")
        await assertions.assert_presign(storage, "f", "read", content=b"new")
        await assertions.assert_presign(storage, "f", "stat", content=b"new")

    on_s3(moto, root, claim)
