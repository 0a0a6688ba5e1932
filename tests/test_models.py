"""What a storage answers: fields, JSON, and what stays hidden. The driver's are in test_driver_parity."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from pytest_opendal import models


class _Mode:
    def __init__(self, is_dir: bool) -> None:
        self._is_dir = is_dir

    def is_file(self) -> bool:
        return not self._is_dir

    def is_dir(self) -> bool:
        return self._is_dir


def _metadata(**fields: object) -> models.Metadata:
    raw = SimpleNamespace(content_length=7, mode=_Mode(is_dir=False), **fields)
    return models.Metadata.model_validate(raw)


def test_the_mode_tells_file_from_directory() -> None:
    file = models.EntryMode.model_validate(_Mode(is_dir=False))
    assert (file.is_file(), file.is_dir()) == (True, False)
    directory = models.EntryMode.model_validate(_Mode(is_dir=True))
    assert (directory.is_file(), directory.is_dir()) == (False, True)
    assert json.loads(directory.model_dump_json(by_alias=True)) == {
        "is_file": False,
        "is_dir": True,
    }


def test_what_is_not_reported_is_none() -> None:
    found = _metadata()
    assert found.content_length == 7
    unknown = found.model_dump(exclude={"content_length", "mode"})
    assert set(unknown.values()) == {None}
    assert "last_modified" in unknown
    assert "user_metadata" in unknown


def test_what_is_reported_is_kept() -> None:
    found = _metadata(etag='"1"', content_type="text/plain", user_metadata={"board": "rpi4"})
    assert (found.etag, found.content_type) == ('"1"', "text/plain")
    assert found.user_metadata == {"board": "rpi4"}


def test_models_come_back_from_their_json() -> None:
    found = _metadata(etag='"1"')
    assert models.Metadata.model_validate_json(found.model_dump_json()) == found
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301


def test_models_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        _metadata().content_length = 8


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "http://h:9000/b/f?X-Amz-Credential=KEYID&X-Amz-Signature=SIGNED",
            "http://h:9000/b/f?...",
        ),
        ("https://user:SIGNED@h/f?sig=SIGNED#SIGNED", "https://h/f?..."),
        ("https://h/f", "https://h/f"),
        ("http://[::1]:9000/f?sig=SIGNED", "http://[::1]:9000/f?..."),
    ],
)
def test_a_presigned_request_hides_what_signs_it(url: str, shown: str) -> None:
    request = models.PresignedRequest(url=url, method="GET", headers={"authorization": "SIGNED"})
    for text in (repr(request), str(request), f"{request!r}", repr([request])):
        assert "SIGNED" not in text
        assert "KEYID" not in text
        assert f"'{shown}'" in text
        assert "authorization" in text
    assert request.url == url
    assert request.model_dump()["url"] == url


def test_a_capability_that_nobody_reports_is_false() -> None:
    found = models.Capability.model_validate(SimpleNamespace(read=True, copy=True))
    assert found.read
    assert found.copy
    assert not found.presign_delete
    assert found.write_multi_max_size is None
    assert json.loads(found.model_dump_json())["copy"] is True
