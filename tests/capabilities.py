"""The capabilities in `docs/reference/capabilities.md`: what `pytest-opendal check` tells of real servers.

python tests/capabilities.py     writes those of the OpenDAL that is installed
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from contract import HAS_JUMPSTARTER, IS_045

if TYPE_CHECKING:
    from collections.abc import Mapping

    import servers

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "capabilities.md"
HERE = "opendal 0.45" if IS_045 else "opendal 0.47"
EXPORTERS = "exporters"

_BLOCK = r"```text\n\$ pytest-opendal check {name}.yaml\n(?P<told>.*?)^```$"
_NUMBER = re.compile(r"\d+(\.\d+)? ms")
_PORT = re.compile(r"127\.0\.0\.1:\d+")


def block(page: str, name: str) -> str:
    """Return what the page shows, with all times alike."""
    return alike(_found(page, name)["told"])


def alike(told: str) -> str:
    """Return the text with all times alike."""
    return _NUMBER.sub("1 ms", told)


def replaced(page: str, name: str, told: str) -> str:
    """Return the page with another text under a name."""
    found = _found(page, name)
    return page[: found.start("told")] + told + page[found.end("told") :]


def _found(page: str, name: str) -> re.Match[str]:
    pattern = _BLOCK.format(name=re.escape(file_of(name)))
    found = re.search(pattern, page, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{PAGE.name} has no block for {name}"
    return found


def file_of(name: str) -> str:
    """Return how the page names the configuration."""
    return name.replace(" ", "-")


def checked(
    place: Path, s3: servers.SeaweedFS, webdav: servers.WebDAV, redis: servers.Redis, name: str
) -> str:
    """Return what ``check`` tells of the storages here, or of those behind an exporter.

    Args:
        place: an empty directory.
        s3: serves the storage of that name, like the next two.
        webdav: as above.
        redis: as above.
        name: `HERE` or `EXPORTERS`.
    """
    direct: dict[str, Mapping[str, object]] = {
        "fs": {"scheme": "fs", "kwargs": {"root": str(place / "sdcard")}},
        "s3": {"scheme": "s3", "kwargs": s3.kwargs},
        "webdav": {"scheme": "webdav", "kwargs": webdav.kwargs},
        "memory": {"scheme": "memory"},
        "redis": {"scheme": "redis", "kwargs": redis.kwargs},
    }
    storages = _behind_an_exporter(place, direct) if name == EXPORTERS else direct
    (place / "lab.yaml").write_text(json.dumps({"default": "fs", "storages": storages}))
    command = [str(Path(sys.executable).with_name("pytest-opendal")), "check", "lab.yaml"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True)
    told = done.stdout.replace(str(place), "/home/me/lab")
    return _PORT.sub("127.0.0.1:9000", told)


def _behind_an_exporter(
    place: Path, direct: Mapping[str, Mapping[str, object]]
) -> dict[str, Mapping[str, object]]:
    export = {
        name: {
            "type": "jumpstarter_driver_opendal.driver.Opendal",
            "config": {"scheme": entry["scheme"], "kwargs": entry.get("kwargs", {})},
        }
        for name, entry in direct.items()
    }
    config = {
        "apiVersion": "jumpstarter.dev/v1alpha1",
        "kind": "ExporterConfig",
        "metadata": {"namespace": "default", "name": "lab"},
        "export": export,
    }
    (place / "exporter.yaml").write_text(json.dumps(config))
    way = {"exporter_config": "exporter.yaml"}
    return {name: {"jumpstarter": {**way, "driver": name}} for name in direct}


def main() -> None:
    """Write the page."""
    import servers

    with tempfile.TemporaryDirectory() as scratch, ExitStack() as started:
        place = Path(scratch)
        s3 = started.enter_context(servers.seaweedfs(place / "s3"))
        webdav = started.enter_context(servers.wsgidav(place / "webdav"))
        redis = started.enter_context(servers.redis(place / "redis"))
        for name in (HERE, EXPORTERS) if HAS_JUMPSTARTER else (HERE,):
            lab = place / file_of(name)
            lab.mkdir()
            told = checked(lab, s3, webdav, redis, name)
            text = replaced(PAGE.read_text(encoding="utf-8"), name, told)
            PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
