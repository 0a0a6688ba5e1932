"""SIGTERM ends a run like Ctrl-C does: finalizers run, the summary is printed, and the exit code tells."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a run that SIGTERM has ended."""

CTRL_C_SECONDS = 0.5
"""How long workers have to get the Ctrl-C that a terminal sends to all."""


class Terminated(KeyboardInterrupt):
    """Somebody asked this process to end.

    pytest ends a run in order for a ``KeyboardInterrupt``, which no ``except Exception`` of a test
    swallows; for an exit code other than its own it prints no summary.
    """


class Termination:
    """This process' answer to SIGTERM, unless somebody else has one."""

    def __init__(self) -> None:
        self.came = False
        """SIGTERM arrived."""
        self.ending = False
        """The run comes to its end, which nothing but SIGKILL cuts short."""
        self._pid = os.getpid()
        self._installed = False

    def install(self) -> None:
        """Answer from now on; only the main thread can, and only where nobody does."""
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            with suppress(ValueError):  # not the main thread
                signal.signal(signal.SIGTERM, self._handle)
                self._installed = True

    def restore(self) -> None:
        """Let SIGTERM kill again, unless somebody has taken over since."""
        if self._installed and signal.getsignal(signal.SIGTERM) == self._handle:
            with suppress(ValueError):
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _handle(self, number: int, _frame: object) -> None:
        if os.getpid() != self._pid:
            # A forked child that is terminated must die of it.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.came = True
        # Under xdist one may come to the group, and another from the controller.
        if not (self.ending or isinstance(sys.exception(), KeyboardInterrupt)):
            msg = "SIGTERM: the run ends here"
            raise Terminated(msg)


def end_workers(controller: Any, delay: float = 0.0) -> None:
    """Pass the end of a run on to its workers on this host, which may not have got a signal.

    Without it a worker goes on with its test, until execnet interrupts it after five seconds.

    Args:
        controller: the plugin of xdist that leads them, None where there is none.
        delay: seconds to wait, for a worker that has a signal of another number on its way: Linux
            may give both to a thread that is not the main one, which then sleeps on.
    """
    manager = getattr(controller, "nodemanager", None)
    for gateway in manager.group if manager is not None else ():
        process = getattr(gateway._io, "popen", None)  # noqa: SLF001 - nothing else tells
        if process is not None:
            _after(delay, process.terminate)


def _after(delay: float, call: Callable[[], None]) -> None:
    if not delay:
        call()
        return
    timer = threading.Timer(delay, call)
    timer.daemon = True
    timer.start()
