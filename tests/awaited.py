"""A storage that is awaited, as a test of one that is not sees it: for the contract suite."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from pytest_opendal.async_file import AsyncFile
from pytest_opendal.async_storage import AsyncStorage, Listing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from pytest_opendal.storage import Storage


class Awaited:
    """Awaits each method of an `AsyncStorage`, or an `AsyncFile`, in an event loop of its own."""

    def __init__(self, there: AsyncStorage | AsyncFile, here: Storage | None = None) -> None:
        """Stand for ``there``; what only ``here`` has is asked of that."""
        self._there = there
        self._here = here

    def __getattr__(self, name: str) -> Any:
        if not hasattr(self._there, name):
            return getattr(self._here, name)
        found = getattr(self._there, name)
        return partial(_called, found) if callable(found) else found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        _called(self._there.__aexit__, *error)  # type: ignore[union-attr]

    def __iter__(self) -> Iterator[Any]:
        return iter(_called(_all, self._there))


def awaited(storage: Storage) -> Any:
    """Return a storage that looks like ``storage``, and awaits an `AsyncStorage` of it."""
    return Awaited(AsyncStorage(storage), storage)


def _called(method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    answer = method(*arguments, **named)
    if isinstance(answer, Listing):
        return _listed(aiter(answer))
    if isinstance(answer, str | bool):  # `path`, `readable`: nothing to wait for
        return answer
    found = asyncio.run(_result(answer))
    return Awaited(found) if isinstance(found, AsyncFile) else found


def _listed(entries: AsyncIterator[str]) -> Iterator[str]:
    with asyncio.Runner() as runner:
        while entry := runner.run(_result(anext(entries, ""))):
            yield entry


async def _result(answer: Awaitable[Any]) -> Any:
    return await answer


async def _all(lines: AsyncFile) -> list[Any]:
    return [line async for line in lines]
