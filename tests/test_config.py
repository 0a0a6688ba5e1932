"""The forms of a configuration, what each key means, and the text of every kind of mistake."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pytest_opendal import config
from pytest_opendal.backends.known import ServiceProblem
from pytest_opendal.config import JumpstarterSettings, Lab, StorageSettings
from pytest_opendal.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Collection

DRIVER = "jumpstarter_driver_opendal.driver.Opendal"
SECRET = "wJalrXUtnFEMI/K7MDENG"


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the names in messages short."""
    monkeypatch.chdir(tmp_path)


def _load(text: str, **environ: str) -> Lab:
    path = Path("lab.yaml")
    path.write_text(text, encoding="utf-8")
    return config.load(path, environ, _check_service)


def _one(text: str, **environ: str) -> StorageSettings:
    return _load(text, **environ).storage()


def _error(text: str, **environ: str) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        _load(text, **environ)
    return str(caught.value)


def _check_service(scheme: str, keys: Collection[str]) -> list[ServiceProblem]:
    """Know one service with two keys; any other is taken as it is."""
    if scheme in {"s4", "s3cret"}:
        return [ServiceProblem(None, "is no service; did you mean 's3'?")]
    unknown = [key for key in keys if scheme == "s3" and key not in {"bucket", "secret_access_key"}]
    return [ServiceProblem(key, "is no key of this service") for key in unknown]


class TestForms:
    """The shapes that a file may have."""

    def test_one_storage_is_called_default(self) -> None:
        lab = _load("scheme: memory\nremove_created_on_close: true\n")
        assert lab.storage().name == "default"
        assert (lab.default, lab.source, list(lab.storages)) == (None, "lab.yaml", ["default"])

    def test_several_storages_have_their_names_and_order(self) -> None:
        lab = _load("default: b\nstorages:\n  b: {scheme: memory}\n  a: {scheme: memory}\n")
        assert list(lab.storages) == ["b", "a"]
        assert lab.storage().name == "b"

    def test_names_that_yaml_takes_for_booleans_and_numbers_are_names(self) -> None:
        lab = _load("storages: {on: {scheme: memory}, 007: {scheme: memory}}\n")
        assert list(lab.storages) == ["on", "007"]

    def test_a_storage_may_share_keys_with_another_by_an_anchor(self) -> None:
        lab = _load(
            "storages:\n"
            "  a: &a {scheme: s3, kwargs: {bucket: x}, timeout: 5}\n"
            "  b: {<<: *a, timeout: 6}\n"
        )
        assert [one.timeout for one in lab.storages.values()] == [5, 6]
        assert lab.storages["b"].kwargs == {"bucket": "x"}

    def test_a_driver_instance_is_one_storage(self) -> None:
        storage = _one(
            f"type: {DRIVER}\nconfig: {{scheme: memory, remove_created_on_close: true}}\n"
        )
        assert (storage.name, storage.scheme, storage.retention) == ("default", "memory", "none")

    def test_every_opendal_entry_of_an_exporter_is_a_storage_named_by_its_path(self) -> None:
        lab = _load(
            "apiVersion: jumpstarter.dev/v1alpha1\n"
            "kind: ExporterConfig\n"
            "metadata: {namespace: default, name: demo}\n"
            "endpoint: grpc.example.com:443\n"
            "token: '${env:NOT_OURS}'\n"
            "export:\n"
            "  power: {type: jumpstarter_driver_power.driver.MockPower}\n"
            f"  files: {{type: {DRIVER}, config: {{scheme: fs, kwargs: {{root: data}}}}}}\n"
            "  alias: {ref: files}\n"
            "  dut:\n"
            "    children:\n"
            "      storage:\n"
            f"        type: {DRIVER}\n"
            "        description: the card\n"
            "        config: {scheme: memory, kwargs: {}, log_level: DEBUG}\n"
            "        children:\n"
            f"          inner: {{type: {DRIVER}, config: {{scheme: memory, kwargs: {{}}}}}}\n"
        )
        assert list(lab.storages) == ["files", "dut.storage", "dut.storage.inner"]
        assert lab.storages["files"].kwargs["root"] == str(Path.cwd() / "data")

    def test_a_driver_tree_without_a_type_at_the_top_is_searched_too(self) -> None:
        lab = _load(f"children:\n  a: {{type: {DRIVER}, config: {{scheme: memory}}}}\n")
        assert list(lab.storages) == ["a"]

    def test_the_storage_of_a_run_without_configuration_is_all_ours(self, tmp_path: Path) -> None:
        storage = config.embedded(tmp_path).storage()
        assert (storage.scheme, storage.kwargs) == ("fs", {"root": str(tmp_path)})
        assert (storage.owned_root, storage.retention) == (True, "none")

    def test_no_file_can_claim_a_root_for_us(self) -> None:
        assert "owned_root: is no key here" in _error("scheme: memory\nowned_root: true\n")


