"""The desk in a real browser: products and their figures, orders, notices, returns, claims."""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from integration.browser import Screen, browsing
from integration.conftest import GTIN
from integration.test_page_edge import EVIL, OUT, seen
from integration.test_page_recalls_edge import answering, fill, press, push
from integration.test_product_figures_edge import fill as fill_known
from integration.test_recall_preview_edge import ok
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.tokens import new_token

if TYPE_CHECKING:
    from integration.conftest import Site

PHONE = {"width": 360, "height": 640}
ADA = {"name": "Ada Byron", "address": "1 Dock Road, York"}


@pytest_asyncio.fixture
async def screen(site: "Site") -> AsyncIterator[Screen]:
    """A browser; the test starts the services."""
    async with browsing(site.settings.api_port) as shown:
        yield shown


async def open_part(screen: Screen, summary: str) -> None:
    """As a person who has found the part with the Tab key."""
    await screen.page.locator("summary", has_text=summary).first.focus()
    await press(screen, "Enter")


async def send_file(screen: Screen, within: str, text: str) -> None:
    form = screen.page.locator(within)
    file = {"name": "list.csv", "mimeType": "text/csv", "buffer": text.encode()}
    await form.locator("[type=file]").set_input_files(file)
    await form.get_by_role("button", name="Send the file").press("Enter")


