"""Lists, page by page: `limit` rows behind a `cursor`, and the `next` cursor.

    @get("/things", role=Role.READ, …)
    async def list_things(cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
        query = select(thing).where(thing.c.id > after(cursor, "things"))
        rows = … query.order_by(thing.c.id).limit(limit)
        return page("things", rows, limit)

A cursor names the last row by its key, so that a page costs the same wherever it begins, and what
is added meanwhile moves nothing.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from scantrail.api.problems import bad_field

LIMIT_MAX = 1000

#: Digits of a number that PostgreSQL takes.
NUMBER_LENGTH_MAX = 18

Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="rows of a page")]
Cursor = Annotated[
    str | None,
    QueryParameter(description="`next` of the page before, as it is; none: from the beginning"),
]


def after(cursor: str | None, name: str) -> str:
    """The key behind which a page of the list `name` begins; "" at its beginning.

    Raises Problem 400 for what is no cursor of this list.
    """
    if not cursor:
        return ""
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        told, key = msgspec.json.decode(
            base64.b64decode(padded, b"-_", validate=True), type=tuple[str, str]
        )
    except (binascii.Error, msgspec.MsgspecError, UnicodeError) as error:
        raise bad_field("cursor", "give `next` of the page before, as it is") from error
    if told != name or "\0" in key:
        raise bad_field("cursor", f"this is a cursor of another list, not of {name}")
    return key


def number_behind(cursor: str | None, name: str) -> int:
    """As `after`, of a list whose keys are numbers from 1 on; 0 at its beginning."""
    key = after(cursor, name) or "0"
    if not (key.isascii() and key.isdecimal() and len(key) <= NUMBER_LENGTH_MAX):
        raise bad_field("cursor", "give `next` of the page before, as it is")
    return int(key)


def cursor_behind(name: str, key: str) -> str:
    """The cursor of the page of `name` that begins behind the row with this key."""
    return base64.urlsafe_b64encode(msgspec.json.encode((name, key))).rstrip(b"=").decode()


def page(
    name: str, rows: Sequence[dict[str, Any]], limit: int, *, key: str = "id", **more: Any
) -> dict[str, Any]:
    """A page of at most `limit` rows; `next` is None behind the last."""
    following = cursor_behind(name, str(rows[-1][key])) if len(rows) == limit else None
    return {name: list(rows), **more, "next": following}


async def check_query(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """Refuse what a list does not know: a misspelt filter would show everything, and `after`, as
    it was once called, the first page again and again. Raises Problem 400.

    It waits for nothing, but a guard that is not async is run in a thread, for each request."""
    known = handler.parsed_fn_signature.parameters
    if "cursor" not in known:
        return
    for name in connection.query_params:
        if name not in known or name == "request":
            names = ", ".join(each for each in known if each != "request")
            raise bad_field(name, f"this list does not know it: it knows {names}")
