"""How a recall takes effect, on a real broker and PostgreSQL.

Every recalled unit that went out has one alert, whichever of the two came first, and what is here
is held by what its scans do not show.
"""

import asyncio
import contextlib
import random
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from integration.processes import Process
from scantrail.contracts.records import alerts, encode, holds, recalls
from scantrail.contracts.topics import Topic
from scantrail.domain.hold import Clearance, Hold
from scantrail.domain.recall import Recall, RecallStatus, Selector
from scantrail.domain.vocabulary import BusinessStep
from scantrail.infra.failpoints import FAILPOINT

if TYPE_CHECKING:
    from integration.conftest import Running, Site

GTIN = "09506000134352"
OUT = {"business_step": BusinessStep.SHIPPING, "business_location": None}
CARTON = "sscc:106141411234567897"


def notice(*serials: str, **more: Any) -> dict[str, Any]:
    told = {
        "title": "Battery",
        "reason": "may overheat",
        "products": [GTIN],
        "selectors": [{"kind": "list", "serials": list(serials)}],
    }
    return told | more


def by_lot(*lots: str, **more: Any) -> Recall:
    return Recall(
        id="R-L",
        title="Cells",
        reason="may overheat",
        products=(GTIN,),
        selectors=(Selector(kind="lot", lots=lots),),
        **more,
    )


async def put(site: "Site", recall: Recall) -> None:
    """What the api does when a recall is entered."""
    site.execute(
        "INSERT INTO recall VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE"
        " SET version = excluded.version, document = excluded.document",
        recall.id,
        recall.version,
        msgspec.json.encode(recall).decode(),
    )
    await site.publish(Topic.RECALLS, recall.id, encode(recall))


async def enter(site: "Site", recall_id: str, body: dict[str, Any]) -> None:
    answer = await site.ask("PUT", f"/recalls/{recall_id}", json=body)
    assert answer.status_code == 200, answer.text


async def move(site: "Site", *scans: Any) -> None:
    """Publish what the tracker makes of these scans of one unit, which has none before."""
    for movement in site.movements(*scans):
        await site.put_movement(movement, scans[0].unit)


async def start(site: "Site", *names: str) -> "dict[str, Running]":
    return {name: await site.start(name) for name in names}


def judged() -> float:
    """How many movements alerters of this process have judged."""
    labels = {"process": "alerter", "result": "judged"}
    return REGISTRY.get_sample_value("scantrail_scans_processed_total", labels) or 0.0


async def swept(site: "Site", recall_id: str, version: int = 1) -> None:
    query = "SELECT 1 FROM recall_sweep WHERE recall = %s AND version = %s"
    await site.until(lambda: site.rows(query, recall_id, version) == [(1,)], 30.0)


async def raised(site: "Site") -> Counter[tuple[str, str, str]]:
    """How many alerts stand for each unit, event and recall: by their ids."""
    found = {}
    for record in await (await site.log(Topic.ALERTS)).records():
        alert = alerts.decode(record.value)
        found[alert.id] = alert
    return Counter(
        (alert.unit, alert.event_id, alert.recall or "")
        for alert in found.values()
        if alert.status == "raised" and alert.unit is not None
    )


async def held(site: "Site", key: str) -> list[tuple[str, str | None]]:
    """The reasons on the topic, each with its recall."""
    last = None
    for record in await (await site.log(Topic.HOLDS)).records():
        if record.key.decode() == key:
            last = record.value
    return [] if last is None else [(r.id, r.recall) for r in holds.decode(last).reasons]


async def cleared(site: "Site", key: str) -> list[tuple[str, int | None]]:
    last = None
    for record in await (await site.log(Topic.HOLDS)).records():
        if record.key.decode() == key:
            last = record.value
    return [] if last is None else [(c.recall, c.version) for c in holds.decode(last).cleared]


async def until_held(site: "Site", key: str, expected: list[tuple[str, str | None]]) -> None:
    async def is_so() -> bool:
        return await held(site, key) == expected

    await site.until(is_so)


