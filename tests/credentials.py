"""Storages that have credentials wherever they may stand, with the credentials that must not show up."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_opendal.backends import known

import leaks

if TYPE_CHECKING:
    import servers


@dataclass
class Place:
    """A storage whose credentials stand somewhere."""

    scheme: str
    kwargs: dict[str, str]
    credentials: dict[str, str]
    keys: dict[str, Any] = field(default_factory=dict)
    """Further keys of the storage."""

    def entry(self, name: str, *, environment: bool) -> dict[str, Any]:
        """Return the entry of a configuration, with values from variables where asked for."""
        kwargs = self.kwargs
        if environment:
            kwargs = {key: f"${{env:{variable(name, key)}}}" for key in kwargs}
        return {"scheme": self.scheme, "kwargs": kwargs, "timeout": 10, **self.keys}


def variable(name: str, key: str) -> str:
    return f"LAB_{name}_{key}".upper().replace("-", "_")


def with_login(address: str, password: str, user: str = "lab") -> str:
    start, _, end = address.partition("://")
    return f"{start}://{user}:{password}@{end}"


def answering(
    s3: servers.SeaweedFS, moto: servers.S3, webdav: servers.WebDAV, redis: servers.Redis
) -> dict[str, Place]:
    """Return storages that answer, and that refuse who asks."""
    wrong, login = leaks.recognisable(), leaks.word()
    basic = b64encode(f"lab:{webdav.password}".encode()).decode()

    def bucket(server: servers.S3, **changes: str) -> Place:
        kwargs = server.kwargs | changes
        names = ("access_key_id", "secret_access_key", "session_token")
        given = {f"{key}": kwargs[key] for key in names if key in kwargs}
        return Place("s3", kwargs, given, {"isolation": "test"})

    return {
        "s3": bucket(s3),
        "moto": bucket(moto, session_token=leaks.word()),
        "s3-wrong": bucket(s3, secret_access_key=leaks.key()),
        "s3-nobody": bucket(s3, access_key_id=leaks.word(), session_token=leaks.word()),
        "s3-readonly": bucket(
            s3,
            access_key_id=s3.readonly_access_key_id,
            secret_access_key=s3.readonly_secret_access_key,
        ),
        "webdav": Place(
            "webdav",
            webdav.kwargs,
            {"password": webdav.password, "basic": basic},
            {"on_existing": "restore"},
        ),
        "webdav-wrong": Place("webdav", webdav.kwargs | {"password": wrong}, {"password": wrong}),
        "webdav-login": Place(
            "webdav",
            {"endpoint": with_login(webdav.endpoint, login)},
            {"login": login},
        ),
        "redis": Place("redis", redis.kwargs, {"password": redis.password}),
        "redis-wrong": Place("redis", redis.kwargs | {"password": wrong}, {"password": wrong}),
        "redis-login": Place(
            "redis",
            {"endpoint": with_login(redis.endpoint, login), "password": redis.password},
            {"login": login, "password": redis.password},
        ),
    }


def silent(address: str) -> dict[str, Place]:
    """Return storages of which no server runs here, each with credentials wherever it takes them."""
    places: dict[str, Place] = {}

    def place(name: str, scheme: str, credentials: dict[str, str], **kwargs: str) -> None:
        keys = {"timeout": 1, "retries": 0}
        places[name] = Place(
            scheme,
            kwargs | {k: v for k, v in credentials.items() if not k.startswith("_")},
            credentials,
            keys,
        )

    http, word, key, odd = f"http://{address}", leaks.word, leaks.key, leaks.recognisable
    place(
        "azblob-key",
        "azblob",
        {"account_key": key()},
        container="c",
        endpoint=http,
        account_name="lab",
    )
    place("azblob-sas", "azblob", {"sas_token": f"sv=1&sig={word()}"}, container="c", endpoint=http)
    place(
        "azfile-sas",
        "azfile",
        {"sas_token": f"sig={word()}"},
        share_name="c",
        endpoint=http,
        account_name="lab",
    )
    place("azdls-sas", "azdls", {"sas_token": f"sig={word()}"}, filesystem="c", endpoint=http)
    place("gcs", "gcs", {"token": word()}, bucket="b", endpoint=http)
    place("gcs-credential", "gcs", {"credential": key()}, bucket="b", endpoint=http)
    for scheme in ("http", "webdav", "ipfs", "alluxio", "s3", "webhdfs", "swift", "ipmfs"):
        login = word()
        more = {"bucket": "b", "region": "r"} if scheme == "s3" else {}
        more |= {"container": "c", "token": word()} if scheme == "swift" else {}
        more |= {"root": "/ipfs/x"} if scheme == "ipfs" else {}
        place(
            f"{scheme}-login", scheme, {"_login": login}, endpoint=with_login(http, login), **more
        )
        odd_login = f"{word()}@/?#{word()}"
        place(
            f"{scheme}-odd",
            scheme,
            {"_login": odd_login},
            endpoint=with_login(http, odd_login),
            **more,
        )
    place("http-token", "http", {"token": odd()}, endpoint=http)
    place("webdav-token", "webdav", {"token": word()}, endpoint=http)
    place("webhdfs", "webhdfs", {"delegation": word()}, endpoint=http, user_name="lab")
    place("ftp", "ftp", {"password": odd()}, endpoint=f"ftp://{address}", user="lab")
    login = word()
    place("sftp", "sftp", {"_login": login}, endpoint=f"ssh://lab:{login}@{address}", user="lab")
    for scheme in ("mongodb", "postgresql", "mysql"):
        login = word()
        text = f"{scheme}://lab:{login}@{address}/d?serverSelectionTimeoutMS=200"
        more = {"database": "d", "collection": "c"} if scheme == "mongodb" else {"table": "t"}
        place(scheme, scheme, {"_login": login}, connection_string=text, **more)
        login = word()
        place(
            f"{scheme}-odd",
            scheme,
            {"_login": login},
            connection_string=f"{scheme}//lab:{login}@[x",
            **more,
        )
    login = word()
    place("redis-odd", "redis", {"_login": login}, endpoint=f"redis ://lab:{login}@{address}")
    place(
        "memcached", "memcached", {"password": odd()}, endpoint=f"tcp://{address}", username="lab"
    )
    place(
        "oss",
        "oss",
        {"access_key_id": word(), "access_key_secret": odd()},
        bucket="b",
        endpoint=http,
    )
    place("cos", "cos", {"secret_id": word(), "secret_key": odd()}, bucket="b", endpoint=http)
    place(
        "obs",
        "obs",
        {"access_key_id": word(), "secret_access_key": odd()},
        bucket="b",
        endpoint=http,
    )
    place(
        "b2",
        "b2",
        {"application_key_id": word(), "application_key": odd()},
        bucket="b",
        bucket_id="i",
    )
    place("dropbox", "dropbox", {"access_token": word()})
    place("gdrive", "gdrive", {"access_token": word()})
    place("onedrive", "onedrive", {"access_token": word()})
    place("seafile", "seafile", {"password": odd()}, endpoint=http, username="lab", repo_name="r")
    place("koofr", "koofr", {"password": odd()}, endpoint=http, email="lab")
    place("upyun", "upyun", {"password": odd()}, bucket="b", operator="o")
    return places


def built_in(places: dict[str, Place]) -> dict[str, Place]:
    """Return the places whose service is compiled into the installed opendal, as far as it tells."""
    return {
        name: place
        for name, place in places.items()
        if not any(problem.key is None for problem in known.check_service(place.scheme, {}))
    }
