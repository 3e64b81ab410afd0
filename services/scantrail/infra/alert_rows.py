"""What happens to alerts, as rows: the event, how the alert stands, and what webhooks are told.

The projector writes what the alerter told, the api what people did: both here, each in its own
transaction, so that the three are there together or not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.domain.alert_life import AlertLife, AlertStanding, AlertStep
from scantrail.domain.webhook import Webhook, message_id
from scantrail.infra.tables import alert, alert_event, webhook, webhook_delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """One step of an alert. `row` is the alert's row without its life; `life` is from then on."""

    row: dict[str, Any]
    number: int
    step: AlertStep
    life: AlertLife
    at: datetime
    cause: str | None = None
    who: str | None = None
    note: str | None = None
    #: whether it stands otherwise than before: only that is told to webhooks
    is_news: bool = True


def life_of(row: Any) -> AlertLife:
    """The life in a row of `alert`."""
    return AlertLife(AlertStanding(row.status), withdrawn=row.withdrawn, repeats=row.repeats)


async def write_happened(
    connection: AsyncConnection, happened: Sequence[Happened], *, tells_webhooks: bool = True
) -> None:
    """Append events of alerts whose rows are locked, or inserted, by this transaction.

    `tells_webhooks` is denied where all of it was told before.
    """
    if not happened:
        return
    await connection.execute(insert(alert_event), [_event(one) for one in happened])
    last = {one.row["id"]: one for one in happened}
    await connection.execute(
        update(alert)
        .where(alert.c.id == bindparam("of"))
        .values({name: bindparam(f"new_{name}") for name in _LIFE}),
        [{"of": of, **_life(one)} for of, one in last.items()],
    )
    news = [one for one in happened if one.is_news and tells_webhooks]
    if not news:
        return
    # A receiver that is being deleted is waited for: what is made for it goes with it.
    receivers = [
        Webhook(id=row.id, kinds=tuple(row.kinds), min_severity=row.min_severity)
        for row in await connection.execute(
            select(webhook.c.id, webhook.c.kinds, webhook.c.min_severity)
            .order_by(webhook.c.id)
            .with_for_update(read=True, key_share=True)
        )
    ]
    deliveries = [
        _delivery(receiver, one)
        for one in news
        for receiver in receivers
        if receiver.wants(one.row["kind"], one.row["severity"])
    ]
    if deliveries:
        await connection.execute(insert(webhook_delivery), deliveries)


_LIFE = ("status", "withdrawn", "repeats", "events")


def _life(one: Happened) -> dict[str, Any]:
    values = (one.life.standing.value, one.life.withdrawn, one.life.repeats, one.number)
    return {f"new_{name}": value for name, value in zip(_LIFE, values, strict=True)}


def _event(one: Happened) -> dict[str, Any]:
    return {
        "alert": one.row["id"],
        "number": one.number,
        "step": one.step.value,
        "status": one.life.standing.value,
        "at": one.at,
        "cause": one.cause,
        "who": one.who,
        "note": one.note,
    }


def _delivery(receiver: Webhook, one: Happened) -> dict[str, Any]:
    """The body is made once: what is sent again is the same, byte for byte."""
    status = one.life.standing.value
    data = {
        **one.row,
        "status": status,
        "withdrawn": one.life.withdrawn,
        "number": one.number,
        "step": one.step.value,
        "who": one.who,
    }
    body = {"type": f"alert.{one.step.value}", "timestamp": one.at, "data": data}
    return {
        "webhook": receiver.id,
        "id": message_id(one.row["id"], status, one.number),
        "alert": one.row["id"],
        "body": msgspec.json.encode(body),
        "state": "waiting",
        "attempts": 0,
        "next_at": one.at,
        "made_at": one.at,
    }
