"""A firmware image on its way to a board and back: the same tests on every storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_opendal import Storage
    from pytest_opendal.settings import Lab

IMAGE = "images/firmware.img"


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build makes: 1 MiB with a version at its start."""
    path = tmp_path_factory.mktemp("build") / "firmware-1.4.2.img"
    path.write_bytes(b"FW 1.4.2".ljust(16, b"\0") + bytes(range(256)) * 4096)
    return path


def test_upload_arrives_whole(opendal: Storage, image: Path) -> None:
    opendal.write_from_path(IMAGE, image)

    opendal.assert_hash(IMAGE, image)
    opendal.assert_stat(IMAGE, mode="file", content_length=image.stat().st_size)
    assert IMAGE in opendal.list("images/")
    # Nothing has to be removed here: that happens when the test ends, also when it fails.


def test_a_new_image_moves_into_place(opendal: Storage, image: Path) -> None:
    opendal.write_bytes("images/current.img", b"FW 1.4.1")
    opendal.write_from_path("images/next.img", image)

    opendal.copy("images/current.img", "images/fallback.img")
    opendal.copy("images/next.img", "images/current.img")
    opendal.delete("images/next.img")

    opendal.assert_tree("images", {"current.img": image, "fallback.img": b"FW 1.4.1"})


@pytest.mark.opendal_capability("presign_read")
def test_a_board_downloads_by_link(opendal: Storage, image: Path) -> None:
    opendal.write_from_path(IMAGE, image)

    # Signs a link and follows it as a board would that knows no credentials.
    opendal.assert_presign(IMAGE, expire_second=60, content=image)


def test_boot_log_tells_no_error(opendal: Storage) -> None:
    with opendal.open("logs/boot.log", "w") as log:
        log.write("U-Boot 2026.07\n")
        log.write("FW 1.4.2: self-test passed\n")

    with opendal.open("logs/boot.log", "r") as log:
        lines = list(log)
    assert lines[-1] == "FW 1.4.2: self-test passed\n"
    assert not [line for line in lines if "ERROR" in line]


@pytest.fixture(scope="session")
def golden(opendal_session: Storage, image: Path) -> str:
    """An image for all tests, uploaded once; it goes when the session ends."""
    opendal_session.ensure("golden/firmware.img", image)
    return "golden/firmware.img"


@pytest.mark.parametrize("slot", ["a", "b"])
def test_header_of_the_shared_image(opendal_session: Storage, golden: str, slot: str) -> None:
    header = opendal_session.read_bytes(golden, size=16)

    assert header.rstrip(b"\0") == b"FW 1.4.2", f"slot {slot}"


@pytest.fixture
def results(opendal_factory: Callable[..., Storage], opendal_config: Lab) -> Storage:
    """The storage `results` of lab.yaml; where there is none, the one that all tests use."""
    return opendal_factory("results" if "results" in opendal_config.storages else None)


def test_measurement_is_filed_apart(opendal: Storage, results: Storage, image: Path) -> None:
    opendal.write_from_path(IMAGE, image)

    results.write_bytes("flash/duration.txt", b"12.7 s\n")

    results.assert_hash("flash/duration.txt", b"12.7 s\n")
    assert results.get_created_resources() >= {"flash/duration.txt"}
