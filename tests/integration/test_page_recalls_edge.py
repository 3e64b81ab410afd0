"""Recalls in a real browser: from a notice on paper to the last unit that came back."""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from integration.browser import Screen, browsing
from integration.conftest import GTIN
from integration.test_page_edge import EVIL
from integration.test_recall_preview_edge import (
    LIST,
    RECALL,
    entered,
    ok,
    scanned,
    shipping,
)
from integration.test_recall_sweep_edge import swept
from scantrail.infra.tokens import new_token

if TYPE_CHECKING:
    from integration.conftest import Site

EVERY_KIND: list[dict[str, Any]] = [
    {"kind": "list", "serials": ["A01", "A02", "490154203237518"]},
    {"kind": "range", "low": "B001", "high": "B099"},
    {"kind": "prefix", "prefix": "C-"},
    {"kind": "pattern", "pattern": "D##"},
    {"kind": "range", "low": "352099001761481", "high": "352099001761994"},
    {"kind": "lot", "lots": ["L1", "L 2"]},
    {"kind": "lot_range", "low": "L10", "high": "L20"},
    {"kind": "date", "from": "2026-01-01", "to": "2026-01-31"},
    {"kind": "date", "from": "2026-03-01", "to": None},
    {"kind": "all"},
]


@pytest_asyncio.fixture
async def screen(site: "Site") -> AsyncIterator[Screen]:
    """A browser; the test starts the api."""
    async with browsing(site.settings.api_port) as shown:
        yield shown


async def press(screen: Screen, *keys: str) -> None:
    for key in keys:
        await screen.page.keyboard.press(key)


async def fill(screen: Screen, label: str, text: str) -> None:
    """As a person does who has found the field with the Tab key."""
    await screen.page.get_by_label(label).last.focus()
    await press(screen, "Control+a")
    await screen.page.keyboard.type(text)


async def push(screen: Screen, button: str) -> None:
    await screen.page.get_by_role("button", name=button).last.focus()
    await press(screen, "Enter")


async def add_clause(screen: Screen, kind: str) -> None:
    clauses = screen.page.locator("[data-item]")
    before = await clauses.count()
    await screen.page.locator("#kind").select_option(kind)
    await push(screen, "Add")
    await clauses.nth(before).wait_for()


async def focus_is_on(screen: Screen, name: str) -> None:
    await screen.page.wait_for_function("name => document.activeElement.name === name", arg=name)


def answering(screen: Screen) -> list[str]:
    """Says yes to whatever is asked; what was asked."""
    asked: list[str] = []

    async def yes(dialog: Any) -> None:
        asked.append(dialog.message)
        await dialog.accept()

    screen.page.on("dialog", yes)
    return asked


async def test_a_notice_is_entered_by_keyboard_looked_through_and_made_active(
    site: "Site", screen: Screen
) -> None:
    await entered(site)
    await screen.open("/page/recalls")
    await screen.page.get_by_role("link", name="Enter a notice").focus()
    await press(screen, "Enter")
    await screen.sees("Number of the notice")
    await focus_is_on(screen, "id")
    await screen.page.keyboard.type("R-7")
    await fill(screen, "Title", EVIL)
    await fill(screen, "Reason", "may overheat")
    await fill(screen, "Products, one to a line", GTIN)
    await fill(screen, "What to do with a unit", "send it back")
    await add_clause(screen, "range")
    await focus_is_on(screen, "low")
    await screen.page.keyboard.type("A001")
    await press(screen, "Tab")
    await screen.page.keyboard.type("A20")
    await add_clause(screen, "all")
    await add_clause(screen, "list")
    await focus_is_on(screen, "serials")
    await screen.page.keyboard.insert_text("A01\n\nB77\n")
    await screen.page.get_by_role("button", name="every unit of the products").focus()
    await press(screen, "Enter")
    assert await screen.page.locator("[data-item]").count() == 2
    await focus_is_on(screen, "serials")
    assert await screen.barriers() == []

    await push(screen, "Enter it as a draft")
    refused = screen.page.get_by_role("alert")
    await refused.wait_for()
    told = "low has 4 characters and high 3: write both in full, with leading zeros"
    assert await refused.inner_text() == told
    of_range = screen.page.locator("[data-item]").first
    assert await of_range.get_by_role("alert").count() == 1
    await focus_is_on(screen, "low")
    await fill(screen, "From", "A01")
    await push(screen, "Enter it as a draft")

    await screen.sees("Entered as a draft.")
    told = await ok(site, "GET", "/recalls/R-7")
    assert (told["status"], told["title"], told["remedy"]) == ("draft", EVIL, "send it back")
    assert [(each["kind"], each.get("low"), each.get("serials")) for each in told["selectors"]] == [
        ("range", "A01", None),
        ("list", None, ["A01", "B77"]),
    ]
    picture = screen.page.locator("svg.picture")
    await picture.wait_for()
    assert await picture.get_attribute("aria-label") == (
        "Of 7 units: 2 on site, 2 shipped and delivered, 2 in transit, 1 gone"
    )
    for text in ("Hall A, north", "Ada Byron", "Of these in transit", "Listed serials"):
        await screen.sees(text)
    await screen.sees("nobody entered the order")
    assert await screen.page.locator("img").count() == 0
    assert await screen.barriers() == []

    asked = answering(screen)
    await screen.page.locator("#activate + ul + form [name=note]").focus()
    await screen.page.keyboard.type("looked through")
    await push(screen, "Make it active")
    await screen.page.locator("#standing", has_text="active").wait_for()
    assert asked == [
        "Make R-7 active? 2 units on site are held: no gateway lets one leave. 4 units shipped: an"
        " alert each, 2 of them in transit. 1 unit gone: nothing happens to it. Units that are"
        " scanned from then on are held, or raise an alert, as well."
    ]
    told = await ok(site, "GET", "/recalls/R-7/versions")
    assert [(each["status"], each["note"]) for each in told["versions"]] == [
        ("draft", None),
        ("active", "looked through"),
    ]
    await screen.sees("units scanned before are being looked through")
    await site.start("alerter")
    await swept(site, "R-7", 2)
    await screen.sees("all units looked through")
    assert screen.complaints == [
        "Failed to load resource: the server responded with a status of 400 (Bad Request)"
    ]


