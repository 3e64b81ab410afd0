"""Which active recalls mean one unit, as warranty and the page ask, on a real PostgreSQL."""

from typing import TYPE_CHECKING, Any

import pytest

from integration.test_api_edge import ok, scanned
from scantrail.contracts.notices import LISTED_MAX

if TYPE_CHECKING:
    from integration.conftest import Site

PHONE, LAPTOP = "09506000134352", "09506000134369"
IMEI = "490154203237518"


async def begun(site: "Site") -> None:
    await site.start("api")
    await site.start("projector")


async def recalled(site: "Site", recall_id: str, *selectors: Any, **more: Any) -> None:
    notice = {"id": recall_id, "title": "t", "reason": "r", "selectors": selectors}
    await ok(site, "POST", "/recalls", json=notice | {"products": [PHONE]} | more)


async def recalls_of(site: "Site", unit: str) -> Any:
    return (await ok(site, "GET", f"/units/{unit}/warranty"))["recalls"]


def listing(*serials: str) -> dict[str, Any]:
    return {"kind": "list", "serials": list(serials)}


async def test_each_kind_of_clause_is_asked(site: "Site") -> None:
    await begun(site)
    await recalled(site, "list", listing("A1", "B2"))
    await recalled(site, "range", {"kind": "range", "low": "A0", "high": "A5"})
    await recalled(site, "prefix", {"kind": "prefix", "prefix": "A"})
    await recalled(site, "pattern", {"kind": "pattern", "pattern": "A#"})
    await recalled(site, "all", {"kind": "all"})
    await recalled(site, "lot", {"kind": "lot", "lots": ["L1"]})
    await recalled(site, "lots", {"kind": "lot_range", "low": "L1", "high": "L3"})
    await recalled(site, "days", {"kind": "date", "from": "2026-03-01", "to": "2026-03-31"})
    await recalled(site, "draft", {"kind": "all"}, status="draft")
    await recalled(site, "other", {"kind": "all"}, products=[LAPTOP])
    await recalled(site, "any", listing("A1"), products=[])
    every = ["all", "any", "list", "pattern", "prefix", "range"]
    assert await recalls_of(site, site.barcode("A1")) == every
    assert await recalls_of(site, site.barcode("A6")) == ["all", "pattern", "prefix"]
    assert await recalls_of(site, site.barcode("B2")) == ["all", "list"]
    await scanned(site, site.scan("C1", lot="L1", produced_on="2026-03-31"))
    assert await recalls_of(site, site.barcode("C1")) == ["all", "days", "lot", "lots"]
    await ok(site, "POST", "/recalls/all/close", json={"note": "done"})
    assert "all" not in await recalls_of(site, site.barcode("A1"))


async def test_serials_are_found_in_the_form_of_keys_and_of_their_product_alone(
    site: "Site",
) -> None:
    await begun(site)
    await recalled(site, "R-1", listing(IMEI, "AB 01"))
    assert await recalls_of(site, IMEI) == ["R-1"]
    assert await recalls_of(site, site.barcode("AB01")) == ["R-1"]
    assert await recalls_of(site, f"(01){LAPTOP}(21)AB01") == []


async def test_no_list_is_read_to_look_one_unit_up(site: "Site") -> None:
    await begun(site)
    await recalled(site, "R-1", listing("A1"))
    # of what stands in the record alone nothing would be found
    site.execute("UPDATE recall SET document = jsonb_set(document, '{selectors}', '[]')")
    assert await recalls_of(site, site.barcode("A1")) == ["R-1"]
    assert await recalls_of(site, site.barcode("A2")) == []


@pytest.mark.parametrize("summary", ["summary", "NULL"])
async def test_lots_that_are_not_told_in_short_are_found_too(site: "Site", summary: str) -> None:
    """Of long lists the summary has the beginning; of recalls of old there is none."""
    await begun(site)
    lots = [f"L{n}" for n in range(LISTED_MAX + 1)]
    await recalled(site, "R-1", {"kind": "lot", "lots": lots})
    await recalled(site, "R-2", {"kind": "date", "to": "2026-03-31"})
    site.execute(f"UPDATE recall SET summary = {summary}")
    await scanned(site, site.scan("C1", lot=lots[-1], produced_on="2026-03-31"))
    assert await recalls_of(site, site.barcode("C1")) == ["R-1", "R-2"]
