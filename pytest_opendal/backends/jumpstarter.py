"""A storage behind a Jumpstarter exporter, through the client of its OpenDAL driver (0.9).

Transfers go over streams of our own making: the client's print a progress bar, and leave their end on
the exporter open. Everything else is the driver's calls, made on our loop.
"""

from __future__ import annotations

import asyncio
import errno
import re
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_opendal import errors
from pytest_opendal.backends import compat
from pytest_opendal.backends.calm import calm
from pytest_opendal.backends.drivers import Link
from pytest_opendal.backends.links import through
from pytest_opendal.backends.protocol import LEASE, NO_CONDITIONS, NO_OPTIONS, PLACE
from pytest_opendal.backends.repeating import repeated
from pytest_opendal.kept import first_of
from pytest_opendal.models import Capability, Metadata, PresignedRequest
from pytest_opendal.paths import parents
from pytest_opendal.redacting import Redactor

with calm():
    import grpc
    from jumpstarter.client.core import DriverError
    from jumpstarter.common.resources import ResourceMetadata
    from jumpstarter.common.streams import ResourceStreamRequest, StreamRequestMetadata
    from jumpstarter.streams.common import forward_stream
    from jumpstarter.streams.encoding import compress_stream
    from jumpstarter.streams.router import RouterStream
    from jumpstarter_driver_opendal.client import FlasherClientInterface, OpendalClient
    from jumpstarter_protocol import router_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path
    from uuid import UUID

    from pytest_opendal.backends.exporters import Exporter
    from pytest_opendal.backends.protocol import Conditions, Operation, Reader, WriteOptions

T = TypeVar("T")

# gRPC's own limit of a message is 4 MiB; the exporter sends 64 KiB at a time.
_SEND_BYTES = 1 << 20
_RECEIVE_BYTES = 1 << 20
_ALL = 1 << 62
_LET_GO_SECONDS = 2.0
# What the storage may be capable of, and the driver's calls have no argument for.
_LOST = re.compile("write_can_append|(read|stat|write|list)_with_(?!recursive)")
_FULL = f"(os error {errno.ENOSPC})"
_HASHED_THERE = {"md5", "sha256"}


