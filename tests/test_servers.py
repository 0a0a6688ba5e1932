"""The servers that the other tests trust: each one answers, and refuses what it should."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import opendal
import opendal.exceptions
import pytest

import servers

CONTENT = b"content"


async def write_and_read(scheme: str, kwargs: dict[str, str], path: str = "greeting") -> bytes:
    operator = opendal.AsyncOperator(scheme, **kwargs)
    await operator.write(path, CONTENT)
    return bytes(await operator.read(path))


async def read(scheme: str, kwargs: dict[str, str], path: str) -> bytes:
    return bytes(await opendal.AsyncOperator(scheme, **kwargs).read(path))


def run_beside_seaweedfs(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, servers.__file__, "seaweedfs", "--", *command],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_seaweedfs_takes_and_gives_back(seaweedfs: servers.SeaweedFS) -> None:
    """An object written with the full identity can be read."""
    assert asyncio.run(write_and_read("s3", seaweedfs.kwargs)) == CONTENT


def test_seaweedfs_refuses_a_wrong_secret(seaweedfs: servers.SeaweedFS) -> None:
    """Signatures are checked."""
    forged = seaweedfs.kwargs | {"secret_access_key": "wrong"}
    with pytest.raises(opendal.exceptions.PermissionDenied):
        asyncio.run(write_and_read("s3", forged))


def test_seaweedfs_readonly_identity_reads_but_cannot_write(seaweedfs: servers.SeaweedFS) -> None:
    """Policies are checked."""
    asyncio.run(write_and_read("s3", seaweedfs.kwargs, "shared"))
    assert asyncio.run(read("s3", seaweedfs.readonly_kwargs, "shared")) == CONTENT
    with pytest.raises(opendal.exceptions.PermissionDenied):
        asyncio.run(write_and_read("s3", seaweedfs.readonly_kwargs, "shared"))


def test_seaweedfs_has_no_bucket_but_its_own(seaweedfs: servers.SeaweedFS) -> None:
    """A write to a missing bucket does not create it."""
    elsewhere = seaweedfs.kwargs | {"bucket": "missing"}
    with pytest.raises((opendal.exceptions.NotFound, opendal.exceptions.PermissionDenied)):
        asyncio.run(write_and_read("s3", elsewhere))


def test_seaweedfs_leaves_no_process_and_no_socket(tmp_path: Path) -> None:
    """What the server opened is gone when its context ends."""
    with servers.seaweedfs(tmp_path) as server:
        port = int(server.endpoint.rpartition(":")[2])
        sockets = f"seaweedfs-*-grpc-{port + servers.GRPC_OFFSET}.sock"
        assert list(Path("/tmp").glob(sockets))  # noqa: S108 - the server's own choice
    assert not list(Path("/tmp").glob(sockets))  # noqa: S108
    with pytest.raises(opendal.exceptions.Unexpected):
        asyncio.run(read("s3", server.kwargs, "greeting"))


def test_moto_takes_and_gives_back(moto: servers.S3) -> None:
    """The second S3 dialect has its bucket from the start."""
    assert asyncio.run(write_and_read("s3", moto.kwargs)) == CONTENT


def test_wsgidav_stores_in_its_directory(wsgidav: servers.WebDAV) -> None:
    """What is written over WebDAV is a file of the served directory."""
    assert asyncio.run(write_and_read("webdav", wsgidav.kwargs, "a/greeting")) == CONTENT
    assert (wsgidav.directory / "a" / "greeting").read_bytes() == CONTENT


def test_wsgidav_refuses_a_wrong_password(wsgidav: servers.WebDAV) -> None:
    """The share is not open to everybody; OpenDAL has no kind for a 401 from WebDAV."""
    with pytest.raises(opendal.exceptions.Unexpected, match="401"):
        asyncio.run(write_and_read("webdav", wsgidav.kwargs | {"password": "wrong"}))


def test_redis_takes_and_gives_back(redis: servers.Redis) -> None:
    """A value that was set can be got."""
    assert asyncio.run(write_and_read("redis", redis.kwargs)) == CONTENT


def test_redis_refuses_a_wrong_password(redis: servers.Redis) -> None:
    """The store is not open to everybody; asked directly, since OpenDAL tries for eight seconds."""
    port = int(redis.endpoint.rpartition(":")[2])
    assert servers._redis_pongs(port, redis.password)
    assert not servers._redis_pongs(port, "wrong")


def test_black_hole_takes_connections_and_never_answers() -> None:
    """A client is connected, and waits."""
    with servers.black_hole() as address:
        kwargs = servers.S3(f"http://{address}", "test", "us-east-1", "key", "secret").kwargs
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(read("s3", kwargs, "greeting"), 0.5))


def test_refused_refuses_at_once() -> None:
    """A client learns that nobody listens, and does not wait."""
    with servers.refused() as address:
        kwargs = servers.S3(f"http://{address}", "test", "us-east-1", "key", "secret").kwargs
        start = time.monotonic()
        with pytest.raises(opendal.exceptions.Unexpected):
            asyncio.run(asyncio.wait_for(read("s3", kwargs, "greeting"), 30))
        assert time.monotonic() - start < 5


def test_reserved_ports_are_never_given_twice() -> None:
    """Two that start servers at the same time get different ports."""
    with servers.reserved_ports(20) as ours, servers.reserved_ports(20) as theirs:
        assert len({*ours, *theirs}) == 40


def test_a_server_that_cannot_start_shows_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken server fails the run with what it said, and is never skipped."""
    broken = tmp_path / "weed"
    broken.write_text("#!/bin/sh\necho the disk is on fire\nexit 3\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(servers, "_script", lambda _name: str(broken))
    with (
        pytest.raises(RuntimeError, match=r"weed ended with status 3(.|\n)*the disk is on fire"),
        servers.seaweedfs(tmp_path / "server"),
    ):
        pytest.fail("a server that ended was taken for ready")


def test_a_missing_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the server's command gets its name, not a skip."""
    monkeypatch.setattr(shutil, "which", lambda _name, **_options: None)
    with (
        pytest.raises(RuntimeError, match="the command redis-server is not installed"),
        servers.redis(tmp_path),
    ):
        pytest.fail("a server without a command was taken for ready")


def test_command_hands_on_the_server_and_the_exit_status() -> None:
    """`servers.py NAME -- COMMAND` ends with the command's own status."""
    names = ["LAB_ENDPOINT", "LAB_BUCKET", "LAB_REGION", "LAB_KEY", "LAB_SECRET"]
    program = f"import os; print(*(len(os.environ[name]) > 0 for name in {names})); os._exit(7)"
    result = run_beside_seaweedfs(sys.executable, "-u", "-c", program)
    assert result.stdout.split() == ["True"] * len(names), result.stderr
    assert result.returncode == 7
    assert not set(names) & set(os.environ)


def test_command_reports_a_killed_command_as_a_shell_does() -> None:
    """A command that a signal ends gives 128 and the signal's number."""
    result = run_beside_seaweedfs("sh", "-c", "kill -9 $$")
    assert result.returncode == 128 + 9, result.stderr
