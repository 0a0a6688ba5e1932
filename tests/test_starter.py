"""What `pytest-opendal init` writes is a configuration, also with every comment in it made a key."""

from __future__ import annotations

import importlib.metadata
import re
from typing import TYPE_CHECKING

import pytest

from pytest_opendal import config
from pytest_opendal.backends import known
from pytest_opendal.starter import JUMPSTARTER, starter

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_opendal.settings import StorageSettings

IS_045 = importlib.metadata.version("opendal").startswith("0.45.")
BUILT_IN = [
    scheme
    for scheme in sorted(known.known_schemes() or ())
    if all(problem.key is not None for problem in known.check_service(scheme, {}))
]


def _loaded(directory: Path, text: str) -> StorageSettings:
    file = directory / "lab.yaml"
    file.write_text(text, encoding="utf-8")
    environment = dict.fromkeys(re.findall(r"\$\{env:(\w+)\}", text), "x")
    return config.load(file, environment, known.check_service).storage()


@pytest.mark.parametrize("scheme", [*BUILT_IN, JUMPSTARTER])
def test_what_is_written_is_a_configuration(scheme: str, tmp_path: Path) -> None:
    settings = _loaded(tmp_path, starter(scheme, "lab.yaml"))

    assert settings.scheme == (None if scheme == JUMPSTARTER else scheme)
    assert settings.retention == "failed"


@pytest.mark.parametrize("scheme", BUILT_IN)
def test_each_comment_is_a_key_that_may_be_used(scheme: str, tmp_path: Path) -> None:
    text = re.sub(
        r"^( *)# ([a-z0-9_]+: \S+)$", r"\1\2", starter(scheme, "lab.yaml"), flags=re.MULTILINE
    )

    settings = _loaded(tmp_path, text)

    listed = known.known_keys(scheme) or {}
    assert settings.kwargs.keys() <= listed.keys()
    assert settings.protect == ("boot/**",)
    if IS_045:
        assert settings.kwargs.keys() == listed.keys()


def test_what_the_service_needs_is_filled_in_first(tmp_path: Path) -> None:
    text = starter("s3", "lab.yaml")

    assert list(_loaded(tmp_path, text).kwargs) == ["bucket", "region"]
    assert text.index("  bucket:") < text.index("# endpoint:") < text.index("# secret_access_key:")


def test_credentials_come_from_the_environment() -> None:
    text = starter("webdav", "lab.yaml")

    assert '  # password: "${env:OPENDAL_WEBDAV_PASSWORD}"\n' in text


@pytest.mark.skipif(IS_045, reason="opendal 0.45 tells nothing of its keys")
def test_a_key_is_explained_in_the_words_of_opendal() -> None:
    text = starter("s3", "lab.yaml")

    assert "  # Enable virtual host style so that" in text
    assert "Deprecated" not in text
    assert "aws_region" not in text


def test_no_line_is_wider_than_an_editor() -> None:
    """But for names that are."""
    for scheme in (*BUILT_IN, JUMPSTARTER):
        words = [line for line in starter(scheme, "lab.yaml").splitlines() if line.count(" ") > 6]
        assert max(map(len, words)) <= 92


def test_it_says_how_to_go_on() -> None:
    assert "pytest-opendal check ci/lab.yaml\n" in starter("fs", "ci/lab.yaml")
