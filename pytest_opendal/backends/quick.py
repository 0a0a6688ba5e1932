"""What is done at once: small operations where nobody can keep us waiting.

In memory, and on file systems of this machine, opendal's blocking operator takes less time than the
way to the loop thread and back. It cannot be interrupted, so anything large, anything that is no plain
file or directory, and all that may be elsewhere goes the long way.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_opendal.backends.removal import remove_tree
from pytest_opendal.paths import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import opendal

MOST_BYTES = 256 << 10
"""Content of a file that is read or written at once."""
MOST_ENTRIES = 64
"""Files and directories that are removed at once."""

# Of disks that are built in, and of memory; a card in a reader may be gone at any time.
_NEAR = {"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"}
_MOUNTS = Path("/proc/self/mountinfo")


class Memory:
    """Answers for opendal's own memory."""

    def __init__(self, operator: opendal.AsyncOperator) -> None:
        self.operator = operator.to_operator()

    def takes(self, path: str, size: int = 0) -> bool:  # noqa: ARG002
        """Whether what is at ``path`` is near, and ``size`` bytes are few."""
        return size <= MOST_BYTES

    def can_read(self, path: str) -> bool:
        """Whether a file may be read as a whole."""
        return self.operator.stat(path).content_length <= MOST_BYTES

    def can_remove(self, path: str) -> bool:  # noqa: ARG002
        """Whether a directory may be removed with all below it."""
        return True

    def remove_tree(self, path: str) -> None:
        """Remove a directory and all below it."""
        self.operator.remove_all(path)


class Files:
    """Answers for a directory on a file system of this machine."""

    def __init__(self, operator: opendal.AsyncOperator, root: str, device: int) -> None:
        self.operator = operator.to_operator()
        self._root = root
        self._device = device

    def takes(self, path: str, size: int = 0) -> bool:
        """Whether a plain file or directory is at ``path``, or nothing yet, and ``size`` is small."""
        if size > MOST_BYTES:
            return False
        try:
            found = os.lstat(f"{self._root}/{path}")
        except OSError:
            return self._would_be_near(path)
        return self._is_plain(found)

    def _is_plain(self, found: os.stat_result) -> bool:
        kind = stat.S_IFMT(found.st_mode)
        return found.st_dev == self._device and kind in {stat.S_IFREG, stat.S_IFDIR}

    def _would_be_near(self, path: str) -> bool:
        """Whether the nearest directory above that exists is on the same file system."""
        above = path.rstrip("/")
        while above:
            above = above.rpartition("/")[0]
            try:
                return os.stat(f"{self._root}/{above}").st_dev == self._device  # noqa: PTH116
            except OSError:
                continue
        return False

    def can_read(self, path: str) -> bool:
        """Whether a file is small and plain."""
        try:
            found = os.lstat(f"{self._root}/{path}")
        except OSError:
            return False
        return self._is_plain(found) and found.st_size <= MOST_BYTES

    def can_remove(self, path: str) -> bool:
        """Whether little is below a directory, and none of it elsewhere or a link."""
        missing, todo = MOST_ENTRIES, [f"{self._root}/{path}"]
        try:
            while todo:
                with os.scandir(todo.pop()) as entries:
                    for entry in entries:
                        missing -= 1
                        if entry.is_dir(follow_symlinks=False):
                            todo.append(entry.path)
                        found = entry.stat(follow_symlinks=False)
                        if missing < 0 or found.st_dev != self._device or entry.is_symlink():
                            return False
        except OSError:
            return False
        return True

    def remove_tree(self, path: str) -> None:
        """Remove a directory and all below it."""
        remove_tree(f"{self._root}/{name_of(path)}")


def quick_way(
    scheme: str, kwargs: Mapping[str, str], operator: opendal.AsyncOperator
) -> Memory | Files | None:
    """Return what answers at once for a storage, None where nothing does."""
    if scheme == "memory":
        return Memory(operator)
    root = kwargs.get("root", "/").rstrip("/")
    device = near_device(root) if scheme == "fs" else None
    return None if device is None else Files(operator, root, device)


def near_device(root: str) -> int | None:
    """Return the device of a directory on a file system of this machine, else None."""
    try:
        device = os.stat(f"{root}/").st_dev  # noqa: PTH116
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # no Linux
        return None
    numbers = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        fields, _, about = line.partition(" - ")
        if fields.split()[2] == numbers:
            return device if about.split()[0] in _NEAR else None
    return None
