"""No credential of an exporter, or of what is behind it, shows up anywhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import exporters
import leaks
import servers
from credentials import with_login
from talkative import ALL, remote

if TYPE_CHECKING:
    from pathlib import Path

    from runs import Suite

pytestmark = exporters.needs_jumpstarter

PASSPHRASE, WRONG = leaks.word(), leaks.word()


@pytest.mark.parametrize("wrong", [False, True])
def test_an_exporter_behind_a_passphrase(suite: Suite, tmp_path: Path, *, wrong: bool) -> None:
    file = exporters.exporter_file(
        tmp_path / "board.yaml", {"storage": exporters.opendal(tmp_path / "root")}
    )
    one = remote(suite, {"passphrase": PASSPHRASE, "wrong": WRONG}, {})
    with exporters.exporter(file, PASSPHRASE) as running:
        given = {"JMP_GRPC_PASSPHRASE": WRONG} if wrong else {}
        code, text = one.run(*ALL, "--full-trace", **running.environment | given)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert (" passed" in text) is not wrong
    assert one.leaked(text) == []


@pytest.mark.parametrize("gone", [False, True])
def test_a_lease_got_with_a_token(suite: Suite, tmp_path: Path, *, gone: bool) -> None:
    file = exporters.exporter_file(
        tmp_path / "board.yaml", {"storage": exporters.opendal(tmp_path / "root")}
    )
    with exporters.controller(tmp_path / "controller", file) as running:
        client = running.client
        if gone:
            config = json.loads(client.read_text()) | {"endpoint": "127.0.0.1:9"}
            client = tmp_path / "gone.yaml"
            client.write_text(json.dumps(config))
        way = {"client": str(client), "selector": "board=rpi4", "acquisition_timeout": 5}
        one = remote(suite, {"token": exporters.TOKEN}, way)
        code, text = one.run(*ALL, "--full-trace")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert (" passed" in text) is not gone
    assert one.leaked(text) == []


def test_an_exporter_served_here(
    suite: Suite, seaweedfs: servers.SeaweedFS, tmp_path: Path
) -> None:
    """Its drivers have credentials, and one of them a login in the address of a server that is gone."""
    login = leaks.word()
    with servers.refused() as address:
        gone = {"endpoint": with_login(f"http://{address}", login)}
        tree = {
            name: {"type": exporters.OPENDAL, "config": {"scheme": scheme, "kwargs": kwargs}}
            for name, scheme, kwargs in (
                ("s3", "s3", seaweedfs.kwargs),
                ("gone", "webdav", gone),
            )
        }
        file = exporters.exporter_file(tmp_path / "board.yaml", tree)
        credentials = {
            "login": login,
            "access_key_id": seaweedfs.access_key_id,
            "secret_access_key": seaweedfs.secret_access_key,
        }
        ways = {name: {"exporter_config": str(file), "driver": name} for name in tree}
        one = remote(suite, credentials, **ways)
        code, text = one.run(*ALL, "--full-trace")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert " passed" in text
    assert one.leaked(text) == []
