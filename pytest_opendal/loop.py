"""The thread on which all storage operations run, so that the main thread stays interruptible.

A blocking opendal call ignores Ctrl-C while a server is silent (0.45 and 0.47), and presigning exists
only on ``AsyncOperator``. On a loop of its own, with the caller waiting on a future, every operation
can be interrupted and bounded, also when the test itself runs in an event loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_opendal.errors import StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

T = TypeVar("T")

_STOP_SECONDS = 5.0


class LoopThread:
    """An event loop on a daemon thread; started with the first call, since a fork would lose it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._starting = threading.Lock()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` on the loop and return its result; an interrupt here cancels it there.

        Raises:
            StorageUnavailable: in a child forked after the loop was started.
        """
        try:
            loop = self._started()
        except StorageUnavailable:
            coroutine.close()
            raise
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result()
        finally:
            # KeyboardInterrupt, or a timeout plugin's exception: the operation must not go on.
            if not future.done():
                future.cancel()

    def drop(self, items: AsyncGenerator[Any, None]) -> None:
        """Close a generator that was run here without waiting: the garbage collector may call this."""
        if self._loop is not None and self._pid == os.getpid():
            with suppress(RuntimeError):  # the loop stops right now, which closes it as well
                self._loop.call_soon_threadsafe(_close, items)

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            with self._starting:
                if self._loop is None:
                    self._start()
        if self._pid != os.getpid():
            msg = "a storage cannot be used in a forked child; open one there with a new process"
            raise StorageUnavailable(msg)
        assert self._loop is not None
        return self._loop

    def _start(self) -> None:
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="pytest-opendal", daemon=True)
        self._thread.start()
        self._pid = os.getpid()
        self._loop = loop

    def stop(self) -> None:
        """Stop the thread; what still runs on it is cancelled."""
        if self._loop is None or self._thread is None or self._pid != os.getpid():
            return
        loop, self._loop = self._loop, None
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(_STOP_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join(_STOP_SECONDS)
        if not self._thread.is_alive():
            loop.close()


def _close(items: AsyncGenerator[Any, None]) -> None:
    closing = asyncio.ensure_future(items.aclose())
    closing.add_done_callback(lambda done: done.cancelled() or done.exception())


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.wait(others, timeout=1) if others else None
    await asyncio.get_running_loop().shutdown_asyncgens()
