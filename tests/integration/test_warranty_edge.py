"""Warranty, claims, returns and proofs of purchase over the API, on a real PostgreSQL."""

import asyncio
import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from integration.conftest import NOON
from integration.test_api_edge import ok, refused, scanned
from scantrail.contracts.records import decode_scan
from scantrail.contracts.topics import Topic
from scantrail.domain.scan import Transaction
from scantrail.domain.vocabulary import BusinessStep
from scantrail.domain.warranty import months_after

if TYPE_CHECKING:
    from integration.conftest import Site

DESK = Path(__file__).parents[2] / "docs" / "desk.md"
GTIN = "09506000134352"
ADA = {"id": "p-1", "name": "Ada Byron", "address": "1 Dock Road, York"}
#: The answer to a change is kept for its retry, and tells nobody's name.
NAMELESS = {"id": "p-1", "name": None, "address": None}
BO = {"id": "p-2", "name": "Bo", "address": "2 Dock Road, York"}
COUNT = "SELECT count(*) FROM movement"
RMA_1 = (Transaction(type="rma", id="RMA-1"),)


def today() -> date:
    """The day it is in UTC: asked when it is needed, for a run may go on past midnight."""
    return datetime.now(UTC).date()


async def begun(site: "Site", **product: Any) -> None:
    """An api with a product of 24 months, two orders, and site north in UTC."""
    await site.start("api")
    await site.start("projector")
    await ok(site, "PUT", "/sites/north", json={"time_zone": "Etc/UTC"})
    await ok(site, "PUT", f"/products/{GTIN}", json={"name": "Phone"} | product)
    term = {"months": 24, "valid_from": "2020-01-01"}
    await ok(site, "PUT", f"/products/{GTIN}/warranty", json=term)
    lines = [{"product": "PUMP-7", "quantity": 1}, {"product": GTIN, "quantity": 2}]
    for ref, purchaser in (("SO-1", ADA), ("SO-2", BO)):
        await ok(site, "PUT", f"/orders/{ref}", json={"purchaser": purchaser, "lines": lines})


def shipped(site: "Site", serial: str, minute: float = 1, order: str | None = "SO-1") -> Any:
    step = BusinessStep.SHIPPING
    return site.scan(serial, minute, business_step=step, business_location=None, order=order)


def came(site: "Site", serial: str, minute: float, step: str = "returning", **more: Any) -> Any:
    return site.scan(serial, minute, business_step=BusinessStep(step), **more)


def claim(site: "Site", claim_id: str, serial: str, **more: Any) -> dict[str, Any]:
    return {"id": claim_id, "unit": site.barcode(serial), "fault": "does not start"} | more


def reasons(told: Any) -> list[str]:
    return [each["reason"] for each in told["remarks"]]


