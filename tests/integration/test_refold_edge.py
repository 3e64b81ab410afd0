"""`scantrail refold` on a real Kafka, with the tracker as a process."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from integration.processes import READY_S_MAX, started
from scantrail.cli import refold
from scantrail.cli.refold import refold_unit, told_of_refold
from scantrail.contracts.records import decode_state, encode, movements
from scantrail.contracts.topics import Topic
from scantrail.domain.custody import Outcome
from scantrail.domain.product import Product
from scantrail.domain.refolding import CannotRefold
from scantrail.domain.scan import Scan
from scantrail.domain.vocabulary import BusinessStep

if TYPE_CHECKING:
    from integration.conftest import Site

DAY = 24 * 60


def twenty_days(site: "Site") -> list[Scan]:
    return [
        site.scan("1", n * DAY, station=f"s{n % 3}", business_step=BusinessStep.STORING)
        for n in range(20)
    ]


def damaged(site: "Site", day: float = 2.5) -> Scan:
    step = BusinessStep.INSPECTING
    return site.scan("1", day * DAY, station="desk", business_step=step, disposition="damaged")


async def send(site: "Site", *scans: Scan) -> None:
    for scan in scans:
        await site.publish(Topic.SCANS, scan.unit, encode(scan))


async def outcomes(site: "Site") -> list[Outcome]:
    records = await (await site.log(Topic.MOVEMENTS)).records()
    return [movements.decode(record.value).outcome for record in records]


async def folded(site: "Site", count: int) -> None:
    async def told() -> bool:
        return len(await outcomes(site)) == count

    await site.until(told, READY_S_MAX)

    async def kept() -> bool:
        changelog = await (await site.log(Topic.UNITS)).records()
        return bool(changelog) and decode_state(changelog[-1].value).version == count

    await site.until(kept, READY_S_MAX)


async def test_what_came_too_late_counts_and_the_state_says_so(
    site: "Site", tmp_path: Path
) -> None:
    with started(site.settings, tmp_path, "tracker"):
        await send(site, *twenty_days(site), damaged(site))
        await folded(site, 21)
        done = await refold_unit(site.settings, site.unit("1"))
        assert (done.scans, done.before and done.before.disposition) == (21, None)
        assert done.movement is not None
        assert done.movement.outcome is Outcome.REFOLDED
        assert (done.movement.version, done.movement.after.disposition) == (22, "damaged")  # type: ignore[union-attr]
        told = told_of_refold(done)
        assert "folded anew from 21 scans; it has version 22" in told
        assert "damaged" in told.splitlines()[2]
        await folded(site, 22)
        again = await refold_unit(site.settings, site.unit("1"))
        assert again.movement is None
        assert "nothing was changed" in told_of_refold(again)
        await send(site, site.scan("1", 21 * DAY, station="s9"))
        await folded(site, 23)


async def test_a_unit_is_found_in_whatever_case_it_is_told(site: "Site", tmp_path: Path) -> None:
    pump = Product(id="PUMP-7", name="Pump", fold_case=True)
    await site.publish(Topic.PRODUCTS, pump.id, encode(replace(pump, fold_case=False)))
    await site.publish(Topic.PRODUCTS, pump.id, encode(pump))
    unit = "sn:PUMP-7.AB-1"
    with started(site.settings, tmp_path, "tracker"):
        await send(site, replace(site.scan("1"), unit=unit))
        await folded(site, 1)
        assert (await refold_unit(site.settings, "sn:PUMP-7.ab-1")).unit == unit
        with pytest.raises(CannotRefold, match=r"sn:CASE-1\.ab-1 was never scanned"):
            await refold_unit(site.settings, "sn:CASE-1.ab-1")


async def test_where_a_scan_came_first_it_is_done_again(site: "Site", tmp_path: Path) -> None:
    with started(site.settings, tmp_path, "tracker"):
        await send(site, *twenty_days(site), damaged(site))
        await folded(site, 21)
    await send(site, damaged(site, 1.5))  # waits for a tracker, and comes before the new base
    refolding = asyncio.create_task(refold_unit(site.settings, site.unit("1")))

    async def sent() -> bool:
        assert not refolding.done(), refolding
        return len(await (await site.log(Topic.SCANS)).records()) == 23

    await site.until(sent, READY_S_MAX)
    with started(site.settings, tmp_path, "tracker"):
        done = await refolding
    assert done.movement is not None
    assert (done.scans, done.movement.version) == (22, 23)
    (rejected,) = await (await site.log(Topic.SCANS_REJECTED)).records()
    reason = dict(rejected.headers)["__connect.errors.exception.class.name"]
    assert reason == b"refold_overtaken"
    assert (await outcomes(site)).count(Outcome.REFOLDED) == 1


async def test_with_no_tracker_it_says_so_and_what_happens_later(
    site: "Site", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(site.settings, tmp_path, "tracker"):
        await send(site, *twenty_days(site), damaged(site))
        await folded(site, 21)
    monkeypatch.setattr(refold, "TAKEN_S_MAX", 1.0)
    with pytest.raises(CannotRefold, match="is one running"):
        await refold_unit(site.settings, site.unit("1"))
    with started(site.settings, tmp_path, "tracker"):
        await folded(site, 22)
    assert (await outcomes(site))[-1] is Outcome.REFOLDED


async def test_a_unit_that_was_never_scanned_has_nothing_to_be_folded(site: "Site") -> None:
    with pytest.raises(CannotRefold, match=f"{site.unit('9')} was never scanned here"):
        await refold_unit(site.settings, site.unit("9"))


async def test_both_histories_of_a_joined_unit_are_read(site: "Site", tmp_path: Path) -> None:
    younger = "imei:35693803564380"
    days = [
        replace(scan, unit=younger, event_id=f"y{n}") for n, scan in enumerate(twenty_days(site))
    ]
    days[0] = replace(days[0], disposition="damaged")
    join = replace(site.scan("1", 21 * DAY), unit=younger, event_id="j", same_as=site.unit("1"))
    with started(site.settings, tmp_path, "tracker"):
        await send(site, *days, join)

        async def told() -> bool:
            return len(await outcomes(site)) == 21 + 18  # what is kept, the base, and the join

        await site.until(told, READY_S_MAX)
        done = await refold_unit(site.settings, site.unit("1"))
    assert done.movement is not None
    assert done.movement.after is not None
    assert done.movement.after.disposition == "damaged"
    assert done.movement.after.seen_at == days[0].event_time + timedelta(days=19)
