"""Two callers at the same moment: one of them is told so, and nobody's change is lost unseen."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from integration.conftest import GTIN
from scantrail.cli.tokens import make_person

if TYPE_CHECKING:
    from integration.conftest import Site

ADA = {"name": "Ada Byron-Quux", "address": "1 Zyzzyva Road, York"}
NEW = {"If-None-Match": "*"}
TIMES = 5


def notice(serial: str) -> dict[str, Any]:
    lines = [{"product": GTIN, "serials": [serial]}]
    return {"supplier": "acme", "site": "north", "lines": lines}


async def both(
    site: "Site", method: str, path: str, *bodies: Any, **more: Any
) -> list[httpx.Response]:
    """Their answers, the better one first."""
    asked = [site.ask(method, path, json=body, **more) for body in bodies]
    return sorted(await asyncio.gather(*asked), key=lambda answer: answer.status_code)


@pytest.mark.parametrize(
    ("path", "first", "second"),
    [
        ("/advance-notices/N-", notice("1"), notice("2")),
        ("/parties/p-", ADA, ADA | {"address": "2 Zyzzyva Road, York"}),
        ("/orders/SO-", {"purchaser": ADA}, {"purchaser": ADA, "deliver_by": "2030-01-01"}),
    ],
    ids=["notice", "party", "order"],
)
async def test_of_two_that_enter_the_same_new_thing_one_is_refused(
    site: "Site", path: str, first: Any, second: Any
) -> None:
    await site.start("api")
    for number in range(TIMES):
        one, other = await both(site, "PUT", f"{path}{number}", first, second, headers=NEW)
        assert (one.status_code, one.headers["etag"]) == (200, '"1"')
        assert (other.status_code, other.headers["etag"]) == (412, '"1"')
    kept = site.rows("SELECT DISTINCT old_version, new_version FROM audit")
    assert kept == [(0, 1)]


async def test_of_two_that_make_a_token_of_one_id_one_is_refused(site: "Site") -> None:
    said = await asyncio.to_thread(make_person, site.settings, "admin-1", "admin", [])
    token = said.partition("Bearer ")[2].partition("\n")[0]
    await site.start("api", replace(site.settings, api_tokens="required"))
    shown = {"Authorization": f"Bearer {token}"}
    for number in range(TIMES):
        body = {"id": f"t-{number}", "role": "read"}
        one, other = await both(site, "POST", "/tokens", body, body, headers=shown)
        assert (one.status_code, other.status_code) == (201, 409), other.text


async def test_orders_that_name_the_same_parties_crosswise_do_not_wait_for_each_other(
    site: "Site",
) -> None:
    await site.start("api")
    for number in range(TIMES):
        told = ADA | {"address": f"{number} Zyzzyva Road"}
        orders = [
            {"purchaser": told | {"id": "p-1"}, "ship_to": told | {"id": "p-2"}},
            {"purchaser": told | {"id": "p-2"}, "ship_to": told | {"id": "p-1"}},
        ]
        asked = [site.ask("PUT", f"/orders/{n}", json=each) for n, each in enumerate(orders)]
        assert [answer.status_code for answer in await asyncio.gather(*asked)] == [200, 200]


async def test_a_party_that_an_order_changes_is_in_the_audit_too(site: "Site") -> None:
    await site.start("api")
    purchaser = ADA | {"id": "p-1"}
    for address in ("1 Zyzzyva Road", "1 Zyzzyva Road", "2 Zyzzyva Road"):
        body = {"purchaser": purchaser | {"address": address}}
        answer = await site.ask("PUT", "/orders/SO-1", json=body)
        assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == '"3"'  # the order's
    rows = "SELECT entity, reference, old_version, new_version FROM audit ORDER BY number"
    assert site.rows(rows) == [
        ("order", "SO-1", 0, 1),
        ("party", "p-1", 0, 1),
        ("order", "SO-1", 1, 2),  # the party stayed as it was
        ("order", "SO-1", 2, 3),
        ("party", "p-1", 1, 2),
    ]
