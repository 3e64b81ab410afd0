"""Subscribe in a real browser: whoever copies what stands there has a program that reads."""

import asyncio
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from integration.browser import browsing
from integration.test_page_edge import EVIL

if TYPE_CHECKING:
    from integration.conftest import Site

CLIPBOARD = ["clipboard-read", "clipboard-write"]
STATION = {"site": "north", "business_step": "receiving", "read_point": "dock-1"}
READ_S_MAX = 30


async def first_line(program: str) -> str:
    """What a Python program says first; it is ended then."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert running.stdout is not None
    try:
        async with asyncio.timeout(READ_S_MAX):
            return (await running.stdout.readline()).decode()
    finally:
        running.kill()
        await running.wait()


async def test_a_topic_is_found_read_and_its_program_copied_and_run(site: "Site") -> None:
    await site.start("api")
    answer = await site.ask("PUT", "/stations/dock-1", json=STATION)
    assert answer.json()["published"]
    async with browsing(site.settings.api_port, permissions=CLIPBOARD) as screen:
        await screen.open("/page/subscribe")
        await screen.sees(site.settings.kafka_bootstrap)
        assert await screen.barriers() == []
        name = f"{site.settings.topic_prefix}.stations.v1"
        await screen.page.get_by_role("link", name=name).press("Enter")
        await screen.sees("The site it belongs to.")
        await screen.page.get_by_role("button", name="Copy Python").press("Enter")
        await screen.sees("Copied.")
        program = await screen.page.evaluate("navigator.clipboard.readText()")
        assert await screen.barriers() == []
        said = await first_line(program)
        assert "b'dock-1'" in said
        assert "'business_step': 'receiving'" in said
        await screen.open("/page/subscribe/topic?name=scans.rejected")
        await screen.sees("byte for byte what came")
        assert "json" not in await screen.page.locator("#python").inner_text()
        for name in (EVIL, "units"):
            await screen.open(f"/page/subscribe/topic?name={name}")
            await screen.sees(f"there is no topic '{name}' to subscribe to")
        assert await screen.page.locator("img").count() == 0
        assert not [told for told in screen.complaints if "404" not in told]


async def test_a_route_is_read_and_asked_where_a_page_may_not_copy_it_is_selected(
    site: "Site",
) -> None:
    await site.start("api")
    async with browsing(site.settings.api_port, viewport={"width": 360, "height": 640}) as screen:
        paths = ["/page/subscribe", "/page/subscribe/topic?name=movements"]
        for path in (*paths, "/page/subscribe/api?group=recalls"):
            await screen.open(path)
            wide = await screen.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 360, path
        route = screen.page.locator("summary", has_text="PUT /recalls/{recall_id}").first
        await route.press("Enter")
        opened = screen.page.locator("details[open]")
        await opened.get_by_text("Parameters of PUT").wait_for(state="attached")
        assert "selectors[].kind" in await opened.inner_text()
        assert await screen.barriers() == []
        await screen.page.evaluate("delete Navigator.prototype.clipboard")
        await opened.get_by_role("button", name="Copy curl").press("Enter")
        await screen.sees("It is selected")
        selected = await screen.page.evaluate("getSelection().toString()")
        assert selected.startswith("curl -s -g -X PUT")
        assert screen.complaints == []
        await screen.open(f"/page/subscribe/api?group={EVIL}")
        await screen.sees(f"the API has no routes at /{EVIL}")
        assert await screen.page.locator("img").count() == 0


async def test_whoever_has_no_token_may_have_the_documents_and_not_the_brokers(
    site: "Site",
) -> None:
    await site.start("api", replace(site.settings, api_tokens="required"))
    answer = await site.ask("GET", "/schema/asyncapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    told = answer.json()
    prefix = site.settings.topic_prefix
    assert told["channels"]["movements"]["address"] == f"{prefix}.movements.v1"
    assert site.settings.kafka_bootstrap not in answer.text
    assert (await site.ask("GET", "/page/subscribe")).status_code == 303
