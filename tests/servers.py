"""Real servers on loopback: each a context manager that yields what a storage's kwargs need.

Also a command, which starts a server, runs another command beside it and returns its exit status:

    python tests/servers.py seaweedfs -- pytest examples --opendal-config=examples/s3.yaml
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import opendal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

HOST = "127.0.0.1"
REGION = "us-east-1"
BUCKET = "test"
START_SECONDS = 60
STOP_SECONDS = 10
POLL_SECONDS = 0.02
# SeaweedFS adds this to each of its ports for gRPC.
GRPC_OFFSET = 10_000
# Below the range from which Linux takes the ports of outgoing connections, with the offset too.
PORTS = range(10_240, 22_000)


@dataclass(frozen=True)
class S3:
    """A bucket behind an S3 endpoint, and who may use it."""

    endpoint: str
    bucket: str
    region: str
    access_key_id: str
    secret_access_key: str

    @property
    def kwargs(self) -> dict[str, str]:
        """The kwargs of an OpenDAL s3 operator, deaf to the AWS settings of this machine."""
        return {
            "endpoint": self.endpoint,
            "bucket": self.bucket,
            "region": self.region,
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
            "disable_config_load": "true",
            "disable_ec2_metadata": "true",
        }

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the configurations in `examples/` read."""
        return {
            "LAB_ENDPOINT": self.endpoint,
            "LAB_BUCKET": self.bucket,
            "LAB_REGION": self.region,
            "LAB_KEY": self.access_key_id,
            "LAB_SECRET": self.secret_access_key,
        }


@dataclass(frozen=True)
class SeaweedFS(S3):
    """An S3 server that checks signatures, expiry and policies."""

    readonly_access_key_id: str
    readonly_secret_access_key: str

    @property
    def readonly_kwargs(self) -> dict[str, str]:
        """The same bucket for an identity that may read and list, and nothing else."""
        return self.kwargs | {
            "access_key_id": self.readonly_access_key_id,
            "secret_access_key": self.readonly_secret_access_key,
        }


@dataclass(frozen=True)
class WebDAV:
    """A WebDAV share that asks for a user and password, and the directory it serves."""

    endpoint: str
    username: str
    password: str
    directory: Path

    @property
    def kwargs(self) -> dict[str, str]:
        """The kwargs of an OpenDAL webdav operator."""
        return {
            "endpoint": self.endpoint,
            "username": self.username,
            "password": self.password,
        }


@dataclass(frozen=True)
class Redis:
    """A Redis server that asks for a password."""

    endpoint: str
    password: str

    @property
    def kwargs(self) -> dict[str, str]:
        """The kwargs of an OpenDAL redis operator."""
        return {"endpoint": self.endpoint, "password": self.password}


@contextlib.contextmanager
def seaweedfs(directory: Path) -> Iterator[SeaweedFS]:
    """Serve an S3 bucket from `directory`."""
    with reserved_ports(5) as ports:
        s3_port = ports[0]
        server = SeaweedFS(
            endpoint=f"http://{HOST}:{s3_port}",
            bucket=BUCKET,
            region=REGION,
            access_key_id=f"FULL{secrets.token_hex(8).upper()}",
            secret_access_key=secrets.token_urlsafe(24),
            readonly_access_key_id=f"READ{secrets.token_hex(8).upper()}",
            readonly_secret_access_key=secrets.token_urlsafe(24),
        )
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "s3.json").write_text(json.dumps(_identities(server)), encoding="utf-8")
        # Its graceful end takes three seconds and saves only what is thrown away.
        with (
            _seaweedfs_sockets(ports),
            _process(
                "weed",
                _seaweedfs_command(ports),
                directory,
                lambda: _status(s3_port, "GET", "/healthz") == 200 and _takes_a_put(server),
                stop_signal=signal.SIGKILL,
            ),
        ):
            yield server


@contextlib.contextmanager
def moto(directory: Path) -> Iterator[S3]:
    """Serve an S3 bucket from memory, by a server that checks neither signatures nor expiry."""
    with reserved_ports(1) as (port,):
        server = S3(
            endpoint=f"http://{HOST}:{port}",
            bucket=BUCKET,
            region=REGION,
            access_key_id=f"MOTO{secrets.token_hex(8).upper()}",
            secret_access_key=secrets.token_urlsafe(24),
        )
        command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
        with _process(
            "moto", command, directory, lambda: _status(port, "PUT", f"/{BUCKET}") == 200
        ):
            yield server


