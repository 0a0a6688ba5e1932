"""Removing a directory of this machine with all below it; of links in it, only themselves.

opendal's `remove_all` stops at a link (0.45) or misses one that leads nowhere (0.47). On 0.45, awaited, it
takes ten times what this takes, on 0.47 twice to six times for the few files of a test. `shutil.rmtree`
cannot be given up, and before Python 3.13 it fails where somebody else removes from the tree too.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threading import Event

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NO_DIRECTORY = {errno.ENOTDIR, errno.ELOOP}


@dataclass(slots=True)
class _Level:
    """A directory that is being emptied."""

    name: str
    above: int | None
    """Open directory that the name is in; None: the name is a whole path."""
    place: int
    """The directory itself, open: what becomes a link meanwhile is not followed."""
    files: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)

    def look(self) -> None:
        with os.scandir(self.place) as entries:
            for entry in entries:
                is_directory = entry.is_dir(follow_symlinks=False)
                (self.directories if is_directory else self.files).append(entry.name)


def remove_tree(directory: str, given_up: Event | None = None) -> None:
    """Remove a directory and all below it, while others may remove from it too.

    Args:
        directory: to be removed; nothing happens when it is missing.
        given_up: ends the removal, wherever it is, when it is set.

    Raises:
        OSError: something could not be removed; what comes after it is still there.
    """
    levels: list[_Level] = []
    try:
        _enter(levels, directory, None)
        while levels and not (given_up is not None and given_up.is_set()):
            level = levels[-1]
            if level.files:
                _remove_file(level.files.pop(), level.place)
            elif level.directories:
                _enter(levels, level.directories.pop(), level.place)
            else:
                os.close(levels.pop().place)
                _remove_directory(level.name, level.above)
    finally:
        for level in levels:
            os.close(level.place)


def _enter(levels: list[_Level], name: str, above: int | None) -> None:
    try:
        place = os.open(name, _FLAGS, dir_fd=above)
    except FileNotFoundError:
        return
    except PermissionError:
        # Who may not look into it can remove it all the same when nothing is in it.
        if not _is_removed(name, above):
            raise
        return
    except OSError as error:
        if error.errno not in _NO_DIRECTORY:
            raise
        _remove_file(name, above)  # it has become a file, or a link
        return
    levels.append(_Level(name, above, place))
    if above is not None and os.fstat(place).st_dev != os.fstat(above).st_dev:
        # What is mounted there is not ours, and its place cannot be removed.
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), name)
    levels[-1].look()


def _is_removed(name: str, above: int | None) -> bool:
    try:
        _remove_directory(name, above)
    except OSError:
        return False
    return True


def _remove_directory(name: str, above: int | None) -> None:
    with suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=above)


def _remove_file(name: str, above: int | None) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=above)