async def rows_of(site: "Site", path: str) -> list[dict[str, str]]:
    answer = await site.ask("GET", path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-length"] == str(len(answer.content))
    return list(csv.DictReader(io.StringIO(answer.text)))


async def is_well(screen: Screen, site: "Site", *paths: str) -> None:
    """Nothing keeps people out, nothing is markup that was none, and a phone shows all of it."""
    await screen.page.set_viewport_size(PHONE)
    for path in paths:
        await screen.open(path)
        await screen.page.wait_for_function("() => !document.querySelector('.htmx-request')")
        assert await screen.page.locator("img").count() == 0, path
        wide = await screen.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, path
        assert await screen.barriers() == [], path
    await screen.page.set_viewport_size({"width": 1280, "height": 720})


# -------------------------------------------------------------------------------------- products


async def test_a_product_is_entered_by_keyboard_and_its_policy_changes_with_a_date(
    site: "Site", screen: Screen
) -> None:
    await site.start("api")
    await screen.open("/page/products")
    await screen.page.get_by_role("link", name="Enter a product").press("Enter")
    await screen.page.wait_for_function("() => document.activeElement.name === 'id'")
    await screen.page.keyboard.type("9506000134352")
    await fill(screen, "Name", EVIL)
    await fill(screen, "Steps in their order", "receiving\nfalling")
    await fill(screen, "Formats of serials", "AB-####")
    await push(screen, "Enter it")
    refused = screen.page.get_by_role("alert")
    await refused.wait_for()
    assert "give one of" in await refused.inner_text()
    await screen.page.wait_for_function("() => document.activeElement.name === 'steps'")
    await fill(screen, "Steps in their order", "receiving\nshipping")
    await push(screen, "Enter it")
    await screen.page.wait_for_url(f"**/page/products/{GTIN}")
    await screen.sees("Version 1 is entered.")
    await screen.sees("AB-####")
    assert "Chosen: no regulation" in await screen.page.locator("#why").inner_text()

    # the form says again all that was said; what is decided holds from a day on
    await screen.page.get_by_role("link", name="Decide otherwise").press("Enter")
    await screen.page.locator("[name=serials]").select_option("optional")
    await screen.page.get_by_label("It holds from").fill("2035-01-01T00:00")
    await push(screen, "Decide it")
    await screen.sees("Version 2 is entered.")
    await screen.sees("to come")
    told = await ok(site, "GET", f"/products/{GTIN}")
    assert (told["serials"], told["name"], told["steps"]) == (
        "mandatory",
        EVIL,
        ["receiving", "shipping"],
    )
    assert [each["serials"] for each in told["policies"]] == ["mandatory", "optional"]
    assert told["policies"][1]["steps"] == ["receiving", "shipping"]
    assert told["serial_formats"] == ["AB-####"]
    await open_part(screen, "Promise something else")
    await fill(screen, "Months; 0: nothing", "24")
    await push(screen, "Promise it")
    await screen.sees("24 months from shipping")
    regulated = {"maker": "M", "model": "9", "type": "pistol", "calibre": "9 mm"}
    await ok(site, "PUT", f"/products/{GTIN}/regulation", json=regulated)
    await screen.open(f"/page/products/{GTIN}")
    assert "Mandated: the product is regulated" in await screen.page.locator("#why").inner_text()
    await open_part(screen, "Optional")
    await screen.sees("The register would lack")
    await screen.open("/page/products?q=img")
    await screen.page.locator("td", has_text="mandated").wait_for()
    paths = ("/page/products", f"/page/products/{GTIN}", f"/page/products/{GTIN}/edit")
    await is_well(screen, site, *paths, "/page/new-product", f"/page/products?q={EVIL}")
    assert screen.complaints == [
        "Failed to load resource: the server responded with a status of 400 (Bad Request)"
    ]
    await screen.open("/page/products/NEVER")
    await screen.sees("there is no product NEVER")


async def test_the_figures_of_a_product_are_those_of_the_rows(site: "Site", screen: Screen) -> None:
    fill_known(site.settings.database_url)
    await site.start("api")
    await ok(site, "PUT", f"/products/{GTIN}", json={"name": "Phone"})
    await screen.open(f"/page/products/{GTIN}")
    await screen.page.locator("#figures dl").first.wait_for()
    names = await screen.page.locator("#figures dt").all_inner_texts()
    values = await screen.page.locator("#figures dd strong").all_inner_texts()
    figures = dict(zip(names, values, strict=True))
    assert figures == {
        "Units known one by one": "11",
        "Units with unknown place": "5 of 11",
        "Claims matched by serial": "2 of 3",
        "Recalls matched by serial": "2 of 11",
        "Duplicates caught": "3",
        "Scans per unit": "2.8",
        "Codes without the serial that is wanted": "2",
    }
    await screen.sees("1 with every scan voided, 1 held as lost or stolen, 2 with a scan that")
    await open_part(screen, "Not used: the order is the proof")
    await screen.sees("The order is the proof of purchase: 2 lines with 7 pieces were entered")
    await screen.open("/page/products")
    row = screen.page.get_by_role("row", name="Phone")
    await row.locator("td", has_text="2.8").wait_for()
    numbers = [await cell.inner_text() for cell in await row.locator("td.number").all()]
    assert numbers == ["11", "2.8", "5", "3"]
    await screen.page.get_by_role("link", name="PUMP-7").press("Enter")
    await screen.sees("Nobody decided: the product was not entered")
    units = await rows_of(site, f"/page/products/{GTIN}/units.csv")
    assert [(each["serial"], each["standing"], each["scans"]) for each in units] == [
        ("A1", "on_site", "1"),
        ("A2", "on_site", "2"),
        ("A3", "shipped", "4"),
        ("A4", "gone", "3"),
        ("B1", "no scan counts", "2"),
        ("B2", "on_site", "1"),
        ("B3", "on_site", "5"),
        ("B4", "shipped", "2"),
        ("B5", "shipped", "2"),
    ]
    assert screen.complaints == []


async def test_serials_that_are_here_already_come_by_a_file(site: "Site", screen: Screen) -> None:
    await site.start("api")
    await site.start("gateway")
    stock = {"site": "north", "business_step": "stock_taking", "business_location": "Hall A"}
    await ok(site, "PUT", "/stations/stock-1", json=stock)
    await ok(site, "PUT", f"/products/{GTIN}", json={"name": "Phone"})
    await screen.open(f"/page/products/{GTIN}")
    await open_part(screen, "Enter serials by a CSV file")
    await fill(screen, "Name of the file's stock", "2026-hall-a")
    await screen.page.get_by_label("When they were there").fill("2026-03-01T08:00")
    form = "form[data-api^='POST /stock']"
    await send_file(screen, form, f"product,serial\n{GTIN},S1\n{GTIN},\n{GTIN},S2\n")
    await screen.sees("1 lines were not taken.")
    await screen.sees("line 3: give either code, or product and serial")
    await screen.sees("2 units taken, 0 had been.")
    rows = "SELECT reference FROM audit WHERE entity = 'opening_stock'"
    assert site.rows(rows) == [("2026-hall-a",)]


# ---------------------------------------------------------------------------------------- orders


async def test_orders_are_entered_found_and_followed_to_their_serials(
    site: "Site", screen: Screen
) -> None:
    await site.start("api")
    await site.start("projector")
    await ok(site, "PUT", f"/products/{GTIN}", json={"name": "Phone"})
    await ok(site, "PUT", "/products/SCREWS", json={"name": EVIL, "serials": "not_used"})
    await screen.open("/page/orders")
    await screen.sees("Nothing is here.")
    await screen.page.get_by_role("link", name="Enter orders").press("Enter")
    await screen.page.wait_for_function("() => document.activeElement.name === 'ref'")
    await screen.page.keyboard.type("SO/1 <b>")
    await fill(screen, "Name", EVIL)
    await fill(screen, "Address", "1 Dock Road")
    await fill(screen, "Product", GTIN)
    await fill(screen, "Pieces", "2")
    await push(screen, "One more line")
    await screen.page.wait_for_function(
        "() => document.querySelectorAll('[data-item]').length === 2"
    )
    await fill(screen, "Product", "09506000134353")
    await fill(screen, "Pieces", "50")
    await push(screen, "Enter it")
    refused = screen.page.get_by_role("alert")
    await refused.wait_for()
    assert "should end in 2" in await refused.inner_text()
    await fill(screen, "Product", "SCREWS")
    await push(screen, "Enter it")
    await screen.sees("Entered.")
    await screen.page.get_by_role("heading", name="SO/1 <b>").wait_for()
    proofs = await screen.page.locator("tbody tr td:last-child").all_inner_texts()
    assert proofs[0] == "the scan of each unit"
    assert proofs[1].startswith(f"this line: {EVIL} bought 50 on ")
    await screen.sees("No unit is out for it by its serial.")
    for serial in ("A1", "A2", "A3"):
        await seen(site, serial, {}, {**OUT, "order": "SO/1 <b>"})
    await screen.sees("3 units.")  # live
    await screen.sees("1 too many")
    await screen.page.locator("td code", has_text=site.unit("A1")).wait_for()
    units = await rows_of(site, "/page/order.csv?ref=SO%2F1%20%3Cb%3E")
    assert [(each["serial"], each["standing"]) for each in units] == [
        ("A1", "shipped"),
        ("A2", "shipped"),
        ("A3", "shipped"),
    ]

    # one that exists is not entered again by mistake
    await screen.open("/page/new-order")
    await fill(screen, "Number", "SO/1 <b>")
    await fill(screen, "Name", "Bo")
    await fill(screen, "Address", "2 Hill")
    await fill(screen, "Product", GTIN)
    await fill(screen, "Pieces", "1")
    await push(screen, "Enter it")
    await screen.sees("it exists: read it first")
    assert (await ok(site, "GET", "/orders/SO/1%20%3Cb%3E"))["version"] == 1

    # many, by a file
    file = "form[data-api='POST /orders']"
    lines = "".join(f"B-{number:03},,Bo Lee,2 Hill,{GTIN},1\n" for number in range(60))
    head = "order,purchaser,name,address,product,quantity\n"
    await send_file(screen, file, f"{head}X-1,,Bo,,{GTIN},1\n")
    await screen.sees("order X-1: give name and address, or neither of them")
    await send_file(screen, file, head + lines + f"B-059,,,,SCREWS,7\nB-060,,=1+1,Hill,{GTIN},9\n")
    await screen.sees("61 orders entered, 0 changed, with 62 lines.")
    await screen.page.wait_for_url("**/page/orders")
    assert await screen.page.locator("tbody tr").count() == 50
    await screen.page.get_by_role("link", name="Older orders").press("Enter")
    await screen.page.wait_for_url("**before=**")
    assert await screen.page.locator("tbody tr").count() == 12
    await send_file_again(screen, head + f"B-001,,Cy,3 Quay,{GTIN},4\n")
    for label, asked, count in (
        ("Number begins with", "B-05", 10),
        ("Purchaser: a name", "bo l", 59),
        ("Purchaser: a name", "order B-001", 1),
        ("Product", "SCREWS", 2),
    ):
        await screen.open("/page/orders")
        await fill(screen, label, asked)
        await press(screen, "Enter")
        await screen.page.wait_for_url("**?ref=**")
        assert await screen.page.locator("tbody tr").count() == min(count, 50), asked
    found = await rows_of(site, "/page/orders.csv?ref=B-0")
    assert len(found) == 62
    assert {each["name"] for each in found} == {"Bo Lee", "Cy", "'=1+1"}
    assert [each["quantity"] for each in found if each["order"] == "B-001"] == ["4"]
    order = "/page/order?ref=SO%2F1%20%3Cb%3E"
    await is_well(
        screen, site, "/page/orders", order, "/page/new-order", f"/page/orders?who={EVIL}"
    )
    await screen.open("/page/order?ref=never")
    await screen.sees("there is no order 'never'")


async def send_file_again(screen: Screen, text: str) -> None:
    await screen.open("/page/new-order")
    form = "form[data-api='POST /orders']"
    await send_file(screen, form, text)
    await screen.sees("order B-001 exists")
    await screen.page.get_by_label("Orders that exist").select_option("replace")
    again = screen.page.locator(form).get_by_role("button", name="Send the file")
    await again.press("Enter")
    await screen.sees("0 orders entered, 1 changed, with 1 lines.")


# --------------------------------------------------------------------------------------- notices


async def test_a_notice_comes_by_a_file_and_is_seen_to_be_received_unit_by_unit(
    site: "Site", screen: Screen
) -> None:
    await site.start("api")
    await site.start("projector")
    await ok(site, "PUT", "/sites/north", json={"time_zone": "Etc/UTC"})
    await screen.open("/page/notices")
    await screen.page.get_by_role("link", name="Enter a notice").press("Enter")
    await screen.page.wait_for_function("() => document.activeElement.name === 'id'")
    await screen.page.keyboard.type("ASN-7")
    await fill(screen, "Supplier's id", "maker")
    await fill(screen, "Stations where it is unloaded", "dock-1\ndock-2")
    await screen.page.get_by_label("Received since").fill("2026-01-01T00:00")
    form = "form[data-api^='PUT /advance-notices']"
    await send_file(screen, form, f"product,serial\n{GTIN},S1\n,S2\n")
    await screen.sees("line 3: name the product")
    lines = (
        "product,serial,low,high,quantity,carton\n"
        f"{GTIN},,S1,S3,,095060001343520017\n"
        f"{GTIN},S4,,,,\n"
        "screws,,,,50,\n"
    )
    await send_file(screen, form, lines)
    await screen.sees("4 units, 1 cartons and 50 pieces are announced.")
    await screen.page.wait_for_url("**/page/notices/ASN-7")
    told = await ok(site, "GET", "/advance-notices/ASN-7")
    assert (told["stations"], told["supplier"]) == (["dock-1", "dock-2"], "maker")
    progress = screen.page.locator("#progress")
    await progress.locator("p.counts", has_text="0 of 54 here").wait_for()

    async def line(number: int) -> list[str]:
        row = progress.locator("tbody tr").nth(number)
        return [await cell.inner_text() for cell in await row.locator("td").all()]

    assert await line(0) == [GTIN, "S1 to S3", "3", "3", "", "", "", ""]
    await seen(site, "S1")
    await progress.locator("p.counts", has_text="1 of 54 here").wait_for()  # live
    await seen(site, "S2", {"parent": "sscc:095060001343520024"})
    await seen(site, "S9")
    await progress.locator(".badge", has_text="1 over").wait_for()
    await progress.locator(".badge", has_text="1 swapped").wait_for()
    assert await line(0) == [GTIN, "S1 to S3", "3", "1", "1", "", "", "1"]
    await screen.sees("Not announced: 1 over.")
    await progress.get_by_role("link", name="expected", exact=True).press("Enter")
    await progress.locator("td", has_text=site.unit("S3")).wait_for()
    await seen(site, "S3")
    await progress.locator("p.counts", has_text="3 of 54 here").wait_for()
    assert (
        await progress.locator("td", has_text=site.unit("S4")).count() == 1
    )  # still what was asked
    assert await progress.locator("td", has_text=site.unit("S9")).count() == 0

    await open_part(screen, "Tell how many are here")
    await fill(screen, "screws, of 50 announced", "48")
    await push(screen, "Counted")
    await screen.sees("48 of 50 screws.")
    await progress.locator("p.counts", has_text="51 of 54 here").wait_for()
    asked = answering(screen)
    await push(screen, "Close it")
    await screen.page.locator("#standing", has_text="closed").wait_for()
    assert asked[0].startswith("Close ASN-7? No more comes of it")
    await progress.locator(".badge", has_text="1 short").wait_for()
    assert await screen.page.get_by_text("Enter another file").count() == 0
    rows = await rows_of(site, "/page/notices/ASN-7/progress.csv")
    assert {each["unit"].rpartition(".")[2]: each["status"] for each in rows} == {
        "S1": "received",
        "S2": "swapped",
        "S3": "received",
        "S4": "short",
        "S9": "over",
        "sscc:095060001343520017": "short",
    }
    await screen.open("/page/notices")
    await screen.sees("Nothing is here.")
    await screen.open("/page/notices?status=closed")
    await screen.sees("51 of 54 here, 1 short, 1 over, 1 swapped")
    await is_well(
        screen,
        site,
        "/page/notices?status=all",
        "/page/notices/ASN-7",
        "/page/notices/ASN-7/progress",
        "/page/new-notice",
    )
    await screen.open("/page/notices/ASN-9")
    await screen.sees("there is no advance notice 'ASN-9'")


# ------------------------------------------------------------------------------ returns and claims


async def sold(site: "Site", *serials: str) -> None:
    """Units that were shipped to Ada, of a product with a warranty, and a station for returns."""
    await site.start("api")
    await site.start("projector")
    await ok(site, "PUT", f"/products/{GTIN}", json={"name": "Phone"})
    await ok(site, "PUT", "/products/SCREWS", json={"name": "Screws", "serials": "not_used"})
    term = {"months": 24, "valid_from": "2020-01-01"}
    await ok(site, "PUT", f"/products/{GTIN}/warranty", json=term)
    lines = [{"product": GTIN, "quantity": 3}, {"product": "SCREWS", "quantity": 5}]
    await ok(site, "PUT", "/orders/SO-1", json={"purchaser": ADA, "lines": lines})
    for serial in serials:
        await seen(site, serial, {}, {**OUT, "order": "SO-1"})


async def test_what_was_sold_comes_back_and_is_decided_piece_by_piece(
    site: "Site", screen: Screen
) -> None:
    await sold(site, "A1", "A2")
    await screen.open("/page/order?ref=SO-1")
    await screen.page.get_by_role("link", name=f"take back {site.unit('A1')}").press("Enter")
    await screen.page.wait_for_function("() => document.activeElement.name === 'rma'")
    await screen.page.keyboard.type("RMA/1")
    await push(screen, "One more unit")
    # the new field has the focus, which is still empty
    await screen.page.wait_for_function(
        "() => document.activeElement.name === 'unit' && !document.activeElement.value"
    )
    await screen.page.keyboard.type(site.barcode("Z9"))
    await push(screen, "Authorise it")
    refused = screen.page.get_by_role("alert")
    await refused.wait_for()
    assert await refused.inner_text() == "no shipping of it is known"
    await screen.page.wait_for_function("() => document.activeElement.value.endsWith('Z9')")
    await screen.page.locator("[data-item]").nth(1).get_by_role("button").press("Enter")
    await push(screen, "Pieces without serials")
    await screen.page.locator("[name=product]").wait_for()
    await fill(screen, "Product", "SCREWS")
    await fill(screen, "How many", "3")
    await fill(screen, "Note", EVIL)
    await push(screen, "Authorise it")
    await screen.sees("Authorised.")
    await screen.page.get_by_role("heading", name="RMA/1").wait_for()
    await screen.sees("It has not come yet")

    back = {"business_step": BusinessStep.RETURNING, "business_location": "Returns"}
    movements = site.movements(
        site.scan("A1"), site.scan("A1", 5, **OUT, order="SO-1"), site.scan("A1", 10, **back)
    )
    await site.put_movement(movements[-1], site.unit("A1"))
    count = "SELECT count(*) FROM movement WHERE unit = %s"
    await site.until(lambda: site.rows(count, site.unit("A1")) == [(3,)])
    await screen.open("/page/return?rma=RMA/1")
    await screen.page.locator("#state-1", has_text="returned").wait_for()
    await open_part(screen, "Replace it: line 1")
    await fill(screen, "The unit that takes its place", site.barcode("A1"))
    await push(screen, "Replace it")
    await screen.sees("is the unit itself")
    await fill(screen, "The unit that takes its place", site.barcode("N1"))
    await push(screen, "Replace it")
    await screen.page.locator("#state-1", has_text="replaced").wait_for()
    await screen.page.get_by_role("link", name=site.unit("N1")).wait_for()
    await open_part(screen, "Restock it: line 1")
    await screen.page.locator("details[open] [name=note]").fill("as new")
    await screen.page.locator("details[open] button").press("Enter")
    await screen.page.locator("#state-1", has_text="restocked").wait_for()
    await open_part(screen, "It came: line 2")
    await screen.page.locator("details[open] [name=quantity]").fill("3")
    await screen.page.locator("details[open] button").press("Enter")
    await screen.sees("3 returned")
    await open_part(screen, "It was repaired: line 2")
    await screen.page.locator("details[open] [name=quantity]").fill("3")
    await screen.page.locator("details[open] button").press("Enter")
    await screen.page.locator("#standing", has_text="all is decided").wait_for()
    told = await ok(site, "GET", "/returns/RMA/1")
    assert (told["is_done"], told["version"], told["note"]) == (True, 5, EVIL)
    for asked in ("order=SO-1", "who=ada", f"unit={site.barcode('A1')}", ""):
        await screen.open(f"/page/returns?{asked}")
        assert await screen.page.locator("tbody tr").count() == 1, asked
    await screen.open(f"/page/returns?unit={site.barcode('A2')}")
    await screen.sees("Nothing is here.")
    rows = await rows_of(site, "/page/returns.csv")
    assert [(each["line"], each["decided"], each["replacement"]) for each in rows] == [
        ("1", "replaced", site.unit("N1")),
        ("1", "restocked", ""),
        ("2", "returned", ""),
        ("2", "repaired", ""),
    ]
    await is_well(
        screen, site, "/page/returns", "/page/return?rma=RMA/1", f"/page/new-return?order={EVIL}"
    )
    await screen.open("/page/return?rma=never")
    await screen.sees("there is no return 'never'")


async def test_a_claim_is_filed_by_serial_or_order_followed_refused_and_settled(
    site: "Site", screen: Screen
) -> None:
    await sold(site, "A1")
    await screen.open("/page/order?ref=SO-1")
    await screen.page.get_by_role("link", name=f"claim for {site.unit('A1')}").press("Enter")
    await screen.page.wait_for_function("() => document.activeElement.name === 'id'")
    await screen.page.keyboard.type("C-1")
    by_serial, by_order = (screen.page.locator(f"#by-{name}") for name in ("serial", "order"))
    await by_serial.get_by_label("What is wrong with it").fill(EVIL)
    await by_serial.get_by_role("button").press("Enter")
    await screen.sees("There is nothing to say against it.")
    await screen.sees("covered, until")
    await screen.sees("Ada Byron, 1 Dock Road, York")
    await open_part(screen, "Accept it")
    await screen.page.locator("details[open] button").press("Enter")
    await screen.page.locator("#standing", has_text="accepted").wait_for()
    await open_part(screen, "It was replaced")
    await fill(screen, "The unit that takes its place", site.barcode("N1"))
    await screen.page.locator("details[open] button").press("Enter")
    await screen.page.locator("#standing", has_text="replaced").wait_for()
    await screen.sees("already replaced")

    # without a serial the order is the proof
    await screen.open("/page/new-claim?order=SO-1")
    await by_order.get_by_label("Number of the claim").fill("C-2")
    await by_order.get_by_label("Product").fill("PUMP-7")
    await by_order.get_by_label("What is wrong with it").fill("bent")
    await by_order.get_by_role("button").press("Enter")
    await screen.sees("order 'SO-1' has no line of product PUMP-7")
    await by_order.get_by_label("Product").fill("SCREWS")
    await by_order.get_by_role("button").press("Enter")
    await screen.sees("its line 2 is the proof of purchase")
    await screen.sees("no term")
    await open_part(screen, "Accept it")
    await screen.page.locator("details[open] button").press("Enter")
    await screen.sees("say why it is accepted although it was told: no_term")
    await open_part(screen, "Refuse it")
    await screen.page.locator("details[open]").last.get_by_label("Why").fill("bent by others")
    await screen.page.locator("details[open]").last.get_by_role("button").press("Enter")
    await screen.page.locator("#standing", has_text="refused").wait_for()
    told = await ok(site, "GET", "/claims/C-2")
    assert [(each["state"], each["note"]) for each in told["events"]] == [
        ("filed", "bent"),
        ("refused", "bent by others"),
    ]
    await screen.open("/page/claims")
    await screen.sees("0 filed, 0 accepted")
    await screen.sees("Nothing is here.")
    for asked, count in (
        ("status=refused", 1),
        (f"product={GTIN}", 1),
        ("order=SO-1", 1),
        ("who=ADA+BY", 2),
        (f"unit={site.barcode('A1')}", 1),
        ("status=all", 2),
        ("status=filed", 0),
    ):
        await screen.open(f"/page/claims?{asked}")
        assert await screen.page.locator(".inbox li").count() == count, asked
    rows = await rows_of(site, "/page/claims.csv")
    assert {each["claim"]: (each["state"], each["remarks"]) for each in rows} == {
        "C-1": ("replaced", ""),
        "C-2": ("refused", "no_term"),
    }
    paths = ("/page/claims?status=all", "/page/claims/C-1", "/page/claims/C-2")
    await is_well(screen, site, *paths, f"/page/new-claim?unit={EVIL}")
    await screen.open("/page/claims/C-9")
    await screen.sees("there is no claim 'C-9'")


# ------------------------------------------------------------------------------------------ roles


async def test_who_may_only_read_sees_the_desk_and_nothing_that_changes_it(site: "Site") -> None:
    token, digest = new_token()
    site.execute(
        "INSERT INTO api_token (id, token_sha256, role, sites, version, made_at)"
        " VALUES ('desk-1', %s, 'read', '{}', 1, now())",
        digest,
    )
    await sold(site, "A1")
    line = {"product": GTIN, "serials": ["S1"]}
    notice = {"supplier": "maker", "site": "north", "lines": [line]}
    await ok(site, "PUT", "/advance-notices/ASN-7", json=notice)
    claim = {"id": "C-1", "unit": site.barcode("A1"), "fault": "x"}
    await ok(site, "POST", "/claims", json=claim)
    lines = [{"unit": site.barcode("A1")}]
    await ok(site, "POST", "/returns", json={"rma": "RMA-1", "order": "SO-1", "lines": lines})
    await site.stop(next(each for each in site._running if each.name == "api"))
    await site.start("api", replace(site.settings, api_tokens="required"))
    who: dict[str, Any] = {"headers": {"Cookie": f"scantrail_token={token}"}}
    for path in (
        "products",
        f"products/{GTIN}",
        f"products/{GTIN}/figures",
        "orders",
        "order?ref=SO-1",
        "notices",
        "notices/ASN-7",
        "notices/ASN-7/progress",
        "notices/ASN-7/sum",
        "returns",
        "return?rma=RMA-1",
        "claims",
        "claims/C-1",
    ):
        answer = await site.ask("GET", f"/page/{path}", **who)
        assert answer.status_code == 200, path
        assert "data-api" not in answer.text, path
        assert "/page/new-" not in answer.text, path
        assert "/edit" not in answer.text, path
    for path in ("new-product", f"products/{GTIN}/edit", "new-order", "new-notice", "new-return"):
        answer = await site.ask("GET", f"/page/{path}", **who)
        assert answer.status_code == 403, path
    for path in ("orders", "returns", "claims", "notices"):
        answer = await site.ask("GET", f"/page/{path}?before=yesterday", **who)
        assert (answer.status_code, "follow the link" in answer.text) == (400, True), path
