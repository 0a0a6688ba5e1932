"""The page of capabilities is what the command tells of real servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from capabilities import EXPORTERS, HERE, PAGE, alike, block, checked
from contract import HAS_JUMPSTARTER, OPENDAL

if TYPE_CHECKING:
    from pathlib import Path

    import servers


@pytest.mark.skipif(OPENDAL == "0.45.8", reason="the page tells of the newest of each line")
@pytest.mark.parametrize("name", [HERE, EXPORTERS] if HAS_JUMPSTARTER else [HERE])
def test_the_page_is_up_to_date(
    name: str,
    tmp_path: Path,
    seaweedfs: servers.SeaweedFS,
    wsgidav: servers.WebDAV,
    redis: servers.Redis,
) -> None:
    """If not: ``python tests/capabilities.py``, and read what has changed."""
    page = PAGE.read_text(encoding="utf-8")
    told = checked(tmp_path, seaweedfs, wsgidav, redis, name)
    assert alike(told) == block(page, name)
