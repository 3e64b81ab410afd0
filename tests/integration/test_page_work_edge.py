"""Check many and Work in a real browser: a scanner alone does a day's work."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from integration.browser import Screen, browsing
from integration.conftest import GTIN
from integration.test_page_edge import EVIL, OUT, seen
from integration.test_page_recalls_edge import fill, push
from scantrail.api.pages.work import INTO_STEPS
from scantrail.contracts.records import decode_scan
from scantrail.contracts.topics import Topic
from scantrail.domain.vocabulary import BusinessStep

if TYPE_CHECKING:
    from integration.conftest import Site

SSCC = "00095060001343520017"


@pytest_asyncio.fixture
async def screen(site: "Site") -> AsyncIterator[Screen]:
    """A browser before an api and a projector."""
    await site.start("projector")
    await site.start("api")
    async with browsing(site.settings.api_port) as shown:
        yield shown


async def recalled(site: "Site", serial: str) -> None:
    selectors = [{"kind": "list", "serials": [serial]}]
    told = {"title": "Battery", "reason": "may overheat", "selectors": selectors}
    answer = await site.ask("PUT", "/recalls/R-1", json=told | {"products": [GTIN]})
    assert answer.status_code == 200, answer.text


async def words(screen: Screen) -> list[str]:
    return [word.lower() for word in await screen.page.locator(".lines .word").all_inner_texts()]


async def until_words(site: "Site", screen: Screen, expected: list[str]) -> None:
    async def are() -> bool:
        return await words(screen) == expected

    with contextlib.suppress(AssertionError):
        await site.until(are)
    assert await words(screen) == expected


async def test_a_list_is_checked_line_by_line_and_comes_out_as_csv(
    site: "Site", screen: Screen
) -> None:
    await seen(site, "1")
    await seen(site, "2")
    await seen(site, "3", {}, OUT)
    await seen(site, EVIL)
    await recalled(site, "2")
    await screen.open("/page/check")
    await screen.scan(site.barcode("1"))
    await until_words(site, screen, ["here"])
    pasted = [site.barcode(each) for each in ("2", "3", "1", "never")] + [site.unit(EVIL)]
    await screen.page.locator("#box").fill("\n".join(pasted))
    await screen.page.get_by_role("button", name="Check").click()
    await until_words(
        site, screen, ["here", "never scanned", "here", "shipped", "recalled", "here"]
    )
    assert await screen.page.locator("#count").inner_text() == "6"
    assert await screen.page.locator("#count-stop").inner_text() == "1"
    assert await screen.page.locator("#count-again").inner_text() == "1"
    assert await screen.page.evaluate("document.activeElement.id") == "box"
    async with screen.page.expect_download() as downloading:
        await screen.page.get_by_role("button", name="As CSV").click()
    told = (await (await downloading.value).path()).read_text().splitlines()
    assert told[0] == "code,unit,word,recalled,held,duplicate,text"
    assert len(told) == 7
    assert told[2].startswith(f"{site.barcode('2')},{site.unit('2')},recalled,yes,no,no,")
    assert await screen.page.locator("img").count() == 0
    assert await screen.barriers() == []
    assert screen.complaints == []
    many = "\n".join(str(n) for n in range(51))
    answer = await site.ask("POST", "/page/check/lines", data={"codes": many})
    assert (answer.status_code, "at most 50" in answer.text) == (400, True)


#: `heard`: hertz of what is to be heard, by how long most waves are; `tones`: how many were told.
#: A page that is busy for longer than an ear's buffer hears nothing of it: that is a second here.
_EAR = """
window.heard = [];
window.tones = 0;
const Context = AudioContext;
window.AudioContext = function () { return new Context({ sampleRate: 16000 }); };
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...more) {
    if (to === this.context.destination) {
        window.tones += 1;
        const ear = this.context.createScriptProcessor(16384, 1, 1);
        ear.onaudioprocess = ({ inputBuffer }) => {
            const wave = inputBuffer.getChannelData(0);
            const begins = [...wave.keys()].filter((at) => at && wave[at - 1] < 0 && wave[at] >= 0);
            if (begins.length < 3) return;
            const lasted = begins.slice(1).map((at, wave) => at - begins[wave]);
            const most = lasted.sort((one, other) => one - other)[lasted.length >> 1];
            window.heard.push(inputBuffer.sampleRate / most);
        };
        connect.call(this, ear);
        connect.call(ear, to);
    }
    return connect.call(this, to, ...more);
};
"""


async def test_each_word_has_its_sound_and_none_where_nobody_wants_it(
    site: "Site", screen: Screen
) -> None:
    await seen(site, "1")
    await seen(site, "2")
    await recalled(site, "2")
    await screen.page.add_init_script(_EAR)
    await screen.open("/page/check")
    for code, hertz in ((site.barcode("1"), 1200), ("never", 600), (site.barcode("2"), 220)):
        await screen.scan(code)
        near = f"heard.some((hertz) => Math.abs(hertz - {hertz}) < 0.05 * {hertz})"
        await site.until(lambda near=near: screen.page.evaluate(near))
    assert await screen.page.evaluate("tones") == 4  # the loudest is told twice
    await screen.page.locator("#sound").uncheck()
    await screen.page.locator("#box").focus()
    await screen.scan(site.barcode("1"))
    await screen.page.locator("#count", has_text="4").wait_for()
    assert await screen.page.evaluate("tones") == 4


async def work_site(site: "Site", **stations: str) -> None:
    """The whole chain but the tracker, which the test plays."""
    await site.start("gateway")
    for name, step in stations.items():
        body: dict[str, Any] = {"site": "north", "business_step": step, "read_point": name}
        assert (await site.ask("PUT", f"/stations/{name}", json=body)).status_code == 200
    await site.until(lambda: site.rows("SELECT 1 FROM station") == [(1,)] * len(stations))


async def track(site: "Site", count: int) -> list[Any]:
    """What a tracker would do with the scans that came: the last `count` become movements."""
    records = await (await site.log(Topic.SCANS)).until(count)
    scans = [decode_scan(record.key, record.value) for record in records]
    for movement, scan in zip(site.movements(*scans), scans, strict=True):
        await site.put_movement(movement, scan.unit)
    return scans


async def test_a_shelf_and_units_are_scanned_and_the_last_one_is_voided(
    site: "Site", screen: Screen
) -> None:
    await work_site(site, put="storing")
    await recalled(site, "2")
    await screen.open("/page/work")
    await screen.page.get_by_role("link", name="storing put").press("Enter")
    await screen.sees("Storing at put, north")
    await screen.scan("L-A4.2")
    await screen.sees("location: A4.2")
    await screen.scan(site.barcode("1"))
    await until_words(site, screen, ["sent"])
    (scan,) = await track(site, 1)
    assert (scan.unit, scan.business_location, scan.station) == (site.unit("1"), "A4.2", "put")
    assert (scan.reader, scan.keyed) == ("page", False)
    await until_words(site, screen, ["done"])
    await screen.scan(site.barcode("2"))
    await site.until(lambda: _count(screen, 2))
    await screen.page.get_by_role("button", name="Void").first.press("Enter")
    await screen.sees("it counts no more")
    told = site.rows("SELECT unit, reason FROM scan_void")
    assert told == [(site.unit("1"), "voided at the station")]
    assert await screen.page.evaluate("document.activeElement.id") == "box"
    await screen.scan("nonsense")
    await screen.page.locator("#refused:not(:empty)").wait_for()
    assert await screen.barriers() == []


async def _count(screen: Screen, count: int) -> bool:
    return await screen.page.locator(".lines li").count() == count


async def test_units_are_packed_into_the_carton_that_was_scanned_first(
    site: "Site", screen: Screen
) -> None:
    await work_site(site, pack="packing")
    await screen.open("/page/work?station=pack")
    await screen.scan(SSCC)
    await screen.sees(f"inside: {SSCC}")
    await screen.scan(site.barcode("1"))
    await until_words(site, screen, ["sent"])
    (scan,) = await track(site, 1)
    assert scan.parent == f"sscc:{SSCC[2:]}"


async def test_what_was_typed_and_is_near_to_a_unit_is_asked_about(
    site: "Site", screen: Screen
) -> None:
    await work_site(site, put="storing")
    await seen(site, "A100")
    await screen.open("/page/work?station=put")
    await screen.page.keyboard.type(site.barcode("A1O0"), delay=60)
    await screen.page.keyboard.press("Enter")
    await screen.sees("was never seen, and is near to")
    await screen.page.keyboard.press("Enter")  # the right one has the focus
    await until_words(site, screen, ["sent"])
    (scan,) = await track(site, 1)
    assert (scan.unit, scan.keyed) == (site.unit("A100"), True)


async def test_without_a_gateway_nothing_is_taken_and_the_page_says_so(
    site: "Site", screen: Screen
) -> None:
    body = {"site": "north", "business_step": "storing", "read_point": "put"}
    await site.ask("PUT", "/stations/put", json=body)
    await screen.open("/page/work?station=put")
    await screen.scan(site.barcode("1"))
    await screen.sees("nothing was taken, try again")
    assert await screen.page.locator(".lines li").count() == 0


async def test_the_shipping_screen_tells_the_last_unit_that_left_from_afar(
    site: "Site", screen: Screen
) -> None:
    await work_site(site, gate="shipping", put="storing")
    await recalled(site, "2")
    await seen(site, "1", {}, OUT)
    await screen.open("/page/shipping")
    assert await screen.page.get_by_role("link", name="put").count() == 0
    await screen.page.get_by_role("link", name="gate, north").press("Enter")
    last = screen.page.get_by_label("Last scan")
    await last.get_by_text("ok", exact=True).wait_for()
    assert site.unit("1") in await last.inner_text()
    size = await last.locator(".word").evaluate("e => parseFloat(getComputedStyle(e).fontSize)")
    assert size >= 100, "letters of a tenth of the screen are read at 3 m"
    await seen(site, "2", {}, {"order": EVIL, **OUT})
    await last.get_by_text("recalled", exact=True).wait_for()
    assert await screen.page.locator("img").count() == 0
    assert await screen.page.locator(".lines li").count() == 1
    await seen(site, "3")  # elsewhere
    await seen(site, "4", {}, OUT)
    await last.locator(".unit", has_text=site.unit("4")).wait_for()
    await last.get_by_text("ok", exact=True).wait_for()
    part = "**/page/shipping?station=gate"
    await screen.page.route(part, lambda route: route.fulfill(status=503, body="try again"))
    await seen(site, "5", {}, OUT)
    await screen.sees("What is shown may be old")
    assert site.unit("4") in await last.inner_text()
    await screen.page.unroute(part)
    await seen(site, "6", {}, OUT)
    await last.locator(".unit", has_text=site.unit("6")).wait_for()
    screen.complaints = [told for told in screen.complaints if "503" not in told]
    assert await screen.barriers() == []
    assert screen.complaints == []
    await screen.open("/page/shipping?station=nowhere")
    await screen.sees("there is no station 'nowhere'")


async def test_every_step_works_with_a_scanner_alone(site: "Site", screen: Screen) -> None:
    await work_site(site, **{step.value: step.value for step in BusinessStep})
    for number, step in enumerate(BusinessStep):
        await screen.open(f"/page/work?station={step.value}")
        if step in INTO_STEPS:
            await screen.scan(SSCC)
            await screen.sees(f"inside: {SSCC}")
        await screen.scan(site.barcode(str(number)))
        await until_words(site, screen, ["sent"])
    records = await (await site.log(Topic.SCANS)).until(len(BusinessStep))
    told = [decode_scan(record.key, record.value) for record in records]
    assert {(scan.unit, scan.station, scan.business_step) for scan in told} == {
        (site.unit(str(number)), step.value, step) for number, step in enumerate(BusinessStep)
    }
    assert {scan.business_step for scan in told if scan.parent} == set(INTO_STEPS)
    assert screen.complaints == []


async def test_a_place_is_counted_and_what_is_missing_is_seen(site: "Site", screen: Screen) -> None:
    await work_site(site, count="cycle_counting")
    places = {"1": EVIL, "2": EVIL, "3": "Hall B"}
    for serial, place in places.items():
        await seen(site, serial, {"business_location": place})
    await screen.open("/page/counts")
    for label, text in (("Name", "monday"), ("Site", "north"), ("Place, as scans", EVIL)):
        await fill(screen, label, text)
    await push(screen, "Begin to count")
    await screen.page.wait_for_url("**/page/counts/monday")
    await screen.sees("2 units should be there.")
    await screen.sees("2 missing")
    link = screen.page.get_by_role("link", name="Scan at count")
    assert "location=%3Cimg" in (await link.get_attribute("href") or "")

    counted = {"business_step": BusinessStep.CYCLE_COUNTING, "business_location": EVIL}
    at = {"event_time": datetime.now(UTC), "record_time": datetime.now(UTC), "station": "count"}
    for serial in ("1", "3"):
        before = site.scan(serial, business_location=places[serial])
        scan = site.scan(serial, **counted, **at, event_id=f"counted-{serial}")
        await site.put_movement(site.movements(before, scan)[1], site.unit(serial))
    await screen.sees("1 found")
    await screen.sees("1 missing")
    await screen.sees("1 surplus")
    await link.press("Enter")
    assert await screen.page.locator("#location").input_value() == EVIL
    await screen.open("/page/counts/monday")
    screen.page.once("dialog", lambda dialog: dialog.accept())
    await push(screen, "Close it")
    await screen.sees("Compare it once more")
    answer = await site.ask("GET", "/page/counts/monday/csv")
    lines = [line.split(",")[:2] for line in answer.text.splitlines()]
    assert lines == [
        ["unit", "status"],
        [site.unit("1"), "found"],
        [site.unit("2"), "missing"],
        [site.unit("3"), "surplus"],
    ]
    await screen.page.set_viewport_size({"width": 360, "height": 640})
    for path in ("/page/counts", "/page/counts/monday", "/page/counts/monday?status=found"):
        await screen.open(path)
        assert await screen.page.evaluate("document.documentElement.scrollWidth") <= 360
        assert await screen.page.locator("img").count() == 0
        assert await screen.barriers() == []
    assert screen.complaints == []
    await screen.open("/page/counts/tuesday")
    await screen.sees("there is no count 'tuesday'")
