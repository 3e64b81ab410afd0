"""What `schemas/` tells of each topic, for those who subscribe."""

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scantrail.contracts.topics import Topic, schemas_dir

_SCHEMA = ".schema.json"
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class DescribedMessage:
    """One kind of record on a topic. `schema` is None where anything may come."""

    name: str
    description: str
    schema: dict[str, Any] | None
    examples: dict[str, Any] = field(default_factory=dict)
    ce_type: str | None = None  # CloudEvents' header; None where the topic has no such headers


@dataclass(frozen=True, slots=True)
class DescribedTopic:
    """A topic as its folder tells it: `partitions` 0 means as many as the installation's."""

    topic: Topic
    key: str
    value: str
    headers: str
    written_by: tuple[str, ...]
    partitions: int
    config: dict[str, str | int]
    messages: tuple[DescribedMessage, ...]
    is_private: bool = False

    @property
    def is_compacted(self) -> bool:
        """Whether the newest record of each key is kept, and a null says that it is gone."""
        return self.config["cleanup.policy"] == "compact"

    @property
    def kept(self) -> str:
        """How long, in words."""
        if self.is_compacted:
            return "compacted"
        kept_ms = int(self.config["retention.ms"])
        return "for ever" if kept_ms < 0 else f"{kept_ms // _DAY_MS} days"


def described_topics(folder: Path | None = None) -> list[DescribedTopic]:
    """All of them, in the order of their names. KeyError and ValueError: broken installation."""
    paths = sorted((folder or schemas_dir()).glob("*/topic.toml"))
    return [_topic(path.parent, tomllib.loads(path.read_text())) for path in paths]


def _topic(folder: Path, fields: dict[str, Any]) -> DescribedTopic:
    told = fields["told"]
    types = told.get("types", {})
    # v1 first, then what stands beside it: `link.v1`.
    schemas = sorted(folder.glob(f"*{_SCHEMA}"), key=lambda path: (path.name[0] != "v", path.name))
    messages = [_message(path, types) for path in schemas]
    if not messages and not told.get("private", False):
        messages = [_as_it_came(folder)]
    return DescribedTopic(
        topic=Topic(folder.name),
        key=told["key"],
        value=told["value"],
        headers=told.get("headers", "CloudEvents" if types else "none"),
        written_by=tuple(told["written_by"]),
        partitions=fields.get("partitions", 0),
        config=fields["config"],
        messages=tuple(messages),
        is_private=told.get("private", False),
    )


def _message(path: Path, types: dict[str, str]) -> DescribedMessage:
    schema = json.loads(path.read_text())
    kind = path.name.removesuffix(_SCHEMA)
    is_main = kind.startswith("v")
    beside = f"{kind.partition('.')[0]}s"  # the examples of link.v1 are in links/
    return DescribedMessage(
        name="".join(word[0].upper() + word[1:] for word in schema["title"].split()),
        description=schema["description"],
        schema=schema,
        examples=_examples(path.parent / ("examples" if is_main else beside)),
        ce_type=types[kind] if types else None,
    )


def _as_it_came(folder: Path) -> DescribedMessage:
    """Of bytes that came there is no schema; the examples show key, value and headers."""
    return DescribedMessage(
        name="AsItCame",
        description="Key and value are byte for byte what came, null included.",
        schema=None,
        examples=_examples(folder / "examples"),
    )


def _examples(folder: Path) -> dict[str, Any]:
    paths = sorted(folder.glob("*.json"))
    return {path.stem.replace("-", " "): json.loads(path.read_text()) for path in paths}
