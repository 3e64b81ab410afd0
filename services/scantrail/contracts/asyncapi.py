"""The topics as an AsyncAPI 3.0 document, made from `schemas/`. Pure.

Payloads are JSON Schema as they stand there, less what AsyncAPI's own kind of it (a superset of
draft 7) does not have: `$schema`, `$id`, and `$defs`, which become components.
"""

from collections.abc import Iterable
from typing import Any

from scantrail.contracts.described import DescribedMessage, DescribedTopic
from scantrail.contracts.topics import topic_name

#: Of Kafka's bindings; https://github.com/asyncapi/bindings/tree/master/kafka
BINDINGS = "0.5.0"

DESCRIPTION = """\
Where every serialised unit is, and who has it: facts as they happen, one JSON value a record.

- Only optional fields are added to a `v1`: ignore what you do not know. All else comes as a `v2`.
- Records may come twice: count scans and movements by unit and event id, alerts by `id`; of an \
entity the highest `version` counts.
- Key and value are UTF-8. A null value of a compacted topic says that the entity is gone.
- No name and no address of a person is on any topic: an order's reference is."""

_JSON = "application/json"
_GONE = "Gone"
_CLOUD_EVENT = "CloudEvent"
_DEAD_LETTER = "DeadLetter"

_HEADERS = {
    _CLOUD_EVENT: {
        "type": "object",
        "description": "CloudEvents 1.0, in Kafka's binary mode.",
        "required": [
            *("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time"),
            "content-type",
        ],
        "properties": {
            "ce_specversion": {"const": "1.0"},
            "ce_id": {"type": "string", "description": "The same however often it is sent."},
            "ce_source": {"type": "string", "description": "Which process, for which reader."},
            "ce_type": {"type": "string", "description": "What the value is."},
            "ce_subject": {"type": "string", "description": "The unit."},
            "ce_time": {"type": "string", "format": "date-time", "description": "event_time."},
            "content-type": {"const": _JSON},
            "traceparent": {"type": "string", "description": "W3C trace context, where there is."},
        },
    },
    _DEAD_LETTER: {
        "type": "object",
        "description": "The headers that came, followed by why the record was set aside.",
        "properties": {
            f"__connect.errors.{name}": {"type": "string", "description": meaning}
            for name, meaning in (
                ("topic", "Where it was read from."),
                ("partition", "Its partition there."),
                ("offset", "Its offset there."),
                ("exception.class.name", "Why, in one word."),
                ("exception.message", "What is wrong, for people."),
                ("stage", "SCAN"),
                ("connector.name", "Who set it aside."),
            )
        },
    },
}


def asyncapi_document(
    topics: Iterable[DescribedTopic], *, prefix: str, partitions: int, version: str
) -> dict[str, Any]:
    """The document of an installation; private topics are not on it. Its brokers' address is not
    in it either, for whoever asks may read it: `bootstrap` is to be filled in."""
    public = [topic for topic in topics if not topic.is_private]
    schemas: dict[str, Any] = dict(_HEADERS)
    messages: dict[str, Any] = {_GONE: _gone()}
    channels, operations = {}, {}
    for each in public:
        for message in each.messages:
            messages[message.name] = _message(each, message, schemas)
        names = [message.name for message in each.messages] + [_GONE] * each.is_compacted
        channels[each.topic.value] = _channel(each, names, prefix, partitions)
        operations[f"send.{each.topic}"] = {
            "action": "send",
            "channel": _ref("channels", each.topic),
            "summary": f"{' and '.join(each.written_by)} {_writes(each)} {each.topic}.",
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Scantrail",
            "version": version,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _JSON,
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "description": "SCANTRAIL_KAFKA_BOOTSTRAP of the installation.",
                "variables": {
                    "bootstrap": {
                        "default": "localhost:9092",
                        "description": "Kafka brokers, host:port.",
                    }
                },
            }
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def _writes(topic: DescribedTopic) -> str:
    return "write" if len(topic.written_by) > 1 else "writes"


def _ref(*path: str) -> dict[str, str]:
    return {"$ref": "#/" + "/".join(path)}


def _channel(
    topic: DescribedTopic, messages: Iterable[str], prefix: str, partitions: int
) -> dict[str, Any]:
    name = topic_name(prefix, topic.topic)
    config: dict[str, Any] = dict(topic.config)
    config["cleanup.policy"] = [config["cleanup.policy"]]
    return {
        "address": name,
        "title": topic.topic.value,
        "description": f"{_sentence(topic.value)} Key: {topic.key}. Kept: {topic.kept}.",
        "messages": {each: _ref("components", "messages", each) for each in messages},
        "bindings": {
            "kafka": {
                "topic": name,
                "partitions": topic.partitions or partitions,
                "topicConfiguration": config,
                "bindingVersion": BINDINGS,
            }
        },
    }


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _message(
    topic: DescribedTopic, message: DescribedMessage, schemas: dict[str, Any]
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": message.name,
        "summary": message.description,
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": topic.key},
                "bindingVersion": BINDINGS,
            }
        },
    }
    if message.schema is None:
        told["headers"] = _ref("components", "schemas", _DEAD_LETTER)
        told["contentType"] = "application/octet-stream"
        told["payload"] = {"description": message.description}
        told["examples"] = [
            {"name": name, "payload": example["value"], "headers": dict(example["headers"])}
            for name, example in message.examples.items()
        ]
        return told
    schemas[message.name] = _as_component(message, schemas)
    told["contentType"] = _JSON
    told["payload"] = _ref("components", "schemas", message.name)
    if message.ce_type is not None:
        told["headers"] = {
            "allOf": [_ref("components", "schemas", _CLOUD_EVENT)],
            "properties": {"ce_type": {"const": message.ce_type}},
        }
    if message.examples:
        told["examples"] = [
            {"name": name, "payload": example} for name, example in message.examples.items()
        ]
    return told


def _as_component(message: DescribedMessage, schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema without what AsyncAPI's does not have; its parts are added to `schemas`."""
    schema = dict(message.schema or {})
    parts = schema.pop("$defs", {})
    for name in ("$schema", "$id"):
        schema.pop(name, None)
    for name, part in parts.items():
        schemas[f"{message.name}.{name}"] = _with_refs(part, message.name)
    told: dict[str, Any] = _with_refs(schema, message.name)
    return told


def _with_refs(schema: Any, name: str) -> Any:
    """The schema, its references leading to where its parts are now."""
    if isinstance(schema, list):
        return [_with_refs(each, name) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"#/components/schemas/{name}.{each.removeprefix('#/$defs/')}"
        if key == "$ref" and isinstance(each, str)
        else _with_refs(each, name)
        for key, each in schema.items()
    }


def _gone() -> dict[str, Any]:
    return {
        "name": _GONE,
        "summary": "What has this key is gone: the record has no value.",
        "payload": {"type": "null"},
    }
