"""Digests are read strictly, and contents compared in constant memory."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_opendal import digests
from pytest_opendal.digests import BLOCK, Data, Difference, Digest, LocalFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from pathlib import Path

HELLO = b"hello"
MD5 = "5d41402abc4b2a76b9719d911017c592"
SHA256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def difference(expected: Sequence[bytes], actual: Sequence[bytes]) -> Difference | None:
    return asyncio.run(digests.first_difference(chunks(*expected), chunks(*actual)))


# A digest as a test writes it.


@pytest.mark.parametrize(
    ("text", "algo", "parsed"),
    [
        (SHA256, "sha256", Digest("sha256", SHA256)),
        (SHA256.upper(), "SHA256", Digest("sha256", SHA256)),
        (f"md5:{MD5}", "sha256", Digest("md5", MD5)),
        (f" sha256: {SHA256}\n", "md5", Digest("sha256", SHA256)),
        (MD5, "md5", Digest("md5", MD5)),
    ],
)
def test_a_digest_is_read(text: str, algo: str, parsed: Digest) -> None:
    assert digests.parse_digest(text, algo) == parsed


@pytest.mark.parametrize("text", ["", "md5:", MD5, f"{SHA256}0", "g" * 64, "/srv/file", "C:/file"])
def test_what_is_no_digest_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match=r"the 64 hex digits of sha256.*pathlib\.Path") as caught:
        digests.parse_digest(text, "sha256")
    assert repr(text) in str(caught.value)


def test_a_prefix_says_how_many_digits_are_needed() -> None:
    with pytest.raises(ValueError, match="the 32 hex digits of md5"):
        digests.parse_digest(f"md5:{SHA256}", "sha256")


def test_a_message_repeats_only_the_beginning_of_a_long_text() -> None:
    with pytest.raises(ValueError, match=r"x{100}\.\.\.' \(5000 characters\)"):
        digests.parse_digest("x" * 5000, "sha256")


@pytest.mark.parametrize("algo", ["sha265", "SHA265", "sha-265"])
def test_an_unknown_algorithm_gets_a_did_you_mean(algo: str) -> None:
    with pytest.raises(ValueError, match=f"no algorithm '{algo}' here; did you mean 'sha256'"):
        digests.new_hash(algo)


@pytest.mark.parametrize("algo", [None, 256, b"md5"])
def test_an_algorithm_is_named(algo: Any) -> None:
    with pytest.raises(TypeError, match=f"such as 'sha256', not {algo!r}"):
        digests.new_hash(algo)


def test_an_algorithm_without_a_length_is_refused() -> None:
    with pytest.raises(ValueError, match="shake_128 have no fixed length"):
        digests.new_hash("shake_128")


@pytest.mark.parametrize("algo", sorted(hashlib.algorithms_guaranteed - {"shake_128", "shake_256"}))
def test_every_algorithm_of_hashlib_can_be_used_and_keeps_its_name(algo: str) -> None:
    assert digests.new_hash(algo).name == algo


def test_a_digest_names_its_algorithm() -> None:
    assert str(Digest("md5", MD5)) == f"md5 {MD5}"


# A content at hand.


def test_bytes_and_a_local_file_are_the_same_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(HELLO)
    for content in (Data(HELLO), LocalFile(path)):
        assert content.size == 5
        assert asyncio.run(content.hash("md5")) == MD5
        assert asyncio.run(digests.hash_stream(content.stream(), "sha256")) == SHA256


def _hashing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pytest-opendal-hash"]


def test_the_hash_of_a_large_file_ends_when_nobody_waits_for_it(tmp_path: Path) -> None:
    """Or the process lived on until the whole file was read."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)

    async def give_up() -> None:
        task = asyncio.create_task(LocalFile(path).hash("sha256"))
        await asyncio.sleep(0)
        assert _hashing()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    for thread in _hashing():
        assert thread.daemon, "the end of the process would wait for it"
        thread.join(5)
    assert not _hashing()


@pytest.mark.parametrize("value", [HELLO, bytearray(HELLO), memoryview(HELLO)])
def test_anything_that_holds_bytes_is_a_content(value: object) -> None:
    assert digests.content_of(value) == Data(HELLO)


def test_a_missing_local_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"no local file {tmp_path}/nothing"):
        digests.content_of(tmp_path / "nothing")


