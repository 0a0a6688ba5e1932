"""Configurations: where they come from, and how a wrong one ends a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from runs import Suite, needs_xdist, output

if TYPE_CHECKING:
    from pathlib import Path

TEST = "def test_it(opendal): opendal.write_bytes('a.txt', b'x')"
WHERE = "def test_it(opendal): print('storage at', repr(opendal))"


def _refused(result: pytest.RunResult) -> list[str]:
    """Return the lines of the error; there is nothing else to read but pytest's own header."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = output(result)
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    assert text.count("ERROR: ") == 1
    lines = [line for line in result.stderr.lines if line]
    assert len(lines) <= 2
    assert lines[0].startswith("ERROR: ")
    return lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "ERROR: */lab.yaml: is empty; write `scheme:`*", id="empty"),
        pytest.param("scheme: [", "ERROR: */lab.yaml:*", id="no-yaml"),
        pytest.param("[1, 2]", "ERROR: */lab.yaml*is a list*", id="a-list"),
        pytest.param(
            "scheme: fs\nkwarg: {}\n", "*lab.yaml:2: kwarg: *did you mean 'kwargs'?", id="typo"
        ),
        pytest.param("scheme: s4\n", "*lab.yaml:1: scheme: *", id="scheme"),
        pytest.param(
            "scheme: fs\nkwargs:\n  root: x\n  rot: y\n", "*lab.yaml:4: kwargs.rot: *", id="kwargs"
        ),
        pytest.param(
            "scheme: fs\nkwargs: {root: '${env:NOT_SET_HERE}'}\n", "*:2: *NOT_SET_HERE*", id="env"
        ),
        pytest.param(
            "scheme: fs\nkwargs: {root: x}\nretention: all\nremove_created_on_close: true\n",
            "*lab.yaml:3: retention: contradicts remove_created_on_close*",
            id="retention",
        ),
        pytest.param(
            "default: sdcrd\nstorages:\n  sdcard: {scheme: fs, kwargs: {root: x}}\n",
            "*lab.yaml:1: default: 'sdcrd' is no storage; did you mean 'sdcard'?",
            id="default",
        ),
    ],
)
def test_wrong_file_is_a_usage_error(suite: Suite, text: str, expected: str) -> None:
    suite.write(test_it=TEST)
    suite.config.write_text(text, encoding="utf-8")
    pytest.LineMatcher(_refused(suite.run())).fnmatch_lines([expected])


def test_wrong_file_is_told_once(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    suite.write(test_it=TEST)
    suite.config.write_text("scheme: fs\nkwarg: {}\n", encoding="utf-8")
    assert "did you mean 'kwargs'?" in _refused(suite.run(*plugin_args))[0]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--opendal-config=none.yaml"], "*/none.yaml: no such file*"),
        (["--opendal-retention=nne"], "--opendal-retention: 'nne' * did you mean 'none'?"),
        (["--opendal-isolation=tests"], "--opendal-isolation: *did you mean 'test'?"),
        (["--opendal-leftovers=fail"], "--opendal-leftovers: 'fail' is not allowed; known are *"),
        (["--opendal-timeout=0"], "--opendal-timeout: '0' is no number of seconds above 0; *"),
        (["--opendal-storage="], "--opendal-storage: holds an empty name; *"),
        (
            ["-o", "opendal_retention=nne"],
            "ini key opendal_retention: 'nne' * did you mean 'none'?",
        ),
        (["-o", "opendal_reap=maybe"], "ini key opendal_reap: invalid truth value 'maybe'"),
        (["-o", "opendal_storage='a"], "ini key opendal_storage: No closing quotation"),
    ],
)
def test_wrong_option_is_a_usage_error(suite: Suite, args: list[str], expected: str) -> None:
    suite.write(test_it=TEST)
    pytest.LineMatcher(_refused(suite.run(*args))).fnmatch_lines([f"ERROR: {expected}"])


@pytest.mark.skipif(int(pytest.__version__.split(".")[0]) < 9, reason="pytest 9 reads this table")
def test_a_number_that_toml_itself_knows_is_refused_in_one_line(suite: Suite) -> None:
    suite.pytester.makepyprojecttoml("[tool.pytest]\nopendal_timeout = 20\n")
    suite.write(test_it=TEST)
    (line,) = _refused(suite.run())
    assert line.startswith("ERROR: ini key opendal_timeout: ")
    assert "expects a string, got int: 20" in line
    suite.pytester.makepyprojecttoml('[tool.pytest]\nopendal_timeout = "20"\n')
    suite.run().assert_outcomes(passed=1)


