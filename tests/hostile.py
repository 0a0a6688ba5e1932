"""Names that try to leave a storage, everything that takes a path, and what must not be reached."""

from __future__ import annotations

import hashlib
import itertools
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import opendal
from hypothesis import strategies as st

from pytest_opendal import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pytest_opendal.models import PresignedRequest
    from pytest_opendal.storage import Storage

    from contract import Lab

# -- names

UPS = (
    "..", ".", "...", "..;", "%2e%2e", "%2E%2e", ".%2e", "%252e%252e", "%c0%ae%c0%ae", "%00..",
    "\uff0e\uff0e", "\u2024\u2024", "\u2025", "..\u200b", "\u202e..", "..\x00", "..\n", ".. ",
    "..%00", "..%20", "&#46;&#46;",
)  # fmt: skip
"""What is, or what somebody on the way may take for, the directory above."""
SEPARATORS = (
    "/", "\\", "//", "/./", "\\/", "%2f", "%5c", "%252f", "%255c", "%c0%af", "\u2044", "\u2215",
    "\uff0f", "\uff3c", ";/", "?/", "#/",
)  # fmt: skip
ABSOLUTE = (
    "/", "//", "\\\\", "C:\\", "file:///", "/proc/self/cwd/", "/dev/", "~/", "~root/", "$HOME/",
    "${env:HOME}/", "\\\\?\\C:\\", "s3://lab/", "http://127.0.0.1:9/",
)  # fmt: skip
CONTROLS = tuple(map(chr, (*range(32), 127, 0x80, 0x85, 0x9B, 0x9F, 0x2028, 0x2029)))
UNICODE = (
    "\u00e9", "e\u0301", "\u1e9b\u0323", "\u212b", "A\u030a", "\uac01", "\u1100\u1161\u11a8",
    "\u0130", "\u00df", "\ufb01", "a" + "\u0301" * 60, "\u202e", "\u202d", "\u2066", "\u2069",
    "\u200e", "\u061c", "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u034f", "\u180e",
    "\u00a0", "\u3000", "\u1680", "\ufffd", "\ufffe", "\uffff", "\ufdd0", "\ue000", "\U000e0041",
    "\U0001f600", "\U0010ffff", "\ud800", "\udc00", "\udcff", "\ud800\udc00",
)  # fmt: skip
SHELL = (
    "*", "?", "[a-z]", "{a,b}", "-rf", "--", "$(id)", "`id`", "|id", ";id", "&", "'", '"', "<", ">",
    "<!--", "]]>", "&lt;", "#", "%", "%zz", "%00", "+", "=", "@", ":", "CON", "nul.txt", "a:b",
    "x?versionId=1", "x?uploads", "?delete", "x#y", "x;y", "\r\nHost: x", ".part", "pytest-opendal",
    "::error::x", "\x1b[2J", "__proto__", "desktop.ini", ".git", "x~1",
)  # fmt: skip
LONG = (
    "a" * 255, "a" * 256, "a" * 1024, "a" * 1025, "a" * 5000, "\u00e9" * 128, "\u00e9" * 200,
    "\U0001f600" * 64, "d/" * 200 + "f", "d/" * 2100 + "f", "../" * 500 + "x", "a/../" * 500 + "x",
    "a" * 255 + "/" + "b" * 255, "%2e%2e/" * 100 + "x",
)  # fmt: skip
_PARTS = (*UPS, *UNICODE, *SHELL, *CONTROLS, "a", "f", "d", "x y", "")


def handmade(aims: Sequence[str]) -> list[str]:
    """Return some hundred names: each part in each position, in each encoding.

    Args:
        aims: what the names are to hit, relative to what is above the storage.
    """
    ups = [f"{up}{by}" for up, by in itertools.product(UPS, SEPARATORS)]
    climbs = [climb for up in ups for climb in (up, f"a/{up}", f"a/{up}{up}", up * 5, up * 6)]
    names = [f"{climb}{aims[i % len(aims)]}" for i, climb in enumerate(climbs)]
    names += [f"{up}{'' if i % 2 else '/'}" for i, up in enumerate(UPS)]
    names += [f"{root}{aim}" for root in ABSOLUTE for aim in aims]
    odd = (*CONTROLS, *UNICODE, *SHELL)
    names += [
        name for one in odd for name in (one, f"a{one}b", f"{one}/f", f"d/{one}", f"d/{one}/")
    ]
    names += [*LONG, *aims, ""]
    return list(dict.fromkeys(names))


