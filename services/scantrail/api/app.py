"""The api's shell: requests in, one query or one transaction, answers out."""

import asyncio
from functools import partial
from typing import NamedTuple

import httpx
import psycopg
from litestar import Litestar, Router
from litestar.datastructures import CacheControlHeader, State
from litestar.exceptions import HTTPException
from litestar.openapi.config import OpenAPIConfig
from litestar.static_files import create_static_files_router
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail import __version__
from scantrail.api.access import Guard, Role, check_roles
from scantrail.api.advance_notices import build_advance_notices
from scantrail.api.alert_policies import build_alert_policies
from scantrail.api.alerts import build_alerts
from scantrail.api.alerts_open import count_open_alerts
from scantrail.api.asyncapi import build_asyncapi
from scantrail.api.audit import build_audit
from scantrail.api.changes import Changes
from scantrail.api.claims import build_claims
from scantrail.api.counts import build_counts
from scantrail.api.delivering import deliver
from scantrail.api.description import CompletedJson
from scantrail.api.epcis import build_epcis
from scantrail.api.epcis_capture import build_epcis_capture
from scantrail.api.expiring import expire
from scantrail.api.folding import Folding
from scantrail.api.holds import build_holds
from scantrail.api.identifiers import build_identifiers
from scantrail.api.keyed import build_keyed
from scantrail.api.minting import build_minting
from scantrail.api.order_csv import build_order_csv
from scantrail.api.order_entry import build_order_entry
from scantrail.api.orders import build_orders
from scantrail.api.outbox import Outbox
from scantrail.api.pages.alerts import build_alerts_screen
from scantrail.api.pages.audit import build_audit_screen
from scantrail.api.pages.check_many import build_check_many
from scantrail.api.pages.claims import build_claims_screen
from scantrail.api.pages.counts import build_counts_screen
from scantrail.api.pages.find import build_find
from scantrail.api.pages.frame import READ_ONLY, STATIC, STATIC_S_MAX, as_screen, template_config
from scantrail.api.pages.labels import build_labels
from scantrail.api.pages.live import Live, build_live
from scantrail.api.pages.notices import build_notices_screen
from scantrail.api.pages.orders import build_orders_screen
from scantrail.api.pages.products import build_products_screen
from scantrail.api.pages.recall_export import build_recall_export
from scantrail.api.pages.recall_parts import build_recall_parts
from scantrail.api.pages.recalls import build_recalls_screen
from scantrail.api.pages.returns import build_returns_screen
from scantrail.api.pages.shipping import build_shipping
from scantrail.api.pages.sign_in import build_sign_in
from scantrail.api.pages.site import build_site
from scantrail.api.pages.stations import build_stations_screen
from scantrail.api.pages.subscribe import build_subscribe
from scantrail.api.pages.work import build_work
from scantrail.api.paging import check_query
from scantrail.api.parties import build_parties
from scantrail.api.problems import (
    Problem,
    answer_bad_value,
    answer_bug,
    answer_database_away,
    answer_problem,
)
from scantrail.api.products import build_products
from scantrail.api.proofs import build_proofs
from scantrail.api.readers import build_readers
from scantrail.api.recall_clearing import build_recall_clearing
from scantrail.api.recall_preview import build_recall_preview
from scantrail.api.recall_reach import build_recall_reach
from scantrail.api.recall_sweep import RecallSweep
from scantrail.api.recalls import build_recalls
from scantrail.api.register import build_register
from scantrail.api.register_watch import RegisterWatch
from scantrail.api.returns import build_returns
from scantrail.api.sites import build_sites
from scantrail.api.station_feed import StationFeed
from scantrail.api.stations import build_stations
from scantrail.api.stock import build_stock
from scantrail.api.tokens import build_tokens
from scantrail.api.unidentified import build_unidentified
from scantrail.api.units import build_units
from scantrail.api.voiding import build_voiding
from scantrail.api.warranties import build_warranties
from scantrail.api.webhooks import build_webhooks
from scantrail.api.worklists import build_worklists
from scantrail.infra.credentials import https_checks, https_shown
from scantrail.infra.database import connect_database, connect_reader, until_answers
from scantrail.infra.database_watch import watch_database
from scantrail.infra.health import Health
from scantrail.infra.kafka_watch import watch_kafka
from scantrail.infra.logs import logger
from scantrail.infra.settings import Settings
from scantrail.infra.web import answer_http, serve_http