async def until_raised(site: "Site", expected: dict[tuple[str, str, str], int]) -> None:
    async def is_so() -> bool:
        return dict(await raised(site)) == expected

    await site.until(is_so)


async def test_what_went_out_before_is_found_once_and_what_is_here_is_not_told(
    site: "Site",
) -> None:
    await start(site, "alerter", "projector", "api")
    before = judged()
    unit = site.unit
    await move(site, site.scan("out", 0), site.scan("out", 5, event_id="left", **OUT))
    await move(site, site.scan("here", 0))
    await move(site, site.scan("other", 0), site.scan("other", 5, **OUT))
    staged = {"business_step": BusinessStep.STAGING_OUTBOUND}
    departing = {"business_step": BusinessStep.DEPARTING, "business_location": None}
    await move(
        site,
        site.scan("twice", 0, event_id="staged", **staged),
        site.scan("twice", 5, event_id="shipped", **OUT),
        site.scan("twice", 6, event_id="gone", **departing),
    )
    await move(
        site,
        site.scan("back", 0, **OUT),
        site.scan("back", 9, business_step=BusinessStep.RETURNING),
    )
    # Or the alerter would tell of each of these visits by itself.
    await site.until(lambda: judged() == before + 10)
    await enter(site, "R-1", notice("out", "here", "twice", "back"))
    await swept(site, "R-1")
    await until_raised(site, {(unit("out"), "left", "R-1"): 1, (unit("twice"), "gone", "R-1"): 1})
    (record,) = [
        recalls.decode(each.value)
        for each in await (await site.log(Topic.RECALLS)).records()
        if recalls.decode(each.value).is_swept
    ]
    assert (record.id, record.version) == ("R-1", 1)
    assert await held(site, unit("here")) == []  # gateway and alerter see it by its code
    # From here on it is the alerter's, and nothing is told twice.
    await move(site, site.scan("here", 0), site.scan("here", 9, event_id="here-left", **OUT))
    await until_raised(
        site,
        {
            (unit("out"), "left", "R-1"): 1,
            (unit("twice"), "gone", "R-1"): 1,
            (unit("here"), "here-left", "R-1"): 1,
        },
    )
    await enter(site, "R-1", notice("out", "here", "twice"))  # looked at all again
    await swept(site, "R-1", 2)
    assert sum((await raised(site)).values()) == 3
    assert {row for row in site.rows("SELECT unit, repeats FROM alert")} == {
        (unit("out"), 0),
        (unit("twice"), 0),
        (unit("here"), 0),
    }