def generated(aims: Sequence[str]) -> st.SearchStrategy[str]:
    """Return names made of the same parts, of any text, and of aims."""
    parts = st.one_of(
        st.sampled_from(_PARTS), st.sampled_from([*aims]), st.text(st.characters(), max_size=6)
    )
    pieces = st.lists(st.tuples(parts, st.sampled_from((*SEPARATORS, "/", ""))), max_size=7)
    begins = st.one_of(st.just(""), st.sampled_from(ABSOLUTE), st.sampled_from(LONG))
    return st.builds(
        lambda begin, rest: begin + "".join(part + by for part, by in rest), begins, pieces
    )


# -- what must not be reached

SECRET = b"what only its owner may read " * 31
_DIGEST = hashlib.sha256(SECRET).hexdigest()


class Bystanders:
    """Files beside the root (and the isolation area) of a lab, above it, and with longer names."""

    def __init__(self, lab: Lab, directory: Path | None) -> None:
        """Put them there.

        Args:
            lab: the storage.
            directory: where the root is on this machine; None where it is a bucket or memory.
        """
        self._lab = lab
        self._above = directory
        self.root = lab.kwargs.get("root", "").rstrip("/").rpartition("/")[2]
        outside = ["secret", "sibling/secret", f"{self.root}x/secret", f"{self.root}-secret"]
        outside = outside if self.root else []
        here = [
            name for name in ("kept", "pytest-opendal/kept", f"{lab.area[:-1]}x/kept") if lab.area
        ]
        for name in outside:
            self._put(name)
        for name in here:
            lab.stranger.write(f"/{name}", SECRET)
        self.aims = [*outside, *here] or ["kept"]
        if directory is not None:
            self.aims.append(f"{directory.as_posix()[1:]}/secret")
        self._before = self._seen()
        self._inside = lab.stranger.everything()

    def _put(self, name: str) -> None:
        if self._above is not None:
            (self._above / name).parent.mkdir(parents=True, exist_ok=True)
            (self._above / name).write_bytes(SECRET)
        else:
            self._lab.run.loop.run(self._write(name))

    def _operator(self) -> opendal.AsyncOperator:
        return opendal.AsyncOperator(self._lab.scheme, **{**self._lab.kwargs, "root": "/"})

    async def _write(self, name: str) -> None:
        await self._operator().write(name, SECRET)

    def _seen(self) -> dict[str, bytes | None]:
        """Return all that is outside."""
        if self._above is not None:
            found = (path for path in self._above.rglob("*") if not self._is_in_root(path))
            return {str(path): path.read_bytes() if path.is_file() else None for path in found}
        seen: dict[str, bytes | None] = self._lab.run.loop.run(self._scanned()) if self.root else {}
        return seen

    def _is_in_root(self, path: Path) -> bool:
        assert self._above is not None
        return path.is_relative_to(self._above / self.root)

    async def _scanned(self) -> dict[str, bytes | None]:
        operator = self._operator()
        paths = [entry.path async for entry in await operator.scan("/")]
        outside = [path for path in paths if not f"{path}/".startswith(f"{self.root}/")]
        return {
            path: None if path.endswith("/") else bytes(await operator.read(path))
            for path in outside
        }

    def check(self, names: Sequence[str]) -> None:
        """Fail unless all is as it was outside of what the storage object was given."""
        tried = [ascii(name[:200]) for name in names]
        assert self._seen() == self._before, f"outside of the root, by one of {tried}"
        if self._lab.area:
            now = self._lab.stranger.everything()
            others = {
                path: content
                for path, content in now.items()
                if not path.startswith(self._lab.area) and not self._lab.area.startswith(path)
            }
            inside = {path: content for path, content in self._inside.items() if path in others}
            assert others == inside, f"outside of the area, by one of {tried}"
            assert all(path in now for path, content in self._inside.items() if content)

    def check_end(self, names: Sequence[str], told: set[str]) -> None:
        """Fail unless nothing but ``told`` is left where there was nothing."""
        self.check(names)
        left = {path for path, content in self._lab.stranger.everything().items() if content}
        left -= {*self._inside, *told}
        assert not left, f"left by one of {[ascii(name[:200]) for name in names]}"


