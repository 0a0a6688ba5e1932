"""Leasing an exporter from a Jumpstarter controller, and sharing the lease with the workers of a run.

The process that leases serves the exporter on a unix socket, which other processes may use as well.
Workers ask the controller of the run for it through a socket of its own, when a test first needs it.
"""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from pytest_opendal import errors
from pytest_opendal.backends.calm import calm
from pytest_opendal.backends.exporters import (
    Address,
    Exporter,
    code_and_details,
    from_environment,
    one_line,
    served,
)
from pytest_opendal.kept import first_of
from pytest_opendal.redacting import Redactor
from pytest_opendal.settings import HeldLease, JumpstarterSettings

with calm():
    from anyio.from_thread import BlockingPortal
    from jumpstarter.client import Lease
    from jumpstarter.client.exceptions import LeaseError
    from jumpstarter.common.condition import condition_false, condition_message, condition_true
    from jumpstarter.config.client import ClientConfigV1Alpha1
    from jumpstarter.config.user import UserConfigV1Alpha1

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

_DURATION = timedelta(minutes=30)
_STATE_SECONDS = 2.0
_POLL_SECONDS = 1.0
_NAME_SECONDS = 3.0
_LONGEST_LINE = 1 << 16


class _OurLease(Lease):  # type: ignore[misc]
    """A lease that leaves the terminal alone, and nothing behind."""

    is_held = False
    """By a process that crashed: it is ready, or of no use any more."""

    async def _create(self) -> None:
        # Jumpstarter does so, too, when an existing lease is of another selector, and keeps it then.
        self.release = True
        creating = asyncio.ensure_future(super()._create())
        try:
            await asyncio.shield(creating)
        except asyncio.CancelledError:
            # The controller may have made it, and would keep it for its whole duration: its name is
            # what it is released by.
            done, _ = await asyncio.wait([creating], timeout=_NAME_SECONDS)
            for ended in done:
                ended.cancelled() or ended.exception()  # seen: who is cancelled is not told
            raise

    async def _acquire(self) -> Lease:
        """Wait until the lease is ready; Jumpstarter's draws a spinner and asks every five seconds."""
        while not condition_true((told := await self._get_with_retry()).conditions, "Ready"):
            for refusal in ("Unsatisfiable", "Invalid"):
                if condition_true(told.conditions, refusal):
                    raise LeaseError(condition_message(told.conditions, refusal) or refusal)
            if self.is_held or condition_false(told.conditions, "Pending") or _is_over(told):
                raise LeaseError(f"{self.name} is over")
            await asyncio.sleep(_POLL_SECONDS)
        self.exporter_name = told.exporter
        self.release |= self.is_held
        return self

    async def handle_async(self, stream: Any) -> None:
        # What is not closed here keeps a client waiting for 20 s.
        async with stream:
            await super().handle_async(stream)


def _is_over(lease: Any) -> bool:
    return any(
        condition.type == "Ready" and condition.reason in {"Released", "Expired"}
        for condition in lease.conditions
    )


class Waiting:
    """What is waited for, for those who tell the user."""

    def __init__(self, settings: JumpstarterSettings) -> None:
        self._wanted = wanted(settings)
        self._seconds = settings.acquisition_timeout
        self._lease: Lease | None = None
        self._since = 0.0
        self._said = ""

    def begin(self, lease: Lease) -> None:
        """Note when the wait began."""
        self._lease = lease
        self._since = asyncio.get_running_loop().time()

    async def text(self) -> str:
        """Return what is waited for, how long already, and what the controller says to it."""
        waited = asyncio.get_running_loop().time() - self._since if self._lease else 0.0
        return (
            f"waiting for {self._wanted} ({waited:.0f} s of {self._seconds:g} s){await self.said()}"
        )

    async def said(self) -> str:
        """Return what the controller said last, as the end of a sentence."""
        if self._lease is not None and self._lease.name:
            with suppress(Exception):  # the wait itself tells of a controller that is gone
                async with asyncio.timeout(_STATE_SECONDS):
                    told = await self._lease.get()
                messages = [condition.message for condition in told.conditions if condition.message]
                self._said = f": {one_line(messages[-1])}" if messages else ""
        return self._said


def wanted(settings: JumpstarterSettings) -> str:
    """Return what a lease is of, for messages."""
    if settings.exporter_name:
        return f"a lease of the exporter {settings.exporter_name}"
    return f"a lease of an exporter with {settings.selector}"


