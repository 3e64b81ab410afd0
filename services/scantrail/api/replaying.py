"""Set-aside reads on their way through the gateway again: the one way by which they go."""

from collections.abc import Collection, Sequence
from typing import Any

import httpx
from sqlalchemy import select

from scantrail.api.changes import Change
from scantrail.api.handing_on import hand_on
from scantrail.infra.tables import station


async def check_sites(change: Change, stations: Collection[str | None]) -> None:
    """Raise Problem 403 where the caller's token is of other sites than these stations, as far as
    they are configured."""
    query = select(station.c.document["site"].astext).distinct()
    named = {each for each in stations if each is not None}
    if change.caller.sites and named:
        for site in (
            await change.connection.execute(query.where(station.c.id.in_(named)))
        ).scalars():
            change.caller.check_site(site)


async def replay_reads(
    gateway: httpx.AsyncClient, payloads: Sequence[bytes]
) -> dict[int, dict[str, Any]]:
    """Send records of `reads.rejected`; the refusals (`reason`, `detail`) by the read's place.

    Raises Problem 503 where the gateway is away: then nothing was replayed.
    """
    content = b"[" + b",".join(payloads) + b"]"
    return await hand_on(gateway, "replay", content, away="nothing was replayed, try again")
