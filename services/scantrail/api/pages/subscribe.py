"""Subscribe: each topic and each route of the API for those who write programs, with what to copy.

All of it is made from the documents that programs read: `schemas/`, and OpenAPI.
"""

import asyncio
import json
import shlex
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from litestar import Litestar, Request, get
from litestar.params import FromQuery
from litestar.response import Template

from scantrail.api.access import Role
from scantrail.api.asyncapi import ASYNCAPI
from scantrail.api.description import completed
from scantrail.api.pages.frame import SCREEN, screen
from scantrail.api.pages.schema_words import FieldTold, fields_told, kind_told
from scantrail.api.problems import Problem
from scantrail.contracts.described import DescribedTopic, described_topics
from scantrail.contracts.topics import topic_name
from scantrail.infra.settings import Settings

AnyRequest = Request[Any, Any, Any]

OPENAPI: Final = "/schema/openapi.json"

_JSON: Final = "json"


@dataclass(frozen=True, slots=True)
class Body:
    """What a route takes, or answers: its media type, its fields, and an example."""

    media: str
    kind: str
    fields: list[FieldTold]
    example: str


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    place: str
    kind: str
    is_required: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the API as people read it. `curl` asks for it, at `$API`."""

    method: str
    path: str
    summary: str
    description: str
    parameters: list[Parameter]
    takes: Body | None
    tells: Body | None
    curl: str


def build_subscribe(settings: Settings) -> list[Any]:
    """The route handlers."""

    @cache
    def topics() -> dict[str, DescribedTopic]:
        return {each.topic.value: each for each in described_topics() if not each.is_private}

    @cache  # some tenths of a second, once: in a thread, so that nobody waits for it
    def groups(app: Litestar) -> dict[str, list[Route]]:
        return routes_by_group(completed(app, app.openapi_schema.to_schema()))

    @get("/page/subscribe", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show(request: AnyRequest) -> Template:
        """The topics, the routes by group, and both documents."""
        return screen(
            request,
            "subscribe.html",
            topics=topics().values(),
            name_of=lambda topic: topic_name(settings.topic_prefix, topic),
            groups=await asyncio.to_thread(groups, request.app),
            bootstrap=settings.kafka_bootstrap,
            asyncapi=ASYNCAPI,
            openapi=OPENAPI,
        )

    @get("/page/subscribe/topic", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_topic(request: AnyRequest, name: FromQuery[str]) -> Template:
        """A topic: key, headers, the fields of its values, examples, and programs that read it."""
        topic = topics().get(name)
        if topic is None:
            raise Problem(404, "Unknown topic", f"there is no topic {name!r} to subscribe to")
        return screen(
            request,
            "subscribe_topic.html",
            topic=topic,
            name=topic_name(settings.topic_prefix, topic.topic),
            partitions=topic.partitions or settings.partitions,
            bootstrap=settings.kafka_bootstrap,
            fields_told=fields_told,
            as_json=as_json,
        )

    @get("/page/subscribe/api", role=Role.READ, opt=SCREEN, include_in_schema=False)
    async def show_group(request: AnyRequest, group: FromQuery[str]) -> Template:
        """The routes of a group."""
        routes = (await asyncio.to_thread(groups, request.app)).get(group)
        if routes is None:
            raise Problem(404, "Unknown group", f"the API has no routes at /{group}")
        return screen(
            request,
            "subscribe_api.html",
            group=group,
            routes=routes,
            api=str(request.base_url).rstrip("/"),
        )

    return [show, show_topic, show_group]


def as_json(value: Any) -> str:
    """A value as it is read best."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def routes_by_group(described: Mapping[str, Any]) -> dict[str, list[Route]]:
    """The routes of an OpenAPI document by the first part of their paths, in their order. Pure."""
    found = defaultdict[str, list[Route]](list)
    for path, operations in sorted(described["paths"].items()):
        for method, operation in operations.items():
            found[path.split("/")[1]].append(_route(method.upper(), path, operation, described))
    return dict(found)


def _route(
    method: str, path: str, operation: Mapping[str, Any], described: Mapping[str, Any]
) -> Route:
    takes = _body(operation.get("requestBody", {}), described)
    answers = operation["responses"]
    well: Mapping[str, Any] = next((answers[s] for s in answers if s.startswith("2")), {})
    return Route(
        method=method,
        path=path,
        summary=operation["summary"],
        description=operation["description"],
        parameters=[
            Parameter(
                name=each["name"],
                place=each["in"],
                kind=kind_told(each["schema"], described),
                is_required=each.get("required", False),
                meaning=each.get("description", ""),
            )
            for each in operation.get("parameters", ())
        ],
        takes=takes,
        tells=_body(well, described),
        curl=curl_of(method, path, takes),
    )


def _body(told: Mapping[str, Any], described: Mapping[str, Any]) -> Body | None:
    for media, content in told.get("content", {}).items():
        schema, example = content["schema"], content.get("example")
        return Body(
            media=media,
            kind=kind_told(schema, described),
            fields=fields_told(schema, described),
            example=as_json(example) if media.endswith(_JSON) else str(example),
        )
    return None


def curl_of(method: str, path: str, takes: Body | None) -> str:
    """A command that asks for it. Pure."""
    parts = ["curl", "-s", "-g", *(() if method == "GET" else ("-X", method))]
    command = shlex.join(parts) + ' -H "Authorization: Bearer $TOKEN"'
    if takes is not None:
        kind = shlex.quote(f"Content-Type: {takes.media}")
        told = shlex.quote(takes.example)
        command += f" \\\n  -H {kind} --data-binary {told}"
    return f'{command} \\\n  "$API{path}"'