async def test_recalls_and_shippings_that_race_have_one_alert_for_each_unit(site: "Site") -> None:
    """Recalls are entered while their units go out: in either order, one alert for each."""
    await start(site, "alerter", "projector", "api")
    random_ = random.Random(4711)
    pairs = 300
    received = [site.scan(f"{number}", 0) for number in range(pairs)]
    out = [site.scan(f"{number}", 5, event_id=f"out-{number}", **OUT) for number in range(pairs)]
    made = [site.movements(*both) for both in zip(received, out, strict=True)]
    await site.publish_all(
        Topic.MOVEMENTS, [(scan.unit, made[n][0]) for n, scan in enumerate(received)]
    )

    async def ship() -> None:
        for number in random_.sample(range(pairs), pairs):
            await site.put_movement(made[number][1], out[number].unit)
            await asyncio.sleep(random_.random() * 0.02)

    async def recall() -> None:
        numbers = random_.sample(range(pairs), pairs)
        for first in range(0, pairs, 6):
            some = numbers[first : first + 6]
            await enter(site, f"R-{first}", notice(*(f"{number}" for number in some)))
            for number in some:
                expected[(site.unit(f"{number}"), f"out-{number}", f"R-{first}")] = 1

    expected: dict[tuple[str, str, str], int] = {}
    await asyncio.gather(ship(), recall())
    await site.until(lambda: site.rows("SELECT count(*) FROM recall_sweep") == [(pairs // 6,)], 60)

    async def all_raised() -> bool:
        return len(await raised(site)) >= pairs

    await site.until(all_raised, 30.0)
    assert dict(await raised(site)) == expected
    await site.until(lambda: site.rows("SELECT count(*) FROM alert") == [(pairs,)])
    kinds = {kind for (kind,) in site.rows("SELECT DISTINCT kind FROM alert")}
    assert kinds == {"recalled_at_shipping", "recalled_already_shipped"}


# ------------------------------------------------------------------------------ by lot and day


async def verdict(site: "Site", serial: str) -> tuple[str, str]:
    question = {"station": "gate", "read": site.barcode(serial)}
    answer = await site.http.post(f"{site.settings.gateway_url}/verdict/v1", json=question)
    assert answer.status_code == 200, answer.text
    return answer.json()["verdict"], answer.json()["reason"]


async def until_verdicts(site: "Site", expected: dict[str, tuple[str, str]]) -> None:
    async def are_so() -> bool:
        return {serial: await verdict(site, serial) for serial in expected} == expected

    await site.until(are_so)


RELEASED, HELD, OPEN = (
    ("release", "clear"),
    ("hold", "recalled"),
    ("hold", "recall_undecided"),
)


async def test_a_recall_by_lot_holds_what_it_means_and_what_nobody_knows_and_lets_the_rest_go(
    site: "Site",
) -> None:
    gate = site.station("gate", business_step=BusinessStep.SHIPPING, business_location=None)
    await site.put_station(gate)
    await start(site, "gateway", "projector", "api")
    unit = site.unit
    for serial, lot in (("one", "L1"), ("two", "L2"), ("none", None)):
        await move(site, site.scan(serial, 0, lot=lot))
        await move(
            site,
            site.scan(f"out-{serial}", 0, lot=lot),
            site.scan(f"out-{serial}", 5, event_id=f"left-{serial}", **OUT),
        )
    await until_verdicts(site, {"one": RELEASED, "two": RELEASED, "none": RELEASED})

    await put(site, by_lot("L1"))
    await until_verdicts(site, {"one": OPEN, "two": OPEN, "none": OPEN})
    await start(site, "alerter")
    await swept(site, "R-L")
    await until_verdicts(site, {"one": HELD, "two": RELEASED, "none": HELD})
    assert await held(site, unit("one")) == [("recall:R-L", "R-L")]
    assert await cleared(site, unit("two")) == [("R-L", 1)]
    await until_raised(site, {(unit("out-one"), "left-one", "R-L"): 1})

    # A person looks, and decides; what is told by now cannot be cleared.
    body = {"units": [site.barcode("none")], "note": "label shows L2"}
    answer = await site.ask("POST", "/recalls/R-L/cleared", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["units"] == [unit("none")]
    await until_verdicts(site, {"none": RELEASED})
    refused = await site.ask("POST", "/recalls/R-L/cleared", json=body | {"units": [unit("one")]})
    assert (refused.status_code, refused.json()["reason"]) == (409, "recalled")
    refused = await site.ask("POST", "/recalls/R-L/cleared", json=body | {"units": [unit("new")]})
    assert (refused.status_code, refused.json()["reason"]) == (409, "never_seen")
    refused = await site.ask("POST", "/recalls/R-0/cleared", json=body)
    assert refused.status_code == 404
    refused = await site.ask("POST", "/recalls/R-L/cleared", json=body | {"units": []})
    assert (refused.status_code, refused.json()["field"]) == (400, "units")
    assert site.rows("SELECT entity, reference FROM audit") == [
        ("recall_clearance", f"R-L {unit('none')}")
    ]

    # The other way round, by the notice's next version; a decision was for the one before.
    await put(site, by_lot("L2", version=2))
    await swept(site, "R-L", 2)
    await until_verdicts(site, {"one": RELEASED, "two": HELD, "none": HELD})
    await until_raised(site, {(unit("out-two"), "left-two", "R-L"): 1})
    await put(site, by_lot("L2", version=3, status=RecallStatus.CLOSED))
    await until_verdicts(site, {"one": RELEASED, "two": RELEASED, "none": RELEASED})

    async def is_let_go() -> bool:
        keys = [unit(serial) for serial in ("one", "two", "none")]
        return [(await held(site, key), await cleared(site, key)) for key in keys] == [([], [])] * 3

    await site.until(is_let_go)
    await until_raised(site, {(unit("out-two"), "left-two", "R-L"): 1})
    refused = await site.ask("POST", "/recalls/R-L/cleared", json=body)
    assert (refused.status_code, refused.json()["reason"]) == (409, "not_active")


async def test_units_that_change_after_the_sweep_are_looked_at_again(site: "Site") -> None:
    await start(site, "alerter", "projector", "api")
    unit = site.unit
    untold = site.movements(site.scan("later", 0), site.scan("later", 5, lot="L1"))
    await site.put_movement(untold[0], unit("later"))
    fine = site.movements(site.scan("fine", 0), site.scan("fine", 5, lot="L2"))
    await site.put_movement(fine[0], unit("fine"))
    await put(site, by_lot("L1"))
    await swept(site, "R-L")
    open_ = [("recall:R-L", "R-L")]
    await until_held(site, unit("later"), open_)
    await until_held(site, unit("fine"), open_)

    # The lot is told, by a scan that the recall does not mean as well as by one that it does.
    await site.put_movement(fine[1], unit("fine"))
    await site.put_movement(untold[1], unit("later"))
    await until_held(site, unit("fine"), [])
    assert await cleared(site, unit("fine")) == [("R-L", 1)]
    assert await held(site, unit("later")) == open_

    # Newly received, with its lot and without.
    await move(site, site.scan("new-1", 0, lot="L1"))
    await move(site, site.scan("new-2", 0, lot="L2"))
    await move(site, site.scan("new-3", 0))
    await until_held(site, unit("new-1"), open_)
    await until_held(site, unit("new-3"), open_)

    async def new_is_cleared() -> bool:
        return await cleared(site, unit("new-2")) == [("R-L", 1)]

    await site.until(new_is_cleared)

    # Shipped all the same: told once, by the scan; the shipping was none: withdrawn at the desk.
    left = site.scan("new-1", 9, event_id="left", **OUT)
    void = site.scan("new-1", 10, business_step=BusinessStep.VOID_SHIPPING)
    received = site.scan("new-1", 0, lot="L1")
    made = site.movements(received, left, void)
    await site.put_movement(made[1], unit("new-1"))
    await until_raised(site, {(unit("new-1"), "left", "R-L"): 1})
    await until_held(site, unit("new-1"), [])
    await site.put_movement(made[2], unit("new-1"))
    await until_held(site, unit("new-1"), open_)


async def test_what_the_desk_found_is_withdrawn_where_it_was_none_and_not_because_it_came_back(
    site: "Site",
) -> None:
    await start(site, "alerter", "projector", "api")
    before = judged()
    unit = site.unit
    back = site.movements(
        site.scan("back", 0, event_id="back-left", **OUT),
        site.scan("back", 9, business_step=BusinessStep.RETURNING),
    )
    voided = site.movements(
        site.scan("void", 0, event_id="void-left", **OUT),
        site.scan("void", 9, corrects="void-left", **OUT),
    )
    undone = site.movements(
        site.scan("undone", 0, event_id="undone-left", **OUT),
        site.scan("undone", 9, business_step=BusinessStep.VOID_SHIPPING),
    )
    every = {"back": back, "void": voided, "undone": undone}
    for serial, made in every.items():
        await site.put_movement(made[0], unit(serial))
    # Or the alerter would tell of each by itself, and what it tells a person decides.
    await site.until(lambda: judged() == before + 3)
    await enter(site, "R-1", notice(*every))
    await swept(site, "R-1")
    await until_raised(site, {(unit(each), f"{each}-left", "R-1"): 1 for each in every})
    for serial, made in every.items():
        await site.put_movement(made[1], unit(serial))
    await until_raised(site, {(unit("back"), "back-left", "R-1"): 1})
    await enter(site, "R-1", notice("void"))  # it does not mean the other any more
    await swept(site, "R-1", 2)
    await until_raised(site, {})


# ----------------------------------------------------------------------------------- what is inside


async def test_a_recalled_component_holds_its_parents_packed_before_or_after(site: "Site") -> None:
    await start(site, "alerter", "projector", "api")
    unit = site.unit
    assembled = {"business_step": BusinessStep.ASSEMBLING, "parent": unit("phone")}
    cell = site.movements(
        site.scan("cell", 0, **assembled),
        site.scan("cell", 30, business_step=BusinessStep.DISASSEMBLING),
    )
    await site.put_movement(cell[0], unit("cell"))
    packing = {"business_step": BusinessStep.PACKING, "parent": CARTON}
    phone = site.movements(site.scan("phone", 0), site.scan("phone", 10, **packing))
    await site.put_movement(phone[0], unit("phone"))
    await enter(site, "R-1", notice("cell"))
    await swept(site, "R-1")
    inside = [("inside:R-1", "R-1")]
    await until_held(site, unit("phone"), inside)
    assert await held(site, unit("cell")) == []

    await site.put_movement(phone[1], unit("phone"))  # packed after
    await until_held(site, CARTON, inside)
    # The carton was never scanned; onto a pallet it is.
    pallet = "sscc:106141411234567903"
    on_pallet = site.scan("carton", 12, unit=CARTON, **(packing | {"parent": pallet}))
    for movement in site.movements(on_pallet):
        await site.put_movement(movement, CARTON)
    await until_held(site, pallet, inside)

    await site.put_movement(cell[1], unit("cell"))  # taken out
    for key in (unit("phone"), CARTON, pallet):
        await until_held(site, key, [])
    # What is packed with a recalled unit from the start is held as soon as anybody knows.
    await move(site, site.scan("spare", 0))
    await enter(site, "R-2", notice("spare-2"))
    await swept(site, "R-2")
    await move(site, site.scan("spare-2", 5, **(packing | {"parent": unit("spare")})))
    await until_held(site, unit("spare"), [("inside:R-2", "R-2")])


async def test_a_scan_that_waited_while_its_product_came_to_fold_case_is_found(
    site: "Site",
) -> None:
    await start(site, "alerter", "projector", "api")
    before = judged()
    pumps = "sn:PUMP-7"
    packing = {"business_step": BusinessStep.PACKING, "parent": CARTON}
    # Read before, and on a gateway's spool meanwhile.
    late = [
        site.scan("1", 0, unit=f"{pumps}.ab1", event_id="left", **OUT),
        site.scan("2", 0, unit=f"{pumps}.Cd2", **packing),
        site.scan("3", 0, unit=f"{pumps}.ef3", event_id="other", **OUT),
        site.scan("4", 0, unit="sn:PUMP-8.ab1", event_id="as-it-is", **OUT),
        site.scan("5", 0, unit=f"{pumps}.dd4", event_id="mended", **OUT),
    ]
    answer = await site.ask("PUT", "/products/PUMP-7", json={"name": "Pump", "fold_case": True})
    assert answer.status_code == 200, answer.text
    for scan in late:
        await move(site, scan)
    await site.until(lambda: judged() == before + len(late))
    await enter(site, "R-1", notice("AB1", "CD2", products=["PUMP-7", "PUMP-8"]))
    await swept(site, "R-1")
    left = (f"{pumps}.ab1", "left", "R-1")
    await until_raised(site, {left: 1})
    await until_held(site, CARTON, [("inside:R-1", "R-1")])
    # Of a lot that nobody told it is held until a person decides, who names it as it was told.
    await enter(
        site, "R-L", notice(products=["PUMP-7"], selectors=[{"kind": "lot", "lots": ["L1"]}])
    )
    await swept(site, "R-L")
    await until_held(site, f"{pumps}.Cd2", [("recall:R-L", "R-L")])
    await until_held(site, CARTON, [("inside:R-1", "R-1"), ("inside:R-L", "R-L")])
    said = {"units": [f"{pumps}.Cd2"], "note": "label shows L2"}
    answer = await site.ask("POST", "/recalls/R-L/cleared", json=said)
    assert (answer.status_code, answer.json()["units"]) == (200, [f"{pumps}.Cd2"])
    await until_held(site, CARTON, [("inside:R-1", "R-1")])
    # That it was remedied is told of its capitals, as of what was scanned since.
    remedied = Hold(id=f"{pumps}.DD4", reasons=(), cleared=(Clearance(recall="R-1"),))
    told = msgspec.json.encode(remedied).decode()
    site.execute("INSERT INTO hold VALUES (%s, 1, %s)", remedied.id, told)
    await enter(site, "R-1", notice("AB1", "CD2", "DD4", "EF3", products=["PUMP-7"]))
    await swept(site, "R-1", 2)
    await until_raised(site, {left: 1, (f"{pumps}.ef3", "other", "R-1"): 1})


async def test_a_unit_that_was_judged_before_its_product_came_to_fold_case_is_found(
    site: "Site",
) -> None:
    """Nothing stood in the product's way: the scan was not yet written."""
    await start(site, "alerter", "api")
    projector = await site.start("projector")
    before = judged()
    await enter(site, "R-1", notice("AB1", products=["PUMP-7"]))
    await swept(site, "R-1")
    await site.stop(projector)
    scan = site.scan("1", 0, unit="sn:PUMP-7.ab1", event_id="left", **OUT)
    other = site.scan("2", 0, unit="sn:PUMP-8.ab1", event_id="as-it-is", **OUT)
    for each in (scan, other):
        await move(site, each)
    await site.until(lambda: judged() == before + 2)
    answer = await site.ask("PUT", "/products/PUMP-7", json={"name": "Pump", "fold_case": True})
    assert answer.status_code == 200, answer.text
    await start(site, "projector")
    await until_raised(site, {(scan.unit, "left", "R-1"): 1})
    assert site.rows("SELECT 1 FROM unit WHERE unit = %s", other.unit) == [(1,)]
    assert site.rows("SELECT unit FROM recall_unit") == [(scan.unit,)]


# ------------------------------------------------------------------------------ died in between


@contextlib.contextmanager
def dying(site: "Site", folder: Path, name: str, failpoint: str) -> Iterator[Process]:
    process = Process(name, site.settings, folder, {FAILPOINT: failpoint})
    try:
        yield process
    finally:
        process.process.kill()
        process.process.wait()


@pytest.mark.parametrize(
    ("name", "failpoint"),
    [
        ("alerter", "judged:1"),
        ("alerter", "committed:1"),
        ("api", "looked:1"),
        ("api", "some swept:1"),
    ],
    ids=lambda value: value.replace(" ", "-").replace(":", "-"),
)
async def test_killed_in_the_middle_all_is_found_once(
    site: "Site", tmp_path: Path, name: str, failpoint: str
) -> None:
    """With kill -9, then started anew."""
    await site.start("projector")
    before, after = [f"b{n}" for n in range(10)], [f"a{n}" for n in range(10)]
    for serial in before:
        await move(site, site.scan(serial, 0, event_id=f"left-{serial}", **OUT))
    await move(site, site.scan("here", 0, lot="L1"))
    title = replace(by_lot("L1"), id="R-2")
    selectors = (Selector(kind="list", serials=tuple(before + after)), *title.selectors)
    if name == "alerter":
        await site.start("api")
    else:
        await site.start("alerter")
    with dying(site, tmp_path, name, failpoint) as process:
        await put(site, replace(title, selectors=selectors))
        for serial in after:
            await move(site, site.scan(serial, 0, event_id=f"left-{serial}", **OUT))
        assert await asyncio.to_thread(process.status_within, 40.0) == -signal.SIGKILL
    await site.start(name)
    await swept(site, "R-2")
    expected = {(site.unit(each), f"left-{each}", "R-2"): 1 for each in before + after}
    await until_raised(site, expected)
    await until_held(site, site.unit("here"), [("recall:R-2", "R-2")])


async def test_what_was_named_remedied_by_mistake_is_found_and_held_once_that_is_taken_back(
    site: "Site",
) -> None:
    await start(site, "alerter", "projector", "api")
    before = judged()
    went, here = site.unit("went"), site.unit("here")
    lot = {"selectors": [{"kind": "lot", "lots": ["L1"]}]}
    came, left = site.movements(
        site.scan("went", 0, lot="L1"), site.scan("went", 5, event_id="left", **OUT)
    )
    await site.put_movement(came, went)
    await move(site, site.scan("here", 0, lot="L1"))
    await site.until(lambda: judged() == before + 2)
    await enter(site, "R-L", notice() | lot)
    await swept(site, "R-L")
    both = {"units": [went, here], "note": "wrong units were named"}
    for key in (went, here):
        await until_held(site, key, [("recall:R-L", "R-L")])
    answer = await site.ask("POST", "/recalls/R-L/remedied", json=both)
    assert answer.status_code == 200, answer.text
    for key in (went, here):
        await until_held(site, key, [])
    await site.put_movement(left, went)
    shipped = (
        "SELECT 1 FROM unit WHERE unit = %s AND phase = 'shipped' AND NOT EXISTS"
        " (SELECT FROM recall_unit WHERE unit = unit.unit AND is_stale)"
    )
    await site.until(lambda: site.rows(shipped, went) == [(1,)])
    assert await raised(site) == {}
    answer = await site.ask("POST", "/recalls/R-L/remedied", json=both | {"take_back": True})
    assert answer.status_code == 200, answer.text
    await until_held(site, here, [("recall:R-L", "R-L")])
    await until_raised(site, {(went, "left", "R-L"): 1})


async def test_what_a_recall_holds_is_let_go_by_the_recall_alone(site: "Site") -> None:
    await start(site, "alerter", "projector", "api")
    before = judged()
    inside = site.unit("in")
    packed = {"parent": CARTON, "business_step": BusinessStep.PACKING, "lot": "L9"}
    await move(site, site.scan("in", 0, **packed))
    await move(site, site.scan("lot", 0, lot="L1"))
    await site.until(lambda: judged() == before + 2)
    await enter(site, "R-1", notice("in"))
    await put(site, by_lot("L1"))
    for key, reason in ((CARTON, "inside:R-1"), (site.unit("lot"), "recall:R-L")):
        await until_held(site, key, [(reason, reason.partition(":")[2])])
        answer = await site.ask("DELETE", f"/holds/{key}/{reason}")
        assert answer.status_code == 409, answer.text
        assert answer.json()["reason"] == "of_a_recall"
        assert f"POST /recalls/{reason[7:]}/remedied" in answer.json()["detail"]
        answer = await site.ask("PUT", f"/holds/{key}/{reason}", json={"text": "mine"})
        assert answer.status_code == 400, answer.text
        assert answer.json()["field"] == "reason"
        assert await held(site, key) == [(reason, reason.partition(":")[2])]
    answer = await site.ask("PUT", f"/holds/{inside}/inspection-1", json={"text": "seal"})
    assert answer.status_code == 200, answer.text
    answer = await site.ask("DELETE", f"/holds/{inside}/inspection-1")
    assert answer.status_code == 200, answer.text
