"""A JSON Schema as a table for people: each field, what it may be, what it means. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

#: So deep a value is told field by field.
DEPTH_MAX: Final = 6

_KINDS: Final = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "object",
    "null": "null",
}
_FORMATS: Final = {"date-time": "time", "date": "day"}


@dataclass(frozen=True, slots=True)
class FieldTold:
    """A field of a value: `lines[].product` is that of each of the `lines`."""

    path: str
    kind: str
    is_required: bool
    meaning: str


def fields_told(schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[FieldTold]:
    """Each field of what the schema describes; its references lead into `root`."""
    return list(_fields(schema, root, "", 0))


def kind_told(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """What a value may be, in words."""
    told = list(dict.fromkeys(_kinds(schema, root)))  # each once
    others = [kind for kind in told if kind != "null"]
    if not others:
        return "null" if told else "anything"
    return " or ".join(others) + (", or null" if len(others) < len(told) else "")


def _fields(
    schema: Mapping[str, Any], root: Mapping[str, Any], path: str, depth: int
) -> Iterator[FieldTold]:
    if depth == DEPTH_MAX:
        return
    for object_, place in _objects(schema, root, path):
        required = object_.get("required", ())
        for name, part in object_.get("properties", {}).items():
            at = f"{place}.{name}" if place else name
            whole = _resolved(part, root)
            meaning = part.get("description") or whole.get("description", "")
            yield FieldTold(at, kind_told(part, root), name in required, meaning)
            yield from _fields(part, root, at, depth + 1)


def _objects(
    schema: Mapping[str, Any], root: Mapping[str, Any], path: str
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The objects that a value is, or has as its items, or by names, and where they are."""
    whole = _resolved(schema, root)
    for other in _choices(whole):
        yield from _objects(other, root, path)
    if "properties" in whole:
        yield whole, path
    if isinstance(items := whole.get("items"), Mapping):
        yield from _objects(items, root, f"{path}[]")
    if isinstance(others := whole.get("additionalProperties"), Mapping):
        yield from _objects(others, root, f"{path}.*")


def _kinds(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[str]:
    whole = _resolved(schema, root)
    if choices := _choices(whole):
        for other in choices:
            yield from _kinds(other, root)
        return
    if "const" in whole:
        yield _value(whole["const"])
        return
    if "enum" in whole:
        yield from map(_value, whole["enum"])
        return
    types = whole.get("type", ())
    for name in [types] if isinstance(types, str) else types:
        if name == "array" and isinstance(items := whole.get("items"), Mapping):
            yield f"list of {kind_told(items, root)}"
        elif name == "string":
            yield _FORMATS.get(whole.get("format", ""), "text")
        else:
            yield _KINDS[name]


def _choices(schema: Mapping[str, Any]) -> list[Any]:
    """Of which a value is one. Such beside a type, as of recalls' clauses, only narrow it down."""
    return [] if "type" in schema else [*schema.get("anyOf", ()), *schema.get("oneOf", ())]


def _value(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a schema's reference leads to; itself where it is none."""
    found: Any = schema
    while "$ref" in found:
        at: Any = root
        for part in found["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        found = at
    return found  # type: ignore[no-any-return]
