"""One storage of the configuration as this process reaches it, shared by all its storage objects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NoReturn, TypeVar

from pytest_opendal import errors
from pytest_opendal.backends.protocol import NO_CONDITIONS
from pytest_opendal.loop import advance, is_on_loop, on_loop, resumed
from pytest_opendal.meter import Meter
from pytest_opendal.paths import matches, parents
from pytest_opendal.pathtree import PathTree

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from contextlib import AbstractContextManager

    from pytest_opendal.backends.protocol import Backend, Conditions
    from pytest_opendal.meter import Moving
    from pytest_opendal.models import Capability, Metadata
    from pytest_opendal.settings import StorageSettings

T = TypeVar("T")
E = TypeVar("E", bound=errors.StorageError)

_INTERRUPTED_SECONDS = 1.0
_CANCELLED_SECONDS = 1.0
_SLOW_REMOVALS = 100

UNREACHABLE = (errors.StorageTimeout, errors.StorageUnavailable)
"""Errors that say nothing of what the storage did with the request."""


class Connection:
    """Asks a backend with a time limit, and turns what it raises into our errors."""

    def __init__(self, settings: StorageSettings, backend: Backend) -> None:
        self.settings = settings
        self.name = settings.name
        self.backend = backend
        self.timeout = settings.timeout
        self.directories: PathTree[bool] = PathTree()
        """Names of directories seen to exist, on services where they are things of their own."""
        self.shared: set[str] = set()
        """Directories above areas: noted once for all, perhaps before anybody makes them."""
        self.special: set[str] = set()
        """Names of devices and pipes, which are written to and never replaced."""
        self.checked = False
        self.meter = Meter()
        self.lists = True
        """Whether the service lists what it holds; known once it is checked."""
        self.doubtful = False
        """It was silent or unreachable when it was last asked."""

    @property
    def is_ready(self) -> bool:
        """Whether it answered when it was last asked, and nobody has seen it break off since."""
        return self.checked and not self.doubtful and not self.backend.may_be_gone

    def hurry(self) -> None:
        """After an interrupt: a storage that does not answer gets one second."""
        self.timeout = min(self.timeout, _INTERRUPTED_SECONDS)

    async def check(self) -> None:
        """Make sure that the storage answers: once, and again after it did not.

        Raises:
            StorageUnavailable, StorageTimeout: it does not.
        """
        if not self.is_ready:
            await self.ask("connect", "", self.backend.check())
            self.lists = (await self.capability()).list
            self.checked, self.doubtful = True, False

    async def ask(self, operation: str, path: str, answer: Awaitable[T]) -> T:
        """Await one call of the backend for at most ``timeout`` seconds."""
        if not is_on_loop():
            if self.backend.at_once and isinstance(answer, Coroutine):
                try:
                    advance(answer)
                except StopIteration as done:
                    result: T = done.value
                    return result
                except Exception as error:
                    raise self._explained(operation, path, error) from self._cause(error)
                answer = resumed(answer)
            await on_loop()
        limit = asyncio.timeout(self._patience())
        try:
            async with limit:
                return await answer
        except Exception as error:
            self._raise(operation, path, error, limit)

    @asynccontextmanager
    async def watch(self, operation: str, path: str) -> AsyncIterator[Callable[[], None]]:
        """Limit what runs inside to ``timeout`` seconds after the last call of what this yields."""
        await on_loop()
        loop = asyncio.get_running_loop()
        seconds = self._patience()
        limit = asyncio.timeout(seconds)

        def still_going() -> None:
            limit.reschedule(loop.time() + seconds)

        try:
            async with limit:
                yield still_going
        except Exception as error:
            self._raise(operation, path, error, limit)

    def _raise(
        self, operation: str, path: str, error: Exception, limit: asyncio.Timeout
    ) -> NoReturn:
        """Raise our error for one that ended a call."""
        if limit.expired() and not isinstance(error, errors.StorageError):
            self.doubtful = True
            raise self.timed_out(operation, path) from None
        raise self._explained(operation, path, error) from self._cause(error)

    def _explained(self, operation: str, path: str, error: Exception) -> errors.StorageError:
        """Return our error for one of the backend's, or of its own."""
        if isinstance(error, errors.StorageError):
            return self.error(type(error), operation, path, str(error))
        kind, reason = self.backend.explain(error)
        self.doubtful = self.doubtful or issubclass(kind, errors.StorageUnavailable)
        return self.error(kind, operation, path, reason)

    def _cause(self, error: Exception) -> BaseException | None:
        """Return what one of our errors came from, or another's error as it may be shown."""
        ours = isinstance(error, errors.StorageError)
        return error.__cause__ if ours else self.backend.cause(error)

    def _patience(self) -> float:
        """Return the seconds for a call; what a cancelled operation puts right has to be quick."""
        task = asyncio.current_task()
        is_cancelled = task is not None and task.cancelling()
        return min(self.timeout, _CANCELLED_SECONDS) if is_cancelled else self.timeout

    def moving(
        self, operation: str, path: str, total: int | None = None
    ) -> AbstractContextManager[Moving]:
        """Return what counts the bytes of a transfer, for those who watch."""
        return self.meter.moving(f"{self.name}: {operation} {path}", total)

    def timed_out(self, operation: str, path: str) -> errors.StorageTimeout:
        """Return the error for silence."""
        reason = f"no answer within {self.timeout:g} s (timeout)"
        return self.error(errors.StorageTimeout, operation, path, reason)

    def error(self, kind: type[E], operation: str, path: str, reason: str) -> E:
        """Return an error that names storage, operation, path and reason, once."""
        place = f"{self.name}: {operation}"
        if reason.startswith(place):
            return kind(reason)
        return kind(f"{place} {path!r}: {reason}" if path else f"{place}: {reason}")

    def refuse_protected(
        self, operation: str, name: str, protect: Iterable[str] | None = None
    ) -> None:
        """Raise `Protected` when a glob of ``protect`` names ``name`` or a directory above it.

        Args:
            operation: that is refused.
            name: that it would change.
            protect: the globs; by default those that the storage was first used with.
        """
        for pattern in self.settings.protect if protect is None else protect:
            if any(matches(place, pattern) for place in (name, *parents(name))):
                reason = f"protected by {pattern!r} in the configuration"
                raise self.error(errors.Protected, operation, name, reason)

    async def refuse_protected_below(
        self, operation: str, name: str, protect: Iterable[str] | None = None
    ) -> None:
        """Raise `Protected` when ``name`` or anything below it is protected; see `refuse_protected`."""
        self.refuse_protected(operation, name, protect)
        if self.settings.protect if protect is None else protect:
            async for path in self.list(f"{name}/", recursive=True):
                self.refuse_protected(operation, path.strip("/"), protect)

    async def capability(self) -> Capability:
        """Return what the service can do."""
        return await self.ask("capability", "", self.backend.capability())

    async def stat(self, path: str, conditions: Conditions = NO_CONDITIONS) -> Metadata:
        """Return the metadata of a file or directory (trailing slash)."""
        return await self.ask("stat", path, self.backend.stat(path, conditions))

    async def find(self, path: str) -> Metadata | None:
        """Return the metadata of a path, None when nothing is there."""
        try:
            return await self.stat(path)
        except (errors.NotFound, errors.NotADirectory):
            return None

    async def remove_empty(self, name: str) -> bool:
        """Remove the directory ``name`` unless something is in it; whether it is gone."""
        try:
            gone = await self.ask("delete", f"{name}/", self.backend.remove_empty(f"{name}/"))
        except errors.NotFound:  # another worker removes it at the same time
            gone = True
        if gone:
            self.directories.pop(name)
        return gone

    async def remove_tree(self, name: str) -> None:
        """Remove the directory ``name`` and all below it; slow is no failure while the storage answers."""
        self.directories.pop(name)
        for _ in range(_SLOW_REMOVALS):
            try:
                return await self.ask(
                    "remove_all", f"{name}/", self.backend.remove_tree(f"{name}/")
                )
            except errors.StorageTimeout:
                await self.ask("connect", "", self.backend.check())
        raise self.timed_out("remove_all", f"{name}/")

    async def list(self, path: str, *, recursive: bool = False) -> AsyncIterator[str]:
        """Yield what the service lists below a directory, each entry within the time limit."""
        await on_loop()
        operation = "scan" if recursive else "list"
        entries = self.backend.list(path, recursive=recursive)
        while (entry := await self.ask(operation, path, anext(entries, None))) is not None:
            yield entry

    async def children(self, name: str, limit: int) -> builtins.list[str]:
        """Return up to ``limit`` paths directly below the directory ``name``."""
        found: builtins.list[str] = []
        async for entry in self.list(f"{name}/" if name else ""):
            if entry.strip("/") != name:
                found.append(entry)
            if len(found) == limit:
                break
        return found
