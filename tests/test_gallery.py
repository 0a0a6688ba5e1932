"""The page of messages is what its tests tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gallery

if TYPE_CHECKING:
    import servers


def test_the_page_is_up_to_date(seaweedfs: servers.SeaweedFS) -> None:
    """If not: ``python tests/gallery.py``, and read what has changed."""
    page = gallery.PAGE.read_text(encoding="utf-8")

    assert gallery.refreshed(page, seaweedfs) == page


def test_each_assertion_of_a_storage_is_on_the_page() -> None:
    from pytest_opendal import Storage

    page = gallery.PAGE.read_text(encoding="utf-8")
    names = [name for name in dir(Storage) if name.startswith("assert_")]
    assert [name for name in names if f"## {name}\n" not in page] == []