class JumpstarterBackend:
    """Adapts Jumpstarter's ``OpendalClient`` to what a storage needs."""

    scheme = "jumpstarter"
    appends = False
    at_once = False

    def __init__(self, exporter: Exporter, driver: str | None, retries: int = 0) -> None:
        """Ask nothing yet; the exporter is connected with the first call.

        Args:
            exporter: that the driver is on.
            driver: its dotted path in the export tree; None: the only one.
            retries: how often a call is repeated after a temporary failure of the storage there.
        """
        self._retries = retries
        self._link = Link(exporter, OpendalClient, driver, key="driver", what="OpenDAL driver")
        self._met: OpendalClient | None = None
        self._capability = Capability()
        self.hierarchical = False
        self._real: set[str] = set()
        """Directories there that were seen to be no links."""

    def __repr__(self) -> str:
        return f"JumpstarterBackend({self._link.path!r})"

    @property
    def place(self) -> Mapping[str, str]:
        """Which exporter it is, of those that the settings may lead to, and by which lease."""
        address = self._link.exporter.address
        known = {PLACE: address.name, LEASE: address.lease}
        return {key: value for key, value in known.items() if value}

    @property
    def may_be_gone(self) -> bool:
        """Whether the exporter broke off; `check` sees whether it is there again."""
        return self._link.may_be_gone

    @property
    def replaces(self) -> bool:
        """Whether a file can be written beside its place and then moved there."""
        return self._capability.rename or self._capability.copy

    # -- the driver

    async def check(self) -> None:
        """Connect, or see whether the exporter that broke off is there again."""
        await self._meet(await self._link.connect())

    async def _connected(self) -> OpendalClient:
        client = await self._link.client()
        return client if client is self._met else await self._meet(client)

    async def _meet(self, client: OpendalClient) -> OpendalClient:
        told = await client.call_async("capability")
        can = {name: value for name, value in told.items() if not _LOST.match(name)}
        self._capability = Capability.model_validate(can)
        # As with a storage of this host: services with directories walk them.
        self.hierarchical = self._capability.create_dir and not self._capability.list_with_recursive
        self._met = client
        return client

    async def _call(self, method: str, *arguments: Any) -> Any:
        return await self._repeated(partial(self._call_once, method, *arguments))

    async def _call_once(self, method: str, *arguments: Any) -> Any:
        client = await self._connected()
        return await client.call_async(method, *arguments)

    async def _repeated(self, attempt: Callable[[], Awaitable[T]]) -> T:
        return await repeated(attempt, self._retries, _is_temporary)

    async def capability(self) -> Capability:
        """Return what the service can do there."""
        await self._connected()
        return self._capability

    async def stat(self, path: str, conditions: Conditions = NO_CONDITIONS) -> Metadata:
        """Return the metadata of a file or directory."""
        _refuse(conditions, NO_CONDITIONS)
        metadata = Metadata.model_validate(await self._call("stat", path))
        if metadata.mode.is_dir():
            return metadata.model_copy(update={"content_length": 0})
        return metadata

    async def create_dir(self, path: str) -> None:
        """Make a directory and those above it."""
        await self._call("create_dir", path)

    async def delete(self, path: str) -> None:
        """Remove a file, or the marker of a directory.

        Raises:
            PathEscape: a link leads to it there.
        """
        await self._refuse_links(path)
        await self._call("delete", path)

    async def remove_file(self, path: str) -> None:
        """Remove a file; a directory that is in its place stays."""
        if not (self.hierarchical and await self._is_directory(path)):
            await self.delete(path)

    async def remove_empty(self, path: str) -> bool:
        """Remove a directory unless something is in it."""
        if self.hierarchical and not await self._is_directory(path.rstrip("/")):
            # fs and WebDAV would remove a file of that name (opendal 0.45).
            return True
        # The scheme is not known here, and WebDAV's delete removes all below a directory.
        async with aclosing(self.list(path)) as entries:
            async for entry in entries:
                if entry != path:
                    return False
        try:
            await self.delete(path)
        except DriverError as error:
            if "not empty" in str(error):  # another worker has just written into it
                return False
            raise
        return True

    async def _is_directory(self, name: str) -> bool:
        try:
            return (await self.stat(name)).mode.is_dir()
        except DriverError as error:
            if self.explain(error)[0] in {errors.NotFound, errors.NotADirectory}:
                return False
            raise

    async def remove_tree(self, path: str) -> None:
        """Remove a directory and all below it.

        Raises:
            PathEscape: it is a link there, which opendal 0.45 would follow, or a link leads to it.
        """
        await self._refuse_links(path)
        await self._refuse_link(path.rstrip("/"))
        await self._call("remove_all", path)
        self._real.clear()

    async def _refuse_links(self, path: str) -> None:
        """Raise `PathEscape` where a directory above ``path`` is a link; each is asked for once."""
        for name in reversed([*parents(path)]):
            if name not in self._real:
                await self._refuse_link(name)

    async def _refuse_link(self, name: str) -> None:
        if not self.hierarchical:
            return
        # A name without a slash lists what begins like it; a link is not listed as a directory.
        entries = {entry async for entry in self.list(name)}
        if f"{name}/" in entries:
            self._real.add(name)
        elif name in entries and await self._is_directory(name):
            raise errors.PathEscape(through(name))

    async def copy(self, source: str, target: str) -> None:
        """Copy a file."""
        await self._call("copy", source, target)

    async def rename(self, source: str, target: str) -> None:
        """Move a file or directory."""
        # Not repeated: the first time may have succeeded unheard.
        await self._call_once("rename", source.rstrip("/"), target.rstrip("/"))

    async def replace(self, part: str, target: str) -> None:
        """Put a file that was written beside another in its place."""
        if self._capability.rename:
            await self.rename(part, target)
        else:
            await self.copy(part, target)
            await self.delete(part)

    async def list(self, path: str, *, recursive: bool = False) -> AsyncGenerator[str]:
        """Yield paths below a directory."""
        method = "scan" if recursive else "list"
        entries, first = await self._repeated(partial(self._list, method, path or "/"))
        async with aclosing(entries):
            if first is None:
                return
            yield first
            async for entry in entries:
                yield entry

    async def _list(self, method: str, path: str) -> tuple[AsyncGenerator[str], str | None]:
        client = await self._connected()
        entries = client.streamingcall_async(method, path)
        return entries, await anext(entries, None)

    async def presign(
        self, operation: Operation, path: str, expire_second: int
    ) -> PresignedRequest:
        """Sign a request."""
        capability = await self.capability()
        if not getattr(capability, f"presign_{operation}"):
            whose = "driver" if operation == "delete" else "storage"
            msg = f"the exporter's {whose} cannot presign {operation} with opendal {compat.VERSION}"
            raise errors.Unsupported(msg)
        signed = await self._call(f"presign_{operation}", path, expire_second)
        return PresignedRequest.model_validate(signed)

    async def hash(self, path: str, algo: str) -> str | None:
        """Return the hex digest, computed by the exporter where its driver knows how."""
        if algo not in _HASHED_THERE:
            return None
        digest: str = await self._call("hash", path, algo)
        return digest

    def local_path(self, path: str) -> Path | None:  # noqa: ARG002
        """Return None: the files are elsewhere."""
        return None

    # -- transfers

    async def read(self, path: str, offset: int, size: int | None, conditions: Conditions) -> bytes:
        """Return a range of a file."""
        _refuse(conditions, NO_CONDITIONS)
        return await self._repeated(partial(self._read, path, offset, size))

    async def _read(self, path: str, offset: int, size: int | None) -> bytes:
        client = await self._connected()
        reader = _Reader(client, await _open(client, path, "rb"))
        try:
            if offset:
                await reader.seek(offset)
            return (await reader.receive(_ALL if size is None else size))[:size]
        finally:
            await reader.close()

    async def open(self, path: str) -> Reader:
        """Open a file for reading."""
        client = await self._connected()
        handle = await self._repeated(lambda: _open(client, path, "rb"))
        return _Reader(client, handle)

    async def opener(self, path: str) -> None:
        """Return None: the exporter's answers come to the loop."""

    async def write(self, path: str, data: bytes, options: WriteOptions) -> None:
        """Store a whole file."""

        async def pieces() -> AsyncIterator[bytes]:
            yield data

        await self._repeated(lambda: self.upload(path, pieces(), options))

    async def append(self, path: str, data: bytes) -> None:
        """Fail: the driver opens files with ``rb`` and ``wb`` only."""
        msg = f"the exporter's driver cannot append {len(data)} bytes to {path!r}"
        raise errors.Unsupported(msg)

    async def upload(self, path: str, chunks: AsyncIterator[bytes], options: WriteOptions) -> None:
        """Store a whole file from a stream; where that fails, the file is there in part."""
        _refuse(options, NO_OPTIONS)
        client = await self._connected()
        handle = await _open(client, path, "wb")
        try:
            await _send(client, handle, chunks)
        except BaseException:
            await _let_go(client, handle)
            raise
        await client.call_async("file_close", handle)

    # -- errors and the end

    def explain(self, error: BaseException) -> tuple[type[errors.StorageError], str]:
        """Return which of our errors this is, and its reason."""
        return self._link.explain(error)

    def cause(self, error: BaseException) -> BaseException | None:
        """Return the error without what the exporter quotes of URLs."""
        return Redactor().error(error)

    async def close(self) -> None:
        """Nothing to let go: the connection is the exporter's."""


