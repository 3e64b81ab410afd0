"""Messages on their way to webhooks.

1. a message is locked: another sender passes it by. Died here: the lock is gone, it waits.
2. it is posted. Died here: it is posted again, same id and body; the receiver takes an id once.
3. what came of it is recorded: delivered, or when to try again, or parked. Died here: as 2.

Receivers to which nothing is on its way come first: one that does not answer, with thousands
waiting for it, delays the others by one attempt at most.
"""

import asyncio
import ipaddress
import random
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.domain.webhook import backoff_s, sign
from scantrail.infra import metrics
from scantrail.infra.credentials import trusted
from scantrail.infra.database import connect_database, is_away
from scantrail.infra.failpoints import passing
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings
from scantrail.infra.tables import webhook, webhook_delivery

log = logger(__name__)

POLL_S = 0.5

#: Messages on their way at once.
SENDERS = 4

#: What was delivered is shown for so long.
KEPT_FOR = timedelta(days=30)

PRUNE_EVERY_S = 3600.0

#: Rows that are deleted in one transaction.
PRUNED_AT_ONCE = 5_000

#: Of an answer no more is read.
ANSWER_BYTES_MAX = 1 << 16


class NotSent(Exception):
    """An attempt failed; the text is shown to people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is posted: `body` is the same for each attempt."""

    id: str
    url: str
    secret: str
    body: bytes


async def deliver(settings: Settings) -> None:
    """Send what waits, until cancelled. On connections of its own: a slow receiver keeps none
    from the API."""
    engine = connect_database(settings)
    busy = list[str]()
    for outcome in ("delivered", "failed", "parked"):
        metrics.WEBHOOKS_SENT.labels(outcome)
    try:
        async with asyncio.TaskGroup() as senders, webhook_client(settings) as client:
            for _ in range(SENDERS):
                senders.create_task(_send_all(settings, engine, client, busy))
            senders.create_task(_prune(engine))
            await asyncio.Event().wait()
    finally:
        await engine.dispose()


def webhook_client(settings: Settings) -> httpx.AsyncClient:
    """No redirects, no proxy and no connection that is kept: each attempt looks the host up."""
    return httpx.AsyncClient(
        timeout=settings.webhook_timeout_s,
        follow_redirects=False,
        trust_env=False,
        verify=trusted(trust_env=False),
        limits=httpx.Limits(max_keepalive_connections=0),
    )


async def _send_all(
    settings: Settings, engine: AsyncEngine, client: httpx.AsyncClient, busy: list[str]
) -> None:
    while True:
        try:
            async with engine.begin() as connection:
                found = await _send_next(settings, connection, client, busy)
        except DBAPIError as error:
            if not is_away(error):
                raise
            log.warning("database is away", reason=str(error.orig))
            found = False
        if not found:
            await asyncio.sleep(POLL_S)


async def _prune(engine: AsyncEngine) -> None:
    while True:
        try:
            while await prune_delivered(engine, before=datetime.now(UTC) - KEPT_FOR):
                pass
        except DBAPIError as error:
            if not is_away(error):
                raise
            log.warning("database is away", reason=str(error.orig))
        await asyncio.sleep(PRUNE_EVERY_S)


async def prune_delivered(engine: AsyncEngine, *, before: datetime) -> int:
    """Forget some messages that were delivered before that; how many. What is parked stays."""
    told = webhook_delivery
    old = (
        select(told.c.webhook, told.c.id)
        .where(told.c.state == "delivered", told.c.done_at < before)
        .limit(PRUNED_AT_ONCE)
        .with_for_update(skip_locked=True)
        .subquery()
    )
    gone = delete(told).where(told.c.webhook == old.c.webhook, told.c.id == old.c.id)
    async with engine.begin() as connection:
        return (await connection.execute(gone)).rowcount


async def _send_next(
    settings: Settings, connection: AsyncConnection, client: httpx.AsyncClient, busy: list[str]
) -> bool:
    """Whether there was a message to send; `busy` are the receivers to which some are on their
    way."""
    row = await _next(connection, but=busy)
    if row is None and busy:
        row = await _next(connection, but=[])
    if row is None:
        return False
    busy.append(row.webhook)
    try:
        await _send(settings, connection, client, row)
    finally:
        busy.remove(row.webhook)
    return True