# -- what takes a path


def operations(storage: Storage, tmp: Path) -> dict[str, Callable[[str], object]]:
    """Return everything of a storage that takes a path; the file ``own`` has to be there."""
    source, target = tmp / "source", tmp / "target"
    source.write_bytes(b"ours")

    def read_into(path: str) -> bytes:
        target.unlink(missing_ok=True)
        storage.read_into_path(path, target)
        return target.read_bytes()

    def opened(mode: Any) -> Callable[[str], object]:
        def use(path: str) -> object:
            with storage.open(path, mode) as file:
                return file.read() if mode == "rb" else file.write(b"ours")

        return use

    def copied(path: str) -> bytes:
        storage.copy(path, "copied")
        return storage.read_bytes("copied")

    def moved(path: str) -> bytes:
        storage.rename(path, "moved")
        return storage.read_bytes("moved")

    return {
        "stat": lambda path: storage.stat(path).content_length,
        "exists": storage.exists,
        "read_bytes": storage.read_bytes,
        "read_bytes of a part": lambda path: storage.read_bytes(path, offset=5, size=99),
        "read_into_path": read_into,
        "open rb": opened("rb"),
        "hash": storage.hash,
        "list": lambda path: list(storage.list(path)),
        "scan": lambda path: list(storage.scan(path)),
        "wait_until": lambda path: storage.wait_until(path, 0),
        "assert_exists": storage.assert_exists,
        "assert_absent": storage.assert_absent,
        "assert_hash": lambda path: storage.assert_hash(path, SECRET),
        "assert_stat": lambda path: storage.assert_stat(path, content_length=len(SECRET)),
        "copy from": copied,
        "rename from": moved,
        "presign_stat": lambda path: _performed(storage.presign_stat(path, 60)),
        "presign_read": lambda path: _performed(storage.presign_read(path, 60)),
        "write_bytes": lambda path: storage.write_bytes(path, b"ours"),
        "read what was written": storage.read_bytes,
        "write_from_path": lambda path: storage.write_from_path(path, source),
        "open wb": opened("wb"),
        "open ab": opened("ab"),
        "ensure": lambda path: storage.ensure(path, source),
        "delete": storage.delete,
        "presign_write": lambda path: _performed(storage.presign_write(path, 60), b"ours"),
        "presign_delete": lambda path: _performed(storage.presign_delete(path, 60)),
        "create_dir": storage.create_dir,
        "copy to": lambda path: storage.copy("own", path),
        "rename to": lambda path: storage.rename("copied", path),
        "register_path": storage.register_path,
        "register_path of a directory": lambda path: storage.register_path(f"{path}/"),
        "delete of a directory": lambda path: storage.delete(f"{path}/"),
        "remove_all": storage.remove_all,
        "remove_all of a directory": lambda path: storage.remove_all(f"{path}/"),
    }


def _performed(request: PresignedRequest, data: bytes | None = None) -> bytes | None:
    """Send a signed request as it is; return what the server gives."""
    asked = urllib.request.Request(  # noqa: S310
        request.url, data, dict(request.headers), method=request.method
    )
    try:
        answer = urllib.request.urlopen(asked, timeout=10)  # noqa: S310
    except (urllib.error.URLError, ValueError, OSError):
        return None
    with answer:
        content: bytes = answer.read()
    return content


ADMITTED = (errors.StorageError, AssertionError, ValueError)
"""What an operation may raise: that a path is refused, and that a test fails."""


def try_all(storage: Storage, names: Sequence[str], tmp: Path) -> Iterator[str]:
    """Do everything with each name; yields what told something of somebody else's files."""
    uses = operations(storage, tmp)
    for name in names:
        storage.write_bytes("own", b"own")
        for what, use in uses.items():
            try:
                told = use(name)
            except ADMITTED:
                continue
            if _tells(what, told):
                yield f"{what} {name[:200]!a} gives {told!r:.200}"


def _tells(what: str, told: object) -> bool:
    if isinstance(told, bytes):
        return SECRET[5:50] in told
    if isinstance(told, list):
        return any(path.endswith(("secret", "kept")) for path in told)
    return told == _DIGEST or (what == "stat" and told == len(SECRET))
