"""Set-aside reads on their way through the gateway again: the one way by which they go."""

from collections.abc import Sequence
from typing import Any

import httpx

from scantrail.api.problems import Problem


async def replay_reads(
    gateway: httpx.AsyncClient, payloads: Sequence[bytes]
) -> dict[int, dict[str, Any]]:
    """Send records of `reads.rejected`; the refusals (`reason`, `detail`) by the read's place.

    Raises Problem 503 where the gateway is away: then nothing was replayed.
    """
    try:
        answer = await gateway.post("/ingest/v1/replay", content=b"[" + b",".join(payloads) + b"]")
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise Problem(503, "Gateway away", f"nothing was replayed, try again: {error}") from error
    return {refusal.pop("index"): refusal for refusal in answer.json()["rejected"]}
