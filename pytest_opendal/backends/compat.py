"""Where opendal 0.45 and 0.47 differ; nothing outside this module asks for the version."""

from __future__ import annotations

import importlib.metadata
import re
from typing import TYPE_CHECKING, Any

import opendal
from opendal import exceptions, layers

from pytest_opendal import errors
from pytest_opendal.backends.repeating import FIRST_SECONDS, LONGEST_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pytest_opendal.backends.protocol import Conditions, WriteOptions
    from pytest_opendal.models import Capability

VERSION = importlib.metadata.version("opendal")
HAS_OPTIONS = tuple(int(part) for part in VERSION.split(".")[:2]) >= (0, 46)
"""Conditions, ranges, user metadata, `if_not_exists` and tuned streams came after 0.45."""

_PARTS_AT_ONCE = 4

KINDS: dict[str, type[errors.StorageError]] = {
    "NotFound": errors.NotFound,
    "PermissionDenied": errors.PermissionDenied,
    "Unsupported": errors.Unsupported,
    "ConfigInvalid": errors.ConfigInvalid,
    "IsADirectory": errors.IsADirectory,
    "NotADirectory": errors.NotADirectory,
    "AlreadyExists": errors.AlreadyExists,
    "IsSameFile": errors.IsSameFile,
    "ConditionNotMatch": errors.ConditionNotMatch,
    "RangeNotSatisfied": errors.StorageError,
    "RateLimited": errors.StorageUnavailable,
    "Conflict": errors.StorageError,
    "Unexpected": errors.StorageError,
}
"""opendal's error kinds and ours."""

# 0.45's classes share a base, 0.47's do not; inside a file's methods both raise a plain OSError.
ERRORS = (*(getattr(exceptions, kind) for kind in KINDS if hasattr(exceptions, kind)), OSError)

_TEXT = re.compile(
    r"^(?P<kind>\w+) \((?:permanent|temporary|persistent)\)[^\n]*?(?:=> ?(?P<reason>[^\n]*)|$)",
    re.MULTILINE,
)


_BUILTINS: dict[type[BaseException], str] = {
    FileNotFoundError: "NotFound",
    FileExistsError: "AlreadyExists",
    IsADirectoryError: "IsADirectory",
    NotADirectoryError: "NotADirectory",
    PermissionError: "PermissionDenied",
}


def kind_and_reason(error: BaseException) -> tuple[str, str]:
    """Return opendal's kind of an error and the first line of its reason."""
    text = str(error)
    found = _TEXT.match(text)
    if found is None:
        return _BUILTINS.get(type(error), type(error).__name__), text.partition("\n")[0]
    return found["kind"], found["reason"] or ""


def needs_newer(feature: str) -> errors.Unsupported:
    """Return the error for what only a newer opendal can do."""
    return errors.Unsupported(f"{feature} needs opendal 0.46 or newer, this is {VERSION}")


def conditions(given: Conditions) -> dict[str, Any]:
    """Return keyword arguments for `stat` and `read`."""
    found = {name: getattr(given, name) for name in ("if_match", "if_none_match")}
    found = {name: value for name, value in found.items() if value is not None}
    if found and not HAS_OPTIONS:
        raise needs_newer(" and ".join(found))
    return found


def write_options(given: WriteOptions) -> dict[str, Any]:
    """Return keyword arguments for `write`."""
    names = (
        "content_type",
        "cache_control",
        "content_disposition",
        "user_metadata",
        "if_not_exists",
    )
    found = {name: getattr(given, name) for name in names if getattr(given, name)}
    missing = [name for name in ("user_metadata", "if_not_exists") if name in found]
    if missing and not HAS_OPTIONS:
        raise needs_newer(" and ".join(missing))
    return found


# 0.45 stores it, and says that it cannot.
_UNDECLARED = {("s3", "content_disposition")}


def stores(capability: Capability, scheme: str, option: str) -> bool:
    """Whether the service stores a write option."""
    declared: bool = getattr(capability, f"write_with_{option}")
    return declared or (scheme, option) in _UNDECLARED


async def read(
    operator: opendal.AsyncOperator, path: str, offset: int, size: int | None, given: Conditions
) -> bytes:
    """Read a range of a file; 0.45 reads it from an open file."""
    if HAS_OPTIONS:
        ranged: dict[str, Any] = {"offset": offset} if offset else {}
        if size is not None:
            ranged["size"] = size
        return await operator.read(path, **ranged, **conditions(given))
    conditions(given)
    if not offset and size is None:
        return await operator.read(path)
    return await _read_open(operator, path, offset, size)


async def _read_open(
    operator: opendal.AsyncOperator, path: str, offset: int, size: int | None
) -> bytes:
    file = await operator.open(path, "rb")
    try:
        await file.seek(offset)
        pieces: list[bytes] = []
        wanted = size
        while wanted is None or wanted > 0:
            piece = await file.read(wanted if wanted is not None else 1 << 20)
            if not piece:
                break
            pieces.append(piece)
            wanted = None if wanted is None else wanted - len(piece)
        return b"".join(pieces)
    finally:
        await file.close()


def on_threads(operator: opendal.AsyncOperator) -> opendal.Operator | None:
    """Return the operator for threads, None where its calls would stop all of them.

    0.45 holds the GIL while it waits for the service.
    """
    return operator.to_operator() if HAS_OPTIONS else None


def can_stream(options: WriteOptions) -> bool:
    """Whether a streamed write can carry ``options``; 0.45's `open` takes none."""
    return HAS_OPTIONS or not write_options(options)


async def open_writer(
    operator: opendal.AsyncOperator, path: str, chunk: int, options: WriteOptions
) -> Any:
    """Open a stream that is published when it is closed; ``chunk`` is the size of a part in bytes."""
    if not HAS_OPTIONS:
        return await operator.open(path, "wb")
    return await operator.open(
        path, "wb", chunk=chunk, concurrent=_PARTS_AT_ONCE, **write_options(options)
    )


def retrying(operator: opendal.AsyncOperator, times: int) -> opendal.AsyncOperator:
    """Return an operator that sends again, up to ``times`` times, what fails for the moment.

    It goes on with a broken transfer where that broke off; each pause is longer than the one before.
    """
    # A hook may put something else in the operator's place.
    if not times or not isinstance(operator, opendal.AsyncOperator):
        return operator
    return operator.layer(
        layers.RetryLayer(
            max_times=times,
            factor=2.0,
            jitter=True,
            min_delay=FIRST_SECONDS,
            max_delay=LONGEST_SECONDS,
        )
    )


async def entries(
    operator: opendal.AsyncOperator, path: str, recursive: bool
) -> AsyncIterator[str]:
    """Yield the paths that the service lists."""
    listing = await (operator.scan(path) if recursive else operator.list(path))
    async for entry in listing:
        yield entry.path
