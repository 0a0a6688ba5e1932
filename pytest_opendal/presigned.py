"""Whether a signed request is what was asked for, and whether it works for a stranger."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from pytest_opendal.contents import size_text
from pytest_opendal.digests import Content, Data, Difference, content_of, first_difference
from pytest_opendal.errors import IsADirectory, NotADirectory, NotFound
from pytest_opendal.paths import name_of, normalize
from pytest_opendal.strangers import Answer, NoAnswer, ask, explain, place, scrub
from pytest_opendal.words import did_you_mean, printable

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from pytest_opendal.models import PresignedRequest
    from pytest_opendal.paths import StrPath
    from pytest_opendal.subject import Subject

METHODS = {"read": "GET", "stat": "HEAD", "write": "PUT", "delete": "DELETE"}
"""The HTTP method of each operation."""
# Parameters that tell the lifetime in seconds: S3 and its relatives, Google.
_LIFETIMES = {"x-amz-expires", "x-goog-expires"}
# Seconds by which the clock of the host that signs may be wrong; S3 servers accept as much.
_CLOCK_SKEW = 15 * 60
_SUCCESS = range(200, 300)


def known_content(operation: str, content: bytes | os.PathLike[str] | None) -> Content | None:
    """Check the arguments of an assertion and return the content at hand, None when there is none.

    Raises:
        ValueError: no such operation, or a content for ``delete``.
        FileNotFoundError: there is no such local file.
        TypeError: ``content`` is neither bytes nor a path.
    """
    if operation not in METHODS:
        hint = did_you_mean(operation, METHODS)
        raise ValueError(f"operation {operation!r} cannot be signed; {hint}")
    if content is None:
        return None
    if operation == "delete":
        raise ValueError("content says nothing about a signed delete; leave it out")
    return content_of(content)


@dataclass(frozen=True, slots=True)
class Trial:
    """A signed request, and what it was signed for."""

    storage: Subject
    path: StrPath
    operation: str
    expire_second: int
    request: PresignedRequest
    content: Content | None
    """What is expected to be read, or is to be written."""

    def fails(self, claim: str, difference: Difference | None = None, /, **details: str) -> str:
        """Return the message of a failure: the claim, aligned details, the request, the bytes."""
        details["request"] = f"{self.request.method} {place(self.request.url)}"
        width = max(map(len, details)) + 1
        lines = [
            f"presigned {self.operation} of {self.storage.display(self.path)} {claim}",
            *(f"  {name + ':':{width}} {text}" for name, text in details.items() if text),
            *(f"  {line}" for line in (difference.lines() if difference else ())),
        ]
        return "\n".join(map(printable, lines))


def unsound(trial: Trial) -> str | None:
    """Return what is wrong with the request itself, None when nothing is."""
    found = dict(_faults(trial))
    return trial.fails("is not the request that was asked for", None, **found) if found else None


def _faults(trial: Trial) -> Iterator[tuple[str, str]]:
    request, parts = trial.request, urlsplit(trial.request.url)
    method = METHODS[trial.operation]
    if request.method.upper() != method:
        yield "method", f"expected {method}, actual {request.method}"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        yield "url", "expected an absolute http or https URL"
    name = name_of(normalize(trial.path)).rpartition("/")[2]
    if name not in unquote(parts.path):
        yield "path", f"expected {name!r} in the URL"
    query = {name.lower(): value for name, value in parse_qsl(parts.query)}
    if fault := _lifetime_fault(query, trial.expire_second):
        yield "expiry", fault


def _lifetime_fault(query: Mapping[str, str], expire_second: int) -> str:
    for name in _LIFETIMES & query.keys():
        if query[name] != str(expire_second):
            return f"expected {expire_second} s, actual {query[name]} s"
    if "sig" in query and "se" in query:
        return _end_fault(query["se"], expire_second)
    return ""


def _end_fault(end: str, expire_second: int) -> str:
    """Compare the time that Azure's URLs tell with the time when the lifetime ends."""
    try:
        left = (datetime.fromisoformat(end) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return f"expected a time with its zone, actual {end!r}"
    if abs(left - expire_second) > _CLOCK_SKEW:
        return f"expected in {expire_second} s, actual {end} (in {left:.0f} s)"
    return ""


async def performed(trial: Trial) -> str | None:
    """Perform the request as a stranger; return what is wrong with the outcome, None for nothing.

    Raises:
        NotFound: the path does not exist, so that there is nothing to read, stat or delete.
    """
    try:
        return await _TRIALS[trial.operation](trial)
    except NoAnswer as error:
        return trial.fails("got no answer", reason=str(error))


async def _read(trial: Trial) -> str | None:
    storage, content = trial.storage, trial.content
    held = (await storage.stat(trial.path)).content_length
    async with ask(trial.request, storage.timeout) as answer:
        if answer.status != HTTPStatus.OK:
            return await _refused(trial, answer, "200")
        expected = content.stream() if content else storage.stream(trial.path)
        difference = await first_difference(expected, answer.body)
    if difference is None and not answer.is_cut:
        return None
    size = content.size if content else held
    other = f"gave other content than {'expected' if content else 'the storage reads'}"
    return trial.fails(
        other if difference else "was cut off after all that is expected",
        difference,
        expected=size_text(size),
        actual=_received(answer, difference, size),
    )


def _received(answer: Answer, difference: Difference | None, size: int) -> str:
    """Tell the size of a body that was read up to the difference, or to ``size`` when there is none."""
    promised, read = answer.length, difference.offset if difference else size
    if difference and difference.actual:
        return f"more than {read} bytes" if promised is None else size_text(promised)
    if not answer.is_cut:
        return size_text(read)
    cut = ", then the server hung up" if promised is None else f" of {promised} that were announced"
    return size_text(read) + cut


async def _stat(trial: Trial) -> str | None:
    held = (await trial.storage.stat(trial.path)).content_length
    expected = trial.content.size if trial.content else held
    async with ask(trial.request, trial.storage.timeout) as answer:
        if answer.status != HTTPStatus.OK:
            return await _refused(trial, answer, "200")
        body = await anext(answer.body, b"")
    if body:
        return trial.fails("was answered with a body", expected="headers only")
    if answer.length == expected:
        return None
    return trial.fails(
        "tells another size",
        expected=f"Content-Length {expected}",
        actual="no Content-Length" if answer.length is None else f"Content-Length {answer.length}",
    )


async def _write(trial: Trial) -> str | None:
    if trial.content is None or not await _holds(trial, trial.content):
        return await _stored(trial, trial.content or _fresh())
    # A server that stores nothing would pass.
    first = await _stored(trial, _fresh(), "other bytes first, since the file holds these already")
    return first or await _stored(trial, trial.content)


def _fresh() -> Content:
    """Return a content that nobody has."""
    return Data(f"pytest-opendal {secrets.token_hex(16)}\n".encode())


async def _holds(trial: Trial, content: Content) -> bool:
    """Whether the storage holds a content before it is written."""
    try:
        if (await trial.storage.stat(trial.path)).content_length != content.size:
            return False
        held = trial.storage.stream(trial.path)
        return await first_difference(content.stream(), held) is None
    except (NotFound, NotADirectory, IsADirectory):
        return False


async def _stored(trial: Trial, content: Content, sent: str = "") -> str | None:
    """Write as a stranger, and return what is wrong with what the storage holds then."""
    storage = trial.storage
    async with ask(trial.request, storage.timeout, content) as answer:
        if answer.status not in _SUCCESS:
            return await _refused(trial, answer, "2xx")
    said = f"was accepted ({_status(trial, answer)}), but the storage"
    if not await storage.exists(trial.path):
        return trial.fails(
            f"{said} holds no such file", expected=size_text(content.size), sent=sent
        )
    difference = await first_difference(content.stream(), storage.stream(trial.path))
    if difference is None:
        return None
    return trial.fails(
        f"{said} holds other content",
        difference,
        expected=size_text(content.size),
        actual=size_text((await storage.stat(trial.path)).content_length),
        sent=sent,
    )


async def _delete(trial: Trial) -> str | None:
    # A server says 204 for a missing path too: only what existed can show that it was deleted.
    await trial.storage.stat(trial.path)
    async with ask(trial.request, trial.storage.timeout) as answer:
        if answer.status not in _SUCCESS:
            return await _refused(trial, answer, "2xx")
    if await trial.storage.exists(trial.path):
        return trial.fails(f"was accepted ({_status(trial, answer)}), but the path still exists")
    trial.storage.forget(trial.path)
    return None


_TRIALS: dict[str, Callable[[Trial], Awaitable[str | None]]] = {
    "read": _read,
    "stat": _stat,
    "write": _write,
    "delete": _delete,
}


def _status(trial: Trial, answer: Answer) -> str:
    return scrub(f"{answer.status} {answer.reason}".strip(), trial.request)


async def _refused(trial: Trial, answer: Answer, expected: str) -> str:
    return trial.fails(
        "was redirected, which is not followed" if answer.location else "was refused",
        expected=expected,
        actual=_status(trial, answer),
        location=scrub(answer.location, trial.request),
        server=await explain(answer, trial.request, trial.storage.timeout),
    )
