"""Set-aside reads on their way through the gateway again: the one way by which they go."""

from collections.abc import Sequence
from typing import Any

import httpx

from scantrail.api.handing_on import hand_on


async def replay_reads(
    gateway: httpx.AsyncClient, payloads: Sequence[bytes]
) -> dict[int, dict[str, Any]]:
    """Send records of `reads.rejected`; the refusals (`reason`, `detail`) by the read's place.

    Raises Problem 503 where the gateway is away: then nothing was replayed.
    """
    content = b"[" + b",".join(payloads) + b"]"
    return await hand_on(gateway, "replay", content, away="nothing was replayed, try again")
