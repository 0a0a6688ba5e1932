"""Exporters of Jumpstarter, and a controller that leases them, as processes of their own on loopback.

Also the command that runs in those processes:

    python tests/exporters.py exporter FILE PORT PASSPHRASE
    python tests/exporters.py controller DIRECTORY FILE...
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import servers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOST = "127.0.0.1"
START_SECONDS = 60
STOP_SECONDS = 10
# Of no use to anybody, but `jmp` wants to read it.
TOKEN = "eyJhbGciOiAibm9uZSJ9.eyJzdWIiOiAidGVzdGVyIn0.x"
SLOW_SELECTOR = "board=slow"
"""For which the controller answers late, and takes its time to release."""
SHELL_LEASE = "lab-direct-shell"
"""A lease of the first exporter that a `jmp shell` holds, whatever else is leased."""
OPENDAL = "jumpstarter_driver_opendal.driver.Opendal"

NOT_INSTALLED = "Jumpstarter is not installed; its driver needs opendal 0.45"

needs_jumpstarter = pytest.mark.skipif(
    importlib.util.find_spec("jumpstarter_driver_opendal") is None, reason=NOT_INSTALLED
)
"""Of tests that start an exporter."""


def opendal(root: Path, **config: Any) -> dict[str, Any]:
    """Return an entry of an export tree: a directory through the OpenDAL driver."""
    root.mkdir(parents=True, exist_ok=True)
    return {"type": OPENDAL, "config": {"scheme": "fs", "kwargs": {"root": str(root)}, **config}}


def exporter_file(path: Path, export: Mapping[str, Any]) -> Path:
    """Write an exporter configuration (JSON is YAML)."""
    head = {"apiVersion": "jumpstarter.dev/v1alpha1", "kind": "ExporterConfig"}
    metadata = {"namespace": "default", "name": path.stem}
    path.write_text(json.dumps({**head, "metadata": metadata, "export": dict(export)}))
    return path


@dataclass
class Exporter:
    """A running exporter that listens on TCP."""

    process: subprocess.Popen[bytes]
    address: str
    passphrase: str

    @property
    def environment(self) -> dict[str, str]:
        """What ``jmp shell --tls-grpc`` sets for the command that it runs."""
        return {
            "JUMPSTARTER_HOST": self.address,
            "JMP_DRIVERS_ALLOW": "UNSAFE",
            "JMP_GRPC_INSECURE": "1",
            "JMP_GRPC_PASSPHRASE": self.passphrase,
            "JMP_LEASE": "direct",
            "JMP_EXPORTER": "direct",
        }

    def kill(self) -> None:
        """End it without a word to anybody."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)


@contextlib.contextmanager
def exporter(file: Path, passphrase: str = "") -> Iterator[Exporter]:
    """Run an exporter on TCP."""
    with servers.reserved_ports(1) as (port,), _listening(file, port, passphrase) as one:
        yield one


@contextlib.contextmanager
def started_anew(dead: Exporter, file: Path) -> Iterator[Exporter]:
    """Run an exporter at the address of one that was killed."""
    with _listening(file, int(dead.address.rpartition(":")[2]), dead.passphrase) as one:
        yield one


@contextlib.contextmanager
def _listening(file: Path, port: int, passphrase: str) -> Iterator[Exporter]:
    command = [sys.executable, __file__, "exporter", str(file), str(port), passphrase]
    with running(command) as process:
        wait_for_port(port, process)
        yield Exporter(process, f"{HOST}:{port}", passphrase)


@contextlib.contextmanager
def jmp_run(file: Path, passphrase: str) -> Iterator[Exporter]:
    """Run an exporter on TCP with Jumpstarter's own command."""
    with servers.reserved_ports(1) as (port,):
        listener = ["--tls-grpc-listener", f"{HOST}:{port}", "--tls-grpc-insecure"]
        command = [jmp(), "run", "--exporter-config", str(file), *listener]
        with running([*command, "--passphrase", passphrase]) as process:
            wait_for_port(port, process)
            yield Exporter(process, f"{HOST}:{port}", passphrase)


