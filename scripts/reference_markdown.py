"""Markdown helpers of `scripts/reference.py`, which also convert JSON Schemas to tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

GENERATED = "<!-- Written by `make docs`. Edit the code that this page describes, not the page. -->"

Schema = Mapping[str, Any]  # a JSON Schema


# Markdown


def page(title: str, *parts: str) -> str:
    return "\n\n".join((f"# {title}", GENERATED, *(part.strip("\n") for part in parts if part))) + "\n"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (headings, ["---"] * len(headings), *rows)
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text.strip()).replace("|", "\\|")


def link(text: str, heading: str) -> str:
    """Return a link to a heading of the same page, with GitHub's anchor."""
    anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    return f"[{text}](#{anchor})"


def markdown(docstring: str | None) -> str:
    """Convert a docstring from reStructuredText to Markdown."""
    text = re.sub(r":pep:`(\d+)`", r"PEP \1", (docstring or "").strip())
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")


def summary(docstring: str | None) -> str:
    """Return the first paragraph of a docstring."""
    return markdown(docstring).partition("\n\n")[0]


# JSON Schemas: configuration files, request bodies, stored objects


def json_type(schema: Schema) -> str:
    """Return the type of a value in words. An object with its own section becomes a link to it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return link(name, name)
    if "anyOf" in schema:
        return " or ".join(json_type(each) for each in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{json.dumps(each)}`" for each in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {several(json_type(schema['items']))}" if "items" in schema else "list"
    if schema.get("additionalProperties", False) not in (False, True):
        return f"{several(json_type(schema['additionalProperties']))} by name"
    return str(schema.get("type", "any"))


def several(kind: str) -> str:
    """Return the plural of a type, if the type is one word."""
    return f"{kind}s" if kind.isalpha() else kind


def meaning(field: Schema) -> str:
    """Return the description of a key, with its limits."""
    limits = [
        f"{words} {field[key]:g}"
        for key, words in (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"))
        if key in field
    ]
    return " ".join(
        filter(None, (markdown(field.get("description")), f"({', '.join(limits)})" if limits else ""))
    )


def object_section(name: str, schema: Schema) -> str:
    """Return a section with the fields of a request body or a stored object."""
    required = schema.get("required", ())
    rows = [
        (f"`{key}`", json_type(field), "" if key in required else "optional", meaning(field))
        for key, field in schema.get("properties", {}).items()
    ]
    return f"### {name}\n\n{markdown(schema.get('description'))}\n\n{table(('field', 'type', '', 'meaning'), rows)}"


class Keys:
    """The keys of a TOML file: a section for each table, with its keys in the order of the model.

    Raises:
        ValueError: keys have no description. The message names them.
    """

    def __init__(self, model: type[BaseModel], root: str = "") -> None:
        schema = model.model_json_schema(by_alias=True)
        self._definitions: Mapping[str, Schema] = schema.get("$defs", {})
        self._headings: dict[str, str] = {}  # by definition
        self._missing: list[str] = []  # keys without a description
        self.text = "\n\n".join(self._sections(schema, root, f"`{root}`" if root else "Top level"))
        if self._missing:
            raise ValueError(f"{model.__name__}: no description of {', '.join(self._missing)}")

    def _sections(self, schema: Schema, path: str, heading: str) -> Iterator[str]:
        """Yield the section of a table, then those of the tables below it that have none yet."""
        below: dict[str, str] = {}  # definition -> path
        rows = []
        for key, field in schema.get("properties", {}).items():
            place = f"{path.strip('[]')}.{key}".strip(".")
            description = meaning(self._described(field))
            if not description:
                self._missing.append(place)
            default = "required" if key in schema.get("required", ()) else _default(field)
            rows.append((f"`{key}`", self._type(field, place, below), default, description))
        yield f"## {heading}\n\n{markdown(schema.get('description'))}"
        yield table(("key", "type", "default", "meaning"), rows)
        for definition, place in below.items():
            yield from self._sections(self._definitions[definition], place, self._headings[definition])

    def _described(self, field: Schema) -> Schema:
        """Return the field with a description. Without its own, it gets that of its table."""
        if "$ref" not in field or "description" in field:
            return field
        return {
            **field,
            "description": self._definitions[field["$ref"].rpartition("/")[2]].get("description"),
        }

    def _type(self, field: Schema, path: str, below: dict[str, str]) -> str:
        """Return a type in TOML's words. A table becomes a link to its section."""
        values = field.get("additionalProperties") or next(
            iter(field.get("patternProperties", {}).values()), None
        )
        if "$ref" in field:
            return self._table(field["$ref"], f"[{path}]", below, "table")
        if "oneOf" in field:
            kinds = field["discriminator"]["mapping"].items()
            links = [
                self._table(ref, f"[{path}]", below, f"`{kind}`", f', `kind = "{kind}"`')
                for kind, ref in kinds
            ]
            return f"table of the kind {' or '.join(links)}"
        if "anyOf" in field:
            return " or ".join(
                self._type(each, path, below) for each in field["anyOf"] if each != {"type": "null"}
            )
        if "$ref" in field.get("items", {}):
            return self._table(field["items"]["$ref"], f"[[{path}]]", below, "array of tables")
        if "items" in field:
            return f"list of {several(self._type(field['items'], path, below))}"
        if values:
            return f"{several(self._type(values, f'{path}.NAME', below))} by name"
        return json_type(field)

    def _table(self, reference: str, place: str, below: dict[str, str], text: str, kind: str = "") -> str:
        definition = reference.rpartition("/")[2]
        if definition not in self._headings:
            self._headings[definition] = f"`{place}`{kind}"
            below[definition] = place
        return link(text, self._headings[definition])


def _default(field: Schema) -> str:
    default = field.get("default")
    if default is None or isinstance(default, list | dict):
        return ""
    return f"`{str(default).lower()}`" if isinstance(default, bool) else f"`{default}`"
