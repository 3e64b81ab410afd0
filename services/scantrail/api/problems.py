"""Problems told to callers, as RFC 9457 `application/problem+json`."""

from collections.abc import Mapping
from typing import Any

import psycopg
from litestar import Request, Response
from sqlalchemy.exc import DataError, InterfaceError, OperationalError, TimeoutError

from scantrail.infra.logs import logger
from scantrail.infra.web import problem

log = logger(__name__)

AnyRequest = Request[Any, Any, Any]


class Problem(Exception):
    """Ends a request. `more` joins the body: `field`, `reason`, `understood` …"""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(f"{title}: {detail}")
        self.status = status
        self.headers = dict(headers or {})
        self.body = {"title": title, "status": status, "detail": detail, **more}


def bad_field(field: str, detail: str) -> Problem:
    """400: what was sent cannot be used; names the field and the mend."""
    return Problem(400, "Bad input", detail, field=field)


def answer_problem(_: AnyRequest, told: Problem) -> Response[dict[str, Any]]:
    response = problem(**told.body)
    response.headers.update(told.headers)
    return response


def answer_database_away(
    _: AnyRequest,
    error: OperationalError | InterfaceError | TimeoutError | psycopg.OperationalError,
) -> Response[dict[str, Any]]:
    log.warning("database is away", reason=str(error))
    detail = "the query database does not answer; scans are kept meanwhile: try again"
    response = problem(503, "Try again", detail)
    response.headers["Retry-After"] = "2"
    return response


def answer_bad_value(
    _: AnyRequest, error: DataError | psycopg.DataError
) -> Response[dict[str, Any]]:
    detail = "a value in the address cannot be looked for: leave out control characters"
    return problem(400, "Bad input", detail)


def answer_bug(request: AnyRequest, error: Exception) -> Response[dict[str, Any]]:
    # not the address: somebody may have looked for a name
    route = request.scope.get("path_template", "")
    log.exception("request failed", method=request.method, route=route)
    detail = "this is a mistake of ours; the log of the api says more"
    return problem(500, "Failed", detail)
