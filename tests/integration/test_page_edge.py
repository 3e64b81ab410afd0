"""The page in a real browser: what people see, and what a barcode must not do."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from playwright.async_api import Route

from integration.browser import Screen, browsing
from integration.conftest import GTIN
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import Alert, AlertKind, AlertStatus
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.tokens import new_token

if TYPE_CHECKING:
    from integration.conftest import Site

EVIL = "<img/src=/onerror=a>"  # as long as a serial may be
OUT = {"business_step": BusinessStep.SHIPPING, "business_location": None, "station": "gate"}


@pytest_asyncio.fixture
async def screen(site: "Site") -> AsyncIterator[Screen]:
    """A browser before an api and a projector."""
    await site.start("projector")
    await site.start("api")
    async with browsing(site.settings.api_port) as shown:
        yield shown


async def seen(site: "Site", serial: str, *more: dict[str, Any]) -> None:
    scans = [site.scan(serial, 5 * number, **each) for number, each in enumerate(more or ({},))]
    for movement in site.movements(*scans):
        await site.put_movement(movement, site.unit(serial))
    query = "SELECT version FROM unit WHERE unit = %s"
    await site.until(lambda: site.rows(query, site.unit(serial)) == [(len(scans),)])


def alert(site: "Site", serial: str, **more: Any) -> Alert:
    fields = {
        "id": serial.encode().hex().rjust(32, "0")[:32],
        "kind": AlertKind.DUPLICATE_SERIAL,
        "severity": "warning",
        "status": AlertStatus.RAISED,
        "unit": site.unit(serial),
        "event_id": "e-1",
        "station": "dock-1",
        "site": "north",
        "event_time": site.scan(serial).event_time,
        "text": f"{serial} was seen twice",
    }
    return Alert(**(fields | more))


async def raised(site: "Site", *alerts: Alert) -> None:
    for each in alerts:
        await site.publish(Topic.ALERTS, each.id, encode(each))


# ------------------------------------------------------------------------------------------ find


async def test_a_scanner_finds_one_unit_after_another_without_a_touch(
    site: "Site", screen: Screen
) -> None:
    purchaser = {"id": "p-1", "name": "Ada Buyer", "address": "1 Dock Road, York"}
    await site.ask("PUT", "/orders/SO-1", json={"purchaser": purchaser})
    await site.ask("PUT", f"/products/{GTIN}", json={"name": "Phone, 128 GB"})
    await seen(site, "1")
    await seen(site, "2", {}, {"order": "SO-1", **OUT})
    await screen.open("/")
    await screen.scan(site.barcode("1"))
    await screen.sees("In Hall A, site north, since")
    await screen.sees("Phone, 128 GB")
    assert await screen.page.evaluate("document.activeElement.id") == "q"
    await screen.scan(site.unit("2"))
    await screen.sees("to Ada Buyer, 1 Dock Road, York, order SO-1")
    assert await screen.page.locator(".trail > li").count() == 2
    await screen.page.get_by_text("event", exact=True).first.click()
    await screen.sees('"business_step": "shipping"')
    await screen.page.keyboard.press("Escape")
    await screen.scan("SO-never-seen")
    await screen.sees("Not identified")
    assert await screen.page.evaluate("document.activeElement.id") == "q"
    assert screen.complaints == []


async def test_what_is_inside_what_is_told_and_a_long_trail_is_cut_and_shown_whole(
    site: "Site", screen: Screen
) -> None:
    carton = "sscc:095060001343520017"
    packing = {"business_step": BusinessStep.PACKING, "parent": carton}
    rounds = [{"business_location": f"Hall {number}"} for number in range(60)]
    await seen(site, "1", *rounds, packing)
    await screen.open(f"/?q={site.barcode('1')}")
    await screen.sees("All 61 scans")
    assert await screen.page.locator(".trail > li").count() == 50
    await screen.page.get_by_text("What is, and was, inside what").click()
    await screen.sees("Now inside")
    await screen.sees("It was inside")
    assert await screen.barriers() == []
    await screen.page.get_by_role("link", name="All 61 scans").click()
    await screen.page.locator(".trail > li").nth(60).wait_for()
    assert screen.complaints == []


async def test_near_spellings_are_offered_for_a_code_that_was_never_scanned(
    site: "Site", screen: Screen
) -> None:
    await seen(site, "A100")
    await screen.open("/")
    await screen.scan(site.barcode("A1O0"))
    await screen.sees("Never scanned")
    await screen.page.get_by_role("link", name=site.unit("A100")).click()
    await screen.sees("In Hall A, site north, since")


async def test_a_scan_and_an_alert_reach_an_open_answer_within_a_second(
    site: "Site", screen: Screen
) -> None:
    await seen(site, "1")
    await screen.open(f"/?q={site.barcode('1')}")
    await screen.sees("In Hall A")
    moved = site.movements(site.scan("1"), site.scan("1", 5, business_location="Hall B"))
    begun = asyncio.get_running_loop().time()
    await site.put_movement(moved[-1], site.unit("1"))
    await screen.sees("In Hall B, site north")
    assert asyncio.get_running_loop().time() - begun < 5.0  # a second, where nothing else runs
    await raised(site, alert(site, "1"))
    await screen.sees("1 was seen twice")


async def test_a_scan_that_comes_while_the_one_before_is_asked_for_is_shown_as_well(
    site: "Site", screen: Screen
) -> None:
    await seen(site, "1")
    await screen.open(f"/?q={site.barcode('1')}")
    await screen.sees("In Hall A")
    is_answered, may_go_on = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        answer = await route.fetch()
        is_answered.set()
        await may_go_on.wait()
        await route.fulfill(response=answer)

    await screen.page.route("**/page/units/**", hold, times=1)
    scans = [
        site.scan("1", 5 * at, business_location=f"Hall {hall}") for at, hall in enumerate("ABC")
    ]
    _, in_b, in_c = site.movements(*scans)
    await site.put_movement(in_b, site.unit("1"))
    await asyncio.wait_for(is_answered.wait(), 10)
    told = (
        'new Promise((tell) => document.addEventListener("sse:moved", () => tell(1), {once: true}))'
    )
    telling = asyncio.create_task(screen.page.evaluate(told))
    await site.put_movement(in_c, site.unit("1"))
    await telling
    may_go_on.set()
    await screen.sees("In Hall C, site north")
    assert screen.complaints == []


# ---------------------------------------------------------------------------------------- alerts


async def test_an_alert_arrives_is_seen_to_and_resolved_by_keyboard_alone(
    site: "Site", screen: Screen
) -> None:
    await screen.open("/page/alerts")
    await screen.sees("Nothing is here.")
    await raised(site, alert(site, "7"), alert(site, "8", severity="critical"))
    await screen.sees("8 was seen twice")
    await screen.sees("2 open, 0 acknowledged")
    await screen.page.get_by_role("link", name=re.compile("See to it.*7$")).focus()
    await screen.page.keyboard.press("Enter")
    await screen.sees("What happened")
    await screen.page.get_by_role("button", name="I see to it").focus()
    await screen.page.keyboard.press("Enter")
    await screen.page.locator("#status", has_text="acknowledged").wait_for()
    await screen.page.get_by_label("What was done").focus()
    await screen.page.keyboard.type("the label was printed twice")
    await screen.page.keyboard.press("Tab")
    await screen.page.keyboard.press("Enter")
    await screen.page.locator("#status", has_text="resolved").wait_for()
    told = (await site.ask("GET", f"/alerts/{alert(site, '7').id}")).json()
    assert [step["step"] for step in told["history"]] == ["raised", "acknowledged", "resolved"]
    assert told["history"][-1]["note"] == "the label was printed twice"
    await screen.open("/page/alerts?severity=critical")
    assert "7 was seen twice" not in await screen.text()
    assert screen.complaints == []


async def test_a_step_that_came_too_late_says_why_and_does_nothing(
    site: "Site", screen: Screen
) -> None:
    told = alert(site, "7")
    await raised(site, told)
    await site.until(lambda: site.rows("SELECT 1 FROM alert") == [(1,)])
    await screen.open(f"/page/alerts/{told.id}")
    await site.ask("POST", f"/alerts/{told.id}/resolve", json={"note": "by another"})
    await screen.page.get_by_role("button", name="I see to it").click()
    await screen.page.get_by_role("alert", name="").wait_for()
    assert await screen.page.get_by_role("alert").inner_text() == "it is resolved: reopen it first"


# --------------------------------------------------------------------------------------- sign in


async def test_who_has_no_token_signs_in_and_comes_back_and_sees_what_the_role_may(
    site: "Site",
) -> None:
    await site.start("projector")
    await raised(site, alert(site, "7"))
    await site.until(lambda: site.rows("SELECT 1 FROM alert") == [(1,)])
    token, digest = new_token()
    site.execute(
        "INSERT INTO api_token (id, token_sha256, role, sites, version, made_at)"
        " VALUES ('desk-1', %s, 'read', '{}', 1, now())",
        digest,
    )
    await site.start("api", replace(site.settings, api_tokens="required"))
    async with browsing(site.settings.api_port) as screen:
        await screen.open("/page/alerts")
        assert "/page/sign-in" in screen.page.url
        assert await screen.page.get_by_role("navigation").count() == 0
        await screen.page.get_by_label("Your token").fill("guessed")
        await screen.page.get_by_role("button", name="Sign in").click()
        await screen.sees("none of ours")
        await screen.page.get_by_label("Your token").fill(token)
        await screen.page.get_by_role("button", name="Sign in").click()
        await screen.sees("7 was seen twice")
        assert screen.page.url.endswith("/page/alerts")
        assert await screen.page.get_by_text("See to it").count() == 0
        cookies = await screen.page.context.cookies()
        assert [(c["httpOnly"], c["sameSite"]) for c in cookies] == [(True, "Strict")]
        refused = await screen.page.evaluate(
            "fetch('/alerts/x/acknowledge', {method: 'POST', body: '{}'}).then(a => a.status)"
        )
        assert refused == 403
        await screen.page.get_by_role("button", name="Sign out").click()
        await screen.sees("Your token")
        await screen.open("/")
        assert "/page/sign-in" in screen.page.url


async def test_a_page_for_the_wall_offers_nothing_that_changes_anything(site: "Site") -> None:
    await site.start("projector")
    await raised(site, alert(site, "7"))
    await site.until(lambda: site.rows("SELECT 1 FROM alert") == [(1,)])
    path = f"/page/alerts/{alert(site, '7').id}"
    for page, buttons in (("full", 2), ("read_only", 0)):
        running = await site.start("api", replace(site.settings, page=page))
        shown = (await site.ask("GET", path)).text
        assert shown.count("<button>") == buttons
        assert ('href="/page/work"' in shown) is (page == "full")
        await site.stop(running)


async def test_without_tokens_a_page_of_somebody_else_changes_nothing_either(site: "Site") -> None:
    await site.start("api")
    own = f"http://127.0.0.1:{site.settings.api_port}"
    expected = {
        ("Sec-Fetch-Site", "same-origin"): 201,
        ("Sec-Fetch-Site", "none"): 201,
        ("Sec-Fetch-Site", "same-site"): 403,
        ("Sec-Fetch-Site", "cross-site"): 403,
        ("Origin", own): 201,
        ("Origin", "http://127.0.0.1:1"): 403,
        ("Origin", "null"): 403,
        ("X-None", ""): 201,
    }
    got = {}
    for number, (name, value) in enumerate(expected):
        # as text, a browser sends it without asking first
        recall = (
            f'{{"id": "R-{number}", "title": "T", "reason": "R", "products": ["{GTIN}"],'
            ' "selectors": [{"kind": "prefix", "prefix": "X"}]}'
        )
        headers = {"Content-Type": "text/plain", name: value}
        answer = await site.ask("POST", "/recalls", content=recall.encode(), headers=headers)
        got[name, value] = answer.status_code
    assert got == expected
    other = {"Sec-Fetch-Site": "cross-site"}
    assert (await site.ask("GET", "/", headers=other)).status_code == 200, "a link leads here"


async def test_without_tokens_a_name_that_somebody_leads_here_reads_nothing(site: "Site") -> None:
    """As DNS rebinding has it: to the browser all of it is that name's."""
    running = await site.start("api")
    led_here = {"Host": "evil.example:8600", "Origin": "http://evil.example:8600"}
    for method, path in (("GET", "/"), ("GET", "/units/1/trail"), ("POST", "/recalls")):
        answer = await site.ask(method, path, headers=led_here)
        assert answer.status_code == 403, path
        assert "name it in SCANTRAIL_API_HOSTS" in answer.text, path
    assert (await site.ask("GET", "/", headers={"Host": "desk-pc:8600"})).status_code == 200
    await site.stop(running)
    await site.start("api", replace(site.settings, api_hosts="desk.example, evil.example"))
    assert (await site.ask("GET", "/", headers=led_here)).status_code == 200
    assert (await site.ask("GET", "/", headers={"Host": "other.example"})).status_code == 403


