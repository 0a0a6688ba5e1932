"""Faults between a test and a real server: a loopback proxy that can fall silent or break off."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 1 << 16


class Proxy:
    """Forwards TCP connections to ``host:port`` until it is told to be silent."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.silent = threading.Event()
        self._stopped = threading.Event()

    def serve(self) -> None:
        """Accept connections until the proxy is stopped."""
        while not self._stopped.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            peers = {client: server, server: client}
            with selectors.DefaultSelector() as ready:
                for peer in peers:
                    ready.register(peer, selectors.EVENT_READ)
                while not self._stopped.is_set():
                    for key, _ in ready.select(0.05):
                        assert isinstance(key.fileobj, socket.socket)
                        if not self._pass_on(key.fileobj, peers[key.fileobj]):
                            return

    def _pass_on(self, source: socket.socket, target: socket.socket) -> bool:
        try:
            piece = source.recv(_PIECE)
            if piece and not self.silent.is_set():
                target.sendall(piece)
        except OSError:
            return False
        return bool(piece)

    def stop(self) -> None:
        """Close the listener; connections end soon after."""
        self._stopped.set()
        self._listener.close()


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """Run a proxy to ``host:port``."""
    running = Proxy(target)
    thread = threading.Thread(target=running.serve, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.stop()