@contextlib.contextmanager
def wsgidav(directory: Path) -> Iterator[WebDAV]:
    """Serve a WebDAV share from `directory / "share"`."""
    with reserved_ports(1) as (port,):
        server = WebDAV(
            endpoint=f"http://{HOST}:{port}",
            username="lab",
            password=secrets.token_urlsafe(24),
            directory=directory / "share",
        )
        server.directory.mkdir(parents=True)
        config = directory / "wsgidav.json"
        config.write_text(json.dumps(_wsgidav_config(server, port)), encoding="utf-8")
        command = [_script("wsgidav"), "--config", str(config)]
        login = b64encode(f"{server.username}:{server.password}".encode()).decode()
        headers = {"Authorization": f"Basic {login}", "Depth": "0"}
        with _process(
            "wsgidav", command, directory, lambda: _status(port, "PROPFIND", "/", headers) == 207
        ):
            yield server


@contextlib.contextmanager
def redis(directory: Path) -> Iterator[Redis]:
    """Serve a Redis store from memory."""
    with reserved_ports(1) as (port,):
        server = Redis(endpoint=f"redis://{HOST}:{port}", password=secrets.token_urlsafe(24))
        options = {"bind": HOST, "port": str(port), "save": "", "requirepass": server.password}
        command = [_script("redis-server")]
        for name, value in options.items():
            command += [f"--{name}", value]
        with _process("redis", command, directory, lambda: _redis_pongs(port, server.password)):
            yield server


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """Yield the `host:port` of a server that takes connections and never answers.

    The kernel accepts what the backlog holds, so nothing here needs a thread or the GIL.
    """
    with socket.create_server((HOST, 0), backlog=128) as server:
        yield f"{HOST}:{server.getsockname()[1]}"


def silent_operator(address: str) -> Any:
    """Return an operator whose server never answers."""
    import opendal

    keys = {"bucket": "b", "region": "r", "access_key_id": "a", "secret_access_key": "b"}
    return opendal.Operator("s3", endpoint=f"http://{address}", **keys)


@contextlib.contextmanager
def refused() -> Iterator[str]:
    """Yield a `host:port` that refuses every connection: bound, so that nobody else takes it."""
    with socket.socket() as unheard:
        unheard.bind((HOST, 0))
        yield f"{HOST}:{unheard.getsockname()[1]}"