log = logger(__name__)

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_PUBLIC = {"role": Role.PUBLIC}

BODY_BYTES_MAX = 8 << 20
STATEMENT_S_MAX = 10.0

#: What the api lacks until it can be asked.
HTTP = "http"


class Onlookers(NamedTuple):
    """What open pages are told of as it comes."""

    live: Live
    feed: StationFeed


async def run_api(settings: Settings, health: Health) -> None:
    """Answer, and relay the outbox, until cancelled."""
    if settings.api_tokens == "off" and settings.listen_host not in _LOOPBACK:
        told = "whoever reaches the api may all: set SCANTRAIL_API_TOKENS=required"
        log.warning("no tokens are asked for", listen_host=settings.listen_host, mend=told)
    health.lacks(HTTP)
    engine = connect_database(settings, statement_timeout_s=STATEMENT_S_MAX)
    reader = connect_reader(settings, statement_timeout_s=STATEMENT_S_MAX)
    outbox = Outbox(settings, engine)
    try:
        async with httpx.AsyncClient(
            base_url=settings.gateway_url,
            timeout=30,
            auth=partial(_shown, settings),
            verify=https_checks(settings),
        ) as gateway:
            watch = RegisterWatch(engine, outbox)
            sweep = RecallSweep(settings, engine, outbox)
            onlookers = Onlookers(Live(settings, reader), StationFeed(settings))
            app = build_api(
                engine, outbox, gateway, settings, watch, sweep, onlookers, reader=reader
            )
            async with asyncio.TaskGroup() as tasks:
                serving = serve_http(
                    app,
                    settings.listen_host,
                    settings.api_port,
                    tls=https_shown(settings),
                    listening=partial(health.has, HTTP),
                )
                tasks.create_task(serving)
                tasks.create_task(watch_kafka(settings))
                tasks.create_task(outbox.relay(health))
                tasks.create_task(deliver(settings))
                await until_answers(engine)
                tasks.create_task(onlookers.live.run())
                tasks.create_task(onlookers.feed.run())
                tasks.create_task(watch.run())
                tasks.create_task(sweep.run())
                tasks.create_task(expire(engine))
                tasks.create_task(count_open_alerts(reader))
                tasks.create_task(outbox.tell_oldest(reader))
                tasks.create_task(watch_database(settings, health))
                health.has("database")
    finally:
        await reader.dispose()
        await engine.dispose()


def _shown(settings: Settings, request: httpx.Request) -> httpx.Request:
    """A request to the gateway, with our token as it is now."""
    if token := settings.secret("service_token"):
        request.headers["Authorization"] = f"Bearer {token}"
    return request


