"""The simulated site's floor: its devices connected, its stations and products entered."""

import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx

from scantrail.cli.devices import HttpReader, ListeningReader, TextReader
from scantrail.cli.site import HOST, PLACES, PRODUCTS, STEPS, Place


@dataclass(frozen=True, slots=True)
class Floor:
    """Devices by the place they stand at, and the API."""

    text: Mapping[Place, TextReader]
    http: Mapping[Place, HttpReader]
    api: httpx.AsyncClient


@asynccontextmanager
async def open_floor(
    api_url: str,
    gateway_url: str,
    ports: Mapping[str, int],
    *,
    api_shown: Mapping[str, str],
    places: Sequence[Place] = PLACES,
    token_of: Callable[[str], str] = lambda reader: "",
    checks: ssl.SSLContext | bool = True,
) -> AsyncIterator[Floor]:
    """Connect the devices; `ports` by reader id, for those over TCP; `api_shown` are headers, and
    `token_of` says what a reader over HTTP shows. `checks` is for what is reached by https."""
    async with AsyncExitStack() as open_things:
        api = await open_things.enter_async_context(
            httpx.AsyncClient(base_url=api_url, timeout=30, headers=api_shown, verify=checks)
        )
        gateway = await open_things.enter_async_context(
            httpx.AsyncClient(base_url=gateway_url, timeout=30, verify=checks)
        )
        text: dict[Place, TextReader] = {}
        http: dict[Place, HttpReader] = {}
        for place in places:
            if place.protocol == "http":
                http[place] = HttpReader(gateway, place.reader, token_of(place.reader))
            elif place.protocol == "connect":
                text[place] = await open_things.enter_async_context(
                    ListeningReader(HOST, ports[place.reader])
                )
            else:
                text[place] = TextReader(HOST, ports[place.reader])
                open_things.push_async_callback(text[place].close)
        yield Floor(text, http, api)


async def furnish(api: httpx.AsyncClient, places: Sequence[Place] = PLACES) -> None:
    """Enter the stations and products. Raises httpx.HTTPError where the API refuses."""
    for place in places:
        answer = await api.put(f"/stations/{place.station}", json=place.body)
        answer.raise_for_status()
    for gtin, name in PRODUCTS.items():
        answer = await api.put(f"/products/{gtin}", json={"name": name, "steps": STEPS})
        answer.raise_for_status()
