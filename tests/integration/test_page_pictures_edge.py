"""The pictures of the README: `make pictures` keeps them, else they are made and looked at."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from integration.browser import browsing
from integration.conftest import GTIN
from integration.test_page_edge import OUT, alert, raised, seen
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import AlertKind
from scantrail.domain.reader import ReaderStatus
from scantrail.domain.vocabulary import BusinessStep

if TYPE_CHECKING:
    from integration.conftest import Site

#: A picture of an empty screen has fewer bytes.
BYTES_MIN = 15_000


async def test_find_alerts_recalls_and_site_can_be_shown(site: "Site", tmp_path: Path) -> None:
    folder = Path(os.environ.get("SCANTRAIL_PICTURES") or tmp_path)
    await site.start("projector")
    await site.start("api")
    await _furnish(site)
    shown = {
        "find": f"/?q={site.barcode('C0D00003')}",
        "alerts": "/page/alerts",
        "recalls": "/page/recalls/R-2026-7",
        "site": "/page/site",
    }
    size = {"width": 1100, "height": 720}
    async with browsing(site.settings.api_port, viewport=size) as screen:
        for name, path in shown.items():
            await screen.open(path)
            await screen.page.wait_for_load_state("load")
            await site.until(
                lambda: screen.page.evaluate(
                    "!document.querySelector('.htmx-request, [aria-busy=true]')"
                )
            )
            await screen.page.screenshot(path=folder / f"{name}.png")
        assert screen.complaints == []
    for name in shown:
        assert (folder / f"{name}.png").stat().st_size > BYTES_MIN, name


async def _furnish(site: "Site") -> None:
    await site.ask("PUT", f"/products/{GTIN}", json={"name": "Phone, 128 GB"})
    stations = {"dock-1": "receiving", "shelf-a": "storing", "gate": "shipping"}
    for name, step in stations.items():
        body = {"site": "north", "business_step": step, "read_point": name}
        assert (await site.ask("PUT", f"/stations/{name}", json=body)).status_code == 200
        status = ReaderStatus(
            id=f"{name}-reader",
            station=name,
            protocol="tcp",
            started_at=datetime.now(UTC),
            told_at=datetime.now(UTC),
            is_up=name != "gate",
            since=datetime.now(UTC),
            counts={"accepted": 960, "no_read": 12},
            context={},
        )
        await site.publish(Topic.READER_STATUS, status.id, encode(status))
    purchaser = {"id": "p-1", "name": "Ada Buyer", "address": "1 Dock Road, York"}
    await site.ask("PUT", "/orders/SO-1", json={"purchaser": purchaser})
    stored = {"business_step": BusinessStep.STORING, "station": "shelf-a"}
    for number in range(12):
        shelf = {"business_location": f"Hall A, aisle {number % 3 + 1}", **stored}
        left = [{"order": "SO-1", **OUT}] if number in (3, 7) else []
        await seen(site, f"C0D{number:05}", {}, shelf, *left)
    await raised(
        site,
        alert(site, "C0D00003", text="C0D00003 was received although it is in custody elsewhere"),
        alert(
            site,
            "C0D00007",
            kind=AlertKind.RECALLED_AT_SHIPPING,
            severity="critical",
            station="gate",
            text="C0D00007 is recalled by R-2026-7 and went out at gate",
        ),
    )
    await site.until(lambda: site.rows("SELECT 1 FROM alert") == [(1,)] * 2)
    recall = {
        "title": "Battery may overheat",
        "reason": "a weld of the cell may come loose",
        "products": [GTIN],
        "selectors": [{"kind": "range", "low": "C0D00003", "high": "C0D00008"}],
        "status": "draft",
    }
    answer = await site.ask("PUT", "/recalls/R-2026-7", json=recall)
    assert answer.status_code == 200, answer.text
