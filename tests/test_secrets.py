"""No credential shows up anywhere, wherever it stands and however a suite ends."""

from __future__ import annotations

import copy
import html
import json
import pickle
import signal
import tempfile
import traceback
from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from pytest_opendal.async_storage import AsyncStorage
from pytest_opendal.cli import main
from pytest_opendal.config import from_mapping
from pytest_opendal.errors import StorageError
from pytest_opendal.models import PresignedRequest
from pytest_opendal.process import Process
from pytest_opendal.redacting import Redactor
from pytest_opendal.run import Hooks, Run
from pytest_opendal.settings import StorageSettings

import leaks
import servers
from credentials import Place, answering, built_in, silent
from runs import Suite, needs_xdist, output
from talkative import ALL, CONFTEST, CRASH, SECONDS, SUITE, lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_opendal.storage import Storage


WORKING = ("s3", "moto", "webdav", "redis", "redis-login")
QUICK = ("s3", "s3-nobody", "webdav", "webdav-wrong", "redis-login")
"""Of the storages that answer, those of every run; `sweep` has all."""


@pytest.fixture
def servers_of_lab(
    seaweedfs: servers.SeaweedFS, moto: servers.S3, wsgidav: servers.WebDAV, redis: servers.Redis
) -> dict[str, Place]:
    return answering(seaweedfs, moto, wsgidav, redis)


@pytest.fixture
def quick(servers_of_lab: dict[str, Place]) -> dict[str, Place]:
    return {name: servers_of_lab[name] for name in QUICK}