def jmp() -> str:
    """Return Jumpstarter's command."""
    found = Path(sys.executable).with_name("jmp")
    if not found.exists():
        pytest.fail("there is no `jmp` beside this Python; install jumpstarter-cli")
    return str(found)


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process quietly and end it with SIGTERM, which ``jmp run`` passes on to its child."""
    environ = {**os.environ, "GRPC_VERBOSITY": "ERROR"}
    environ.pop("PYTHONSAFEPATH", None)  # this file, run as a program, imports its neighbours
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environ
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(_said_by(process))
        time.sleep(servers.POLL_SECONDS)


def _said_by(process: subprocess.Popen[bytes]) -> str:
    process.kill()
    said = process.stderr.read() if process.stderr else b""
    return f"did not start: {said[-2000:].decode(errors='replace')}"


@dataclass
class Controller:
    """A running controller: what a client needs, and what it was asked."""

    client: Path
    """Client configuration."""
    events: Path

    def told(self, event: str) -> int:
        """Return how often something happened: ``create``, ``delete`` or ``dial``."""
        lines = self.events.read_text().splitlines()
        return sum(line.split()[0] == event for line in lines)


@contextlib.contextmanager
def controller(directory: Path, *files: Path) -> Iterator[Controller]:
    """Run a controller with one exporter for each of these configurations."""
    directory.mkdir(exist_ok=True)
    client, events = directory / "client.yaml", directory / "events"
    events.touch()
    command = [sys.executable, __file__, "controller", str(directory), *map(str, files)]
    with running(command) as process:
        deadline = time.monotonic() + START_SECONDS
        while not client.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(_said_by(process))
            time.sleep(servers.POLL_SECONDS)
        yield Controller(client, events)


# -- inside the processes


async def _export(file: str, port: str, passphrase: str) -> None:
    import anyio
    from jumpstarter.common import ExporterStatus
    from jumpstarter.exporter.auth import PassphraseInterceptor

    interceptors = [PassphraseInterceptor(passphrase)] if passphrase else None
    with _session(file) as session:
        session.update_status(ExporterStatus.LEASE_READY)
        async with session.serve_tcp_async(HOST, int(port), interceptors=interceptors):
            with anyio.open_signal_receiver(signal.SIGTERM) as signals:
                async for _ in signals:
                    return


def _session(file: str) -> Any:
    from jumpstarter.config.exporter import (
        ExporterConfigV1Alpha1,
        ExporterConfigV1Alpha1DriverInstance,
    )
    from jumpstarter.exporter import Session

    config = ExporterConfigV1Alpha1.load_path(Path(file))
    root = ExporterConfigV1Alpha1DriverInstance(
        type="jumpstarter_driver_composite.driver.Composite", children=config.export
    )
    return Session(root_device=root.instantiate())


@dataclass
class _FakeController:
    """Hands out the exporters that it knows; says so in a file."""

    directory: Path
    endpoint: str
    sockets: dict[str, str]
    leases: dict[str, str] = field(default_factory=dict)
    """Exporters by the names of leases; ``""`` is one that waits."""
    selectors: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.leases[SHELL_LEASE] = next(iter(self.sockets))
        self.selectors[SHELL_LEASE] = "board=shell"

    def say(self, *words: str) -> None:
        with (self.directory / "events").open("a") as events:
            events.write(f"{' '.join(words)}\n")

    def _lease(self, name: str) -> Any:
        from jumpstarter_protocol import client_pb2, kubernetes_pb2

        chosen = self.leases[name]
        condition = kubernetes_pb2.Condition(type="Ready", status="True")
        if self.selectors[name] == "over":
            condition = kubernetes_pb2.Condition(type="Ready", status="False", reason="Released")
        elif self.selectors[name] == "board=none":
            text = "no exporter has board=none"
            condition = kubernetes_pb2.Condition(
                type="Unsatisfiable", status="True", reason="NoMatch", message=text
            )
        elif not chosen:
            text = "all exporters with these labels are leased"
            condition = kubernetes_pb2.Condition(type="Pending", status="True", message=text)
        return client_pb2.Lease(
            name=f"namespaces/default/leases/{name}",
            selector=self.selectors[name],
            client="namespaces/default/clients/tester",
            exporter=f"namespaces/default/exporters/{chosen}" if chosen else "",
            conditions=[condition],
        )

    async def CreateLease(self, request: Any, _context: Any) -> Any:  # noqa: N802
        # Its number is never that of one of an earlier controller in this directory.
        name = f"lease-{(self.directory / 'events').read_text().count('create ')}"
        wanted = request.lease.exporter_name
        taken = [self.leases[lease] for lease in self.leases if lease != SHELL_LEASE]
        free = [one for one in self.sockets if one not in taken]
        fitting = [one for one in free if wanted in {"", one}]
        self.leases[name] = next(iter(fitting), "")
        self.selectors[name] = request.lease.selector
        self.say("create", name, f"{request.lease.duration.seconds}s")
        if request.lease.selector == SLOW_SELECTOR:
            await asyncio.sleep(1.5)
        return self._lease(name)

    async def GetLease(self, request: Any, _context: Any) -> Any:  # noqa: N802
        return self._lease(request.name.rpartition("/")[2])

    async def DeleteLease(self, request: Any, _context: Any) -> Any:  # noqa: N802
        from google.protobuf import empty_pb2

        name = request.name.rpartition("/")[2]
        if self.selectors[name] == SLOW_SELECTOR:
            await asyncio.sleep(6)
        self.leases[name] = ""
        self.selectors[name] = "over"
        self.say("delete", name)
        return empty_pb2.Empty()

    async def GetExporter(self, request: Any, _context: Any) -> Any:  # noqa: N802
        from jumpstarter_protocol import client_pb2

        return client_pb2.Exporter(name=request.name)

    async def Dial(self, request: Any, context: Any) -> Any:  # noqa: N802
        import grpc
        from jumpstarter_protocol import jumpstarter_pb2

        chosen = self.leases[request.lease_name]
        self.say("dial", request.lease_name, chosen)
        if chosen == "offline":
            await context.abort(grpc.StatusCode.NOT_FOUND, "the exporter is offline")
        return jumpstarter_pb2.DialResponse(router_endpoint=self.endpoint, router_token=chosen)

    async def Stream(self, _requests: Any, context: Any) -> None:  # noqa: N802
        import anyio
        from jumpstarter.streams.common import forward_stream
        from jumpstarter.streams.router import RouterStream

        bearer = dict(context.invocation_metadata())["authorization"]
        path = self.sockets[bearer.removeprefix("Bearer ")]
        async with (
            RouterStream(context=context) as remote,
            await anyio.connect_unix(path) as local,
            forward_stream(remote, local),
        ):
            over = anyio.Event()
            context.add_done_callback(lambda _: over.set())
            await over.wait()


async def _control(directory: Path, files: list[str]) -> None:
    import anyio
    import grpc
    from jumpstarter.common import ExporterStatus
    from jumpstarter_protocol import client_pb2_grpc, jumpstarter_pb2_grpc, router_pb2_grpc

    key, certificate = _certificate()
    server = grpc.aio.server()
    port = server.add_secure_port(f"{HOST}:0", grpc.ssl_server_credentials([(key, certificate)]))
    async with contextlib.AsyncExitStack() as stack:
        sockets = {}
        for file in files:
            session = stack.enter_context(_session(file))
            session.update_status(ExporterStatus.LEASE_READY)
            sockets[Path(file).stem] = str(
                await stack.enter_async_context(session.serve_unix_async())
            )
        fake = _FakeController(directory, f"{HOST}:{port}", sockets)
        client = _with_all(fake, client_pb2_grpc.ClientServiceServicer)
        client_pb2_grpc.add_ClientServiceServicer_to_server(client, server)
        controller = _with_all(fake, jumpstarter_pb2_grpc.ControllerServiceServicer)
        jumpstarter_pb2_grpc.add_ControllerServiceServicer_to_server(controller, server)
        router_pb2_grpc.add_RouterServiceServicer_to_server(fake, server)
        await server.start()
        _write_client(directory, fake.endpoint, certificate)
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                break
        await server.stop(0)


def _with_all(fake: _FakeController, service: type) -> Any:
    """Return the controller with the methods that it lacks from a service's base class."""
    methods = {name: getattr(fake, name) for name in dir(fake) if name[0].isupper()}
    return type("Service", (service,), methods)()


def _write_client(directory: Path, endpoint: str, certificate: bytes) -> None:
    config = {
        "apiVersion": "jumpstarter.dev/v1alpha1",
        "kind": "ClientConfig",
        "metadata": {"namespace": "default", "name": "tester"},
        "endpoint": endpoint,
        "token": TOKEN,
        "tls": {"ca": b64encode(certificate).decode()},
        "drivers": {"allow": ["jumpstarter_driver_*"]},
    }
    part = directory / "client.part"
    part.write_text(json.dumps(config))
    part.replace(directory / "client.yaml")


def _certificate() -> tuple[bytes, bytes]:
    """Return a key and a certificate for loopback, in PEM."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "controller")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)


def main() -> None:
    """Be an exporter or a controller."""
    import anyio

    what, *arguments = sys.argv[1:]
    if what == "exporter":
        anyio.run(partial(_export, *arguments))
    else:
        anyio.run(_control, Path(arguments[0]), arguments[1:])


if __name__ == "__main__":
    main()
