"""The Site screen in a real browser: counts, stays, feeds and readers, live."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest_asyncio

from integration.browser import Screen, browsing
from integration.test_page_edge import EVIL, OUT, seen
from integration.test_page_recalls_edge import fill, push
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.reader import ReaderStatus

if TYPE_CHECKING:
    from integration.conftest import Site


@pytest_asyncio.fixture
async def screen(site: "Site") -> AsyncIterator[Screen]:
    """A browser before an api and a projector."""
    await site.start("projector")
    await site.start("api")
    async with browsing(site.settings.api_port) as shown:
        yield shown


async def test_the_site_is_seen_from_its_halls_down_to_a_stations_last_scan(
    site: "Site", screen: Screen
) -> None:
    body = {"site": "north", "business_step": "receiving", "read_point": "dock-1", "name": EVIL}
    assert (await site.ask("PUT", "/stations/dock-1", json=body)).status_code == 200
    await seen(site, "1", {"business_location": "Hall A, aisle 4"})
    await seen(site, "2", {"business_location": f"Hall A, {EVIL}"})
    await seen(site, "3", {}, OUT)
    status = ReaderStatus(
        id="dock-1-reader",
        station="dock-1",
        protocol="tcp",
        started_at=datetime.now(UTC),
        told_at=datetime.now(UTC),
        is_up=False,
        since=datetime.now(UTC),
        counts={"accepted": 3, "no_read": 1},
        context={},
    )
    await site.publish(Topic.READER_STATUS, status.id, encode(status))
    await site.until(lambda: site.rows("SELECT 1 FROM reader_status") == [(1,)])
    await screen.open("/page/site")
    await screen.sees("1 shipped, 0 decommissioned")
    text = await screen.text()
    assert "Hall A 2" in " ".join(text.split())
    assert "dock-1-reader: away" in text
    assert "25.0 %" in text
    row = screen.page.get_by_role("row", name="receiving")
    reads = int(await row.locator(".number").first.inner_text())
    assert reads >= 1
    assert await screen.page.locator("img").count() == 0
    assert await screen.barriers() == []
    await screen.page.get_by_role("link", name="Hall A").press("Enter")
    await screen.sees("All sites, north, Hall A: 2")
    assert await screen.page.locator("section > .tree > li").count() == 2
    await screen.page.get_by_role("link", name="north", exact=True).press("Enter")
    await screen.sees("All sites, north: 2")
    await screen.open(f"/page/site?site={EVIL}&at=nowhere")
    await screen.sees("Nothing lies there.")
    assert await screen.page.locator("img").count() == 0
    await screen.open("/page/site?site=north")
    await row.get_by_role("link").press("Enter")
    await screen.sees("What came last")
    assert await screen.page.locator(".trail li").count() == 3
    await seen(site, "9")
    await screen.sees(site.unit("9"))
    await screen.sees("away")
    assert await screen.page.locator("img").count() == 0
    assert await screen.barriers() == []
    await screen.page.set_viewport_size({"width": 360, "height": 640})
    for path in ("/page/site", "/page/site/station?station=dock-1"):
        await screen.open(path)
        assert await screen.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert screen.complaints == []
    await screen.open("/page/site/station?station=nowhere")
    await screen.sees("there is no station 'nowhere'")


async def test_stations_are_entered_by_keyboard_changed_and_come_by_a_file(
    site: "Site", screen: Screen
) -> None:
    await screen.open("/page/site")
    await screen.page.get_by_role("link", name="Enter stations").press("Enter")
    await screen.page.wait_for_function("() => document.activeElement.name === 'id'")
    await screen.page.keyboard.type("gate-1")
    await fill(screen, "Name", EVIL)
    await fill(screen, "Site", "no site")
    await screen.page.get_by_label("Step that a read there claims").select_option("shipping")
    await push(screen, "Enter it")
    await screen.page.wait_for_function("() => document.activeElement.name === 'site'")
    assert "letter or a digit" in await screen.page.get_by_role("alert").inner_text()
    await fill(screen, "Site", "north")
    await push(screen, "Enter it")
    await screen.page.wait_for_url("**/page/site/station?station=gate-1")
    await screen.sees("Version 1 is entered.")
    await screen.page.get_by_role("link", name="Change it").press("Enter")
    await fill(screen, "Where a unit is from then on", "Gate 1")
    await push(screen, "Change it")
    await screen.sees("Version 2 is entered.")
    told = (await site.ask("GET", "/stations/gate-1")).json()
    assert (told["name"], told["business_location"], told["business_step"], told["version"]) == (
        EVIL,
        "Gate 1",
        "shipping",
        2,
    )
    # what exists is not entered over, by a form or by a file
    await screen.open("/page/new-station")
    for label, text in (("Its id", "gate-1"), ("Site", "north")):
        await fill(screen, label, text)
    await push(screen, "Enter it")
    await screen.page.get_by_role("alert").wait_for()
    file = b"id,site,business_step\ndock-1,north,receiving\ngate-1,south,shipping\n"
    form = screen.page.locator("[data-file]")
    sent = {"name": "stations.csv", "mimeType": "text/csv", "buffer": file}
    await form.locator("[type=file]").set_input_files(sent)
    await form.get_by_role("button", name="Send the file").press("Enter")
    await screen.sees("line 3: station gate-1 exists")
    await form.locator("[name=existing]").select_option("replace")
    await form.get_by_role("button", name="Send the file").press("Enter")
    await screen.page.wait_for_url("**/page/site")
    await screen.sees("1 stations entered, 1 changed.")
    await screen.page.set_viewport_size({"width": 360, "height": 640})
    for path in ("/page/new-station", "/page/site/station/edit?station=gate-1"):
        await screen.open(path)
        assert await screen.page.evaluate("document.documentElement.scrollWidth") <= 360
        assert await screen.page.locator("img").count() == 0
        assert await screen.barriers() == []
