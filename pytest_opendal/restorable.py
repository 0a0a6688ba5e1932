"""What of a directory of this machine `on_existing: restore` could put back."""

from __future__ import annotations

import os
import stat

from pytest_opendal.words import is_utf8


def first_lost(directory: str) -> tuple[str, str] | None:
    """Return what below a directory could not be put back, by its name there, and why; None: nothing.

    Args:
        directory: is looked through; links in it are not followed.
    """
    waiting = [""]
    while waiting:
        above = waiting.pop()
        try:
            with os.scandir(os.path.join(directory, above)) as entries:  # noqa: PTH118
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:  # which the listing tells
            continue
        for entry in found:
            name = above + entry.name
            if reason := _why_lost(entry):
                return name, reason
            if entry.is_dir(follow_symlinks=False):
                waiting.append(f"{name}/")
    return None


def _why_lost(entry: os.DirEntry[str]) -> str:
    # opendal (0.45 and 0.47) lists such a name without its white space, or not at all.
    if entry.name != entry.name.rstrip() or not is_utf8(entry.name):
        return "has a name that opendal cannot use"
    if entry.is_symlink():
        return "is a link"
    if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
        return ""
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except FileNotFoundError:
        return ""
    return "is a pipe" if stat.S_ISFIFO(mode) else "is no regular file"