async def test_warranties_claims_returns_and_sites_are_changed_as_they_were_read(
    site: "Site",
) -> None:
    await begun(site)
    await scanned(site, shipped(site, "1"), came(site, "1", 5))
    lines = [{"unit": site.barcode("1")}]
    await ok(site, "POST", "/claims", json=claim(site, "C-1", "1"))
    await ok(site, "POST", "/returns", json={"rma": "RMA-1", "order": "SO-1", "lines": lines})
    unit = {"unit": site.barcode("1")}
    void = unit | {"is_void": True, "reason": "opened"}
    changes = [  # what is read, and what changes it
        ("/sites/north", "PUT", "/sites/north", {"time_zone": "Etc/UTC"}),
        (f"/products/{GTIN}/warranty", "PUT", f"/products/{GTIN}/warranty", {"months": 12}),
        ("/claims/C-1", "POST", "/claims/C-1/events", {"state": "accepted"}),
        ("/returns/RMA-1", "POST", "/returns/RMA-1/decisions", {"line": 1, "state": "inspected"}),
    ]
    for read, method, path, body in changes:
        answer = await site.ask("GET", read)
        assert (answer.headers["etag"], answer.json()["version"]) == ('"1"', 1), read
        late = await site.ask(method, path, json=body, headers={"If-Match": '"7"'})
        assert (late.status_code, late.headers["etag"]) == (412, '"1"'), read
        done = await site.ask(method, path, json=body, headers={"If-Match": '"1"'})
        assert (done.status_code // 100, done.headers["etag"]) == (2, '"2"'), done.text
        assert (await site.ask("GET", read)).headers["etag"] == '"2"'
    read = f"/units/{site.barcode('1')}/warranty"
    assert "etag" not in (await site.ask("GET", read)).headers  # nobody decided anything yet
    new, first = {"If-None-Match": "*"}, {"If-Match": '"1"'}
    assert (await site.ask("POST", "/registrations", json=unit, headers=new)).status_code == 201
    assert (await site.ask("GET", read)).headers["etag"] == '"1"'
    assert (await site.ask("POST", "/registrations", json=unit, headers=new)).status_code == 412
    done = await site.ask("POST", "/warranty-decisions", json=void, headers=first)
    assert (done.status_code, done.headers["etag"]) == (201, '"2"')
    late = await site.ask("POST", "/warranty-decisions", json=void, headers=first)
    assert late.status_code == 412
    rows = "SELECT entity, old_version, new_version FROM audit"
    told = [
        ("warranty_term", 0, 1),
        ("warranty_term", 1, 2),
        ("warranty", 0, 1),
        ("warranty", 1, 2),
    ]
    assert set(told) <= set(site.rows(rows))


# ---------------------------------------------------------------------------------- warranty


async def test_the_warranty_of_a_unit_by_any_spelling(site: "Site") -> None:
    await begun(site)
    await scanned(site, site.scan("1"), shipped(site, "1"))
    since = (NOON + timedelta(minutes=1)).date()
    until = months_after(since, 24).isoformat()
    for spelling in (site.barcode("1"), "urn:epc:id:sgtin:9506000.013435.1"):
        told = await ok(site, "GET", f"/units/{spelling}/warranty")
        assert (told["state"], told["since"], told["until"]) == ("covered", f"{since}", until)
        assert (told["purchaser"], told["order"], told["time_zone"]) == (ADA, "SO-1", "Etc/UTC")
        assert (told["claims"], told["void"], told["why"]) == ([], None, [])
    unit = await ok(site, "GET", f"/units/{site.barcode('1')}")
    assert (unit["warranty_until"], unit["replaced_by"], unit["replaces"]) == (until, None, None)
    never = await ok(site, "GET", f"/units/{site.barcode('9')}/warranty")
    assert (never["state"], never["purchaser"], never["until"]) == ("not_shipped", None, None)
    await refused(site, 404, "GET", "/units/nothing-known/warranty")


async def test_a_correction_of_the_shipping_takes_its_warranty_back(site: "Site") -> None:
    await begun(site)
    wrong = shipped(site, "1")
    right = shipped(site, "1", 2, order="SO-2")
    await scanned(site, site.scan("1"), wrong, site.scan("1", 1.5, corrects=wrong.event_id), right)
    told = await ok(site, "GET", f"/units/{site.barcode('1')}/warranty")
    assert (told["order"], told["purchaser"]) == ("SO-2", BO)


async def test_the_day_of_the_sale_is_that_of_the_site(site: "Site") -> None:
    await begun(site)
    await ok(site, "PUT", "/sites/north", json={"time_zone": "Pacific/Kiritimati"})  # UTC+14
    await scanned(site, shipped(site, "1"))
    told = await ok(site, "GET", f"/units/{site.barcode('1')}/warranty")
    assert told["since"] == f"{(NOON + timedelta(hours=14, minutes=1)).date()}"
    assert told["time_zone"] == "Pacific/Kiritimati"
    assert (await ok(site, "GET", "/sites"))["sites"] == [
        {"id": "north", "time_zone": "Pacific/Kiritimati", "version": 2}
    ]
    problem = await refused(site, 400, "PUT", "/sites/north", json={"time_zone": "Berlin"})
    assert problem["field"] == "time_zone"
    await refused(site, 404, "GET", "/sites/south")


async def test_terms_change_with_a_date_and_units_keep_theirs(site: "Site") -> None:
    await begun(site)
    address = f"/products/{GTIN}/warranty"
    tomorrow = f"{today() + timedelta(days=1)}"
    told = await ok(site, "PUT", address, json={"months": 6, "valid_from": tomorrow})
    assert [each["months"] for each in told["terms"]] == [24, 6]
    assert await ok(site, "GET", address) == told
    await scanned(site, shipped(site, "1"))
    assert (await ok(site, "GET", f"/units/{site.barcode('1')}/warranty"))["months"] == 24
    assert (await refused(site, 400, "PUT", address, json={"months": -1}))["field"] == "months"
    assert (await refused(site, 400, "PUT", address, json={"start": "sale"}))["field"] == "start"
    await refused(site, 404, "PUT", "/products/PUMP-7/warranty", json={"months": 6})


async def test_months_that_begin_with_a_registration(site: "Site") -> None:
    await begun(site)
    term = {"months": 12, "start": "registration", "valid_from": "2021-01-01"}
    await ok(site, "PUT", f"/products/{GTIN}/warranty", json=term)
    await scanned(site, shipped(site, "1"))
    address = f"/units/{site.barcode('1')}/warranty"
    assert (await ok(site, "GET", address))["state"] == "not_registered"
    body = {"unit": site.barcode("1"), "registrant": {"name": "Cy", "address": "3 Hill"}}
    before = today()
    told = await ok(site, "POST", "/registrations", json=body)
    assert told["state"] == "covered"
    assert told["since"] in (f"{before}", f"{today()}")  # midnight may have come between
    assert told["registrant"]["name"] is None
    told = await ok(site, "GET", address)
    assert (told["registrant"]["name"], told["purchaser"]) == ("Cy", ADA)
    early = body | {"at": "2020-01-01T00:00:00Z"}
    assert (await refused(site, 400, "POST", "/registrations", json=early))["field"] == "at"
    ahead = body | {"at": "2150-01-01T00:00:00Z"}
    assert (await refused(site, 400, "POST", "/registrations", json=ahead))["field"] == "at"
    unzoned = body | {"at": "2020-01-01T00:00:00"}
    assert (await refused(site, 400, "POST", "/registrations", json=unzoned))["field"] == "at"
    other = {"unit": site.barcode("9")}
    problem = await refused(site, 409, "POST", "/registrations", json=other)
    assert problem["reason"] == "never_shipped"


async def test_a_void_has_its_reason_until_it_is_taken_back(site: "Site") -> None:
    await begun(site)
    await scanned(site, shipped(site, "1"))
    body = {"unit": site.barcode("1"), "is_void": True, "reason": "opened by others"}
    told = await ok(site, "POST", "/warranty-decisions", json=body)
    assert (told["state"], told["void"]["reason"]) == ("void", "opened by others")
    assert reasons(await ok(site, "POST", "/claims", json=claim(site, "C-1", "1"))) == ["void"]
    told = await ok(site, "POST", "/warranty-decisions", json=body | {"is_void": False})
    assert (told["state"], told["void"]) == ("covered", None)
    assert [each["id"] for each in told["claims"]] == ["C-1"]
    never = body | {"unit": site.barcode("9")}
    problem = await refused(site, 409, "POST", "/warranty-decisions", json=never)
    assert problem["reason"] == "not_shipped"


async def test_a_unit_is_one_under_all_its_ids(site: "Site") -> None:
    """Shipped by its box, claimed by its IMEI, returned by either."""
    await begun(site)
    imei = "356938035643809"
    await scanned(site, shipped(site, "1"))
    await ok(site, "PUT", "/identifiers", json={"ids": [site.barcode("1"), imei]})
    told = await ok(site, "POST", "/claims", json=claim(site, "C-1", "1") | {"unit": imei})
    assert (told["unit"], told["remarks"], told["product"]) == (site.unit("1"), [], GTIN)
    for spelling in (imei, site.barcode("1")):
        warranty = await ok(site, "GET", f"/units/{spelling}/warranty")
        assert (warranty["state"], [each["id"] for each in warranty["claims"]]) == (
            "covered",
            ["C-1"],
        )
    lines = [{"unit": imei}, {"unit": site.barcode("1")}]
    body = {"rma": "RMA-1", "order": "SO-1", "lines": lines}
    problem = await refused(site, 409, "POST", "/returns", json=body)
    assert (problem["reason"], problem["field"]) == ("already_announced", "lines[1]")


# ---------------------------------------------------------------------------------- claims


async def test_a_claim_is_filed_accepted_and_settled_by_another_unit(site: "Site") -> None:
    await begun(site)
    await scanned(site, shipped(site, "1"))
    told = await ok(site, "POST", "/claims", json=claim(site, "C-1", "1"))
    assert (told["state"], told["remarks"], told["purchaser"]) == ("filed", [], NAMELESS)
    problem = await refused(site, 409, "POST", "/claims", json=claim(site, "C-1", "1"))
    assert problem["field"] == "id"
    events = "/claims/C-1/events"
    await ok(site, "POST", events, json={"state": "accepted"})
    problem = await refused(site, 409, "POST", events, json={"state": "filed"})
    assert "can become closed, repaired, replaced" in problem["detail"]
    itself = {"state": "replaced", "replacement": site.barcode("1")}
    assert (await refused(site, 400, "POST", events, json=itself))["field"] == "replacement"
    new = {"state": "replaced", "replacement": site.barcode("2"), "note": "from stock"}
    told = await ok(site, "POST", events, json=new)
    assert [each["state"] for each in told["events"]] == ["filed", "accepted", "replaced"]
    assert told["events"][-1]["replacement"] == site.unit("2")
    old = await ok(site, "GET", f"/units/{site.barcode('1')}/warranty")
    assert (old["state"], old["replaced_by"]) == ("replaced", site.unit("2"))
    heir = await ok(site, "GET", f"/units/{site.barcode('2')}/warranty")
    for name in ("since", "until", "purchaser", "order"):
        assert heir[name] == old[name]
    assert (heir["state"], heir["replaces"]) == ("covered", site.unit("1"))
    unit = await ok(site, "GET", f"/units/{site.barcode('1')}")
    assert (unit["replaced_by"], unit["warranty_until"]) == (site.unit("2"), old["until"])
    again = await ok(site, "POST", "/claims", json=claim(site, "C-2", "1"))
    assert reasons(again) == ["already_replaced"]
    problem = await refused(site, 409, "POST", "/claims/C-2/events", json={"state": "accepted"})
    assert problem["field"] == "note"
    assert reasons(problem) == ["already_replaced"]
    goodwill = {"state": "accepted", "note": "goodwill"}
    await ok(site, "POST", "/claims/C-2/events", json=goodwill)
    third = {"state": "replaced", "replacement": site.barcode("3")}
    problem = await refused(site, 409, "POST", "/claims/C-2/events", json=third)
    assert problem["reason"] == "already_replaced"


async def test_a_claim_on_what_was_never_shipped_or_is_recalled_says_so(site: "Site") -> None:
    await begun(site)
    await scanned(site, site.scan("1"))
    told = await ok(site, "POST", "/claims", json=claim(site, "C-1", "1"))
    assert reasons(told) == ["never_shipped"]
    await scanned(site, shipped(site, "2"))
    recalled = {
        "id": "R-1",
        "title": "Battery",
        "reason": "may overheat",
        "selectors": [{"kind": "list", "serials": ["2"]}],
    }
    await ok(site, "POST", "/recalls", json=recalled)
    told = await ok(site, "POST", "/claims", json=claim(site, "C-2", "2", order="SO-2"))
    assert reasons(told) == ["recalled", "other_order"]
    assert "R-1" in told["remarks"][0]["detail"]
    of_another = recalled | {"id": "R-2", "products": ["PUMP-7"], "selectors": [{"kind": "all"}]}
    await ok(site, "POST", "/recalls", json=of_another)
    assert (await ok(site, "GET", f"/units/{site.barcode('2')}/warranty"))["recalls"] == ["R-1"]


@pytest.mark.parametrize("policy", [{"serials": "not_used"}, {"captured": "warranty"}])
async def test_where_units_go_unscanned_the_order_line_proves_and_the_claim_keeps_the_serial(
    site: "Site", policy: dict[str, str]
) -> None:
    await begun(site, **policy)
    ordered_at = "2026-01-31T10:00:00Z"
    order = {"purchaser": ADA, "lines": [{"product": GTIN, "quantity": 1}]}
    await ok(site, "PUT", "/orders/SO-3", json=order | {"ordered_at": ordered_at})
    body = {"id": "C-1", "product": GTIN, "serial": "A7", "order": "SO-3", "fault": "leaks"}
    told = await ok(site, "POST", "/claims", json=body)
    assert (told["unit"], told["serial"], told["line"]) == (site.unit("A7"), "A7", 1)
    assert (told["purchaser"], told["remarks"]) == (NAMELESS, [])
    warranty = await ok(site, "GET", f"/units/{site.barcode('A7')}/warranty")
    assert (warranty["since"], warranty["until"]) == ("2026-01-31", "2028-01-31")
    more = await ok(site, "POST", "/claims", json=body | {"id": "C-2", "serial": "A8"})
    assert reasons(more) == ["more_than_bought"]
    without = {"id": "C-3", "product": GTIN, "order": "SO-1", "fault": "leaks"}
    told = await ok(site, "POST", "/claims", json=without)
    assert (told["unit"], told["line"], told["remarks"]) == (None, 2, [])
    await ok(site, "POST", "/claims/C-3/events", json={"state": "accepted"})
    told = await ok(site, "POST", "/claims/C-3/events", json={"state": "replaced"})
    assert told["state"] == "replaced"
    registration = {"unit": site.barcode("B1"), "order": "SO-1"}
    told = await ok(site, "POST", "/registrations", json=registration)
    assert (told["state"], told["order"]) == ("covered", "SO-1")


async def test_an_order_from_before_serials_were_mandatory_is_still_the_proof(site: "Site") -> None:
    await begun(site, serials="not_used")
    changed = {"name": "Phone", "valid_from": "2026-06-01T00:00:00Z"}
    await ok(site, "PUT", f"/products/{GTIN}", json=changed)
    order = {"purchaser": ADA, "lines": [{"product": GTIN, "quantity": 1}]}
    for ref, ordered_at in (("SO-3", "2026-05-31T10:00:00Z"), ("SO-4", "2026-06-01T10:00:00Z")):
        await ok(site, "PUT", f"/orders/{ref}", json=order | {"ordered_at": ordered_at})
    body = {"product": GTIN, "fault": "leaks"}
    old = body | {"id": "C-1", "serial": "A7", "order": "SO-3"}
    new = body | {"id": "C-2", "serial": "A8", "order": "SO-4"}
    told = await ok(site, "POST", "/claims", json=old)
    assert (told["line"], told["remarks"]) == (1, [])
    told = await ok(site, "POST", "/claims", json=new)
    assert (told["line"], reasons(told)) == (None, ["never_shipped"])
    proofs = (await ok(site, "GET", f"/proof-of-purchase?product={GTIN}"))["lines"]
    serials = {each["order"]: each["serials"] for each in proofs}
    assert (serials["SO-3"], serials["SO-4"]) == ("not_used", "mandatory")


NO_CLAIMS: list[tuple[dict[str, str], str]] = [
    ({"unit": f"01{GTIN}211", "product": GTIN}, "unit"),
    ({}, "unit"),
    ({"unit": "nonsense"}, "unit"),
    ({"unit": f"01{GTIN}211", "serial": "1"}, "serial"),
    ({"product": GTIN}, "order"),
    ({"product": GTIN, "order": "SO-9"}, "order"),
    ({"product": "PUMP-8", "order": "SO-1"}, "order"),
    ({"unit": f"01{GTIN}211", "fault": " "}, "fault"),
    ({"unit": f"01{GTIN}211", "id": "?"}, "id"),
]


async def test_a_claim_that_cannot_be_filed_names_its_field(
    site: "Site", subtests: pytest.Subtests
) -> None:
    await begun(site)
    for body, field in NO_CLAIMS:
        with subtests.test(body=body):
            told = {"id": "C-1", "fault": "leaks"} | body
            assert (await refused(site, 400, "POST", "/claims", json=told))["field"] == field
            await refused(site, 404, "GET", "/claims/C-1")
            await refused(site, 404, "POST", "/claims/C-1/events", json={"state": "closed"})


async def test_claims_are_listed_by_what_is_asked(site: "Site") -> None:
    await begun(site)
    await scanned(site, shipped(site, "1"))
    await ok(site, "POST", "/claims", json=claim(site, "C-1", "1", order="SO-1"))
    await ok(site, "POST", "/claims", json=claim(site, "C-2", "2"))
    await ok(site, "POST", "/claims/C-2/events", json={"state": "closed"})

    async def listed(query: str) -> list[str]:
        return [each["id"] for each in (await ok(site, "GET", f"/claims?{query}"))["claims"]]

    assert await listed("") == ["C-1", "C-2"]
    assert await listed("status=closed") == await listed(f"unit={site.barcode('2')}") == ["C-2"]
    assert await listed("order=SO-1") == await listed("purchaser=p-1") == ["C-1"]
    assert await listed("product=PUMP-7") == []
    page = await ok(site, "GET", "/claims?limit=1")
    assert await listed(f"cursor={page['next']}") == ["C-2"]


# ---------------------------------------------------------------------------------- returns


async def test_a_return_is_authorised_scanned_inspected_and_restocked(site: "Site") -> None:
    await begun(site)
    body = {"rma": "RMA-1", "order": "SO-1", "lines": [{"unit": site.barcode("1")}]}
    scans = [shipped(site, "1"), came(site, "1", 2, "receiving", transactions=RMA_1)]
    await scanned(site, scans[0])
    told = await ok(site, "POST", "/returns", json=body)
    assert (told["purchaser"], told["lines"][0]["state"]) == (NAMELESS, "announced")
    decision = {"line": 1, "state": "restocked"}
    problem = await refused(site, 409, "POST", "/returns/RMA-1/decisions", json=decision)
    assert "it has not come yet" in problem["detail"]
    scans.append(came(site, "1", 3, "inspecting"))
    for movement in site.movements(*scans)[1:]:
        await site.put_movement(movement, site.unit("1"))

    async def state() -> bool:
        line = (await ok(site, "GET", "/returns/RMA-1"))["lines"][0]
        return bool(line["state"] == "inspected" and len(line["scans"]) == 2)

    await site.until(state)
    told = await ok(site, "POST", "/returns/RMA-1/decisions", json=decision | {"note": "as new"})
    assert (told["lines"][0]["state"], told["is_done"]) == ("restocked", True)
    assert [each["note"] for each in told["lines"][0]["decisions"]] == ["as new"]
    warranty = await ok(site, "GET", f"/units/{site.barcode('1')}/warranty")
    assert warranty["state"] == "taken_back"
    await refused(site, 409, "POST", "/returns/RMA-1/decisions", json=decision)
    problem = await refused(
        site, 400, "POST", "/returns/RMA-1/decisions", json={**decision, "line": 2}
    )
    assert problem["field"] == "line"
    await refused(site, 404, "POST", "/returns/RMA-9/decisions", json=decision)
    await refused(site, 404, "POST", "/returns/RMA-1", json=decision)
    await refused(site, 404, "GET", "/returns/RMA-9")


async def test_only_what_was_shipped_to_that_purchaser_comes_back(site: "Site") -> None:
    await begun(site)
    await scanned(site, shipped(site, "1"))
    await scanned(site, shipped(site, "2", order="SO-2"), came(site, "2", 5, transactions=RMA_1))
    await scanned(site, site.scan("3"))
    body = {"rma": "RMA-1", "order": "SO-1", "lines": [{"unit": site.barcode("1")}]}

    async def reason(*lines: dict[str, Any], rma: str = "RMA-2") -> str:
        told = body | {"rma": rma, "lines": lines}
        problem = await refused(site, 409, "POST", "/returns", json=told)
        assert "Bo" not in problem["detail"]
        assert problem["field"] == f"lines[{len(lines) - 1}]"
        return str(problem["reason"])

    assert await reason({"unit": site.barcode("2")}) == "other_purchaser"
    assert await reason({"unit": site.barcode("1")}, {"unit": site.barcode("3")}) == "never_shipped"
    assert await reason({"product": "PUMP-9"}) == "not_ordered"
    assert await reason({"product": "PUMP-7", "quantity": 2}) == "too_many"
    assert await reason({"product": GTIN}) == "serial_wanted"  # none of it need have left
    told = await ok(site, "POST", "/returns", json=body)
    assert [(each["unit"], each["reason"]) for each in told["unexpected"]] == [
        (site.unit("2"), "other_purchaser")
    ]
    assert await reason({"unit": site.barcode("1")}) == "already_announced"
    assert (await refused(site, 409, "POST", "/returns", json=body))["field"] == "rma"
    listed = await ok(site, "GET", f"/returns?purchaser=p-1&order=SO-1&unit={site.barcode('1')}")
    assert [each["rma"] for each in listed["returns"]] == ["RMA-1"]
    assert (await ok(site, "GET", "/returns?purchaser=p-2"))["returns"] == []


async def test_of_returns_of_one_unit_at_once_one_is_accepted(site: "Site") -> None:
    await begun(site)
    await scanned(site, shipped(site, "1"))
    lines = [{"unit": site.barcode("1")}]
    bodies = [{"rma": f"RMA-{n}", "order": "SO-1", "lines": lines} for n in range(6)]
    answers = await asyncio.gather(*(site.ask("POST", "/returns", json=body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]
    assert len((await ok(site, "GET", "/returns"))["returns"]) == 1


async def test_a_returned_unit_is_replaced_and_its_place_is_taken_once(site: "Site") -> None:
    await begun(site)
    await scanned(site, shipped(site, "1"), came(site, "1", 2))
    await scanned(site, shipped(site, "2", order="SO-2"))
    body = {"rma": "RMA-1", "order": "SO-1", "lines": [{"unit": site.barcode("1")}]}
    told = await ok(site, "POST", "/returns", json=body)
    assert told["lines"][0]["state"] == "returned"
    decision = {"line": 1, "state": "replaced", "replacement": site.barcode("2")}
    problem = await refused(site, 409, "POST", "/returns/RMA-1/decisions", json=decision)
    assert problem["reason"] == "other_purchaser"
    decision["replacement"] = site.barcode("3")
    told = await ok(site, "POST", "/returns/RMA-1/decisions", json=decision)
    assert told["lines"][0]["decisions"][0]["replacement"] == site.unit("3")
    await ok(site, "POST", "/returns/RMA-1/decisions", json={"line": 1, "state": "scrapped"})
    told = await ok(site, "GET", f"/units/{site.barcode('1')}")
    assert told["replaced_by"] == site.unit("3")
    await scanned(site, came(site, "3", 70, "receiving"), shipped(site, "3", 75, order=None))
    told = await ok(site, "GET", f"/units/{site.barcode('3')}")
    assert told["replaces"] == site.unit("1")
    assert told["warranty_until"] == f"{months_after((NOON + timedelta(minutes=1)).date(), 24)}"


async def test_what_has_no_serial_comes_back_by_its_quantity(site: "Site") -> None:
    await begun(site, serials="not_used")
    line = {"product": GTIN, "quantity": 2}
    body = {"rma": "RMA 4/1", "order": "SO-1", "lines": [line]}
    await ok(site, "POST", "/returns", json=body)
    address = "/returns/RMA%204/1/decisions"
    came_back = {"line": 1, "state": "returned", "quantity": 2}
    problem = await refused(site, 409, "POST", address, json={**came_back, "state": "restocked"})
    assert "0 of it are inspected or returned" in problem["detail"]
    await ok(site, "POST", address, json=came_back)
    await ok(site, "POST", address, json={"line": 1, "state": "restocked", "quantity": 1})
    told = await ok(site, "GET", "/returns/RMA%204/1")
    assert told["lines"][0]["counts"] == {"returned": 1, "restocked": 1}
    assert told["is_done"] is False


async def test_what_comes_back_by_its_serial_comes_back_by_no_quantity_beside(
    site: "Site",
) -> None:
    await begun(site, serials="optional")
    await scanned(site, shipped(site, "1"), shipped(site, "1", 2))
    unit, rest = {"unit": site.barcode("1")}, {"product": GTIN, "quantity": 2}
    body = {"rma": "RMA-1", "order": "SO-1", "lines": [unit, rest]}
    problem = await refused(site, 409, "POST", "/returns", json=body)
    assert (problem["reason"], problem["field"]) == ("too_many", "lines[1]")
    await ok(site, "POST", "/returns", json=body | {"lines": [unit, rest | {"quantity": 1}]})


NO_RETURNS: list[tuple[dict[str, Any], str]] = [
    ({"lines": []}, "lines"),
    ({"order": "SO-9"}, "order"),
    ({"rma": " x"}, "rma"),
    ({"lines": [{}]}, "lines[0]"),
    ({"lines": [{"unit": "nonsense"}]}, "lines[0].unit"),
    ({"lines": [{"product": GTIN, "quantity": 0}]}, "lines[0].quantity"),
    ({"lines": [{"unit": f"01{GTIN}211", "quantity": 2}]}, "lines[0].quantity"),
]


async def test_a_return_that_cannot_be_read_names_its_field(
    site: "Site", subtests: pytest.Subtests
) -> None:
    await begun(site)
    for more, field in NO_RETURNS:
        with subtests.test(more=more):
            body = {"rma": "RMA-1", "order": "SO-1", "lines": [{"product": GTIN}]} | more
            assert (await refused(site, 400, "POST", "/returns", json=body))["field"] == field
            assert (await ok(site, "GET", "/returns"))["returns"] == []


async def test_a_reader_names_the_return_by_which_a_unit_comes(site: "Site") -> None:
    site.readers('id = "handheld"\nstation = "dock-1"\nprotocol = "http-generic"')
    await site.put_station(site.station(business_step=BusinessStep.RETURNING))
    await site.start("gateway")
    read = {"code": site.barcode("1"), "rma": "RMA-1", "order": "SO-1"}
    answer = await site.until(lambda: accepted(site, read))
    assert answer == {"accepted": 1, "rejected": []}
    record = (await (await site.log(Topic.SCANS)).until(1))[0]
    scan = decode_scan(record.key, record.value)
    assert [(each.type, each.id) for each in scan.transactions] == [
        ("order", "SO-1"),
        ("rma", "RMA-1"),
    ]
    spaced = {"code": site.barcode("1"), "rma": "x" * 129}
    refusal = (await site.read("handheld", spaced)).json()["rejected"][0]
    assert refusal["reason"] == "bad_rma"


async def accepted(site: "Site", read: Any) -> Any:
    answer = (await site.read("handheld", read)).json()
    return answer if answer["accepted"] else None


# ---------------------------------------------------------------------------------- the desk's page


async def test_the_desks_page_works_as_it_is_told(site: "Site") -> None:
    """Each curl of docs/desk.md, in its order; what it reads is scanned as a tracker would tell."""
    await site.start("api")
    await site.start("projector")
    steps = {"handheld-2": BusinessStep.SHIPPING, "returns-1": BusinessStep.RETURNING}
    scans: list[Any] = []
    asked = list(curls(DESK.read_text()))
    assert len(asked) > 20
    for method, address, body in asked:
        reader = address.partition("${ingest}")[2]
        if reader:
            told = json.loads(body or "")
            more = {"order": told["order"]} if "order" in told else {"transactions": RMA_1}
            scans.append(site.scan("A1", len(scans), business_step=steps[reader], **more))
            movement = site.movements(*scans)[-1]
            await site.put_movement(movement, scans[0].unit)
            await site.until(lambda: site.rows(COUNT) == [(len(scans),)])
            continue
        path = address.removeprefix("$api")
        assert path != address, address
        if path.endswith("/void"):  # needs the gateway and the tracker: test_voiding_edge.py
            continue
        await ok(site, method, path, content=body)
    old = await ok(site, "GET", f"/units/{site.barcode('A1')}/warranty")
    assert (old["state"], old["replaced_by"]) == ("replaced", site.unit("B7"))
    assert (await ok(site, "GET", "/returns/RMA-1"))["lines"][0]["state"] == "restocked"
    assert (await ok(site, "GET", "/claims/C-1"))["state"] == "replaced"


def curls(page: str) -> Iterator[tuple[str, str, str | None]]:
    """The method, the address and the body of each curl in a page's fences."""
    for fence in re.findall(r"^```\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for command in re.findall(r"^curl (?:[^'\n]|'[^']*')*$", fence, re.MULTILINE):
            words = shlex.split(command)[1:]
            method = words[1] if words[0] == "-X" else None
            address = words[2] if method else words[0]
            body = words[words.index("-d") + 1] if "-d" in words else None
            yield method or ("POST" if body else "GET"), address, body


# ---------------------------------------------------------------------------------- proofs


async def test_the_proof_of_purchase_is_found_by_order_purchaser_and_product(site: "Site") -> None:
    before = today()
    await begun(site, serials="not_used")
    told = await ok(site, "GET", f"/proof-of-purchase?order=SO-1&product={GTIN}")
    (line,) = told["lines"]
    assert (line["order"], line["line"], line["quantity"]) == ("SO-1", 2, 2)
    assert (line["purchaser"], line["product_name"], line["serials"]) == (ADA, "Phone", "not_used")
    assert datetime.fromisoformat(line["ordered_at"]).date() in (before, today())

    async def found(query: str) -> list[tuple[str, int]]:
        lines = (await ok(site, "GET", f"/proof-of-purchase?{query}"))["lines"]
        return [(each["order"], each["line"]) for each in lines]

    assert await found("purchaser=p-2") == await found("purchaser=bO") == [("SO-2", 1), ("SO-2", 2)]
    assert await found("purchaser=%25") == await found("order=SO-9") == []
    assert await found("product=PUMP-7") == [("SO-1", 1), ("SO-2", 1)]
    page = await ok(site, "GET", "/proof-of-purchase?product=PUMP-7&limit=1")
    assert await found(f"product=PUMP-7&cursor={page['next']}") == [("SO-2", 1)]
    assert (await refused(site, 400, "GET", "/proof-of-purchase"))["field"] == "order"
    problem = await refused(site, 400, "GET", "/proof-of-purchase?order=SO-1&cursor=x")
    assert problem["field"] == "cursor"