@asynccontextmanager
async def leased(
    settings: JumpstarterSettings, waiting: Waiting, environ: Mapping[str, str]
) -> AsyncIterator[Address]:
    """Yield a leased exporter; the lease is released at the end, also after an interrupt.

    Raises:
        ConfigInvalid: there is no usable client configuration.
        StorageUnavailable: no lease could be had in time, or no controller answers.
    """
    config = client_config(settings.client)
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(settings.acquisition_timeout):
                lease = await _lease(settings, config, environ, stack)
                waiting.begin(lease)
                await stack.enter_async_context(lease)
            _refuse_another(settings, lease)
            host = await stack.enter_async_context(lease.serve_unix_async())
        except TimeoutError:
            msg = f"no lease within {settings.acquisition_timeout:g} s (acquisition_timeout)"
            raise errors.StorageUnavailable(
                f"{msg}; waited for {wanted(settings)}{await waiting.said()}"
            ) from None
        except errors.StorageError:
            raise
        except Exception as error:
            raise _refusal(settings, config, error) from None
        yield Address(
            str(host),
            name=lease.exporter_name,
            lease=lease.name,
            allow=tuple(config.drivers.allow),
            unsafe=config.drivers.unsafe,
            allowed_by="drivers.allow of the client configuration",
        )


async def _lease(
    settings: JumpstarterSettings,
    config: ClientConfigV1Alpha1,
    environ: Mapping[str, str],
    stack: AsyncExitStack,
) -> Lease:
    """Return a lease that is not requested yet; an existing one that ``JMP_LEASE`` names stays."""
    held = settings.name if isinstance(settings, HeldLease) else ""
    # `jmp shell --tls-grpc` sets JMP_LEASE=direct, which no controller knows.
    of_shell = environ.get("JMP_LEASE", "")
    existing = held or ("" if of_shell == "direct" else of_shell)
    duration = timedelta(seconds=settings.duration) if settings.duration else _DURATION
    lease = _OurLease(
        channel=await config.channel(),
        namespace=config.metadata.namespace,
        name=existing,
        selector=settings.selector,
        requested_exporter_name=settings.exporter_name,
        duration=duration,
        portal=await stack.enter_async_context(BlockingPortal()),
        allow=config.drivers.allow,
        unsafe=config.drivers.unsafe,
        release=not existing,
        tls_config=config.tls,
        grpc_options=config.grpcOptions,
        client_name=config.metadata.name,
        # Ours ends earlier, and says what was waited for.
        acquisition_timeout=math.ceil(settings.acquisition_timeout) + 60,
        dial_timeout=config.leases.dial_timeout,
    )
    lease.is_held = held not in {"", of_shell}
    return lease


def _refuse_another(settings: JumpstarterSettings, lease: Lease) -> None:
    """Refuse the existing lease of a ``jmp shell`` that is of another exporter than the one asked for."""
    if settings.exporter_name not in {None, lease.exporter_name}:
        place = (
            f"the lease {lease.name} of this `jmp shell` is of the exporter {lease.exporter_name}"
        )
        msg = (
            f"{place}, not of {settings.exporter_name}; leave exporter_name out, or leave the shell"
        )
        raise errors.StorageUnavailable(msg)


def _refusal(
    settings: JumpstarterSettings, config: ClientConfigV1Alpha1, error: BaseException
) -> errors.StorageError:
    error = first_of(error)
    _, details = code_and_details(error)
    if isinstance(error, LeaseError):
        return errors.StorageUnavailable(f"no {wanted(settings)[2:]}: {one_line(details)}")
    problem = f"the controller at {config.endpoint} gives no lease"
    return errors.StorageUnavailable(f"{problem}: {one_line(details) or type(error).__name__}")


