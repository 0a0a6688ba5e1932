"""A suite that passes, fails and crashes on storages with credentials, and shows all that it can."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import leaks
from credentials import variable

if TYPE_CHECKING:
    from credentials import Place
    from runs import Suite

SECONDS = 300

# Shows all that anybody could show of what it is given.
CONFTEST = """
import faulthandler, logging, pprint, sys, traceback
import pytest

def pytest_opendal_config(config, lab):
    print("CONFIG", repr(lab), str(lab), f"{lab}", pprint.pformat(lab), file=sys.__stderr__)
    for settings in lab.storages.values():
        print(repr(settings), settings.kwargs, pprint.pformat(settings.kwargs), settings.location,
              settings.identity, settings.way[0], file=sys.__stderr__)

def pytest_opendal_operator(storage, operator):
    print("OPERATOR", storage, repr(operator), str(operator), file=sys.__stderr__)
    logging.getLogger("hook").debug("operator %r of %s", operator, storage)

def pytest_opendal_created(storage, path, nodeid):
    logging.getLogger("hook").debug("created %s %s %s", storage, path, nodeid)

def pytest_opendal_leftovers(leftovers):
    print("LEFTOVERS", repr(leftovers), file=sys.__stderr__)

def all_of(error):
    while error is not None:
        yield error
        yield from getattr(error, "exceptions", ())
        error = error.__cause__ or error.__context__

def pytest_exception_interact(node, call, report):
    error = call.excinfo.value
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    text = "".join(shown.format())
    for one in all_of(error):
        text += f"{one!r} {one} {one.args} {getattr(one, '__notes__', '')} {vars(one)}"
    print("INTERACT", text, file=sys.__stderr__)
"""

SUITE = """
import copy, os, pickle, pprint, warnings
import pytest

NAMES = {names}

@pytest.fixture(params=NAMES)
def storage(request, opendal_factory):
    return opendal_factory(request.param)

def test_passes(storage):
    if storage.name in {working}:
        storage.write_bytes("a/b.txt", b"content")
        assert storage.read_bytes("a/b.txt") == b"content"
    print(repr(storage), str(storage), pprint.pformat(storage), vars(storage))

def test_fails(storage, opendal_config):
    from pytest_opendal.async_storage import AsyncStorage
    awaiting = AsyncStorage(storage)
    settings = opendal_config.storages[storage.name]
    kwargs = settings.kwargs
    copied = copy.deepcopy(settings), copy.copy(kwargs), kwargs | {{}}
    storage.write_bytes("c.txt", b"content")
    with storage.open("d.txt", "wb") as file:
        file.write(b"x")
        assert storage is None, storage

def test_presigned(storage):
    storage.write_bytes("e.txt", b"content")
    request = storage.presign_read("e.txt", 60)
    written = storage.presign_write("f.txt", 60)
    print(repr(request), str(request), f"{{request}}", pprint.pformat(request))
    storage.assert_presign("e.txt")
    storage.assert_presign("e.txt", content=b"other")

def test_url_of_a_presigned_request(storage):
    storage.write_bytes("h.txt", b"content")
    storage.write_from_path("i.txt", storage.presign_read("h.txt", 60).url)
    storage.write_from_path("i.txt", storage.presign_read("missing.txt", 60).url)

@pytest.mark.parametrize("operation", [
    lambda storage: storage.read_bytes("missing.txt"),
    lambda storage: storage.stat("missing.txt"),
    lambda storage: list(storage.list("missing/")),
    lambda storage: storage.write_bytes("g.txt", b"x"),
    lambda storage: storage.open("missing.txt").read(),
    lambda storage: storage.copy("missing.txt", "there.txt"),
    lambda storage: storage.remove_all("missing"),
    lambda storage: storage.hash("missing.txt"),
    lambda storage: storage.assert_hash("missing.txt", "0" * 64),
    lambda storage: storage.ensure("there.txt", os.environ["LAB_URL"]),
    lambda storage: storage.write_from_path("there.txt", os.environ["LAB_URL"]),
    lambda storage: pickle.dumps(storage),
    lambda storage: copy.deepcopy(storage),
    lambda storage: pytest.fail(repr(storage.capability())),
])
def test_operation(storage, operation):
    operation(storage)
    raise AssertionError("it worked")

def test_forgets_a_file(storage):
    storage.open("forgotten.txt", "wb").write(b"x")
    warnings.warn(repr(storage))
"""

CRASH = """
def test_crashes(storage):
    import os
    storage.write_bytes("crash.txt", b"x")
    os.abort()
"""

ALL = (
    *("-vv", "-ra", "-l", "--tb=long", "--junitxml=junit.xml", "--opendal-report=report.json"),
    *("-o", "log_level=DEBUG", "-o", "log_cli=true", "--opendal-details", "--setup-show"),
    *(
        "-o",
        "junit_logging=all",
        "-p",
        "no:randomly",
        "--debug=trace.log",
        "--log-file=log.txt",
        "--durations=3",
    ),
    *(("--html=page.html",) if importlib.util.find_spec("pytest_html") else ()),
)


@dataclass
class Lab:
    """A suite on several places, and what must not show up."""

    suite: Suite
    places: dict[str, Place]
    search: leaks.Search
    environ: dict[str, str]
    url: str

    def run(self, *args: str, **environ: str) -> tuple[int, str]:
        """Run the suite and return its exit status and all that it printed."""
        env = (
            self.environ
            | {"LAB_URL": self.url, "PYTHONDEVMODE": "1", "GITHUB_ACTIONS": "true"}
            | environ
        )
        process = self.suite.start(*args, **env)
        try:
            text = process.communicate(timeout=SECONDS)[0]
        finally:
            process.kill()
        return process.returncode, text

    def leaked(self, text: str) -> list[str]:
        """Return where credentials show up, in a text and in all files that are there."""
        directory = self.suite.pytester.path
        given = () if self.environ else (self.suite.config.name,)
        return self.search.found("the output", text.encode()) + self.search.found_below(
            directory, *given
        )


def lab(
    suite: Suite, places: dict[str, Place], working: tuple[str, ...], *, environment: bool
) -> Lab:
    """Return a lab with a configuration and tests."""
    entries = {name: place.entry(name, environment=environment) for name, place in places.items()}
    suite.several(next(iter(places)), **entries)
    tests = SUITE.format(names=list(places), working=working)
    suite.write(conftest=CONFTEST, test_lab=tests)
    credentials = {
        f"{key} of {name}": secret
        for name, place in places.items()
        for key, secret in place.credentials.items()
    }
    login = leaks.word()
    credentials["login of LAB_URL"] = login
    environ = {
        variable(name, key): value
        for name, place in places.items()
        for key, value in place.kwargs.items()
    }
    url = f"http://lab:{login}@127.0.0.1/x?sig={login}"
    return Lab(suite, places, leaks.Search(credentials), environ if environment else {}, url)


def remote(suite: Suite, credentials: dict[str, str], dut: Any = None, **ways: Any) -> Lab:
    """Return a lab with storages behind exporters."""
    ways = ways if dut is None else {"dut": dut}
    suite.several(
        next(iter(ways)), **{name: {"jumpstarter": way, "timeout": 5} for name, way in ways.items()}
    )
    suite.write(conftest=CONFTEST, test_lab=SUITE.format(names=list(ways), working=tuple(ways)))
    login = leaks.word()
    url = f"http://lab:{login}@127.0.0.1/x?sig={login}"
    return Lab(suite, {}, leaks.Search(credentials | {"login of LAB_URL": login}), {"LAB": ""}, url)
