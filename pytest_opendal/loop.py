"""The thread on which storage operations run, so that the main thread stays interruptible.

A blocking opendal call ignores Ctrl-C while a server is silent (0.45 and 0.47), and presigning exists
only on ``AsyncOperator``. On a loop of its own, with the caller waiting on a future, every operation
can be interrupted and bounded, also when the test itself runs in an event loop.

The way to another thread and back costs as much as a small file does. So an operation may begin on the
thread of its caller (`LoopThread.run_at_once`), and move over with `on_loop` before it waits.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import types
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pytest_opendal import instant
from pytest_opendal.errors import StorageError, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

T = TypeVar("T")

_STOP_SECONDS = 5.0
_SIGNAL_SECONDS = 0.25
_ANSWER_SECONDS = 1.0
_LOOK_SECONDS = 0.001
_TELLS = {asyncio.BaseEventLoop.call_soon_threadsafe.__code__, instant.TELL}
_MOVE = object()


class _Thread(threading.Thread):
    """The thread of a loop, so that code can tell that it runs there."""


def is_on_loop() -> bool:
    """Whether this runs on a loop thread."""
    return isinstance(threading.current_thread(), _Thread)


@types.coroutine
def on_loop() -> Generator[object, None, None]:
    """Go on on the loop thread; to be awaited before anything that waits."""
    if not is_on_loop():
        yield _MOVE


@types.coroutine
def resumed(begun: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await a coroutine that has begun elsewhere, which ``await`` refuses."""
    return (yield from begun.__await__())


def advance(coroutine: Coroutine[Any, Any, T]) -> None:
    """Run a coroutine on this thread until it asks to be moved to the loop thread.

    Raises:
        StopIteration: it came to its end; ``value`` is what it returns.
    """
    if coroutine.send(None) is not _MOVE:
        coroutine.close()
        msg = "a storage operation waits outside of the loop thread, which is a defect of pytest-opendal"
        raise RuntimeError(msg)


async def aside(call: Callable[[], T], name: str) -> T:
    """Await what blocks, on a thread called ``name``.

    The end of the process waits for asyncio's own threads, but not for this one.
    """
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()  # from now on nobody can cancel this

    def run() -> None:
        try:
            outcome.set_result(call())
        except StopIteration as error:  # no future takes it
            outcome.set_exception(RuntimeError(f"{name} raised {error!r}"))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.wrap_future(outcome)


async def away(call: Callable[[], T]) -> T:
    """Call what a test gave us, on another thread than the loop's: it may ask the storage itself."""
    return await aside(call, "pytest-opendal-condition") if is_on_loop() else call()


async def together(*jobs: Coroutine[Any, Any, T], at_once: int | None = None) -> list[T]:
    """Await coroutines side by side and return what they return, in their order.

    Args:
        jobs: that are awaited.
        at_once: how many run at a time; all by default.

    Raises:
        Exception: the first error, as it is, when all others have come to their end: it cancels them.
    """
    limit = asyncio.Semaphore(at_once or len(jobs))

    async def one(job: Coroutine[Any, Any, T]) -> T:
        async with limit:
            return await job

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(job)) for job in jobs]
    except BaseExceptionGroup as several:
        first = several.exceptions[0]
    else:
        return [task.result() for task in tasks]
    finally:
        for job in jobs:
            job.close()  # of one that has not begun, Python would say so
    raise first  # out here, the group is no context of it


