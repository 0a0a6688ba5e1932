"""What an assertion needs of a storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pytest_opendal.models import Metadata, PresignedRequest
    from pytest_opendal.paths import StrPath


class Subject(Protocol):
    """A storage as assertions see it; its errors are those of `pytest_opendal.errors`."""

    @property
    def timeout(self) -> float:
        """Seconds per request, and per chunk when streaming."""

    async def stat(self, path: StrPath) -> Metadata:
        """Return the metadata; raises `NotFound`."""

    async def exists(self, path: StrPath) -> bool:
        """Whether the path exists."""

    async def hash(self, path: StrPath, algo: str = "sha256") -> str:
        """Return the hex digest of a file."""

    def stream(self, path: StrPath, offset: int = 0) -> AsyncIterator[bytes]:
        """Yield the content of a file in chunks."""

    def list(self, path: StrPath) -> AsyncIterator[str]:
        """Yield the paths in a directory and maybe itself; directories end with ``/``."""

    def scan(self, path: StrPath) -> AsyncIterator[str]:
        """Yield the paths below a directory at any depth and maybe itself."""

    async def presign(self, operation: str, path: StrPath, expire_second: int) -> PresignedRequest:
        """Sign ``read``, ``stat``, ``write`` or ``delete``; raises `Unsupported`."""

    def forget(self, path: StrPath) -> None:
        """Take a file that a stranger has removed out of the record of what was created."""

    def display(self, path: StrPath) -> str:
        """Return the path as messages show it: ``sdcard:dir/file``."""
