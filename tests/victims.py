"""Processes that use a storage until they are killed at a known point, also within an operation."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import wraps
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from neighbours import Step, perform

from pytest_opendal import transfer
from pytest_opendal.connection import Connection
from pytest_opendal.journal import Journal

from contract import Lab

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from multiprocessing.connection import Connection as Pipe
    from multiprocessing.process import BaseProcess
# Forks of a process that has imported all and used nothing: a new one costs milliseconds.
_FORKS = multiprocessing.get_context("forkserver")
_END_SECONDS = 30


@dataclass
class Victim:
    """A process that does what it is told until it dies."""

    process: BaseProcess
    pipe: Pipe

    def perform(self, step: Step, data: bytes) -> bool | None:
        """Let it do an operation; whether the storage did it, None when it died of that."""
        return self._ask((step, data))

    def end(self) -> bool:
        """Let it come to the end of its run; whether it lived to see that."""
        return self._ask(None) is not None

    def _ask(self, request: tuple[Step, bytes] | None) -> bool | None:
        try:
            self.pipe.send(request)
            done: bool = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(_END_SECONDS)
            return None
        return done


@contextmanager
def victim(
    kind: str, scheme: str, kwargs: Mapping[str, str], tmp: Path, on_existing: str, fatal: int
) -> Iterator[Victim]:
    """Start a process that kills itself at the point with the number ``fatal``."""
    _ready()
    mine, its = _FORKS.Pipe()
    process = _FORKS.Process(
        target=_live, args=(its, kind, scheme, dict(kwargs), tmp, on_existing, fatal)
    )
    process.start()
    its.close()
    try:
        yield Victim(process, mine)
    finally:
        process.kill()
        process.join(_END_SECONDS)
        mine.close()


def _ready() -> None:
    """Let the process to fork from import what the forks need; it is told no path of modules (3.11)."""
    _FORKS.set_forkserver_preload([__name__, "pytest_opendal.backends.local"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        forkserver.ensure_running()


def _live(
    pipe: Pipe,
    kind: str,
    scheme: str,
    kwargs: Mapping[str, str],
    tmp: Path,
    on_existing: str,
    fatal: int,
) -> None:
    transfer.PART_BYTES = 64
    lab = Lab(kind, scheme, kwargs, "none", tmp)
    held = lab.hold(on_existing=on_existing)
    _arm(fatal)
    while (request := pipe.recv()) is not None:
        step, data = request
        pipe.send(perform(held.storage, step, data, tmp))
    lab.end(held)
    lab.run.finish()
    pipe.send(True)


def _arm(fatal: int) -> None:
    """Count the points before and after each line of the journal and each call of the storage."""
    points = itertools.count()

    def point() -> None:
        if next(points) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    Journal.write = _between(point, Journal.write)  # type: ignore[method-assign]
    Connection.ask = _asked(point, Connection.ask)  # type: ignore[method-assign]
    Connection.watch = _watched(point, Connection.watch)  # type: ignore[method-assign]


def _between(point: Callable[[], None], call: Callable[..., Any]) -> Any:
    @wraps(call)
    def called(*args: Any) -> Any:
        point()
        result = call(*args)
        point()
        return result

    return called


def _asked(point: Callable[[], None], ask: Callable[..., Any]) -> Any:
    @wraps(ask)
    async def asked(*args: Any) -> Any:
        point()
        result = await ask(*args)
        point()
        return result

    return asked


def _watched(point: Callable[[], None], watch: Callable[..., Any]) -> Any:
    @asynccontextmanager
    async def watched(*args: Any) -> AsyncIterator[Any]:
        point()
        async with watch(*args) as still_going:
            yield still_going
        point()

    return watched