def _is_temporary(error: Exception) -> bool:
    """Whether the storage there failed for the moment, in the words of opendal on the exporter."""
    cause = first_of(error)
    # For opendal a full disk is temporary; each attempt would leave a file open on the exporter.
    return (
        isinstance(cause, DriverError) and "(temporary)" in str(cause) and _FULL not in str(cause)
    )


def flasher_link(exporter: Exporter, path: str | None) -> Link[Any]:
    """Return the way to a flasher in the export tree; None: the only one."""
    return Link(exporter, FlasherClientInterface, path, key="flasher", what="flasher")


async def flasher(link: Link[Any]) -> Any:
    """Return the client of a flasher, a new one after its exporter broke off; it prints no progress bars.

    Raises:
        ConfigInvalid: there is none, or several and no path.
        StorageUnavailable: the exporter cannot be reached.
    """
    client = await (link.connect() if link.may_be_gone else link.client())
    client.resource_async = partial(_resource, client)
    return client


@asynccontextmanager
async def _resource(
    client: Any, stream: Any, content_encoding: str | None = None
) -> AsyncIterator[Any]:
    """Do what the client's ``resource_async`` does, but for the progress bar."""
    async with _stream(client, content_encoding) as (call, told):
        if told.x_jmp_accept_encoding is None:
            stream = compress_stream(stream, content_encoding)
        async with forward_stream(stream, RouterStream(context=call)):
            yield _handle_of(told)


