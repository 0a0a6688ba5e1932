"""Importing Jumpstarter without a trace in the process of the user's tests."""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERBOSITY = "GRPC_VERBOSITY"


@contextmanager
def calm() -> Iterator[None]:
    """Keep the filters of warnings as they are, and gRPC from writing to stderr."""
    was = os.environ.get(_VERBOSITY)
    # Read once, at gRPC's import. It tells of each connection that a stopped server ends.
    os.environ.setdefault(_VERBOSITY, "ERROR")
    try:
        with warnings.catch_warnings():
            # The OpenDAL driver adds a filter for good; and what its imports deprecate is not ours.
            warnings.simplefilter("ignore")
            yield
    finally:
        if was is None:
            del os.environ[_VERBOSITY]
