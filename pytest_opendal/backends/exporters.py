"""Reaching an exporter of Jumpstarter: where it is, and the connection that all its drivers share.

Made for Jumpstarter 0.9. Its clients live on our own loop: a call is one hop, as with opendal's operator.
"""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from pytest_opendal import errors
from pytest_opendal.backends.calm import calm
from pytest_opendal.backends.local import explained
from pytest_opendal.kept import Kept, first_of

with calm():
    import grpc
    import jumpstarter_driver_opendal.client  # noqa: F401  # before a connection imports it
    from anyio.from_thread import BlockingPortal
    from jumpstarter.client import DriverClient, client_from_path
    from jumpstarter.client.core import ExporterNotReady
    from jumpstarter.common import ExporterStatus
    from jumpstarter.common.exceptions import (
        ConfigurationError,
        ExporterUnreachableError,
        JumpstarterException,
    )
    from jumpstarter.config.client import ClientConfigV1Alpha1Drivers
    from jumpstarter.config.exporter import (
        ExporterConfigV1Alpha1,
        ExporterConfigV1Alpha1DriverInstance,
    )
    from jumpstarter.exporter import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from jumpstarter.driver import Driver

_REASON_CHARACTERS = 300
_POLL_SECONDS = 0.2
_RELEASE_SECONDS = 15.0
_READY = {
    ExporterStatus.LEASE_READY,
    ExporterStatus.BEFORE_LEASE_HOOK,
    ExporterStatus.AFTER_LEASE_HOOK,
}
# Else a new connection inherits the pause between attempts of one that broke off.
_CHANNEL = {"grpc.use_local_subchannel_pool": 1}


@dataclass(frozen=True, slots=True)
class Address:
    """Where an exporter answers, and which drivers it may have us import."""

    host: str
    """A unix socket, or ``host:port``."""
    name: str = ""
    """What tells this exporter from others that the same settings may lead to; no credential."""
    lease: str = ""
    """Name of the lease by which it was got."""
    allow: tuple[str, ...] = ()
    """Globs of the client classes that may be imported."""
    unsafe: bool = False
    """All client classes may be imported."""
    allowed_by: str = ""
    """Where ``allow`` was said, for messages."""
    insecure: bool = False
    """No TLS to ``host:port``."""
    passphrase: str | None = field(default=None, repr=False)


@asynccontextmanager
async def from_environment(environ: Mapping[str, str]) -> AsyncIterator[Address]:
    """Yield the exporter of the surrounding ``jmp shell``."""
    host = environ.get("JUMPSTARTER_HOST")
    if not host:
        msg = (
            "JUMPSTARTER_HOST is not set; run pytest inside `jmp shell`, or add selector, "
            "exporter_name or exporter_config to `jumpstarter:`"
        )
        raise errors.StorageUnavailable(msg)
    drivers = ClientConfigV1Alpha1Drivers()
    name = environ.get("JMP_EXPORTER", "")
    yield Address(
        host,
        name=host if name in {"", "direct"} else name,
        allow=tuple(drivers.allow),
        unsafe=drivers.unsafe,
        allowed_by="JMP_DRIVERS_ALLOW",
        insecure="1"
        in {environ.get("JMP_GRPC_INSECURE"), environ.get("JUMPSTARTER_GRPC_INSECURE")},
        passphrase=environ.get("JMP_GRPC_PASSPHRASE") or None,
    )


@asynccontextmanager
async def served(file: str) -> AsyncIterator[Address]:
    """Serve an exporter configuration in this process.

    Raises:
        ConfigInvalid: it cannot be served.
    """
    if not Path(file).is_file():
        raise errors.ConfigInvalid(f"exporter configuration {file}: there is no such file")
    async with AsyncExitStack() as stack:
        stack.enter_context(_quiet("grpc._cython.cygrpc"))
        with _mistakes_in(file):
            session = stack.enter_context(Session(root_device=_driver_tree(file)))
            stack.push_async_callback(_close_streams, session)
            host = await stack.enter_async_context(session.serve_unix_async())
            session.update_status(ExporterStatus.LEASE_READY)
        yield Address(str(host), unsafe=True)


def _driver_tree(file: str) -> Driver:
    """Return the drivers that a configuration exports, as an exporter makes them."""
    config = ExporterConfigV1Alpha1.load_path(Path(file))
    return ExporterConfigV1Alpha1DriverInstance(
        type="jumpstarter_driver_composite.driver.Composite",
        description=config.description,
        children=config.export,
    ).instantiate()


async def _close_streams(session: Session) -> None:
    """Close what drivers keep of transfers that failed; a warning of it would hit a later test."""
    for driver in session.mapping.values():
        for stream in driver.resources.values():
            await stream.aclose()


@contextmanager
def _mistakes_in(file: str) -> Iterator[None]:
    """Turn what is wrong with an exporter configuration into one line that holds none of its values."""
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = f"is no YAML{f' (line {mark.line + 1})' if mark else ''}"
    except ImportError as error:
        problem = f"needs {error.name}, which is not installed; {INSTALL}"
    except Exception as error:  # whatever a driver raises when it is made
        message = error.message if isinstance(error, ConfigurationError) else str(error)
        problem = explained(type(error)(message))[1] if message else type(error).__name__
    else:
        return
    raise errors.ConfigInvalid(f"exporter configuration {file}: {one_line(problem)}")


