"""The JSON Schema of a configuration, by which an editor marks what a run would refuse."""

from __future__ import annotations

from typing import Any

from pytest_opendal.settings import SeveralStorages

_VARIABLE = {"type": "string", "pattern": r"\$\{env:"}
_ABOUT = ("title", "description", "default")
_WAYS = [
    {"required": ["scheme"], "not": {"required": ["jumpstarter"]}},
    {
        "required": ["jumpstarter"],
        "not": {"anyOf": [{"required": ["scheme"]}, {"required": ["kwargs"]}]},
    },
]
"""How a storage is reached: in one way."""


def schema(driver: str) -> dict[str, Any]:
    """Return the schema of a file with one or with several storages, or of Jumpstarter's own.

    Args:
        driver: the class of the exporter's driver, as a driver instance names it.
    """
    several = SeveralStorages.model_json_schema()
    definitions = several.pop("$defs") | {"SeveralStorages": several}
    for definition in definitions.values():
        properties = definition["properties"]
        definition["properties"] = {key: _written(part) for key, part in properties.items()}
    definitions["StorageEntry"]["oneOf"] = _WAYS
    forms = [{"$ref": f"#/$defs/{name}"} for name in ("StorageEntry", "SeveralStorages")]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of pytest-opendal",
        "$defs": definitions,
        "anyOf": [*forms, _naming("kind", "ExporterConfig"), _naming("type", driver)],
    }


def _naming(key: str, value: str) -> dict[str, Any]:
    """Return the schema of a file of Jumpstarter's, which describes its own keys."""
    return {"type": "object", "properties": {key: {"const": value}}, "required": [key]}


def _written(part: dict[str, Any]) -> dict[str, Any]:
    """Return how a value is written into a file: never as null, and maybe as a variable."""
    about = {key: part[key] for key in _ABOUT if part.get(key) is not None}
    value = {key: rule for key, rule in part.items() if key not in _ABOUT}
    ways = [way for way in value.get("anyOf", [value]) if way.get("type") != "null"]
    if any(_takes_variables(way) for way in ways):
        ways.append(_VARIABLE)
    return about | (ways[0] if len(ways) == 1 else {"anyOf": ways})


def _takes_variables(way: dict[str, Any]) -> bool:
    """Whether a text may stand for the value that would not be allowed itself."""
    return "enum" in way or way.get("type") in {"boolean", "integer", "number"}
