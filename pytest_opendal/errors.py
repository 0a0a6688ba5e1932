"""The errors that a storage raises, the same for local and remote storages.

Each is also an instance of the built-in that a Python user would catch::

    StorageError
    ├── NotFound            FileNotFoundError
    ├── AlreadyExists       FileExistsError
    ├── IsADirectory        IsADirectoryError
    ├── NotADirectory       NotADirectoryError
    ├── PermissionDenied    PermissionError
    ├── Unsupported
    ├── ConditionNotMatch
    ├── IsSameFile
    ├── Protected
    ├── InvalidPath         ValueError
    │   └── PathEscape
    ├── StorageTimeout      TimeoutError
    ├── StorageUnavailable  ConnectionError
    └── ConfigInvalid
"""

from __future__ import annotations


class StorageError(Exception):
    """Base of all errors that a storage raises; the original error is the cause.

    The text of an error names the storage, the operation and the path, and holds no credential.
    """

    def __reduce__(self) -> tuple[type[StorageError], tuple[str]]:
        # OSError's own reduce would turn a one-string error into (errno, strerror) on the way back.
        return type(self), (str(self),)


class NotFound(StorageError, FileNotFoundError):
    """The path does not exist."""


class AlreadyExists(StorageError, FileExistsError):
    """The path exists, and the operation or ``on_existing: refuse`` does not allow that."""


class IsADirectory(StorageError, IsADirectoryError):
    """The path is a directory where a file is needed, as ``""`` (the root) and ``"logs/"`` are."""


class NotADirectory(StorageError, NotADirectoryError):
    """The path, or one above it, is a file where a directory is needed."""


class PermissionDenied(StorageError, PermissionError):
    """The storage refuses this operation to these credentials."""


class Unsupported(StorageError):
    """The storage, or the installed opendal, cannot do this."""


class ConditionNotMatch(StorageError):
    """A condition such as ``if_match`` or ``if_not_exists`` did not hold."""


class IsSameFile(StorageError):
    """Source and target are the same path."""


class Protected(StorageError):
    """The configuration says that this path is never written or removed."""


class InvalidPath(StorageError, ValueError):
    """The path cannot be used on a storage, or is the root, which is never removed, copied or moved."""


class PathEscape(InvalidPath):
    """The path would leave the storage's root or the isolation area."""


class StorageTimeout(StorageError, TimeoutError):
    """The storage did not answer within ``timeout`` seconds."""


class StorageUnavailable(StorageError, ConnectionError):
    """The storage cannot be reached, or broke off."""


class ConfigInvalid(StorageError):
    """The configuration of a storage is wrong; raised before any test uses it."""


RAISED = (StorageError, AssertionError, ValueError, TypeError, OSError)
"""What operations and assertions raise for a test to see; OSError for files of this machine."""


def bare(error: Exception) -> Exception:
    """Return an error without the frames below: they hold what --showlocals shows, as the backend."""
    if error.__cause__ is not None:
        error.__cause__.with_traceback(None)
    return error.with_traceback(None)
