"""A storage that this host reaches itself, through opendal's operator."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import opendal

from pytest_opendal import errors
from pytest_opendal.backends import compat, links
from pytest_opendal.backends.known import spelled
from pytest_opendal.backends.protocol import NO_CONDITIONS
from pytest_opendal.backends.quick import quick_way
from pytest_opendal.backends.removal import remove_tree
from pytest_opendal.instant import instantly
from pytest_opendal.loop import aside, is_on_loop, on_loop
from pytest_opendal.models import Capability, Metadata, PresignedRequest
from pytest_opendal.paths import name_of
from pytest_opendal.redacting import Redactor, refuse_pickle, without_login
from pytest_opendal.settings import Secrets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from pytest_opendal.backends.protocol import (
        Conditions,
        Operation,
        Reader,
        ThreadReader,
        WriteOptions,
    )

PART_BYTES = 8 << 20
# What signs without a request is done in a hundredth of it; credentials may have to be fetched first.
_SIGNING_SECONDS = 0.05

# Where an append was seen to append. opendal 0.47 says that S3 can and overwrites there.
_APPENDING = {"fs", "azblob"}

# Their own delete refuses a directory that is not empty; WebDAV's removes all below it.
_SAFE_RMDIR = {"fs", "sftp", "ftp"}

_STATUS = re.compile(r"\bstatus: (\d{3})")
_S3_ERROR = re.compile(r'^S3Error \{ code: "(?P<code>[^"]*)", message: "(?P<message>[^"]*)')
_SIGNING = re.compile(r"^ +called: (reqsign::\w+)$", re.MULTILINE)
_S3 = re.compile(r"^ +service: s3$", re.MULTILINE)
_NO_CREDENTIAL = "no valid credential found"
_TAG = re.compile(r"<[^>]*>")
_OS_ERROR = re.compile(r"([A-Z][A-Za-z ]+) \(os error \d+\)")
_UNREACHABLE = (
    "send http request",
    "error sending request",
    "error decoding response body",
    "read data from http response",
    "Connection refused",
    "connection",
    "dns error",
)

_BY_STATUS: dict[int, type[errors.StorageError]] = {
    401: errors.PermissionDenied,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    412: errors.ConditionNotMatch,
}


class LocalBackend:
    """Adapts ``opendal.AsyncOperator`` to what a storage needs."""

    at_once = True
    replaces = False
    may_be_gone = False

    def __init__(
        self,
        scheme: str,
        kwargs: Mapping[str, str],
        add_layers: Callable[[opendal.AsyncOperator], opendal.AsyncOperator] = lambda operator: (
            operator
        ),
        retries: int = 0,
    ) -> None:
        """Make the operator; nothing is asked of the storage yet.

        Raises:
            ConfigInvalid: opendal refuses the scheme or its keys.
        """
        self.scheme = scheme
        self._redactor = Redactor(kwargs)
        self._root = Path(kwargs.get("root", "/")) if scheme == "fs" else None
        self._last_place: tuple[str, Path | None] = ("", self._root)
        try:
            plain = opendal.AsyncOperator(spelled(scheme), **_quiet(scheme, kwargs))
            # For what must not happen twice, where the first time may have succeeded unheard.
            self._once = add_layers(plain)
            self._operator = compat.retrying(self._once, retries)
        except compat.ERRORS as error:
            kind, reason = self.explain(error)
            raise (errors.Unsupported if kind is errors.Unsupported else errors.ConfigInvalid)(
                reason
            ) from None
        told = Capability.model_validate(self._operator.capability())
        self.appends = told.write_can_append and scheme in _APPENDING
        self._capability = told.model_copy(update={"write_can_append": self.appends})
        # Object stores list recursively in one request; services with directories walk them.
        self.hierarchical = self._capability.create_dir and not self._capability.list_with_recursive
        # A layer of somebody else may wait, or try again.
        self._is_plain = self._once is plain
        self._quick = quick_way(scheme, kwargs, plain) if self._is_plain else None

    def __repr__(self) -> str:
        return f"LocalBackend({self.scheme!r})"

    @property
    def place(self) -> Mapping[str, str]:
        """Nothing: the settings tell all."""
        return {}

    def __reduce__(self) -> Any:
        refuse_pickle("a storage")

    async def check(self) -> None:
        """Ask for a name that hardly exists: any answer but silence or refusal will do."""
        with suppress(*_answers()):
            await self.stat("pytest-opendal-check")

    async def capability(self) -> Capability:
        """Return what the service can do."""
        return self._capability

    async def stat(self, path: str, conditions: Conditions = NO_CONDITIONS) -> Metadata:
        """Return the metadata of a file or directory."""
        self._refuse_conditions("stat", conditions)
        given = compat.conditions(conditions)
        if self._quick is not None and self._quick.takes(path):
            found: Any = self._quick.operator.stat(path, **given)
        else:
            await on_loop()
            found = await self._operator.stat(path, **given)
        metadata = Metadata.model_validate(found)
        if metadata.mode.is_dir():
            # 0.45 tells the size of the directory's inode, 0.47 tells 0.
            return metadata.model_copy(update={"content_length": 0})
        return metadata

    async def read(self, path: str, offset: int, size: int | None, conditions: Conditions) -> bytes:
        """Return a range of a file."""
        self._refuse_conditions("read", conditions)
        if self._quick is not None and not offset and size is None and self._quick.can_read(path):
            return self._quick.operator.read(path, **compat.conditions(conditions))
        await on_loop()
        await self._refuse_directory(path)
        return await compat.read(self._operator, path, offset, size, conditions)

    def _refuse_conditions(self, operation: str, conditions: Conditions) -> None:
        for name in compat.conditions(conditions):
            if not getattr(self._capability, f"{operation}_with_{name}"):
                msg = f"{self.scheme} knows no {name} when it is asked to {operation}"
                raise errors.Unsupported(msg)

    async def open(self, path: str) -> Reader:
        """Open a file for reading."""
        await on_loop()
        await self._refuse_directory(path)
        return await self._operator.open(path, "rb")

    async def opener(self, path: str) -> Callable[[], ThreadReader] | None:
        """Return what opens a file on a thread: a piece need not go through the event loop then."""
        # A thread that is given up would keep what a layer of somebody else lends it.
        if self._quick is not None or self._root is not None or not self._is_plain:
            return None
        await on_loop()
        operator = compat.on_threads(self._operator)
        if operator is None:
            return None
        await self._refuse_directory(path)
        return partial(operator.open, path, "rb")

    async def _refuse_directory(self, path: str) -> None:
        # A WebDAV server may answer with a page for people.
        if self.scheme == "webdav" and (await self._operator.stat(path)).mode.is_dir():
            msg = "is a directory"
            raise errors.IsADirectory(msg)

    async def write(self, path: str, data: bytes, options: WriteOptions) -> None:
        """Store a whole file."""
        storable = self._storable(options)
        if self._quick is not None and self._quick.takes(path, len(data)):
            self._quick.operator.write(path, data, **storable)
        else:
            await on_loop()
            await self._writing(options).write(path, data, **storable)

    def _writing(self, options: WriteOptions) -> opendal.AsyncOperator:
        """Return the operator for a write; what is no whole request could arrive twice in part."""
        requests = not self.hierarchical or self.scheme == "webdav"
        return self._operator if requests and not options.if_not_exists else self._once

    def _storable(self, options: WriteOptions) -> dict[str, Any]:
        """Return the options as keyword arguments; opendal ignores what the service cannot store."""
        given = compat.write_options(options)
        for name in given:
            if not compat.stores(self._capability, self.scheme, name):
                msg = f"{self.scheme} cannot store {name} with opendal {compat.VERSION}"
                raise errors.Unsupported(msg)
        return given

    async def append(self, path: str, data: bytes) -> None:
        """Add to the end of a file."""
        await on_loop()
        await self._once.write(path, data, append=True)

    async def upload(self, path: str, chunks: AsyncIterator[bytes], options: WriteOptions) -> None:
        """Stream where the service takes parts, else store in one write what the stream yields."""
        await on_loop()
        if self._capability.write_can_multi and compat.can_stream(options):
            await self._stream(path, chunks, options)
        else:
            # WebDAV fails past 256 KiB of a stream (opendal 0.45 and 0.47), but takes one write.
            await self.write(path, b"".join([chunk async for chunk in chunks]), options)

    async def _stream(self, path: str, chunks: AsyncIterator[bytes], options: WriteOptions) -> None:
        self._storable(options)
        file = await compat.open_writer(self._writing(options), path, PART_BYTES, options)
        # A stream that is dropped without close is not published by object stores (both lines).
        async for chunk in chunks:
            await file.write(chunk)
        await file.close()

    async def create_dir(self, path: str) -> None:
        """Make a directory and those above it."""
        if self._quick is not None and self._quick.takes(path):
            self._quick.operator.create_dir(path)
            return
        await on_loop()
        await self._operator.create_dir(path)
        if self.scheme == "webdav" and not await self._is_directory(path):
            # The server's "exists already" is taken for success, also when that is a file.
            msg = "is a file"
            raise errors.NotADirectory(msg)

    async def delete(self, path: str) -> None:
        """Remove a file, a link, or the marker of a directory."""
        if self._remove_link(path):
            return
        if self._quick is not None and self._quick.takes(path):
            self._quick.operator.delete(path)
        else:
            await on_loop()
            await self._operator.delete(path)

    def _remove_link(self, path: str) -> bool:
        """Remove what is a link; whether it was one.

        Raises:
            PathEscape: a link leads to the path.
        """
        if self._root is None:
            return False
        links.refuse_through(self._root, path)
        found = links.is_link(self._root, path)
        if found:
            links.remove(self._root, path)
        return found

    async def remove_file(self, path: str) -> None:
        """Remove a file; WebDAV's delete removes a directory with all below it."""
        if not (self.hierarchical and await self._is_directory(path)):
            await self.delete(path)

    async def remove_empty(self, path: str) -> bool:
        """Remove a directory unless something is in it."""
        if self.hierarchical and not await self._is_directory(path):
            # fs and WebDAV would remove a file of that name (opendal 0.45 and 0.47).
            return True
        if self.scheme not in _SAFE_RMDIR and await self._holds_something(path):
            return False
        try:
            await self.delete(path)
        except compat.ERRORS as error:
            if "not empty" in str(error):
                return False
            raise
        return True

    async def _is_directory(self, path: str) -> bool:
        if self._root is not None:
            return (self._root / path).is_dir() and not links.is_link(self._root, path)
        await on_loop()
        try:
            return (await self._operator.stat(path)).mode.is_dir()
        except opendal.exceptions.NotFound:
            return False

    async def _holds_something(self, path: str) -> bool:
        async for entry in self.list(path):
            if entry != path:
                return True
        return False

    async def remove_tree(self, path: str) -> None:
        """Remove a directory and all below it; of links, only themselves."""
        if self._remove_link(path):
            return
        if self._quick is not None and self._quick.can_remove(path):
            self._quick.remove_tree(path)
            return
        await on_loop()
        if self._root is None:
            await self._operator.remove_all(path)
            return
        given_up = threading.Event()
        try:
            removal = partial(remove_tree, f"{self._root}/{name_of(path)}", given_up)
            await aside(removal, "pytest-opendal-removal")
        finally:
            given_up.set()

    async def copy(self, source: str, target: str) -> None:
        """Copy a file."""
        self._refuse_cut_target(target)
        await on_loop()
        await self._operator.copy(source, target)

    def _refuse_cut_target(self, target: str) -> None:
        # WsgiDAV decodes the address before it takes it apart: the file would get another name.
        if self.scheme == "webdav" and not {"?", ";"}.isdisjoint(target):
            msg = f"WebDAV servers may cut the target {target!r} at its ? or ;"
            raise errors.Unsupported(msg)

    async def rename(self, source: str, target: str) -> None:
        """Move a file or directory; opendal refuses a directory's slash and moves it without."""
        self._refuse_cut_target(target)
        origin, place = source.rstrip("/"), target.rstrip("/")
        if self._quick is not None and self._quick.takes(origin) and self._quick.takes(place):
            self._quick.operator.rename(origin, place)
        else:
            await on_loop()
            await self._once.rename(origin, place)

    async def replace(self, part: str, target: str) -> None:
        """Put a file in the place of another."""
        await self.rename(part, target)

    async def list(self, path: str, *, recursive: bool = False) -> AsyncGenerator[str]:
        """Yield paths below a directory."""
        await on_loop()
        async for entry in compat.entries(self._operator, path or "/", recursive):
            yield entry

    async def presign(
        self, operation: Operation, path: str, expire_second: int
    ) -> PresignedRequest:
        """Sign a request."""
        if not getattr(self._capability, f"presign_{operation}"):
            msg = f"{self.scheme} cannot presign {operation} with opendal {compat.VERSION}"
            raise errors.Unsupported(msg)
        sign = partial(getattr(self._operator, f"presign_{operation}"), path, expire_second)
        may_be_here = self._is_plain and not is_on_loop()
        signed = instantly(sign, _SIGNING_SECONDS) if may_be_here else None
        if signed is None:
            await on_loop()
            signed = await sign()
        return PresignedRequest.model_validate(signed)

    async def hash(self, path: str, algo: str) -> str | None:  # noqa: ARG002
        """Return None: the content comes here anyway."""
        return None

    def local_path(self, path: str) -> Path | None:
        """Where the file of an fs storage is on this machine."""
        # Whoever writes a file asks several times, and pathlib takes its time.
        last, place = self._last_place
        if self._root is not None and path != last:
            place = self._root / path
            self._last_place = (path, place)
        return place

    def explain(self, error: BaseException) -> tuple[type[errors.StorageError], str]:
        """Return which of our errors this is, and its reason."""
        found, reason = explained(error)
        if self.scheme == "webdav" and found is errors.StorageError and "status: 409" in str(error):
            found, reason = errors.NotADirectory, "what is above is missing or no directory"
        return found, self._redactor.text(reason)

    def cause(self, error: BaseException) -> BaseException | None:
        """Return the error without the credentials that opendal quotes."""
        return self._redactor.error(error)

    async def close(self) -> None:
        """Nothing to let go: the operator's connections end with it."""


