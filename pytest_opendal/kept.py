"""A context held open by a task of its own, because anyio wants it left by the task that entered it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

T = TypeVar("T")

_LEAVE_SECONDS = 5.0


def first_of(error: BaseException) -> BaseException:
    """Return the error itself, or the first one in a group of groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class Kept(Generic[T]):
    """Enters a context when it is first asked for, and stays in it until `leave`."""

    def __init__(self, context: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._context = context
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._entered: asyncio.Future[T]
        self._leaving: asyncio.Event

    async def enter(self) -> T:
        """Return what the context gives; waiting may be given up and taken up again.

        Raises:
            Exception: what entering raised.
        """
        if self._task is None:
            self._leaving = asyncio.Event()
            self._entered = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._stay())
        return await asyncio.shield(self._entered)

    async def entered_within(self, seconds: float) -> bool:
        """Whether the context was entered, or could not be, in this time; `enter` tells which."""
        waiting = asyncio.ensure_future(self.enter())
        done, _ = await asyncio.wait([waiting], timeout=seconds)
        if done:
            waiting.exception()  # seen; the next `enter` raises it again
        waiting.cancel()
        return bool(done)

    async def _stay(self) -> None:
        try:
            async with self._context() as given:
                self._entered.set_result(given)
                await self._leaving.wait()
        except BaseException as error:
            if self._entered.done():
                raise
            if isinstance(error, asyncio.CancelledError):
                self._entered.cancel()
                raise
            self._entered.set_exception(first_of(error))
            self._entered.exception()  # seen, also when nobody waits any more

    @property
    def failure(self) -> BaseException | None:
        """What ended the context from inside after it was entered."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()

    async def leave(self, seconds: float = _LEAVE_SECONDS) -> bool:
        """Leave the context, or stop entering it; who is interrupted may go on with it.

        Args:
            seconds: that it is waited for before it is broken off.

        Returns:
            Whether it ended in that time.
        """
        if self._task is not None:
            self._ending, self._task = self._task, None
            self._leaving.set()
            if not self._entered.done():
                self._ending.cancel()
        ending = self._ending
        if ending is None:
            return True
        in_time = ending.done() or bool((await asyncio.wait([ending], timeout=seconds))[0])
        if not in_time:
            ending.cancel()
            await asyncio.wait([ending], timeout=_LEAVE_SECONDS)
        if ending.done() and not ending.cancelled():
            ending.exception()  # seen: it told of itself while it was used
        return in_time