class TestKeys:
    """What each key of a storage means."""

    def test_defaults_are_those_of_the_driver(self) -> None:
        storage = _one("scheme: memory\n")
        assert storage.retention == "all"
        assert not storage.remove_created_on_close
        assert (storage.isolation, storage.on_existing, storage.protect) == ("none", "created", ())
        assert (storage.timeout, storage.retries, storage.concurrency) == (60.0, 2, 64)
        assert not storage.owned_root

    def test_scalars_become_the_text_that_opendal_takes(self) -> None:
        text = (
            "scheme: x\nkwargs: {a: true, b: 5, c: 1.50, d: 0123, e: text, f: 2024-01-01, g: ''}\n"
        )
        expected = {"a": "true", "b": "5", "c": "1.50", "d": "0123", "e": "text", "f": "2024-01-01"}
        assert _one(text).kwargs == expected | {"g": ""}

    def test_keys_and_schemes_may_be_written_in_capitals_as_opendal_allows(self) -> None:
        storage = _one("scheme: S3\nkwargs: {BUCKET: b}\n")
        assert (storage.scheme, storage.kwargs) == ("s3", {"bucket": "b"})

    @pytest.mark.parametrize(
        ("keys", "retention"),
        [
            ("", "all"),
            ("remove_created_on_close: false", "all"),
            ("remove_created_on_close: true", "none"),
            ("retention: failed", "failed"),
            ("retention: none\nremove_created_on_close: true", "none"),
            ("retention: all\nremove_created_on_close: false", "all"),
        ],
    )
    def test_retention_is_the_general_form_of_the_drivers_key(
        self, keys: str, retention: str
    ) -> None:
        storage = _one(f"scheme: memory\n{keys}\n")
        assert storage.retention == retention
        assert storage.remove_created_on_close is (retention == "none")

    @pytest.mark.parametrize(
        ("written", "seconds"),
        [("5", 5), ("0.5", 0.5), ("'30m'", 1800), ("1h30m", 5400), ("2d", 172800), ("'7'", 7)],
    )
    def test_times_are_seconds_or_a_text_with_units(self, written: str, seconds: float) -> None:
        assert _one(f"scheme: memory\ntimeout: {written}\n").timeout == seconds

    def test_one_protected_glob_needs_no_list(self) -> None:
        assert _one("scheme: memory\nprotect: boot/**\n").protect == ("boot/**",)
        assert _one("scheme: memory\nprotect: [a, b]\n").protect == ("a", "b")

    def test_relative_paths_are_below_the_directory_of_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc" / "lab.yaml").write_text(
            "storages:\n"
            "  a: {scheme: fs, kwargs: {root: data}}\n"
            "  b: {scheme: file, kwargs: {root: ../data}}\n"
            "  c: {jumpstarter: {exporter_config: exporter.yaml}}\n"
            "  d: {jumpstarter: {selector: x=y, client: ./client.yaml}}\n"
            "  e: {jumpstarter: {selector: x=y, client: lab}}\n"
        )
        lab = config.load(Path("etc/lab.yaml"), {})
        assert lab.storages["a"].kwargs["root"] == str(tmp_path / "etc" / "data")
        assert lab.storages["b"].kwargs["root"] == str(tmp_path / "data")
        exporters = [lab.storages[name].jumpstarter for name in "cde"]
        assert exporters[0].exporter_config == str(tmp_path / "etc" / "exporter.yaml")  # type: ignore[union-attr]
        assert exporters[1].client == str(tmp_path / "etc" / "client.yaml")  # type: ignore[union-attr]
        assert exporters[2].client == "lab"  # type: ignore[union-attr]

    def test_an_exporter_needs_no_key_at_all_inside_jmp_shell(self) -> None:
        storage = _one("jumpstarter: {}\n")
        assert storage.jumpstarter == JumpstarterSettings()
        assert not storage.jumpstarter.needs_lease
        assert storage.jumpstarter.acquisition_timeout == 300

    def test_a_lease_has_its_own_keys(self) -> None:
        storage = _one(
            "jumpstarter: {driver: dut.storage, exporter_name: rig-1, client: lab, duration: 30m,"
            " acquisition_timeout: 10, lease: worker}\n"
        )
        assert storage.jumpstarter == JumpstarterSettings(
            driver="dut.storage",
            exporter_name="rig-1",
            client="lab",
            duration=1800,
            acquisition_timeout=10,
            lease="worker",
        )
        assert storage.jumpstarter.needs_lease