INSTALL = 'pip install "pytest-opendal[jumpstarter]"'


class Exporter:
    """An exporter as this process reaches it: one connection for all its drivers, made when needed."""

    def __init__(self, way: Callable[[], AbstractAsyncContextManager[Address]]) -> None:
        self._place = Kept(way)
        self._link = Kept(self._connected)
        self.address = Address("")
        """Known once `found`."""
        self.connections = 0
        """How many connections there were; clients of an earlier one are of no use."""

    async def found(self, seconds: float) -> bool:
        """Whether it is known where the exporter is, or that it cannot be; a lease takes its time."""
        return await self._place.entered_within(seconds)

    async def place(self) -> Address:
        """Return where the exporter is.

        Raises:
            StorageUnavailable: it cannot be had.
            ConfigInvalid: what leads to it is wrong.
        """
        asyncio.get_running_loop().set_exception_handler(_without_noise)
        self.address = await self._place.enter()
        return self.address

    async def root(self) -> DriverClient:
        """Return the client of the root of the export tree.

        Raises:
            StorageUnavailable: the exporter cannot be reached.
            ConfigInvalid: what leads to it is wrong.
        """
        await self.place()
        try:
            return await self._link.enter()
        except BaseException:
            await self._link.leave()
            raise

    async def connect_again(self, broken: int) -> DriverClient:
        """Return the client of a newer connection than the ``broken`` one."""
        if self.connections == broken:
            await self._link.leave()
        if (failure := self._place.failure) is not None:
            raise unreachable(self.address, failure)
        return await self.root()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[DriverClient]:
        address = self.address
        try:
            async with BlockingPortal() as portal:
                with ExitStack() as stack:
                    async with client_from_path(
                        address.host,
                        portal,
                        stack,
                        allow=list(address.allow),
                        unsafe=address.unsafe,
                        insecure=address.insecure,
                        passphrase=address.passphrase,
                        grpc_options=_CHANNEL,
                    ) as root:
                        await _wait_until_ready(root)
                        self.connections += 1
                        yield root
        except errors.StorageError:
            raise
        except Exception as error:
            raise unreachable(address, error) from None

    async def close(self) -> bool:
        """Let go of the exporter: release its lease, or stop one served here; whether that was done."""
        await self._link.leave()
        return await self._place.leave(_RELEASE_SECONDS)


def _without_noise(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what a loop cannot raise, but for complaints of gRPC and anyio that mean nothing."""
    # With a client of the test's own, each loop wakes for both and finds one event, or a closed loop.
    of_grpc = "PollerCompletionQueue" in str(context.get("message"))
    # A socket that became readable in the turn in which anyio gave up waiting for it.
    of_anyio = isinstance(context.get("exception"), asyncio.InvalidStateError)
    if not (of_grpc or of_anyio):
        loop.default_exception_handler(context)


async def _wait_until_ready(root: DriverClient) -> None:
    """Wait while the exporter prepares for a new lease (its ``beforeLease`` hook)."""
    # The attributes of AsyncDriverClient are there on a stub, too.
    while (status := await root.get_status_async()) not in {None, *_READY}:
        if status == ExporterStatus.BEFORE_LEASE_HOOK_FAILED:
            msg = "the exporter's beforeLease hook failed"
            raise errors.StorageUnavailable(msg)
        await asyncio.sleep(_POLL_SECONDS)


def unreachable(address: Address, error: BaseException) -> errors.StorageError:
    """Return the error for an exporter to which no connection could be made."""
    error = first_of(error)
    code, details = code_and_details(error)
    named = address.name not in {"", address.host}
    place = f"{address.name} ({address.host})" if named else address.host
    if code == "UNAUTHENTICATED":
        problem = "refuses the passphrase; it is taken from JMP_GRPC_PASSPHRASE"
        return errors.StorageUnavailable(f"the exporter at {place} {problem}")
    reason = f": {one_line(details)}" if details else ""
    return errors.StorageUnavailable(f"no exporter answers at {place}{reason}")


def one_line(text: str) -> str:
    """Return the first line of a text, not too long."""
    return " ".join(text.partition("\n")[0].split())[:_REASON_CHARACTERS]


_PREFIX = re.compile(r"DriverCall '\w*' failed with gRPC (?P<code>[A-Z_]+): ")


def code_and_details(error: BaseException) -> tuple[str, str]:
    """Return gRPC's code of an error (``""``: unknown) and what was said beside it."""
    if isinstance(error, ExporterNotReady):
        return "FAILED_PRECONDITION", error.message
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code().name, error.details() or ""
    cause = error.__cause__
    if isinstance(error, ExporterUnreachableError) and isinstance(cause, grpc.aio.AioRpcError):
        return cause.code().name, cause.details() or ""
    if isinstance(error, JumpstarterException):
        found = _PREFIX.match(error.message)
        code = found["code"] if found else "UNKNOWN"
        if isinstance(cause, grpc.aio.AioRpcError):
            code = cause.code().name
        return code, error.message[found.end() if found else 0 :]
    return "", str(error)


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Keep what others log about their own doings out of the tests' logs."""

    def drop(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(drop)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(drop)
