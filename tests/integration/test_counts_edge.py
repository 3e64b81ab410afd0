"""Counts over the API, against what the projector wrote; and what a count is an alert of."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from scantrail.contracts.records import alerts
from scantrail.contracts.topics import Topic
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep

if TYPE_CHECKING:
    from integration.conftest import Site

HALL = {"site": "north", "location": "Hall A"}
ADDRESS = "/counts/2026-hall-a"


async def ok(site: "Site", method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def counted(site: "Site", serial: str, **more: Any) -> Scan:
    at = datetime.now(UTC) + timedelta(milliseconds=1)
    told = {
        "event_id": f"{serial}-{at.timestamp()}",
        "event_time": at,
        "record_time": at,
        "station": "count",
        "business_step": BusinessStep.CYCLE_COUNTING,
    }
    return site.scan(serial, **told | more)


async def project(site: "Site", **lives: list[Scan]) -> None:
    """The scans of each unit, in the order in which they came; all of them each time."""
    ids = [scan.event_id for life in lives.values() for scan in life]
    for life in lives.values():
        for movement in site.movements(*life):
            await site.put_movement(movement, life[0].unit)
    count = "SELECT count(*) FROM movement WHERE event_id = ANY(%s)"
    await site.until(lambda: site.rows(count, ids) == [(len(ids),)])


async def result(site: "Site", *statuses: str) -> dict[str, str]:
    told = await ok(site, "GET", ADDRESS, params={"status": statuses} if statuses else {})
    return {each["unit"].rpartition(".")[2]: each["status"] for each in told["units"]}


async def test_a_location_is_counted(site: "Site") -> None:
    for name in ("api", "projector", "alerter"):
        await site.start(name)
    lives = {serial: [site.scan(serial)] for serial in ("S1", "S2", "S3")}
    lives["S4"] = [site.scan("S4", business_location="Hall B")]
    lives["S5"] = [
        site.scan("S5"),
        site.scan("S5", 1, business_step=BusinessStep.SHIPPING, business_location=None),
    ]
    await project(site, **lives)
    begun = await ok(site, "PUT", ADDRESS, json=HALL)
    assert (begun["expected"], begun["closed_at"]) == (3, None)
    assert await ok(site, "PUT", ADDRESS, json=HALL) == begun
    assert await result(site) == {"S1": "missing", "S2": "missing", "S3": "missing"}
    lives["S1"].append(counted(site, "S1"))
    picked = {"station": "cart", "business_step": BusinessStep.PICKING, "business_location": "Cart"}
    lives["S2"].append(counted(site, "S2", **picked))
    lives["S4"].append(counted(site, "S4"))
    lives["S5"].append(counted(site, "S5"))
    lives["S3"].append(counted(site, "S3", business_location="Hall B"))  # another count's
    await project(site, **lives)
    every = await result(site, "found", "missing", "surplus", "left", "arrived")
    stands = {"S1": "found", "S2": "left", "S3": "missing", "S4": "surplus", "S5": "surplus"}
    assert every == stands
    (record,) = await (await site.log(Topic.ALERTS)).until(1)
    alert = alerts.decode(record.value)
    assert (alert.kind, alert.unit, alert.station) == ("counted_away", site.unit("S5"), "count")
    closed = await ok(site, "POST", f"{ADDRESS}/close")
    counts = {"found": 1, "missing": 1, "surplus": 2, "left": 1, "arrived": 0}
    assert closed["counts"] == counts
    lives["S1"].append(counted(site, "S1", **picked))
    lives["S3"].append(counted(site, "S3"))  # too late
    await project(site, **lives)
    assert await result(site, *counts) == stands
    assert await ok(site, "POST", f"{ADDRESS}/close") == closed
    page = await ok(site, "GET", ADDRESS, params={"limit": 2})
    assert [each["status"] for each in page["units"]] == ["missing", "surplus"]
    rest = await ok(site, "GET", ADDRESS, params={"limit": 2, "cursor": page["next"]})
    assert ([each["unit"] for each in rest["units"]], rest["next"]) == ([site.unit("S5")], None)
    phase = "SELECT phase FROM unit WHERE unit = %s"
    assert site.rows(phase, site.unit("S5")) == [("shipped",)]


async def test_a_count_that_is_there_is_of_its_location(site: "Site") -> None:
    await site.start("api")
    await ok(site, "PUT", ADDRESS, json=HALL)
    answer = await site.ask("PUT", ADDRESS, json=HALL | {"location": "Hall B"})
    assert (answer.status_code, answer.json()["field"]) == (409, "id")
    for body, field in (
        ({"site": "?", "location": "x"}, "site"),
        (HALL | {"location": ""}, "location"),
    ):
        answer = await site.ask("PUT", "/counts/other", json=body)
        assert (answer.status_code, answer.json()["field"]) == (400, field)
    listed = await ok(site, "GET", "/counts")
    assert [each["id"] for each in listed["counts"]] == ["2026-hall-a"]
    for method, path in (("GET", ""), ("POST", "/close")):
        assert (await site.ask(method, f"/counts/none{path}")).status_code == 404


async def test_a_scan_of_a_device_whose_clock_is_off_counts(site: "Site") -> None:
    await site.start("api")
    await site.start("projector")
    lives = {serial: [site.scan(serial)] for serial in ("S1", "S2")}
    await project(site, **lives)
    await ok(site, "PUT", ADDRESS, json=HALL)
    now = datetime.now(UTC) + timedelta(milliseconds=1)
    slow = {"event_time": now - timedelta(minutes=3), "record_time": now}
    lives["S1"].append(counted(site, "S1", **slow))
    lost = {"event_time": now - timedelta(days=40), "clock_skew_s": -40 * 86_400.0}
    lives["S2"].append(counted(site, "S2", record_time=now, **lost))
    await project(site, **lives)
    assert await result(site, "found", "missing") == {"S1": "found", "S2": "found"}


async def test_a_count_that_is_closed_once_more_has_what_came_late(site: "Site") -> None:
    await site.start("api")
    await site.start("projector")
    lives = {serial: [site.scan(serial)] for serial in ("S1", "S2")}
    await project(site, **lives)
    await ok(site, "PUT", ADDRESS, json=HALL)
    in_time = counted(site, "S1")
    await site.until(lambda: datetime.now(UTC) > in_time.record_time)
    closed = await site.ask("POST", f"{ADDRESS}/close")
    assert (closed.json()["counts"]["missing"], closed.headers["etag"]) == (2, '"2"')
    lives["S1"].append(in_time)
    lives["S2"].append(counted(site, "S2"))  # made after its end
    await project(site, **lives)
    assert await result(site) == {"S1": "missing", "S2": "missing"}
    again = await site.ask("POST", f"{ADDRESS}/close", headers={"If-Match": '"2"'})
    assert (again.json()["counts"]["found"], again.headers["etag"]) == (1, '"3"')
    assert again.json()["closed_at"] == closed.json()["closed_at"]
    assert await result(site) == {"S2": "missing"}
    same = await site.ask("POST", f"{ADDRESS}/close")
    assert (same.json(), same.headers["etag"]) == (again.json(), '"3"')


async def test_a_unit_that_becomes_another_s_during_a_count_is_counted_once(site: "Site") -> None:
    await site.start("api")
    await site.start("projector")
    lives = {"S1": [site.scan("S1")], "S2": [site.scan("S2", business_location="Hall B")]}
    await project(site, **lives)
    await ok(site, "PUT", ADDRESS, json=HALL)
    lives["S2"].append(counted(site, "S2"))
    await project(site, **lives)
    site.execute("UPDATE unit SET joined = %s WHERE unit = %s", site.unit("S2"), site.unit("S1"))
    every = ("found", "missing", "surplus", "left", "arrived")
    assert await result(site, *every) == {"S2": "found"}
    await ok(site, "POST", f"{ADDRESS}/close")
    assert await result(site, *every) == {"S2": "found"}
    assert (await ok(site, "PUT", ADDRESS, json=HALL))["expected"] == 1
