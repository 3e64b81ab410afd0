"""Webhooks: who is told of which alerts, and what became of each message."""

import secrets
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import httpx
from litestar import Request, Response, delete, get, post, put
from litestar.params import FromPath, FromQuery
from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.access import Role
from scantrail.api.alert_samples import DELIVERIES, DELIVERY, WEBHOOK, WEBHOOK_TOLD, WEBHOOKS
from scantrail.api.bodies import WebhookBody, checked_id, decode_body
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.domain.webhook import make_secret, secret_bytes
from scantrail.infra.tables import webhook, webhook_delivery

AnyRequest = Request[Any, Any, Any]

URL_LENGTH_MAX = 2000


class DeliveryState(StrEnum):
    """What became of a message."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    PARKED = "parked"


def build_webhooks(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers. A secret is in the answer to what made it, and in no other."""

    @put("/webhooks/{webhook_id:str}", role=Role.ADMIN, takes=WEBHOOK, tells=WEBHOOK_TOLD)
    async def put_webhook(webhook_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Have alerts sent to an address, from now on; its next version where it exists. Without
        `secret` a new one gets a secret that is made here and shown once, an old one keeps its."""
        body = decode_body(await request.body(), WebhookBody)
        checked = checked_id(webhook_id, "id")
        if body.secret is not None:
            try:
                secret_bytes(body.secret)
            except ValueError as error:
                told = "give whsec_ and base64 of 24 to 64 bytes, or leave it out"
                raise bad_field("secret", told) from error
        made = make_secret(secrets.token_bytes(32)) if body.secret is None else body.secret
        new = {
            "url": checked_url(body.url),
            "kinds": [kind.value for kind in body.kinds],
            "min_severity": body.min_severity.value,
        }
        kept = {} if body.secret is None else {"secret": made}
        statement = (
            upsert(webhook)
            .values(id=checked, version=1, secret=made, **new)
            .on_conflict_do_update(
                index_elements=[webhook.c.id],
                set_={"version": webhook.c.version + 1, **new, **kept},
            )
            .returning(webhook)
        )

        async def write(change: Change) -> Answer:
            row = (await change.connection.execute(statement)).one()
            is_made = body.secret is None and row.secret == made
            change.note("webhook", checked, old=row.version - 1, new=row.version)
            return Answer(_shown(row), once={"secret": made} if is_made else {})

        return await changes.make(request, write)

    @get("/webhooks", role=Role.ADMIN, tells=WEBHOOKS)
    async def list_webhooks(cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
        """The webhooks by id, without their secrets."""
        query = select(webhook).where(webhook.c.id > after(cursor, "webhooks"))
        async with engine.connect() as connection:
            rows = await connection.execute(query.order_by(webhook.c.id).limit(limit))
            return page("webhooks", [_shown(row) for row in rows], limit)

    @get("/webhooks/{webhook_id:str}", role=Role.ADMIN, tells=WEBHOOK_TOLD)
    async def get_webhook(webhook_id: FromPath[str]) -> Response[Any]:
        """One of them, without its secret."""
        async with engine.connect() as connection:
            query = select(webhook).where(webhook.c.id == webhook_id)
            row = (await connection.execute(query)).first()
        if row is None:
            raise _unknown(webhook_id)
        return with_etag(_shown(row), row.version)

    @delete("/webhooks/{webhook_id:str}", status_code=200, role=Role.ADMIN, tells=WEBHOOK_TOLD)
    async def delete_webhook(webhook_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """End it; what it was not told yet is not sent any more."""

        async def write(change: Change) -> Answer:
            gone = webhook.delete().where(webhook.c.id == webhook_id).returning(webhook)
            row = (await change.connection.execute(gone)).first()
            if row is None:
                raise _unknown(webhook_id)
            change.note("webhook", webhook_id, old=row.version, new=0)
            return Answer(_shown(row))

        return await changes.make(request, write)

    @get("/webhooks/{webhook_id:str}/deliveries", role=Role.ADMIN, tells=DELIVERIES)
    async def list_deliveries(
        webhook_id: FromPath[str],
        status: FromQuery[DeliveryState | None] = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> dict[str, Any]:
        """Its messages by id, with what became of each: `parked` ones wait for a person."""
        told = webhook_delivery
        query = (
            select(told)
            .where(told.c.webhook == webhook_id, told.c.id > after(cursor, "deliveries"))
            .order_by(told.c.id)
            .limit(limit)
        )
        if status is not None:
            query = query.where(told.c.state == status.value)
        async with engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        found = [{name: row._mapping[name] for name in _DELIVERY} for row in rows]
        return page("deliveries", found, limit)

    @post(
        "/webhooks/{webhook_id:str}/deliveries/{delivery_id:str}/redeliver",
        status_code=200,
        role=Role.ADMIN,
        tells=DELIVERY,
    )
    async def redeliver(
        webhook_id: FromPath[str], delivery_id: FromPath[str], request: AnyRequest
    ) -> Response[Any]:
        """Send a message once more, under its own id, parked or delivered."""
        told = webhook_delivery
        again = (
            update(told)
            .where(told.c.webhook == webhook_id, told.c.id == delivery_id)
            .values(state="waiting", attempts=0, next_at=func.now(), reason=None, done_at=None)
            .returning(told)
        )

        async def write(change: Change) -> Answer:
            row = (await change.connection.execute(again)).first()
            if row is None:
                raise Problem(404, "Not found", f"{webhook_id!r} has no delivery {delivery_id!r}")
            change.note("webhook_delivery", delivery_id)
            return Answer({name: row._mapping[name] for name in _DELIVERY})

        return await changes.make(request, write)

    return [
        put_webhook,
        list_webhooks,
        get_webhook,
        delete_webhook,
        list_deliveries,
        redeliver,
    ]


_DELIVERY = ("id", "alert", "state", "attempts", "next_at", "reason", "made_at", "done_at")


def checked_url(url: str) -> str:
    """An address to which messages may be posted. Raises Problem 400."""
    try:
        parts = urlsplit(url)
        is_fit = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        host = httpx.URL(url).host  # which tells of names that no host can have
        host.encode("idna")
    except (ValueError, httpx.InvalidURL):
        is_fit = False
    if not is_fit or len(url) > URL_LENGTH_MAX or not url.isprintable() or " " in url:
        raise bad_field("url", "give an address such as https://example.com/alerts")
    if parts.username or parts.password or parts.fragment:
        raise bad_field("url", "leave out user, password and #: the signature shows who sends")
    return url


def _shown(row: Row[Any]) -> dict[str, Any]:
    return {name: value for name, value in row._mapping.items() if name != "secret"}


def _unknown(webhook_id: str) -> Problem:
    return Problem(404, "Not found", f"there is no webhook {webhook_id!r}")
