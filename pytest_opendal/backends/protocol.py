"""What a storage needs of a backend: a few operations, all of them coroutines on the loop thread.

Paths are normalized and relative to the storage's root; directories end with ``/``. A backend raises
whatever its client raises and tells by `Backend.explain` what that means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from pytest_opendal.errors import StorageError
    from pytest_opendal.models import Capability, Metadata, PresignedRequest

Operation = Literal["read", "stat", "write", "delete"]
"""What a presigned request does."""

PLACE, LEASE = "place", "lease"
"""Keys of `Backend.place`: which exporter it is, and the lease by which this process got it."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions of a read or stat: entity tags as the service gave them."""

    if_match: str | None = None
    if_none_match: str | None = None


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What is stored beside the content, where the service can."""

    content_type: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    user_metadata: Mapping[str, str] | None = None
    if_not_exists: bool = False


NO_CONDITIONS = Conditions()
NO_OPTIONS = WriteOptions()


class Reader(Protocol):
    """An open file; positions and sizes in bytes."""

    def read(self, size: int) -> Awaitable[bytes]:
        """Return up to ``size`` bytes, ``b""`` at the end."""

    def seek(self, position: int, whence: int = 0, /) -> Awaitable[int]:
        """Move, and return the new position from the start."""

    def close(self) -> Awaitable[None]:
        """Release the file; may be called twice."""


class ThreadReader(Protocol):
    """An open file whose calls wait, for a thread of its own."""

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, ``b""`` at the end."""

    def close(self) -> None:
        """Release the file."""


class Backend(Protocol):
    """One way to reach a storage."""

    scheme: str
    hierarchical: bool
    """Directories are things of their own: writing a file makes those above it."""
    appends: bool
    """Whether an append really appends."""
    at_once: bool
    """Calls may begin on any thread: what waits awaits `on_loop` first."""

    @property
    def may_be_gone(self) -> bool:
        """The other side broke off; `check` tells whether it is there again."""

    @property
    def replaces(self) -> bool:
        """A broken upload leaves half a file, and `replace` can put a whole one in its place."""

    @property
    def place(self) -> Mapping[str, str]:
        """What tells it from others that the same settings may lead to; no credential."""

    async def check(self) -> None:
        """Ask the storage anything, to see that it answers."""

    async def capability(self) -> Capability:
        """Return what the service can do."""

    async def stat(self, path: str, conditions: Conditions = NO_CONDITIONS) -> Metadata:
        """Return the metadata of a file, or of a directory (trailing slash)."""

    async def read(self, path: str, offset: int, size: int | None, conditions: Conditions) -> bytes:
        """Return ``size`` bytes (None: all) of a file from ``offset`` on."""

    async def open(self, path: str) -> Reader:
        """Open a file for reading."""

    async def opener(self, path: str) -> Callable[[], ThreadReader] | None:
        """Return what opens a file on a thread of its own, None where that is no faster way to read it."""

    async def write(self, path: str, data: bytes, options: WriteOptions) -> None:
        """Store a whole file in one call."""

    async def append(self, path: str, data: bytes) -> None:
        """Add to the end of a file; called only where `appends`."""

    async def upload(self, path: str, chunks: AsyncIterator[bytes], options: WriteOptions) -> None:
        """Store a whole file from a stream; when the stream or the service fails, nothing is published."""

    async def create_dir(self, path: str) -> None:
        """Make a directory and those above it."""

    async def delete(self, path: str) -> None:
        """Remove a file, or the marker of a directory; what is missing is no error."""

    async def remove_file(self, path: str) -> None:
        """Remove a file; a directory that is in its place stays."""

    async def remove_empty(self, path: str) -> bool:
        """Remove a directory unless something is in it; whether it is gone."""

    async def remove_tree(self, path: str) -> None:
        """Remove a directory (trailing slash) and all below it, in as few requests as the service allows."""

    async def copy(self, source: str, target: str) -> None:
        """Copy a file."""

    async def rename(self, source: str, target: str) -> None:
        """Move a file, or a directory with all below it."""

    async def replace(self, part: str, target: str) -> None:
        """Put the file ``part`` in the place of ``target``; called only where `replaces`."""

    def list(self, path: str, *, recursive: bool = False) -> AsyncGenerator[str]:
        """Yield paths below a directory (trailing slash, or ``""``), itself where the service tells it."""

    async def presign(
        self, operation: Operation, path: str, expire_second: int
    ) -> PresignedRequest:
        """Sign a request that a stranger can perform for ``expire_second`` seconds."""

    async def hash(self, path: str, algo: str) -> str | None:
        """Return the hex digest where the other side computes it, else None."""

    def local_path(self, path: str) -> Path | None:
        """Where the file is on this machine, else None."""

    def explain(self, error: BaseException) -> tuple[type[StorageError], str]:
        """Return which of our errors a client's error is, and its reason in one line without secrets."""

    def cause(self, error: BaseException) -> BaseException | None:
        """Return a client's error to be the cause of ours: without frames and secrets; None for none."""

    async def close(self) -> None:
        """Let go of the storage."""