def test_a_local_directory_is_no_content(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        digests.content_of(tmp_path)


MEMORY = "/proc/self/mem"
"""Can be opened, and not read."""


async def size(content: LocalFile) -> int:
    return content.size


@pytest.mark.parametrize(
    ("path", "use", "error"),
    [
        ("gone", lambda content: content.hash("md5"), FileNotFoundError),
        ("gone", lambda content: anext(content.stream()), FileNotFoundError),
        ("gone", size, FileNotFoundError),
        (MEMORY, lambda content: content.hash("md5"), OSError),
        (MEMORY, lambda content: anext(content.stream()), OSError),
    ],
)
def test_a_local_file_that_cannot_be_read_is_named(
    tmp_path: Path, path: str, use: Callable[[LocalFile], Coroutine[Any, Any, object]], error: Any
) -> None:
    content = LocalFile(tmp_path / path)

    async def read() -> None:
        await use(content)

    with pytest.raises(error, match=f"^cannot read the local file {content.path}: ") as caught:
        asyncio.run(read())
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("value", ["text", 5, None])
def test_a_content_is_bytes_or_a_path(value: object) -> None:
    with pytest.raises(TypeError, match=f"not {type(value).__name__}"):
        digests.content_of(value)


# Where two contents part.


def test_equal_contents_have_no_difference_however_they_are_cut() -> None:
    assert difference([b"", b"he", b"llo"], [b"h", b"ello", b""]) is None
    assert difference([], [b""]) is None


def test_a_difference_has_its_offset_and_what_is_around_it() -> None:
    found = difference([b"0123456789abcdefghij"], [b"0123456789aBcdefghij"])
    assert found == Difference(11, b"3456789a", b"bcdefghi", b"Bcdefghi")


@pytest.mark.parametrize("length", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_a_content_that_ends_early_is_told_from_one_that_differs(length: int) -> None:
    short, long = [b"x" * length], [b"x" * length, b"yz"]
    before = b"x" * min(length, 8)
    assert difference(long, short) == Difference(length, before, b"yz", b"")
    assert difference(short, long) == Difference(length, before, b"", b"yz")


def test_the_bytes_around_a_difference_may_reach_over_the_edges_of_blocks() -> None:
    edge = b"x" * (BLOCK - 1)
    found = difference([edge + b"a" + b"bcdefghijk"], [edge + b"A" + b"bcdefghijk"])
    assert found == Difference(BLOCK - 1, b"x" * 8, b"abcdefgh", b"Abcdefgh")
    found = difference([edge + b"a" + b"b"], [edge + b"a" + b"B"])
    assert found == Difference(BLOCK, b"x" * 7 + b"a", b"b", b"B")


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(1, 7), st.integers(1, 7))
def test_the_difference_does_not_depend_on_chunks(
    one: bytes, other: bytes, cut: int, other_cut: int
) -> None:
    whole = difference([one], [other])
    cuts = [one[at : at + cut] for at in range(0, len(one), cut)]
    other_cuts = [other[at : at + other_cut] for at in range(0, len(other), other_cut)]
    assert difference(cuts, other_cuts) == whole
    assert (whole is None) == (one == other)
    if whole is not None:
        assert one[: whole.offset] == other[: whole.offset]
        assert one[whole.offset :][:8] == whole.expected
        assert other[whole.offset :][:8] == whole.actual


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 100_000


def test_a_content_without_end_is_not_read_beyond_the_difference() -> None:
    found = asyncio.run(digests.first_difference(chunks(b"xxx"), endless()))
    assert found == Difference(3, b"xxx", b"", b"xxxxxxxx")


@pytest.mark.parametrize("expected", [b"", b"hellO wo", b"hell"])
def test_bytes_that_come_slowly_are_not_waited_for_once_they_decide(expected: bytes) -> None:
    async def dripping() -> AsyncIterator[bytes]:
        for at in range(5):
            yield b"hello"[at : at + 1]
        await asyncio.Event().wait()

    async def compare() -> Difference | None:
        async with asyncio.timeout(10):
            return await digests.first_difference(chunks(expected), dripping())

    found = asyncio.run(compare())
    assert found is not None
    assert found.before + found.actual == b"hello"


def test_an_error_behind_a_difference_does_not_hide_it() -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"jello"
        raise ConnectionError

    assert asyncio.run(digests.first_difference(chunks(HELLO), breaking())) == Difference(
        0, b"", HELLO, b"jello"
    )


async def many(size: int, last: bytes) -> AsyncIterator[bytes]:
    piece = b"x" * 50_000
    for _ in range(size // len(piece)):
        yield piece
    yield last


def test_large_contents_are_compared_in_constant_memory() -> None:
    tracemalloc.start()
    found = asyncio.run(digests.first_difference(many(50_000_000, b"a"), many(50_000_000, b"b")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found is not None
    assert found.offset == 50_000_000
    assert peak < 3_000_000


def test_both_contents_are_closed_when_they_differ_early() -> None:
    closed = []

    async def watched(name: str, content: bytes) -> AsyncIterator[bytes]:
        try:
            while True:
                yield content * BLOCK
        finally:
            closed.append(name)

    async def compare() -> None:
        await digests.first_difference(watched("one", b"1"), watched("other", b"2"))
        assert sorted(closed) == ["one", "other"]

    asyncio.run(compare())


def test_a_stream_that_cannot_be_closed_can_be_compared() -> None:
    class Plain:
        def __init__(self) -> None:
            self.pieces = [b"he", b"llo"]

        def __aiter__(self) -> Plain:
            return self

        async def __anext__(self) -> bytes:
            if not self.pieces:
                raise StopAsyncIteration
            return self.pieces.pop(0)

    assert asyncio.run(digests.first_difference(Plain(), chunks(HELLO))) is None


# How it is told.


def test_a_difference_is_shown_in_hex_and_text_with_a_mark_below_it() -> None:
    assert Difference(20, b"ab", b"c\x00\xff", b"C").lines() == [
        "first difference at offset 20 (0x14):",
        "  expected: 61 62 63 00 ff  |abc..|",
        "  actual:   61 62 43        |abC|",
        "                  ^^",
    ]


@pytest.mark.parametrize(
    ("expected", "actual", "text"),
    [
        (b"x", b"", "actual ends at offset 7, equal so far"),
        (b"", b"x", "expected ends at offset 7, equal so far"),
        (b"x", b"y", "first difference at offset 7 (0x7)"),
    ],
)
def test_a_prefix_is_told_from_a_difference(expected: bytes, actual: bytes, text: str) -> None:
    assert str(Difference(7, b"", expected, actual)) == text