class TestVariables:
    """``${env:NAME}`` in a file."""

    def test_they_are_replaced_in_every_string(self) -> None:
        lab = _load(
            "default: '${env:NAME}'\n"
            "storages:\n"
            "  a: {scheme: '${env:S:-memory}', isolation: '${env:I}', timeout: '${env:T:-5}',\n"
            "      remove_created_on_close: '${env:R}', protect: ['${env:P}/**'],\n"
            "      kwargs: {k: 'a${env:S:-b}c'}}\n",
            NAME="a",
            I="test",
            R="true",
            P="boot",
        )
        storage = lab.storage()
        assert (storage.scheme, storage.isolation, storage.timeout) == ("memory", "test", 5)
        assert (storage.retention, storage.protect) == ("none", ("boot/**",))
        assert storage.kwargs == {"k": "abc"}

    def test_an_unset_one_is_named_with_its_place(self) -> None:
        text = "scheme: s3\nkwargs:\n  bucket: b\n  secret_access_key: ${env:LAB_SECRET}\n"
        assert _error(text) == (
            "lab.yaml:4: kwargs.secret_access_key: environment variable LAB_SECRET is not set; "
            "set it, or write ${env:LAB_SECRET:-default}"
        )

    @pytest.mark.parametrize(
        "text",
        [
            "scheme: '${env:S}'\n",
            "scheme: s3\nkwargs: {bucket: '${env:S}', buckett: '${env:S}'}\n",
            "scheme: memory\nretention: '${env:S}'\n",
            "scheme: memory\ntimeout: '${env:S}'\n",
            "scheme: memory\nconcurrency: '${env:S}'\n",
            "scheme: memory\nremove_created_on_close: '${env:S}'\n",
            "default: '${env:S}'\nstorages: {a: {scheme: memory}}\n",
            "jumpstarter: {lease: '${env:S}', driver: '..${env:S}'}\n",
            "scheme: memory\nkwargs: '${env:S}'\n",
        ],
    )
    def test_what_replaced_one_is_in_no_message(self, text: str) -> None:
        assert "s3cret" not in _error(text, S="s3cret")


