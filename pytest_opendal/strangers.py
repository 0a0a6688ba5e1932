"""A signed request performed as a stranger would: a fresh connection and nothing but the request.

No cookies, no credentials, no proxy of the environment, no redirect followed, and no header beyond
the signed ones and those that HTTP needs: with urllib's default ``Content-Type`` some S3 servers
store an empty file. Written on asyncio's streams, not with http.client in a thread, because a
thread that waits for a silent server cannot be stopped, and would hold up Ctrl-C and the end of
the process. (asyncio.wait_for is no way out either: on Python 3.11 it can lose a cancellation.)
"""

from __future__ import annotations

import asyncio
import html
import io
import json
import os
import re
import socket
import ssl
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, parse_headers
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from pytest_opendal.digests import closing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from pytest_opendal.digests import Content
    from pytest_opendal.models import PresignedRequest

CHUNK = 256 * 1024
"""Bytes of a body that are read at a time."""
# Bytes of an answer before its body, and of the body of an error that are looked at.
_HEAD = 64 * 1024
_EXPLANATION = 16 * 1024
# Characters of a server's own words that a message repeats.
_WORDS = 300
# Seconds in which a body that must not be there would have come: servers send it with the head.
_STRAY = 0.2
_STATUS_LINE = re.compile(rb"HTTP/1\.\d (\d{3})(?: ([^\r\n]*))?\s*")
_FIRST_FINAL_STATUS = 200
_SUCCESS = range(200, 300)
_REDIRECTS = range(300, 400)
_BODILESS = {204, 304}


class NoAnswer(Exception):
    """The server gave no HTTP answer; the text says why, and holds no query and no header."""


class _HungUp(NoAnswer):
    """The server ended the connection."""


@dataclass(slots=True, repr=False)
class Answer:
    """What the server answered; the body can be iterated once, while the connection is open."""

    status: int
    reason: str
    headers: HTTPMessage
    body: AsyncGenerator[bytes]
    """Chunks; ends early without an error when the server hangs up early."""
    is_cut: bool = False
    """Whether it was found to hang up early."""

    @property
    def length(self) -> int | None:
        """Bytes that ``Content-Length`` promises, None when it does not."""
        return _content_length(self.headers)

    @property
    def location(self) -> str:
        """Where a redirect points to, without its query; "" when the answer is none."""
        return place(self.headers.get("location", "")) if self.status in _REDIRECTS else ""


@asynccontextmanager
async def ask(
    request: PresignedRequest, seconds: float, content: Content | None = None
) -> AsyncGenerator[Answer]:
    """Perform a signed request and give what the server answers.

    Args:
        request: what was signed.
        seconds: to connect, to send or receive each chunk, and to begin the answer.
        content: body to send.

    Raises:
        NoAnswer: no connection, silence for ``seconds``, or something that is no HTTP; iterating
            the body raises it too.
    """
    peer = await _connect(request, seconds)
    try:
        head = await _exchange(peer, request, content)
        body = _body(peer.reader, request.method, head)
        answer = Answer(head.status, head.reason, head.headers, body)
        async with aclosing(_in_time(answer, body, peer)) as answer.body:
            yield answer
    finally:
        peer.writer.transport.abort()
        with suppress(OSError):
            await peer.writer.wait_closed()


@dataclass(frozen=True, slots=True)
class _Peer:
    """A connection, and how long to wait for the other side."""

    host: str
    seconds: float
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


async def _connect(request: PresignedRequest, seconds: float) -> _Peer:
    parts = urlsplit(request.url)._replace(query="")  # locals are shown by --showlocals
    host = parts.hostname or ""
    invalid = f"no connection with {host}: the host or the port of the URL is invalid"
    with _as_no_answer(host, seconds, invalid):
        async with asyncio.timeout(seconds):
            tls = None
            if parts.scheme == "https":
                tls = await asyncio.to_thread(ssl.create_default_context)
            port = parts.port or (443 if tls else 80)
            streams = await asyncio.open_connection(host, port, ssl=tls, limit=_HEAD)
    return _Peer(host, seconds, *streams)


@contextmanager
def _as_no_answer(host: str, seconds: float, strange: str = "") -> Iterator[None]:
    """Turn what a connection can raise into `NoAnswer`, without a cause that holds the request.

    Args:
        host: to name.
        seconds: that it was given.
        strange: what to say of a `ValueError`; by default, that the host does not speak HTTP.
    """
    try:
        yield
    except TimeoutError:
        why = f"{host} did not answer within {seconds:g} s"
    except ssl.SSLError as error:
        why = f"no TLS connection with {host}: {error.reason or error}"
    except (asyncio.IncompleteReadError, ConnectionResetError):
        raise _HungUp(f"{host} hung up before it answered") from None
    except OSError as error:
        why = f"no connection with {host}: {_reason(error)}"
    except (HTTPException, ValueError):
        why = strange or f"{host} did not answer in HTTP"
    else:
        return
    raise NoAnswer(why) from None