def _refuse(given: object, nothing: object) -> None:
    """Raise `Unsupported` for what the driver has no argument for."""
    if given != nothing:
        names = [name for name in given.__slots__ if getattr(given, name) != getattr(nothing, name)]  # type: ignore[attr-defined]
        msg = f"the exporter's driver takes no {' or '.join(names)}"
        raise errors.Unsupported(msg)


async def _open(client: OpendalClient, path: str, mode: str) -> UUID:
    """Return a handle of the exporter's; one that comes after a cancellation is closed."""
    opening = asyncio.create_task(client.call_async("open", path, mode))
    try:
        handle: UUID = await asyncio.shield(opening)
    except asyncio.CancelledError:
        late = asyncio.create_task(_close_late(client, opening))
        _closing.add(late)
        late.add_done_callback(_closing.discard)
        if mode == "wb":  # what is removed after this has to be there
            await asyncio.wait([late], timeout=_LET_GO_SECONDS)
        raise
    return handle


_closing: set[asyncio.Task[None]] = set()


async def _close_late(client: OpendalClient, opening: asyncio.Task[Any]) -> None:
    with suppress(Exception):
        await _let_go(client, await opening)


async def _let_go(client: OpendalClient, handle: UUID) -> None:
    """Close a handle whatever comes of it, without waiting long for an exporter that is silent."""
    with suppress(Exception):
        async with asyncio.timeout(_LET_GO_SECONDS):
            await client.call_async("file_close", handle)


@asynccontextmanager
async def _stream(
    client: Any, encoding: str | None = None
) -> AsyncIterator[tuple[Any, ResourceMetadata]]:
    """Yield a stream to the exporter, and what its driver calls it."""
    about = ResourceStreamRequest(uuid=client.uuid, x_jmp_content_encoding=encoding)
    request = StreamRequestMetadata.model_construct(request=about)
    metadata = request.model_dump(mode="json", round_trip=True)
    call = client.stub.Stream(metadata=tuple(metadata.items()))
    try:
        told = dict(list(await call.initial_metadata()))
        if not told:  # it was refused
            raise grpc.aio.AioRpcError(
                await call.code(), grpc.aio.Metadata(), grpc.aio.Metadata(), await call.details()
            )
        yield call, ResourceMetadata(**told)
    finally:
        # The exporter keeps its end until the call is over.
        call.cancel()


def _handle_of(told: ResourceMetadata) -> dict[str, Any]:
    handle: dict[str, Any] = told.resource.model_dump(mode="json")
    return handle


