"""Texts and errors of others without credentials: those of a storage's arguments, and those in URLs."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SHORTEST = 4  # shorter ones would blot out the words of messages
_SHORTEST_PART = 8
_PUBLIC_KEYS = {
    "root",
    "endpoint",
    "bucket",
    "container",
    "filesystem",
    "region",
    "host",
    "user",
    "username",
}
_USERINFO = re.compile(r"(\w+://)[^/\s\"'<>]*@")
_QUERY = re.compile(r"(\w+://[^\s?\"'<>]*)\?\S*?(?=[)\"'>]*[:.,;]?(?:\s|$))")
_LOGIN = re.compile(r"://([^\s]*)@")
_FIELD = re.compile(r"(?:^|;)\s*\w+=([^;]+)")


def refuse_pickle(what: str) -> NoReturn:
    """Refuse to pickle or to copy what holds credentials.

    Raises:
        TypeError: always.
    """
    msg = f"{what} cannot be pickled or copied: it would carry its credentials; open one where it is needed"
    raise TypeError(msg)


class Url(str):
    """A URL whose repr shows neither userinfo nor query; tracebacks with locals show that."""

    __slots__ = ()

    def __repr__(self) -> str:
        query = "?..." if "?" in self else ""
        return repr(public_url(self) + query)


def public_url(url: str) -> str:
    """Return a URL without userinfo, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that are no IPv6 address
        return "..."
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class Redactor:
    """Knows what a storage was reached with, and cuts that out of what others say."""

    def __init__(self, kwargs: Mapping[str, str] | None = None) -> None:
        known = {form for secret in _secrets(kwargs or {}) for form in _forms(secret)}
        self._known = sorted(known, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return a text without those secrets, and URLs in it without userinfo and query."""
        for secret in self._known:
            text = text.replace(secret, "***")
        return _QUERY.sub(r"\1?...", _USERINFO.sub(r"\1", text))

    def error(self, error: BaseException) -> BaseException | None:
        """Return an error to be the cause of ours: without frames, its texts redacted.

        Its class stays. None when a secret is where it cannot be cut out.
        """
        members = [*_members(error)]
        for member in members:
            # What it came from has frames of its own, which --showlocals shows.
            member.__traceback__ = member.__cause__ = member.__context__ = None
            member.args = tuple(map(self._value, member.args))
            vars(member).update({name: self._value(value) for name, value in vars(member).items()})
        shown = [show(member) for member in members for show in (str, repr)]
        return error if all(self.text(text) == text for text in shown) else None

    def _value(self, value: object) -> object:
        if isinstance(value, str):
            return self.text(value)
        return [*map(self._value, value)] if isinstance(value, list) else value


def _members(error: BaseException) -> Iterator[BaseException]:
    yield error
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _members(member)


def _secrets(kwargs: Mapping[str, str]) -> Iterator[str]:
    for key, value in kwargs.items():
        if key not in _PUBLIC_KEYS and value not in {"true", "false"}:
            yield value
            yield from _parts(value)
        if login := _LOGIN.search(value):
            yield login[1]
            yield login[1].partition(":")[2]
    names = [kwargs[key] for key in ("username", "user") if key in kwargs]
    yield from (f"{name}:{kwargs.get('password', '')}" for name in names)


def _parts(value: str) -> Iterator[str]:
    """Yield the values of a connection string or of a query, which services take apart."""
    if "=" in value:
        parts = _FIELD.findall(value) + [part for _, part in parse_qsl(value.lstrip("?"))]
        yield from (part for part in parts if len(part) >= _SHORTEST_PART)


def _forms(secret: str) -> Iterator[str]:
    """Yield how a secret may be spelled in what others say."""
    if len(secret) >= _SHORTEST:
        plain = unquote(secret)
        # What cannot be encoded is refused elsewhere; here it must not keep others from being cut out.
        raw = plain.encode("utf-8", "surrogatepass")
        yield from (secret, plain, quote(raw), quote(raw, safe=""), quote_plus(raw))
        yield json.dumps(secret)[1:-1]
        yield b64encode(secret.encode("utf-8", "surrogatepass")).decode()


def without_login(address: str) -> str:
    """Return an address without its userinfo."""
    return _LOGIN.sub("://", address)
