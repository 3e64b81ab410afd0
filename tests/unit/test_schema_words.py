"""Schemas and routes as people read them on the Subscribe screens."""

import json
import shlex
from typing import Any

import pytest

from scantrail.api.pages.schema_words import FieldTold, fields_told, kind_told
from scantrail.api.pages.subscribe import Body, curl_of, routes_by_group
from scantrail.contracts.described import described_topics

ROOT = {"$defs": {"place": {"type": "object", "properties": {"site": {"type": "string"}}}}}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({}, "anything"),
        ({"type": "string"}, "text"),
        ({"type": "string", "format": "date-time"}, "time"),
        ({"type": ["string", "null"], "format": "date"}, "day, or null"),
        ({"type": "null"}, "null"),
        ({"enum": ["lost", "stolen", None]}, "lost or stolen, or null"),
        ({"const": True}, "true"),
        ({"anyOf": [{"$ref": "#/$defs/place"}, {"type": "null"}]}, "object, or null"),
        ({"type": "array", "items": {"type": "integer"}}, "list of whole number"),
        ({"type": "array", "items": {"type": ["number", "null"]}}, "list of number, or null"),
        ({"type": "array"}, "list"),
        ({"type": "object", "anyOf": [{"required": ["a"]}]}, "object"),
    ],
    ids=str,
)
def test_what_a_value_may_be_is_told_in_words(schema: dict[str, Any], kind: str) -> None:
    assert kind_told(schema, ROOT) == kind


def test_fields_are_told_down_to_the_last_one() -> None:
    places = {"type": "array", "items": {"$ref": "#/$defs/place"}, "description": "Where."}
    schema = {
        "type": "object",
        "properties": {
            "places": places,
            "by_day": {"type": "object", "additionalProperties": {"$ref": "#/$defs/place"}},
        },
        "required": ["places"],
    }
    assert fields_told(schema, ROOT) == [
        FieldTold("places", "list of object", True, "Where."),
        FieldTold("places[].site", "text", False, ""),
        FieldTold("by_day", "object", False, ""),
        FieldTold("by_day.*.site", "text", False, ""),
    ]


def test_what_leads_back_into_itself_is_told_to_a_depth() -> None:
    root: dict[str, Any] = {"$defs": {}}
    root["$defs"]["node"] = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    told = fields_told({"$ref": "#/$defs/node"}, root)
    assert [each.path for each in told][:2] == ["next", "next.next"]
    assert len(told) == 6


def test_every_field_of_every_topic_is_told_with_its_meaning() -> None:
    for topic in described_topics():
        for message in topic.messages:
            if message.schema is not None:
                told = fields_told(message.schema, message.schema)
                assert set(message.schema["properties"]) <= {each.path for each in told}
                assert [each for each in told if "anything" in each.kind] == []
                assert [each.path for each in told if not each.meaning] == []


def test_a_command_sends_what_the_example_says() -> None:
    example = json.dumps({"why": 'don\'t $(touch this) \\ "ever"'})
    command = curl_of("PUT", "/holds/{unit}", Body("application/json", "object", [], example))
    words = shlex.split(command)
    assert words[:5] == ["curl", "-s", "-g", "-X", "PUT"]
    assert words[words.index("--data-binary") + 1] == example
    assert words[-1] == "$API/holds/{unit}"
    assert "--data-binary" not in curl_of("GET", "/units", None)


def test_routes_are_grouped_by_where_they_begin() -> None:
    operation = {"summary": "S", "description": "D", "responses": {"400": {}}}
    described = {
        "paths": {
            "/units/{id}": {"get": operation},
            "/units": {"get": operation, "post": operation},
            "/holds": {"get": operation},
        }
    }
    told = routes_by_group(described)
    assert [[(r.method, r.path) for r in routes] for routes in told.values()] == [
        [("GET", "/holds")],
        [("GET", "/units"), ("POST", "/units"), ("GET", "/units/{id}")],
    ]
    assert (told["holds"][0].takes, told["holds"][0].tells) == (None, None)
