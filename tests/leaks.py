"""Searches what a run printed and wrote for credentials, however they are spelled there."""

from __future__ import annotations

import html
import json
import secrets
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIECE = 12
"""So many characters from either end of a credential are recognised: what is shortened leaks, too."""
_CONTEXT = 90


def recognisable() -> str:
    """Return a new credential, with signs that URLs, JSON and HTML spell in ways of their own."""
    return f"{secrets.token_hex(10)}/+&%\"<'é={secrets.token_hex(10)}"


def word() -> str:
    """Return a new credential of letters and digits, for what is taken apart when it is read."""
    return f"n{secrets.token_hex(16)}"


def key() -> str:
    """Return a new credential that is base64, as account keys have to be."""
    return b64encode(secrets.token_bytes(33)).decode()


def forms(secret: str) -> set[bytes]:
    """Return how either end of a credential may be spelled."""
    return {form for piece in (secret[:PIECE], secret[-PIECE:]) for form in _spelled(piece)}


def _spelled(text: str) -> Iterator[bytes]:
    for spelled in (text, quote(text), quote(text, safe=""), quote_plus(text), html.escape(text)):
        yield spelled.encode()
    yield json.dumps(text)[1:-1].encode()
    yield repr(text)[1:-1].encode()
    yield text.encode().hex().encode()
    yield from _inside_base64(text.encode())


def _inside_base64(data: bytes) -> Iterator[bytes]:
    """Yield what base64 makes of data that begins at any place of a longer text."""
    for before in range(3):
        for encode in (b64encode, urlsafe_b64encode):
            # What also depends on the neighbours is cut off at both ends.
            start = -(-before * 8 // 6)
            yield encode(bytes(before) + data)[start:].rstrip(b"=")[:-1]


@dataclass
class Search:
    """Credentials that have to stay where they are."""

    credentials: dict[str, str] = field(default_factory=dict)
    """By a name for messages, which do not show them either."""

    @cached_property
    def _forms(self) -> dict[str, set[bytes]]:
        return {name: forms(secret) for name, secret in self.credentials.items()}

    def found(self, place: str, content: bytes) -> list[str]:
        """Return one line for each credential that is in a content."""
        return [
            f"{name} is in {place}: {self._around(content, found)}"
            for name, spelled in self._forms.items()
            if (found := next((form for form in spelled if form in content), None))
        ]

    def _around(self, content: bytes, found: bytes) -> str:
        at = content.index(found)
        before = content[max(0, at - _CONTEXT) : at]
        for form in set().union(*self._forms.values()):
            before = before.replace(form, b"[...]")
        return repr(before + b"[HERE]")

    def found_below(self, directory: Path, *given: str) -> list[str]:
        """Return one line for each credential in name or content of a file but those ``given``."""
        files = [path for path in directory.rglob("*") if path.name not in given]
        names = "\n".join(str(path) for path in files).encode("utf-8", "surrogateescape")
        found = self.found("the names of files", names)
        for path in files:
            if path.is_file() and not path.is_symlink():
                found += self.found(str(path.relative_to(directory)), path.read_bytes())
        return found
