"""Parties, orders' other parties, the register and erasure, through real HTTP and PostgreSQL."""

import asyncio
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from component.one_partition import Topics
from integration.test_alerts_edge import alert
from scantrail.api.erasure import erase_words
from scantrail.contracts.records import encode, findings
from scantrail.contracts.topics import Topic
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.database import connect_database

if TYPE_CHECKING:
    from integration.conftest import Site

GTIN = "09506000134352"
CARTON = "sscc:095060001343520017"
ADA = {"name": "Ada Byron-Quux", "address": "1 Zyzzyva Road, York"}
OUT = {"business_step": BusinessStep.SHIPPING, "business_location": None, "station": "gate"}
LICENCE = {"number": "1-23-456", "kind": "firearms", "valid_from": "2020-01-01"}
REGULATION = {
    "maker": "Acme Arms",
    "importer": "Import Co",
    "model": "M1",
    "type": "rifle",
    "calibre": ".308",
    "enter_within_days": 7,
    "retention_years": 20,
}


async def ok(site: "Site", method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code in (200, 201), (answer.status_code, answer.text)
    return answer.json()


async def refused(site: "Site", status: int, method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code == status, (answer.status_code, answer.text)
    return answer.json()


async def scanned(site: "Site", *scans: Scan) -> None:
    """All scans of one unit so far, in the database by way of the projector."""
    for movement in site.movements(*scans):
        await site.put_movement(movement, scans[0].unit)
    query = "SELECT count(*) FROM movement WHERE unit = %s"
    await site.until(lambda: site.rows(query, scans[0].unit) == [(len(scans),)])


async def dealer(site: "Site", licences: Sequence[Any] = (LICENCE,)) -> None:
    """The api and the projector, a regulated product, a supplier, and orders in and out."""
    await site.start("api")
    await site.start("projector")
    await ok(site, "PUT", f"/products/{GTIN}", json={"name": "Rifle"})
    await ok(site, "PUT", f"/products/{GTIN}/regulation", json=REGULATION)
    maker = {"name": "Acme Arms", "address": "9 Mill Lane", "roles": ["maker", "supplier"]}
    await ok(site, "PUT", "/parties/acme-arms", json=maker)
    await ok(site, "PUT", "/parties/us", json={"name": "We", "address": "2 Dock Road"})
    purchase = {"purchaser": {"id": "us"}, "supplier": "acme-arms"}
    await ok(site, "PUT", "/orders/PO-1", json=purchase)
    await ok(site, "PUT", "/parties/p-7", json=ADA | {"licences": list(licences)})
    sale = {"purchaser": {"id": "p-7"}, "lines": [{"product": GTIN, "quantity": 1}]}
    await ok(site, "PUT", "/orders/SO-1", json=sale)


async def lines(site: "Site", count: int) -> list[Any]:
    async def told() -> Any:
        found = (await ok(site, "GET", "/register"))["lines"]
        return found if len(found) == count else None

    return list(await site.until(told))


def everything_stored(site: "Site") -> dict[str, str]:
    """The text of every row of every table, by the table's name."""
    with psycopg.connect(site.settings.database_url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        return {
            name: str(
                connection.execute(
                    sql.SQL("SELECT string_agg(t::text, ' ') FROM {} t").format(
                        sql.Identifier(name)
                    )
                ).fetchone()
            )
            for (name,) in tables
        }


async def test_a_party_is_entered_changed_and_told_and_no_answer_to_a_change_names_it(
    site: "Site",
) -> None:
    await site.start("api")
    body = ADA | {"roles": ["purchaser", "carrier"], "licences": [LICENCE]}
    first = await ok(site, "PUT", "/parties/p-7", json=body)
    assert (first["version"], first["roles"]) == (1, ["carrier", "purchaser"])
    assert "name" not in first
    assert (await ok(site, "PUT", "/parties/p-7", json=ADA))["version"] == 2
    expired = LICENCE | {"valid_until": "2020-12-31"}
    await ok(site, "PUT", "/parties/p-7", json=body | {"licences": [LICENCE, expired]})
    told = await ok(site, "GET", "/parties/p-7")
    assert (told["name"], told["address"], told["version"]) == (ADA["name"], ADA["address"], 3)
    assert [each["valid"] for each in told["licences"]] == [True, False]
    wrong = [
        (ADA | {"roles": ["king"]}, "roles[0]"),
        (ADA | {"name": " "}, "name"),
        (ADA | {"address": ""}, "address"),
        (ADA | {"licences": [LICENCE | {"number": ""}]}, "licences[0].number"),
        (ADA | {"licences": [LICENCE | {"kind": "a b"}]}, "licences[0].kind"),
        (ADA | {"licences": [LICENCE | {"valid_from": "soon"}]}, "licences[0].valid_from"),
        (ADA | {"licences": [LICENCE | {"valid_until": "1999-01-01"}]}, "licences[0].valid_until"),
    ]
    for body, field in wrong:
        assert (await refused(site, 400, "PUT", "/parties/p-7", json=body))["field"] == field
    assert (await refused(site, 400, "PUT", "/parties/a%20b", json=ADA))["field"] == "id"
    await refused(site, 404, "GET", "/parties/nobody")
    await refused(site, 404, "DELETE", "/parties/nobody/personal-data")
    await refused(site, 405, "DELETE", "/parties/p-7")


async def test_an_order_names_who_carries_receives_uses_and_owns_and_what_is_short(
    site: "Site",
) -> None:
    await site.start("api")
    await site.start("projector")
    await ok(site, "PUT", "/parties/fast", json={"name": "Fast Ltd", "address": "3 Rail Way"})
    await ok(site, "PUT", "/parties/bank", json={"name": "Bank", "address": "4 Coin Street"})
    shop = {"name": "The Shop", "address": "5 High Street"}
    body = {
        "purchaser": ADA,
        "ship_to": shop,
        "end_customer": {"id": "bo", "name": "Bo", "address": "6 Low Street"},
        "carrier": "fast",
        "owning_party": "bank",
        "deliver_by": "2030-01-31",
        "lines": [{"product": GTIN, "quantity": 3}, {"product": "PUMP-7", "quantity": 2}],
    }
    wrong = body | {"carrier": "slow"}
    assert (await refused(site, 400, "PUT", "/orders/SO-1", json=wrong))["field"] == "carrier"
    assert site.rows("SELECT count(*) FROM sales_order") == [(0,)]
    # scan first, order after: a carton with a unit inside, and one more
    sent = {"order": "SO-1", "possessing_party": "carrier", **OUT}
    packed = site.scan("1", 0, parent=CARTON, business_step=BusinessStep.PACKING)
    await scanned(site, packed, site.scan("1", 5, parent=CARTON, **sent))
    await scanned(site, site.scan("2", 5, **sent))
    await ok(site, "PUT", "/orders/SO-1", json=body)
    told = await ok(site, "GET", "/orders/SO-1")
    assert told["ship_to"] == shop | {"id": "ship-to of order SO-1"}
    assert (told["end_customer"]["id"], told["carrier"]["name"]) == ("bo", "Fast Ltd")
    assert (told["owning_party"]["id"], told["deliver_by"]) == ("bank", "2030-01-31")
    assert (told["loan"], told["delivered_at"]) == (None, None)
    assert told["units"] == [site.unit("1"), site.unit("2")]
    assert told["quantities"] == [
        {"product": GTIN, "ordered": 3, "shipped": 2, "short": 1, "surplus": 0},
        {"product": "PUMP-7", "ordered": 2, "shipped": 0, "short": 2, "surplus": 0},
    ]
    unit = await ok(site, "GET", f"/units/{site.barcode('1')}")
    assert (unit["possessing_party"]["id"], unit["owning_party"]["id"]) == ("fast", "bank")
    assert unit["parent"] == CARTON
    # the purchaser's own scan on arrival
    came = {"business_step": BusinessStep.ARRIVING, "possessing_party": "purchaser"}
    arrived = site.scan("2", 50, site="theirs", station="mat", business_location=None, **came)
    _, then = site.movements(site.scan("2", 5, **sent), arrived)
    await site.put_movement(then, site.unit("2"))
    await site.until(
        lambda: site.rows("SELECT version FROM unit WHERE unit = %s", site.unit("2")) == [(2,)]
    )
    unit = await ok(site, "GET", f"/units/{site.barcode('2')}")
    assert (unit["phase"], unit["order"]) == ("shipped", "SO-1")
    assert (unit["possessing_party"]["name"], unit["owning_party"]["id"]) == ("The Shop", "bank")


async def test_a_delivery_told_at_the_desk_is_a_scan_through_the_gateway(site: "Site") -> None:
    site.readers(
        'id = "desk"\nprotocol = "http-generic"\nstation = "theirs"\n',
        'id = "other"\nprotocol = "http-generic"\nstation = "shelf"\n',
    )
    await site.start("api")
    await site.start("projector")
    there = {"site": "theirs", "business_step": "arriving", "possessing_party": "purchaser"}
    await ok(site, "PUT", "/stations/theirs", json=there)
    await ok(site, "PUT", "/stations/shelf", json={"site": "north", "business_step": "storing"})
    await site.start("gateway")
    await site.until(lambda: site.rows("SELECT count(*) FROM reader_status") == [(2,)])
    await ok(site, "PUT", "/orders/SO-1", json={"purchaser": ADA})
    await scanned(site, site.scan("1", 0, order="SO-1", **OUT))
    path = "/orders/SO-1/delivered"
    for body, field in (
        ({}, "reader"),
        ({"reader": "no"}, "reader"),
        ({"reader": "other"}, "reader"),
    ):
        assert (await refused(site, 400, "POST", path, json=body))["field"] == field
    strange = {"reader": "desk", "units": [site.barcode("9")]}
    assert (await refused(site, 409, "POST", path, json=strange))["field"] == "units"
    await refused(site, 404, "POST", "/orders/SO-2/delivered", json={"reader": "desk"})
    at = datetime.now(UTC).replace(microsecond=0)
    body = {"reader": "desk", "at": at.isoformat()}
    told = await ok(site, "POST", path, json=body)
    assert told["delivered"] == [site.unit("1")]
    assert await ok(site, "POST", path, json=body) == told  # the same scan once more
    first, second = await (await site.log(Topic.SCANS)).until(2)
    one, again = json.loads(first.value), json.loads(second.value)
    assert (one["event_id"], one["event_time"]) == (again["event_id"], again["event_time"])
    assert (one["possessing_party"], one["business_step"]) == ("purchaser", "arriving")
    assert (await ok(site, "GET", "/orders/SO-1"))["delivered_at"] is not None


async def test_a_loan_past_its_date_is_told_and_withdrawn_once_it_is_back(site: "Site") -> None:
    await site.start("api")
    await site.start("projector")
    await ok(site, "PUT", "/parties/bank", json={"name": "Bank", "address": "4 Coin Street"})
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    body = {"purchaser": ADA, "loan": {"due": yesterday}, "owning_party": "bank"}
    await ok(site, "PUT", "/orders/L-1", json=body)
    out, back = (
        site.scan("1", 0, order="L-1", **OUT),
        site.scan("1", 9, business_step=BusinessStep.RETURNING),
    )
    await scanned(site, out)
    unit = await ok(site, "GET", f"/units/{site.barcode('1')}")
    assert (unit["loan_due"], unit["owning_party"]["id"]) == (yesterday, "bank")
    assert (await ok(site, "GET", "/orders/L-1"))["loan"] == {"due": yesterday, "is_past": True}
    log = await site.log(Topic.FINDINGS)
    (record,) = await log.until(1)
    stated = findings.decode(record.value)
    assert (stated.kind, stated.unit, stated.status) == ("loan_overdue", site.unit("1"), "stated")
    await site.put_movement(site.movements(out, back)[1], site.unit("1"))
    withdrawn = findings.decode((await log.until(2))[-1].value)
    assert (withdrawn.id, withdrawn.status) == (stated.id, "withdrawn")


async def test_the_register_is_filled_by_scans_and_corrections_keep_the_first_entry(
    site: "Site",
) -> None:
    await dealer(site)
    came = site.scan("1", 0, order="PO-1")
    out = site.scan("1", 5, order="SO-1", **OUT)
    back = site.scan("1", 9, business_step=BusinessStep.RETURNING)
    await scanned(site, came, out)
    (line,) = await lines(site, 1)
    assert (line["maker"], line["importer"], line["model"], line["type"], line["calibre"]) == (
        "Acme Arms",
        "Import Co",
        "M1",
        "rifle",
        ".308",
    )
    assert (line["serial"], line["acquired_from"], line["acquired_from_name"]) == (
        "1",
        "acme-arms",
        "Acme Arms",
    )

    async def disposed() -> Any:
        return (await ok(site, "GET", f"/register/{line['line']}"))["status"] == "disposed"

    await site.until(disposed)
    await site.put_movement(site.movements(came, out, back)[2], site.unit("1"))
    first, second = await lines(site, 2)
    assert (first["disposed_to"], first["disposed_to_name"]) == ("p-7", ADA["name"])
    assert (second["acquired_from"], second["status"]) == ("p-7", "here")
    path = f"/register/{second['line']}/corrections"
    mend = {"reason": "it came from the maker", "by": "clerk-1", "acquired_from": "acme-arms"}
    told = await ok(site, "POST", path, json=mend)
    assert (told["line"], told["kind"]) == (second["line"], "correction")
    mended = await ok(site, "GET", f"/register/{second['line']}")
    assert (mended["acquired_from"], mended["corrections"]) == ("acme-arms", 1)
    assert [each["acquired_from"] for each in mended["entries"]] == ["p-7", "acme-arms"]
    assert mended["entries"][1]["entered_by"] == "clerk-1"
    for body, field in (
        ({"reason": "x"}, ""),
        ({"reason": " ", "acquired_from": "us"}, "reason"),
        ({"reason": "x", "acquired_from": "nobody"}, "acquired_from"),
        ({"reason": "x", "acquired_from": "acme-arms"}, "acquired_from"),  # as it stands
        ({"reason": "x", "disposed_to": "us"}, "disposed_at"),
    ):
        assert (await refused(site, 400, "POST", path, json=body))["field"] == field
    await refused(site, 404, "POST", "/register/999/corrections", json=mend)
    await refused(site, 404, "GET", "/register/999")
    totals = await ok(site, "GET", "/register/totals")
    assert (totals["lines"], totals["here"], totals["disposed"]) == (2, 1, 1)
    assert (totals["corrected"], totals["products"][0]["product"]) == (1, GTIN)
    answer = await site.ask("GET", "/register/export")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["acquired_from_name"] for row in rows] == ["Acme Arms", "Acme Arms"]
    for statement in ("UPDATE register SET maker = 'x'", "DELETE FROM register"):
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            site.execute(statement)


async def test_who_announced_a_unit_is_from_whom_it_came_whenever_that_is_told(
    site: "Site",
) -> None:
    await dealer(site)
    imei = "356938035643809"
    await ok(site, "PUT", "/identifiers", json={"ids": [site.barcode("2"), imei]})
    for serial in ("1", "2", "3"):
        await scanned(site, site.scan(serial, 0, order="PO-1" if serial == "3" else None))

    async def suppliers(*wanted: str | None) -> Any:
        async def told() -> bool:
            book = (await ok(site, "GET", "/register"))["lines"]
            return [line["acquired_from"] for line in book] == list(wanted)

        return await site.until(told)

    await suppliers(None, None, "acme-arms")
    since = (site.scan("1", 0).event_time - timedelta(hours=1)).isoformat()
    lines = [{"product": GTIN, "serials": ["1", "3"]}, {"codes": [imei]}]
    notice = {"supplier": "importer-1", "site": "north", "since": since, "lines": lines}
    await ok(site, "PUT", "/advance-notices/ASN-1", json=notice)
    importer = {"name": "Import Co", "address": "3 Quay"}
    await ok(site, "PUT", "/parties/importer-1", json=importer)  # entered after its notice
    await suppliers("importer-1", "importer-1", "acme-arms")
    # the notice was another's, and did not have all of it
    await ok(site, "PUT", "/parties/other", json=importer)
    changed = notice | {"supplier": "other", "lines": lines[:1]}
    await ok(site, "PUT", "/advance-notices/ASN-1", json=changed)
    await suppliers("other", None, "acme-arms")
    first = (await ok(site, "GET", "/register"))["lines"][0]
    entered = [entry["acquired_from"] for entry in first["entries"]]
    assert entered == [None, "importer-1", "other"]


async def test_a_receiver_without_a_licence_holds_the_unit_until_it_is_mended(
    site: "Site",
) -> None:
    await dealer(site, [LICENCE | {"valid_until": "2021-01-01"}])
    came, packed = (
        site.scan("1", 0, order="PO-1"),
        site.scan("1", 3, order="SO-1", business_step=BusinessStep.PACKING),
    )
    await scanned(site, came, packed)
    path = f"/holds/{site.barcode('1')}"

    async def held() -> Any:
        answer = await site.ask("GET", path)
        return answer.json()["reasons"] if answer.status_code == 200 else None

    (reason,) = await site.until(held)
    assert reason["id"] == "licence"
    assert "expired on 2021-01-01" in reason["text"]
    assert ADA["name"] not in reason["text"]
    await ok(site, "PUT", "/parties/p-7", json=ADA | {"licences": [LICENCE]})

    async def is_free() -> bool:
        return (await site.ask("GET", path)).status_code == 404

    await site.until(is_free)
    # and what went out to somebody without one is told
    sale = {"purchaser": ADA}
    await ok(site, "PUT", "/orders/SO-2", json=sale)
    await scanned(site, site.scan("2", 0, order="PO-1"), site.scan("2", 5, order="SO-2", **OUT))
    (record,) = await (await site.log(Topic.FINDINGS)).until(1)
    found = findings.decode(record.value)
    assert (found.kind, found.unit, found.event_id) == ("licence_missing", site.unit("2"), "2-5")


async def test_what_a_line_lacks_is_told_when_it_is_due_until_it_is_mended(site: "Site") -> None:
    await dealer(site)
    long_ago = -8 * 24 * 60
    await scanned(site, site.scan("1", long_ago))
    log = await site.log(Topic.FINDINGS)
    found = findings.decode((await log.until(1))[0].value)
    assert (found.kind, found.unit) == ("register_overdue", site.unit("1"))
    assert "lacks acquired_from" in found.text
    (line,) = await lines(site, 1)
    assert (line["missing"], line["entered_late"]) == (["acquired_from"], True)
    mend = {"reason": "from its papers", "acquired_from": "acme-arms"}
    await ok(site, "POST", f"/register/{line['line']}/corrections", json=mend)
    assert findings.decode((await log.until(2))[1].value).status == "withdrawn"


async def test_a_unit_that_cannot_be_entered_keeps_none_of_the_others_waiting(
    site: "Site",
) -> None:
    await dealer(site)
    # In a thread, for what holds the table runs in this loop.
    await asyncio.to_thread(site.execute, "ALTER TABLE register ADD CHECK (serial <> '1')")
    for serial in "12":
        await scanned(site, site.scan(serial, 0, order="PO-1"))
    (line,) = await lines(site, 1)
    assert line["serial"] == "2"
    await site.until_logged("unit cannot be entered in the register")
    lift = "ALTER TABLE register DROP CONSTRAINT register_serial_check"
    await asyncio.to_thread(site.execute, lift)
    assert [each["serial"] for each in await lines(site, 2)] == ["2", "1"]


async def test_an_erased_name_is_nowhere_and_the_trail_stays(site: "Site") -> None:
    await site.start("api")
    await site.start("projector")
    body = {"purchaser": ADA, "end_customer": ADA, "lines": [{"product": GTIN, "quantity": 1}]}
    key = {"Idempotency-Key": "order-1"}
    await ok(site, "PUT", "/orders/SO%2F1", json=body, headers=key)
    await ok(site, "PUT", "/parties/p-9", json=ADA, headers={"Idempotency-Key": "party-9"})
    await scanned(site, site.scan("1", 0), site.scan("1", 5, order="SO/1", **OUT))
    assert (await ok(site, "GET", f"/units/{site.barcode('1')}"))["purchaser"]["name"] == ADA[
        "name"
    ]
    desk = {"id": "C-1", "unit": site.barcode("1"), "fault": "does not start"}
    await ok(site, "POST", "/claims", json=desk, headers={"Idempotency-Key": "claim-1"})
    register = {"unit": site.barcode("1"), "registrant": {"id": "p-9"}}
    await ok(site, "POST", "/registrations", json=register, headers={"Idempotency-Key": "r-1"})
    send_back = {"rma": "RMA-1", "order": "SO/1", "lines": [{"unit": site.barcode("1")}]}
    await ok(site, "POST", "/returns", json=send_back, headers={"Idempotency-Key": "return-1"})
    assert (await ok(site, "GET", "/claims/C-1"))["purchaser"]["name"] == ADA["name"]
    planted = [name for name, text in everything_stored(site).items() if "Quux" in text]
    assert planted == ["party"], "names stand in one table"
    await ok(site, "DELETE", "/parties/p-9/personal-data")
    for party in ("order%20SO%2F1", "end%20customer%20of%20order%20SO%2F1"):
        told = await ok(site, "DELETE", f"/parties/{party}/personal-data")
        assert (told["orders"], told["erased_at"] is not None) == (["SO/1"], True)
        # the other of the two, whose name is the same, has not been erased yet
        elsewhere = ["party.address", "party.name"] if party.startswith("order") else []
        assert told["still_in"] == elsewhere
        again = await ok(site, "DELETE", f"/parties/{party}/personal-data")
        assert again["erased_at"] == told["erased_at"]
    unit = await ok(site, "GET", f"/units/{site.barcode('1')}")
    assert (unit["order"], unit["purchaser"]["name"]) == ("SO/1", "(erased)")
    assert len(await ok(site, "GET", f"/units/{site.barcode('1')}/trail")) == 2
    problem = await refused(site, 409, "PUT", "/orders/SO%2F1", json=body)
    assert (problem["field"], "were erased" in problem["detail"]) == ("purchaser", True)
    everywhere = everything_stored(site) | {"logs": str(site.logs)}
    for topic in Topic:
        if topic is not Topic.UNITS:
            everywhere[f"topic {topic}"] = str(await (await site.log(topic)).records())
    for name, text in everywhere.items():
        for word in ("Quux", "Zyzzyva"):
            assert word not in text, name


async def test_a_name_in_the_text_of_an_alert_goes_there_and_from_what_webhooks_are_told(
    site: "Site",
) -> None:
    await site.start("api")
    await site.start("projector")
    await ok(site, "PUT", "/webhooks/w", json={"url": "http://127.0.0.1:9/x"})
    await ok(site, "PUT", "/parties/cy", json={"name": "Cy Fruxx", "address": "8 Mud Lane"})
    for number, text in enumerate(("held (QA: cy fruxx waits)", "held (QA: cy fruxxer)"), 1):
        raised = replace(alert(site, number), text=text)
        await site.publish(Topic.ALERTS, raised.id, encode(raised))
    await site.until(lambda: site.rows("SELECT count(*) FROM webhook_delivery") == [(2,)])
    # an alert keeps its first text; a webhook is told the one of the time
    site.execute(
        "UPDATE webhook_delivery SET body = convert_to(replace(convert_from(body, 'UTF8'),"
        " 'cy fruxxer', 'Cy Fruxx \u00a7'), 'UTF8')"
    )
    erased = await ok(site, "DELETE", "/parties/cy/personal-data")
    assert erased["still_in"] == ["topic alerts"]
    texts = {"held (QA: (erased) waits)", "held (QA: cy fruxxer)"}
    assert {text for (text,) in site.rows("SELECT text FROM alert")} == texts
    bodies = site.rows("SELECT convert_from(body, 'UTF8')::json FROM webhook_delivery")
    assert {body["data"]["text"] for (body,) in bodies} == {
        "held (QA: (erased) waits)",
        "held (QA: (erased) §)",
    }


async def test_whoever_owns_the_tables_waits_for_no_months_of_history_when_erasing(
    site: "Site",
) -> None:
    await site.start("projector")
    await scanned(site, site.scan("1", 0, order="Fruxxine"))
    engine = connect_database(site.settings)  # its user owns all parts
    async with engine.connect() as connection:
        assert await erase_words(connection, ["Fruxxine"]) == []
    await engine.dispose()


async def test_what_the_register_must_tell_is_not_erased_before_its_day(site: "Site") -> None:
    await dealer(site)
    came = site.scan("1", 0, order="PO-1")
    await scanned(site, came)
    problem = await refused(site, 409, "DELETE", "/parties/acme-arms/personal-data")
    assert (problem["title"], problem["until"]) == ("Must be kept", None)
    out = site.scan("1", 5, order="SO-1", **OUT)
    await site.put_movement(site.movements(came, out)[1], site.unit("1"))
    query = "SELECT version FROM unit WHERE unit = %s"
    await site.until(lambda: site.rows(query, site.unit("1")) == [(2,)])
    year = out.event_time.year + 20
    for party in ("acme-arms", "p-7"):
        problem = await refused(site, 409, "DELETE", f"/parties/{party}/personal-data")
        assert problem["until"].startswith(f"{year}-")
        assert problem["until"] in problem["detail"]
    assert (await ok(site, "GET", "/parties/p-7"))["name"] == ADA["name"]
    # sold long enough ago
    old = -60 * 24 * 366 * 21
    await ok(site, "PUT", "/orders/SO-9", json={"purchaser": {"id": "cy", **ADA}})
    past = site.scan("9", old, record_time=site.scan("9", old).event_time)
    sold = site.scan("9", old + 5, order="SO-9", **OUT)
    await scanned(site, past, sold)
    await ok(site, "PUT", "/parties/cy", json={"name": "Cy Fruxx", "address": "8 Mud Lane"})
    await ok(site, "PUT", f"/holds/{site.barcode('8')}/QA", json={"text": "cy fruxx waits"})
    erased = await ok(site, "DELETE", "/parties/cy/personal-data")
    assert (erased["orders"], erased["still_in"]) == (["SO-9"], ["hold.document"])
    assert "licences" in await ok(site, "GET", "/parties/cy")


async def test_components_and_parents_are_told_now_and_before_at_any_depth(site: "Site") -> None:
    await site.start("api")
    await site.start("projector")
    pallet = "sscc:095060001343520024"
    put_in = {"business_step": BusinessStep.ASSEMBLING, "station": "bench"}
    radio, car, other = site.unit("radio"), site.unit("car"), site.unit("other")
    await scanned(
        site,
        site.scan("radio", 0),
        site.scan("radio", 1, parent=car, **put_in),
        site.scan("radio", 5, business_step=BusinessStep.DISASSEMBLING, station="bench-2"),
        site.scan("radio", 9, parent=other, **put_in),
    )
    boxed = {"parent": CARTON, "business_step": BusinessStep.PACKING}
    await scanned(site, site.scan("car", 0), site.scan("car", 2))
    await scanned(site, site.scan("other", 0), site.scan("other", 12, **boxed))
    carton = site.scan("c", 20, unit=CARTON, parent=pallet, business_step=BusinessStep.PACKING)
    await scanned(site, carton)
    told = await ok(site, "GET", f"/units/{radio}/kinship")
    assert told["parents"] == [other, CARTON, pallet]
    assert [(each["unit"], each["taken_out_by"]) for each in told["within"]] == [
        (car, "radio-5"),
        (other, None),
    ]
    (was,) = (await ok(site, "GET", f"/units/{car}/kinship"))["inside"]
    assert (was["unit"], was["put_in_by"], was["business_step"]) == (radio, "radio-1", "assembling")
    assert was["until"] is not None
    (is_in,) = (await ok(site, "GET", f"/units/{other}/kinship"))["inside"]
    assert (is_in["unit"], is_in["until"]) == (radio, None)
    assert (await ok(site, "GET", f"/units/{other}"))["children"] == [radio]
    assert (await ok(site, "GET", f"/units/{radio}"))["parent"] == other


async def test_a_pallet_ships_all_that_is_packed_in_it_and_its_delivery_delivers_it(
    site: "Site",
) -> None:
    """By the tracker's decisions, the projector and the order's answer: one scan of the pallet."""
    await site.start("api")
    await site.start("projector")
    pallet = "sscc:095060001343520024"
    await ok(site, "PUT", "/parties/fast", json={"name": "Fast Ltd", "address": "3 Rail Way"})
    wanted = [{"product": GTIN, "quantity": 2}]
    body = {"purchaser": ADA, "carrier": "fast", "lines": wanted}
    await ok(site, "PUT", "/orders/SO-1", json=body)
    packing = {"business_step": BusinessStep.PACKING}
    came = {"business_step": BusinessStep.ARRIVING, "possessing_party": "purchaser"}
    tracked = Topics().put(
        *(site.scan(n, 0, parent=CARTON, **packing) for n in "123"),
        site.scan("c", 1, unit=CARTON, parent=pallet, **packing),
        site.scan("p", 5, unit=pallet, order="SO-1", **OUT | {"possessing_party": "carrier"}),
    )
    shipped = len(tracked.track().movements)

    async def shown() -> None:
        for movement in tracked.movements:
            await site.put_movement(encode(movement), movement.unit)
        count = len(tracked.movements)
        await site.until(lambda: site.rows("SELECT count(*) FROM movement") == [(count,)])

    await shown()
    units = [site.unit(n) for n in "123"]
    told = await ok(site, "GET", "/orders/SO-1")
    assert told["units"] == [*units, CARTON, pallet]
    assert told["quantities"] == [
        {"product": GTIN, "ordered": 2, "shipped": 3, "short": 0, "surplus": 1}
    ]
    for unit in units:
        found = await ok(site, "GET", f"/units/{unit}")
        assert (found["parent"], found["possessing_party"]["id"]) == (CARTON, "fast")
    tracked.put(site.scan("p2", 90, unit=pallet, site="theirs", business_location=None, **came))
    assert len(tracked.track().movements) > shipped
    await shown()
    for unit in (*units, CARTON, pallet):
        found = await ok(site, "GET", f"/units/{unit}")
        assert (found["phase"], found["order"]) == ("shipped", "SO-1"), unit
        assert found["possessing_party"]["name"] == ADA["name"], unit
    assert [alert.kind for alert in tracked.alerts()] == ["recalled_at_shipping"]


async def test_the_trail_of_what_was_inside_tells_that_its_parents_scan_was_voided(
    site: "Site",
) -> None:
    """The parent voids what it sent, and what it may have sent besides: that one is left out."""
    await site.start("api")
    await site.start("projector")
    serials = "123456"
    packing = {"business_step": BusinessStep.PACKING}
    tracked = Topics().put(
        *(site.scan(n, 0, parent=CARTON, **packing) for n in serials),
        site.scan("c", 5, unit=CARTON, **OUT),
    )
    tracked.track()
    wrong = tracked.of(CARTON)[-1].scan.event_id
    tracked.put(site.scan("office", 9, unit=CARTON, corrects=wrong)).track()
    for movement in tracked.movements:
        await site.put_movement(encode(movement), movement.unit)
    count = len(tracked.movements)
    await site.until(lambda: site.rows("SELECT count(*) FROM movement") == [(count,)])
    for serial in serials:
        assert len(tracked.of(site.unit(serial))) == 4
        trail = await ok(site, "GET", f"/units/{site.barcode(serial)}/trail")
        packed, *others = sorted(trail, key=lambda scan: scan["outcome"] == "corrected")
        shipped, correction = others
        assert (packed["business_step"], shipped["business_step"]) == ("packing", "shipping")
        assert shipped["corrected_by"] == correction["event_id"]
        assert correction["corrects"] == shipped["event_id"]


async def test_a_line_that_became_void_keeps_its_supplier_no_longer_than_others(
    site: "Site",
) -> None:
    await dealer(site)
    came = site.scan("1", 0, order="PO-1")
    await scanned(site, came)
    await lines(site, 1)
    _, mended = site.movements(came, site.scan("1", 3, event_id="mended", corrects=came.event_id))
    await site.put_movement(mended, site.unit("1"))

    async def is_void() -> bool:
        return bool((await ok(site, "GET", "/register"))["lines"][0]["status"] == "void")

    await site.until(is_void)
    problem = await refused(site, 409, "DELETE", "/parties/acme-arms/personal-data")
    assert (problem["until"] or "").startswith(str(datetime.now(UTC).year + 20))
