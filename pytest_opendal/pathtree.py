"""A mapping of path names that knows what lies below a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

V = TypeVar("V")

# A node is a dict from a name's next segment to its value, or to a node when something lies below;
# a node's own value stands under "", which no segment is. Leaves cost one dict slot and a string.
_Node = dict[str, Any]
_OWN = ""
_MISSING = object()


class PathTree(Generic[V]):
    """Maps ``/`` separated names to values (no dicts); a call costs the same in a large tree."""

    __slots__ = ("_last", "_last_node", "_root")

    def __init__(self) -> None:
        self._root: _Node = {}
        self._forget()

    def _forget(self) -> None:
        """Look for the way to a directory anew: nodes were taken out or put in the place of others."""
        self._last: str | None = None
        self._last_node = self._root

    def __setitem__(self, name: str, value: V) -> None:
        directory, _, last = name.rpartition("/")
        # Names come directory by directory.
        node = self._last_node if directory == self._last else self._make_way(directory)
        below = node.get(last)
        if below.__class__ is dict:
            below[_OWN] = value
        else:
            node[last] = value

    def _make_way(self, directory: str) -> _Node:
        node = self._root
        for segment in directory.split("/") if directory else ():
            child = node.get(segment, _MISSING)
            if not isinstance(child, dict):
                child = node[segment] = {} if child is _MISSING else {_OWN: child}
            node = child
        self._last, self._last_node = directory, node
        return node

    def _find(self, name: str) -> Any:
        node: Any = self._root
        for segment in name.split("/"):
            if node.__class__ is not dict:
                return _MISSING
            node = node.get(segment, _MISSING)
        return node

    def get(self, name: str) -> V | None:
        """Return the value of ``name``, or None."""
        directory, _, last = name.rpartition("/")
        # Names are asked for directory by directory, too.
        is_near = directory == self._last
        found = self._last_node.get(last, _MISSING) if is_near else self._find(name)
        if isinstance(found, dict):
            found = found.get(_OWN, _MISSING)
        return None if found is _MISSING else found

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PathTree) and dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"PathTree({dict(self.items())!r})"

    def __bool__(self) -> bool:
        return bool(self._root)

    def items(self) -> Iterator[tuple[str, V]]:
        """Yield all names and values, a name before those below it."""
        yield from _walk(self._root, "")

    def below(self, name: str) -> Iterator[tuple[str, V]]:
        """Yield ``name`` and all below it; everything for ``""``."""
        found = self._find(name) if name else self._root
        if isinstance(found, dict):
            yield from _walk(found, name)
        elif found is not _MISSING:
            yield name, found

    def pop(self, name: str) -> Any:
        """Take ``name`` and all below it out; give the result to `graft` to put it elsewhere."""
        if not name:
            taken, self._root = self._root, {}
            self._forget()
            return taken
        taken = self._find(name)
        if taken is _MISSING:
            return None
        self._prune(name.split("/"))
        return taken

    def discard(self, name: str) -> None:
        """Take only ``name`` out; what lies below stays."""
        found = self._find(name)
        if isinstance(found, dict):
            found.pop(_OWN, None)
        elif found is not _MISSING:
            self._prune(name.split("/"))

    def _prune(self, segments: list[str]) -> None:
        self._forget()
        path = [self._root]
        for segment in segments[:-1]:
            path.append(path[-1][segment])
        for node, segment in zip(reversed(path), reversed(segments), strict=True):
            del node[segment]
            if node:
                return

    def graft(self, name: str, taken: Any) -> None:
        """Put what `pop` returned at ``name``, over what is there."""
        if taken is not None:
            directory, _, last = name.rpartition("/")
            self._make_way(directory)[last] = taken
            self._forget()


def _walk(node: _Node, name: str) -> Iterator[tuple[str, Any]]:
    if _OWN in node:
        yield name, node[_OWN]
    way = [(f"{name}/" if name else "", iter(node.items()))]
    while way:
        above, items = way[-1]
        for segment, child in items:
            path = above + segment
            if isinstance(child, dict):
                if _OWN in child:
                    yield path, child[_OWN]
                way.append((f"{path}/", iter(child.items())))
                break
            if segment != _OWN:
                yield path, child
        else:
            way.pop()