def _begun(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> asyncio.Task[T]:
    """Return a task of a running loop that has begun, where Python can; another turn of a loop takes time."""
    if sys.version_info < (3, 12):
        return loop.create_task(coroutine)
    return asyncio.Task(coroutine, loop=loop, eager_start=True)


class Call(Generic[T]):
    """A coroutine on the loop thread, for a caller who does not block until it ends."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        """Prepare; `begin` begins."""
        self.ended: Future[None] = Future()
        """Done when the coroutine has come to its end, also after a cancellation."""
        self.ended.set_running_or_notify_cancel()  # from now on nobody can cancel this
        self._coroutine = coroutine
        self._loop = loop
        self._task: asyncio.Task[T] | None = None
        self._exit: BaseException | None = None

    def begin(self) -> None:
        """Begin, on any thread; an interrupt meanwhile cancels it."""
        try:
            self._loop.call_soon_threadsafe(self._start)
        except BaseException:
            self.cancel()
            raise

    def _start(self) -> asyncio.Task[T]:
        if self._task is None:
            self._task = _begun(self._go(), self._loop)
            self._task.add_done_callback(self._end)
        return self._task

    async def _go(self) -> T:
        try:
            return await resumed(self._coroutine)
        except (SystemExit, KeyboardInterrupt) as error:  # of a condition; they would end the loop
            self._exit = error
            raise asyncio.CancelledError from None

    def _end(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # who was cancelled does not ask for it, which is no mistake
        self.ended.set_result(None)

    def cancel(self) -> None:
        """Ask the coroutine to end; `ended` tells when it has."""
        with suppress(RuntimeError):  # the loop has stopped, which ended it as well
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        # What is cancelled before it begins does not put anything right.
        self._loop.call_soon(self._start().cancel)

    def result(self) -> T:
        """Return or raise what came of the coroutine; wait for its end on another thread."""
        self.ended.result()
        if self._exit is not None:
            raise self._exit
        assert self._task is not None
        return self._task.result()

    @property
    def is_over(self) -> bool:
        """Whether the coroutine has come to its end, also after a cancellation."""
        return self.ended.done()

    def is_answered(self) -> bool:
        """Whether the coroutine has returned a result."""
        task = self._task
        return bool(task and task.done() and not task.cancelled() and not task.exception())


class _Turn(Generic[T]):
    """A coroutine on the loop thread, for a caller who blocks until it ends.

    `asyncio.run_coroutine_threadsafe` does the same; with its two futures it takes twice as long.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        """Prepare; `result` begins."""
        self._coroutine = coroutine
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._result: T | None = None
        self._error: BaseException | None = None
        self._ended = threading.Lock()
        self._ended.acquire()

    def _start(self) -> asyncio.Task[None]:
        if self._task is None:
            self._task = _begun(self._go(), self._loop)
        return self._task

    async def _go(self) -> None:
        try:
            self._result = await resumed(self._coroutine)
        except BaseException as error:
            self._error = error
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._ended.release()

    @property
    def is_over(self) -> bool:
        """Whether the coroutine has come to its end, also after a cancellation."""
        return not self._ended.locked()

    def result(self) -> T:
        """Begin, wait for the end, and return or raise what came of it; an interrupt cancels it."""
        try:
            # Within: the loop may run it already when an interrupt comes in this call.
            self._loop.call_soon_threadsafe(self._start)
            # A signal may reach another thread, since one that starts a thread blocks all of them
            # meanwhile. Python hears of it, but does not wake a main thread that waits for a lock.
            while not self._ended.acquire(timeout=_SIGNAL_SECONDS):
                pass
            self._ended.release()
        except BaseException:
            # KeyboardInterrupt, or a timeout plugin's exception: the operation must not go on.
            with suppress(RuntimeError):  # the loop has stopped, which ended it as well
                self._loop.call_soon_threadsafe(self._cancel)
            raise
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # its traceback holds this frame
        result, self._result = self._result, None  # whoever asked has it alone
        return result  # type: ignore[return-value]

    def _cancel(self) -> None:
        # What is cancelled before it begins does not put anything right.
        self._loop.call_soon(self._start().cancel)


class LoopThread:
    """An event loop on a daemon thread; started with the first call, since a fork would lose it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._starting = threading.Lock()
        self._at_once = threading.RLock()
        self._running: set[_Turn[Any] | Call[Any]] = set()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` on the loop and return its result; an interrupt here cancels it there.

        Raises:
            StorageUnavailable: in a child forked after the loop was started.
        """
        with self._at_once:
            turn = self._submit(coroutine)
        return turn.result()

    def run_at_once(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Do what `run` does, but begin here and now; on the loop goes on what has to wait.

        As long as something runs on the loop all of it goes there, so that no two operations ever
        run side by side.
        """
        with self._at_once:
            if self._is_idle():
                self._refuse_misuse(coroutine)
                try:
                    advance(coroutine)
                except StopIteration as done:
                    result: T = done.value
                    return result
            turn = self._submit(coroutine)
        return turn.result()

    def _is_idle(self) -> bool:
        self._running = {call for call in self._running if not call.is_over}
        return not self._running

    def _submit(self, coroutine: Coroutine[Any, Any, T]) -> _Turn[T]:
        turn = _Turn(coroutine, self._loop_for(coroutine))
        self._add(turn)
        return turn

    def _add(self, call: _Turn[Any] | Call[Any]) -> None:
        self._is_idle()  # drops those that have ended, with what they returned
        self._running.add(call)

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Call[T]:
        """Begin to run ``coroutine`` on the loop, and return at once.

        Raises:
            StorageUnavailable: in a child forked after the loop was started.
        """
        with self._at_once:
            call = Call(coroutine, self._loop_for(coroutine))
            self._add(call)
            call.begin()
            return call

    def _loop_for(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.AbstractEventLoop:
        self._refuse_misuse(coroutine)
        return self._started()

    def _refuse_misuse(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        if is_on_loop():
            coroutine.close()
            msg = "a storage cannot be used within a hook that it calls itself; use it in a test or fixture"
            raise StorageError(msg)
        if not self._pid:
            self._pid = os.getpid()
        elif self._pid != os.getpid():
            coroutine.close()
            msg = "a storage cannot be used in a forked child; open one there with a new process"
            raise StorageUnavailable(msg)

    def drop(self, items: AsyncGenerator[Any, None]) -> None:
        """Close a generator that was run here without waiting: the garbage collector may call this."""
        if self._loop is not None and self._pid == os.getpid():
            with suppress(RuntimeError):  # the loop stops right now, which closes it as well
                self._loop.call_soon_threadsafe(drop, items.aclose())

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            with self._starting:
                if self._loop is None:
                    self._start()
        assert self._loop is not None
        return self._loop

    def _start(self) -> None:
        loop = asyncio.new_event_loop()
        self._thread = _Thread(target=loop.run_forever, name="pytest-opendal", daemon=True)
        self._thread.start()
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
        _await_answers()


def _await_answers() -> None:
    """Wait until no thread of opendal is within the call that told a loop of an answer.

    One that is there when Python comes to its end kills the process: SIGABRT or SIGSEGV after an
    error, one in ten on 0.45 and fewer on 0.47, also without us.
    """
    patience = time.monotonic() + _ANSWER_SECONDS
    frames = sys._current_frames  # noqa: SLF001 - documented; only it tells of such threads
    while time.monotonic() < patience and any(map(_answers, frames().values())):
        time.sleep(_LOOK_SECONDS)


def _answers(frame: types.FrameType | None) -> bool:
    """Whether a thread began with that call, as only those do that are not Python's."""
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    return frame is not None and frame.f_code in _TELLS


def drop(closing: Coroutine[Any, Any, object]) -> None:
    """Close something on the loop thread that nobody has any more, without waiting."""
    task = asyncio.ensure_future(closing)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.wait(others, timeout=1) if others else None
    await asyncio.get_running_loop().shutdown_asyncgens()
