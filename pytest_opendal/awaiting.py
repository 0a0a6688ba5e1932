"""How a task of the test's own event loop waits for a coroutine on ours: on asyncio and on trio."""

from __future__ import annotations

import asyncio
import sys
import time
from concurrent.futures import wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_opendal.errors import RAISED, bare

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pytest_opendal.loop import Call, LoopThread

T = TypeVar("T")

# pytest then shows the line of the test, not these frames.
__tracebackhide__ = True

_END_SECONDS = 5.0
"""How long a cancelled task waits for its operation to put things right, each step within a second."""


class Calls:
    """What awaiting tasks asked of one storage, and has not ended yet."""

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop
        self._running: set[Call[Any]] = set()

    async def ask(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on our loop and return its result.

        A cancellation here cancels it there, and waits until it has put things right.
        """
        return await self.answer(self.begin(coroutine))

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Call[T]:
        """Begin what `answer` waits for."""
        call = self._loop.begin(coroutine)
        self._running.add(call)
        call.ended.add_done_callback(lambda _: self._running.discard(call))
        return call

    async def answer(self, call: Call[T]) -> T:
        """Wait for what was begun, and return its result; see `ask`."""
        await (_on_trio(call) if _is_trio() else _on_asyncio(call))
        try:
            return call.result()
        except RAISED as error:
            raise bare(error) from error.__cause__

    async def settle(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine to its end, but not for ever, also for a task that is cancelled already."""
        call = self.begin(coroutine)
        await (_end_on_trio(call) if _is_trio() else _end_on_asyncio(call))

    def end(self) -> None:
        """Cancel what nobody awaited, or a timeout plugin broke off; block until it has ended."""
        if running := list(self._running):
            for call in running:
                call.cancel()
            wait([call.ended for call in running], _END_SECONDS)


def _is_trio() -> bool:
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_task()


async def _on_asyncio(call: Call[Any]) -> None:
    try:
        await _asyncio_event(call).wait()
    except asyncio.CancelledError:
        call.cancel()
        await _end_on_asyncio(call)
        raise


async def _end_on_asyncio(call: Call[Any]) -> None:
    event, deadline = _asyncio_event(call), time.monotonic() + _END_SECONDS
    while not event.is_set() and (rest := deadline - time.monotonic()) > 0:
        # anyio cancels again and again until a task has left its scope.
        with suppress(TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(event.wait(), rest)


def _asyncio_event(call: Call[Any]) -> asyncio.Event:
    event = asyncio.Event()
    _tell(call, asyncio.get_running_loop().call_soon_threadsafe, event.set)
    return event


async def _on_trio(call: Call[Any]) -> None:
    import trio

    try:
        await _trio_event(call).wait()
    except trio.Cancelled:
        call.cancel()
        await _end_on_trio(call)
        raise


async def _end_on_trio(call: Call[Any]) -> None:
    import trio

    with trio.move_on_after(_END_SECONDS, shield=True):
        await _trio_event(call).wait()


def _trio_event(call: Call[Any]) -> Any:
    import trio

    event = trio.Event()
    _tell(call, trio.lowlevel.current_trio_token().run_sync_soon, event.set)
    return event


def _tell(
    call: Call[Any], on_its_thread: Callable[[Callable[[], None]], object], tell: Any
) -> None:
    """Let the end of a call tell the loop that waits for it, which may be over by then."""

    def ended(_: object) -> None:
        with suppress(RuntimeError):
            on_its_thread(tell)

    call.ended.add_done_callback(ended)
