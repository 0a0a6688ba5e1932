"""What the installed opendal, whichever line it is, says about its services."""

from __future__ import annotations

import contextlib
import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

import opendal
import pytest

import pytest_opendal
from pytest_opendal.backends.known import (
    check_service,
    known_keys,
    known_schemes,
    needed_keys,
    spelled,
)

VERSION = importlib.metadata.version("opendal")
IS_045 = VERSION.startswith("0.45.")
NOT_BUILT_IN = f"is not built into the installed opendal {VERSION}; use another version or service"
PACKAGE_ROOT = Path(pytest_opendal.__path__[0]).parent


def _problems(scheme: str, *keys: str) -> list[tuple[str | None, str]]:
    return [
        (problem.key, problem.text) for problem in check_service(scheme, dict.fromkeys(keys, "x"))
    ]


@pytest.mark.parametrize(
    ("scheme", "keys"),
    [
        ("fs", "root atomic_write_dir"),
        ("memory", "root"),
        ("http", "endpoint root username password token"),
        ("webdav", "endpoint root username password token"),
        ("redis", "endpoint cluster_endpoints username password db root default_ttl"),
        ("azblob", "container root endpoint account_name account_key sas_token encryption_key"),
        ("gcs", "bucket root endpoint credential credential_path allow_anonymous scope"),
        (
            "s3",
            (
                "bucket root endpoint region access_key_id secret_access_key session_token "
                "role_arn disable_config_load disable_ec2_metadata allow_anonymous "
                "enable_virtual_host_style "
                "batch_max_operations delete_max_size default_storage_class enable_versioning "
                "checksum_algorithm disable_list_objects_v2 server_side_encryption"
            ),
        ),
        ("sqlite", "connection_string table key_field value_field root"),
        ("memcached", "endpoint username password default_ttl root"),
    ],
)
def test_valid_keys_of_common_services_are_not_refused(scheme: str, keys: str) -> None:
    assert _problems(scheme, *keys.split()) == []


@pytest.mark.parametrize("scheme", sorted(known_schemes() or ()))
def test_every_listed_key_of_every_service_that_is_built_in_is_accepted(scheme: str) -> None:
    problems = _problems(scheme, *(known_keys(scheme) or ()))
    assert problems in ([], [(None, NOT_BUILT_IN)])


@pytest.mark.skipif(not IS_045, reason="opendal 0.47 has no sftp")
def test_sftp_is_a_service_of_0_45_and_ftp_is_not() -> None:
    assert _problems("sftp", "endpoint", "root", "user", "key", "enable_copy") == []
    [(key, text)] = _problems("ftp")
    assert (key, text) == (
        None,
        f"is no service of the installed opendal {VERSION}; did you mean 'sftp'?",
    )


@pytest.mark.skipif(IS_045, reason="opendal 0.45 has no ftp")
def test_ftp_is_a_service_of_0_47_and_sftp_is_listed_but_not_built_in() -> None:
    assert _problems("ftp", "endpoint", "root", "user", "password") == []
    assert _problems("sftp") == [(None, NOT_BUILT_IN)]


def test_a_key_with_a_typo_is_told_with_the_right_one() -> None:
    assert _problems("s3", "bucket", "buckett", "acces_key_id") == [
        (
            "acces_key_id",
            "is no key of this service, which would ignore it; did you mean 'access_key_id'?",
        ),
        ("buckett", "is no key of this service, which would ignore it; did you mean 'bucket'?"),
    ]


def test_a_key_that_is_like_no_other_is_told_with_some_that_exist() -> None:
    assert _problems("fs", "qqq") == [
        (
            "qqq",
            "is no key of this service, which would ignore it; known are atomic_write_dir, root",
        ),
    ]


def test_a_scheme_with_a_typo_is_told_with_the_right_one_and_the_version() -> None:
    assert _problems("webdv", "anything") == [
        (None, f"is no service of the installed opendal {VERSION}; did you mean 'webdav'?"),
    ]


@pytest.mark.parametrize(
    ("scheme", "keys"),
    [
        ("s3", ["bucket_name", "aws_endpoint_url", "aws_region", "token", "request_payer"]),
        ("azblob", ["container_name", "azure_endpoint", "sas_key"]),
        ("gcs", ["bucket_name", "service_account_path"]),
    ],
)
def test_spellings_of_other_libraries_are_keys_where_opendal_takes_them(
    scheme: str, keys: list[str]
) -> None:
    assert len(_problems(scheme, *keys)) == (len(keys) if IS_045 else 0)


def test_opendal_itself_takes_the_other_spellings_on_the_line_that_we_say() -> None:
    try:
        opendal.AsyncOperator("s3", bucket_name="b", region="r")
    except opendal.exceptions.ConfigInvalid:
        taken = False
    else:
        taken = True
    assert taken is not IS_045


@pytest.mark.parametrize(
    "scheme", ["aliyun-drive", "aliyun_drive", "mini-moka", "MINI_MOKA", "HF", "huggingface"]
)
def test_every_spelling_of_a_scheme_leads_to_the_one_that_this_opendal_takes(scheme: str) -> None:
    assert spelled(scheme) in (known_schemes() or ())
    assert _problems(scheme, *(known_keys(scheme) or ())) == []
    # A service that is there may want arguments, one that is not there is Unsupported.
    with contextlib.suppress(opendal.exceptions.ConfigInvalid):
        opendal.AsyncOperator(spelled(scheme))


