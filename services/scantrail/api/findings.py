"""What the desk states: kept here, so that what holds no more is withdrawn."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.api.outbox import Outbox
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.finding import Finding, FindingStatus
from scantrail.infra.tables import desk_finding


def recalled_scope(unit: str) -> str:
    """Of what is stated of a unit that recalls mean."""
    return f"recalled {unit}"


def left_open_scope(recall_id: str) -> str:
    """Of what is stated of a recall that leaves it open whether it means units."""
    return f"left open by {recall_id}"


async def state_findings(
    connection: AsyncConnection, outbox: Outbox, scope: str, wanted: Iterable[Finding]
) -> int:
    """Let exactly `wanted` be stated under `scope`; returns how many records leave for that.

    What is new is published as stated, what is missing as withdrawn, with the transaction of
    `connection`. What is stated already is left as it was told first.
    """
    known = await stated_findings(connection, [scope])
    return await restate_findings(connection, outbox, known, {scope: wanted})


async def stated_findings(
    connection: AsyncConnection, scopes: Sequence[str]
) -> dict[str, list[Finding]]:
    """What is stated under each scope; nothing of those under which nothing is."""
    known: dict[str, list[Finding]] = {}
    query = select(desk_finding).where(desk_finding.c.scope == func.any(list(scopes)))
    for row in await connection.execute(query):
        known.setdefault(row.scope, []).append(msgspec.convert(row.document, Finding))
    return known


async def restate_findings(
    connection: AsyncConnection,
    outbox: Outbox,
    known: Mapping[str, Iterable[Finding]],
    wanted: Mapping[str, Iterable[Finding]],
) -> int:
    """The same of many scopes together: `known` is what is stated under them."""
    new, gone = list[dict[str, Any]](), list[str]()
    records = list[tuple[str, bytes]]()
    for scope, told in wanted.items():
        before = {each.id: each for each in known.get(scope, ())}
        after = {each.id: each for each in told}
        for each in after.values():
            if each.id not in before:
                document = msgspec.to_builtins(each)
                new.append({"id": each.id, "scope": scope, "document": document})
                records.append((each.id, encode(each)))
        for each in before.values():
            if each.id not in after:
                gone.append(each.id)
                withdrawn = replace(each, status=FindingStatus.WITHDRAWN)
                records.append((each.id, encode(withdrawn)))
    if new:
        await connection.execute(insert(desk_finding), new)
    if gone:
        await connection.execute(delete(desk_finding).where(desk_finding.c.id == func.any(gone)))
    await outbox.add_all(connection, Topic.FINDINGS, records)
    return len(records)
