"""What the desk states: kept here, so that what holds no more is withdrawn."""

from collections.abc import Iterable
from dataclasses import replace

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.api.outbox import Outbox
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.finding import Finding, FindingStatus
from scantrail.infra.tables import desk_finding


async def state_findings(
    connection: AsyncConnection, outbox: Outbox, scope: str, wanted: Iterable[Finding]
) -> int:
    """Let exactly `wanted` be stated under `scope`; returns how many records leave for that.

    What is new is published as stated, what is missing as withdrawn, with the transaction of
    `connection`. What is stated already is left as it was told first.
    """
    rows = await connection.execute(select(desk_finding).where(desk_finding.c.scope == scope))
    known = {row.id: msgspec.convert(row.document, Finding) for row in rows}
    stated = {each.id: each for each in wanted}
    new = [each for each in stated.values() if each.id not in known]
    gone = [each for each in known.values() if each.id not in stated]
    for each in new:
        document = msgspec.to_builtins(each)
        row = insert(desk_finding).values(id=each.id, scope=scope, document=document)
        await connection.execute(row)
        await outbox.add(connection, Topic.FINDINGS, each.id, encode(each))
    for each in gone:
        await connection.execute(delete(desk_finding).where(desk_finding.c.id == each.id))
        withdrawn = replace(each, status=FindingStatus.WITHDRAWN)
        await outbox.add(connection, Topic.FINDINGS, each.id, encode(withdrawn))
    return len(new) + len(gone)
