"""The audit in a real browser: who changed what, and a chain that somebody altered."""

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from integration.browser import browsing
from integration.test_page_edge import EVIL
from scantrail.infra.tokens import new_token

if TYPE_CHECKING:
    from integration.conftest import Site

STATION = {"site": "north", "business_step": "receiving", "read_point": "dock-1"}
ORDER = {"purchaser": {"name": "Ada Byron", "address": "1 Dock Road, York"}}
RECALL = {
    "title": "Battery",
    "reason": "may overheat",
    "selectors": [{"kind": "list", "serials": ["1"]}],
    "status": "draft",
}

_MANY = """
INSERT INTO audit SELECT n, now(), 'robot-7', 'operate', 'PUT', '/orders/{ref}', 'order',
    'SO-' || n, 0, 1, '', '', '' FROM generate_series(5, 254) AS n
"""


async def test_who_changed_what_is_found_and_a_row_that_was_altered_is_told(site: "Site") -> None:
    await site.start("api")
    for path, body in (
        ("/stations/dock-1", STATION),
        ("/stations/dock-1", STATION),
        (f"/orders/{quote(EVIL, safe='')}", ORDER),
        ("/recalls/R-1", RECALL),
    ):
        assert (await site.ask("PUT", path, json=body)).status_code == 200
    async with browsing(site.settings.api_port) as screen:
        rows = screen.page.locator("#audit tbody tr")
        await screen.open("/page/audit")
        await screen.sees("It holds")
        await screen.sees("5 rows, checked under a minute ago")
        assert await rows.count() == 5
        assert "version 1 to 2" in await rows.nth(3).inner_text()
        assert "new, version 1" in await rows.nth(4).inner_text()
        assert await screen.page.locator("img").count() == 0
        assert await screen.barriers() == []
        await site.ask("PUT", "/stations/gate", json=STATION)  # while it is open
        await screen.page.locator("#row-6").wait_for()
        await screen.page.locator("[name=entity]").focus()
        await screen.page.keyboard.type("station")
        await screen.page.get_by_label("Its id").focus()
        await screen.page.keyboard.type("dock-1")
        await screen.page.keyboard.press("Enter")
        await screen.page.wait_for_url("**reference=dock-1**")
        assert await rows.count() == 2
        await screen.page.get_by_role("link", name="see it").first.press("Enter")
        await screen.sees("What came last")
        await screen.open("/page/audit?who=nobody")
        await screen.sees("Nothing is here.")
        site.execute("ALTER TABLE audit DISABLE TRIGGER audit_is_only_added_to")
        site.execute("UPDATE audit SET who = 'somebody' WHERE number = 2")
        await screen.page.get_by_role("button", name="Check now").press("Enter")
        await screen.sees("Broken at row 2")
        await screen.sees("The 1 rows before it hold")
        assert await screen.barriers() == []
        await screen.page.set_viewport_size({"width": 360, "height": 640})
        await screen.open("/page/audit")
        assert await screen.page.evaluate("document.documentElement.scrollWidth") <= 360
        assert screen.complaints == []
        await screen.open(f"/page/audit?reference={EVIL}")
        await screen.sees("choose what it is: ids of a recall and a hold may be alike")


async def test_a_long_audit_is_read_page_by_page_by_whoever_may(site: "Site") -> None:
    for role in ("operate", "quality"):
        token, digest = new_token()
        site.execute(
            "INSERT INTO api_token (id, token_sha256, role, sites, version, made_at)"
            f" VALUES ('desk-{role}', %s, '{role}', '{{}}', 1, now())",
            digest,
        )
    site.execute(_MANY)
    await site.start("api", replace(site.settings, api_tokens="required"))
    async with browsing(site.settings.api_port) as screen:
        await screen.open("/page/audit")
        await screen.page.get_by_label("Your token").fill(token)
        await screen.page.get_by_role("button", name="Sign in").click()
        await screen.sees("SO-254")
        await screen.sees("Broken at row 1")  # where a chain begins there is a row 1
        await screen.page.get_by_role("link", name="robot-7").first.click()
        for count in (100, 100, 50):
            await screen.page.locator("#audit tbody tr").nth(count - 1).wait_for()
            assert await screen.page.locator("#audit tbody tr").count() == count
            if count == 100:
                last = await screen.page.locator("#audit tbody tr").last.get_attribute("id")
                await screen.page.get_by_role("link", name="Older ones").press("Enter")
                await screen.page.locator(f"#{last}").wait_for(state="detached")
        assert "SO-5" in await screen.text()
        assert screen.complaints == []
