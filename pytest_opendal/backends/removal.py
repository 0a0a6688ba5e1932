"""Removing a directory of this machine with all below it; of links in it, only themselves.

opendal's `remove_all` stops at a link (0.45) or misses one that leads nowhere (0.47). On 0.45, awaited, it
takes ten times what this takes, on 0.47 twice to six times for the few files of a test.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threading import Event


def remove_tree(directory: str, given_up: Event | None = None) -> None:
    """Remove a directory and all below it, while others may remove from it too.

    Args:
        directory: to be removed; nothing happens when it is missing.
        given_up: ends the removal, wherever it is, when it is set.

    Raises:
        OSError: something could not be removed; what comes after it is still there.
    """
    with suppress(FileNotFoundError):
        # Names within an open directory: nothing that becomes a link meanwhile is followed.
        for _, directories, others, place in os.fwalk(directory, topdown=False, onerror=_fail):
            for remove, names in ((_remove_file, others), (_remove_directory, directories)):
                for name in names:
                    if given_up is not None and given_up.is_set():
                        return
                    remove(name, place)
        os.rmdir(directory)  # noqa: PTH106


def _remove_file(name: str, place: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=place)


def _remove_directory(name: str, place: int) -> None:
    try:
        os.rmdir(name, dir_fd=place)
    except FileNotFoundError:
        pass
    except NotADirectoryError:  # a link to one
        _remove_file(name, place)


def _fail(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
