"""The gateway's shell: readers in, the intake, Kafka or disk out.

1. bytes are decoded, each read's id is minted. Died here: nothing was told, the reader has it.
2. the scan is acknowledged by Kafka or on disk. Died here: it is durable; a reader that sends it
   again under its own id counts once, one without ids makes a repeat read.
3. the reader is told.
"""

import asyncio
import os
from functools import partial
from pathlib import Path

from scantrail.contracts.records import products, stations
from scantrail.contracts.topics import Topic
from scantrail.domain.verdict import Verdict
from scantrail.gateway.contexts import Contexts
from scantrail.gateway.copies import Copy
from scantrail.gateway.guards import Guards
from scantrail.gateway.http import build_http
from scantrail.gateway.identifiers import Identifiers
from scantrail.gateway.intake import Intake
from scantrail.gateway.mqtt import follow_reader
from scantrail.gateway.notices import Notices
from scantrail.gateway.orders import Orders
from scantrail.gateway.outlet import Outlet
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.readers_file import ReaderSettingsError, load_readers
from scantrail.gateway.scans import Known
from scantrail.gateway.spool import Spool
from scantrail.gateway.statuses import Statuses
from scantrail.gateway.tcp import serve_reader
from scantrail.gateway.verdict_http import build_verdict
from scantrail.gateway.verdicts import Verdicts
from scantrail.infra.credentials import https_shown
from scantrail.infra.health import Health
from scantrail.infra.kafka_watch import watch_kafka
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings
from scantrail.infra.web import serve_http

log = logger(__name__)

BIND_RETRY_S = 2.0

#: What the gateway lacks until readers can post to it.
HTTP = "http"

#: Of what the spool may have, the journal of questions has this part.
JOURNAL_SHARE = 16


async def run_gateway(settings: Settings, health: Health) -> None:
    """Take reads until cancelled; SystemExit with one sentence where the readers' file is wrong."""
    readers = _readers(settings)
    for lacking in (
        HTTP,
        *(_address_of(reader) for reader in readers.values() if _listens(reader)),
    ):
        health.lacks(lacking)
    folder = Path(settings.data_dir) / "gateway"
    spool = Spool(folder / "spool.db", bytes_max=settings.spool_bytes_max)
    outlet = Outlet(settings, spool, health)
    known_stations = Copy(Topic.STATIONS, stations, folder)
    notices = Notices()
    known_products = Copy(Topic.PRODUCTS, products, folder, notices.note_product)
    known_ids = Identifiers(settings.topic_prefix, folder, notices)
    known = Known(
        readers,
        known_stations.by_id,
        known_products.by_id,
        known_ids.unit_of,
        known_ids.keys_of,
    )
    contexts = Contexts(folder / "contexts.json")
    statuses = Statuses(settings.topic_prefix, readers, contexts)
    intake = Intake(settings.topic_prefix, known, outlet, contexts=contexts, statuses=statuses)
    journal = Spool(folder / "questions.db", bytes_max=settings.spool_bytes_max // JOURNAL_SHARE)
    known_orders = Orders(folder)
    verdicts = Verdicts(
        settings.topic_prefix,
        known,
        notices,
        known_orders,
        journal,
        contexts,
        statuses,
        deadline_s=settings.verdict_deadline_ms / 1000,
        stale_s=settings.verdict_stale_s,
        unknown_order=Verdict(settings.verdict_unknown_order),
    )
    is_required = settings.reader_tokens == "required"
    guards = Guards(readers, is_required=is_required)
    http = build_http(
        intake,
        guards,
        build_verdict(verdicts, guards),
        service_token=partial(settings.secret, "service_token"),
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch_kafka(settings))
            tasks.create_task(outlet.drain())
            tasks.create_task(statuses.tell(outlet))
            tasks.create_task(known_ids.tell(outlet))
            tasks.create_task(known_ids.follow(settings))
            tasks.create_task(verdicts.forward(outlet))
            tasks.create_task(verdicts.watch())
            tasks.create_task(notices.follow(settings))
            tasks.create_task(known_orders.follow(settings))
            tasks.create_task(known_stations.follow(settings))
            tasks.create_task(known_products.follow(settings, notices))
            for each in (known_stations, known_products, known_ids):
                await each.loaded.wait()
                health.has(each.topic.value)
            for reader in readers.values():
                if reader.is_over_tcp:
                    tasks.create_task(_serve(reader, intake, verdicts, statuses, health))
                elif reader.subscription is not None:
                    tasks.create_task(follow_reader(reader, intake, statuses))
            serving = serve_http(
                http,
                settings.listen_host,
                settings.gateway_port,
                tls=https_shown(settings, of_clients=settings.tls_client_ca),
                listening=partial(health.has, HTTP),
            )
            tasks.create_task(serving)
    finally:
        await verdicts.stop()
        await outlet.stop()
        await journal.close()
        await spool.close()
        known_orders.close()
        known_ids.close()


def _readers(settings: Settings) -> dict[str, ReaderSettings]:
    is_required = settings.reader_tokens == "required"
    if is_required and not settings.secret("service_token"):
        raise SystemExit(
            "scantrail gateway: SCANTRAIL_READER_TOKENS=required needs SCANTRAIL_SERVICE_TOKEN too,"
            " the same at the api: else anybody could replay reads as any reader"
        )
    if not settings.readers_file:
        return {}
    try:
        found = load_readers(Path(settings.readers_file), os.environ)
    except ReaderSettingsError as error:
        raise SystemExit(f"scantrail gateway: {error}") from error
    readers = {reader.id: reader for reader in found}
    is_bare = is_required and not settings.tls_client_ca
    for reader in readers.values() if is_bare else ():
        if reader.protocol.startswith("http-") and not reader.token_sha256:
            raise SystemExit(
                f"scantrail gateway: {settings.readers_file}: reader {reader.id!r} has no"
                " token_sha256, and SCANTRAIL_READER_TOKENS=required: `scantrail token` makes one"
            )
    return readers


async def _serve(
    reader: ReaderSettings,
    intake: Intake,
    verdicts: Verdicts,
    statuses: Statuses,
    health: Health,
) -> None:
    """A reader whose address is taken keeps the gateway unready, and the others going."""
    while True:
        try:
            await serve_reader(
                reader,
                intake,
                verdicts,
                statuses,
                listening=partial(health.has, _address_of(reader)),
            )
        except OSError as error:
            health.lacks(_address_of(reader))
            log.error("reader's address cannot be used", reader=reader.id, reason=str(error))
            await asyncio.sleep(BIND_RETRY_S)


def _listens(reader: ReaderSettings) -> bool:
    return reader.is_over_tcp and reader.mode == "listen"


def _address_of(reader: ReaderSettings) -> str:
    """What the gateway lacks while the reader cannot connect to it."""
    return f"address of reader {reader.id}"
