"""The API's description of itself, OpenAPI 3.1: Litestar knows the addresses and parameters; what
goes into a route and what comes out of it is declared with it, as `takes` and `tells`.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Litestar, Request
from litestar.openapi.plugins import JsonRenderPlugin

from scantrail.api.access import Role

AnyRequest = Request[Any, Any, Any]

_REF = "#/components/schemas/{name}"
_PROBLEM = "application/problem+json"

#: What any route may answer instead.
_ALWAYS = {
    400: "something that was sent cannot be used: `field` and `detail` say what",
    401: "no token, or none of ours",
    403: "the token's role, or its sites, do not allow it",
    404: "there is no such thing",
    405: "the address does not take this method",
    429: "too many requests: wait for `Retry-After` seconds",
    500: "a mistake of ours",
    503: "the database, or what else is needed, is away: try again",
}

#: And what any change may.
_OF_CHANGES = {
    408: "the body did not come in time",
    409: "it contradicts what is there, or the same Idempotency-Key is in hand",
    412: "If-Match names another version: `ETag` is that which is there",
    413: "the body is too large",
    422: "the Idempotency-Key came with another request",
    428: "this installation demands If-Match",
}


class ProblemTold(msgspec.Struct):
    """RFC 9457; further members tell more: `reason`, `understood`, `candidates` …"""

    title: str
    status: int
    detail: str
    field: str | msgspec.UnsetType = msgspec.UNSET


PROBLEM_EXAMPLE = {
    "title": "Bad input",
    "status": 400,
    "detail": "give seconds from 0 to 86400",
    "field": "repeat_window_s",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A body that is sent or answered: its type, and an example. `problems` may come instead."""

    kind: Any
    example: Any
    media: str = "application/json"
    problems: Mapping[int, str] | None = None


def describe(litestars: Mapping[str, Any], routes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Litestar's description, completed. `routes`: `operationId` and handler of each."""
    by_id = dict(routes)
    told: dict[str, Any] = copy.deepcopy(dict(litestars))
    samples = [
        sample
        for handler in by_id.values()
        for sample in (handler.opt.get("takes"), handler.opt.get("tells"))
        if sample is not None
    ]
    kinds = [each.kind for each in samples] + [ProblemTold]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    of_sample = {id(each): schema for each, schema in zip(samples, schemas, strict=False)}
    for operations in told["paths"].values():
        for method, operation in operations.items():
            handler = by_id.get(operation.get("operationId"))
            if handler is not None:
                _complete(operation, method, handler, of_sample, schemas[-1])
    told["components"] = {
        "schemas": {**told.get("components", {}).get("schemas", {}), **components},
        "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer"},
            "password": {
                "type": "http",
                "scheme": "basic",
                "description": "for browsers: any name, the token as password",
            },
        },
    }
    return told


def _complete(
    operation: dict[str, Any],
    method: str,
    handler: Any,
    schemas: Mapping[int, dict[str, Any]],
    problem_schema: dict[str, Any],
) -> None:
    role, takes, tells = (handler.opt.get(name) for name in ("role", "takes", "tells"))
    is_change = method != "get"
    doc = " ".join((handler.fn.__doc__ or "").split())
    operation["summary"], _, rest = doc.partition(". ")
    operation["description"] = f"{rest} Role: {role.value}.".strip()
    if role is not Role.PUBLIC:
        operation["security"] = [{}, {"token": []}, {"password": []}]
    if takes is not None:
        content = {"schema": schemas[id(takes)], "example": takes.example}
        operation["requestBody"] = {"required": True, "content": {takes.media: content}}
    responses: dict[str, Any] = {}
    if tells is not None:
        content = {"schema": schemas[id(tells)], "example": tells.example}
        responses[str(handler.status_code)] = {
            "description": operation["summary"],
            "content": {tells.media: content},
        }
    problems = _ALWAYS | (_OF_CHANGES if is_change else {}) | dict((tells and tells.problems) or {})
    for status, meaning in problems.items():
        example = {**PROBLEM_EXAMPLE, "status": status, "detail": meaning}
        if status != 400:
            example = {"title": "Refused", "status": status, "detail": meaning}
        content = {"schema": problem_schema, "example": example}
        responses[str(status)] = {"description": meaning, "content": {_PROBLEM: content}}
    operation["responses"] = responses
    if is_change:
        operation.setdefault("parameters", []).extend(_headers())


def _headers() -> list[dict[str, Any]]:
    return [
        {
            "name": "If-Match",
            "in": "header",
            "description": "the ETag of the version that is changed; 412 where it is another",
            "schema": {"type": "string", "pattern": r'^(\*|"[0-9]{1,9}")$'},
        },
        {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "another for each request; a retry is told the same, for 24 h",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
        },
    ]


class CompletedJson(JsonRenderPlugin):
    """Serves the completed description."""

    def render(self, request: AnyRequest, openapi_schema: dict[str, Any]) -> bytes:
        return super().render(request, completed(request.app, openapi_schema))


def completed(app: Litestar, litestars: dict[str, Any]) -> dict[str, Any]:
    """The description of an application's API, of what Litestar knows of it."""
    routes = []
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            for path, operations in litestars["paths"].items():
                if _same_path(path, route.path):
                    for method, operation in operations.items():
                        if method.upper() in handler.http_methods and "role" in handler.opt:
                            routes.append((operation["operationId"], handler))
    return describe(litestars, routes)


def _same_path(described: str, declared: str) -> bool:
    """`/units/{spelling}` is how `/units/{spelling:path}` is described."""
    plain = "/".join(
        part.partition(":")[0] + "}" if part.startswith("{") and ":" in part else part
        for part in declared.split("/")
    )
    return described == plain
