"""A purchaser's name and address come in by every road, are erased, and are in no file."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
import pytest

import roads
from integration.conftest import with_least_rights
from planted import files_with, found_in
from scantrail.api import expiring
from scantrail.api.expiring import CAPTURES_KEPT_FOR, REJECTED_KEPT_FOR, expire_once
from scantrail.cli import scrub as scrubbing
from scantrail.cli.scrub import scrub
from scantrail.contracts.topics import Topic
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.database import connect_database
from scantrail.infra.embedded_postgres import EmbeddedPostgres
from scantrail.infra.settings import Settings, SettingsError

if TYPE_CHECKING:
    from integration.conftest import Site

OpenSite = Callable[[Settings], AbstractAsyncContextManager["Site"]]


async def test_an_erased_purchaser_is_in_no_file_of_the_database_and_the_trail_stays(
    own_settings: Settings,
    own_postgres: EmbeddedPostgres,
    open_site: OpenSite,
) -> None:
    mark = secrets.token_hex(4)
    name, address = f"Zoë O'Quux-{mark}", f"7 Zyzzyva{mark} Road,\nYork"
    planted = [f"Quux-{mark}", f"Zyzzyva{mark}"]
    async with open_site(own_settings) as site:
        site.readers(f'id = "{roads.READER}"\nstation = "dock"\nprotocol = "http-generic"')
        for process in ("projector", "gateway", "api"):
            await site.start(process)
        await _sell(site)
        for road in (*roads.roads(name, address), *roads.refused_reads(name, address)):
            base = own_settings.gateway_url if road.at_gateway else _api(own_settings)
            answer = await site.http.request(road.method, base + road.path, **road.more)
            assert answer.status_code == road.status, (road.what, answer.text)
        await site.until(lambda: site.rows("SELECT count(*) FROM rejected") == [(2,)])
        # a reason that a person gave for a hold, as an alert cites it
        await asyncio.to_thread(
            site.execute,
            "INSERT INTO alert (id, kind, severity, status, event_id, event_time, text) VALUES"
            " ('a', 'held_at_shipping', 'critical', 'open', 'e', now(), %s)",
            f"it is held (QA: waits for {name})",
        )
        for statement in ("ANALYZE", "CHECKPOINT"):
            await asyncio.to_thread(site.execute, statement)
        files = own_postgres.folder
        before = {word for path, word in files_with(files, planted) if "/base/" in path}
        assert before == set(planted), "what is there is found"

        left = set[str]()
        for (party,) in site.rows("SELECT id FROM party ORDER BY id"):
            erased = await site.ask("DELETE", f"/parties/{quote(party)}/personal-data")
            assert erased.status_code == 200, erased.text
            left |= set(erased.json()["still_in"])
        reached = {"topic alerts", "topic reads.rejected"}
        assert left == {"party.address", "party.name"} | reached
        said: list[str] = []
        with pytest.raises(SettingsError, match="does not own"):
            await asyncio.to_thread(scrub, with_least_rights("api", own_settings), said.append)
        with psycopg.connect(own_settings.database_url) as holding:
            holding.execute("LOCK TABLE party IN ACCESS SHARE MODE")
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(scrubbing, "LOCK_S_MAX", 1)
                with pytest.raises(SettingsError, match="party was held by others for 1 s"):
                    await asyncio.to_thread(scrub, own_settings, said.append)
        assert await asyncio.to_thread(scrub, own_settings, said.append) == 0
        assert sorted({path for path, _ in files_with(files, planted)}) == []

        unit = (await site.ask("GET", f"/units/{roads.barcode(roads.SOLD)}")).json()
        assert (unit["order"], unit["purchaser"]["name"]) == ("SO-1", "(erased)")
        trail = await site.ask("GET", f"/units/{roads.barcode(roads.SOLD)}/trail")
        assert len(trail.json()) == 2
        rejected = (await site.ask("GET", "/rejected")).json()["rejected"]
        assert {each["detail"] for each in rejected} == {"(erased)"}
        told = {topic: str(await (await site.log(topic)).records()) for topic in Topic}
        assert {topic for topic, text in told.items() if found_in(text.encode(), planted)} == {
            Topic.READS_REJECTED  # for its time, as the answers told
        }
        assert not found_in(str(site.logs).encode(), planted)
    assert not list(files_with(Path(own_settings.data_dir), planted))


async def test_what_became_of_a_document_is_told_for_its_time(site: "Site") -> None:
    await site.start("api")
    await site.start("gateway")
    for road in roads.roads("Ada", "1 Road"):
        if road.path == "/epcis/capture":
            await site.ask(road.method, road.path, **road.more)
    ids = [each["captureID"] for each in (await site.ask("GET", "/epcis/capture")).json()]
    assert len(ids) == 4
    engine = connect_database(site.settings)
    query = "UPDATE epcis_capture SET finished_at = %s WHERE id = %s"
    now = datetime.now(UTC)
    site.execute(query, now - CAPTURES_KEPT_FOR, ids[0])
    site.execute("UPDATE epcis_capture SET finished_at = %s WHERE id <> %s", now, ids[0])
    await expire_once(engine, now=now)
    assert (await site.ask("GET", f"/epcis/capture/{ids[0]}")).status_code == 200
    site.execute(query, now - CAPTURES_KEPT_FOR * 1.01, ids[0])
    await expire_once(engine, now=now)
    await engine.dispose()
    assert (await site.ask("GET", f"/epcis/capture/{ids[0]}")).status_code == 404
    assert site.rows("SELECT count(DISTINCT capture) FROM epcis_capture_event") == [(3,)]


async def test_what_was_set_aside_goes_after_its_time_unless_it_holds_a_unit(
    site: "Site", monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    due, not_yet = now - REJECTED_KEPT_FOR * 1.01, now - REJECTED_KEPT_FOR * 0.99
    insert = (
        "INSERT INTO rejected (id, source, reason, detail, payload, record_time, unit,"
        " unit_version) VALUES (%s, %s, 'other', '', 'SHIP TO: Ada', %s, %s, %s)"
    )
    for id_, source, at, unit, version in (
        ("old-1", "read", due, None, None),
        ("old-2", "read", due, None, None),
        ("old-3", "scan", due, None, None),
        ("released", "scan", due, "went-on", 4),
        ("recent", "read", not_yet, None, None),
        ("holds", "scan", due, "waits", 4),
        ("holds on", "scan", due, "scanned since", 4),
        ("holds a first scan", "scan", due, "never seen", 1),
    ):
        site.execute(insert, id_, source, at, unit, version)
    columns = "(unit, version, held, serial)"
    for row in (("went-on", 5, False), ("waits", 4, False), ("scanned since", 5, True)):
        site.execute(f"INSERT INTO unit {columns} VALUES (%s, %s, %s, 's')", *row)
    monkeypatch.setattr(expiring, "REJECTED_AT_ONCE", 2)
    engine = connect_database(with_least_rights("api", site.settings))
    await expire_once(engine, now=now)
    await engine.dispose()
    left = site.rows("SELECT id FROM rejected ORDER BY id")
    assert [id_ for (id_,) in left] == [
        "holds",
        "holds a first scan",
        "holds on",
        "recent",
    ]


def _api(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.api_port}"


async def _sell(site: "Site") -> None:
    """Stations the gateway knows, and a unit that came and left with an order."""
    for station, step in roads.STATIONS.items():
        read_point = f"urn:epc:id:sgln:9506000.13430.{station}"
        body = {"site": "north", "business_step": step, "read_point": read_point}
        assert (await site.ask("PUT", f"/stations/{station}", json=body)).status_code == 200
    came = site.scan(roads.SOLD, 0)
    shipping: dict[str, Any] = {"business_step": BusinessStep.SHIPPING, "station": "gate"}
    left = site.scan(roads.SOLD, 5, order="SO-1", business_location=None, **shipping)
    for movement in site.movements(came, left):
        await site.put_movement(movement, came.unit)

    async def is_known() -> bool:
        read = {"code": roads.barcode("S9")}
        answer = await site.read(roads.READER, read)
        return bool(answer.json()["accepted"])

    await site.until(is_known)
    query = "SELECT version FROM unit WHERE unit = %s"
    await site.until(lambda: site.rows(query, came.unit) == [(2,)])