def _reason(error: OSError) -> str:
    """Return why there is no connection; asyncio's own text names addresses instead."""
    if isinstance(error, socket.gaierror):
        return error.strerror or "no such host"
    return os.strerror(error.errno) if error.errno else "none of its addresses takes one"


def _request_head(request: PresignedRequest, content: Content | None) -> bytes:
    parts = urlsplit(request.url)
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    signed = {name.lower() for name in request.headers}
    headers = {"Host": parts.netloc.rpartition("@")[2], "Connection": "close"}
    if content is not None:
        headers["Content-Length"] = str(content.size)
    own = {name: value for name, value in headers.items() if name.lower() not in signed}
    lines = [f"{name}: {value}" for name, value in {**own, **request.headers}.items()]
    return "\r\n".join([f"{request.method} {target} HTTP/1.1", *lines, "", ""]).encode()


@dataclass(frozen=True, slots=True, repr=False)
class _Head:
    """An answer up to its body."""

    status: int
    reason: str
    headers: HTTPMessage


async def _exchange(peer: _Peer, request: PresignedRequest, content: Content | None) -> _Head:
    """Send while listening: a server may refuse, and hang up, before it has read everything."""
    head = asyncio.ensure_future(_read_head(peer.reader))
    try:
        # What the server said before it hung up or stopped reading counts.
        with suppress(ConnectionError, TimeoutError):
            peer.writer.write(_request_head(request, content))
            await _send(peer, content, head)
        with _as_no_answer(peer.host, peer.seconds):
            async with asyncio.timeout(peer.seconds):
                return await head
    finally:
        head.cancel()


async def _send(peer: _Peer, content: Content | None, head: asyncio.Future[_Head]) -> None:
    if content is None:
        return
    async with closing(content.stream()) as chunks:
        async for chunk in chunks:
            if _is_refused(head):
                return
            peer.writer.write(chunk)
            async with asyncio.timeout(peer.seconds):
                await peer.writer.drain()


def _is_refused(head: asyncio.Future[_Head]) -> bool:
    """Whether the server wants no more: it may also say early that all is well, and read on."""
    return head.done() and (head.exception() is not None or head.result().status not in _SUCCESS)


async def _read_head(reader: asyncio.StreamReader) -> _Head:
    while True:
        found = _STATUS_LINE.fullmatch(await _line(reader))
        if found is None:
            raise ValueError("no status line")
        headers = parse_headers(io.BytesIO(await _header_lines(reader)))
        status = int(found[1])
        if status >= _FIRST_FINAL_STATUS:
            return _Head(status, (found[2] or b"").decode("latin-1").strip(), headers)


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise asyncio.IncompleteReadError(line, None)
    return line


async def _header_lines(reader: asyncio.StreamReader) -> bytes:
    lines = bytearray()
    while (line := await _line(reader)).strip(b"\r\n"):
        lines += line
        if len(lines) > _HEAD:
            raise ValueError("headers without end")
    return bytes(lines)


def _body(reader: asyncio.StreamReader, method: str, head: _Head) -> AsyncGenerator[bytes]:
    if method == "HEAD" or head.status in _BODILESS:
        return _stray(reader)
    if "chunked" in head.headers.get("transfer-encoding", "").lower():
        return _chunked(reader)
    return _sized(reader, _content_length(head.headers))


def _content_length(headers: HTTPMessage) -> int | None:
    text = headers.get("content-length", "").strip()
    return int(text) if text.isdecimal() else None


