"""Orders out of a CSV file, over the API."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from integration.conftest import GTIN
from scantrail.contracts.topics import Topic

if TYPE_CHECKING:
    from integration.conftest import Site

HEAD = "order,purchaser,name,address,product,quantity,ordered_at,deliver_by\n"
FILE = HEAD + (
    f'SO-1,,Ada Byron,"1 Dock Road, York",{GTIN},2,2026-03-02T10:00:00+01:00,2026-04-01\n'
    "SO-1,,,,PUMP-7,3,,\n"
    "\n"
    "SO/2,p-7,Bo Lee,2 Hill,,,2026-03-03,\n"
)


async def send(site: "Site", text: str, status: int = 200, **more: Any) -> Any:
    headers = {"Content-Type": "text/csv"} | more.pop("headers", {})
    answer = await site.ask("POST", "/orders", content=text.encode(), headers=headers, **more)
    assert answer.status_code == status, answer.text
    return answer.json()


async def got(site: "Site", path: str) -> Any:
    answer = await site.ask("GET", path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_orders_come_by_a_file_and_again_only_where_that_is_said(site: "Site") -> None:
    await site.start("api")
    await site.ask("PUT", "/sites/north", json={"time_zone": "Europe/Berlin"})
    told = await send(site, FILE, headers={"Idempotency-Key": "a"})
    assert told == {"new": 2, "changed": 0, "lines": 2, "published": True}
    assert await send(site, FILE, headers={"Idempotency-Key": "a"}) == told
    first = await got(site, "/orders/SO-1")
    assert first["purchaser"] == {
        "id": "order SO-1",
        "name": "Ada Byron",
        "address": "1 Dock Road, York",
    }
    assert first["lines"] == [
        {"product": GTIN, "quantity": 2},
        {"product": "PUMP-7", "quantity": 3},
    ]
    assert (first["ordered_at"], first["deliver_by"]) == ("2026-03-02T09:00:00Z", "2026-04-01")
    second = await got(site, "/orders/SO/2")
    assert (second["purchaser"]["id"], second["lines"]) == ("p-7", [])
    assert second["ordered_at"] == "2026-03-02T23:00:00Z"  # where that day began

    # what the file cannot say stays as it was
    ship_to = {"name": "Cy", "address": "3 Quay"}
    whole = {"purchaser": {"id": "p-7"}, "ship_to": ship_to, "deliver_by": "2026-05-01"}
    assert (await site.ask("PUT", "/orders/SO-1", json=whole)).status_code == 200
    again = "order,purchaser,product,quantity\nSO-1,p-7,PUMP-7,9\nSO-3,p-7,,\n"
    problem = await send(site, again, 409)
    assert (problem["field"], [each["line"] for each in problem["lines"]]) == ("order", [2])
    assert "order SO-1 exists: send the file with existing=replace" in problem["detail"]
    assert (await site.ask("GET", "/orders/SO-3")).status_code == 404
    told = await send(site, again, params={"existing": "replace"})
    assert (told["new"], told["changed"], told["lines"]) == (1, 1, 1)
    now = await got(site, "/orders/SO-1")
    assert (now["version"], now["lines"]) == (3, [{"product": "PUMP-7", "quantity": 9}])
    assert (now["ship_to"]["name"], now["deliver_by"]) == ("Cy", "2026-05-01")
    assert now["ordered_at"] == first["ordered_at"]
    records = await (await site.log(Topic.ORDERS)).until(5)
    told = [msgspec.json.decode(record.value) for record in records if record.key == b"SO-1"]
    assert [each["version"] for each in told] == [1, 2, 3]
    assert all(name not in record.value for record in records for name in (b"Ada", b"Bo Lee"))
    rows = "SELECT reference, old_version, new_version FROM audit WHERE entity = 'order'"
    assert sorted(site.rows(rows)) == [
        ("SO-1", 0, 1),
        ("SO-1", 1, 2),
        ("SO-1", 2, 3),
        ("SO-3", 0, 1),
        ("SO/2", 0, 1),
    ]
    assert (await got(site, "/audit/verify"))["verifies"]


#: A wrong line, its number, the field, and what is told of it.
WRONG = [
    (",,A,B,,,,", 2, "order", "give the order's reference"),
    ("SO-1,,A,B,P,,,", 2, "quantity", "give product and quantity, or neither of them"),
    ("SO-1,,A,B,P,0,,", 2, "quantity", "give 1 or more"),
    ("SO-1,,A,B,P,x,,", 2, "quantity", "give a whole number"),
    ("SO-1,,A,B,09506000134353,1,,", 2, "product", "should end in 2"),
    ("SO-1,,A,,,,,", 2, "address", "give name and address, or neither"),
    ("SO-1,,,B,,,,", 2, "name", "give name and address, or neither"),
    ("SO-1,,,,P,1,,", 2, "purchaser", "give name and address, or purchaser"),
    ("SO-1,no id,,,P,1,,", 2, "purchaser", "give 1 to 64 of"),
    ("SO-1,p-9,,,P,1,,", 2, "purchaser", "there is no party 'p-9'"),
    ("SO-1,,A,B,,,2026-13-01,", 2, "ordered_at", "give a day as 2026-03-31"),
    ("SO-1,,A,B,,,2026-03-01T10:00:00,", 2, "ordered_at", "a time with its zone"),
    ("SO-1,,A,B,,,1700-03-01,", 2, "ordered_at", "give a time from"),
    ("SO-1,,A,B,,,,soon", 2, "deliver_by", "give a day as 2026-03-31"),
    ("SO-1,,A,B,,,,\nSO-1,,C,B,,,,", 3, "name", "order SO-1 has another name by a line before"),
    (f"SO-1,,A,{'b' * 1001},,,,", 2, "address", "at most 1000 characters"),
    ("SO-1,,A,B", 2, "", "4 fields, and the first line names 8"),
]


async def test_a_wrong_line_is_told_and_nothing_is_entered(site: "Site") -> None:
    await site.start("api")
    for lines, line, field, detail in WRONG:
        problem = await send(site, f"{HEAD}{lines}\nSO-5,,Ada,1 Dock Road,,,,\n", 400)
        assert (problem["field"], problem["lines"][0]["line"]) == (field, line), lines
        assert detail in problem["lines"][0]["detail"], lines
        assert "nothing was entered" in problem["detail"]
    assert site.rows("SELECT ref FROM sales_order") == []


async def test_what_is_no_such_file_and_what_may_not_be_changed_so_is_refused(
    site: "Site",
) -> None:
    running = await site.start("api")
    assert "unknown column 'ref'" in (await send(site, "ref,name\n", 400))["detail"]
    assert "the file has no order" in (await send(site, HEAD, 400))["detail"]
    many = HEAD + "".join(f"S-{number},,A,B,,,,\n" for number in range(1001))
    assert "give at most 1000" in (await send(site, many, 400))["detail"]
    one = HEAD + "SO-1,p-1,Ada,1 Dock Road,,,,\n"
    problem = await send(site, one, 400, headers={"If-Match": '"1"'})
    assert problem["field"] == "If-Match"
    assert (await send(site, one, 400, params={"existing": "x"}))["status"] == 400
    await send(site, one)
    erased = await site.ask("DELETE", "/parties/p-1/personal-data")
    assert erased.status_code == 200, erased.text
    problem = await send(site, one.replace("SO-1", "SO-2"), 409)
    assert (problem["title"], problem["lines"][0]["line"]) == ("Erased", 2)
    await site.stop(running)
    await site.start("api", replace(site.settings, api_versions="required"))
    other = HEAD + "SO-1,,Bo,2 Hill,,,,\n"
    problem = await send(site, other, 428, params={"existing": "replace"})
    assert problem["field"] == "If-Match"
    assert (await send(site, other.replace("SO-1", "SO-7")))["new"] == 1
