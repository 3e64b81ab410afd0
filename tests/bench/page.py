"""How long people wait for a screen of the page, where a large site is in the database."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
from playwright.async_api import BrowserContext, async_playwright

from bench import inventory
from bench.installation import installed, leave_only
from bench.measure import Measure, Part, Unfinished, percentile, say
from integration.browser import CHROMIUM, FLAGS
from scantrail.cli.addresses import page_address
from scantrail.cli.stack import Stack

UNITS = 1_000_000
ALERTS = 100_000
CHANGES = 1_000_000
ASKED = 100
PAINTED = 20

_ALERTS = f"""
INSERT INTO alert (id, kind, severity, status, unit, event_id, station, site, event_time, text)
SELECT md5(n::text), 'duplicate_serial', 'warning',
    CASE WHEN n % 4 = 0 THEN 'open' ELSE 'resolved' END, unit, 'e-' || n, station, site,
    now() - n * interval '1 s', unit || ' was seen twice'
FROM (SELECT unit, station, site, row_number() OVER () AS n FROM unit LIMIT {ALERTS}) AS chosen
"""

#: Every product is known; each order has a line; of ten units that went out one is claimed for and
#: one comes back; 5,000 notices of 40 units each, of which 50 are open.
_DESK = (
    """
INSERT INTO product (id, version, document)
SELECT product, 1, jsonb_build_object('id', product, 'name', 'Product ' || product)
FROM (SELECT DISTINCT product FROM unit WHERE product IS NOT NULL) AS seen ON CONFLICT DO NOTHING
""",
    """
INSERT INTO sales_order_line (ref, line, product, quantity)
SELECT DISTINCT ON (order_ref) order_ref, 1, product, 40
FROM unit JOIN sales_order ON ref = order_ref WHERE product IS NOT NULL ON CONFLICT DO NOTHING
""",
    """
INSERT INTO warranty_claim
    (id, unit, product, serial, order_ref, purchaser, fault, state, filed_at, remarks)
SELECT 'C-' || n, unit, product, serial, order_ref, purchaser, 'does not start',
    CASE WHEN n % 50 = 0 THEN 'filed' ELSE 'closed' END, now() - n * interval '1 min', '[]'
FROM (
    SELECT *, row_number() OVER () AS n FROM unit JOIN sales_order ON ref = order_ref
    WHERE phase = 'shipped'
) AS sold WHERE n % 10 = 0
""",
    """
INSERT INTO return_authorisation (rma, order_ref, purchaser, authorised_at)
SELECT 'R-' || ref, ref, purchaser, ordered_at FROM sales_order
""",
    """
INSERT INTO return_line (rma, line, unit, product, quantity, shipped_event_id, shipped_at)
SELECT rma, row_number() OVER (PARTITION BY rma ORDER BY unit), unit, product, 1, event_id, since
FROM (SELECT *, row_number() OVER () AS n FROM unit WHERE phase = 'shipped') AS sold
JOIN return_authorisation USING (order_ref) WHERE n % 10 = 1
""",
    """
INSERT INTO advance_notice (id, version, supplier, site, stations, since, entered_at, closed_at)
SELECT 'ASN-' || n, 1, 'maker', 'site-0', '{}', '2026-01-01Z', now() - n * interval '1 min',
    CASE WHEN n > 50 THEN now() END
FROM generate_series(1, 5000) AS n
""",
    """
