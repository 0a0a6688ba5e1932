"""Flashing an image through an exporter, and proving that the device holds it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_opendal import errors
from pytest_opendal.contents import Unequal
from pytest_opendal.digests import (
    Content,
    Digest,
    content_of,
    first_difference,
    hash_stream,
)
from pytest_opendal.loop import together
from pytest_opendal.redacting import Redactor, refuse_pickle
from pytest_opendal.transfer import is_url, quiet, shown

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Coroutine

_ALGO = "sha256"


class Flasher:
    """A flasher of an exporter: the methods of its client, and `assert_flashed`."""

    def __init__(
        self,
        connect: Callable[[], Any],
        run: Callable[[Coroutine[Any, Any, Any]], Any],
        explain: Callable[[BaseException], tuple[type[errors.StorageError], str]],
        scratch: Path,
    ) -> None:
        """Adopt a client.

        Args:
            connect: returns Jumpstarter's ``FlasherClient`` or one like it, a new one when the exporter
                was started anew.
            run: runs a coroutine and returns its result.
            explain: returns which of our errors a client's error is, and its reason.
            scratch: directory in which a dump is kept while it is compared.
        """
        self._connect = connect
        self._run = run
        self._explain = explain
        self._scratch = scratch

        self._name = type(connect()).__name__

    @property
    def client(self) -> Any:
        """Jumpstarter's client of the flasher.

        Raises:
            StorageError: the exporter is gone.
        """
        return self._connect()

    def __repr__(self) -> str:
        return f"<Flasher {self._name}>"

    def __reduce__(self) -> Any:
        refuse_pickle("a flasher")

    def __getattr__(self, name: str) -> Any:
        """Return what else the client has: ``host``, ``dut``, ``off``, ``call``, ..."""
        if name.startswith("__"):  # what only looks at this object asks the exporter nothing
            raise AttributeError(name)
        return getattr(self.client, name)

    def flash(
        self, path: os.PathLike[str] | str, *, target: str | None = None, **options: Any
    ) -> Any:
        """Write an image (a local file or a URL) to the device, or to one ``target`` of it.

        Raises:
            NotFound: there is no such file; nothing was flashed.
            StorageError: the exporter failed.
        """
        path = quiet(path)
        _refuse_missing(path)
        return self._ask("flash", path, target, options)

    def dump(
        self, path: os.PathLike[str] | str, *, target: str | None = None, **options: Any
    ) -> Any:
        """Read what the device, or one ``target`` of it, holds into a local file.

        Raises:
            StorageError: the exporter failed.
        """
        return self._ask("dump", path, target, options)

    def _ask(self, operation: str, path: Any, target: str | None, options: dict[str, Any]) -> Any:
        __tracebackhide__ = True
        path = quiet(path)
        given = options if target is None else {"target": target, **options}
        try:
            return getattr(self.client, operation)(path, **given)
        except Exception as error:
            kind, reason = self._explain(error)
            place = f" of {target!r}" if target else ""
            message = f"flasher: {operation}{place} {shown(path)!r}: {reason}"
            raise kind(message) from Redactor().error(error)

    def assert_flashed(self, image: os.PathLike[str] | str, target: str | None = None) -> None:
        """Flash a local image, read the device back, and claim that it holds the image.

        What a device holds behind the end of the image is not compared: it is larger, as a rule.

        Raises:
            AssertionError: with both digests and the offset of the first byte that differs.
            NotFound: there is no such image; nothing was flashed.
            StorageError: the exporter failed.
        """
        __tracebackhide__ = True
        wanted = Path(image)
        self.flash(wanted, target=target)
        with tempfile.TemporaryDirectory(dir=self._scratch, prefix="dump-") as directory:
            dump = Path(directory) / "dump"
            self.dump(dump, target=target)
            problem = self._run(_difference(content_of(wanted), content_of(dump)))
        if problem is not None:
            claim = f"the device{f' ({target})' if target else ''} does not hold {wanted}"
            raise AssertionError("\n  ".join([claim, *problem.lines()]))


def _refuse_missing(path: os.PathLike[str] | str) -> None:
    if not is_url(path) and not Path(path).is_file():
        msg = f"no local file {shown(path)!r} to flash; nothing was flashed"
        raise errors.NotFound(msg)


@dataclass(frozen=True, slots=True)
class _Start:
    """The first ``size`` bytes of a content, or all where it is shorter."""

    content: Content
    size: int

    async def stream(self) -> AsyncIterator[bytes]:
        rest = self.size
        async for chunk in self.content.stream():
            yield chunk[:rest]
            rest -= len(chunk)
            if rest <= 0:
                return


async def _difference(image: Content, dump: Content) -> Unequal | None:
    """Return how a dump does not begin with the image; both are read a block at a time."""
    start = _Start(dump, image.size)
    hashes = await together(image.hash(_ALGO), hash_stream(start.stream(), _ALGO))
    wanted, actual = (Digest(_ALGO, digits) for digits in hashes)
    if wanted == actual:
        return None
    return Unequal(
        expected=wanted,
        actual=actual,
        expected_size=image.size,
        actual_size=min(dump.size, image.size),
        difference=await first_difference(image.stream(), start.stream()),
    )
