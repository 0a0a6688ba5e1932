"""What of a directory of this machine `on_existing: restore` could put back."""

from __future__ import annotations

import os
import stat

from pytest_opendal.words import is_utf8


def looked_at(directory: str) -> tuple[list[str], str]:
    """Return the directories in one, and what of it could not be put back and why; ``""``: all could.

    Raises:
        OSError: nobody may look into it.
    """
    directories = []
    try:
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if reason := _why_lost(entry):
                    return [], f"{entry.name!r} in it {reason}"
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        pass  # a file, or what somebody has removed
    return directories, ""


def _why_lost(entry: os.DirEntry[str]) -> str:
    # opendal (0.45 and 0.47) lists such a name without its white space, or not at all.
    if entry.name != entry.name.rstrip() or not is_utf8(entry.name):
        return "has a name that opendal cannot use"
    if entry.is_symlink():
        return "is a link"
    if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
        return ""
    mode = entry.stat(follow_symlinks=False).st_mode
    return "is a pipe" if stat.S_ISFIFO(mode) else "is no regular file"