async def test_units_are_found_by_place_and_purchaser_and_leave_as_a_file(
    site: "Site", screen: Screen
) -> None:
    await entered(site)
    await scanned(
        site,
        [site.scan("A10", business_location=EVIL)],
        [site.scan("A11", lot="=L1"), shipping(site, "A11", 4, "SO-4")],
    )
    purchaser = {"name": EVIL, "address": "=1+1"}
    await ok(site, "PUT", "/orders/SO-4", json={"purchaser": purchaser})
    await ok(site, "POST", "/recalls", json=RECALL | {"selectors": [*RECALL["selectors"], LIST]})
    await ok(
        site,
        "POST",
        "/recalls",
        json=RECALL
        | {"id": "R-L", "selectors": [{"kind": "lot", "lots": ["L9"]}], "status": "active"},
    )
    await screen.page.set_viewport_size({"width": 360, "height": 640})
    for path in ("", "/R-1/amend", "/R-1/units", "/R-1/never-seen", "/R-1", "/R-L"):
        await screen.open(f"/page/recalls{path}")
        if path in ("/R-1", "/R-L"):
            await screen.page.locator("#preview table").wait_for()
        assert await screen.barriers() == [], path
        assert await screen.page.locator("img").count() == 0, path
        wide = await screen.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, path
    await screen.sees("Undecided, on site")
    await screen.sees("Undecided, shipped")
    await screen.page.get_by_text("Clear units that are undecided").click()
    clear = screen.page.locator("form[data-api$='/cleared']")
    await clear.get_by_label("Units, one to a line").fill(site.barcode("A01"))
    await clear.get_by_label("What was seen").fill("label shows L2")
    await clear.get_by_role("button").click()
    await screen.sees("1 of them cleared by a person for this version")
    await screen.page.get_by_role("link", name="Look at each of them").click()
    await screen.page.wait_for_url("**/units?**")
    assert await screen.page.locator("tbody .mark", has_text="cleared").count() == 1

    await screen.open("/page/recalls/R-1")
    await screen.page.get_by_role("link", name="Ada Byron").click()
    await screen.page.wait_for_url("**/units?**")
    assert await screen.page.locator("tbody tr").count() == 1
    await screen.sees(site.unit("A03"))
    await screen.open("/page/recalls/R-1")
    await screen.page.get_by_role("link", name=f"{EVIL}, north").click()
    await screen.page.wait_for_url("**/units?**")
    assert await screen.page.locator("tbody tr code").all_inner_texts() == [site.unit("A10")]
    await screen.open("/page/recalls/R-1")
    await screen.page.get_by_role("link", name="nobody entered").click()
    await screen.page.wait_for_url("**/units?**")
    assert await screen.page.locator("tbody tr code").all_inner_texts() == [site.unit("A06")]
    await screen.page.get_by_role("link", name=site.unit("A06")).click()
    await screen.sees("order SO-9")

    async with screen.page.expect_download() as loaded:
        await screen.page.evaluate("location = '/page/recalls/R-1/units.csv'")
    file = await (await loaded.value).path()
    lines = list(csv.DictReader(io.StringIO(file.read_text())))
    assert {line["serial"]: line["standing"] for line in lines} == {
        "A01": "on_site",
        "A02": "on_site",
        "A03": "in_transit",
        "A04": "shipped",
        "A05": "gone",
        "A06": "in_transit",
        "A07": "shipped",
        "A10": "on_site",
        "A11": "in_transit",
        "490154203237518": "never_seen",
        "B77": "never_seen",
    }
    assert {
        (line["name"], line["address"], line["lot"]) for line in lines if line["serial"] == "A11"
    } == {(EVIL, "'=1+1", "'=L1")}
    part = await site.ask("GET", "/page/recalls/R-1/units.csv?where=on_site")
    assert len(part.text.splitlines()) == 4
    assert part.headers["content-length"] == str(len(part.content))


