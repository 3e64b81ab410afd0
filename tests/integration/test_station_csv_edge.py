"""Stations out of a CSV file, over the API, and back into one."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from integration.test_changes_edge import person
from scantrail.contracts.records import stations
from scantrail.contracts.topics import Topic

if TYPE_CHECKING:
    from integration.conftest import Site

HEAD = "id,site,business_step,name,read_point,business_location,possessing_party,repeat_window_s\n"
FILE = HEAD + (
    "dock-1,north,receiving,Dock 1,,Dock 1,,\n"
    '\nshelf-1,north,storing,,door,"Hall A, aisle 4",acme,2.5\n'
)


async def send(site: "Site", text: str, status: int = 200, **more: Any) -> Any:
    headers = {"Content-Type": "text/csv"} | more.pop("headers", {})
    answer = await site.ask("POST", "/stations", content=text.encode(), headers=headers, **more)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_stations_come_by_a_file_and_go_out_as_they_can_come_again(site: "Site") -> None:
    await site.start("api")
    told = await send(site, FILE, headers={"Idempotency-Key": "a"})
    assert told == {"new": 2, "changed": 0, "published": True}
    assert await send(site, FILE, headers={"Idempotency-Key": "a"}) == told
    shelf = (await site.ask("GET", "/stations/shelf-1")).json()
    assert (shelf["business_location"], shelf["read_point"]) == ("Hall A, aisle 4", "door")
    assert (shelf["possessing_party"], shelf["repeat_window_s"]) == ("acme", 2.5)
    dock = (await site.ask("GET", "/stations/dock-1")).json()
    assert (dock["read_point"], dock["repeat_window_s"]) == ("dock-1", 10)

    problem = await send(site, HEAD + "dock-2,north,storing,,,,,\ndock-1,north,storing,,,,,\n", 409)
    assert [each["line"] for each in problem["lines"]] == [3]
    assert "station dock-1 exists: send the file with existing=replace" in problem["detail"]
    assert (await site.ask("GET", "/stations/dock-2")).status_code == 404

    odd = {"site": "south", "business_step": "packing", "name": "=1+1"}
    assert (await site.ask("PUT", "/stations/odd", json=odd)).status_code == 200
    every = await site.ask("GET", "/page/stations.csv")
    assert "'=1+1" in every.text
    told = await send(site, every.text, params={"existing": "replace"})
    assert (told["new"], told["changed"]) == (0, 3)
    again = (await site.ask("GET", "/stations/odd")).json()
    assert (again["name"], again["version"]) == ("=1+1", 2)
    assert (await site.ask("GET", "/stations/shelf-1")).json() == shelf | {"version": 2}
    south = (await site.ask("GET", "/page/stations.csv", params={"site": "south"})).text
    assert [line.split(",")[0] for line in south.splitlines()] == ["id", "odd"]

    records = await (await site.log(Topic.STATIONS)).until(6)
    versions = [stations.decode(each.value).version for each in records if each.key == b"shelf-1"]
    assert versions == [1, 2]
    rows = "SELECT reference, old_version, new_version FROM audit WHERE reference = 'shelf-1'"
    assert sorted(site.rows(rows)) == [("shelf-1", 0, 1), ("shelf-1", 1, 2)]


#: A wrong line, the field, and what is told of it.
WRONG = [
    (",north,storing,,,,,", "id", "is missing"),
    ("-s,north,storing,,,,,", "id", "letter or a digit"),
    ("s,,storing,,,,,", "site", "is missing"),
    ("s,a b,storing,,,,,", "site", "letter or a digit"),
    ("s,north,,,,,,", "business_step", "is missing"),
    ("s,north,flying,,,,,", "business_step", "give one of commissioning, receiving"),
    (f"s,north,storing,{'n' * 201},,,,", "name", "at most 200"),
    ("s,north,storing,,,,,-1", "repeat_window_s", "give seconds from 0 to 86400"),
    ("s,north,storing,,,,,nan", "repeat_window_s", "give seconds from 0 to 86400"),
    ("s,north,storing,,,,,soon", "repeat_window_s", "give seconds from 0 to 86400"),
    ("s,north", "", "2 fields, and the first line names 8"),
]


async def test_a_wrong_line_is_told_and_nothing_is_entered(site: "Site") -> None:
    running = await site.start("api")
    for line, field, detail in WRONG:
        problem = await send(site, f"{HEAD}{line}\nwell,north,storing,,,,,\n", 400)
        assert (problem["field"], problem["lines"][0]["line"]) == (field, 2), line
        assert detail in problem["lines"][0]["detail"], line
    twice = await send(site, FILE + "dock-1,north,storing,,,,,\n", 400)
    assert twice["lines"][0]["detail"] == "station dock-1 is on line 2 already: leave one out"
    assert "the file has no station" in (await send(site, HEAD, 400))["detail"]
    many = HEAD + "".join(f"s-{number},north,storing,,,,,\n" for number in range(1001))
    assert "give at most 1000" in (await send(site, many, 400))["detail"]
    assert site.rows("SELECT id FROM station") == []

    await send(site, FILE)
    await site.stop(running)
    await site.start("api", replace(site.settings, api_versions="required"))
    problem = await send(site, FILE, 428, params={"existing": "replace"})
    assert problem["field"] == "If-Match"
    assert site.rows("SELECT version FROM station") == [(1,), (1,)]


async def test_a_token_of_one_site_enters_no_station_of_another(site: "Site") -> None:
    headers = await person(site, "south-1", "admin", "south")
    await site.start("api", replace(site.settings, api_tokens="required"))
    await send(site, FILE, 403, headers=headers)
    await send(site, "id,site,business_step\ns,south,storing\n", headers=headers)
    assert site.rows("SELECT id FROM station") == [("s",)]
