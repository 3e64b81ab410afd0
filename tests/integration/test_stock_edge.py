"""Opening stock over the API and by the command, through a real gateway."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from integration.conftest import GTIN, HOST, NOON
from scantrail.cli.stock import enter_stock
from scantrail.contracts.records import decode_scan
from scantrail.contracts.topics import Topic
from scantrail.domain.vocabulary import BusinessStep

if TYPE_CHECKING:
    from integration.conftest import Site

ASKED = {"station": "stock", "at": NOON.isoformat()}


async def begin(site: "Site") -> None:
    """An api and a gateway that knows the station where stock is entered."""
    await site.put_station(site.station("stock", business_step=BusinessStep.STOCK_TAKING))
    await site.put_station(site.station("dock-1"))
    for name in ("api", "projector", "gateway"):
        await site.start(name)


async def enter(site: "Site", csv: str, batch: str = "b1", **asked: str) -> Any:
    answer = await site.ask("POST", f"/stock/{batch}/csv", params=ASKED | asked, content=csv)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_stock_is_entered_once_and_what_is_wrong_is_told_by_its_line(site: "Site") -> None:
    await begin(site)
    seen = site.scan("S9", event_id="seen before")
    (movement,) = site.movements(seen)
    await site.put_movement(movement, seen.unit)
    await site.until(lambda: site.rows("SELECT * FROM unit"))
    csv = (
        "product,serial,code,location\n"
        f"{GTIN},S1,,Shelf 7\n"
        f",,{site.barcode('S2')},\n"
        f"{GTIN},S1,,Shelf 8\n"
        f"{GTIN},S9,,\n"
        f"{GTIN},é,,\n"
        ",S5,,\n"
        f"{GTIN},S6,{site.barcode('S6')},\n"
        f",,{GTIN},\n"
    )
    told = await enter(site, csv)
    assert (told["accepted"], told["already"]) == (2, 0)
    assert [(each["line"], each["field"]) for each in told["rejected"]] == [
        (4, ""),
        (5, ""),
        (6, "serial"),
        (7, "product"),
        (8, ""),
        (9, "code"),
    ]
    assert "line 2 already" in told["rejected"][0]["detail"]
    assert "known here already (on_site Hall A): leave it out" in told["rejected"][1]["detail"]
    records = await (await site.log(Topic.SCANS)).until(2)
    scans = {scan.unit: scan for scan in (decode_scan(r.key, r.value) for r in records)}
    assert scans.keys() == {site.unit("S1"), site.unit("S2")}
    first = scans[site.unit("S1")]
    assert (first.business_step, first.business_location) == ("stock_taking", "Shelf 7")
    for scan in scans.values():
        (movement,) = site.movements(scan)
        await site.put_movement(movement, scan.unit)
    await site.until(lambda: len(site.rows("SELECT * FROM unit")) == 3)
    again = await enter(site, csv)
    assert (again["accepted"], again["already"]) == (0, 2)
    other = await enter(site, csv, batch="b2")
    assert (other["accepted"], other["already"], len(other["rejected"])) == (0, 0, 8)


async def test_a_station_of_another_step_and_a_time_to_come_are_refused(site: "Site") -> None:
    await begin(site)
    csv = f"product,serial\n{GTIN},S1\n"
    told = await enter(site, csv, station="dock-1")
    assert told["accepted"] == 0
    (line,) = told["rejected"]
    assert (line["line"], "stock_taking" in line["detail"]) == (2, True)
    (line,) = (await enter(site, csv, station="nowhere"))["rejected"]
    assert "PUT /stations/nowhere" in line["detail"]
    later = (NOON + timedelta(days=1)).isoformat()
    for changes, field in (
        ({"at": later}, "at"),
        ({"at": "2026-03-01T12:00:00"}, "at"),
        ({"station": "?"}, "station"),
    ):
        answer = await site.ask("POST", "/stock/b1/csv", params=ASKED | changes, content=csv)
        assert (answer.status_code, answer.json()["field"]) == (400, field)
    answer = await site.ask("POST", "/stock/b1/csv", params=ASKED, content="shelf\n7\n")
    assert answer.status_code == 400


async def test_without_a_gateway_nothing_is_lost_for_the_file_is_sent_again(site: "Site") -> None:
    await site.start("api")
    csv = f"product,serial\n{GTIN},S1\n"
    answer = await site.ask("POST", "/stock/b1/csv", params=ASKED, content=csv)
    assert (answer.status_code, answer.json()["title"]) == (503, "Gateway away")


async def test_the_command_enters_a_file(site: "Site", tmp_path: Path, capsys: Any) -> None:
    await begin(site)
    file = tmp_path / "stock.csv"
    file.write_text(f"product,serial\n{GTIN},S1\n{GTIN},\n{GTIN},S2\n")
    os.utime(file, (NOON.timestamp(), NOON.timestamp()))

    def command() -> int:
        with httpx.Client(base_url=f"http://{HOST}:{site.settings.api_port}/") as api:
            return enter_stock(api, file, station="stock", batch=None, at=None, as_json=False)

    assert await asyncio.to_thread(command) == 1
    told = capsys.readouterr().out
    assert "2 units taken, 0 had been before" in told
    assert "line 3: give either code, or product and serial" in told
    records = await (await site.log(Topic.SCANS)).until(2)
    scan = decode_scan(records[0].key, records[0].value)
    assert (scan.event_time, scan.event_id.split("/")[1]) == (NOON, "stock.csv")


async def test_a_file_that_is_none_at_its_end_does_nothing(site: "Site") -> None:
    await begin(site)
    lines = "".join(f"{GTIN},S{n}\n" for n in range(4_000))
    content = f"product,serial\n{lines}".encode() + b"\xff\n"
    answer = await site.ask("POST", "/stock/b1/csv", params=ASKED, content=content)
    assert (answer.status_code, "not UTF-8" in answer.json()["detail"]) == (400, True)
    assert await (await site.log(Topic.SCANS)).records() == []
    many = await site.ask(
        "POST", "/stock/b1/csv", params=ASKED, content="product\n" + "\n" * 100_001
    )
    assert "split it" in many.json()["detail"]


async def test_a_thousand_lines_of_the_longest_words_are_taken(site: "Site") -> None:
    await begin(site)
    words = f"{chr(0x20000) * 200},{chr(0x20000) * 64}"  # of four bytes each
    lines = "".join(f"{GTIN},S{n},{words}\n" for n in range(1000))
    told = await enter(site, f"product,serial,location,lot\n{lines}", batch="b" * 64)
    assert (told["accepted"], told["rejected"]) == (1000, [])


async def test_files_at_once_leave_connections_to_others(site: "Site") -> None:
    await begin(site)
    files = [enter(site, f"product,serial\n{GTIN},S{n}\n", batch=f"b{n}") for n in range(16)]
    told = await asyncio.gather(*files)
    assert [each["accepted"] for each in told] == [1] * 16
