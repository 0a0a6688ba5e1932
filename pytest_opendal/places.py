"""Which place a storage is, told without any credential; and relative names of local files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Only these keys are ever shown or recorded; any other key may hold a credential.
_ADDRESS_KEYS = ("endpoint", "cluster_endpoints", "name_node", "host")
_PART_KEYS = (
    "bucket",
    "container",
    "filesystem",
    "share_name",
    "repo_type",
    "repo_id",
    "repo_name",
    "owner",
    "repo",
    "repository",
    "branch",
    "revision",
    "database",
    "db",
    "table",
    "tree",
    "root",
)
# An address with a credential in it.
_SECRET_PLACES = ("connection_string",)
_LOCAL_PLACE = {
    "fs": "root",
    "compfs": "root",
    "monoiofs": "root",
    "cacache": "datadir",
    "persy": "datafile",
    "redb": "datadir",
    "rocksdb": "datadir",
    "sled": "datadir",
}
_LOCAL_FILES = {"fs": "atomic_write_dir", "gcs": "credential_path", "sftp": "key"}

# Every pytest run imports this module, few compile these: that takes a millisecond.
# opendal 0.47 also takes the spellings of other libraries, such as aws_endpoint_url.
_OTHER_SPELLING = (
    r"(?:aws_|azure_storage_|azure_|google_)?(bucket|container|endpoint)(?:_name|_url)?"
)
_ADDRESS = r"(?P<start>[a-z][a-z0-9+.-]*://)?(?:[^/?#]*@)?(?P<end>[\w.\-\[\]:]*(?:/[^?#]*)?)"
HIDDEN = "..."
"""Stands for an address that may hold a credential; it equals no other."""

EMBEDDED = "embedded"
"""Key in the identity of a storage in pytest's own temp tree, which pytest removes sometime."""


def place(kwargs: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments that tell which place it is; addresses without userinfo."""
    found = {key: HIDDEN for key in _SECRET_PLACES if key in kwargs}
    for key, value in sorted(kwargs.items()):
        other = re.fullmatch(_OTHER_SPELLING, key)
        name = other[1] if other else key
        if name in _ADDRESS_KEYS:
            found[name] = public_address(value)
        elif name in _PART_KEYS or name in _LOCAL_PLACE.values():
            found[name] = value
    return found


def location(scheme: str, kwargs: Mapping[str, str]) -> str:
    """Return where a storage is, for people: ``http://127.0.0.1:9000/bucket/root``."""
    known = place(kwargs)
    if scheme in _LOCAL_PLACE:
        return known.get(_LOCAL_PLACE[scheme], "/")
    address = next((known[key] for key in _ADDRESS_KEYS if key in known), "")
    start = address if "://" in address else f"{scheme}://{address}"
    parts = [part for key in _PART_KEYS if key in known and (part := known[key].strip("/"))]
    separator = "/" if address and parts and not start.endswith("/") else ""
    return start + separator + "/".join(parts)


def described(identity: Mapping[str, str]) -> str:
    """Return scheme and location of an identity, for people."""
    scheme = identity.get("scheme", "")
    if scheme != "jumpstarter":
        return f"{scheme}, {location(scheme, identity)}"
    parts = [f"{key} {value}" for key, value in sorted(identity.items()) if key != "scheme"]
    return ", ".join([scheme, *parts])


def public_address(text: str) -> str:
    """Return an address, or several separated by commas, without userinfo, query and fragment."""
    parts = text.split(",")
    if len(parts) > 1 and "@" in text and not all("@" in part for part in parts):
        return HIDDEN  # a password with a comma in it
    return ",".join(_public_part(part.strip()) for part in parts)


def _public_part(text: str) -> str:
    match = re.match(_ADDRESS, text, re.IGNORECASE)
    rest = text[match.end() :] if match else text
    if match is None or "@" in match["end"] or (rest and rest[0] not in "?#") or "@" in rest:
        return HIDDEN  # a password with a slash, a question mark or the like in it
    return (match["start"] or "") + match["end"]


def is_told(identity: Mapping[str, str]) -> bool:
    """Whether an identity tells which place it is, so that it can be found again later.

    An account that only a credential names is not told, and neither is a hidden address.
    """
    hidden = any(HIDDEN in value.split(",") for value in identity.values())
    return not hidden and (
        identity.get("scheme") in _LOCAL_PLACE or bool(identity.keys() - {"scheme", "root"})
    )


def absolute(text: str, base: Path) -> str:
    """Return the absolute path of a local file that a configuration in ``base`` names."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # ~name of nobody: a file with that name
        path = Path(text)
    return os.path.normpath(base.absolute() / path)


def absolute_kwargs(scheme: str, kwargs: Mapping[str, str], base: Path) -> dict[str, str]:
    """Return ``kwargs`` with the paths of local files made absolute."""
    names = {_LOCAL_PLACE.get(scheme), _LOCAL_FILES.get(scheme)}
    return {
        key: absolute(value, base) if key in names and value else value
        for key, value in kwargs.items()
    }
