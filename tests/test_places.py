"""Where a storage is, told without a credential; and relative names of local files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_opendal.places import (
    HIDDEN,
    absolute,
    absolute_kwargs,
    is_told,
    location,
    place,
    public_address,
)


@pytest.mark.parametrize(
    ("scheme", "kwargs", "expected"),
    [
        ("fs", {"root": "/srv/lab"}, "/srv/lab"),
        ("redb", {"datadir": "/srv/db", "root": "x"}, "/srv/db"),
        ("memory", {}, "memory://"),
        ("memory", {"root": "/a"}, "memory://a"),
        (
            "s3",
            {"endpoint": "http://127.0.0.1:9000", "bucket": "lab", "root": "/a/b/"},
            "http://127.0.0.1:9000/lab/a/b",
        ),
        ("s3", {"bucket": "lab", "region": "us-east-1"}, "s3://lab"),
        ("s3", {"bucket_name": "lab", "aws_endpoint_url": "http://h"}, "http://h/lab"),
        ("azblob", {"endpoint": "http://h:1/account", "container": "c"}, "http://h:1/account/c"),
        (
            "redis",
            {"endpoint": "redis://:pw@127.0.0.1:6379", "db": "2"},
            "redis://127.0.0.1:6379/2",
        ),
        (
            "sftp",
            {"endpoint": "127.0.0.1:22", "user": "u", "root": "/up"},
            "sftp://127.0.0.1:22/up",
        ),
        (
            "postgresql",
            {"connection_string": "postgresql://u:pw@h/db", "table": "t"},
            "postgresql://t",
        ),
    ],
)
def test_a_location_reads_like_an_address(
    scheme: str, kwargs: dict[str, str], expected: str
) -> None:
    assert location(scheme, kwargs) == expected


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:pw@host:1/x", "https://host:1/x"),
        ("user:pw@host", "host"),
        ("https://host/x?sig=pw#pw", "https://host/x"),
        ("https://[::1]:9/x", "https://[::1]:9/x"),
        ("a:1,b:2", "a:1,b:2"),
        ("redis://u:pw@a:1,redis://u:pw@b:2", "redis://a:1,redis://b:2"),
        ("redis://u:p@pw@host", "redis://host"),
        ("redis://u:pw/pw@host", HIDDEN),
        ("redis://u:pw?pw@host", HIDDEN),
        ("redis://u:pw#pw@host", HIDDEN),
        ("redis://u:pw,pw@host", HIDDEN),
        ("AccountName=a;AccountKey=pw", HIDDEN),
        ("http://ho st/pw", HIDDEN),
    ],
)
def test_an_address_loses_userinfo_and_query_and_is_hidden_when_it_is_unclear(
    address: str, shown: str
) -> None:
    assert public_address(address) == shown


def test_only_keys_that_name_a_place_are_told() -> None:
    secrets = {"access_key_id", "secret_access_key", "password", "user", "token"}
    secrets |= {
        "account_name",
        "account_key",
        "sas_token",
        "credential",
        "username",
        "client_secret",
    }
    kwargs = dict.fromkeys(secrets, "hunter2") | {"root": "/r", "bucket": "b"}
    assert place(kwargs) == {"bucket": "b", "root": "/r"}


def test_other_spellings_of_a_key_are_the_same_place() -> None:
    assert place({"bucket_name": "b", "endpoint_url": "http://h"}) == place(
        {"bucket": "b", "endpoint": "http://h"}
    )


def test_a_relative_name_is_below_the_configuration_file() -> None:
    assert absolute("a/../b/", Path("/etc/lab")) == "/etc/lab/b"
    assert absolute("/srv/x/", Path("/etc/lab")) == "/srv/x"


def test_a_tilde_is_the_home_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/lab")
    assert absolute("~/x", Path("/etc")) == "/home/lab/x"
    assert absolute("~no-such-user/x", Path("/etc")) == "/etc/~no-such-user/x"


def test_only_names_of_local_files_are_made_absolute() -> None:
    assert absolute_kwargs("s3", {"root": "a"}, Path("/etc")) == {"root": "a"}
    assert absolute_kwargs("sftp", {"root": "a", "key": "id"}, Path("/etc")) == {
        "root": "a",
        "key": "/etc/id",
    }


@pytest.mark.parametrize(
    ("scheme", "kwargs", "told"),
    [
        ("fs", {"root": "/srv"}, True),
        ("s3", {"bucket": "b"}, True),
        ("webdav", {"endpoint": "http://h:1"}, True),
        ("webdav", {"endpoint": "http://u:p/w@h:1"}, False),
        ("redis", {"cluster_endpoints": "a:1,u:p/w@b:2"}, False),
        ("azblob", {"container": "c", "connection_string": "AccountKey=hunter2"}, False),
        ("gdrive", {"root": "/r", "access_token": "hunter2"}, False),
    ],
)
def test_a_place_that_only_a_credential_names_is_not_told(
    scheme: str, kwargs: dict[str, str], told: bool
) -> None:
    assert is_told({"scheme": scheme} | place(kwargs)) == told
    assert "hunter2" not in str(place(kwargs))