def _quiet(scheme: str, kwargs: Mapping[str, str]) -> Mapping[str, str]:
    """Return the arguments for an operator whose repr holds no credential.

    That of redis names its endpoint as it is given, and ignores the userinfo in it (0.45 and 0.47).
    """
    if scheme != "redis" or "endpoint" not in kwargs:
        return kwargs
    return Secrets({**kwargs, "endpoint": without_login(kwargs["endpoint"])})


def _answers() -> tuple[type[BaseException], ...]:
    kinds = (
        "NotFound",
        "PermissionDenied",
        "Unsupported",
        "IsADirectory",
        "NotADirectory",
        "ConditionNotMatch",
    )
    return tuple(getattr(opendal.exceptions, kind) for kind in kinds)


def explained(error: BaseException) -> tuple[type[errors.StorageError], str]:
    """Return which of our errors an error of opendal's is, and its reason without secrets of URLs."""
    kind, reason = compat.kind_and_reason(error)
    found = compat.KINDS.get(kind, errors.StorageError)
    text, said = str(error), _said_by_system(error)
    if found is errors.StorageError:
        # The whole text of the system's own errors holds a name, which may say anything.
        found = _of_unexpected(said or _essence(text))
    shown = (
        said
        or _os_error(text)
        or _unsigned(text, reason)
        or _readable(reason)
        or _status(text)
        or _plain_words(found)
    )
    return found, Redactor().text(shown)


