"""What cannot be meant, as it is sent to the api: refused by its field, and it breaks nothing."""

from typing import TYPE_CHECKING, Any

import pytest

from integration.conftest import GTIN
from scantrail.api.paging import cursor_behind

if TYPE_CHECKING:
    from integration.conftest import Site

ADA = {"name": "Ada Byron-Quux", "address": "1 Zyzzyva Road, York"}
NOTICE = {"supplier": "acme", "site": "north", "lines": [{"product": GTIN, "serials": ["1"]}]}
#: PostgreSQL keeps them, and nobody can read them from there: they are of the years 0 and 10000.
BEYOND = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")


async def bad_field(site: "Site", method: str, path: str, **more: Any) -> str:
    answer = await site.ask(method, path, **more)
    assert answer.status_code == 400, (answer.status_code, answer.text)
    return str(answer.json()["field"])


@pytest.mark.parametrize("at", BEYOND)
async def test_times_beyond_the_calendar_are_refused_wherever_they_are_told(
    site: "Site", at: str
) -> None:
    await site.start("api")
    order = {"purchaser": ADA, "ordered_at": at}
    assert await bad_field(site, "PUT", "/orders/SO-1", json=order) == "ordered_at"
    notice = NOTICE | {"since": at}
    assert await bad_field(site, "PUT", "/advance-notices/N-1", json=notice) == "since"
    asked = {"supplier": "acme", "site": "north", "since": at}
    csv = {"params": asked, "content": f"product,serial\n{GTIN},1\n"}
    assert await bad_field(site, "PUT", "/advance-notices/N-1/csv", **csv) == "since"
    stock = {"params": {"station": "stock", "at": at}, "content": f"product,serial\n{GTIN},1\n"}
    assert await bad_field(site, "POST", "/stock/b1/csv", **stock) == "at"
    unit = {"unit": site.unit("1"), "at": at}
    assert await bad_field(site, "POST", "/registrations", json=unit) == "at"
    assert await bad_field(site, "POST", "/orders/SO-1/delivered", json={"at": at}) == "at"
    mend = {"reason": "as the invoice says", "acquired_at": at}
    assert await bad_field(site, "POST", "/register/1/corrections", json=mend) == "acquired_at"
    for table in ("sales_order", "advance_notice", "party", "audit"):
        assert site.rows(f"SELECT count(*) FROM {table}") == [(0,)]


async def test_a_delivery_to_come_is_refused(site: "Site") -> None:
    await site.start("api")
    await site.ask("PUT", "/orders/SO-1", json={"purchaser": ADA})
    at = {"at": "2900-01-01T00:00:00Z"}
    assert await bad_field(site, "POST", "/orders/SO-1/delivered", json=at) == "at"


@pytest.mark.parametrize(
    ("path", "name"),
    [("/alerts/x", "history"), ("/register", "lines"), ("/audit", "audit")],
)
async def test_a_cursor_of_a_numbered_list_is_a_number(site: "Site", path: str, name: str) -> None:
    await site.start("api")
    for key in ("abc", "-1", "1.5", "²", "9" * 19):
        asked = {"cursor": cursor_behind(name, key)}
        assert await bad_field(site, "GET", path, params=asked) == "cursor"


@pytest.mark.parametrize("kit", ["a\0b", "a\tb", "k" * 201], ids=["nul", "tab", "long"])
async def test_the_kit_of_a_csv_is_a_short_text(site: "Site", kit: str) -> None:
    await site.start("api")
    asked = {"supplier": "acme", "site": "north"}
    csv = {"params": asked, "content": f"product,serial,kit\n{GTIN},1,{kit}\n"}
    assert await bad_field(site, "PUT", "/advance-notices/N-1/csv", **csv) == "kit"


async def test_a_timeout_within_a_copy_is_no_mistake_of_ours(site: "Site") -> None:
    await site.start("api")
    site.execute(
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'timeout' USING ERRCODE = 'query_canceled'; END $$"
    )
    site.execute("CREATE TRIGGER late BEFORE INSERT ON advance_notice_unit EXECUTE FUNCTION late()")
    answer = await site.ask("PUT", "/advance-notices/N-1", json=NOTICE)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert site.rows("SELECT count(*) FROM advance_notice") == [(0,)]


async def test_a_webhook_s_host_has_a_name_that_hosts_can_have(site: "Site") -> None:
    await site.start("api")
    for url in ("http://xn--a/alerts", "https://.example.com/alerts"):
        assert await bad_field(site, "PUT", "/webhooks/w-1", json={"url": url}) == "url"
