"""What the installed opendal says about its services: their names and the keys of each.

OpenDAL ignores an unknown key silently, so that a typo changes what a test runs against. The lists
come from the files that opendal's wheel ships for type checkers, read without importing opendal.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_opendal.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

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


def known_keys(scheme: str) -> frozenset[str] | None:
    """Return the keys that a service takes; None when that is not known."""
    services = _services() or {}
    return services.get(spelled(scheme))


def spelled(scheme: str) -> str:
    """Return a scheme as the installed opendal spells it.

    ``aliyun_drive`` is 0.45, which takes no other spelling, and ``aliyun-drive`` is 0.47.
    """
    services = _services() or {}
    name = scheme.lower()
    spellings = (name, name.replace("-", "_"), name.replace("_", "-"), _OTHER_NAMES.get(name, name))
    return next((spelling for spelling in spellings if spelling in services), name)


def check_service(scheme: str, keys: Collection[str]) -> Iterator[ServiceProblem]:
    """Yield what is wrong with a scheme or the names of its arguments; nothing without a list."""
    schemes = known_schemes()
    if schemes is None:
        return
    if problem := _scheme_problem(scheme, schemes):
        yield ServiceProblem(None, problem)
        return
    known = known_keys(scheme) or frozenset()
    for key in sorted(set(keys) - known):
        problem = f"is no key of this service, which would ignore it; {did_you_mean(key, known)}"
        yield ServiceProblem(key, problem)


def _scheme_problem(scheme: str, schemes: frozenset[str]) -> str | None:
    name = spelled(scheme)
    version = importlib.metadata.version("opendal")
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
def _services() -> Mapping[str, frozenset[str]] | None:
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


def _from_typed_dicts(module: ast.Module) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield each service of 0.47's ``opendal.config``, one TypedDict for each."""
    for record in module.body:
        if isinstance(record, ast.ClassDef):
            fields = {
                item.target.id: item.annotation
                for item in record.body
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
            }
            if scheme := _literal(fields.pop("scheme", None)):
                yield scheme, frozenset(fields) | set(_OTHER_SPELLINGS.get(scheme, "").split())


def _from_overloads(module: ast.Module) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield each service of 0.45's ``__base.pyi``, one overload of ``__init__`` for each."""
    for function in ast.walk(module):
        if isinstance(function, ast.FunctionDef):
            arguments = function.args.posonlyargs + function.args.args
            schemes = [scheme for one in arguments if (scheme := _literal(one.annotation))]
            for scheme in schemes:
                yield scheme, frozenset(one.arg for one in function.args.kwonlyargs)


def _literal(annotation: ast.expr | None) -> str | None:
    """Return the text in an annotation like ``Required[Literal["s3"]]``."""
    for node in ast.walk(annotation) if annotation else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
    return None