async def test_a_cookie_changes_nothing_for_a_page_of_somebody_else(site: "Site") -> None:
    token, digest = new_token()
    site.execute(
        "INSERT INTO api_token (id, token_sha256, role, sites, version, made_at)"
        " VALUES ('desk-1', %s, 'admin', '{}', 1, now())",
        digest,
    )
    await site.start("api", replace(site.settings, api_tokens="required"))
    cookie = {"Cookie": f"scantrail_token={token}"}
    own = f"http://127.0.0.1:{site.settings.api_port}"
    expected = {
        ("Sec-Fetch-Site", "same-origin"): 200,
        ("Sec-Fetch-Site", "same-site"): 401,
        ("Sec-Fetch-Site", "cross-site"): 401,
        ("Origin", own): 200,
        ("Origin", "http://127.0.0.1:1"): 401,
        ("Origin", "null"): 401,
        ("X-None", ""): 401,
    }
    got = {}
    for name, value in expected:
        answer = await site.ask(
            "PUT",
            f"/products/{GTIN}",
            json={"name": "M"},
            headers={**cookie, name: value},
        )
        got[name, value] = answer.status_code
    assert got == expected
    for next_ in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:1"):
        form = {"token": token, "next": next_}
        answer = await site.ask("POST", "/page/sign-in", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")


#: The stream of events is open: what is still on its way is not among the entries.
_LISTENS = "document.body['htmx-internal-data']?.sseEventSource?.readyState === 1"


# ------------------------------------------------------------------------------ what must not be

SCREENS = ["/", f"/?q={EVIL}", "/page/alerts", f"/page/alerts?unit={EVIL}", "/page/sign-in"]


async def test_no_barcode_becomes_markup_on_any_screen_and_none_keeps_people_out(
    site: "Site", screen: Screen
) -> None:
    await seen(site, EVIL, {"business_location": EVIL, "read": EVIL})
    await raised(site, alert(site, EVIL, text=EVIL, station=EVIL))
    await site.until(lambda: site.rows("SELECT 1 FROM alert") == [(1,)])
    key = site.unit(EVIL)
    for path in (*SCREENS, f"/?q={key}", f"/page/alerts/{alert(site, EVIL).id}"):
        await screen.open(path.replace("<", "%3C").replace(" ", "%20"))
        assert await screen.page.locator("img").count() == 0, path
        assert await screen.barriers() == [], path
    await screen.open("/")
    await screen.scan(EVIL)
    await screen.sees(EVIL)
    assert await screen.page.locator("img").count() == 0
    assert [told for told in screen.complaints if "Content Security Policy" in told] == []


async def test_no_screen_takes_anything_from_elsewhere_or_runs_what_stands_in_it(
    site: "Site",
) -> None:
    await site.start("api")
    for path in SCREENS:
        answer = await site.ask("GET", path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        links = re.findall(r'(?:src|href|action)="([^"]*)"', answer.text)
        assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in links)
        assert "<script>" not in answer.text
        assert not re.search(r"\son[a-z]+=", re.sub(r"&lt;.*?&gt;", "", answer.text))


async def test_an_open_page_does_not_keep_the_api_from_stopping(site: "Site") -> None:
    running = await site.start("api")
    async with browsing(site.settings.api_port) as screen:
        await screen.open("/")
        await screen.page.wait_for_load_state("load")
        await site.until(lambda: screen.page.evaluate(_LISTENS))
        begun = asyncio.get_running_loop().time()
        await site.stop(running)
        assert asyncio.get_running_loop().time() - begun < 3.0
    with contextlib.suppress(Exception):
        await screen.page.close()


@pytest.mark.parametrize("path", ["/", "/page/alerts"])
async def test_a_telephone_shows_it_without_moving_sideways(site: "Site", path: str) -> None:
    await site.start("projector")
    await site.start("api")
    await seen(site, "1", {}, {"order": "SO-1", **OUT})
    await raised(site, alert(site, "1", text="a long word: " + "x" * 200))
    await site.until(lambda: site.rows("SELECT 1 FROM alert") == [(1,)])
    query = f"?q={site.barcode('1')}" if path == "/" else ""
    async with browsing(site.settings.api_port, viewport={"width": 360, "height": 640}) as screen:
        await screen.open(path + query)
        wide = await screen.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360