@pytest.fixture(autouse=True)
def own_journals(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the command's journals from the runs of other tests, which tell of all of this user's."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("journals")))


def test_the_search_finds_what_a_suite_gives_away(suite: Suite, quick: dict[str, Place]) -> None:
    """Or all the other tests here would prove nothing."""
    one = lab(suite, quick, WORKING, environment=True)
    suite.write(
        conftest="",
        test_lab="""
        import base64, json, os

        def test_talks(opendal_config, record_property):
            for name, settings in opendal_config.storages.items():
                kwargs = dict(settings.kwargs)
            first = dict(opendal_config.storages["s3"].kwargs)
            second = opendal_config.storages["webdav"].kwargs["password"]
            print(base64.b64encode(b"user:" + second.encode()).decode())
            open(first["access_key_id"], "w").close()
            record_property("key", first["secret_access_key"][:14] + "...")
            assert not kwargs
        """,
    )
    _, text = one.run("-l", "-vv", "--junitxml=junit.xml")
    found = "\n".join(one.leaked(text))
    for leak in (
        "password of webdav is in the output",
        "login of redis-login is in the output",
        "login of redis-login is in junit.xml",
        "secret_access_key of s3 is in junit.xml",
        "access_key_id of s3 is in the names of files",
    ):
        assert leak in found
    assert not any(secret in found for secret in one.search.credentials.values())


@pytest.mark.parametrize("name", ["plain", "percent", "base64", "json", "html", "hex", "part"])
def test_the_search_knows_spellings(name: str) -> None:
    secret = leaks.recognisable()
    spelled = {
        "plain": secret,
        "percent": quote(secret, safe=""),
        "base64": b64encode(f"x:{secret}:y".encode()).decode(),
        "json": json.dumps({"a": secret}),
        "html": html.escape(secret),
        "hex": secret.encode().hex(),
        "part": secret[:14],
    }[name]
    search = leaks.Search({"it": secret})
    assert search.found("here", f"before {spelled} after".encode())
    assert not search.found("here", f"before {leaks.recognisable()} after".encode())


def test_suites_that_pass_and_fail(suite: Suite, quick: dict[str, Place]) -> None:
    one = lab(suite, quick, WORKING, environment=True)
    code, text = one.run(*ALL, "--full-trace")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert " passed" in text
    assert "capture_locals" not in text
    assert one.leaked(text) == []


@needs_xdist
def test_suites_whose_workers_crash(suite: Suite, quick: dict[str, Place]) -> None:
    one = lab(suite, quick, WORKING, environment=False)
    suite.write(test_lab=SUITE.format(names=["s3", "redis-login"], working=WORKING) + CRASH)
    code, text = one.run(*ALL, "-n2", "-k", "crashes or fails or passes or presigned")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "crashed while running" in text
    assert one.leaked(text) == []


def test_a_run_that_is_killed_and_reaped(suite: Suite, quick: dict[str, Place]) -> None:
    one = lab(suite, quick, WORKING, environment=True)
    suite.write(
        test_lab="""
        import os

        def test_is_killed(opendal_factory):
            for name in ("s3", "webdav", "redis-login"):
                storage = opendal_factory(name)
                storage.write_bytes("old.txt", b"old")
                storage.write_bytes("old.txt", b"new")
            os.kill(os.getpid(), 9)
        """
    )
    code, text = one.run("-s")
    assert code == -signal.SIGKILL
    assert one.leaked(text) == []
    assert suite.journals
    suite.write(test_lab="def test_passes(opendal):\n    pass\n")
    for args in (["-vv"], ["-vv", "--opendal-reap", "--opendal-details"]):
        _, text = one.run(*args)
        assert "opendal" in text
        assert one.leaked(text) == []


@pytest.mark.parametrize(
    "args", ["--collect-only -q", "--fixtures -v", "--fixtures-per-test", "--setup-plan --markers"]
)
def test_runs_that_run_no_test(suite: Suite, quick: dict[str, Place], args: str) -> None:
    one = lab(suite, quick, WORKING, environment=True)
    code, text = one.run(*args.split(), "--debug=trace.log")
    assert code == 0
    assert one.leaked(text) == []


HOOKS = {
    "config": "def pytest_opendal_config(config, lab):",
    "operator": "def pytest_opendal_operator(storage, operator):",
    "created": "def pytest_opendal_created(storage, path, nodeid):",
    "leftovers": "def pytest_opendal_leftovers(leftovers):",
    "layer": "def pytest_opendal_operator(storage, operator):\n    return 3\ndef unused():",
}


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_that_raise(suite: Suite, quick: dict[str, Place], hook: str) -> None:
    two = {name: quick[name] for name in ("s3", "redis-login")}
    one = lab(suite, two, WORKING, environment=True)
    raising = f"{HOOKS[hook]}\n    error = KeyError('broken')\n    raise error\n"
    interact = CONFTEST[CONFTEST.index("def all_of") :]
    suite.write(conftest=f"import sys, traceback\n{raising}\n{interact}")
    code, text = one.run(*ALL, "--full-trace", "-k", "passes or presigned")
    assert code != 0
    assert "broken" in text or hook == "layer"
    assert one.leaked(text) == []


SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCY"

GIVEN = """
import pytest

{hook}

@pytest.fixture(scope="session")
def opendal_config():
    keys = {{"bucket": "b", "region": "r", "access_key_id": "{secret}", "secret_access_key": "{secret}"}}
    return {{"scheme": "s3", "kwargs": keys, **{more}}}
"""


@pytest.mark.parametrize(
    ("hook", "more", "told"),
    [
        ("", {"isolaton": "test"}, "isolaton"),
        ("def pytest_opendal_config(config, lab): lab.storages['nope']", {}, "KeyError"),
        ("def pytest_opendal_operator(storage, operator): {}['nope']", {}, "KeyError"),
        ("", {"timeout": 0.2}, "results"),
    ],
    ids=["mistake", "config", "operator", "name"],
)
def test_a_configuration_that_a_conftest_gives(
    suite: Suite, hook: str, more: dict[str, object], told: str
) -> None:
    """Where pytest itself does not show it: as an argument of the test."""
    suite.write(
        conftest=GIVEN.format(hook=hook, secret=SECRET, more=more),
        test_it="""
        def test_it(opendal): opendal.write_bytes("a.txt", b"x")
        def test_factory(opendal_factory): opendal_factory("results")
        """,
    )
    text = output(suite.run("-l", "-vv"))
    assert told in text
    assert SECRET not in text


MISTAKES = {
    "scheme": "scheme: s3{S}\nkwargs: {bucket: b}\n",
    "key": "scheme: s3\nkwargs: {bucket: b, region: r, secret_acess_key: {S}}\n",
    "list": "scheme: s3\nkwargs: {bucket: b, region: r, secret_access_key: [{S}]}\n",
    "mapping": "scheme: s3\nkwargs: {bucket: b, region: r, secret_access_key: {a: {S}}}\n",
    "missing": "scheme: s3\nkwargs: {secret_access_key: {S}, endpoint: 'http://lab:{S}@h'}\n",
    "moved": "scheme: s3\nsecret_access_key: {S}\nkwargs: {bucket: b, region: r}\n",
    "beside": "storages: {a: {scheme: memory}}\npassword: {S}\n",
    "text": "scheme: s3\nkwargs: access_key_id={S}\n",
    "document": "{S}\n",
    "null": "scheme: s3\nkwargs: {bucket: b, region: r, access_key_id: {S}, token: }\n",
    "twice": "scheme: s3\nkwargs: {bucket: b, region: r, access_key_id: {S}, ACCESS_KEY_ID: {S}}\n",
    "again": "scheme: s3\nkwargs:\n  bucket: b\n  access_key_id: {S}\n  access_key_id: {S}\n",
    "quote": "scheme: s3\nkwargs:\n  access_key_id: '{S}\n  bucket: b\n",
    "alias": "scheme: s3\nkwargs:\n  access_key_id: *{S}\n",
    "tag": "scheme: s3\nkwargs:\n  access_key_id: !{S} x\n",
    "directive": "%{S}\nscheme: s3\n",
    "colon": "scheme: s3\nkwargs:\n  access_key_id: a: {S}\n",
    "tab": "scheme: s3\nkwargs:\n\taccess_key_id: {S}\n",
    "escape": 'scheme: s3\nkwargs:\n  access_key_id: "\\q{S}"\n',
    "control": "scheme: s3\nkwargs: {access_key_id: {S}\x01}\n",
    "braces": "scheme: s3\nkwargs: {access_key_id: ${env:LAB_KEY}, x: {S}}\n",
    "unset": "scheme: s3\nkwargs: {bucket: b, region: r, access_key_id: '{S}${env:NO_SUCH}'}\n",
    "default": "scheme: '${env:NO_SUCH:-{S}}'\nkwargs: {bucket: b}\n",
    "place": "scheme: '${env:LAB_KEY}'\nkwargs: {bucket: b}\n",
    "timeout": "scheme: memory\ntimeout: '${env:LAB_KEY}'\n",
    "isolation": "scheme: memory\nisolation: '${env:LAB_KEY}'\n",
    "retries": "scheme: memory\nretries: '${env:LAB_KEY}'\n",
    "chosen": "default: '${env:LAB_KEY}'\nstorages: {a: {scheme: memory}}\n",
    "driver": "jumpstarter: {driver: '${env:LAB_KEY}..'}\n",
    "ways": "jumpstarter: {selector: '${env:LAB_KEY}', exporter_name: '${env:LAB_KEY}'}\n",
    "refused": "scheme: azblob\nkwargs: {container: c, connection_string: 'AccountKey={S}'}\n",
    "address": "scheme: redis\nkwargs: {endpoint: 'redis ://lab:{S}@h'}\n",
    "url": "scheme: webdav\nkwargs: {endpoint: 'http//lab:{S}@h', password: {S}}\n",
    "base64": "scheme: gcs\nkwargs: {bucket: b, credential: {S}}\n",
    "number": "scheme: s3\nkwargs: {bucket: b, region: r, batch_max_operations: {S}}\n",
    "switch": "scheme: s3\nkwargs: {bucket: b, region: r, disable_config_load: {S}}\n",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_a_configuration(
    suite: Suite, mistake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_KEY", SECRET)
    suite.config.write_text(MISTAKES[mistake].replace("{S}", SECRET))
    suite.write(test_lab="def test_it(opendal):\n    opendal.stat('x')\n")
    result = suite.run("--full-trace", "-l", "-vv", "--junitxml=junit.xml", "--opendal-timeout=1")
    checked = CliRunner().invoke(main, ["check", str(suite.config), "--timeout=1"])
    reaped = CliRunner().invoke(main, ["reap", "--config", str(suite.config)])
    assert result.ret != 0
    assert checked.exit_code != 0
    text = output(result) + checked.output + reaped.output
    search = leaks.Search({"it": SECRET})
    assert search.found("the output", text.encode()) == []
    assert search.found_below(suite.pytester.path, suite.config.name) == []


@pytest.mark.parametrize(
    "variables",
    [
        {"OPENDAL_TEST": "s3", "OPENDAL_S3_SECRET_ACCESS_KEY": SECRET},
        {"OPENDAL_TEST": "s3", "OPENDAL_S3_SECRET_ACESS_KEY": SECRET, "OPENDAL_S3_BUCKET": "b"},
        {"OPENDAL_TEST": SECRET},
        {"OPENDAL_TEST": "redis", "OPENDAL_REDIS_ENDPOINT": f"redis ://lab:{SECRET}@h"},
        {"OPENDAL_TEST": "webdav", "OPENDAL_WEBDAV_ENDPOINT": f"http://lab:{SECRET}@127.0.0.1:9"},
    ],
)
def test_variables_instead_of_a_file(suite: Suite, variables: dict[str, str]) -> None:
    suite.write(test_lab="def test_it(opendal):\n    opendal.stat('x')\n")
    process = suite.start("--full-trace", "-l", "-vv", "--opendal-timeout=1", **variables)
    text = process.communicate(timeout=SECONDS)[0]
    assert process.returncode != 0
    # The name of a service is no secret, and is what the user has to see.
    search = leaks.Search({} if variables["OPENDAL_TEST"] == SECRET else {"it": SECRET})
    assert search.found("the output", text.encode()) == []
    assert search.found_below(suite.pytester.path) == []


def test_the_command(
    suite: Suite, quick: dict[str, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = lab(suite, quick, WORKING, environment=True)
    for name, value in one.environ.items():
        monkeypatch.setenv(name, value)
    lab_file = str(suite.config)
    for args in (
        ["check", lab_file],
        ["reap", "--config", lab_file, "--older-than", "1h", "--dry-run"],
        ["schema"],
        *(["init", scheme, "-o", "-"] for scheme in ("s3", "webdav", "redis", "jumpstarter")),
    ):
        result = CliRunner().invoke(main, args)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert one.leaked(result.output) == []


def shown(error: BaseException) -> str:
    """Return all that can be seen of an error, with the locals of each frame."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    lines = [*told.format()]
    rest: list[BaseException | None] = [error]
    while rest:
        one = rest.pop()
        if one is not None:
            lines.append(f"{one!r} {one} {one.args} {vars(one)}")
            rest += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return "\n".join(lines)


OPERATIONS: dict[str, Callable[[Storage], object]] = {
    "stat": lambda storage: storage.stat("x"),
    "read": lambda storage: storage.read_bytes("x"),
    "write": lambda storage: storage.write_bytes("x", b"x"),
    "list": lambda storage: list(storage.list("")),
    "remove_all": lambda storage: storage.remove_all("x"),
}


def test_services_that_nobody_answers_for(tmp_path: Path) -> None:
    """What opendal says of them quotes their addresses, and those hold logins and signatures."""
    with servers.refused() as address:
        places = built_in(silent(address))
        entries = {name: place.entry(name, environment=False) for name, place in places.items()}
        configured = from_mapping({"storages": entries}, source="lab", base=tmp_path, environ={})
        for name, place in places.items():
            text = _all_said_by(configured.storage(name), tmp_path)
            assert leaks.Search(place.credentials).found(name, text.encode()) == []


def _all_said_by(settings: StorageSettings, directory: Path) -> str:
    said = [repr(settings), settings.location, str(settings.identity)]

    def seen(_storage: str, operator: object) -> object:
        said.append(repr(operator))
        return operator

    run = Run(Process.new(), directory, Hooks(add_layers=seen))
    try:
        connection = run.connection(settings)
        connection.checked, connection.lists = True, True
        storage = run.open(settings, "test").storage
        for operate in OPERATIONS.values():
            connection.doubtful = False
            said.append(_raised(partial(operate, storage)))
    except StorageError as error:
        said.append(shown(error))
    finally:
        run.close()
    return "\n".join(said)


def _raised(operate: Callable[[], object]) -> str:
    try:
        return repr(operate())
    except StorageError as error:
        return shown(error)


def test_what_holds_credentials_is_neither_pickled_nor_copied(
    servers_of_lab: dict[str, Place], tmp_path: Path
) -> None:
    entry = servers_of_lab["s3"].entry("s3", environment=False)
    configured = from_mapping({"storages": {"s3": entry}}, source="lab", base=tmp_path, environ={})
    settings = configured.storage()
    run = Run(Process.new(), tmp_path, Hooks())
    try:
        storage = run.open(settings, "test").storage
        with storage.open("x", "wb") as file:
            things = [storage, AsyncStorage(storage), file, settings, configured, settings.kwargs]
            for thing in things:
                with pytest.raises(
                    TypeError, match="cannot be pickled or copied: it would carry"
                ) as caught:
                    pickle.dumps(thing)
                assert "\n" not in str(caught.value)
            for thing in things[:3]:
                for copier in (copy.copy, copy.deepcopy):
                    with pytest.raises(TypeError, match="cannot be pickled or copied"):
                        copier(thing)
    finally:
        run.finish()
        run.close()


def test_copies_of_a_configuration_hide_as_much() -> None:
    settings = StorageSettings(
        name="a", scheme="s3", kwargs={"bucket": "b", "access_key_id": SECRET}
    )
    kwargs = settings.kwargs
    copies = [
        *(copy.copy(settings), copy.deepcopy(settings), settings.model_copy(deep=True)),
        *(copy.copy(kwargs), copy.deepcopy(kwargs), kwargs.copy()),
        *(kwargs | {"region": "r"}, {"region": "r"} | kwargs),
    ]
    assert SECRET not in repr(copies)
    assert all("access_key_id" in repr(one) for one in copies)
    plain = StorageSettings(name="a", scheme="fs", kwargs={"root": "/x"})
    assert pickle.loads(pickle.dumps(plain)) == plain  # noqa: S301


def test_secrets_that_cannot_be_encoded_are_cut_out_like_others() -> None:
    secrets = [f"{SECRET}\udcff", f"{SECRET}\ud800", f"other-{SECRET}"]
    redactor = Redactor(dict(zip(("password", "token", "key"), secrets, strict=True)))
    assert redactor.text(" ".join(secrets)) == "*** *** ***"


@pytest.mark.parametrize("claim", ["== 'https://h/x'", "in 'x'", "is None", "!= url", "< ''"])
def test_a_claim_about_a_signed_url_shows_no_query(suite: Suite, claim: str) -> None:
    """Python compares texts for us, and pytest shows how they differ."""
    suite.write(
        test_it=f"""
        from pytest_opendal.models import PresignedRequest

        url = PresignedRequest(url="https://h/x?sig=" + {SECRET!r}, method="GET", headers={{}}).url

        def test_it(opendal): assert url {claim}
        def test_not_in(opendal): assert "sig" not in url
        def test_in_lists(opendal): assert [url] == ["https://h/x"]
        """
    )
    result = suite.run("-vv", "--tb=short")
    result.assert_outcomes(failed=3)
    text = output(result)
    assert "https://h/x?..." in text
    assert SECRET not in text


@pytest.mark.parametrize("claim", ["== {}", "!= dict(kwargs)", "== [kwargs]", "<= 5", "is None"])
def test_a_claim_about_arguments_shows_their_keys_only(suite: Suite, claim: str) -> None:
    """Pytest compares plain copies of mappings."""
    suite.lab(scheme="s3", kwargs={"bucket": "b", "region": "r", "access_key_id": SECRET})
    suite.write(
        test_it=f"""
        def test_it(opendal_config):
            kwargs = opendal_config.storages["lab"].kwargs
            assert kwargs {claim}

        def test_nested(opendal_config):
            kwargs = opendal_config.storages["lab"].kwargs
            assert {{"a": kwargs}} == {{"a": 5, "b": kwargs}}
            assert [kwargs] == [5]
        """
    )
    result = suite.run("-vv", "-l")
    result.assert_outcomes(failed=2)
    text = output(result)
    assert "'access_key_id': ..." in text
    assert SECRET not in text


def test_the_text_of_a_signed_url_hides_its_query_in_reprs() -> None:
    url = PresignedRequest(url=f"https://h/x?sig={SECRET}", method="GET", headers={}).url
    assert repr(url) == "'https://h/x?...'"
    assert str(url) == f"{url}" == f"https://h/x?sig={SECRET}"
    assert json.loads(json.dumps(url)) == url


@pytest.mark.sweep
@pytest.mark.parametrize("args", [(), ("--full-trace",), pytest.param(("-n2",), marks=needs_xdist)])
@pytest.mark.parametrize("environment", [True, False])
def test_all_places_that_answer(
    suite: Suite, servers_of_lab: dict[str, Place], args: tuple[str, ...], *, environment: bool
) -> None:
    one = lab(suite, servers_of_lab, WORKING, environment=environment)
    _, text = one.run(*ALL, *args)
    assert " passed" in text
    assert one.leaked(text) == []


@pytest.mark.sweep
@pytest.mark.parametrize("environment", [True, False])
def test_all_places_that_nobody_answers_for(suite: Suite, *, environment: bool) -> None:
    with servers.refused() as address:
        one = lab(suite, built_in(silent(address)), (), environment=environment)
        _, text = one.run(*ALL, "--full-trace", "-k", "passes or fails")
    assert " failed" in text
    assert one.leaked(text) == []


def test_a_local_file_that_cannot_be_read_shows_no_signed_request(
    suite: Suite, seaweedfs: servers.SeaweedFS
) -> None:
    suite.several("lab", lab={"scheme": "s3", "kwargs": seaweedfs.kwargs, "retention": "none"})
    suite.write(
        test_it="""
        import asyncio
        from pathlib import Path

        def test_claim(opendal):
            opendal.assert_presign("f", "write", content=Path("/proc/self/mem"))

        def test_awaited(opendal_async):
            claim = opendal_async.assert_presign("f", "write", content=Path("/proc/self/mem"))
            asyncio.run(claim)
        """
    )
    result = suite.run("-l", "--tb=long")
    result.assert_outcomes(failed=2)
    text = output(result)
    assert "OSError: cannot read the local file /proc/self/mem: Input/output error" in text
    assert "X-Amz-" not in text