def test_an_error_of_pytest_9_0_about_a_key_is_told_in_one_line(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    getini = pytest.Config.getini

    def strict(config: pytest.Config, name: str) -> Any:
        if name == "opendal_timeout":
            msg = "expects a string, got int: 20"
            raise TypeError(msg)
        return getini(config, name)

    monkeypatch.setattr(pytest.Config, "getini", strict)
    suite.write(test_it=TEST)
    assert _refused(suite.run()) == [
        "ERROR: ini key opendal_timeout: expects a string, got int: 20"
    ]


def test_unknown_storage_is_a_usage_error(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    suite.several("sdcard", sdcard=suite.fs("sd"), results=suite.fs("res"))
    suite.write(test_it=TEST)
    (line,) = _refused(suite.run("--opendal-storage=sdcrd", *plugin_args))
    assert line.endswith("lab.yaml: there is no storage 'sdcrd'; did you mean 'sdcard'?")


def test_unknown_embedded_storage_is_named(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    suite.write(test_it=TEST)
    (line,) = _refused(suite.run("--opendal-storage=sdcard", *plugin_args))
    assert line.endswith(
        "without --opendal-config: there is no storage 'sdcard'; known are default"
    )


def test_what_a_test_asks_for_without_a_configuration_is_checked_first(
    suite: Suite, plugin_args: tuple[str, ...]
) -> None:
    suite.write(
        test_it="""
        import pytest

        def test_before(opendal): opendal.write_bytes("a", b"x")

        @pytest.mark.opendal(storage="results")
        def test_marked(opendal): pass
        """
    )
    (line,) = _refused(suite.run(*plugin_args))
    assert "test_it.py:5: @pytest.mark.opendal: without --opendal-config: there is no " in line


def test_storages_that_a_test_is_parametrized_with_are_checked_first(suite: Suite) -> None:
    suite.several(None, sdcard=suite.fs("sd"), results=suite.fs("res"))
    test = (
        "import pytest\n@pytest.mark.parametrize('opendal', ['sdcard', {name!r}], indirect={way})\n"
    )
    own = "def test_it(opendal): assert opendal in ('sdcard', 'own')"
    suite.write(test_it=f"{test.format(name='own', way=False)}{own}")
    suite.run().assert_outcomes(passed=2)
    suite.write(test_it=f"{test.format(name='results', way=True)}def test_it(opendal): pass")
    suite.run().assert_outcomes(passed=2)
    suite.write(test_it=f"{test.format(name=None, way=True)}def test_it(opendal): pass")
    suite.run("--opendal-storage=results").assert_outcomes(passed=2)
    suite.write(test_it=f"{test.format(name='reslts', way=True)}def test_it(opendal): pass")
    (line,) = _refused(suite.run())
    assert "test_it.py:2: [reslts]: " in line
    assert line.endswith("there is no storage 'reslts'; did you mean 'results'?")


def test_several_storages_need_a_default(suite: Suite, plugin_args: tuple[str, ...]) -> None:
    suite.several(None, sdcard=suite.fs("sd"), results=suite.fs("res"))
    suite.write(test_it=f"{TEST}\ndef test_two(opendal): pass")
    (line,) = _refused(suite.run(*plugin_args))
    assert "several storages (sdcard, results) and no default" in line
    assert not (suite.pytester.path / "sd").exists()


def test_several_storages_need_no_default_where_each_test_names_its_own(
    suite: Suite, plugin_args: tuple[str, ...]
) -> None:
    suite.several(None, sdcard=suite.fs("sd"), results=suite.fs("res"))
    suite.write(
        test_it="""
        import pytest

        @pytest.mark.opendal(storage="results")
        def test_marked(opendal): assert opendal.name == "results"

        def test_factory(opendal_factory): assert opendal_factory("sdcard").name == "sdcard"
        """
    )
    suite.run(*plugin_args).assert_outcomes(passed=2)


@pytest.mark.parametrize("args", [(), ("--opendal-storage=b",)])
def test_tests_are_checked_against_the_configuration_that_their_conftest_gives(
    suite: Suite, plugin_args: tuple[str, ...], args: tuple[str, ...]
) -> None:
    """Not against that of the run, which they do not use."""
    suite.lab()
    suite.write(
        conftest="""
        import pytest

        @pytest.fixture(scope="session")
        def opendal_config():
            return {"default": "a", "storages": {"a": {"scheme": "memory"}, "b": {"scheme": "memory"}}}
        """,
        test_it="""
        import pytest

        @pytest.mark.opendal(storage="b")
        def test_marked(opendal): assert opendal.name == "b"

        def test_it(opendal, pytestconfig):
            assert opendal.name == (pytestconfig.getoption("opendal_storage") or ["a"])[0]

        @pytest.mark.opendal(storage="b")
        def test_asks_late(request): assert request.getfixturevalue("opendal").name == "b"

        @pytest.mark.opendal(storage="b")
        def test_asks_never(): pass
        """,
    )
    suite.run(*args, *plugin_args).assert_outcomes(passed=4)


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ("opendal('sdcard')", "test_it.py:3: @pytest.mark.opendal: 'sdcard' has no name; *"),
        ("opendal(storge='x')", "*: takes no storge=; did you mean 'storage'?"),
        ("opendal(storage=3)", "*: storage is a int; write text"),
        ("opendal(isolation='tst')", "test_it.py:3: *isolation: 'tst' is not 'none', *"),
        ("opendal(retention='some')", "*retention: 'some' is not 'none', *"),
        ("opendal(on_existing='x')", "*on_existing: 'x' is not 'created', *"),
        ("opendal_capability('presign_raed')", "*'presign_raed' is no capability; did you mean *"),
        ("opendal_capability()", "*opendal_capability: takes names only; *"),
        ("opendal_capability(['rename'])", "*: takes names only, and was given a list; *"),
        ("opendal_capability({'rename': 1})", "*: takes names only, and was given a mapping; *"),
        ("opendal_capability(5)", "*: takes names only, and was given a int; *"),
        ("opendal_capability(read=True)", "*opendal_capability: takes names only; *"),
    ],
)
@pytest.mark.parametrize("configured", [True, False])
def test_wrong_marker_is_a_usage_error(
    suite: Suite, marker: str, expected: str, *, configured: bool
) -> None:
    if configured:
        suite.lab()
    suite.write(test_it=f"import pytest\n\n@pytest.mark.{marker}\n{TEST}")
    pytest.LineMatcher(_refused(suite.run())).fnmatch_lines([f"ERROR: {expected}"])


def test_marker_with_an_unknown_storage_is_a_usage_error(suite: Suite) -> None:
    suite.lab()
    suite.write(test_it=f"import pytest\n@pytest.mark.opendal(storage='lba')\n{TEST}")
    (line,) = _refused(suite.run())
    assert line.startswith("ERROR: test_it.py:2: @pytest.mark.opendal: ")
    assert line.endswith("there is no storage 'lba'; did you mean 'lab'?")


@needs_xdist
def test_wrong_marker_is_told_once_by_the_controller(suite: Suite) -> None:
    suite.lab()
    suite.write(
        test_it=f"""
        import pytest
        {TEST}
        @pytest.mark.opendal(isolation="tst")
        def test_two(opendal): pass
        """
    )
    (line,) = _refused(suite.run("-n2"))
    assert "test_it.py:3: @pytest.mark.opendal: " in line
    assert not suite.root.exists()


def _yaml(root: Path) -> str:
    return f"scheme: fs\nkwargs: {{root: {root}}}\nretention: none\n"


def test_option_counts_before_environment_before_ini(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = suite.pytester.path
    for name in ("option", "variable", "ini"):
        (path / f"{name}.yaml").write_text(_yaml(path / name), encoding="utf-8")
    suite.write(test_it=WHERE)
    suite.pytester.makeini("[pytest]\nopendal_config = ini.yaml\n")
    monkeypatch.setenv("OPENDAL_TEST", "memory")
    suite.run("-s").stdout.fnmatch_lines([f"*storage at * {path}/ini>*"])
    monkeypatch.setenv("OPENDAL_CONFIG", "variable.yaml")
    suite.run("-s").stdout.fnmatch_lines([f"*storage at * {path}/variable>*"])
    result = suite.run("-s", "--opendal-config=option.yaml")
    result.stdout.fnmatch_lines([f"*storage at * {path}/option>*"])


def test_opendal_test_is_used_when_nothing_else_is_named(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, plugin_args: tuple[str, ...]
) -> None:
    monkeypatch.setenv("OPENDAL_TEST", "fs")
    monkeypatch.setenv("OPENDAL_FS_ROOT", str(suite.root))
    suite.write(test_it=TEST)
    result = suite.run(*plugin_args)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["opendal: OPENDAL_TEST, *", f"  storage fs (fs, {suite.root})"])
    assert suite.left() == ["a.txt"]


def test_relative_names_are_relative_to_where_they_are_written(suite: Suite) -> None:
    path = suite.pytester.path
    (path / "conf").mkdir()
    (path / "inner").mkdir()
    (path / "conf" / "lab.yaml").write_text("scheme: fs\nkwargs: {root: here}\n", encoding="utf-8")
    suite.write(test_it=WHERE)
    suite.pytester.makeini("[pytest]\nopendal_config = conf/lab.yaml\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path / "inner")
        by_ini = suite.run("-s", str(path))
        by_option = suite.run("-s", str(path), "--opendal-config=../conf/lab.yaml")
    for result in (by_ini, by_option):
        result.stdout.fnmatch_lines([f"*storage at * {path}/conf/here>*"])


def test_options_count_before_the_file(suite: Suite) -> None:
    suite.lab(retention="none", isolation="none")
    suite.write(test_it=TEST)
    suite.run("--opendal-retention=all", "--opendal-isolation=test").assert_outcomes(passed=1)
    assert [name for name in suite.left() if name.endswith("/a.txt")]


def test_marker_counts_before_the_options(suite: Suite) -> None:
    suite.lab()
    suite.write(
        test_it=f"""
        import pytest
        pytestmark = pytest.mark.opendal(isolation="test")

        @pytest.mark.opendal(retention="all")
        class TestIt:
            @pytest.mark.opendal(isolation="none")
            def test_it(self, opendal): opendal.write_bytes("kept.txt", b"x")

        {TEST}
        """
    )
    suite.run("--opendal-retention=none", "--opendal-isolation=worker").assert_outcomes(passed=2)
    assert suite.left() == ["kept.txt"]


@pytest.mark.parametrize(
    "given",
    [
        "{'scheme': 'fs', 'kwargs': {'root': 'mine'}, 'retention': 'all'}",
        "'mine.yaml'",
        "pathlib.Path('mine.yaml')",
        "pytest_opendal.config.load(pathlib.Path('mine.yaml'), {})",
    ],
    ids=["mapping", "text", "path", "lab"],
)
def test_conftest_may_give_the_configuration(suite: Suite, given: str) -> None:
    mine = "scheme: fs\nkwargs: {root: mine}\nretention: all\n"
    (suite.pytester.path / "mine.yaml").write_text(mine, encoding="utf-8")
    suite.write(
        conftest=f"""
        import pathlib, pytest, pytest_opendal.config

        @pytest.fixture(scope="session")
        def opendal_config():
            return {given}
        """,
        test_it=f"{TEST}\ndef test_two(opendal): opendal.write_bytes('b.txt', b'x')",
    )
    suite.run().assert_outcomes(passed=2)
    assert suite.left(suite.pytester.path / "mine") == ["a.txt", "b.txt"]


def test_wrong_configuration_of_a_conftest_ends_the_run(
    suite: Suite, plugin_args: tuple[str, ...]
) -> None:
    suite.write(
        conftest="""
        import pytest

        @pytest.fixture(scope="session")
        def opendal_config():
            return {"scheme": "fs", "kwarg": {"root": "mine"}}
        """,
        test_it=f"{TEST}\ndef test_two(opendal): pass\ndef test_three(opendal): pass",
    )
    result = suite.run(*plugin_args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert output(result).count("did you mean 'kwargs'?") == 1
    assert "Traceback" not in output(result)
    assert "INTERNALERROR" not in output(result)


def test_a_parameter_that_is_no_name_ends_a_run_whose_conftest_gives_the_storages(
    suite: Suite,
) -> None:
    suite.write(
        conftest="""
        import pytest

        @pytest.fixture(scope="session")
        def opendal_config():
            return {"scheme": "memory"}
        """,
        test_it=f"import pytest\n@pytest.mark.parametrize('opendal', [[5]], indirect=True)\n{TEST}",
    )
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "there is no storage '[5]'; known are default" in output(result)


def test_an_embedded_storage_whose_directory_is_no_text_ends_the_run(suite: Suite) -> None:
    suite.write(test_it=TEST)
    base = suite.pytester.path / "bas\udcff"
    result = suite.run(f"--basetemp={base}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "is no UTF-8 text; name another --basetemp" in output(result)
    assert "Traceback" not in output(result)


def test_configurations_of_a_conftest_may_differ(
    suite: Suite, plugin_args: tuple[str, ...]
) -> None:
    """Two storages of one name are two places, and each gets its own cleanup."""
    suite.write(
        conftest="""
        import pytest

        @pytest.fixture(scope="session", params=["one", "two"])
        def opendal_config(request):
            return {"scheme": "fs", "kwargs": {"root": request.param}, "retention": "none"}
        """,
        test_it="""
        from pathlib import Path

        def test_it(opendal, opendal_session, request):
            root = Path(request.node.callspec.params["opendal_config"])
            opendal.write_bytes("d/a.txt", b"x")
            opendal_session.write_bytes("d/s.txt", b"x")
            assert sorted(path.name for path in (root / "d").iterdir()) == ["a.txt", "s.txt"]
        """,
    )
    result = suite.run(*plugin_args)
    result.assert_outcomes(passed=2)
    assert suite.left(suite.pytester.path / "one") == []
    assert suite.left(suite.pytester.path / "two") == []


def test_a_value_that_opendal_refuses_ends_the_run(
    suite: Suite, plugin_args: tuple[str, ...]
) -> None:
    suite.several(None, lab={"scheme": "s3", "kwargs": {"region": "x", "bucket": ""}})
    suite.write(test_it=f"{TEST}\ndef test_two(opendal): pass")
    result = suite.run(*plugin_args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "lab.yaml" in output(result)
    assert "bucket" in output(result)
    assert "Traceback" not in output(result)
