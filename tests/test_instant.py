"""Answers of opendal without an event loop: as those with one, and given up where they take long."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import opendal
import pytest

from pytest_opendal.instant import instantly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contract import Lab

LONG = 30.0
KEYS = {"bucket": "b", "region": "r", "access_key_id": "a", "secret_access_key": "b"}


def _operator() -> opendal.AsyncOperator:
    return opendal.AsyncOperator("s3", endpoint="http://127.0.0.1:9", **KEYS)


class Asked:
    """A call of an operator that is answered never, or with an error, by another thread."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.cancelled = threading.Event()

    def __call__(self) -> Any:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        future.add_done_callback(self._look)
        if self.error is not None:
            told = (loop, future, self.error)
            threading.Thread(
                target=lambda: told[0].call_soon_threadsafe(told[1].set_exception, told[2])
            ).start()
        return future

    def _look(self, done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            self.cancelled.set()


def test_a_request_is_signed() -> None:
    operator = _operator()
    signed = instantly(lambda: operator.presign_read("f", 60), LONG)
    assert signed is not None
    assert signed.url.startswith("http://127.0.0.1:9/b/f?")
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_the_loop_of_whoever_asks_stays() -> None:
    operator = _operator()

    async def sign() -> Any:
        signed = instantly(lambda: operator.presign_read("f", 60), LONG)
        await asyncio.sleep(0)
        return signed, await operator.presign_read("f", 60)

    instant, awaited = asyncio.run(sign())
    assert instant.url.partition("?")[0] == awaited.url.partition("?")[0]


def test_what_fails_is_left_to_a_loop() -> None:
    assert instantly(Asked(ValueError("no")), LONG) is None


def test_a_coroutine_is_left_to_a_loop() -> None:
    async def answer() -> int:
        return 1

    waiting = answer()
    assert instantly(lambda: waiting, LONG) is None
    waiting.close()


def test_what_takes_long_is_given_up() -> None:
    asked = Asked()
    assert instantly(asked, 0.01) is None
    assert asked.cancelled.is_set()


@pytest.fixture
def interrupted() -> Iterator[None]:
    """Interrupt this test soon."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("interrupted")
def test_an_interrupt_ends_it() -> None:
    asked, begun = Asked(), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        instantly(asked, LONG)
    assert time.monotonic() - begun < LONG
    assert asked.cancelled.is_set()


def test_a_storage_signs_on_the_thread_of_the_test(
    s3_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = s3_lab.open()
    storage.write_bytes("f", b"x")
    with monkeypatch.context() as patched:
        patched.setattr(s3_lab.run.loop, "_submit", lambda _: pytest.fail("went to the loop"))
        request = storage.presign_read("f", 60)
    assert request.method == "GET"
    storage.assert_presign("f", "read")


def test_a_storage_signs_what_takes_long_on_the_loop(
    s3_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_opendal.backends.local.instantly", lambda *_: None)
    s3_lab.open().write_bytes("f", b"x")
    assert s3_lab.open().presign_read("f", 60).method == "GET"
