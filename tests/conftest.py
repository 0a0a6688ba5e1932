"""Fixtures for the whole suite: real servers, each started by the first test that asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import servers

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["pytester", "contract", "runs"]


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.SeaweedFS]:
    """An S3 server that checks signatures; one per worker."""
    with servers.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3]:
    """A second S3 dialect, which checks no signatures; one per worker."""
    with servers.moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def wsgidav(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.WebDAV]:
    """A WebDAV share behind a password; one per worker."""
    with servers.wsgidav(tmp_path_factory.mktemp("wsgidav")) as server:
        yield server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Redis]:
    """A Redis store behind a password; one per worker."""
    with servers.redis(tmp_path_factory.mktemp("redis")) as server:
        yield server
