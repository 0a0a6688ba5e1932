"""What a test claims of a storage, and the messages of claims that fail.

Each assertion is a coroutine that takes the storage first and raises `AssertionError` with a
message of several lines: the claim, expected beside actual, and what helps to find the reason. No
message holds the query of a signed URL, the value of a header or a credential.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pytest_opendal.contents import compare, expected_of, size_text
from pytest_opendal.digests import Digest, new_hash
from pytest_opendal.errors import StorageError
from pytest_opendal.fields import check_fields, differing
from pytest_opendal.loop import away
from pytest_opendal.nearest import enumeration, missing, names_in, unless_missing
from pytest_opendal.paths import name_of, normalize
from pytest_opendal.presigned import Trial, known_content, performed, unsound
from pytest_opendal.trees import tree_problem, wanted_of

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from pytest_opendal.contents import Expected
    from pytest_opendal.digests import Content
    from pytest_opendal.models import PresignedRequest
    from pytest_opendal.paths import Name, StrPath
    from pytest_opendal.subject import Subject

# In all of them arguments are checked before the storage is asked, and a mistake in them is a
# ValueError, TypeError or FileNotFoundError rather than a failed claim.


async def assert_hash(
    storage: Subject, path: StrPath, expected: Expected, algo: str = "sha256"
) -> None:
    """Claim that a file has a digest, or a content.

    Args:
        storage: that holds the file.
        path: of the file.
        expected: a hex digest, ``"md5:<hex digest>"``, the content as bytes, or a local file that
            holds it; a str is always a digest.
        algo: any of hashlib with digests of a fixed length; a prefix in ``expected`` overrides it.

    Raises:
        AssertionError: with both digests, both sizes, and the place of the first difference when
            the expected content is at hand; or with the nearest names when the path is missing.
        ValueError: no such algorithm, or a str that is no digest of it.
        TypeError: ``expected`` or ``algo`` is of another type.
        FileNotFoundError: there is no such local file.
    """
    __tracebackhide__ = True
    algo = new_hash(algo).name
    wanted = expected_of(expected, algo)
    problem = await unless_missing(storage, path, _hash_problem(storage, path, wanted, algo))
    if problem is not None:
        raise AssertionError(problem)


async def _hash_problem(
    storage: Subject, path: StrPath, wanted: Digest | Content, algo: str
) -> str | None:
    unequal = await compare(storage, path, wanted, algo)
    if unequal is None:
        return None
    claim = f"{storage.display(path)} has another content than expected"
    return "\n  ".join([claim, *unequal.lines(), *_next_step(wanted)])


def _next_step(wanted: Digest | Content) -> list[str]:
    if not isinstance(wanted, Digest):
        return []
    return [
        "hint: give the content (bytes or a local path) and not its digest, to see what differs"
    ]


async def assert_stat(storage: Subject, path: StrPath, **fields: Any) -> None:
    """Claim that fields of a path's `Metadata` have values.

    Args:
        storage: that holds the path.
        path: of a file or directory.
        fields: expected values by the names of fields; ``mode`` also as ``"file"`` or ``"dir"``.
            A callable is asked with the actual value instead of compared.

    Raises:
        AssertionError: with all fields that differ, or the nearest names when the path is missing.
        TypeError: `Metadata` has no such field.
        ValueError: a ``mode`` that is none.
    """
    __tracebackhide__ = True
    check_fields(fields)
    problem = await unless_missing(storage, path, _stat_problem(storage, path, fields))
    if problem is not None:
        raise AssertionError(problem)


async def _stat_problem(storage: Subject, path: StrPath, fields: Mapping[str, Any]) -> str | None:
    metadata = await storage.stat(path)
    lines = await away(lambda: differing(metadata, fields))
    if not lines:
        return None
    return "\n  ".join(
        [f"metadata of {storage.display(path)} differs from what is expected", *lines]
    )


async def assert_presign(  # the signature that users are promised
    storage: Subject,
    path: StrPath,
    operation: str = "read",
    expire_second: int = 60,
    *,
    content: bytes | os.PathLike[str] | None = None,
    fetch: bool = True,
) -> PresignedRequest:
    """Claim that a request can be signed, and works for a stranger without credentials.

    The stranger uses a fresh connection, no proxy and only the signed headers, and follows no
    redirect. ``read`` has to give the content, ``stat`` its size, ``write`` has to store what is
    sent, which replaces the file (other bytes are sent first where it holds them already), and
    ``delete`` has to remove it.

    Args:
        storage: that signs.
        path: of the file; it has to exist, but for ``write``.
        operation: ``read``, ``stat``, ``write`` or ``delete``.
        expire_second: seconds for which the request is valid.
        content: what is expected to be read or is to be written, as bytes or a local file. Without
            it, reads are compared with what the storage itself reads, and a few random bytes are
            written.
        fetch: perform the request; False only checks method, URL and expiry.

    Returns:
        The signed request.

    Raises:
        AssertionError: with what the server said, or where its content differs.
        Unsupported: the storage, or the installed opendal, cannot sign this.
        ValueError: no such operation, or no such number of seconds.
        TypeError: ``content`` or ``expire_second`` is of another type.
        FileNotFoundError: there is no such local file.
    """
    __tracebackhide__ = True
    known = known_content(operation, content)
    request = await storage.presign(operation, path, expire_second)
    trial = Trial(storage, path, operation, expire_second, request, known)
    problem = unsound(trial)
    if problem is None and fetch:
        problem = await unless_missing(storage, path, performed(trial))
    if problem is not None:
        raise AssertionError(problem)
    return request


async def assert_exists(storage: Subject, path: StrPath) -> None:
    """Claim that a file or directory exists.

    Raises:
        AssertionError: with the nearest names.
    """
    __tracebackhide__ = True
    if not await storage.exists(path):
        raise AssertionError(await missing(storage, path))


async def assert_absent(storage: Subject, path: StrPath) -> None:
    """Claim that neither a file nor a directory exists.

    Raises:
        AssertionError: with what is there.
    """
    __tracebackhide__ = True
    if await storage.exists(path):
        raise AssertionError(f"{storage.display(path)} exists\n  {await _described(storage, path)}")


async def _described(storage: Subject, path: StrPath) -> str:
    metadata = await storage.stat(path)
    if metadata.mode.is_dir():
        with suppress(StorageError):
            names = await names_in(storage, name_of(normalize(path)))
            return f"a directory that holds: {enumeration(names) or 'nothing'}"
        return "a directory"
    time = metadata.last_modified
    changed = f", last modified {time:%Y-%m-%d %H:%M:%S %Z}" if time else ""
    return f"a file of {size_text(metadata.content_length)}{changed}"


async def assert_tree(
    storage: Subject, path: StrPath, tree: Mapping[Name, Expected | None]
) -> None:
    """Claim that a directory holds these files and no others, at any depth.

    Args:
        storage: that holds the directory.
        path: of the directory.
        tree: what each path relative to the directory holds: as in `assert_hash`, or None when it
            only has to exist. A name that ends with ``/`` is a directory; directories need not be
            named.

    Raises:
        AssertionError: with the missing, unexpected and differing entries, or the nearest names
            when the directory is missing.
        ValueError: a name or a digest is none.
        FileNotFoundError: a local file that is to be compared does not exist.
    """
    __tracebackhide__ = True
    problem = await unless_missing(storage, path, tree_problem(storage, path, wanted_of(tree)))
    if problem is not None:
        raise AssertionError(problem)