def test_a_scheme_that_nobody_knows_stays_as_it_is() -> None:
    assert spelled("Nobody-Knows") == "nobody-knows"
    assert known_keys("nobody-knows") is None


IMPORT = """
from pytest_opendal.backends.known import check_service, known_keys, known_schemes, spelled
"""


def _run(code: str, *path: Path) -> str:
    """Run Python without site-packages, with the package and ``path`` alone."""
    with tempfile.TemporaryDirectory() as alone:
        # An installed package has opendal beside it.
        Path(alone, "pytest_opendal").symlink_to(PACKAGE_ROOT / "pytest_opendal")
        places = [alone, *map(str, path)]
        program = f"import sys; sys.path[:0] = {places!r}\n{IMPORT}\n{code}"
        command = [sys.executable, "-I", "-S", "-c", program]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    return run.stdout.strip()


CHECKED = (
    "print(known_schemes(), known_keys('s3'), list(check_service('s4', {'x': ''})), spelled('S3'))"
)


def test_without_opendal_nothing_is_known_and_nothing_is_refused() -> None:
    assert _run(CHECKED) == "None None [] s3"


def test_an_opendal_without_lists_refuses_nothing(tmp_path: Path) -> None:
    (tmp_path / "opendal").mkdir()
    (tmp_path / "opendal" / "__init__.py").touch()
    assert _run(CHECKED, tmp_path) == "None None [] s3"


def test_lists_that_are_written_in_another_way_refuse_nothing(tmp_path: Path) -> None:
    (tmp_path / "opendal").mkdir()
    (tmp_path / "opendal" / "config.py").write_text("SERVICES = {'s3': ['bucket']}\n")
    assert _run(CHECKED, tmp_path) == "None None [] s3"
    (tmp_path / "opendal" / "config.py").write_text("this is not Python\n")
    assert _run(CHECKED, tmp_path) == "None None [] s3"


def test_the_lists_are_read_without_importing_opendal() -> None:
    site = Path(opendal.__file__).parent.parent
    assert _run("known_keys('s3'); print('opendal' in sys.modules)", site) == "False"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to count threads")
def test_checking_starts_no_thread_which_would_hang_a_later_fork() -> None:
    site = Path(opendal.__file__).parent.parent
    code = "import os; list(check_service('memory', {})); print(len(os.listdir('/proc/self/task')))"
    assert _run(code, site) == "1"


NEEDED = [
    (scheme, key)
    for scheme in sorted(known_schemes() or ())
    for key in needed_keys(scheme)
    if (None, NOT_BUILT_IN) not in _problems(scheme)
]


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of this machine."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("no_aws")
@pytest.mark.parametrize(("scheme", "key"), NEEDED)
def test_opendal_itself_refuses_a_service_without_a_key_that_we_call_needed(
    scheme: str, key: str
) -> None:
    others = {other: "x" for other in needed_keys(scheme) if other != key}
    [(missing, text)] = _problems(scheme, *others)
    assert missing == key
    assert text.startswith("is missing; ")
    # 0.45 does not tell which services are built in.
    with pytest.raises((opendal.exceptions.ConfigInvalid, opendal.exceptions.Unsupported)):
        opendal.AsyncOperator(scheme, **others)
    [empty] = check_service(scheme, {**others, key: ""})
    assert (empty.key, empty.text) == (key, text.replace("is missing", "is empty"))


@pytest.mark.parametrize(
    "scheme",
    ["azblob", "azdls", "b2", "cos", "memcached", "obs", "oss", "redis", "swift"],
)
def test_opendal_takes_a_service_with_no_more_than_what_we_call_needed(scheme: str) -> None:
    address = {"memcached": "tcp://127.0.0.1:1", "redis": "redis://127.0.0.1:1"}
    endpoint = {"endpoint": address.get(scheme, "http://files.example.com")}
    kwargs = {key: endpoint.get(key, "x") for key in needed_keys(scheme)}
    assert _problems(scheme, *kwargs) == []
    opendal.AsyncOperator(scheme, **kwargs)


@pytest.mark.parametrize(
    ("scheme", "keys"),
    [
        ("redis", ["cluster_endpoints"]),
        ("dropbox", ["refresh_token", "client_id", "client_secret"]),
        ("b2", ["bucket", "bucket_id", "application_key_id", "application_key"]),
    ],
)
def test_a_key_that_stands_for_a_needed_one_is_enough(scheme: str, keys: list[str]) -> None:
    assert _problems(scheme, *keys) == []


def test_a_longer_name_is_no_other_spelling() -> None:
    assert [key for key, _ in _problems("b2", "bucket_id", "application_key_id")] == [
        "bucket",
        "application_key",
    ]


@pytest.mark.usefixtures("no_aws")
@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE"])
def test_a_region_may_come_from_where_opendal_looks(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [key for key, _ in _problems("s3", "bucket")] == ["region"]
    monkeypatch.setenv(variable, "us-east-1")
    assert _problems("s3", "bucket") == []


@pytest.mark.usefixtures("no_aws")
def test_a_region_may_come_from_the_users_own_file(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").touch()
    assert _problems("s3", "bucket") == []


def test_a_typo_is_told_rather_than_what_is_missing_because_of_it() -> None:
    assert [key for key, _ in _problems("webdav", "endpoitn")] == ["endpoitn"]
