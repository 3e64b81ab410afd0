"""The register's watch is told of each regulated unit that changes, and reads no others."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import pytest_asyncio

from integration.conftest import GTIN
from scantrail.api.outbox import Outbox
from scantrail.api.register_watch import RegisterWatch
from scantrail.infra.database import connect_database
from scantrail.infra.regulated import REGULATING

if TYPE_CHECKING:
    from integration.conftest import Site

RULE = {"maker": "Acme", "model": "M1", "type": "rifle", "calibre": ".308"}
RULE |= {"licence_kind": "firearms", "importer": None, "enter_within_days": 1}
TOLD = "SELECT unit, version FROM register_change ORDER BY 1, 2"
ENTERED = "SELECT unit, version FROM register_unit ORDER BY 1"


@pytest_asyncio.fixture
async def watch(site: "Site") -> AsyncIterator[RegisterWatch]:
    """It looks when it is told to; a projector writes."""
    await site.start("projector")
    engine = connect_database(site.settings)
    try:
        yield RegisterWatch(engine, Outbox(site.settings, engine))
    finally:
        await engine.dispose()


def regulate_by_hand(site: "Site") -> None:
    site.execute("INSERT INTO regulation VALUES (%s, 1, %s)", GTIN, json.dumps(RULE | {"id": GTIN}))


async def seen(site: "Site", serial: str, *minutes: float) -> None:
    scans = [site.scan(serial, minute) for minute in minutes]
    for movement in site.movements(*scans):
        await site.put_movement(movement, site.unit(serial))
    await site.until(lambda: (len(minutes),) in version_of(site, serial))


def version_of(site: "Site", serial: str) -> list[tuple[Any, ...]]:
    return site.rows("SELECT version FROM unit WHERE unit = %s", site.unit(serial))


async def test_a_change_is_told_with_the_unit_and_taken_once_it_is_entered(
    site: "Site", watch: RegisterWatch
) -> None:
    await seen(site, "1", 0)
    assert site.rows(TOLD) == [], "it is not regulated"
    regulate_by_hand(site)
    await seen(site, "2", 0, 5)
    told = site.rows(TOLD)
    assert (site.unit("2"), 2) in told
    assert {unit for unit, _ in told} == {site.unit("2")}
    await watch.catch_up()
    assert site.rows(TOLD) == []
    assert (site.unit("2"), 2) in site.rows(ENTERED)


async def test_of_a_product_that_is_regulated_from_now_on_all_units_are_entered(
    site: "Site", watch: RegisterWatch
) -> None:
    await site.start("api")
    await seen(site, "1", 0)
    await watch.catch_up()  # it has compared all units, and found none
    await site.ask("PUT", f"/products/{GTIN}", json={"name": "M1"})
    answer = await site.ask("PUT", f"/products/{GTIN}/regulation", json=RULE)
    assert answer.status_code == 200, answer.text
    await site.until(lambda: site.rows(ENTERED) == [(site.unit("1"), 1)])


async def test_a_unit_that_is_being_written_while_its_product_is_regulated_is_told_of(
    site: "Site",
) -> None:
    """As the projector: it asked what is regulated before the answer changed, and commits after."""
    await site.start("api")
    await site.ask("PUT", f"/products/{GTIN}", json={"name": "M1"})
    async with await psycopg.AsyncConnection.connect(site.settings.database_url) as writing:
        await writing.execute("SELECT pg_advisory_xact_lock_shared(%s)", [REGULATING])
        await writing.execute(
            "INSERT INTO unit (unit, product, serial, version) VALUES (%s, %s, '1', 1)",
            [site.unit("1"), GTIN],
        )
        regulating = asyncio.create_task(site.ask("PUT", f"/products/{GTIN}/regulation", json=RULE))
        waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        await site.until(lambda: site.rows(waits) == [(1,)])
        await writing.commit()
    assert (await regulating).status_code == 200
    await site.until(lambda: site.rows(ENTERED) == [(site.unit("1"), 1)])


async def test_what_nobody_told_is_found_by_comparing(
    site: "Site", watch: RegisterWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A projector of a former version writes units and tells of none."""
    monkeypatch.setattr("scantrail.api.register_watch.COMPARE_EVERY_S", 0.0)
    regulate_by_hand(site)
    await watch.catch_up()
    await seen(site, "1", 0)
    site.execute("DELETE FROM register_change")
    await watch.catch_up()
    assert site.rows(ENTERED) == [(site.unit("1"), 1)]


async def test_a_unit_whose_product_is_regulated_no_more_is_looked_at_once(
    site: "Site", watch: RegisterWatch
) -> None:
    regulate_by_hand(site)
    await seen(site, "1", 0)
    await watch.catch_up()
    due = "UPDATE register_unit SET look_again_on = '2020-01-01', is_stale = true"
    site.execute(due)
    site.execute("DELETE FROM regulation")
    async with asyncio.timeout(20):
        await watch.catch_up()
    assert site.rows("SELECT is_stale, look_again_on FROM register_unit") == [(False, None)]