async def _send(client: OpendalClient, handle: UUID, chunks: AsyncIterator[bytes]) -> None:
    """Have the exporter write a stream to an open file."""
    async with _stream(client) as (call, told):
        writing = asyncio.create_task(client.call_async("file_write", handle, _handle_of(told)))
        sending = asyncio.create_task(_send_all(call, chunks))
        try:
            # The exporter may give up first, and would not take the rest.
            await asyncio.wait({writing, sending}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
            await sending
            await writing
        except grpc.aio.AioRpcError:
            await writing  # it knows better what happened
            raise
        finally:
            await _stop(writing, sending)


async def _send_all(call: Any, chunks: AsyncIterator[bytes]) -> None:
    async for chunk in chunks:
        for start in range(0, len(chunk), _SEND_BYTES):
            piece = bytes(memoryview(chunk)[start : start + _SEND_BYTES])
            await call.write(router_pb2.StreamRequest(payload=piece))
    await call.write(router_pb2.StreamRequest(frame_type=router_pb2.FRAME_TYPE_GOAWAY))
    await call.done_writing()


async def _stop(*tasks: asyncio.Task[Any]) -> None:
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending, timeout=_LET_GO_SECONDS)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # seen; the first error is the one that is told


class _Reader:
    """An open file of the exporter; its content comes in one stream until somebody seeks."""

    def __init__(self, client: OpendalClient, handle: UUID) -> None:
        self._client = client
        self._handle: UUID | None = handle
        self._position = 0
        self._rest = b""
        self._receiving: _Receiving | None = None

    async def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes."""
        if not self._rest:
            self._rest = await self.receive(min(size, _RECEIVE_BYTES))
        piece, self._rest = self._rest[:size], self._rest[size:]
        self._position += len(piece)
        return piece

    async def receive(self, size: int) -> bytes:
        """Return ``size`` bytes of the stream or somewhat more, less only at the end."""
        if self._receiving is None:
            assert self._handle is not None
            self._receiving = _Receiving(self._client, self._handle)
            await self._receiving.begin()
        return await self._receiving.take(size)

    async def seek(self, position: int, whence: int = 0) -> int:
        """Move; the stream begins anew there."""
        if whence == 1:
            position, whence = self._position + position, 0
        await self._pause()
        told = await self._client.call_async("file_seek", self._handle, position, whence)
        self._position = int(told)
        return self._position

    async def _pause(self) -> None:
        receiving, self._receiving, self._rest = self._receiving, None, b""
        if receiving is not None:
            await receiving.end()

    async def close(self) -> None:
        """Release the file."""
        await self._pause()
        handle, self._handle = self._handle, None
        if handle is not None:
            await _let_go(self._client, handle)


class _Receiving:
    """The content of an open file from its position on, as the exporter sends it."""

    def __init__(self, client: OpendalClient, handle: UUID) -> None:
        self._client = client
        self._handle = handle
        self._stream = _stream(client)
        self._call: Any = None
        self._reading: asyncio.Task[Any] | None = None
        self._over = False

    async def begin(self) -> None:
        """Have the exporter send."""
        self._call, told = await self._stream.__aenter__()
        self._reading = asyncio.create_task(
            self._client.call_async("file_read", self._handle, _handle_of(told))
        )

    async def take(self, size: int) -> bytes:
        """Return ``size`` bytes or somewhat more, less only at the end."""
        assert self._reading is not None
        pieces: list[bytes] = []
        missing = size
        while missing > 0 and not self._over:
            frame = await self._receive()
            if frame is grpc.aio.EOF or frame.frame_type == router_pb2.FRAME_TYPE_GOAWAY:
                self._over = True
                await self._reading
            else:
                pieces.append(frame.payload)
                missing -= len(frame.payload)
        return b"".join(pieces)

    async def _receive(self) -> Any:
        assert self._reading is not None
        try:
            return await self._call.read()
        except grpc.aio.AioRpcError:
            await self._reading  # it knows better what happened
            raise

    async def end(self) -> None:
        """Have the exporter stop, wherever it is."""
        if self._reading is not None:
            await _stop(self._reading)
        await self._stream.__aexit__(None, None, None)