def _of_unexpected(text: str) -> type[errors.StorageError]:
    status = _STATUS.search(text)
    if status is not None:
        code = int(status[1])
        fallback = (
            errors.StorageUnavailable if code in {429, 500, 502, 503, 504} else errors.StorageError
        )
        return _BY_STATUS.get(code, fallback)
    if "is a directory" in text:
        return errors.IsADirectory
    if "not a directory" in text:
        return errors.NotADirectory
    if any(phrase in text for phrase in _UNREACHABLE):
        return errors.StorageUnavailable
    return errors.StorageError


def _essence(text: str) -> str:
    """Return the first line and the source of an error, without its context, which holds the path."""
    reason = text.partition("\n")[0].rpartition("=> ")[2]
    source = text.partition("\nSource:")[2].partition("\nBacktrace")[0]
    status = _STATUS.search(text)
    return "\n".join((reason, source, status[0] if status else ""))


def _said_by_system(error: BaseException) -> str:
    """Return what Python's own error of the system says, ``""`` for any other."""
    said = error.strerror if isinstance(error, OSError) else None
    return said.lower() if said else ""


def _os_error(text: str) -> str:
    found = _OS_ERROR.search(text)
    return found[1].strip().lower() if found else ""


def _unsigned(text: str, reason: str) -> str:
    """Return why a request could not be signed, which opendal 0.47 says in the source only."""
    context, _, source = text.partition("\nSource:")
    signing, why = _SIGNING.search(context), source.strip().partition("\n")[0]
    if signing and why and "credential" in (signing[1] + why).lower():
        words = f"no credentials: {why}"
    elif reason.startswith(_NO_CREDENTIAL):  # 0.45
        words = reason
    else:
        return ""
    return f"{words}; set access_key_id and secret_access_key" if _S3.search(context) else words


def _status(text: str) -> str:
    found = _STATUS.search(text)
    return f"the server answers {found[1]}" if found else ""


def _plain_words(kind: type[errors.StorageError]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).lower()


def _readable(reason: str) -> str:
    s3 = _S3_ERROR.match(reason)
    if s3 is not None:
        return f"{s3['code']}: {s3['message']}"
    return " ".join(_TAG.sub(" ", reason).split())[:300]
