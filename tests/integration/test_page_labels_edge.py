"""Labels in a real browser: each code says what a scanner of ours reads back."""

import re
from typing import TYPE_CHECKING

import pytest

from integration.browser import browsing
from integration.conftest import GTIN
from integration.test_page_edge import EVIL
from scantrail.api.pages.labels import label_text, qr_svg
from scantrail.contracts.identity import identify

if TYPE_CHECKING:
    from integration.conftest import Site


async def test_a_sheet_has_a_label_for_each_unit_and_tells_what_it_could_not_read(
    site: "Site",
) -> None:
    await site.start("api")
    await site.ask("PUT", f"/products/{GTIN}", json={"name": EVIL})
    lines = [site.barcode("A/1"), "imei:35209900176148", site.unit(EVIL), "no code at all", " "]
    async with browsing(site.settings.api_port) as screen:
        await screen.open("/page/labels")
        await screen.page.get_by_label("Units, one to a line").fill("\n".join(lines))
        await screen.page.keyboard.press("Tab")
        await screen.page.keyboard.press("Enter")
        await screen.sees("1 could not be understood")
        codes = screen.page.locator(".sheet img")
        assert await codes.count() == 3
        for number in range(3):
            wide = await codes.nth(number).evaluate("e => e.complete && e.naturalWidth")
            assert wide, number
        texts = [await codes.nth(n).get_attribute("alt") or "" for n in range(3)]
        keys = [identify(text.removeprefix("QR code: ")).key for text in texts]
        assert keys == [site.unit("A/1"), "imei:35209900176148", site.unit(EVIL)]
        assert await screen.page.locator("img:not(.sheet img)").count() == 0
        assert await screen.barriers() == []
        await screen.page.emulate_media(media="print")
        assert not await screen.page.get_by_label("Units, one to a line").is_visible()
        assert await codes.first.is_visible()
        assert screen.complaints == []
    many = "\n".join(str(n) for n in range(501))
    answer = await site.ask("POST", "/page/labels", data={"units": many})
    assert (answer.status_code, "at most 500" in answer.text) == (400, True)
    answer = await site.ask("GET", "/page/qr", params={"text": "x" * 257})
    assert (answer.status_code, answer.json()["field"]) == (400, "text")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (f"sgtin:{GTIN}.A/1", f"https://id.gs1.org/01/{GTIN}/21/A%2F1"),
        ("sscc:095060001343520017", "https://id.gs1.org/00/095060001343520017"),
        ("imei:35209900176148", "imei:35209900176148"),
    ],
)
def test_a_label_says_a_digital_link_or_the_key_and_is_read_back(key: str, text: str) -> None:
    assert label_text(key) == text
    assert identify(text).key == key
    svg = qr_svg(text).decode()
    assert svg.startswith("<svg")
    assert not re.search(r"style=|<script|on\w+=", svg)