async def test_an_amendment_says_again_all_that_was_said_and_shows_what_it_changed(
    site: "Site", screen: Screen
) -> None:
    await site.start("api")
    asked = answering(screen)
    body = RECALL | {"selectors": EVERY_KIND, "status": "active", "remedy": "send it back"}
    del body["id"]
    before = await ok(site, "PUT", "/recalls/R-1", json=body)
    await screen.open("/page/recalls/R-1/amend")
    await fill(screen, "Title", "Batteries")
    await fill(screen, "Why it is amended", "the maker says so")
    await push(screen, "Amend it")
    await screen.sees("Version 2 is entered.")
    assert await screen.page.get_by_text("changed:").all_inner_texts() == ["changed: title"]
    await screen.sees("the maker says so")
    assert asked == ["R-1 is active: what you changed counts at once."]
    after = await ok(site, "GET", "/recalls/R-1")
    assert (after["version"], after["title"], after["status"]) == (2, "Batteries", "active")
    kept = ("products", "selectors", "remedy", "reason", "serials")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}

    # somebody else is faster
    await screen.open("/page/recalls/R-1/amend")
    await ok(site, "PUT", "/recalls/R-1", json=body)
    await push(screen, "Amend it")
    await screen.sees("it is of version 3 meanwhile: read it, and change that")
    assert (await ok(site, "GET", "/recalls/R-1"))["version"] == 3

    # and a screen that is open tells so
    await screen.open("/page/recalls/R-1")
    await screen.sees("version 3")
    await ok(site, "PUT", "/recalls/R-1", json=body | {"products": [], "selectors": [LIST]})
    await screen.sees("what stands below is of version 3")


async def test_serials_come_by_a_file_and_stay_where_they_are_too_many_for_a_form(
    site: "Site", screen: Screen
) -> None:
    await site.start("api")
    await ok(site, "POST", "/recalls", json=RECALL)
    await screen.open("/page/recalls/R-1")

    async def send(text: str) -> None:
        file = {"name": "serials.csv", "mimeType": "text/csv", "buffer": text.encode()}
        await screen.page.get_by_label("File").set_input_files(file)
        await push(screen, "Send the file")

    await screen.page.get_by_text("List its serials by a CSV file").click()
    await screen.page.get_by_label("Note").nth(-2).wait_for()
    await send(f"serial,product\nA1,{GTIN}\n,{GTIN}\nA2,12\n")
    await screen.sees("2 lines cannot be used, the first is line 3: the serial is missing")
    await screen.sees("line 4:")
    await screen.page.locator("[data-file] [name=note]").fill("file & more")
    await send("serial\n" + "".join(f"S{number:04}\n" for number in range(1001)) + "S0000\n")
    await screen.sees("1001 serials of 1002 lines, 1 of them twice.")
    await screen.sees("file & more")
    await screen.open("/page/recalls/R-1/amend")
    await screen.sees("the listed serials stay")
    await fill(screen, "To, included", "A30")
    await push(screen, "Amend it")
    await screen.sees("Version 3 is entered.")
    told = await ok(site, "GET", "/recalls/R-1")
    assert told["serials"] == 1001
    assert [(each["kind"], each.get("high"), each.get("count")) for each in told["selectors"]] == [
        ("range", "A30", None),
        ("list", None, 1001),
    ]

    # lists go on where a page ends
    await screen.open("/page/recalls/R-1/never-seen")
    assert await screen.page.locator(".serials li").count() == 100
    await screen.page.get_by_role("link", name="Further serials").click()
    await screen.sees("S0100")
    site.execute(
        "INSERT INTO recall SELECT 'R-1' || n, 1, document, summary || jsonb_build_object('id',"
        " 'R-1' || n) FROM recall, generate_series(100, 200) AS n"
    )
    site.execute(
        "INSERT INTO recall_version SELECT recall, version + n, status, at, who, note, document"
        " FROM recall_version, generate_series(3, 23) AS n WHERE version = 3"
    )
    await screen.open("/page/recalls?begins=R-1&status=draft")
    assert await screen.page.locator(".inbox > li").count() == 100
    await screen.page.get_by_role("link", name="Further recalls").click()
    await screen.page.wait_for_url("**after=**")
    assert await screen.page.locator(".inbox a").all_inner_texts() == ["R-1199", "R-1200"]
    await screen.open("/page/recalls/R-1")
    assert await screen.page.get_by_text("version 1", exact=True).count() == 0
    await screen.page.get_by_role("link", name="Older versions").click()
    await screen.page.get_by_text("version 1", exact=True).wait_for()


