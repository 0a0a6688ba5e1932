"""Faults between a test and a real server, by proxies on loopback.

`proxy` forwards connections, and can fall silent; `faulty` forwards HTTP requests, and can fail some of
them in the ways that no server does when it is asked to.
"""

from __future__ import annotations

import http.client
import selectors
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal

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


Way = Literal["503", "cut download", "halted download", "drip", "cut upload", "slow", "silent"]
"""How a request fails: a status; half of a body and then a reset, or nothing; a body in pieces, each
late; an answer late, or never."""
_DRIPS = 8

FOR_EVER = 1 << 30
_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "keep-alive"}


@dataclass
class Fault:
    """What happens to the next requests."""

    way: Way
    methods: tuple[str, ...] = ()
    """Only to these; () is all."""
    times: int = FOR_EVER
    seconds: float = 0.0
    """How late the answer is, for ``slow``, or each piece, for ``drip``."""


class Faulty(ThreadingHTTPServer):
    """Forwards HTTP requests to ``host:port``, apart from those that a fault meets."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Forwarding)
        self.target = target
        self.address = f"127.0.0.1:{self.server_port}"
        self.requests: list[str] = []
        """Method and path of each request, without the query."""
        self.stopped = threading.Event()
        self._fault: Fault | None = None
        self._connections: list[socket.socket] = []
        self._lock = threading.Lock()

    def fail(self, way: Way, *methods: str, times: int = FOR_EVER, seconds: float = 0.0) -> None:
        """Let the next requests fail, and count requests anew."""
        self.requests.clear()
        self._fault = Fault(way, methods, times, seconds)

    def heal(self) -> None:
        """Forward everything."""
        self._fault = None

    def meet(self, method: str, path: str) -> Fault | None:
        """Count a request, and return what happens to it."""
        with self._lock:
            self.requests.append(f"{method} {path.partition('?')[0]}")
            fault = self._fault
            if fault is None or fault.times <= 0 or (fault.methods and method not in fault.methods):
                return None
            fault.times -= 1
            return fault

    def get_request(self) -> tuple[socket.socket, Any]:
        """Remember the connections, for `kill`."""
        connection, address = super().get_request()
        self._connections.append(connection)
        return connection, address

    def kill(self) -> None:
        """Break off all connections and refuse new ones."""
        self.shutdown()
        self.server_close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that gave up."""


class _Forwarding(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Faulty

    def _handle(self) -> None:
        fault = self.server.meet(self.command, self.path)
        way = fault.way if fault else ""
        size = int(self.headers.get("Content-Length") or 0)
        if way == "cut upload":
            self.rfile.read(size // 2)
            self._reset()
            return
        body = self.rfile.read(size)
        if way == "silent":
            self.server.stopped.wait()
            self._reset()
        elif way == "503":
            self._answer(503, [], b"")
        else:
            time.sleep(fault.seconds if fault and way == "slow" else 0.0)
            self._answer(*self._forwarded(body), fault)

    def _forwarded(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(self.server.target, timeout=30)
        try:
            headers = {name: value for name, value in self.headers.items() if name != "Connection"}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()

    def _answer(
        self,
        status: int,
        headers: list[tuple[str, str]],
        body: bytes,
        fault: Fault | None = None,
    ) -> None:
        self.send_response_only(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
            elif self.command == "HEAD" and name.lower() == "content-length":
                length = value
        self.send_header("Content-Length", length)
        self.end_headers()
        self._send(body, fault)

    def _send(self, body: bytes, fault: Fault | None) -> None:
        way = fault.way if fault and body else ""
        if way in {"cut download", "halted download"}:
            self.wfile.write(body[: len(body) // 2])
            if way == "halted download":
                self.server.stopped.wait()
            self._reset()
        elif fault and way == "drip":
            size = -(-len(body) // _DRIPS)
            for start in range(0, len(body), size):
                self.wfile.write(body[start : start + size])
                time.sleep(fault.seconds)
        else:
            self.wfile.write(body)

    def _reset(self) -> None:
        """Break the connection off, as a peer that dies does."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_args: object) -> None:
        """Print nothing."""

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815


@contextmanager
def faulty(target: str) -> Iterator[Faulty]:
    """Run a server that forwards HTTP requests to ``host:port``, and fails some when told so."""
    with Faulty(target) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield running
        finally:
            running.stopped.set()
            running.shutdown()