NO_TIME = 'is no time; write seconds above 0 such as 60, or a text such as "30m"'
CONTRADICTION = "contradicts remove_created_on_close (true is none, false is all); keep one"
TWO_WAYS = "contradicts scheme and kwargs, which the exporter knows; keep one of them"
MISTAKES = [
    ("- a\n", "1: is a list; write a mapping with `scheme:` or `storages:`"),
    ("hello\n", "1: is text; write a mapping with `scheme:` or `storages:`"),
    ("{}\n", "1: is an empty mapping; write a mapping with `scheme:` or `storages:`"),
    (
        "kwargs: {}\n",
        "1: scheme: is missing; name an OpenDAL service such as fs or s3, or write `jumpstarter:`",
    ),
    (
        "scheme: memory\nisolatoin: test\n",
        "2: isolatoin: is no key here; did you mean 'isolation'?",
    ),
    (
        "scheme: memory\nretention: fialed\n",
        "2: retention: 'fialed' is not 'none', 'failed' or 'all'",
    ),
    (
        "scheme: memory\nisolation: [test]\n",
        "2: isolation: the value is not 'none', 'worker' or 'test'",
    ),
    (
        "scheme: memory\nretention: all\nremove_created_on_close: true\n",
        f"2: retention: {CONTRADICTION}",
    ),
    (
        "scheme: memory\nretention: failed\nremove_created_on_close: false\n",
        f"2: retention: {CONTRADICTION}",
    ),
    (
        "scheme: memory\nremove_created_on_close: 7\n",
        "2: remove_created_on_close: is neither true nor false",
    ),
    (
        "scheme: memory\ntimeout: 0\n",
        f"2: timeout: {NO_TIME}",
    ),
    (
        "scheme: memory\ntimeout: .inf\n",
        f"2: timeout: {NO_TIME}",
    ),
    (
        "scheme: memory\ntimeout: true\n",
        f"2: timeout: {NO_TIME}",
    ),
    ("scheme: memory\nconcurrency: 0\n", "2: concurrency: is too small; write 1 or more"),
    ("scheme: memory\nretries: -1\n", "2: retries: is too small; write 0 or more"),
    (
        "scheme: memory\nconcurrency: true\n",
        "2: concurrency: is no whole number; write one such as 16",
    ),
    (
        "scheme: memory\nconcurrency: 1.5\n",
        "2: concurrency: is no whole number; write one such as 16",
    ),
    (
        "scheme: memory\nconcurrency: x\n",
        "2: concurrency: is no whole number; write one such as 16",
    ),
    ("scheme: [fs]\n", "1: scheme: is a list; write text"),
    ("scheme: ''\n", "1: scheme: is empty; give a value or leave the key out"),
    ("scheme: memory\nkwargs: [a]\n", "2: kwargs: is a list; write a mapping"),
    (
        "scheme: memory\nkwargs: null\n",
        "2: kwargs: is null; give a value or leave the key out",
    ),
    (
        "scheme: s3\nkwargs:\n  bucket: b\n  secret_access_key:\n",
        "4: kwargs.secret_access_key: is null; give a value or leave the key out",
    ),
    (
        "scheme: s3\nkwargs:\n  bucket: [b]\n",
        "3: kwargs.bucket: is a list; OpenDAL takes text, numbers, true and false only",
    ),
    (
        "scheme: s3\nkwargs: {bucket: b, Bucket: c}\n",
        "2: kwargs: holds a key twice, in capital and in small letters; keep one",
    ),
    (
        'scheme: s3\nkwargs: {bucket: "\\uD800"}\n',
        "2: kwargs.bucket: is no UTF-8 text; OpenDAL takes no other",
    ),
    ('scheme: "\\uD800"\n', "1: scheme: is no UTF-8 text; OpenDAL takes no other"),
    ("scheme: s4\n", "1: scheme: 's4' is no service; did you mean 's3'?"),
    (
        "scheme: s3\nkwargs:\n  buckett: b\n",
        "3: kwargs.buckett: is no key of this service",
    ),
    ("scheme: fs\n", "1: kwargs.root: is missing; name the directory of the storage"),
    (
        "scheme: fs\nkwargs: {root: ''}\n",
        "2: kwargs.root: is missing; name the directory of the storage",
    ),
    (
        "scheme: memory\nretries: 100000000000000000000000\n",
        "2: retries: is too large; write 1000 or less",
    ),
    ("scheme: memory\nprotect: {a: b}\n", "2: protect: is a mapping; write a list"),
    (
        "scheme: memory\nprotect: [a, '']\n",
        "2: protect.1: is an empty pattern, which protects nothing; write one such as boot/**",
    ),
    (
        "scheme: memory\njumpstarter: {}\n",
        f"2: jumpstarter: {TWO_WAYS}",
    ),
    (
        "jumpstarter: {driver: a}\nkwargs: {root: x}\n",
        f"1: jumpstarter: {TWO_WAYS}",
    ),
    ("jumpstarter: dut\n", "1: jumpstarter: is text; write a mapping"),
    (
        "jumpstarter:\n  selectr: x=y\n",
        "2: jumpstarter.selectr: is no key here; did you mean 'selector'?",
    ),
    (
        "jumpstarter:\n  selector: x=y\n  exporter_name: z\n",
        (
            "3: jumpstarter.exporter_name: contradicts selector; an exporter is found in one way, "
            "so keep one of them"
        ),
    ),
    (
        "jumpstarter:\n  duration: 30m\n",
        (
            "2: jumpstarter.duration: is about a lease, but none is taken; add selector or "
            "exporter_name"
        ),
    ),
    (
        "jumpstarter: {driver: a..b}\n",
        "1: jumpstarter.driver: is no dotted path such as dut.storage",
    ),
    ("storages: []\n", "1: storages: is a list; write `NAME: {scheme: ...}` below it"),
    (
        "default: a\n",
        "1: storages: is missing; write `NAME: {scheme: ...}` below it",
    ),
    (
        "default: a\nstorages:\n",
        "2: storages: is null; write `NAME: {scheme: ...}` below it",
    ),
    (
        "default: a\nstorage: {a: {scheme: memory}}\n",
        "2: storage: is no key; did you mean 'storages'?",
    ),
    (
        "storage: {a: {scheme: memory}}\n",
        "1: storage: is no key here; did you mean 'storages'?",
    ),
    (
        "storages: {a: fs}\n",
        "1: storages.a: is text; it is a mapping with keys such as `scheme:`",
    ),
    ("storages:\n  a:\n", "2: storages.a: is null; give a value or leave the key out"),
    (
        "storages: {a: {scheme: memory}}\ntimeout: 5\n",
        "2: timeout: is no key beside `storages`; the keys of a storage go below its name",
    ),
    (
        "default: sdcrad\nstorages: {sdcard: {scheme: memory}}\n",
        "1: default: 'sdcrad' is no storage; did you mean 'sdcard'?",
    ),
    (
        "default: [a]\nstorages: {a: {scheme: memory}}\n",
        "1: default: is a list; write the name of a storage",
    ),
    (
        "storages: {a/b: {scheme: memory}}\n",
        "1: storages.'a/b': is no name for a storage; leave out `:`, `/` and control characters",
    ),
    (
        'storages: {"a\\uD800": {scheme: memory}}\n',
        r"1: storages.'a\ud800': is no UTF-8 text; rename it",
    ),
    (
        "storages: {'': {scheme: memory}}\n",
        "1: storages.'': is an empty name; give the storage a name",
    ),
    (
        "kind: ClientConfig\n",
        "1: kind: 'ClientConfig' holds no storages; use a file with `kind: ExporterConfig`",
    ),
    ("kind: ExporterConfig\n", "1: export: is null; it maps names to drivers"),
    (
        "kind: ExporterConfig\nexport: {p: {type: x.Power}}\n",
        f"2: export: holds no entry with `type: {DRIVER}`",
    ),
    ("type: x.Power\n", f"1: holds no entry with `type: {DRIVER}`"),
    (
        f"type: {DRIVER}\nconfig:\n  scheme: memory\n  isolation: test\n",
        (
            "4: config.isolation: is no key of the driver; known are kwargs, "
            "remove_created_on_close, scheme"
        ),
    ),
    (
        (
            "kind: ExporterConfig\nexport:\n"
            f"  a.b: {{type: {DRIVER}, config: {{scheme: memory}}}}\n"
            "  a:\n    children:\n"
            f"      b: {{type: {DRIVER}, config: {{scheme: memory}}}}\n"
        ),
        "6: export.a.children.b.config: makes a second storage 'a.b'; rename one of them",
    ),
    (
        "storages:\n  a: {scheme: memory, x: 1}\n  b: {scheme: s4, kwargs: {b: null}}\n",
        (
            "2: storages.a.x: is no key here; known are concurrency, isolation, jumpstarter, "
            "kwargs, on_existing, protect, remove_created_on_close, retention, retries, scheme, "
            "timeout (and 2 more)"
        ),
    ),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_a_mistake_names_file_line_key_what_is_wrong_and_what_would_be_right(
    text: str, message: str
) -> None:
    assert _error(text) == f"lab.yaml:{message}"


def test_a_root_below_a_directory_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "roo\udcfft"
    directory.mkdir()
    (directory / "lab.yaml").write_text("scheme: fs\nkwargs: {root: a}\n")
    with pytest.raises(ConfigInvalid) as caught:
        config.load(directory / "lab.yaml", {})
    problem = "2: kwargs.root: is no UTF-8 text; OpenDAL takes no other"
    assert str(caught.value) == f"{directory}/lab.yaml:{problem}"


class TestSecrets:
    """Values of ``kwargs`` appear nowhere."""

    def test_no_repr_of_a_configuration_shows_a_value_of_kwargs(self) -> None:
        lab = _load(f"scheme: s3\nkwargs: {{bucket: b, secret_access_key: {SECRET}}}\n")
        storage = lab.storage()
        for shown in (repr(lab), str(lab), f"{storage!r} {storage}", repr(storage.kwargs)):
            assert "secret_access_key" in shown
            assert SECRET not in shown

    def test_pydantic_itself_tells_no_value_of_kwargs(self) -> None:
        with pytest.raises(ValidationError) as caught:
            StorageSettings(name="a", scheme="s3", kwargs={"bucket": [SECRET]})  # type: ignore[dict-item]
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize(
        "text",
        [
            f"scheme: s4\nkwargs: {{secret_access_key: {SECRET}}}\n",
            f"scheme: s3\nkwargs: {{secret_access_key: [{SECRET}]}}\n",
            f"scheme: s3\nkwargs: {SECRET}\n",
            f"scheme: s3\nkwargs: {{{SECRET}}}\n",
            f"scheme: s3\nkwargs: {{{SECRET}: x}}\n",
            f"scheme: {SECRET}\nkwargs: [x]\n",
        ],
    )
    def test_a_message_tells_none_even_when_it_stands_in_the_wrong_place(self, text: str) -> None:
        assert SECRET not in _error(text)

    @pytest.mark.parametrize("before", ["", "default: x\n"])
    def test_an_address_in_the_place_of_a_name_is_told_without_its_login(self, before: str) -> None:
        text = f'{before}storages: {{"s3://KEY:{SECRET}@h/b": {{scheme: memory}}}}\n'
        assert "storages.'...': is no name for a storage" in _error(text)
        assert SECRET not in _error(text)

    def test_a_traceback_with_locals_shows_neither_data_nor_environment(self) -> None:
        Path("lab.yaml").write_text(f"scheme: s3\nkwargs: {{secret_access_key: [{SECRET}]}}\n")
        with pytest.raises(ConfigInvalid) as caught:
            config.load(Path("lab.yaml"), {"LAB": "hunter2"})
        assert caught.value.__cause__ is None
        frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
        ours = [frame for frame in frames if frame.f_code.co_filename == config.__file__]
        shown = repr([frame.f_locals for frame in ours])
        assert "lab.yaml" in shown
        assert "hunter2" not in shown
        assert SECRET not in shown

    def test_a_variable_that_is_no_text_is_refused_unseen(self) -> None:
        text = 'scheme: s3\nkwargs: {secret_access_key: "${env:LAB_SECRET}"}\n'
        assert _error(text, LAB_SECRET=f"{SECRET}\udcff") == (
            "lab.yaml:2: kwargs.secret_access_key: is no UTF-8 text; OpenDAL takes no other"
        )

    def test_identity_and_location_hold_no_credential(self) -> None:
        storage = StorageSettings(
            name="a",
            scheme="s3",
            kwargs={"endpoint": f"http://u:{SECRET}@h", "bucket": "b", "access_key_id": SECRET},
        )
        assert storage.identity == {"scheme": "s3", "endpoint": "...", "bucket": "b"}
        assert SECRET not in storage.location


class TestLab:
    """Looking up a storage."""

    def test_several_storages_without_default_are_an_error_only_when_one_is_needed(self) -> None:
        lab = _load("storages: {a: {scheme: memory}, b: {scheme: memory}}\n")
        assert lab.storage("b").name == "b"
        with pytest.raises(ConfigInvalid) as caught:
            lab.storage()
        assert str(caught.value) == (
            "lab.yaml: several storages (a, b) and no default; "
            "write `default: NAME` into the file, or pass --opendal-storage=NAME"
        )

    def test_an_unknown_name_is_told_with_the_nearest(self) -> None:
        lab = _load("storages: {sdcard: {scheme: memory}, b: {scheme: memory}}\n")
        with pytest.raises(
            ConfigInvalid,
            match=r"^lab\.yaml: there is no storage 'sdcrad'; did you mean 'sdcard'\?$",
        ):
            lab.storage("sdcrad")
        with pytest.raises(
            ConfigInvalid, match=r"^lab\.yaml: there is no storage 'x'; known are b, sdcard$"
        ):
            lab.storage("x")

    def test_settings_cannot_be_changed_by_a_test(self) -> None:
        with pytest.raises(ValidationError):
            config.embedded(Path("/x")).storage().timeout = 5

    def test_the_identity_of_an_exporter_is_how_it_is_found(self) -> None:
        storage = _one("jumpstarter: {driver: dut.storage, selector: board=rpi4}\n")
        assert storage.identity == {
            "scheme": "jumpstarter",
            "driver": "dut.storage",
            "selector": "board=rpi4",
        }
        assert storage.location == "dut.storage of an exporter with board=rpi4"
        assert _one("jumpstarter: {}\n").location == (
            "the OpenDAL driver of the exporter at JUMPSTARTER_HOST"
        )


class TestOverrides:
    """What options and markers change."""

    def test_options_and_markers_replace_what_the_file_says(self) -> None:
        storage = _one("scheme: memory\nisolation: worker\n")
        changed = storage.with_overrides(retention="failed", on_existing="refuse", timeout=5)
        assert (changed.retention, changed.on_existing, changed.timeout) == ("failed", "refuse", 5)
        assert (changed.isolation, changed.name) == ("worker", "default")
        assert storage.retention == "all"

    def test_nothing_given_changes_nothing(self) -> None:
        storage = config.embedded(Path("/x")).storage()
        assert storage.with_overrides() == storage

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            ({"isolation": "tset"}, "isolation: 'tset' is not 'none', 'worker' or 'test'"),
            (
                {"on_existing": 5},
                "on_existing: the value is not 'created', 'keep', 'restore' or 'refuse'",
            ),
            ({"timeout": -1}, "timeout: is no time; write seconds above 0 such as 60"),
        ],
    )
    def test_a_wrong_value_names_storage_and_setting(
        self, overrides: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ConfigInvalid) as caught:
            config.embedded(Path("/x")).storage().with_overrides(**overrides)
        assert str(caught.value).startswith(f"storage default: {message}")


