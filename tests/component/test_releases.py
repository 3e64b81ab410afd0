"""What was released for which order, against a model that remembers all: over restarts as well."""

import asyncio
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from component.belt import NOW
from scantrail.gateway.releases import FORGOTTEN_AFTER, Releases
from scantrail.gateway.spool import Change, Spool

UNITS = ("u1", "u2", "u3")
ORDERS = ("SO-1", "SO-2")
PRODUCTS = ("cable", "phone")
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("release"),
            st.sampled_from(UNITS),
            st.sampled_from(ORDERS),
            st.sampled_from(PRODUCTS),
        ),
        st.tuples(st.just("hold"), st.sampled_from(UNITS)),
        st.tuples(st.just("restart")),
    ),
    max_size=25,
)


@settings(max_examples=40)
@given(STEPS)
def test_a_unit_counts_for_the_order_of_its_last_answer(steps: list[tuple[str, ...]]) -> None:
    async def run(folder: Path) -> None:
        journal = Spool(folder / "questions.db", bytes_max=1 << 20)
        releases = Releases(journal)
        model: dict[str, tuple[str, str]] = {}
        for step in steps:
            match step:
                case ("release", unit, reference, product):
                    _, changes = releases.add([unit], reference, product, NOW)
                    model[unit] = (reference, product)
                    await journal.append([], changes)
                case ("hold", unit):
                    await journal.append([], releases.take_back([unit]))
                    model.pop(unit, None)
                case _:
                    await journal.close()
                    journal = Spool(folder / "questions.db", bytes_max=1 << 20)
                    releases = Releases(journal)
            for asked in UNITS:
                for reference in ORDERS:
                    for product in PRODUCTS:
                        others = [
                            unit
                            for unit, told in model.items()
                            if told == (reference, product) and unit != asked
                        ]
                        assert releases.others(reference, product, [asked]) == len(others)
        await journal.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


class Counted:
    """Releases whose changes are written at once."""

    def __init__(self, folder: Path) -> None:
        self.journal = Spool(folder / "questions.db", bytes_max=1 << 20)
        self.releases = Releases(self.journal)

    async def write(self, changes: list[Change]) -> None:
        await self.journal.append([], changes)

    async def add(self, unit: str, reference: str, *, day: float) -> None:
        at = NOW + timedelta(days=day)
        _, changes = self.releases.add([unit], reference, "phone", at)
        await self.write(changes)

    def units(self) -> list[str]:
        rows = self.journal.rows("SELECT unit FROM released ORDER BY unit")
        return [unit for (unit,) in rows]


async def test_an_order_is_forgotten_some_time_after_its_last_release(tmp_path: Path) -> None:
    counted, days = Counted(tmp_path), FORGOTTEN_AFTER.days
    await counted.add("a1", "SO-1", day=0)
    await counted.add("b1", "SO-2", day=1)
    await counted.add("a2", "SO-1", day=2)
    await counted.add("c1", "SO-3", day=days + 1)
    assert counted.units() == ["a1", "a2", "b1", "c1"]  # of SO-2 the last is just young enough
    await counted.add("c2", "SO-3", day=days + 1.5)
    assert counted.units() == ["a1", "a2", "c1", "c2"]
    await counted.journal.close()
    again = Counted(tmp_path)
    assert again.releases.others("SO-1", "phone", []) == 2
    await again.add("c3", "SO-3", day=days + 2.5)
    assert again.units() == ["c1", "c2", "c3"]
    assert again.releases.others("SO-1", "phone", []) == 0
    assert again.releases.others("SO-3", "phone", ["c3"]) == 2
    await again.journal.close()


async def test_a_release_forgets_few_orders_and_the_next_ones_the_rest(tmp_path: Path) -> None:
    counted, late = Counted(tmp_path), FORGOTTEN_AFTER.days + 1
    for number in range(5):
        await counted.add(f"a{number}", f"SO-{number}", day=0)
    left = []
    for number in range(3):
        await counted.add(f"b{number}", "SO-new", day=late)
        left.append(len([unit for unit in counted.units() if unit.startswith("a")]))
    assert left == [3, 1, 0]
    await counted.journal.close()


async def test_only_the_release_that_is_meant_is_taken_back(tmp_path: Path) -> None:
    counted = Counted(tmp_path)
    first, changes = counted.releases.add(["u1"], "SO-1", "phone", NOW)
    await counted.write(changes)
    second, changes = counted.releases.add(["u1"], "SO-1", "phone", NOW)
    await counted.write(changes)
    assert counted.releases.take_back(["u1"], first) == []
    assert counted.releases.others("SO-1", "phone", []) == 1
    await counted.write(counted.releases.take_back(["u1"], second))
    assert (counted.releases.others("SO-1", "phone", []), counted.units()) == (0, [])
    await counted.journal.close()


async def test_a_unit_that_was_counted_under_two_keys_is_one_from_its_next_release_on(
    tmp_path: Path,
) -> None:
    counted = Counted(tmp_path)
    await counted.add("imei:1", "SO-1", day=0)
    await counted.add("sgtin:1", "SO-1", day=0)
    assert counted.releases.others("SO-1", "phone", ["imei:1", "sgtin:1"]) == 0
    assert counted.releases.others("SO-1", "phone", ["other"]) == 2
    _, changes = counted.releases.add(["imei:1", "sgtin:1"], "SO-1", "phone", NOW)
    await counted.write(changes)
    assert counted.releases.others("SO-1", "phone", ["other"]) == 1
    assert counted.units() == ["imei:1"]
    await counted.journal.close()


async def test_what_the_disk_could_not_take_back_does_not_stand_in_the_way(tmp_path: Path) -> None:
    counted = Counted(tmp_path)
    await counted.add("u1", "SO-1", day=0)
    counted.releases.take_back(["u1"])  # and is not written
    await counted.add("u1", "SO-2", day=0)
    assert counted.journal.rows("SELECT unit, ref FROM released") == [("u1", "SO-2")]
    await counted.journal.close()


@pytest.mark.parametrize("keys", [[], ["u1"], ["u1", "u2"]])
async def test_of_an_order_that_nobody_asked_for_nothing_counts(
    tmp_path: Path, keys: list[str]
) -> None:
    counted = Counted(tmp_path)
    assert counted.releases.others("SO-1", "phone", keys) == 0
    assert counted.releases.take_back(keys) == []
    await counted.journal.close()
