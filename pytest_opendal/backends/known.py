"""What the installed opendal says about its services: their names and the keys of each.

OpenDAL ignores an unknown key silently, so that a typo changes what a test runs against. The lists
come from the files that opendal's wheel ships for type checkers, read without importing opendal.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import re
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_opendal.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# opendal 0.47 also takes these, which its list leaves out: the serde aliases in the config.rs of
# each service of apache/opendal.
_OTHER_SPELLINGS = {
    "azblob": """
        access_key azure_container_name azure_endpoint azure_storage_access_key
        azure_storage_account_key azure_storage_account_name azure_storage_endpoint
        azure_storage_master_key azure_storage_sas_key azure_storage_sas_token container_name
        master_key sas_key
        """,
    "gcs": """
        bucket_name google_application_credentials google_bucket google_bucket_name
        google_service_account google_service_account_key google_service_account_path
        google_skip_signature service_account_key service_account_path
        """,
    "s3": """
        aws_access_key_id aws_bucket aws_bucket_name aws_checksum_algorithm aws_endpoint
        aws_endpoint_url aws_profile aws_region aws_request_payer aws_secret_access_key
        aws_server_side_encryption aws_session_token aws_sse_customer_key_base64
        aws_sse_kms_key_id aws_token aws_virtual_hosted_style_request bucket_name endpoint_url
        request_payer token virtual_hosted_style_request
        """,
    "tos": """
        tos_access_key_id tos_secret_access_key tos_security_token volcengine_access_key_id
        volcengine_secret_access_key volcengine_session_token
        """,
}
_OTHER_NAMES = {"huggingface": "hf", "hf": "huggingface", "file": "fs", "https": "http"}

# Without these opendal 0.45 and 0.47 refuse to make an operator, which is after the first test began.
_NEEDED = {
    "alluxio": "endpoint",
    "azblob": "container endpoint",
    "azdls": "filesystem endpoint",
    "azfile": "share_name endpoint",
    "b2": "bucket bucket_id application_key_id application_key",
    "cacache": "datadir",
    "cos": "bucket endpoint",
    "dropbox": "access_token",
    "ftp": "endpoint",
    "gcs": "bucket",
    "gcs-grpc": "bucket",
    "gdrive": "access_token",
    "gridfs": "connection_string database",
    "hdfs-native": "name_node",
    "hf": "repo_type repo_id",
    "http": "endpoint",
    "huggingface": "repo_id",
    "ipfs": "endpoint root",
    "koofr": "endpoint email password",
    "memcached": "endpoint",
    "mongodb": "connection_string database collection",
    "mysql": "connection_string table",
    "obs": "bucket endpoint",
    "onedrive": "access_token",
    "oss": "bucket endpoint",
    "persy": "datafile segment index",
    "postgresql": "connection_string table",
    "redb": "datadir table",
    "s3": "bucket region",
    "seafile": "endpoint repo_name username password",
    "sftp": "endpoint",
    "sled": "datadir",
    "sqlite": "connection_string table",
    "swift": "endpoint container",
    "upyun": "bucket operator password",
    "vercel-artifacts": "access_token",
    "webdav": "endpoint",
    "yandex-disk": "access_token",
}
# 0.45 asks for a server on this machine then.
_NEEDED_BY_047 = {"redis": "endpoint"}
_INSTEAD = {"access_token": "refresh_token", "endpoint": "cluster_endpoints"}
_WHAT_IT_IS = {
    "bucket": "name the bucket",
    "connection_string": "write the address of the database",
    "container": "name the container",
    "endpoint": "write the address of the server",
    "region": "write the region that requests are signed for, us-east-1 on most servers of one's own",
}
_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE")


@dataclass(frozen=True, slots=True)
class ServiceProblem:
    """What is wrong with the arguments of a service."""

    key: str | None
    """The key of ``kwargs``; None: the scheme itself."""
    text: str
    """What is wrong and what would be right, to be put after the key or the scheme."""


def known_schemes() -> frozenset[str] | None:
    """Return the services that the installed opendal lists; None when it has no list."""
    services = _services()
    return None if services is None else frozenset(services)


def known_keys(scheme: str) -> Mapping[str, str] | None:
    """Return the keys that a service takes with what opendal says of each; None when not known.

    opendal 0.45 says nothing, which is ``""``.
    """
    services = _services() or {}
    return services.get(spelled(scheme))


def needed_keys(scheme: str) -> tuple[str, ...]:
    """Return the keys without which opendal refuses a service."""
    needed = _NEEDED if opendal_version().startswith("0.45.") else _NEEDED | _NEEDED_BY_047
    return tuple(needed.get(spelled(scheme).replace("_", "-"), "").split())


@cache
def opendal_version() -> str:
    """Return the version of the installed opendal, without importing it."""
    return importlib.metadata.version("opendal")


def spelled(scheme: str) -> str:
    """Return a scheme as the installed opendal spells it.

    ``aliyun_drive`` is 0.45, which takes no other spelling, and ``aliyun-drive`` is 0.47.
    """
    services = _services() or {}
    name = scheme.lower()
    spellings = (name, name.replace("-", "_"), name.replace("_", "-"), _OTHER_NAMES.get(name, name))
    return next((spelling for spelling in spellings if spelling in services), name)


def check_service(scheme: str, kwargs: Mapping[str, str]) -> Iterator[ServiceProblem]:
    """Yield what is wrong with a scheme or with its arguments; nothing without a list."""
    schemes = known_schemes()
    if schemes is None:
        return
    if problem := _scheme_problem(scheme, schemes):
        yield ServiceProblem(None, problem)
        return
    known = known_keys(scheme) or {}
    unknown = sorted(kwargs.keys() - known.keys())
    for key in unknown:
        problem = f"is no key of this service, which would ignore it; {did_you_mean(key, known)}"
        yield ServiceProblem(key, problem)
    if not unknown:  # one of them may be a needed key with a typo
        yield from _missing(scheme, kwargs)


def _missing(scheme: str, kwargs: Mapping[str, str]) -> Iterator[ServiceProblem]:
    for needed in needed_keys(scheme):
        given = [key for key in kwargs if _stands_for(key, needed)]
        if any(kwargs[key] for key in given) or (needed == "region" and _has_region_elsewhere()):
            continue
        remedy = _WHAT_IT_IS.get(needed, "this service needs it")
        if given:
            yield ServiceProblem(given[0], f"is empty; {remedy}")
        else:
            yield ServiceProblem(needed, f"is missing; {remedy}")


def _stands_for(key: str, needed: str) -> bool:
    """Whether a key is one that a service needs, or another spelling: aws_region, container_name."""
    other = rf"(?:[a-z]+_)*{needed}(?:_name|_url)?"
    return key == _INSTEAD.get(needed) or bool(re.fullmatch(other, key))


def _has_region_elsewhere() -> bool:
    """Whether opendal may find a region by itself: 0.45 reads the file, 0.47 the second variable."""
    if any(os.environ.get(name) for name in _REGION_VARIABLES):
        return True
    return Path("~/.aws/config").expanduser().exists()


def _scheme_problem(scheme: str, schemes: frozenset[str]) -> str | None:
    name = spelled(scheme)
    version = opendal_version()
    if name not in schemes:
        return f"is no service of the installed opendal {version}; {did_you_mean(name, schemes)}"
    if name not in (_built_in() or schemes):
        return f"is not built into the installed opendal {version}; use another version or service"
    return None


@cache
def _built_in() -> frozenset[str] | None:
    """Return the services that were compiled into opendal; None for 0.45, which does not tell.

    0.45 would have to build an operator to find out, which starts threads: fatal for a later fork.
    """
    import opendal

    try:
        opendal.AsyncOperator("no-such-service")
    except Exception as error:
        found = re.search(r"^\s*available: (.+)$", str(error), re.MULTILINE)
        return frozenset(found[1].split(", ")) if found else None
    return None


@cache
def _services() -> Mapping[str, Mapping[str, str]] | None:
    spec = importlib.util.find_spec("opendal")
    folders = spec.submodule_search_locations if spec else None
    readers = {"config.py": _from_typed_dicts, "__base.pyi": _from_overloads}
    for folder, name in product(map(Path, folders or ()), readers):
        if services := dict(readers[name](_parsed(folder / name))):
            return services
    return None


def _parsed(path: Path) -> ast.Module:
    """Return what Python makes of a file, nothing when it is missing or written in another way."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])