class TestMappings:
    """A configuration that a conftest returns."""

    def _from(self, data: Any, **environ: str) -> Lab:
        return config.from_mapping(
            data, source="opendal_config", base=Path("/base"), environ=environ
        )

    def test_a_mapping_is_read_like_a_file(self) -> None:
        lab = self._from({"scheme": "fs", "kwargs": {"root": "${env:R}", "n": 5}}, R="data")
        assert lab.storage().kwargs == {"root": "/base/data", "n": "5"}
        assert lab.source == "opendal_config"

    def test_paths_of_pathlib_and_keys_of_any_type_are_taken(self, tmp_path: Path) -> None:
        lab = self._from({"storages": {1: {"scheme": "fs", "kwargs": {"root": tmp_path}}}})
        assert lab.storage("1").kwargs == {"root": str(tmp_path)}

    def test_a_mistake_in_it_names_its_source_and_key(self) -> None:
        with pytest.raises(ConfigInvalid, match=r"^opendal_config: retention: 'x' is not 'none'"):
            self._from({"scheme": "memory", "retention": "x"})

    def test_a_path_is_a_file_below_the_base_and_a_lab_is_a_lab(self, tmp_path: Path) -> None:
        (tmp_path / "lab.yaml").write_text("scheme: memory\n")
        for data in ("lab.yaml", tmp_path / "lab.yaml"):
            lab = config.from_mapping(data, source="", base=tmp_path, environ={})
            assert lab.source == str(tmp_path / "lab.yaml")
            assert self._from(lab) is lab

    def test_anything_else_is_an_error(self) -> None:
        for data in (None, 5, ["a"]):
            with pytest.raises(ConfigInvalid, match=r"^opendal_config: is .*; write a mapping"):
                self._from(data)


