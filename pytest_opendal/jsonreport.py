"""The report of a run as JSON: what ``--opendal-report`` writes, and the schema of that."""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_opendal import transfer
from pytest_opendal.report import Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_opendal.conflicts import Conflict
    from pytest_opendal.report import Leftover, Remnants, RunReport, StorageInfo


def schema() -> str:
    """Return the JSON Schema of the document, as text."""
    return Path(__file__).with_name("report.schema.json").read_text(encoding="utf-8")


def to_json(report: RunReport) -> dict[str, Any]:
    """Return the document that ``--opendal-report`` writes."""
    names = Counter(info.name for info in report.storages)
    return {
        "version": 1,
        "run_id": report.run_id,
        "storages": _storages_json(report),
        "created": report.created,
        "removed": report.removed,
        "leftovers": [
            _leftover_json(left, is_told=names[left.storage] > 1) for left in report.leftovers
        ],
        "remnants": [_remnants_json(found) for found in report.remnants],
        "conflicts": [_conflict_json(conflict) for conflict in report.conflicts],
    }


def _storages_json(report: RunReport) -> list[dict[str, Any]]:
    work = {one.storage: one for one in report.work}
    return [_storage_json(info, work.get(info) or Work(info)) for info in report.storages]


def _storage_json(info: StorageInfo, work: Work) -> dict[str, Any]:
    return {
        "name": info.name,
        "scheme": info.scheme,
        "location": info.location,
        "opendal": info.opendal,
        "created": work.created,
        "removed": work.removed,
        "bytes_written": work.written,
        "bytes_left": work.left,
    }


def _leftover_json(left: Leftover, *, is_told: bool) -> dict[str, Any]:
    """Return a leftover; where it ``is_told``, since several storages have the name."""
    document: dict[str, Any] = {
        "storage": left.storage,
        "path": left.path,
        "kind": left.kind,
        "size": left.size,
        "test": left.test,
        "worker": left.worker,
        "reason": str(left.reason),
        "error": left.error,
    }
    if is_told:
        document["location"] = left.location
    return document | {"holds": list(left.holds)} if left.holds else document


def _remnants_json(found: Remnants) -> dict[str, Any]:
    return {
        "run_id": found.run_id,
        "started": found.started,
        "host": found.host,
        "storage": found.storage,
        "count": found.count,
    }


def _conflict_json(conflict: Conflict) -> dict[str, Any]:
    return {
        "storage": conflict.storage,
        "path": conflict.path,
        "tests": list(conflict.tests),
        "workers": list(conflict.workers),
    }


def write_json(path: str | os.PathLike[str], report: RunReport) -> None:
    """Write the document of ``--opendal-report``; readers never see half of it.

    Raises:
        OSError: it cannot be written; the message is one line that names the path.
    """
    target = Path(path)
    text = "".join(_json_text(to_json(report)))
    try:
        if _is_special(target):
            target.write_text(text, encoding="utf-8")
        else:
            _replace(Path(os.path.realpath(target)), text)
    except OSError as error:
        msg = f"cannot write the opendal report {target}: {error.strerror or error}"
        raise OSError(msg) from error


def _json_text(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield JSON with one record a line: to grep and to compare, and far quicker than indent."""
    separator = "{"
    for key, value in document.items():
        yield f"{separator}\n  {json.dumps(key)}: "
        separator = ","
        if isinstance(value, list) and value:
            yield "[\n    " + ",\n    ".join(map(json.dumps, value)) + "\n  ]"
        else:
            yield json.dumps(value)
    yield "\n}\n"


def _is_special(path: Path) -> bool:
    # /dev/stdout and pipes are written to; as root, a replace would destroy the device.
    return path.exists() and not path.is_file() and not path.is_dir()


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = transfer.beside(path)
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise
