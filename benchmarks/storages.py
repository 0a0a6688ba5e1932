"""Storages as a test gets them, and the plain clients beside them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_opendal.config import from_mapping
from pytest_opendal.process import Process
from pytest_opendal.run import Held, Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_opendal.storage import Storage

    import servers


@contextmanager
def a_run(place: Path, entry: Mapping[str, Any]) -> Iterator[tuple[Run, Any]]:
    """Yield the storages of a process, and the settings of the one that ``entry`` configures."""
    lab = from_mapping(
        {"storages": {"lab": dict(entry)}}, source="bench", base=place, environ=os.environ
    )
    run = Run(Process.new(), place / "journals")
    try:
        yield run, lab.storage("lab")
    finally:
        run.close()


@contextmanager
def our_storage(place: Path, entry: Mapping[str, Any]) -> Iterator[Storage]:
    """Yield a storage as a test gets it."""
    with a_run(place, {"retention": "all", **entry}) as (run, settings):
        yield run.open(settings, "bench").storage


def s3_entry(server: servers.S3, **more: str) -> dict[str, Any]:
    """Return how a configuration names a bucket; ``more`` are other keys of opendal."""
    return {"scheme": "s3", "kwargs": server.kwargs | more}


def boto3_client(server: servers.S3, endpoint: str | None = None) -> Any:
    """Return a client of the same bucket."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=endpoint or server.endpoint,
        region_name=server.region,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
    )


def end(run: Run, held: Held) -> None:
    """End a storage object as its fixture does, and insist that nothing is left."""
    note = run.end(held, None)
    if note.leftovers:
        raise RuntimeError(f"left behind: {note.leftovers[:3]}")
