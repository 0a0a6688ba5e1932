"""The client of a driver in an exporter's export tree, found again when the exporter was started anew."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Generic, TypeVar

from pytest_opendal import errors
from pytest_opendal.backends.calm import calm
from pytest_opendal.backends.exporters import Address, Exporter, code_and_details, one_line
from pytest_opendal.backends.local import explained
from pytest_opendal.kept import first_of

with calm():
    from jumpstarter.client import DriverClient
    from jumpstarter.client.base import StubDriverClient

if TYPE_CHECKING:
    from collections.abc import Iterator

Client = TypeVar("Client", bound=DriverClient)

_CLIENT_LABEL = "jumpstarter.dev/client"
_LISTED = 12
_ALLOWS_ALL = "UNSAFE"

_BY_CODE: dict[str, type[errors.StorageError]] = {
    "UNAVAILABLE": errors.StorageUnavailable,
    "CANCELLED": errors.StorageUnavailable,
    "FAILED_PRECONDITION": errors.StorageUnavailable,
    "DEADLINE_EXCEEDED": errors.StorageTimeout,
    "UNAUTHENTICATED": errors.PermissionDenied,
    "PERMISSION_DENIED": errors.PermissionDenied,
    "UNIMPLEMENTED": errors.Unsupported,
    "NOT_FOUND": errors.Unsupported,
}
"""gRPC's codes and our errors; all others carry an error of the driver in their text."""


class Link(Generic[Client]):
    """The way to a driver, over the newest connection to its exporter."""

    def __init__(
        self, exporter: Exporter, kind: type[Client], path: str | None, *, key: str, what: str
    ) -> None:
        """Ask nothing yet; the exporter is connected when the client is first asked for.

        Args:
            exporter: that the driver is on.
            kind: class of the client.
            path: dotted names from the root on; None: the only one of this kind.
            key: of the configuration that says ``path``.
            what: how messages call such a driver.
        """
        self.exporter = exporter
        self.path = path
        self.may_be_gone = False
        """The exporter broke off; `connect` sees whether it is there again."""
        self._kind = kind
        self._key = key
        self._what = what
        self._client: Client | None = None
        self._connection = 0

    async def client(self) -> Client:
        """Return the client; another driver of the exporter may have connected anew.

        Raises:
            ConfigInvalid: there is none, or several and no path.
            StorageUnavailable: the exporter cannot be reached.
        """
        if self._client is None or self._connection != self.exporter.connections:
            return await self.connect()
        return self._client

    async def connect(self) -> Client:
        """Return the client, after looking whether an exporter that broke off is there again.

        Raises:
            ConfigInvalid: there is none, or several and no path.
            StorageUnavailable: the exporter cannot be reached.
        """
        exporter = self.exporter
        root = await (
            exporter.connect_again(self._connection) if self.may_be_gone else exporter.root()
        )
        self._client = find(
            root, exporter.address, self._kind, self.path, key=self._key, what=self._what
        )
        self._connection = exporter.connections
        self.may_be_gone = False
        return self._client

    def explain(self, error: BaseException) -> tuple[type[errors.StorageError], str]:
        """Return which of our errors an error of the client is, and its reason."""
        kind, reason = _explained(error)
        if self._client is not None and f"UUID('{self._client.uuid}')" in str(first_of(error)):
            # Another process answers there, whose drivers have other ids.
            kind, reason = errors.StorageUnavailable, "the exporter was started anew"
        if kind is errors.StorageUnavailable and not isinstance(error, errors.StorageError):
            self.may_be_gone = True
        return kind, reason


def _explained(error: BaseException) -> tuple[type[errors.StorageError], str]:
    """Return which of our errors an error of a driver's client is, and its reason."""
    error = first_of(error)
    if isinstance(error, errors.StorageError):
        return type(error), str(error)
    code, details = code_and_details(error)
    kind = _BY_CODE.get(code)
    if kind is None:
        return explained(OSError(details))
    if kind is errors.StorageUnavailable:
        return kind, f"the exporter broke off: {one_line(details)}"
    return kind, f"{one_line(details)} (said by the exporter)"


