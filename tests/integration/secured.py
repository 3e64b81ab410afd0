"""An installation that lets nobody in without a proof, and what tests ask of it."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from scantrail.cli.addresses import page_address, private_settings
from scantrail.cli.rotating import Rotation
from scantrail.cli.secured import PERSON, Secured, secrets_folder
from scantrail.cli.stack import Stack
from scantrail.infra.credentials import kafka_access
from scantrail.infra.database import sqlalchemy_url
from scantrail.infra.settings import Settings

READER, OTHER = "handheld-1", "handheld-2"
STATIONS = {READER: ("dock-1", "receiving"), OTHER: ("gate-1", "shipping")}
GTIN = "09506000134352"

_READERS = "\n".join(
    f'[[reader]]\nid = "{reader}"\nstation = "{station}"\nprotocol = "http-generic"\n'
    for reader, (station, _) in STATIONS.items()
)


@contextmanager
def secured_stack(
    folder: Path,
    cache: Path,
    *,
    shape: Settings | None = None,
    prepare: Callable[[Stack], None] = lambda stack: None,
) -> Iterator[Stack]:
    """A private `scantrail up --secure`, with two readers over HTTP; `prepare` may put another
    Kafka into it before it starts."""
    data = folder / "data"
    readers = folder / "readers.toml"
    readers.write_text(Secured(secrets_folder(data)).readers(_READERS))
    settings = replace(private_settings(data, shape or Settings()), readers_file=str(readers))
    stack = Stack(settings, cache=cache, secure=True)
    prepare(stack)
    with stack:
        with api(stack) as client:
            for station, step in STATIONS.values():
                body = {"name": station, "site": "north", "business_step": step}
                client.put(f"/stations/{station}", json=body).raise_for_status()
        yield stack


def secured_of(stack: Stack) -> Secured:
    assert stack.secured is not None
    return stack.secured


def trusting(stack: Stack) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(secured_of(stack).keyring.authorities))


def api(stack: Stack, token: str | None = None) -> httpx.Client:
    """The api, as its first person asks it, or with another token."""
    if token is None:
        token = secured_of(stack).keyring.api_token().read_text().strip()
    return httpx.Client(
        base_url=page_address(stack.settings),
        headers={"Authorization": f"Bearer {token}"} if token else {},
        verify=trusting(stack),
        timeout=30,
    )


def gateway(stack: Stack, reader: str | None = READER) -> httpx.Client:
    """The gateway, with the token of a reader or none."""
    shown = {}
    if reader is not None:
        token = secured_of(stack).keyring.reader_token(reader).read_text().strip()
        shown = {"Authorization": f"Bearer {token}"}
    return httpx.Client(
        base_url=stack.settings.gateway_url, headers=shown, verify=trusting(stack), timeout=30
    )


def send(client: httpx.Client, codes: Iterable[str], reader: str = READER) -> httpx.Response:
    reads = [{"barcode": code} for code in codes]
    return client.post("/ingest/v1/generic", params={"reader": reader}, json={"reads": reads})


def client_of(settings: Settings) -> AIOKafkaClient:
    return AIOKafkaClient(bootstrap_servers=settings.kafka_bootstrap, **kafka_access(settings))


def codes(start: str, count: int) -> list[str]:
    return [f"01{GTIN}21{start}{number:04}" for number in range(count)]


def connect(settings: Settings, **more: str) -> psycopg.Connection:
    told = sqlalchemy_url(settings.database_url).replace("postgresql+psycopg", "postgresql")
    password = settings.secret("database_password")
    return psycopg.connect(told, **({"password": password} | more))  # type: ignore[arg-type]


def until_moved_once(stack: Stack, sent: list[str], limit_s: float = 120.0) -> None:
    """Return once each unit has moved; fails where one has moved twice."""
    units = [f"sgtin:{GTIN}.{code[18:]}" for code in sent]
    query = "SELECT count(*), count(DISTINCT unit) FROM movement WHERE unit = ANY(%s)"
    deadline = time.monotonic() + limit_s
    with connect(stack.settings) as owner:
        owner.autocommit = True
        while (found := owner.execute(query, [units]).fetchone()) != (len(units), len(units)):
            assert found is not None
            assert found[0] == found[1], "a scan has moved its unit twice"
            assert time.monotonic() < deadline, f"{len(units) - found[1]} of {len(units)} are lost"
            time.sleep(0.1)


async def while_scans_flow(stack: Stack, kinds: Sequence[str], said: list[str]) -> list[str]:
    """The codes that the gateway accepted while all these were exchanged."""
    done = asyncio.Event()
    sent: list[str] = []

    async def flow() -> None:
        number = 0
        with gateway(stack) as client:
            while not done.is_set():
                some = codes(f"F{number:04}", 5)
                answer = await asyncio.to_thread(send, client, some)
                assert answer.json() == {"accepted": 5, "rejected": []}
                sent.extend(some)
                number += 1
                await asyncio.sleep(0.05)

    flowing = asyncio.create_task(flow())
    try:
        for kind in kinds:
            rotation = Rotation(stack.settings, secured_of(stack).keyring, said.append)
            await asyncio.to_thread(rotation.rotate, kind)
    finally:
        done.set()
        await flowing
    assert len(sent) > 100, "too little flowed for this to prove anything"
    return sent


#: Who signs in first.
FIRST_PERSON = PERSON


async def operations_of(settings: Settings, topics: list[str]) -> dict[str, frozenset[int]]:
    """What Kafka itself says that the principal of these settings may do with each topic."""
    client = client_of(settings)
    try:
        await client.bootstrap()
        answer: Any = await client.send(client.get_random_node(), _AskRights(topics))
    finally:
        await client.close()
    return {
        topic: frozenset(bit for bit in range(32) if rights & (1 << bit) and not error)
        if rights >= 0
        else frozenset()
        for error, topic, _, _, rights in answer.topics
    }


class _RightsResponse(Response):
    """Metadata, version 8, which aiokafka lacks: with the operations that are authorized."""

    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(
                ("node_id", Int32),
                ("host", String("utf-8")),
                ("port", Int32),
                ("rack", String("utf-8")),
            ),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline", Array(Int32)),
                    ),
                ),
                ("authorized", Int32),
            ),
        ),
        ("cluster_authorized", Int32),
    )


class _RightsStruct(RequestStruct):
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _RightsResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster", Boolean),
        ("include_topics", Boolean),
    )


class _AskRights(Request[_RightsStruct]):
    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_RightsStruct]) -> _RightsStruct:
        return request_struct_class(self._topics, False, False, True)