async def _next(connection: AsyncConnection, *, but: Sequence[str]) -> Row[Any] | None:
    """The message that has waited longest, locked, of those for other receivers."""
    told = webhook_delivery
    query = (
        select(told, webhook.c.url, webhook.c.secret)
        .join(webhook, webhook.c.id == told.c.webhook)
        .where(told.c.state == "waiting", told.c.next_at <= datetime.now(UTC))
        .where(told.c.webhook != func.all(list(but)))
        .order_by(told.c.next_at)
        .limit(1)
        .with_for_update(skip_locked=True, of=told)
    )
    return (await connection.execute(query)).first()


async def _send(
    settings: Settings, connection: AsyncConnection, client: httpx.AsyncClient, row: Row[Any]
) -> None:
    """Post a message, and record what came of it."""
    told = webhook_delivery
    message = Message(id=row.id, url=row.url, secret=row.secret, body=row.body)
    try:
        await post_message(client, message, settings)
        passing("webhook_delivered")
        done = {"state": "delivered", "reason": None, "done_at": datetime.now(UTC)}
        outcome = "delivered"
    except NotSent as error:
        done, outcome = _failed(row.attempts + 1, str(error), settings)
        log.warning("webhook failed", webhook=row.webhook, id=row.id, reason=str(error))
    metrics.WEBHOOKS_SENT.labels(outcome).inc()
    await connection.execute(
        update(told)
        .where(told.c.webhook == row.webhook, told.c.id == row.id)
        .values(attempts=row.attempts + 1, **done)
    )


def _failed(attempts: int, reason: str, settings: Settings) -> tuple[dict[str, Any], str]:
    """What is recorded of an attempt in vain: when the next one is, or that none is."""
    now = datetime.now(UTC)
    if attempts >= settings.webhook_attempts_max:
        return {"state": "parked", "reason": reason, "done_at": now}, "parked"
    wait_s = backoff_s(attempts, settings.webhook_backoff_s, random.random())
    return {"reason": reason, "next_at": now + timedelta(seconds=wait_s)}, "failed"


async def post_message(client: httpx.AsyncClient, message: Message, settings: Settings) -> None:
    """Post once. Raises NotSent unless the receiver answers 2xx in time.

    The host is looked up here, and the address that was looked at is the one connected to: a name
    that leads elsewhere a moment later does not get past.
    """
    timestamp = int(time.time())
    headers = {
        "content-type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(message.secret, message.id, timestamp, message.body),
    }
    try:
        async with asyncio.timeout(settings.webhook_timeout_s):
            url = httpx.URL(message.url)
            is_private_allowed = settings.webhook_private_addresses == "allow"
            address = await _address(url, is_private_allowed=is_private_allowed)
            request = client.build_request(
                "POST",
                url.copy_with(host=address),
                content=message.body,
                headers={**headers, "host": url.netloc.decode("ascii")},
                extensions={"sni_hostname": url.raw_host.decode("ascii")},
            )
            answer = await client.send(request, stream=True)
            try:
                await _drain(answer)
            finally:
                await answer.aclose()
    except TimeoutError as error:
        raise NotSent(f"no answer within {settings.webhook_timeout_s:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise NotSent(f"not reached: {type(error).__name__} {error}".strip()) from error
    if not answer.is_success:
        why = "; redirects are not followed" if answer.is_redirect else ""
        raise NotSent(f"answered {answer.status_code}{why}")


async def _address(url: httpx.URL, *, is_private_allowed: bool) -> str:
    port = url.port or (443 if url.scheme == "https" else 80)
    host = url.host  # UnicodeError where its name is none
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotSent(f"host {host} is not found") from error
    addresses = [str(each[4][0]) for each in found]
    if not is_private_allowed:
        for address in addresses:
            if not is_public(address):
                raise NotSent(
                    f"host {host} is at {address}, which is not public: the installation"
                    " allows such by SCANTRAIL_WEBHOOK_PRIVATE_ADDRESSES=allow"
                )
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an address is one of the internet's, and no group's; one inside IPv6 counts as is."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is not None:
            ip = inner
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.is_global and not ip.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


async def _drain(answer: httpx.Response) -> None:
    read = 0
    async for part in answer.aiter_raw():
        read += len(part)
        if read > ANSWER_BYTES_MAX:
            return
