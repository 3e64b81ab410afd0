"""The audit chain: what fits verifies, whatever was altered is named."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from scantrail.domain.audit import FIRST, AuditEntry, AuditRow, Verifier, chained, hash_of

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def entry(number: int, **more: Any) -> AuditEntry:
    fields = {
        "number": number,
        "at": NOON,
        "who": "quality-7",
        "role": "quality",
        "method": "PUT",
        "route": "/recalls/{recall_id}",
        "entity": "recall",
        "reference": "R-1",
        "old_version": number - 1,
        "new_version": number,
        "request_sha256": "ab" * 32,
    }
    return AuditEntry(**(fields | more))


def chain(count: int) -> list[AuditRow]:
    rows: list[AuditRow] = []
    for number in range(1, count + 1):
        rows.append(chained(entry(number), rows[-1].hash if rows else FIRST))
    return rows


def test_a_chain_verifies_in_parts() -> None:
    rows, verifier = chain(5), Verifier()
    assert verifier.check(rows[:2]) is None
    assert verifier.check(rows[2:]) is None
    assert (verifier.rows, verifier.last_hash) == (5, rows[-1].hash)
    assert Verifier().check([]) is None


@pytest.mark.parametrize(
    "change",
    [
        {"at": NOON + timedelta(microseconds=1)},
        {"who": "nobody"},
        {"role": "admin"},
        {"method": "POST"},
        {"route": "/recalls"},
        {"entity": "hold"},
        {"reference": "R-2"},
        {"old_version": None},
        {"new_version": 9},
        {"request_sha256": "cd" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_is_altered_breaks_its_row(change: dict[str, Any]) -> None:
    rows = chain(3)
    rows[1] = replace(rows[1], entry=replace(rows[1].entry, **change))
    broken = Verifier().check(rows)
    assert broken is not None
    assert (broken.number, "content" in broken.why) == (2, True)


def test_a_row_whose_hash_was_made_anew_breaks_the_next() -> None:
    rows = chain(3)
    rows[1] = chained(replace(rows[1].entry, who="nobody"), rows[0].hash)
    broken = Verifier().check(rows)
    assert broken is not None
    assert broken.number == 3


def test_a_row_that_is_gone_or_comes_twice_is_named() -> None:
    rows = chain(3)
    for forged, number in ((rows[1:], 1), ([rows[0], rows[2]], 2), ([rows[0], rows[0]], 2)):
        broken = Verifier().check(forged)
        assert broken is not None
        assert broken.number == number


def test_the_hash_is_of_the_moment_not_of_how_it_is_written() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=2)))
    assert hash_of(entry(1, at=elsewhere), FIRST) == hash_of(entry(1), FIRST)
    assert hash_of(entry(1), "1" * 64) != hash_of(entry(1), FIRST)
