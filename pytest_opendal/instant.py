"""One answer of opendal on the thread of whoever asks, without an event loop.

opendal signs requests for awaiting callers only, on threads of its own. It takes as long again to tell
an event loop of that, and longer to go to one on another thread and back.
"""

from __future__ import annotations

import asyncio.events
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class _Answer:
    """Event loop and future in one: what opendal (0.45 to 0.47) asks of those for a single answer."""

    def __init__(self) -> None:
        self._is_missing = threading.Lock()
        self._is_missing.acquire()
        self._result: Any = None
        self._is_cancelled = False
        self._forget: Callable[[_Answer], object] | None = None

    def create_future(self) -> _Answer:
        return self

    def add_done_callback(self, forget: Callable[[_Answer], object], **_: object) -> None:
        self._forget = forget

    def call_soon_threadsafe(
        self, call: Callable[..., object], *arguments: object, **_: object
    ) -> None:
        call(*arguments)

    def cancelled(self) -> bool:
        return self._is_cancelled

    def set_result(self, result: object) -> None:
        self._result = result
        self._is_missing.release()

    def set_exception(self, _: BaseException) -> None:
        self._is_missing.release()

    def wait(self, seconds: float) -> Any:
        try:
            if self._is_missing.acquire(timeout=seconds):
                return self._result
        except BaseException:
            self._cancel()
            raise
        return self._cancel()

    def _cancel(self) -> None:
        self._is_cancelled = True
        if self._forget is not None:
            self._forget(self)


TELL = _Answer.call_soon_threadsafe.__code__
"""What a thread of opendal runs while it tells us of an answer."""


def instantly(ask: Callable[[], Awaitable[T]], seconds: float) -> T | None:
    """Return what an opendal operator answers, None where it fails or takes longer.

    Args:
        ask: calls a method of the operator; to be awaited on a loop after None, which raises the error.
        seconds: to wait.
    """
    answer = _Answer()
    around = asyncio.events._get_running_loop()  # noqa: SLF001 - documented for those who are a loop
    try:
        try:
            asyncio.events._set_running_loop(answer)  # type: ignore[arg-type]  # noqa: SLF001
            asked: object = ask()
        finally:
            asyncio.events._set_running_loop(around)  # noqa: SLF001
    finally:  # an interrupt may come just before that
        asyncio.events._set_running_loop(around)  # noqa: SLF001
    result: T | None = answer.wait(seconds) if asked is answer else None
    return result