class TestOpendalTest:
    """The variables of OpenDAL's own suites."""

    def test_the_variables_of_opendals_own_suites_make_one_storage(self) -> None:
        lab = config.from_opendal_test(
            {"OPENDAL_TEST": "s3", "OPENDAL_S3_BUCKET": "b", "OPENDAL_FS_ROOT": "/x", "BUCKET": "c"}
        )
        assert lab is not None
        storage = lab.storage()
        assert (lab.source, storage.name, storage.scheme) == ("OPENDAL_TEST", "s3", "s3")
        assert storage.kwargs == {"bucket": "b"}

    def test_a_hyphen_in_a_scheme_is_an_underscore_in_its_variables(self) -> None:
        lab = config.from_opendal_test(
            {"OPENDAL_TEST": "aliyun-drive", "OPENDAL_ALIYUN_DRIVE_DRIVE_TYPE": "x"}
        )
        assert lab is not None
        assert lab.storage("aliyun-drive").kwargs == {"drive_type": "x"}

    def test_text_of_a_variable_is_final(self) -> None:
        lab = config.from_opendal_test({"OPENDAL_TEST": "x", "OPENDAL_X_PW": "${env:A} ${env:"})
        assert lab is not None
        assert lab.storage().kwargs == {"pw": "${env:A} ${env:"}

    def test_without_the_variable_there_is_none(self) -> None:
        assert config.from_opendal_test({"OPENDAL_S3_BUCKET": "b"}) is None
        assert config.from_opendal_test({"OPENDAL_TEST": ""}) is None

    @pytest.mark.parametrize(
        ("environ", "message"),
        [
            ({"OPENDAL_TEST": "s4"}, "OPENDAL_TEST: storages.s4.scheme: 's4' is no service"),
            (
                {"OPENDAL_TEST": "s3", "OPENDAL_S3_BUCKETT": "b"},
                "OPENDAL_TEST: OPENDAL_S3_BUCKETT: is no key of this service",
            ),
            (
                {"OPENDAL_TEST": "fs"},
                "OPENDAL_TEST: OPENDAL_FS_ROOT: is missing; name the directory of the storage",
            ),
            ({"OPENDAL_TEST": "a/b"}, "OPENDAL_TEST: storages.'a/b': is no name for a storage"),
        ],
    )
    def test_a_mistake_names_the_variable(self, environ: dict[str, str], message: str) -> None:
        with pytest.raises(ConfigInvalid) as caught:
            config.from_opendal_test(environ, check_service=_check_service)
        assert str(caught.value).startswith(message)


