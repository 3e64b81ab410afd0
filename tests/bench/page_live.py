"""How long until an open screen shows a scan."""

import asyncio
import json
import time

import httpx
from playwright.async_api import Page, async_playwright

from bench.installation import installed
from bench.load import load_http
from bench.load_http import HttpJob, HttpRequest
from bench.measure import Measure, Part, percentile, say
from bench.page import check_browser
from bench.recalling import recall
from bench.workload import code, serial
from integration.browser import CHROMIUM, FLAGS
from scantrail.cli.addresses import page_address
from scantrail.cli.site import GATE, SHELF
from scantrail.cli.stack import Stack

SCANS_PER_S = 50
PROBES = 120
EVERY_S = 0.9
#: Units of the probes: none of them is scanned by the load.
FIRST = 10_000_000
SEEN_S_MAX = 10.0

SCREENS = {
    "shipping": f"/page/shipping?station={GATE.station}",
    "station": f"/page/site/station?station={GATE.station}",
    "alerts": "/page/alerts",
}

#: When a text is on the screen, in ms since 1970, by the machine's clock as everybody's here.
_SEEN = """([text, most]) => new Promise((tell, fail) => {
    const observer = new MutationObserver(look);
    function look() {
        if (!document.body.textContent.includes(text)) return;
        observer.disconnect();
        tell(performance.timeOrigin + performance.now());
    }
    observer.observe(document.body, { childList: true, subtree: true, characterData: true });
    look();
    setTimeout(() => fail(new Error(text + " was not shown")), most * 1000);
})"""


def measure_live() -> list[Measure]:
    """`page_live_p99_ms`: a site's 50 scans/s pass through every process, and three screens are
    open in a Chromium: the shipping screen and the feed of the gate, and the inbox of alerts. 120
    recalled units, one after the other, are scanned at the gate: from just before the POST of the
    scan to when the unit's serial is on the screen, p99, the worst screen.
    """
    check_browser()
    readers = [
        f'[[reader]]\nid = "{place.reader}"\nstation = "{place.station}"\n'
        'protocol = "http-generic"\n'
        for place in (SHELF, GATE)
    ]
    with installed("\n".join(readers)) as stack:
        return asyncio.run(_measure(stack))


async def _measure(stack: Stack) -> list[Measure]:
    await recall(stack.settings, range(FIRST, FIRST + PROBES))
    seconds = PROBES * EVERY_S + 30
    requests = [
        _post(SHELF.reader, number, number / SCANS_PER_S)
        for number in range(int(seconds * SCANS_PER_S))
    ]
    job = HttpJob(stack.settings.gateway_url, 8, requests)
    load = asyncio.create_task(load_http(job))
    try:
        waits = await _watch(stack)
    finally:
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
    spreads = {
        name: {f"p{p}": round(percentile(took, p)) for p in (50, 90, 99, 100)}
        for name, took in waits.items()
    }
    say(f"scans are on the screen after {spreads} ms")
    detail = {"scans_per_s": SCANS_PER_S, "samples": PROBES, "screens": spreads}
    worst = max(spread["p99"] for spread in spreads.values())
    return [Measure(name="page_live_p99_ms", value=worst, unit="ms", detail=detail)]


async def _watch(stack: Stack) -> dict[str, list[float]]:
    waits: dict[str, list[float]] = {name: [] for name in SCREENS}
    base = page_address(stack.settings).rstrip("/")
    async with async_playwright() as playwright, httpx.AsyncClient(timeout=30) as gateway:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            pages = {name: await browser.new_page() for name in SCREENS}
            for name, page in pages.items():
                await page.goto(base + SCREENS[name])
            for number in range(FIRST, FIRST + PROBES):
                due = time.monotonic() + EVERY_S
                watching = [_seen(page, serial(number)) for page in pages.values()]
                tasks = [asyncio.create_task(each) for each in watching]
                request = _post(GATE.reader, number, 0)
                at = time.time()
                url = stack.settings.gateway_url + request.path
                (await gateway.post(url, content=request.body)).raise_for_status()
                for name, shown in zip(waits, await asyncio.gather(*tasks), strict=True):
                    waits[name].append(shown - at * 1e3)
                await asyncio.sleep(max(due - time.monotonic(), 0))
        finally:
            await browser.close()
    return waits


async def _seen(page: Page, text: str) -> float:
    return float(await page.evaluate(_SEEN, [text, SEEN_S_MAX]))


def _post(reader: str, number: int, due_s: float) -> HttpRequest:
    body = json.dumps({"reads": [{"code": code(number)}]})
    return HttpRequest(due_s, "POST", f"/ingest/v1/generic?reader={reader}", body)


PART = Part(names=("page_live_p99_ms",), run=measure_live)