async def _stray(reader: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    """Yield what a server sends where no body may be."""
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(_STRAY):
            chunk = await reader.read(CHUNK)
        if chunk:
            yield chunk


async def _sized(reader: asyncio.StreamReader, size: int | None) -> AsyncGenerator[bytes]:
    """Yield ``size`` bytes, or all until the server hangs up when None."""
    left = CHUNK if size is None else size
    while left and (chunk := await reader.read(min(left, CHUNK))):
        yield chunk
        left -= 0 if size is None else len(chunk)
    if size is not None and left:
        raise asyncio.IncompleteReadError(b"", left)


async def _chunked(reader: asyncio.StreamReader) -> AsyncGenerator[bytes]:
    while size := _chunk_size(await _line(reader)):
        async for chunk in _sized(reader, size):
            yield chunk
        if (await _line(reader)).strip(b"\r\n"):
            raise ValueError("a chunk is longer than it says")


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    if not re.fullmatch(rb"[0-9a-fA-F]+", digits):
        raise ValueError("no size of a chunk")
    return int(digits, 16)


async def _in_time(
    answer: Answer, body: AsyncGenerator[bytes], peer: _Peer
) -> AsyncGenerator[bytes]:
    """Give each chunk its seconds, and end where the server hangs up."""
    async with aclosing(body):
        while True:
            try:
                with _as_no_answer(peer.host, peer.seconds):
                    async with asyncio.timeout(peer.seconds):
                        chunk = await anext(body, b"")
            except _HungUp:
                answer.is_cut = True
                return
            if not chunk:
                return
            yield chunk


def place(url: str) -> str:
    """Return a URL as messages show it: without user, password and the text of its query."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that are no IPv6 address
        return "..."
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
    return f"{shown.geturl()}{'?...' if parts.query else ''}"


async def explain(answer: Answer, request: PresignedRequest, seconds: float) -> str:
    """Return the server's own words for a refusal, "" for none; what looks secret is cut.

    Args:
        answer: the refusal.
        request: that was refused.
        seconds: for the whole body; what has come by then has to do.
    """
    body = bytearray()
    with suppress(NoAnswer, TimeoutError):
        async with asyncio.timeout(seconds):
            async for chunk in answer.body:
                body += chunk
                if len(body) >= _EXPLANATION:
                    break
    text = bytes(body[:_EXPLANATION]).decode("utf-8", "replace")
    parts = _words(_without_half_secret(text, request))
    parts = parts or [answer.headers.get("x-ms-error-code", "")]
    # One by one: joined, "InvalidToken: The ..." would look like a token and its value.
    return ": ".join(scrub(part, request) for part in parts)[:_WORDS]


def _words(text: str) -> list[str]:
    """Pick what people read out of an error's body.

    Of XML and HTML only the elements made for that are taken, since S3's errors also hold the key
    id and the string that was signed.
    """
    if text.lstrip().startswith("<"):
        return [part for name in ("Code", "Message", "title") if (part := _element(text, name))]
    if text.lstrip().startswith(("{", "[")):
        line = _json_text(text) or " ".join(text.split())
    else:
        line = " ".join(text.strip().partition("\n")[0].split())
    return [line] if line else []


def _json_text(text: str) -> str:
    """Return what a JSON that may be cut says for people, "" when it does not."""
    for name in ("message", "error_description", "detail", "title", "error"):
        if found := re.search(rf'(?i)"{name}"\s*:\s*("(?:[^"\\]|\\.)+")', text):
            with suppress(ValueError):
                return " ".join(json.loads(found[1], strict=False).split())
    return ""


def _element(text: str, name: str) -> str:
    found = re.search(rf"<{name}>\s*([^<\r\n]*)", text)
    return html.unescape(found[1]).strip() if found else ""


# Values in a signed query that are no secret, and would garble a message if they were cut.
_HARMLESS = re.compile(r"(?i)x-\w+-(algorithm|date|expires|signedheaders)|s[vepr]|spr|st|expires")
_SHORTEST_SECRET = 3
_TELLTALE = "signature|credential|token|key-?_?id|secret|password"
_LOOKS_SECRET = [
    (re.compile(r"\?[^\s\"'<>]+"), "?..."),
    (re.compile(rf"(?i)([\w-]*(?:{_TELLTALE})\w*\"?\s*[=:]\s*)\S+"), r"\1..."),
    (re.compile(r"[A-Za-z0-9+/=_-]{32,}"), "..."),
]


def scrub(text: str, request: PresignedRequest) -> str:
    """Cut out of a server's words what the request carries in secret, and what looks like it."""
    for secret in sorted(_secrets(request), key=len, reverse=True):
        text = text.replace(secret, "...")
    for pattern, replacement in _LOOKS_SECRET:
        text = pattern.sub(replacement, text)
    return text


def _without_half_secret(text: str, request: PresignedRequest) -> str:
    """Cut off the beginning of a secret at the end of a text that may go on."""
    for secret in _secrets(request):
        for length in range(len(secret) - 1, _SHORTEST_SECRET - 1, -1):
            if text.endswith(secret[:length]):
                return f"{text[:-length]}..."
    return text


def _secrets(request: PresignedRequest) -> set[str]:
    query = parse_qsl(urlsplit(request.url).query)
    values = [value for name, value in query if not _HARMLESS.fullmatch(name)]
    values += request.headers.values()
    key_ids = [value.partition("/")[0] for value in values]
    return {value for value in values + key_ids if len(value) >= _SHORTEST_SECRET}
