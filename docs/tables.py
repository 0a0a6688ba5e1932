"""Reference tables that are made from the code while the documentation is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click
from sphinx.util.docutils import SphinxDirective

from pytest_opendal import jsonreport, options, settings
from pytest_opendal.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from docutils import nodes
    from sphinx.application import Sphinx


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`")


def options_table() -> str:
    """Return the options with their ini keys and variables."""
    rows = [
        (_usage(option), f"`{option.ini}`", _code(option.environment or ""), option.help)
        for option in options.TABLE
    ]
    return table(("option", "ini key", "environment", "meaning"), rows)


def _usage(option: options.Option) -> str:
    if option.ini_only:
        return "(ini only)"
    if option.kind == "switch":
        return f"`{option.flag}`"
    value = ",".join(option.choices) if option.choices else str(option.metavar)
    return f"`{option.flag}={{{value}}}`" if option.choices else f"`{option.flag}={value}`"


def settings_table(model: type[settings.Settings]) -> str:
    """Return the keys of a record with what they take, their defaults and meanings."""
    schema = model.model_json_schema()
    rows = [
        (f"`{name}`", _takes(part), _default(name, part, schema), part.get("description", ""))
        for name, part in schema["properties"].items()
    ]
    return table(("key", "takes", "default", "meaning"), rows)


_TYPES = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "`true` or `false`",
    "array": "a list of texts",
    "object": "a mapping",
}


def _takes(part: Mapping[str, Any]) -> str:
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    ways = [way for way in part.get("anyOf", ()) if way.get("type") != "null"]
    if ways:
        return " or ".join(_takes(way) for way in ways)
    if "$ref" in part:
        return "a mapping, see below"
    types = part["type"]
    return " or ".join(_TYPES[name] for name in ([types] if isinstance(types, str) else types))


def _default(name: str, part: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if name in schema.get("required", ()):
        return "(required)"
    default = part.get("default")
    return "" if default is None or default == [] else _code(json.dumps(default).strip('"'))


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def report_tables() -> str:
    """Return the keys of the JSON report, and of the records in it."""
    schema = json.loads(jsonreport.schema())
    parts = [schema["$defs"][name] for name in ("storage", "leftover", "remnants", "conflict")]
    tables = [_report_table(schema, schema["$defs"])]
    tables += [f"## {part['title']}\n\n{_report_table(part, schema['$defs'])}" for part in parts]
    return "\n\n".join(tables)


def _report_table(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    rows = []
    for name, given in part["properties"].items():
        shared = definitions[given["$ref"].rpartition("/")[2]] if "$ref" in given else {}
        merged = {**shared, **given}
        rows.append((f"`{name}`", _holds(merged), merged["description"]))
    return table(("key", "holds", "meaning"), rows)


def _holds(part: Mapping[str, Any]) -> str:
    if "const" in part or "enum" in part:
        return ", ".join(
            f"`{json.dumps(value)}`" for value in part.get("enum", [part.get("const")])
        )
    types = part["type"]
    return " or ".join(_JSON_TYPES[name] for name in ([types] if isinstance(types, str) else types))


_JSON_TYPES = {"string": "text", "integer": "number", "null": "`null`", "array": "list"}


def command_help(names: Iterable[str] = ()) -> str:
    """Return what ``pytest-opendal`` says of itself, or of one of its commands."""
    command: click.Command = main
    context = click.Context(main, info_name="pytest-opendal", **main.context_settings)
    for name in names:
        command = main.commands[name]
        context = click.Context(command, info_name=name, parent=context)
    return command.get_help(context)


def command_text() -> str:
    """Return a section for each command, with its help."""
    sections = [_help_block(command_help())]
    sections += [f"## {name}\n\n{_help_block(command_help([name]))}" for name in main.commands]
    return "\n\n".join(sections)


def _help_block(text: str) -> str:
    return f"```text\n{text}\n```"


MEASURED = Path(__file__).parent / "benchmarks"
"""What `tox run -e bench` and `tox run -e bench-opendal045` wrote."""


def speed_table() -> str:
    """Return what was measured on both lines of opendal, one row for each work."""
    lines = [
        json.loads(file.read_text(encoding="utf-8")) for file in sorted(MEASURED.glob("*.json"))
    ]
    heads = ["work", "peer", "goal", *(f"opendal {told['opendal']}" for told in lines)]
    rows: dict[tuple[str, str, str], list[str]] = {}
    for number, told in enumerate(lines):
        for row in told["rows"]:
            goal = "" if row["target"] is None else f"{row['target']:g}"
            cells = rows.setdefault((_work(row), row["peer"], goal), [""] * len(lines))
            cells[number] = _ratio(row)
    return table(heads, [(*names, *cells) for names, cells in rows.items()])


def _work(row: Mapping[str, Any]) -> str:
    size = row["size"]
    if size is None:
        return str(row["work"])
    return f"{row['work']}, {f'{size >> 20} MiB' if size % (1 << 20) == 0 else f'{size:,}'}"


def _ratio(row: Mapping[str, Any]) -> str:
    peak = row["ours"]["peak"]
    text = f"{row['ratio']:.2f}" if row["within"] else f"**{row['ratio']:.2f}**"
    return f"{text} (+{max(1, peak >> 20)} MiB)" if peak else text


class SpeedTable(SphinxDirective):
    """The directive ``opendal-speed``."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        return self.parse_text_to_nodes(speed_table())


class CommandHelp(SphinxDirective):
    """The directive ``opendal-command``."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        return self.parse_text_to_nodes(command_text(), allow_section_headings=True)


class ReportTables(SphinxDirective):
    """The directive ``opendal-report``."""

    def run(self) -> list[nodes.Node]:
        """Return the tables."""
        return self.parse_text_to_nodes(report_tables(), allow_section_headings=True)


class OptionsTable(SphinxDirective):
    """The directive ``opendal-options``."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        return self.parse_text_to_nodes(options_table())


class SettingsTable(SphinxDirective):
    """The directive ``opendal-settings MODEL``."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        return self.parse_text_to_nodes(settings_table(getattr(settings, self.arguments[0])))


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives."""
    app.add_directive("opendal-command", CommandHelp)
    app.add_directive("opendal-report", ReportTables)
    app.add_directive("opendal-options", OptionsTable)
    app.add_directive("opendal-speed", SpeedTable)
    app.add_directive("opendal-settings", SettingsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
