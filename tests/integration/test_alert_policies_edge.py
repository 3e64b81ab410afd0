"""How urgent alerts are here, decided over the API while the alerter and the projector run."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reads import rejected_read
from scantrail.contracts.records import alerts, encode
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import Alert, AlertKind, AlertStatus
from scantrail.domain.recall import Recall, Selector
from scantrail.domain.vocabulary import BusinessStep

if TYPE_CHECKING:
    from integration.conftest import Site

CLONES = "/alert-policies/duplicate_serial"
OUT: dict[str, Any] = {"business_step": BusinessStep.SHIPPING, "business_location": None}


async def ask(site: "Site", status: int, method: str, path: str, **more: Any) -> Any:
    answer = await site.ask(method, path, **more)
    assert answer.status_code == status, answer.text
    return answer.json()


async def decide(site: "Site", path: str, **policy: Any) -> Any:
    decided = await ask(site, 200, "PUT", path, json=policy)
    assert decided["published"]
    return decided


async def ship_twice(site: "Site", serial: str, at: str = "north") -> None:
    first, again = site.scan(serial, 0, **OUT), site.scan(serial, 20, station="gate-2", **OUT)
    for movement in site.movements(replace(first, site=at), replace(again, site=at)):
        await site.put_movement(movement, first.unit)


async def told(site: "Site", count: int) -> list[tuple[str, str]]:
    """(serial, severity) of each alert, once there are `count`."""
    records = await (await site.log(Topic.ALERTS)).until(count)
    found = [alerts.decode(record.value) for record in records]
    return [(str(alert.unit).rpartition(".")[2], alert.severity) for alert in found]


async def test_a_change_takes_effect_while_the_alerter_runs(site: "Site") -> None:
    await site.start("alerter")
    await site.start("api")
    await ship_twice(site, "1")
    assert await told(site, 1) == [("1", "warning")]
    await decide(site, CLONES, severity="off", exceptions=[{"severity": "info", "site": "south"}])
    await ship_twice(site, "2")
    await ship_twice(site, "3", at="south")
    assert (await told(site, 2))[1:] == [("3", "info")]
    await decide(
        site, CLONES, severity="critical", exceptions=[{"severity": "info", "product": "PUMP-7"}]
    )
    await ship_twice(site, "4")
    await decide(site, CLONES)
    await ship_twice(site, "5")
    assert (await told(site, 4))[2:] == [("4", "critical"), ("5", "warning")]


async def test_a_policy_is_known_to_an_alerter_that_starts_later(site: "Site") -> None:
    await site.start("api")
    await decide(site, CLONES, severity="off")
    await ship_twice(site, "1")
    scan = site.scan("2", **OUT)
    notice = Recall(
        id="R-1",
        title="Battery",
        reason="may overheat",
        selectors=(Selector(kind="list", serials=("2",)),),
    )
    await site.publish(Topic.RECALLS, "R-1", encode(notice))
    # whoever wrote this: a recall is told all the same
    value = b'{"id": "recalled_at_shipping", "severity": "off"}'
    await site.publish(Topic.ALERT_POLICIES, "recalled_at_shipping", value)
    await site.start("alerter")
    (movement,) = site.movements(scan)
    for partition in range(site.settings.partitions):
        await site.put_movement(movement, scan.unit, partition=partition)
    assert set(await told(site, site.settings.partitions)) == {("2", "warning")}


async def test_a_decision_is_kept_listed_audited_and_of_a_version(site: "Site") -> None:
    await site.start("api")
    none = await ask(site, 200, "GET", CLONES)
    assert (none["severity"], none["version"], none["default"], none["can_be_off"]) == (
        None,
        0,
        "warning",
        True,
    )
    exceptions = [{"severity": "off", "product": "9506000134352", "site": "outlet"}]
    first = await decide(site, CLONES, severity="info", exceptions=exceptions)
    again = await ask(site, 200, "GET", CLONES)
    assert first == again
    assert again["exceptions"] == [
        {"severity": "off", "product": "09506000134352", "site": "outlet"}
    ]
    stale = {"json": {}, "headers": {"If-Match": '"7"'}}
    assert (await ask(site, 412, "PUT", CLONES, **stale))["version"] == 1
    listed = (await ask(site, 200, "GET", "/alert-policies"))["alert_policies"]
    assert [each["id"] for each in listed] == sorted(AlertKind)
    assert [each for each in listed if each["version"]] == [again]
    assert [each["id"] for each in listed if not each["can_be_off"]] == [
        "held_at_shipping",
        "recall_undecided",
        "recalled_already_shipped",
        "recalled_at_shipping",
    ]
    page = await ask(site, 200, "GET", "/alert-policies?limit=1")
    rest = await ask(site, 200, "GET", f"/alert-policies?cursor={page['next']}")
    assert page["alert_policies"] + rest["alert_policies"] == listed
    (row,) = (await ask(site, 200, "GET", "/audit?entity=alert_policy"))["audit"]
    assert (row["reference"], row["old_version"], row["new_version"]) == ("duplicate_serial", 0, 1)


async def test_what_cannot_be_decided_names_its_field(site: "Site") -> None:
    await site.start("api")
    recalled = "/alert-policies/recalled_at_shipping"
    off = {"severity": "off"}
    for path, body, field in (
        (recalled, off, "severity"),
        (recalled, {"severity": "info"}, "severity"),
        (recalled, {"exceptions": [{**off, "site": "x"}]}, "exceptions[0].severity"),
        (CLONES, {"severity": "loud"}, "severity"),
        (CLONES, {"exceptions": [off]}, "exceptions[0]"),
        (CLONES, {"exceptions": [{**off, "site": "not a site"}]}, "exceptions[0].site"),
        (CLONES, {"exceptions": [{**off, "product": ""}]}, "exceptions[0].product"),
    ):
        problem = await ask(site, 400, "PUT", path, json=body)
        assert problem["field"] == field, problem
    for method in ("GET", "PUT"):
        problem = await ask(site, 404, method, "/alert-policies/coffee_is_out", json=off)
        assert "duplicate_serial" in problem["detail"]
    assert site.rows("SELECT count(*) FROM alert_policy") == [(0,)]


async def test_an_alert_keeps_the_severity_with_which_it_was_raised(site: "Site") -> None:
    await site.start("projector")
    await site.start("api")

    async def tell(number: int, severity: str, told_by: str, status: str = "raised") -> None:
        scan = site.scan("1")
        alert = Alert(
            id=f"{number:032x}",
            kind=AlertKind.DUPLICATE_SERIAL,
            severity=severity,
            status=AlertStatus(status),
            unit=scan.unit,
            event_id=f"e-{number}",
            event_time=scan.event_time,
            text="was seen twice",
            told_by=told_by,
        )
        await site.publish(Topic.ALERTS, alert.id, encode(alert))

    await tell(1, "warning", "e-1")
    await tell(1, "critical", "e-2")
    await tell(1, "warning", "e-3", "withdrawn")
    await tell(1, "info", "e-4")
    await tell(2, "warning", "e-5", "withdrawn")  # its kind was off: it was never raised
    await tell(3, "info", "e-6")
    history = ["raised", "repeated", "withdrawn", "raised_again"]

    async def listed() -> Any:
        found = (await ask(site, 200, "GET", "/alerts"))["alerts"]
        if len(found) < 2:
            return None
        first = await ask(site, 200, "GET", f"/alerts/{1:032x}?repeats=true")
        steps = [event["step"] for event in first["history"]]
        return found if steps == history else None

    found = await site.until(listed)
    assert [(each["id"][-1], each["severity"], each["status"]) for each in found] == [
        ("1", "warning", "open"),
        ("3", "info", "open"),
    ]


async def test_a_read_without_its_serial_is_judged_by_the_policy_of_its_product(
    site: "Site",
) -> None:
    await site.start("alerter")
    await site.start("api")
    loud, quiet = "09506000134369", "09506000134376"
    for product in (loud, quiet):
        await ask(site, 200, "PUT", f"/products/{product}", json={"name": "Lamp"})
    exceptions = [
        {"severity": "critical", "product": loud},
        {"severity": "off", "product": quiet},
    ]
    await decide(site, "/alert-policies/serial_missing", exceptions=exceptions)
    for product in (quiet, loud):
        at = site.scan("1").event_time
        read = rejected_read(
            f"01{product}",
            at,
            event_id=f"r-{product}",
            station="dock-1",
            reason="serial_missing",
            of_product=product,
        )
        await site.publish(Topic.READS_REJECTED, "r", encode(read), partition=0)
    (record,) = await (await site.log(Topic.ALERTS)).until(1)
    raised = alerts.decode(record.value)
    assert (raised.document, raised.severity) == (f"product {loud}", "critical")
