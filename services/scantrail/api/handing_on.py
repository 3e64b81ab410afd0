"""What the api hands on to the gateway, which alone makes scans."""

from typing import Any

import httpx

from scantrail.api.problems import Problem


async def hand_on(
    gateway: httpx.AsyncClient, path: str, content: bytes, *, away: str
) -> dict[int, dict[str, Any]]:
    """Post to `/ingest/v1/{path}`; the refusals (`reason`, `detail`) by their place in `content`.

    Raises Problem 503 where the gateway is away: `away` says what that means, and the mend.
    """
    try:
        answer = await gateway.post(f"/ingest/v1/{path}", content=content)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise Problem(503, "Gateway away", f"{away}: {error}") from error
    return {refusal.pop("index"): refusal for refusal in answer.json()["rejected"]}
