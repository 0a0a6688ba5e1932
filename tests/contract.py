"""Every storage that the contract suite runs on, built through the real classes without pytest's plugin."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import opendal
import pytest

from pytest_opendal import journal
from pytest_opendal.backends.local import LocalBackend
from pytest_opendal.config import from_mapping
from pytest_opendal.process import Process
from pytest_opendal.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pytest_opendal.cleanup import Reason
    from pytest_opendal.journal import Record
    from pytest_opendal.models import Capability
    from pytest_opendal.report import TestNote
    from pytest_opendal.run import Held
    from pytest_opendal.storage import Storage

IS_045 = opendal.__version__.startswith("0.45.") if hasattr(opendal, "__version__") else False
TEST = "tests/test_lab.py::test_one"

KINDS = ("fs", "memory", "seaweedfs", "moto", "wsgidav", "redis")
"""The services; moto checks no signatures and is a second dialect of S3 only."""

HIERARCHICAL = {"fs", "wsgidav"}
"""Where directories are things of their own."""

LACKS: dict[str, dict[str, str]] = {
    "memory": {"copy": "", "rename": "", "presign": "", "append": ""},
    "seaweedfs": {"rename": "", "append": ""},
    "moto": {"rename": "", "append": ""},
    "wsgidav": {"presign": "", "append": ""},
    "redis": {"list": "", "create_dir": "", "copy": "", "rename": "", "presign": "", "append": ""},
    "fs": {"presign": ""},
}