def build_api(
    engine: AsyncEngine,
    outbox: Outbox,
    gateway: httpx.AsyncClient,
    settings: Settings,
    watch: RegisterWatch | None = None,
    sweep: RecallSweep | None = None,
    onlookers: Onlookers | None = None,
    *,
    reader: AsyncEngine | None = None,
) -> Litestar:
    """The application: screens at `/` and `/page`, the API, and its description at `/schema`.

    `reader` is asked where units are; without it, `engine`.
    """
    watch = watch or RegisterWatch(engine, outbox)
    sweep = sweep or RecallSweep(settings, engine, outbox)
    onlookers = onlookers or Onlookers(Live(settings, reader or engine), StationFeed(settings))
    guard = Guard(
        engine,
        is_required=settings.api_tokens == "required",
        requests_per_s_max=settings.api_requests_per_s_max,
        hosts=settings.api_hosts,
    )
    changes = Changes(engine, outbox, demands_version=settings.api_versions == "required")
    app = Litestar(
        route_handlers=[
            *build_find(reader or engine),
            *build_alerts_screen(reader or engine),
            *build_check_many(reader or engine),
            *build_work(reader or engine),
            *build_shipping(reader or engine, onlookers.feed),
            *build_site(reader or engine, onlookers.feed),
            *build_labels(reader or engine),
            *build_subscribe(settings),
            *build_audit_screen(engine),
            *build_live(onlookers.live),
            *build_recalls_screen(engine, outbox),
            *build_recall_parts(engine),
            *build_recall_export(engine),
            *build_stations_screen(engine),
            *build_counts_screen(engine),
            *build_products_screen(engine),
            *build_orders_screen(engine),
            *build_notices_screen(engine),
            *build_returns_screen(engine),
            *build_claims_screen(engine),
            *build_sign_in(guard),
            *build_units(reader or engine),
            *build_order_entry(engine, changes, watch),
            *build_stations(engine, changes),
            *build_products(engine, changes),
            *build_minting(engine, changes),
            *build_keyed(changes, gateway),
            *build_recalls(engine, changes),
            *build_recall_preview(engine),
            *build_recall_reach(engine, changes, sweep),
            *build_orders(engine, changes, gateway),
            *build_order_csv(changes, watch),
            *build_parties(engine, changes, watch),
            *build_register(engine, changes, watch),
            *build_identifiers(engine, changes),
            *build_holds(engine, changes),
            *build_recall_clearing(changes, sweep),
            *build_alerts(engine, changes),
            *build_alert_policies(engine, changes),
            *build_webhooks(engine, changes),
            *build_voiding(engine, changes, gateway),
            *build_worklists(engine, changes, gateway),
            *build_sites(engine, changes),
            *build_warranties(engine, changes),
            *build_claims(engine, changes),
            *build_returns(engine, changes),
            *build_proofs(engine),
            *build_advance_notices(engine, changes),
            *build_stock(changes, gateway),
            *build_counts(engine, changes),
            *build_readers(engine),
            *build_epcis(engine, settings.epcis_base),
            *build_epcis_capture(engine, changes, gateway, settings.epcis_base),
            *build_tokens(engine, changes),
            *build_audit(engine),
            *build_asyncapi(settings),
            *build_unidentified(engine, changes, gateway),
            create_static_files_router(
                path="/static",
                directories=[STATIC],
                opt=_PUBLIC,
                include_in_schema=False,
                cache_control=CacheControlHeader(public=True, max_age=STATIC_S_MAX),
            ),
        ],
        guards=[
            guard,
            check_query,
            Folding(engine),
        ],
        template_config=template_config(),
        exception_handlers={
            error: as_screen(answer)
            for error, answer in (
                (Problem, answer_problem),
                (HTTPException, answer_http),
                (OperationalError, answer_database_away),
                (InterfaceError, answer_database_away),
                (PoolTimeoutError, answer_database_away),
                (DataError, answer_bad_value),
                # of COPY, which SQLAlchemy does not see
                (psycopg.OperationalError, answer_database_away),
                (psycopg.DataError, answer_bad_value),
                (Exception, answer_bug),
            )
        },
        request_max_body_size=BODY_BYTES_MAX,
        logging_config=None,  # ours is set up
        state=State({READ_ONLY: settings.page == "read_only"}),
        openapi_config=OpenAPIConfig(
            title="Scantrail",
            version=__version__,
            render_plugins=[CompletedJson(path="/openapi.json")],  # others need a foreign server
            openapi_router=Router(
                "/schema", route_handlers=[], opt=_PUBLIC, include_in_schema=False
            ),
        ),
    )
    check_roles(app)
    return app
