"""The file that a lab begins with: all keys of a service, those that it needs filled in."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING

from pytest_opendal.backends import known
from pytest_opendal.settings import JumpstarterSettings, StorageEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_opendal.settings import Settings

JUMPSTARTER = "jumpstarter"
"""Asked for like a scheme: the storage is behind an exporter."""

_WIDTH = 88
_GIST = 160
_FIRST = ("endpoint", "bucket", "container", "region", "root")
_SECRET = re.compile(
    r"(?:^|_)(?:key|secret|token|password|passphrase|credential|connection)(?:_|$)"
)
_NO_SECRETS = {"key_field"}
_WHO = re.compile(r"user|username|account_name|email")
_EXAMPLES = {
    "bucket": "my-bucket",
    "bucket_id": "my-bucket-id",
    "collection": "files",
    "container": "my-container",
    "database": "lab",
    "datadir": "storage",
    "datafile": "storage.persy",
    "email": "me@example.com",
    "endpoint": "http://127.0.0.1:9000",
    "filesystem": "my-filesystem",
    "index": "files",
    "name_node": "hdfs://127.0.0.1:9000",
    "operator": "me",
    "region": "us-east-1",
    "repo_id": "me/my-repo",
    "repo_name": "my-repo",
    "repo_type": "model",
    "root": "/",
    "segment": "files",
    "share_name": "my-share",
    "table": "files",
    "user": "me",
    "username": "me",
}
_EXAMPLES_OF = {
    ("fs", "root"): "storage",
    ("ftp", "endpoint"): "ftp://127.0.0.1:21",
    ("ipfs", "root"): "/ipfs/my-cid",
    ("memcached", "endpoint"): "tcp://127.0.0.1:11211",
    ("redis", "endpoint"): "redis://127.0.0.1:6379",
    ("sftp", "endpoint"): "ssh://127.0.0.1:22",
    (JUMPSTARTER, "driver"): "storage",
    (JUMPSTARTER, "flasher"): "flasher",
    (JUMPSTARTER, "selector"): "board=rpi4",
    (JUMPSTARTER, "exporter_name"): "rpi4-07",
    (JUMPSTARTER, "client"): "default",
    (JUMPSTARTER, "duration"): "30m",
    (JUMPSTARTER, "exporter_config"): "exporter.yaml",
    ("", "protect"): "[boot/**]",
    ("", "retention"): "failed",
}
# What opendal's texts say of nearly every key.
_EMPTY_WORDS = re.compile(
    r"(?:[Ss]et )?(?:the )?`?\w+`?(?: \w+)? (?:of|for) this backend\.?|required\.?"
)
_SENTENCES = re.compile(r"(?<=[.!])\s+(?:- )?|\s{2,}(?:- )?|\s- ")


def starter(scheme: str, file: str) -> str:
    """Return the text of a configuration with one storage, to be completed and saved as ``file``.

    Args:
        scheme: an OpenDAL service, or ``jumpstarter``.
        file: what its first lines call it.
    """
    name = scheme if scheme == JUMPSTARTER else known.spelled(scheme)
    lines = [
        "# A storage for pytest-opendal.",
        f"#   try it:  pytest-opendal check {file}",
        f"#   use it:  pytest --opendal-config={file}",
        "# A line without # counts. ${env:NAME} is replaced by the environment variable NAME, so that",
        "# no credential has to stand here.",
        "",
        *(_exporter() if name == JUMPSTARTER else _service(name)),
        "",
        *_settings(StorageEntry, "", {"retention"}, _KEYS_OF_SERVICE),
    ]
    return "\n".join(lines).rstrip() + "\n"


_KEYS_OF_SERVICE = ("scheme", "kwargs", "jumpstarter", "remove_created_on_close")


def _service(scheme: str) -> Iterator[str]:
    found = known.known_keys(scheme)
    keys = _listed({"root": ""} if found is None else found)
    active = _active(scheme, keys)
    yield f"scheme: {scheme}"
    if not keys:
        return
    yield f"# All keys of {scheme} that opendal {known.opendal_version()} knows."
    yield "kwargs:"
    for key in sorted(keys, key=lambda key: _place(key, active)):
        text = _gist(keys[key])
        yield from _entry(key, _example(scheme, key), text, "  ", active=key in active)


def _listed(keys: Mapping[str, str]) -> dict[str, str]:
    """Return the keys without those that opendal has given up, and without other spellings."""
    told = any(keys.values())  # opendal 0.45 tells nothing of any key
    return {
        key: text for key, text in keys.items() if "Deprecated" not in text and (text or not told)
    }


def _active(scheme: str, keys: Iterable[str]) -> list[str]:
    """Return the keys that are filled in: without one, `kwargs` would be null."""
    likely = known.needed_keys(scheme) or [key for key in ("endpoint", "root") if key in keys][:1]
    return list(likely) or list(keys)[:1]


def _place(key: str, active: list[str]) -> tuple[bool, int, bool, str]:
    """Return the rank of a key: filled in, where, who, others."""
    address = _FIRST.index(key) if key in _FIRST else len(_FIRST)
    return (key not in active, address, not (_is_secret(key) or _WHO.fullmatch(key)), key)


def _is_secret(key: str) -> bool:
    return bool(_SECRET.search(key)) and key not in _NO_SECRETS


def _example(scheme: str, key: str) -> str:
    if _is_secret(key):
        return (
            f'"${{env:OPENDAL_{scheme}_{key}}}"'.replace("-", "_").upper().replace("ENV:", "env:")
        )
    return _EXAMPLES_OF.get((scheme, key)) or _EXAMPLES.get(key, '""')


def _entry(key: str, value: str, text: str, indent: str, *, active: bool) -> Iterator[str]:
    """Yield a key with what is said of it above."""
    width = _WIDTH - len(indent) - 2
    yield from (f"{indent}# {line}" for line in textwrap.wrap(text, width))
    yield f"{indent}{'' if active else '# '}{key}: {value}"


def _gist(text: str) -> str:
    """Return what the first sentences of opendal tell that the name of the key does not."""
    sentences = [part.strip() for part in _SENTENCES.split(text)]
    telling = [part for part in sentences if part and not _EMPTY_WORDS.fullmatch(part)][:2]
    if telling and telling[-1].endswith(":"):  # a list follows
        telling.pop()
    return textwrap.shorten(" ".join(telling), _GIST, placeholder=" ...")


def _exporter() -> Iterator[str]:
    yield "# Through a Jumpstarter exporter. Without a way to find one: inside `jmp shell`."
    yield "jumpstarter:"
    yield from _settings(JumpstarterSettings, JUMPSTARTER, {"driver"}, (), "  ")


def _settings(
    record: type[Settings],
    owner: str,
    active: set[str],
    left_out: tuple[str, ...],
    indent: str = "",
) -> Iterator[str]:
    """Yield the keys of a record, each with its default or an example."""
    for key, field in record.model_fields.items():
        if key not in left_out:
            value = _EXAMPLES_OF.get((owner, key)) or _default(field.default)
            text = (field.description or "").replace("``", "`")
            yield from _entry(key, value, text, indent, active=key in active)


def _default(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"')