async def test_whom_it_reached_is_told_unit_by_unit_or_for_all_and_it_is_closed(
    site: "Site", screen: Screen
) -> None:
    await entered(site)
    returns = {"site": "north", "business_step": "returning", "business_location": "Returns"}
    await ok(site, "PUT", "/stations/returns-1", json=returns)
    await site.start("gateway")
    await ok(site, "POST", "/recalls", json=RECALL | {"status": "active"})
    asked = answering(screen)
    await screen.open("/page/recalls/R-1")
    reach = screen.page.locator("#reach")

    async def is_told(*rows: str) -> None:
        for row in rows:
            await reach.locator("tr", has_text=row).wait_for()

    await is_told("notified 0 0 %", "returned 0 0 %", "remedied 0 0 %")
    await screen.page.get_by_text("Purchasers were notified").click()
    notified = screen.page.locator("form[data-api$='/notified']")
    await notified.get_by_role("button").click()
    await screen.sees("name the units, or say all_shipped")
    await notified.get_by_label("all shipped").check()
    await notified.get_by_role("button").click()
    await is_told("notified 4 100 %")
    await screen.page.get_by_text("Units were remedied").click()
    remedied = screen.page.locator("form[data-api$='/remedied']")
    await remedied.get_by_label("Units, one to a line").fill(site.barcode("A03"))
    await remedied.get_by_role("button").click()
    await is_told("remedied 1 25 %")
    await screen.page.get_by_text("A unit was returned").click()
    returned = screen.page.locator("form[data-api='POST /keyed']")
    await returned.get_by_label("Unit, in any spelling").fill(site.barcode("A04"))
    await returned.get_by_role("button").click()
    await screen.sees(f"The scan of {site.unit('A04')} was sent")
    await scanned(site, [site.scan("A09"), shipping(site, "A09", 2, "SO-1")])
    await reach.get_by_role("button", name="Count again").click()
    await is_told("notified 4 80 %")
    await screen.page.get_by_label("Why").fill("all came back")
    await push(screen, "Close it")
    await screen.page.locator("#standing", has_text="closed").wait_for()
    assert asked[0].startswith("Close R-1? It is watched for no more")
    assert (await ok(site, "GET", "/recalls/R-1"))["status"] == "closed"
    assert await screen.page.get_by_role("button", name="Close it").count() == 0
    await screen.page.get_by_role("link", name="Amend it").click()
    await screen.page.get_by_label("It is to be").select_option("draft")
    await push(screen, "Amend it")
    await screen.page.locator("#standing", has_text="draft").wait_for()


async def test_who_may_only_read_sees_a_recall_and_nothing_that_changes_it(site: "Site") -> None:
    token, digest = new_token()
    site.execute(
        "INSERT INTO api_token (id, token_sha256, role, sites, version, made_at)"
        " VALUES ('desk-1', %s, 'operate', '{}', 1, now())",
        digest,
    )
    await site.start("api")
    await ok(site, "POST", "/recalls", json=RECALL | {"status": "active"})
    await ok(site, "POST", "/recalls", json=RECALL | {"id": "R-2"})
    await site.stop(site._running[-1])
    await site.start("api", replace(site.settings, api_tokens="required"))
    who = {"Cookie": f"scantrail_token={token}"}
    for path in ("", "/R-1", "/R-1/preview", "/R-1/reach", "/R-1/units", "/R-2", "/R-2/preview"):
        answer = await site.ask("GET", f"/page/recalls{path}", headers=who)
        assert answer.status_code == 200, path
        assert "data-api" not in answer.text, path
        assert "/amend" not in answer.text, path
        assert "new-recall" not in answer.text, path
    for path in ("/page/new-recall", "/page/recalls/R-1/amend", "/page/recall-clause?kind=list"):
        answer = await site.ask("GET", path, headers=who)
        assert answer.status_code == 403, path
        assert "this needs a token of role quality or more" in answer.text
    for path in ("", "/preview", "/reach", "/units", "/units.csv", "/never-seen", "/amend"):
        answer = await site.ask("GET", f"/page/recalls/R-9{path}", headers=who)
        assert answer.status_code in (403, 404), path