def _from_typed_dicts(module: ast.Module) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield each service of 0.47's ``opendal.config``, one TypedDict for each."""
    for record in module.body:
        if isinstance(record, ast.ClassDef):
            fields = {name: (annotation, text) for name, annotation, text in _fields(record)}
            annotation, _ = fields.pop("scheme", (None, ""))
            if scheme := _literal(annotation):
                keys = {name: text for name, (_, text) in fields.items()}
                yield scheme, keys | dict.fromkeys(_OTHER_SPELLINGS.get(scheme, "").split(), "")


def _fields(record: ast.ClassDef) -> Iterator[tuple[str, ast.expr, str]]:
    """Yield name and annotation of the fields of a TypedDict, each with the text below it."""
    for item, following in zip(record.body, [*record.body[1:], None], strict=True):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            text = following.value if isinstance(following, ast.Expr) else None
            yield item.target.id, item.annotation, _literal(text) or ""


def _from_overloads(module: ast.Module) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield each service of 0.45's ``__base.pyi``, one overload of ``__init__`` for each."""
    for function in ast.walk(module):
        if isinstance(function, ast.FunctionDef):
            arguments = function.args.posonlyargs + function.args.args
            schemes = [scheme for one in arguments if (scheme := _literal(one.annotation))]
            for scheme in schemes:
                yield scheme, dict.fromkeys((one.arg for one in function.args.kwonlyargs), "")


def _literal(expression: ast.expr | None) -> str | None:
    """Return the first text in an expression like ``Required[Literal["s3"]]``."""
    for node in ast.walk(expression) if expression else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
    return None