def find(
    root: DriverClient,
    address: Address,
    kind: type[Client],
    path: str | None,
    *,
    key: str = "driver",
    what: str,
) -> Client:
    """Return the client of a driver in the export tree.

    Args:
        root: of the tree.
        address: of the exporter.
        kind: class of the client.
        path: dotted names from the root on; None: the only one of this kind.
        key: of the configuration that says ``path``.
        what: how messages call such a driver.

    Raises:
        ConfigInvalid: there is none, or several; the text lists what there is.
    """
    tree = dict(_walk(root, ()))
    if path is not None:
        return _named(tree, address, kind, path, what)
    # A `ref` of the exporter's is a second client with the uuid of the first.
    found = {
        client.uuid: (name, client)
        for name, client in reversed(tree.items())
        if isinstance(client, kind)
    }
    if len(found) == 1:
        [(_, client)] = found.values()
        return client
    if found:
        names = ", ".join(sorted(name for name, _ in found.values()))
        raise errors.ConfigInvalid(
            f"the exporter has {len(found)} {what}s ({names}); name one with `{key}:`"
        )
    for name, client in tree.items():
        if _is_stub(client) and _stands_for(client, kind):
            raise errors.ConfigInvalid(f"driver {name!r} {_why_stub(client, address)}")
    raise errors.ConfigInvalid(f"the exporter has no {what}; it has {_listing(tree, address)}")


def _named(
    tree: dict[str, DriverClient], address: Address, kind: type[Client], path: str, what: str
) -> Client:
    client = tree.get(path)
    if isinstance(client, kind):
        return client
    if client is None:
        problem = f"the exporter has no driver {path!r}"
    elif _is_stub(client):
        problem = f"driver {path!r} {_why_stub(client, address)}"
    else:
        problem = f"driver {path!r} is no {what}, but {type(client).__name__}"
    raise errors.ConfigInvalid(f"{problem}; it has {_listing(tree, address)}")


def _walk(client: DriverClient, names: tuple[str, ...]) -> Iterator[tuple[str, DriverClient]]:
    # No getattr here: a stub raises ImportError even for hasattr.
    yield ".".join(names), client
    for name, child in client.children.items():
        yield from _walk(child, (*names, name))


def _is_stub(client: DriverClient) -> bool:
    return type(client) is StubDriverClient


def _stands_for(stub: DriverClient, kind: type[DriverClient]) -> bool:
    return bool(stub.labels[_CLIENT_LABEL] == f"{kind.__module__}.{kind.__name__}")


def _why_stub(stub: DriverClient, address: Address) -> str:
    wanted = stub.labels[_CLIENT_LABEL]
    package = wanted.partition(".")[0]
    if address.unsafe or any(fnmatchcase(wanted, pattern) for pattern in address.allow):
        return f"needs {wanted}, which is not installed here"
    return (
        f"needs {wanted}, which {address.allowed_by} does not allow; "
        f"add {package}.* to it, or {_ALLOWS_ALL}"
    )


def _listing(tree: dict[str, DriverClient], address: Address) -> str:
    """Return the drivers of the tree, leaving out those that only hold others."""
    leaves = [
        f"{name or 'its root'} ({client.labels[_CLIENT_LABEL].rpartition('.')[2]}{_note(client, address)})"
        for name, client in sorted(tree.items())
        if not client.children
    ]
    return f"{', '.join(leaves[:_LISTED])}{', ...' if len(leaves) > _LISTED else ''}"


def _note(client: DriverClient, address: Address) -> str:
    if not _is_stub(client):
        return ""
    return ", not installed" if "not installed" in _why_stub(client, address) else ", not allowed"
