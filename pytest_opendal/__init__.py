"""pytest-opendal: a storage for hardware tests that cleans up after them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_opendal.async_storage import AsyncStorage
    from pytest_opendal.errors import (
        AlreadyExists,
        ConditionNotMatch,
        ConfigInvalid,
        InvalidPath,
        IsADirectory,
        IsSameFile,
        NotADirectory,
        NotFound,
        PathEscape,
        PermissionDenied,
        Protected,
        StorageError,
        StorageTimeout,
        StorageUnavailable,
        Unsupported,
    )
    from pytest_opendal.models import Capability, EntryMode, Metadata, PresignedRequest
    from pytest_opendal.report import Leftover
    from pytest_opendal.storage import Storage

__all__ = [
    "AlreadyExists",
    "AsyncStorage",
    "Capability",
    "ConditionNotMatch",
    "ConfigInvalid",
    "EntryMode",
    "InvalidPath",
    "IsADirectory",
    "IsSameFile",
    "Leftover",
    "Metadata",
    "NotADirectory",
    "NotFound",
    "PathEscape",
    "PermissionDenied",
    "PresignedRequest",
    "Protected",
    "Storage",
    "StorageError",
    "StorageTimeout",
    "StorageUnavailable",
    "Unsupported",
]

_HOMES = {
    "AsyncStorage": "async_storage",
    "Storage": "storage",
    "Leftover": "report",
    **dict.fromkeys(("Capability", "EntryMode", "Metadata", "PresignedRequest"), "models"),
}


def __getattr__(name: str) -> Any:
    # Every pytest run imports this package; pydantic and the rest only come with the first use.
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