def client_config(client: str | None) -> ClientConfigV1Alpha1:
    """Return the client configuration: a file, an alias, or as ``jmp`` finds it by itself.

    Raises:
        ConfigInvalid: there is none, or it is of no use.
    """
    try:
        config = _loaded(client)
    except FileNotFoundError as error:
        raise errors.ConfigInvalid(
            f"there is no client configuration {client!r}: {one_line(str(error))}"
        ) from None
    except (OSError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark is not None else ""
        problem = getattr(error, "strerror", None) or f"is no YAML{place}"
        raise errors.ConfigInvalid(
            f"client configuration {client or 'of this user'}: {problem}"
        ) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise errors.ConfigInvalid(
            f"client configuration {client or 'of this user'}: {place}: {first['msg']}"
        ) from None
    if config is None or config.endpoint is None or config.token is None:
        remedy = "run `jmp login`, or name one with `client:`"
        raise errors.ConfigInvalid(
            f"a lease needs a client configuration with endpoint and token; {remedy}"
        )
    return config


def _loaded(client: str | None) -> ClientConfigV1Alpha1 | None:
    if client is None:
        with suppress(ValidationError):
            return ClientConfigV1Alpha1.from_env()
        return (
            UserConfigV1Alpha1.load().config.current_client if UserConfigV1Alpha1.exists() else None
        )
    if "/" in client or client.endswith((".yaml", ".yml")):
        return ClientConfigV1Alpha1.from_file(client)
    return ClientConfigV1Alpha1.load(client)


# -- which exporter a storage means


class Exporters:
    """The exporters of this process, by what leads to them; storages of one exporter share it."""

    def __init__(
        self, environ: Mapping[str, str], shared: str = "", *, is_worker: bool = False
    ) -> None:
        """Reach nothing yet.

        Args:
            environ: tells the exporter of a ``jmp shell``.
            shared: socket at which the controller of the run hands out leases, for its workers.
            is_worker: this process is a worker of a run.
        """
        self._environ = environ
        self._shared = shared
        self._is_worker = is_worker
        self._known: dict[JumpstarterSettings, Exporter] = {}
        self._waiting: dict[Exporter, Callable[[], Any]] = {}
        self._desk: _Desk | None = None

    def of(self, settings: JumpstarterSettings) -> Exporter:
        """Return the exporter that settings lead to."""
        key = settings.model_copy(update={"driver": None, "flasher": None})
        if key not in self._known:
            self._known[key] = self._new(key)
        return self._known[key]

    def _new(self, settings: JumpstarterSettings) -> Exporter:
        if settings.exporter_config:
            file = settings.exporter_config
            return Exporter(lambda: served(file))
        if not settings.needs_lease:
            return Exporter(lambda: from_environment(self._environ))
        if self._is_worker and settings.lease == "run":
            return Exporter(lambda: from_controller(settings, self._shared))
        waiting = Waiting(settings)
        exporter = Exporter(lambda: leased(settings, waiting, self._environ))
        self._waiting[exporter] = waiting.text
        return exporter

    async def waiting_for(self, exporter: Exporter) -> str:
        """Return what an exporter that is not found yet is waited for, ``""`` when others tell it."""
        text = self._waiting.get(exporter)
        return await text() if text is not None else ""

    async def share(self, tell: Callable[[str], None]) -> str:
        """Hand out leases to the workers of this run; returns the socket at which they ask."""
        if self._desk is None:
            self._desk = _Desk(self, tell)
            await self._desk.open()
        return self._desk.path

    async def close(self) -> list[str]:
        """Let go of all exporters; leases are released. Return a line for each that could not be."""
        if self._desk is not None:
            await self._desk.close()
        known = [*self._known.values()]
        released = await asyncio.gather(*(exporter.close() for exporter in known))
        return [
            f"the lease {exporter.address.lease} was not released in time; it ends by itself"
            for exporter, is_released in zip(known, released, strict=True)
            if not is_released and exporter.address.lease
        ]


TELL_SECONDS = 5.0


class _Desk:
    """Where the workers of a run ask for exporters that the controller leases."""

    def __init__(self, exporters: Exporters, tell: Callable[[str], None]) -> None:
        self._exporters = exporters
        self._tell = tell
        self._directory = tempfile.TemporaryDirectory(prefix="pytest-opendal-")
        self.path = str(Path(self._directory.name) / "leases")
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path, limit=_LONGEST_LINE)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            settings = JumpstarterSettings.model_validate_json(await reader.readline())
            writer.write(json.dumps(await self._answer(settings)).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError):
            pass  # the worker is gone
        finally:
            writer.close()

    async def _answer(self, settings: JumpstarterSettings) -> dict[str, Any]:
        exporter = self._exporters.of(settings)
        try:
            while not await exporter.found(TELL_SECONDS):
                self._tell(await self._exporters.waiting_for(exporter))
            return {"address": asdict(await exporter.place())}
        except errors.StorageError as error:
            return {"error": type(error).__name__, "text": str(error)}
        except Exception as error:
            text = one_line(Redactor().text(str(error))) or type(error).__name__
            return {"error": "StorageUnavailable", "text": text}

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._directory.cleanup()


@asynccontextmanager
async def from_controller(settings: JumpstarterSettings, path: str) -> AsyncIterator[Address]:
    """Yield an exporter that the controller of this run has leased.

    Raises:
        StorageUnavailable: it got no lease, or is gone itself.
    """
    if not path:
        msg = (
            "the controller of the run leases only for the configuration that --opendal-config, "
            "OPENDAL_CONFIG or the ini key opendal_config names; name it there, or set `lease: worker`"
        )
        raise errors.ConfigInvalid(msg)
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=_LONGEST_LINE)
        writer.write(settings.model_dump_json(exclude_defaults=True).encode() + b"\n")
        answer = json.loads(await reader.readline())
        writer.close()
    except (OSError, ValueError):
        msg = f"the controller of the run is gone; waited for {wanted(settings)}"
        raise errors.StorageUnavailable(msg) from None
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["text"])
    yield Address(**{**answer["address"], "allow": tuple(answer["address"]["allow"])})