def test_the_schema_describes_every_key_of_a_storage() -> None:
    schema = config.json_schema()
    entry = schema["$defs"]["StorageEntry"]
    assert json.loads(json.dumps(schema)) == schema
    assert [key for key, field in entry["properties"].items() if "description" not in field] == []
    assert entry["additionalProperties"] is False
    assert "remove_created_on_close" in entry["properties"]


ENVIRON = {"SCHEME": "memory", "WHERE": "test", "REMOVES": "true"}
SCHEMA = jsonschema.Draft202012Validator(config.json_schema())


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(config.json_schema())


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "scheme: 3",
        "{scheme: fs, kwarg: {root: /srv}}",
        "{scheme: fs, kwargs: [root]}",
        "{scheme: fs, kwargs: {root: null}}",
        "{scheme: fs, retention: sometimes}",
        "{scheme: fs, isolation: [test]}",
        "{scheme: fs, on_existing: overwrite}",
        "{scheme: fs, timeout: 0}",
        "{scheme: fs, timeout: soon}",
        "{scheme: fs, concurrency: 0}",
        "{scheme: fs, retries: 1001}",
        "{scheme: fs, concurrency: 1.5}",
        "{scheme: fs, protect: {a: b}}",
        "{scheme: fs, remove_created_on_close: perhaps}",
        "{storages: {}}",
        "{storages: []}",
        "{storages: {a: {scheme: fs, colour: red}}}",
        "{storages: {a: {scheme: fs}}, defalt: a}",
        "{storages: {a: {}}}",
        "{storages: {a: {scheme: fs, jumpstarter: {}}}}",
        "{jumpstarter: {driver: 3}}",
        "{jumpstarter: {lease: run, selectr: board=rpi4}}",
        "{kind: Exporter, export: {}}",
        "{type: jumpstarter_driver_power.driver.Power}",
    ],
)
def test_an_editor_marks_what_a_run_refuses(text: str) -> None:
    """A file that the schema refuses is one that `load` refuses, and the other way round."""
    data = yaml.safe_load(text)
    Path("lab.yaml").write_text(text)
    with pytest.raises(ConfigInvalid):
        config.load(Path("lab.yaml"), {})
    assert not SCHEMA.is_valid(data)


