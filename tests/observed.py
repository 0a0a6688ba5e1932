"""What a storage does where services differ, in the words of docs/reference/services.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_opendal import StorageError, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_opendal import Storage


def observe(storage: Storage) -> dict[str, str]:
    """Return the column of a storage in the table, by the first cells of its rows."""
    storage.write_bytes("d/f", b"content")
    storage.write_bytes("dx", b"content")
    return {
        **_reading(storage),
        **_directories(storage),
        **_moving(storage),
        **_options(storage),
        **_removing(storage),
    }


def _answer(ask: Callable[[], object]) -> str:
    try:
        told = ask()
    except Unsupported as error:
        return "0.47" if "needs opendal 0.4" in str(error) else "`Unsupported`"
    except StorageError as error:
        return f"`{type(error).__name__}`"
    if isinstance(told, list | set):
        return f"`{' '.join(sorted(told))}`" if told else "nothing"
    return "no" if told is False else "yes"


def _same(*asks: Callable[[], object]) -> str:
    (told,) = {_answer(ask) for ask in asks}
    return told


def _after(act: Callable[[], object], told: Callable[[], object]) -> str:
    def both() -> object:
        act()
        return told()

    return _answer(both)


def _refused(storage: Storage, act: Callable[[], object], path: str) -> str:
    try:
        act()
    except StorageError:
        return "refused"
    return "beside it" if storage.exists(path) else "nothing"


def _reading(storage: Storage) -> dict[str, str]:
    return {
        'exists("d/"), exists("d")': _same(
            lambda: storage.exists("d/"), lambda: storage.exists("d")
        ),
        'stat("d") and stat("d/") tell a directory': _same(
            *(lambda name=name: storage.stat(name).mode.is_dir() for name in ("d", "d/"))
        ),
        'exists("d/f/"): a file is no directory': _answer(lambda: storage.exists("d/f/")),
        'list("d"), list("d/")': _same(
            lambda: list(storage.list("d")), lambda: list(storage.list("d/"))
        ),
        'list("d/f"): a file yields itself': _answer(lambda: list(storage.list("d/f"))),
        'list("missing/"), scan("missing/")': _same(
            lambda: list(storage.list("missing/")), lambda: list(storage.scan("missing/"))
        ),
        'scan("")': _answer(lambda: list(storage.scan(""))),
        'stat("d/f") has last_modified': _answer(
            lambda: storage.stat("d/f").last_modified is not None
        ),
        'stat("d/f") has etag': _answer(lambda: storage.stat("d/f").etag is not None),
    }


def _directories(storage: Storage) -> dict[str, str]:
    column = {
        "created, after writing d/f and dx": _answer(storage.get_created_resources),
        'create_dir("e/")': _after(lambda: storage.create_dir("e/"), lambda: storage.exists("e/")),
        'delete("e/")': _after(lambda: storage.delete("e/"), lambda: not storage.exists("e/")),
        'delete("d/") with d/f in it': _refused(storage, lambda: storage.delete("d/"), "no"),
        'delete("missing")': _refused(storage, lambda: storage.delete("missing"), "missing"),
        "writing the file d where d/ is": _refused(
            storage, lambda: storage.write_bytes("d", b"x"), "d"
        ),
        "writing d/f/x where d/f is a file": _refused(
            storage, lambda: storage.write_bytes("d/f/x", b"x"), "d/f/x"
        ),
    }
    storage.write_bytes("o/f", b"content")
    storage.delete("o/f")
    column['exists("o/") after its only file is deleted'] = _answer(lambda: storage.exists("o/"))
    return column


def _moving(storage: Storage) -> dict[str, str]:
    storage.write_bytes("a", b"content")
    storage.write_bytes("t/f", b"content")
    return {
        "copy of a file": _after(lambda: storage.copy("a", "b"), lambda: storage.exists("b")),
        "rename of a file": _after(lambda: storage.rename("a", "c"), lambda: storage.exists("c")),
        "copy of a directory": _after(
            lambda: storage.copy("t", "u"), lambda: storage.exists("u/f")
        ),
        "rename of a directory": _after(
            lambda: storage.rename("t", "v"), lambda: storage.exists("v/f")
        ),
    }


def _options(storage: Storage) -> dict[str, str]:
    def append() -> None:
        with storage.open("dx", "ab") as file:
            file.write(b"more")

    return {
        'open(..., "ab")': _after(append, lambda: storage.read_bytes("dx") == b"contentmore"),
        "presign_read, presign_stat, presign_write": _same(
            lambda: storage.presign_read("dx", 60).method == "GET",
            lambda: storage.presign_stat("dx", 60).method == "HEAD",
            lambda: storage.presign_write("dx", 60).method == "PUT",
        ),
        "presign_delete": _answer(lambda: storage.presign_delete("dx", 60).method == "DELETE"),
        "read_bytes(if_match=)": _answer(
            lambda: storage.read_bytes("dx", if_match=storage.stat("dx").etag or '"none"')
        ),
        "write_bytes(if_not_exists=True)": _answer(
            lambda: storage.write_bytes("fresh", b"x", if_not_exists=True)
        ),
    }


def _removing(storage: Storage) -> dict[str, str]:
    storage.write_bytes("r/f", b"content")
    storage.write_bytes("rx", b"content")
    return {
        'remove_all("d") removes d/f, spares dx': _after(
            lambda: storage.remove_all("r"),
            lambda: storage.exists("rx") and not storage.exists("r/f"),
        ),
        'remove_all("") without isolation': _answer(lambda: storage.remove_all("")),
    }
