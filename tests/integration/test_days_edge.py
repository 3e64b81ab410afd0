"""Days end where the unit is: licences, loans and deliveries, at whatever hour UTC has it."""

import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from integration.conftest import GTIN, NOON
from scantrail.api.outbox import Outbox
from scantrail.api.register_watch import RegisterWatch
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.database import connect_database

if TYPE_CHECKING:
    from integration.conftest import Site

OUT = {"business_step": BusinessStep.SHIPPING, "business_location": None, "station": "gate"}
WEST, EAST = "Etc/GMT+12", "Pacific/Kiritimati"  # a day apart, whenever it is
DAY = date(2030, 3, 1)


@contextlib.asynccontextmanager
async def watching(site: "Site", zone: str) -> AsyncIterator[RegisterWatch]:
    """A desk's watch that looks when it is told to; a regulated product, and site north's zone."""
    await site.start("projector")
    rule = {"id": GTIN, "maker": "Acme", "model": "M1", "type": "rifle", "calibre": ".308"}
    site.execute("INSERT INTO regulation VALUES (%s, 1, %s)", GTIN, json.dumps(rule))
    site.execute("INSERT INTO site (id, time_zone) VALUES ('north', %s)", zone)
    site.execute("INSERT INTO site (id, time_zone) VALUES ('south', 'Etc/UTC')")
    engine = connect_database(site.settings)
    try:
        yield RegisterWatch(engine, Outbox(site.settings, engine))
    finally:
        await engine.dispose()


def order(site: "Site", licence: dict[str, str], **more: Any) -> None:
    licences = json.dumps([{"number": "1", "kind": "firearms"} | licence])
    party = "INSERT INTO party (id, name, address, licences) VALUES ('p-1', 'A', 'B', %s)"
    site.execute(party, licences)
    site.execute(
        "INSERT INTO sales_order (ref, version, purchaser, loan_due) VALUES ('SO-1', 1, 'p-1', %s)",
        more.get("loan_due"),
    )


async def scanned(site: "Site", *scans: Scan) -> None:
    for movement in site.movements(*scans):
        await site.put_movement(movement, scans[0].unit)
    count = "SELECT count(*) FROM movement"
    await site.until(lambda: site.rows(count) == [(len(scans),)])


def is_held(site: "Site") -> bool:
    return bool(site.rows("SELECT id FROM hold WHERE jsonb_array_length(document->'reasons') > 0"))


@pytest.mark.parametrize("zone", ["Australia/Sydney", "America/New_York"])
async def test_a_licence_holds_from_the_end_of_its_last_day_where_the_unit_is(
    site: "Site", zone: str
) -> None:
    async with watching(site, zone) as watch:
        order(site, {"valid_from": "2020-01-01", "valid_until": f"{DAY}"})
        packing = site.scan("1", 1, order="SO-1", business_step=BusinessStep.PACKING)
        await scanned(site, site.scan("1"), packing)
        midnight = datetime(2030, 3, 2, tzinfo=ZoneInfo(zone))
        await watch.catch_up(midnight.replace(day=1, hour=23).astimezone(UTC))
        assert not is_held(site)
        await watch.catch_up(midnight.replace(minute=1).astimezone(UTC))
        assert is_held(site)


@pytest.mark.parametrize("zone", [WEST, EAST])
async def test_what_went_out_on_the_last_day_of_a_licence_went_out_with_one(
    site: "Site", zone: str
) -> None:
    async with watching(site, zone) as watch:
        day = f"{NOON.astimezone(ZoneInfo(zone)).date()}"
        order(site, {"valid_from": day, "valid_until": day})
        await scanned(site, site.scan("1", -1), site.scan("1", order="SO-1", **OUT))
        await watch.catch_up()
        assert site.rows("SELECT disposed_to FROM register WHERE disposed_to IS NOT NULL")
        found = site.rows("SELECT document->>'kind' FROM desk_finding")
        assert ("licence_missing",) not in found


@pytest.mark.parametrize("zone", ["Australia/Sydney", "America/New_York"])
async def test_a_loan_is_past_once_its_day_is_over_where_the_unit_left(
    site: "Site", zone: str
) -> None:
    async with watching(site, zone) as watch:
        order(site, {"valid_from": "2020-01-01"}, loan_due=DAY)
        await scanned(site, site.scan("1", -1), site.scan("1", order="SO-1", **OUT))
        midnight = datetime(2030, 3, 2, tzinfo=ZoneInfo(zone))
        late = "SELECT count(*) FROM desk_finding WHERE document->>'kind' = 'loan_overdue'"
        await watch.catch_up(midnight.replace(day=1, hour=23).astimezone(UTC))
        assert site.rows(late) == [(0,)]
        await watch.catch_up(midnight.replace(minute=1).astimezone(UTC))
        assert site.rows(late) == [(1,)]


async def test_what_leaves_after_an_order_was_delivered_is_still_on_its_way(site: "Site") -> None:
    await site.start("api")
    await site.start("projector")
    purchaser = {"id": "p-1", "name": "A. Buyer", "address": "1 Dock Road, York"}
    await site.ask("PUT", "/parties/fast", json={"name": "Fast", "address": "2 Dock Road"})
    body = {"purchaser": purchaser, "carrier": "fast"}
    assert (await site.ask("PUT", "/orders/SO-1", json=body)).status_code == 200
    sent = {"order": "SO-1", "possessing_party": "carrier", **OUT}
    await scanned(site, site.scan("1", 1, **sent))
    at = site.scan("1", 5).event_time.isoformat()
    site.execute("UPDATE sales_order SET delivered_at = %s", at)
    for movement in site.movements(site.scan("2", 9, **sent)):
        await site.put_movement(movement, site.unit("2"))
    await site.until(lambda: site.rows("SELECT count(*) FROM unit") == [(2,)])
    who = {}
    for serial in ("1", "2"):
        told = (await site.ask("GET", f"/units/{site.barcode(serial)}")).json()
        who[serial] = told["possessing_party"]["id"]
    assert who == {"1": "p-1", "2": "fast"}
