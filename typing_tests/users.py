"""What a test suite of a user looks like to mypy --strict and pyright; it is checked and never run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import pytest

from pytest_opendal import (
    AsyncStorage,
    Capability,
    EntryMode,
    Metadata,
    NotFound,
    PresignedRequest,
    Storage,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def image(opendal: Storage, tmp_path: Path) -> str:
    """A fixture that builds on ours."""
    source = tmp_path / "boot.img"
    opendal.write_from_path("images/boot.img", source, user_metadata={"board": "rpi4"})
    return "images/boot.img"


def test_storage(opendal: Storage, image: str) -> None:
    assert_type(opendal.read_bytes(image, offset=4, size=8), bytes)
    assert_type(opendal.hash(image, "md5"), str)
    assert_type(opendal.exists(Path(image)), bool)
    assert_type(list(opendal.list("images/", recursive=True)), list[str])
    assert_type(opendal.get_created_resources(), set[str])
    assert_type(opendal.ensure(image, Path("boot.img")), bool)
    with opendal.open("log.txt", "w") as file:
        assert_type(file.write("ok"), int)
    with pytest.raises(NotFound) as caught:
        opendal.stat("missing")
    error: StorageError = caught.value
    assert isinstance(error, FileNotFoundError)


def test_models(opendal: Storage, image: str) -> None:
    metadata = opendal.wait_until(image, 3, condition=lambda found: found.content_length > 0)
    assert_type(metadata, Metadata)
    assert_type(metadata.content_length, int)
    assert_type(metadata.mode, EntryMode)
    assert_type(metadata.last_modified, datetime | None)
    assert_type(opendal.capability(), Capability)
    assert_type(opendal.capability().presign_read, bool)
    assert_type(opendal.presign_read(image, 60), PresignedRequest)
    assert_type(opendal.presign_read(image, 60).headers, dict[str, str])


def test_claims(opendal: Storage, image: str) -> None:
    opendal.assert_hash(image, Path("boot.img"))
    opendal.assert_stat(image, content_length=8, mode="file", etag=lambda etag: etag)
    opendal.assert_tree("images", {"boot.img": b"FW", "other": None, "third": "md5:00"})
    assert_type(opendal.assert_presign(image, "read", content=b"FW"), PresignedRequest)


def test_factory(opendal_factory: Callable[..., Storage], opendal_session: Storage) -> None:
    assert_type(opendal_factory("results"), Storage)
    assert_type(opendal_session.name, str)


async def test_awaits(opendal_async: AsyncStorage, opendal_session: Storage) -> None:
    assert_type(await opendal_async.read_bytes("f", size=3), bytes)
    assert_type(await opendal_async.stat("f"), Metadata)
    assert_type(await opendal_async.capability(), Capability)
    assert_type(await opendal_async.list("d"), list[str])
    assert_type([path async for path in opendal_async.scan("d")], list[str])
    assert_type(await opendal_async.get_created_resources(), set[str])
    await opendal_async.assert_hash("f", b"FW", algo="md5")
    async with opendal_async.open("log.txt", "w") as file:
        assert_type(await file.write("ok"), int)
    await AsyncStorage(opendal_session).write_bytes("f", b"FW", content_type="text/plain")


async def test_mistakes(opendal: Storage, opendal_async: AsyncStorage) -> None:
    # Each of these has to be an error: an ignore that is not needed is one, for both checkers.
    opendal.read_bytes(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    opendal.write_bytes("f", b"x", mode="w")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    opendal.open("f", "rw")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await opendal_async.read_bytes(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await opendal_async.stat("f", if_mach="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    opendal_async.read_bytes("f")  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
