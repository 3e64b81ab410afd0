"""A real Chromium that looks at a test's installation, as a person would."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import ConsoleMessage, Page, async_playwright

CHROMIUM = "/usr/bin/chromium"

#: As root there is no sandbox; the others keep it from asking anything of the world.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

WAIT_MS = 15_000


class Screen:
    """One tab. Whatever the browser complains about is kept in `complaints`."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.complaints: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    async def open(self, path: str) -> None:
        await self.page.goto(f"{self.address}{path}")

    async def scan(self, text: str) -> None:
        """As a wedge scanner: keys to whatever has the focus, and Enter."""
        await self.page.keyboard.type(text)
        await self.page.keyboard.press("Enter")

    async def text(self) -> str:
        """All that is to be read."""
        return await self.page.inner_text("body")

    async def sees(self, text: str) -> None:
        """Waits until the text is to be read on the screen."""
        await self.page.get_by_text(text).first.wait_for(timeout=WAIT_MS)

    async def barriers(self) -> list[str]:
        """What axe-core finds that keeps people out: serious and critical."""
        # Not as a script of the page, which its policy refuses.
        await self.page.evaluate(AXE_SCRIPT)
        told = await self.page.evaluate("axe.run()")
        return [
            f"{found['id']}: {json.dumps([node['html'] for node in found['nodes']])[:400]}"
            for found in told["violations"]
            if found["impact"] in ("serious", "critical")
        ]


@contextlib.asynccontextmanager
async def browsing(port: int, **context: Any) -> AsyncIterator[Screen]:
    """A new browser, which knows nobody."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            told = await browser.new_context(**context)
            told.set_default_timeout(WAIT_MS)
            yield Screen(await told.new_page(), f"http://127.0.0.1:{port}")
        finally:
            await browser.close()