INSERT INTO advance_notice_unit (unit, notice, line)
SELECT unit, 'ASN-' || (1 + n / 40), 1 + n % 40
FROM (SELECT unit, row_number() OVER () - 1 AS n FROM unit LIMIT 200000) AS announced
""",
)

#: An import of products, long ago, and orders since: what is asked for is far from the newest.
_CHANGES = f"""
INSERT INTO audit SELECT n + (SELECT max(number) FROM audit), now(),
    CASE WHEN n < 1000 THEN 'desk-1' ELSE 'erp' END, 'operate',
    'PUT', '/', CASE WHEN n < {CHANGES // 10} THEN 'product' ELSE 'order' END, 'id-' || n, 0, 1,
    '', '', ''
FROM generate_series(1, {CHANGES}) AS n
"""

#: What the base cost of a paint is measured by.
_LINE = "a line of text"

_FIRST_PAINT = """new Promise((tell) => new PerformanceObserver((seen) => {
    const [paint] = seen.getEntriesByName("first-contentful-paint");
    if (paint) tell(paint.startTime);
}).observe({ type: "paint", buffered: true }))"""


def measure_page() -> list[Measure]:
    """`page_screen_p95_ms`: 1,000,000 units, 100,000 alerts and 1,000,000 changes are in the
    database; each screen is asked for 100 times, one after the other: from the request to the end
    of the answer, p95, the worst screen. `page_first_paint_ms`: each is opened 20 times, in turn
    with the others, in a new tab of an open Chromium that keeps no file: from the navigation to
    the first paint of content, p95, the worst screen; `a line of text` is what the same costs
    where the api answers with one.
    """
    check_browser()
    with installed() as stack:
        leave_only(stack, "api")
        return asyncio.run(_measure(stack))


def check_browser() -> None:
    """Raises Unfinished where there is none."""
    if not Path(CHROMIUM).exists():
        raise Unfinished(f"there is no {CHROMIUM}: install the system's package chromium")


#: Of a tenth of the serials, and of a tenth of the units.
RECALL = {
    "id": "bench",
    "title": "Bench",
    "reason": "Bench",
    "selectors": [{"kind": "range", "low": "SN0000000", "high": "SN0099999"}],
}


async def _measure(stack: Stack) -> list[Measure]:
    inventory.fill(stack.settings.database_url, range(UNITS))
    with psycopg.connect(stack.settings.database_url, autocommit=True) as database:
        database.execute(_ALERTS)
        for statement in _DESK:
            database.execute(statement)
        database.execute(_CHANGES)
        database.execute("ANALYZE")
    screens = _screens()
    base = page_address(stack.settings).rstrip("/")
    asked: dict[str, float] = {}
    async with httpx.AsyncClient(base_url=base, timeout=60) as api:
        (await api.post("/recalls", json=RECALL | {"status": "draft"})).raise_for_status()
        for name, path in screens.items():
            asked[name] = await _ask(api, path)
            say(f"{name}: answered in {asked[name]} ms (p95)")
    took = await _paint_all(screens | {_LINE: "/units/never-seen"}, base)
    painted, usual = (
        {name: round(percentile(each, percent)) for name, each in took.items()}
        for percent in (95, 50)
    )
    more = {_LINE: painted.pop(_LINE), "p50": usual}
    return [
        _measured("page_screen_p95_ms", asked),
        _measured("page_first_paint_ms", painted, more),
    ]


def _screens() -> dict[str, str]:
    """Each screen with an address that shows much on it."""
    long_lived = inventory.long_lived(range(UNITS))[0]
    product, order = inventory.product(17), inventory.order(UNITS // 2)
    return {
        "find": "/",
        "find a unit": f"/?q={quote(inventory.spellings(17)[-1], safe='')}",
        "find a long trail": f"/?q={quote(inventory.key(long_lived), safe='')}",
        "find nothing": "/?q=never-seen",
        "check": "/page/check",
        "work": "/page/work",
        "work at a station": "/page/work?station=gate-1",
        "shipping": "/page/shipping?station=gate-1",
        "site": "/page/site",
        "station": "/page/site/station?station=gate-1",
        "products": "/page/products",
        "product": f"/page/products/{product}",
        "figures of a product": f"/page/products/{product}/figures",
        "orders": "/page/orders",
        "orders by number": f"/page/orders?ref={order[:-2]}",
        "orders of a purchaser": "/page/orders?who=purchaser%207",
        "orders of a product": f"/page/orders?product={product}",
        "order": f"/page/order?ref={order}",
        "notices": "/page/notices",
        "notice": "/page/notices/ASN-7",
        "progress of a notice": "/page/notices/ASN-7/progress",
        "returns": "/page/returns",
        "returns of a purchaser": "/page/returns?who=purchaser%207",
        "return": f"/page/return?rma=R-{order}",
        "claims": "/page/claims",
        "claims of a product": f"/page/claims?product={product}",
        "claim": "/page/claims/C-500",
        "site below a hall": f"/page/site?site=site-1&at={quote('Hall 1')}",
        "recalls": "/page/recalls",
        "recall": "/page/recalls/bench",
        "subscribe": "/page/subscribe",
        "subscribe to a topic": "/page/subscribe/topic?name=movements",
        "subscribe: routes": "/page/subscribe/api?group=recalls",
        "audit": "/page/audit",
        "audit of a kind": "/page/audit?entity=product",
        "audit of somebody": "/page/audit?who=desk-1",
        "alerts": "/page/alerts",
        "alerts of a kind": "/page/alerts?kind=duplicate_serial&status=resolved",
    }


async def _ask(api: httpx.AsyncClient, path: str) -> float:
    took = []
    for _ in range(ASKED):
        at = time.perf_counter()
        answer = await api.get(path)
        took.append((time.perf_counter() - at) * 1e3)
        if answer.status_code != 200:
            raise Unfinished(f"{path} answered {answer.status_code}")
    return round(percentile(took[1:], 95), 1)


async def _paint_all(screens: dict[str, str], base: str) -> dict[str, list[float]]:
    """Each in turn, so that what else the machine does for a while falls upon all alike."""
    took: dict[str, list[float]] = {name: [] for name in screens}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        window = await browser.new_context()
        for _ in range(PAINTED):
            for name, path in screens.items():
                took[name].append(await _paint(window, base + path))
            say(f"the slowest screen was painted after {max(t[-1] for t in took.values())} ms")
        await browser.close()
    return took


async def _paint(window: BrowserContext, address: str) -> float:
    tab = await window.new_page()
    tools = await window.new_cdp_session(tab)
    await tools.send("Network.setCacheDisabled", {"cacheDisabled": True})
    await tab.goto(address)
    painted = float(await tab.evaluate(_FIRST_PAINT))
    await tab.close()
    return painted


def _measured(name: str, of: Mapping[str, float], more: Mapping[str, Any] | None = None) -> Measure:
    detail = {"units": UNITS, "alerts": ALERTS, "changes": CHANGES, "screens": of, **(more or {})}
    return Measure(name=name, value=max(of.values()), unit="ms", detail=detail)


PART = Part(names=("page_screen_p95_ms", "page_first_paint_ms"), run=measure_page)