@pytest.mark.parametrize(
    "text",
    [
        "{scheme: fs, kwargs: {root: /srv, atomic_write_dir: /srv, depth: 3}}",
        '{scheme: "${env:SCHEME}", timeout: 0.5, concurrency: 4, protect: ["*.key"]}',
        '{scheme: memory, isolation: "${env:WHERE}", timeout: 1h30m, protect: "*.key"}',
        '{scheme: memory, remove_created_on_close: "${env:REMOVES}", retries: 0}',
        "{scheme: memory, retries: 1000}",
        "{storages: {a: {scheme: memory}, b: {jumpstarter: {}}}, default: a}",
        "{jumpstarter: {selector: board=rpi4, duration: 30m, lease: worker, driver: dut.storage}}",
        "{scheme: memory, remove_created_on_close: true, on_existing: restore, isolation: test}",
    ],
)
def test_an_editor_accepts_what_a_run_does(text: str) -> None:
    Path("lab.yaml").write_text(text)
    assert config.load(Path("lab.yaml"), ENVIRON).storages
    SCHEMA.validate(yaml.safe_load(text))


def test_reading_a_configuration_imports_neither_pytest_nor_opendal() -> None:
    Path("lab.yaml").write_text("scheme: memory\n")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pytest_opendal import config\n"
        "config.load(Path('lab.yaml'), {})\n"
        "heavy = {'pytest', '_pytest', 'opendal', 'jumpstarter', 'asyncio'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("${env:A}")
)
_WORDS = """
scheme kwargs jumpstarter storages default kind export children type config ref driver
selector duration retention remove_created_on_close isolation timeout protect bucket
"""
_KEYS = st.sampled_from(_WORDS.split())
_DATA = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.dictionaries(_KEYS, _DATA, max_size=4) | st.fixed_dictionaries({"storages": _DATA}))
@example(data={"kind": "ExporterConfig", "export": {"a": {"type": DRIVER, "config": []}}})
@example(data={"type": DRIVER, "children": {"a": {"children": {"b": []}}}})
@example(data={"storages": {"a": {"jumpstarter": {"driver": 5}}}})
def test_whatever_the_data_is_there_is_a_lab_or_one_line_that_says_why_not(data: Any) -> None:
    try:
        lab = config.from_mapping(data, source="lab", base=Path("/"), environ={})
    except ConfigInvalid as error:
        message = str(error)
    else:
        message = f"lab: {len(lab.storages)} storages"
    assert re.fullmatch(r"lab: (?!0 ).+", message)
