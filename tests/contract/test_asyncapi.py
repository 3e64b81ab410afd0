"""The AsyncAPI document against AsyncAPI's own schema, and `schemas/` of which it is made."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from contract.test_schemas import formats
from scantrail.contracts.asyncapi import asyncapi_document
from scantrail.contracts.described import described_topics
from scantrail.contracts.topics import Topic, schemas_dir

TOP = Path(__file__).parents[2]
OWN = json.loads((TOP / "tests/data/asyncapi/asyncapi-3.0.0.json").read_text())

TOPICS = described_topics()
DOCUMENT = asyncapi_document(TOPICS, prefix="acme", partitions=12, version="1.2.3")

#: Of draft 7, and what says nothing of a value: what AsyncAPI's kind of schema has.
KEYWORDS = set(Draft7Validator.META_SCHEMA["properties"]) - {"$schema", "$id", "definitions"}


def faults(document: Any) -> list[str]:
    return [f"{e.json_path}: {e.message[:200]}" for e in Draft7Validator(OWN).iter_errors(document)]


def nodes(document: Any) -> Iterator[dict[str, Any]]:
    if isinstance(document, dict):
        yield document
    for each in (
        document.values()
        if isinstance(document, dict)
        else document
        if isinstance(document, list)
        else ()
    ):
        yield from nodes(each)


def at(pointer: str) -> Any:
    """What a reference of the document leads to."""
    found = DOCUMENT
    for part in pointer.removeprefix("#/").split("/"):
        found = found[part]
    return found


def payload_of(topic: Topic) -> Draft7Validator:
    """Of the first message of its channel, as a tool would validate it."""
    reference = next(iter(DOCUMENT["channels"][topic]["messages"].values()))["$ref"]
    schema = {**at(reference)["payload"], "components": DOCUMENT["components"]}
    return Draft7Validator(schema, format_checker=formats)


def test_it_is_an_asyncapi_document() -> None:
    assert faults(DOCUMENT) == []


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("channels/scans/messages/Scan", {"payload": "text"}),
        ("operations/send.scans/action", "write"),
        ("components/messages/Scan/payload", {"type": "word"}),
        ("channels/scans/bindings/kafka/topicConfiguration/cleanup.policy", "delete"),
    ],
)
def test_what_is_no_asyncapi_document_is_seen(path: str, wrong: Any) -> None:
    changed = copy.deepcopy(DOCUMENT)
    *parts, last = path.split("/")
    where = changed
    for part in parts:
        where = where[part]
    assert last in where
    where[last] = wrong
    assert faults(changed) != []


def test_every_reference_leads_somewhere() -> None:
    references = [node["$ref"] for node in nodes(DOCUMENT) if isinstance(node.get("$ref"), str)]
    assert len(references) > 50
    for reference in references:
        assert at(reference), reference


def test_every_topic_has_its_channel_and_who_sends_to_it_but_the_private_one() -> None:
    public = set(Topic) - {Topic.UNITS}
    assert set(DOCUMENT["channels"]) == public
    for topic in public:
        channel = DOCUMENT["channels"][topic]
        kafka = channel["bindings"]["kafka"]
        assert channel["address"] == kafka["topic"] == f"acme.{topic}.v1"
        assert kafka["partitions"] in (1, 12)
        is_compacted = kafka["topicConfiguration"]["cleanup.policy"] == ["compact"]
        assert ("Gone" in channel["messages"]) is is_compacted
        assert at(DOCUMENT["operations"][f"send.{topic}"]["channel"]["$ref"]) is channel
    assert DOCUMENT["channels"]["scans"]["bindings"]["kafka"]["partitions"] == 12


def test_whoever_reads_it_learns_no_address_of_the_installation() -> None:
    assert DOCUMENT["servers"]["kafka"]["host"] == "{bootstrap}"


@pytest.mark.parametrize("topic", sorted(set(Topic) - {Topic.UNITS, Topic.SCANS_REJECTED}))
def test_payloads_take_and_refuse_what_the_schemas_take_and_refuse(topic: Topic) -> None:
    validator, folder = payload_of(topic), schemas_dir() / topic
    reference = next(iter(DOCUMENT["channels"][topic]["messages"].values()))["$ref"]
    shown = [each["payload"] for each in at(reference)["examples"]]
    assert len(shown) == len(list((folder / "examples").glob("*.json")))
    for each in shown:
        assert [error.message for error in validator.iter_errors(each)] == []
    for path in (folder / "counterexamples").glob("*.json"):
        assert not validator.is_valid(json.loads(path.read_text())["value"]), path.stem


def test_payloads_say_nothing_that_asyncapi_does_not_know() -> None:
    """A keyword of a later draft would be read over, and a value taken that is none."""

    def schemas(schema: Any) -> Iterator[dict[str, Any]]:
        if not isinstance(schema, dict):
            return
        yield schema
        for name in ("properties", "patternProperties", "dependencies"):
            for each in schema.get(name, {}).values():
                yield from schemas(each)
        for name in ("items", "additionalProperties", "contains", "not", "if", "then", "else"):
            yield from schemas(schema.get(name))
        for name in ("allOf", "anyOf", "oneOf"):
            for each in schema.get(name, ()):
                yield from schemas(each)

    found = {
        keyword
        for component in DOCUMENT["components"]["schemas"].values()
        for schema in schemas(component)
        for keyword in schema
    }
    assert {"properties", "if", "$ref"} <= found
    assert found <= KEYWORDS


def test_the_types_of_cloud_events_are_those_that_the_code_sends() -> None:
    told = {m.ce_type for topic in TOPICS for m in topic.messages} - {None}
    sent = set()
    for path in (TOP / "services").rglob("*.py"):
        sent |= set(re.findall(r'"(scantrail\.[a-z]+\.v\d)"', path.read_text()))
    assert sent == told


def test_the_table_of_the_topics_says_what_their_folders_say() -> None:
    told = [
        (
            each.topic.value,
            each.key,
            ", ".join(each.written_by),
            each.kept,
            each.headers,
            each.value,
        )
        for each in TOPICS
    ]
    rows = []
    for line in (schemas_dir() / "README.md").read_text().splitlines():
        cells = [
            re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cell).replace("`", "").strip()
            for cell in line.strip("|").split(" | ")
        ]
        if len(cells) == 6 and cells[0] in set(Topic):
            rows.append(tuple(cells))
    assert sorted(rows) == sorted(told)