@contextlib.contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Yield free TCP ports that no other test process on this machine chooses meanwhile.

    A listening socket cannot be handed to a server, so a UDP socket on the same number stands for
    each port. It is gone with this process, however that ends.
    """
    with contextlib.ExitStack() as claims:
        yield [_reserve_port(claims) for _ in range(count)]


def _reserve_port(claims: contextlib.ExitStack) -> int:
    for port in secrets.SystemRandom().sample(PORTS, 200):
        claim = claims.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        if _binds(claim, port) and _is_free(port) and _is_free(port + GRPC_OFFSET):
            return port
    message = f"no free port among 200 of {PORTS.start}-{PORTS.stop}"
    raise RuntimeError(message)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return _binds(probe, port)


def _binds(unbound: socket.socket, port: int) -> bool:
    try:
        unbound.bind((HOST, port))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _process(
    name: str,
    command: Sequence[str],
    directory: Path,
    is_ready: Callable[[], bool],
    *,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_die_with_parent(), *command],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C in a terminal is for the tests: the server must outlive their cleanup.
            start_new_session=True,
        )
    try:
        _wait_until_ready(name, process, is_ready, log)
        yield
    finally:
        _stop(process, stop_signal)


def pid_in(directory: Path) -> int:
    """Return the process id of the server that runs in a directory."""
    for process in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if process.readlink() == directory:
                return int(process.parts[2])
    message = f"no server runs in {directory}"
    raise RuntimeError(message)


def _die_with_parent() -> list[str]:
    """Return the command prefix that ends a server when the test run is killed, where there is one.

    Linux watches the thread that starts the server, so start servers from the main thread.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def _wait_until_ready(
    name: str, process: subprocess.Popen[bytes], is_ready: Callable[[], bool], log: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        status = process.poll()
        if status is not None:
            raise RuntimeError(_failure(f"{name} ended with status {status} at its start", log))
        if time.monotonic() > deadline:
            raise RuntimeError(_failure(f"{name} is not ready after {START_SECONDS} s", log))
        time.sleep(POLL_SECONDS)


def _failure(what: str, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([f"{what}; the end of {log}:", *lines[-40:]])


def _stop(process: subprocess.Popen[bytes], stop_signal: signal.Signals) -> None:
    process.send_signal(stop_signal)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _script(name: str) -> str:
    """Return the path of a command: of this environment first, then of the machine."""
    path = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if path is None:
        message = f"the command {name} is not installed"
        raise RuntimeError(message)
    return path


def _status(
    port: int, method: str, path: str, headers: Mapping[str, str] | None = None
) -> int | None:
    """Return the status of one HTTP request, None when there was no answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request(method, path, headers=dict(headers or {}))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _seaweedfs_command(ports: Sequence[int]) -> list[str]:
    s3, master, volume, filer, admin = ports
    return [
        _script("weed"),
        "-logtostderr",
        "mini",
        "-dir=.",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        f"-s3.port={s3}",
        f"-master.port={master}",
        f"-volume.port={volume}",
        f"-filer.port={filer}",
        f"-admin.port={admin}",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        # Relative: a path below pytest's directories can be too long for a socket.
        "-s3.localSocket=s3.sock",
        "-filer.localSocket=filer.sock",
        "-s3.config=s3.json",
        f"-bucket={BUCKET}",
    ]


def _identities(server: SeaweedFS) -> dict[str, object]:
    """Scope each action to the bucket: an unscoped `Admin` would create what is missing."""
    full = _identity(
        "full",
        server.access_key_id,
        server.secret_access_key,
        ["Read", "Write", "List", "Tagging"],
    )
    readonly = _identity(
        "readonly",
        server.readonly_access_key_id,
        server.readonly_secret_access_key,
        ["Read", "List"],
    )
    return {"identities": [full, readonly]}


def _identity(name: str, key_id: str, secret: str, actions: Sequence[str]) -> dict[str, object]:
    return {
        "name": name,
        "credentials": [{"accessKey": key_id, "secretKey": secret}],
        "actions": [f"{action}:{BUCKET}" for action in actions],
    }


@contextlib.contextmanager
def _seaweedfs_sockets(ports: Sequence[int]) -> Iterator[None]:
    """Remove the gRPC sockets before and after: their paths are fixed, and a kill leaves them."""
    _unlink_seaweedfs_sockets(ports)
    try:
        yield
    finally:
        _unlink_seaweedfs_sockets(ports)


def _unlink_seaweedfs_sockets(ports: Sequence[int]) -> None:
    for part, port in zip(("s3", "master", "volume", "filer", "admin"), ports, strict=True):
        socket_file = Path(f"/tmp/seaweedfs-{part}-grpc-{port + GRPC_OFFSET}.sock")  # noqa: S108
        socket_file.unlink(missing_ok=True)


def _takes_a_put(server: S3) -> bool:
    """Tell whether the bucket takes a signed PUT, which is later than the server's own health."""
    operator = opendal.AsyncOperator("s3", **server.kwargs)

    async def put_and_delete() -> None:
        await asyncio.wait_for(operator.write("ready", b"ready"), 5)
        await asyncio.wait_for(operator.delete("ready"), 5)

    try:
        asyncio.run(put_and_delete())
    except Exception:  # noqa: BLE001 - opendal 0.47 has no base class of its errors
        return False
    return True


def _wsgidav_config(server: WebDAV, port: int) -> dict[str, object]:
    return {
        "host": HOST,
        "port": port,
        "server": "cheroot",
        "provider_mapping": {"/": str(server.directory)},
        "simple_dc": {"user_mapping": {"*": {server.username: {"password": server.password}}}},
        "http_authenticator": {
            "accept_basic": True,
            "accept_digest": False,
            "default_to_digest": False,
        },
        "logging": {"enable_loggers": []},
        "verbose": 1,
    }


def _redis_pongs(port: int, password: str) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=5) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            with connection.makefile("rb") as answers:
                return [answers.readline(), answers.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
    except OSError:
        return False


S3_SERVERS: dict[str, Callable[[Path], AbstractContextManager[S3]]] = {
    "seaweedfs": seaweedfs,
    "moto": moto,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command beside a server."""
    parser = argparse.ArgumentParser(description="Run a command beside an S3 server.")
    parser.add_argument("server", choices=S3_SERVERS)
    parser.add_argument("command", nargs="+", help="after --, with LAB_* in its environment")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="pytest-opendal-server-") as directory,
        S3_SERVERS[options.server](Path(directory)) as server,
    ):
        return _run(options.command, server.environment)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run to the end, with the signals of this process left to the command."""
    with subprocess.Popen(command, env={**os.environ, **environment}) as process:
        # Not SIG_IGN, which the command would inherit. A terminal's Ctrl-C reaches it by itself.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        status = process.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
