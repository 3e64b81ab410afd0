"""`scantrail simulate`: the small site that `make up` shows, alive until it is stopped."""

import asyncio
import random
import secrets
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from scantrail.cli.addresses import api_headers, page_address
from scantrail.cli.floor import Floor, furnish, open_floor
from scantrail.cli.secured import secured_token_of
from scantrail.cli.site import DOCK, GATE, LINE, PRODUCTS, SHELF, SOUTH, STAGE, tcp_readers
from scantrail.infra.credentials import https_checks
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings, SettingsError

log = logger(__name__)

BEAT_S = 0.5
CLONED_SHARE = 0.01
#: The first that is cloned, for whoever has just started it and looks on.
FIRST_CLONED = 3
FURNISH_RETRY_S = 1.0

_NO_SITE = "the simulated site has readers of its own: run `make up` without EMPTY=1"


async def simulate(settings: Settings) -> None:
    """Move units through the site for ever: about two scans a second."""
    ports = _ports(Path(settings.readers_file))
    async with open_floor(
        page_address(settings),
        settings.gateway_url,
        ports,
        api_shown=api_headers(settings),
        token_of=secured_token_of(settings),
        checks=https_checks(settings),
    ) as floor:
        start = secrets.token_hex(2).upper()
        while True:
            try:
                await furnish(floor.api)
                await _draft_recall(floor.api, start)
                break
            except httpx.HTTPError as error:
                log.warning("the api does not take the stations yet", reason=str(error))
                await asyncio.sleep(FURNISH_RETRY_S)
        number = 0
        async with asyncio.TaskGroup() as lives:
            while True:
                number += 1
                lives.create_task(_live(floor, f"{start}{number:05}", number))
                await asyncio.sleep(BEAT_S * 5)


async def _draft_recall(api: httpx.AsyncClient, start: str) -> None:
    """A recall of every tenth unit to come, which can be previewed and activated."""
    recall = {
        "title": "Battery may overheat (simulated)",
        "reason": "a weld of the cell may come loose",
        "products": list(PRODUCTS),
        "selectors": [{"kind": "pattern", "pattern": f"{start}####5"}],
    }
    answer = await api.put(f"/recalls/SIM-{start}", json={**recall, "status": "draft"})
    answer.raise_for_status()


async def _live(floor: Floor, serial: str, number: int) -> None:
    """One unit from the dock to its purchaser, in a minute or two."""
    chance = random.Random(serial)
    gtin = chance.choice(list(PRODUCTS))
    code = f"01{gtin}21{serial}"

    async def wait() -> None:
        await asyncio.sleep(BEAT_S * chance.uniform(5, 40))

    await floor.text[DOCK].send([code.encode()])
    await wait()
    await floor.text[SHELF].send([(SHELF.label or "").encode(), code.encode()])
    await wait()
    if chance.random() < CLONED_SHARE or number == FIRST_CLONED:
        await floor.text[SOUTH].send([code.encode()])
        return
    if chance.random() < 0.4:
        await floor.http[LINE].send([_read(code)])
        await wait()
    if chance.random() < 0.6:
        ref = f"SO-{serial}"
        buyer = {"name": f"Customer {number}", "address": f"{number} Harbour Street, Rotterdam"}
        answer = await floor.api.put(f"/orders/{ref}", json={"purchaser": buyer})
        answer.raise_for_status()
        await floor.text[STAGE].send([code.encode()])
        await wait()
        await floor.http[GATE].send([_read(code, order=ref)])


def _read(code: str, **more: str) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"code": code, "timestamp": now, "event_id": secrets.token_hex(8), **more}


def _ports(readers: Path) -> dict[str, int]:
    """The TCP ports of the site's readers, as the gateway's file has them."""
    try:
        tables = tomllib.loads(readers.read_text())["reader"]
        ports = {
            table["id"]: int(table["address"].rpartition(":")[2])
            for table in tables
            if "address" in table
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise SettingsError(f"{_NO_SITE} (SCANTRAIL_READERS_FILE={readers}: {error})") from error
    if not ports.keys() >= set(tcp_readers()):
        raise SettingsError(f"{_NO_SITE} (they are not in {readers})")
    return ports
