"""The thread on which all operations run."""

from __future__ import annotations

import _thread
import asyncio
import os
import signal
import threading
import time
from queue import Queue
from typing import TYPE_CHECKING, Any

import pytest

from pytest_opendal.errors import StorageUnavailable
from pytest_opendal.loop import LoopThread, advance, aside, is_on_loop, on_loop, resumed, together

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.stop()


async def _answer(value: int = 42) -> int:
    await asyncio.sleep(0)
    return value


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "pytest-opendal"]


def test_nothing_starts_before_the_first_call() -> None:
    before = _threads()
    thread = LoopThread()
    assert _threads() == before
    assert thread.run(_answer()) == 42
    assert len(_threads()) == len(before) + 1
    thread.stop()
    assert _threads() == before


def test_an_error_comes_back(loop: LoopThread) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop.run(fail())


def test_many_threads_share_one_loop(loop: LoopThread) -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda value=value: found.append(loop.run(_answer(value))))
        for value in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(20))


def test_it_works_inside_of_an_event_loop(loop: LoopThread) -> None:
    async def test() -> int:
        return loop.run(_answer())

    assert asyncio.run(test()) == 42


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """Let Ctrl-C interrupt, also where the run was started in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _interrupt_the_process() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _interrupt_another_thread() -> None:
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize("interrupt", [_interrupt_the_process, _interrupt_another_thread])
def test_an_interrupt_cancels_what_was_waited_for(
    loop: LoopThread, interrupt: Callable[[], None]
) -> None:
    """The system may choose any thread, if the main thread just starts one."""
    cancelled = threading.Event()

    async def forever() -> None:
        threading.Timer(0.1, interrupt).start()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        loop.run(forever())
    assert time.monotonic() - start < 10
    assert cancelled.wait(1)
    assert loop.run(_answer()) == 42


@pytest.mark.parametrize("arrives", ["before", "after"])
@pytest.mark.parametrize("way", ["run", "run_at_once", "begin"])
def test_an_interrupt_while_an_operation_is_handed_over_cancels_it(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch, way: str, arrives: str
) -> None:
    """The loop may run it already, or not know of it yet; nobody waits for it in either case."""
    assert loop.run(_answer()) == 42
    ended: Queue[str] = Queue()

    async def operation() -> None:
        await on_loop()
        try:
            await asyncio.sleep(0.05)
            ended.put("went on")
        except asyncio.CancelledError:
            ended.put("cancelled")
            raise

    assert loop._loop is not None
    hand_over = loop._loop.call_soon_threadsafe

    def interrupted(*call: Any) -> None:
        monkeypatch.undo()
        if arrives == "after":
            hand_over(*call)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop._loop, "call_soon_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        getattr(loop, way)(operation())
    assert ended.get(timeout=5) == "cancelled"
    assert loop.run_at_once(_moving([])) == 42
    assert loop._is_idle()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_would_end_the_loop_is_raised_by_who_waits(
    loop: LoopThread, kind: type[BaseException]
) -> None:
    """A condition of a test may raise it."""

    async def ends() -> None:
        await asyncio.sleep(0)
        raise kind("it")

    for wait in (loop.run, lambda coroutine: loop.begin(coroutine).result()):
        with pytest.raises(kind, match="it"):
            wait(ends())
        assert loop.run(_answer()) == 42


def test_a_condition_that_stops_an_iteration_is_an_error(loop: LoopThread) -> None:
    def stops() -> None:
        raise StopIteration

    async def ask() -> None:
        async with asyncio.timeout(5):
            await aside(stops, "condition")

    with pytest.raises(RuntimeError, match="StopIteration"):
        loop.run(ask())


def test_stop_cancels_what_still_runs() -> None:
    thread = LoopThread()
    states: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            states.append("cancelled")

    async def begin() -> None:
        states.append("begun")
        asyncio.get_running_loop().kept = asyncio.ensure_future(forever())  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    thread.run(begin())
    thread.stop()
    thread.stop()
    assert states == ["begun", "cancelled"]


def test_it_starts_again_after_a_stop() -> None:
    thread = LoopThread()
    assert thread.run(_answer()) == 42
    thread.stop()
    assert thread.run(_answer()) == 42
    thread.stop()


def test_stop_waits_for_threads_of_opendal_that_still_tell_of_an_answer() -> None:
    """One that is within this call when Python comes to its end kills the process."""
    inside, stopping = threading.Event(), threading.Event()
    told = []

    class Slow(asyncio.SelectorEventLoop):
        def _write_to_self(self) -> None:
            inside.set()
            stopping.wait(5)
            time.sleep(0.1)
            told.append(True)

    loop, slow = LoopThread(), Slow()
    assert loop.run(_answer()) == 42
    _thread.start_new_thread(slow.call_soon_threadsafe, (print,))
    assert inside.wait(5)
    stopping.set()
    loop.stop()
    assert told
    slow.close()


def test_a_forked_child_is_told(loop: LoopThread) -> None:
    assert loop.run(_answer()) == 42
    reading, writing = os.pipe()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            loop.run(_answer())
        except StorageUnavailable as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    assert b"forked child" in os.read(reading, 1000)
    os.close(reading)
    os.waitpid(child, 0)


def test_a_dropped_generator_is_closed_without_waiting(loop: LoopThread) -> None:
    closed = threading.Event()

    async def items() -> AsyncGenerator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.set()

    generator = items()

    async def first() -> int:
        return await anext(generator)

    assert loop.run(first()) == 1
    loop.drop(generator)
    assert closed.wait(5)


def test_a_generator_dropped_after_the_stop_starts_nothing() -> None:
    thread = LoopThread()

    async def items() -> AsyncGenerator[int]:
        yield 1
        yield 2

    generator = items()

    async def first() -> int:
        return await anext(generator)

    assert thread.run(first()) == 1
    before = len(_threads())
    thread.stop()
    thread.drop(generator)
    assert len(_threads()) == before - 1


async def _moving(steps: list[bool]) -> int:
    steps.append(is_on_loop())
    await on_loop()
    steps.append(is_on_loop())
    await asyncio.sleep(0)
    return 42


def test_what_does_not_wait_starts_no_thread(loop: LoopThread) -> None:
    async def at_once() -> int:
        return 42

    before = _threads()
    assert loop.run_at_once(at_once()) == 42
    assert _threads() == before


def test_what_has_to_wait_moves_over(loop: LoopThread) -> None:
    steps: list[bool] = []
    assert loop.run_at_once(_moving(steps)) == 42
    assert steps == [False, True]


def test_nothing_begins_at_once_while_something_runs_on_the_loop(loop: LoopThread) -> None:
    """Records and journal are for one thread at a time."""
    begun, may_end = threading.Event(), threading.Event()
    steps: list[bool] = []

    async def wait() -> None:
        begun.set()
        await asyncio.to_thread(may_end.wait)

    other = threading.Thread(target=lambda: loop.run(wait()))
    other.start()
    assert begun.wait(5)
    assert loop.run_at_once(_moving(steps)) == 42
    may_end.set()
    other.join()
    assert steps == [True, True]
    assert loop.run_at_once(_moving(steps)) == 42
    assert steps[2:] == [False, True]


def test_an_error_comes_back_from_both_halves(loop: LoopThread) -> None:
    async def fail(*, later: bool) -> None:
        if later:
            await on_loop()
        raise ZeroDivisionError

    for later in (False, True):
        with pytest.raises(ZeroDivisionError):
            loop.run_at_once(fail(later=later))


@pytest.mark.usefixtures("_ctrl_c")
def test_an_interrupt_cancels_what_has_moved_over(loop: LoopThread) -> None:
    cancelled = threading.Event()

    async def forever() -> None:
        await on_loop()
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(KeyboardInterrupt):
        loop.run_at_once(forever())
    assert cancelled.wait(1)
    assert loop.run_at_once(_moving([])) == 42


def test_waiting_on_the_wrong_thread_is_a_defect_that_is_told(loop: LoopThread) -> None:
    """Also in a test's own event loop, where asyncio would not notice."""

    async def test() -> None:
        loop.run_at_once(_answer())

    with pytest.raises(RuntimeError, match="defect of pytest-opendal"):
        asyncio.run(test())


def test_what_has_begun_can_be_awaited_to_its_end(loop: LoopThread) -> None:
    async def both() -> int:
        inner = _moving([])
        advance(inner)
        await on_loop()
        return await resumed(inner)

    assert loop.run_at_once(both()) == 42


# Side by side.


def test_what_runs_side_by_side_returns_in_order() -> None:
    async def all_of() -> list[int]:
        return await together(*map(_answer, range(5)), at_once=2)

    assert asyncio.run(all_of()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("at_once", [None, 2])
def test_the_first_error_ends_what_runs_beside_it_and_is_raised_as_it_is(
    at_once: int | None,
) -> None:
    begun, ended = list[int](), list[int]()

    async def forever(name: int) -> None:
        begun.append(name)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async def fails() -> None:
        await asyncio.sleep(0)
        raise StorageUnavailable("no") from OSError("why")

    async def all_of() -> None:
        with pytest.raises(StorageUnavailable, match="^no$") as caught:
            await together(forever(1), fails(), forever(2), at_once=at_once)
        assert str(caught.value.__cause__) == "why"
        assert caught.value.__context__ is None
        assert 1 in begun
        assert sorted(ended) == sorted(begun)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(all_of())
