"""How a recall takes effect, on a real broker and PostgreSQL: every recalled unit that went out has
one alert, whichever of the two came first, and what is here is held by what its scans do not show."""

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from scantrail.contracts.records import alerts, holds, recalls
from scantrail.contracts.topics import Topic
from scantrail.domain.vocabulary import BusinessStep

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


def by_lot(*lots: str) -> dict[str, Any]:
    return notice(selectors=[{"kind": "lot", "lots": list(lots)}])


async def enter(site: "Site", recall_id: str, body: dict[str, Any]) -> None:
    answer = await site.ask("PUT", f"/recalls/{recall_id}", json=body)
    assert answer.status_code == 200, answer.text


async def move(site: "Site", *scans: Any) -> None:
    """Publish what the tracker makes of these scans of one unit, which has none before."""
    for movement in site.movements(*scans):
        await site.put_movement(movement, scans[0].unit)


async def start(site: "Site", *names: str) -> "dict[str, Running]":
    return {name: await site.start(name) for name in names}


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
        (alert.unit or "", alert.event_id, alert.recall or "")
        for alert in found.values()
        if alert.status == "raised"
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
