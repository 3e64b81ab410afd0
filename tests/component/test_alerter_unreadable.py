"""What the alerter cannot read is counted, and passed over; but of a movement recalls and holds are
judged by what can be read of it."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from component.one_partition import GATE, RECALL, UNITS, Topics, scanned
from scantrail.alerter import app
from scantrail.alerter.app import (
    Notices,
    hits,
    judge_findings,
    judge_movements,
    judge_reads,
    read_movements,
)
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import Alert
from scantrail.domain.hold import Hold, HoldReason
from scantrail.domain.recall import Selector
from scantrail.domain.recall_match import RecallMatcher
from scantrail.infra.notices import Unreadable, take_product

NOTICES = Notices(RecallMatcher(), {}, {}, {})


def unread(value: bytes) -> list[list[Any]]:
    return [[SimpleNamespace(value=value, key=b"k", partition=0, offset=7)]]


def judged(value: bytes, notices: Notices = NOTICES) -> list[Alert]:
    return judge_movements(read_movements(unread(value), notices.products), notices, 1800.0)


PASSED_OVER: dict[Topic, Callable[[bytes], object]] = {
    Topic.MOVEMENTS: lambda value: judged(value),
    Topic.FINDINGS: lambda value: judge_findings(unread(value), {}),
    Topic.READS_REJECTED: lambda value: judge_reads(unread(value), NOTICES),
}


def counted() -> dict[str, float | None]:
    labels = [{"topic": topic.value, "reason": "unreadable"} for topic in app.READ]
    return {
        each["topic"]: REGISTRY.get_sample_value("scantrail_rejected_total", each)
        for each in labels
    }


def test_each_topic_is_counted_from_the_start() -> None:
    app._count_from_0()
    assert set(counted()) == {"movements", "findings", "reads.rejected"}
    assert None not in counted().values()
    assert read_in_part() is not None


def read_in_part() -> float | None:
    labels = {"topic": "movements", "reason": "read_in_part"}
    return REGISTRY.get_sample_value("scantrail_rejected_total", labels)


@pytest.mark.parametrize("topic", PASSED_OVER, ids=lambda topic: topic.value)
@pytest.mark.parametrize("value", [b"no json", b"{}"])
def test_a_record_that_cannot_be_read_is_counted_by_its_topic(topic: Topic, value: bytes) -> None:
    app._count_from_0()
    before = counted()
    assert PASSED_OVER[topic](value) == []
    assert counted() == {**before, topic.value: (before[topic.value] or 0.0) + 1}


# ------------------------------------------------------------------------------- movements

SHIPPED = scanned(UNITS[1], "s", 0, lot="L1", **GATE)
RULE = {"kind": "out_of_sequence", "rule": "a_rule_of_later", "event_id": "s", "against": "e"}


def told(**changes: Any) -> dict[str, Any]:
    """The movement of a recalled unit at the gate, as it is written, but for these changes."""
    (movement,) = Topics().put(SHIPPED).track().movements
    raw: dict[str, Any] = msgspec.to_builtins(movement)
    scan = raw["scan"] | changes.pop("scan", {})
    return {**raw, "scan": scan, **changes}


def recalled() -> Notices:
    notices = Notices(RecallMatcher(), {}, {}, {})
    notices.recalls.put(RECALL)
    return notices


#: What a later release may write.
IN_PART = {
    "outcome": told(outcome="moved_again"),
    "rule": told(facts_added=[RULE | {"elapsed_s": 1.0}]),
    "kind of fact": told(facts_added=[RULE | {"kind": "a_kind_of_later", "elapsed_s": 1.0}]),
    "facts": told(facts_added={"by": "rule"}, facts_withdrawn=7),
    "step": told(scan={"business_step": "handing_over"}),
    "place": told(after={"phase": "in_orbit"}, before=[]),
    "version": told(version="1.0"),
    "visit": told(visit_id=None),
    "what is left out": {"unit": UNITS[1], "scan": told()["scan"]},
    "little of the scan": told(
        scan={"sequence": "1", "repeat_window_s": None, "transactions": 7, "reader": None}
    ),
}


@pytest.mark.parametrize("movement", IN_PART.values(), ids=IN_PART)
def test_of_a_movement_that_can_be_read_in_part_recalls_and_holds_are_judged(
    movement: dict[str, Any],
) -> None:
    app._count_from_0()
    before = read_in_part()
    notices = recalled()
    notices.holds[UNITS[1]] = Hold(id=UNITS[1], reasons=(HoldReason(id="Q-7", text="scratched"),))
    alerts = judged(msgspec.json.encode(movement), notices)
    assert [(alert.kind, alert.unit, alert.event_id, alert.station) for alert in alerts] == [
        ("recalled_at_shipping", UNITS[1], "s", "gate"),
        ("held_at_shipping", UNITS[1], "s", "gate"),
    ]
    assert read_in_part() == (before or 0.0) + 1


def test_what_raised_an_alert_before_an_upgrade_raises_the_same_after_it() -> None:
    (whole,) = judged(msgspec.json.encode(told()), recalled())
    (in_part,) = judged(msgspec.json.encode(IN_PART["outcome"]), recalled())
    assert in_part == whole


def test_what_can_be_read_in_part_is_judged_by_all_keys_and_by_its_lot() -> None:
    by_lot = replace(RECALL, selectors=(Selector(kind="lot", lots=("L1",)),))
    phone = {"unit": "imei:35693803564380"}
    for recall, changes in (
        (RECALL, {"aliases": [UNITS[1]]}),
        (RECALL, {"joined": UNITS[1]}),
        (by_lot, {"aliases": [UNITS[2]]}),
    ):
        notices = Notices(RecallMatcher(), {}, {}, {})
        notices.recalls.put(recall)
        movement = told(outcome="moved_again", scan=phone, **phone, **changes)
        (alert,) = judged(msgspec.json.encode(movement), notices)
        assert (alert.unit, alert.recall) == (phone["unit"], "R-1")
        seen = read_movements(unread(msgspec.json.encode(movement)), {})
        assert [(hit.unit, hit.recall.id) for hit in hits(seen, notices)] == [
            (phone["unit"], "R-1")
        ]


@pytest.mark.parametrize("step", ["shipping", "handing_over"])
def test_where_the_unit_went_out_before_is_told_also_in_part(step: str) -> None:
    late = {"event_id": "e", "business_step": step, "station": "dock", "site": "north"}
    movement = told(
        outcome="moved_again",
        scan={"business_step": "storing"},
        revealed=[{**late, "at": "2026-01-01T11:00:00Z"}, {"event_id": 7}],
    )
    (alert,) = judged(msgspec.json.encode(movement), recalled())
    assert (alert.kind, alert.event_id, alert.station) == ("recalled_at_shipping", "e", "dock")


def test_what_is_known_to_move_nothing_is_none_that_went_out() -> None:
    for changes in ({"outcome": "refolded"}, {"scan": {"corrects": "e"}}):
        assert judged(msgspec.json.encode(told(version="1.0", **changes)), recalled()) == []


def test_of_facts_that_can_be_read_in_part_none_is_withdrawn() -> None:
    """What cannot be read may be the same contradiction by another rule."""
    known = RULE | {"rule": "two_sites", "kind": "duplicate_serial", "elapsed_s": 60.0}
    raised = told(facts_added=[known, RULE])
    (alert,) = judged(msgspec.json.encode(raised))
    assert (alert.kind, alert.status) == ("duplicate_serial", "raised")
    assert judged(msgspec.json.encode(told(facts_added=[RULE], facts_withdrawn=[known]))) == []


#: Of which not even the unit, with all its keys, and its scan are told.
NOTHING = {
    "no json": b"no json",
    "null": None,
    "a list": b"[]",
    "aliases": msgspec.json.encode(told(aliases=[{"key": UNITS[1]}])),
    "joined": msgspec.json.encode(told(joined={"key": UNITS[1]})),
    "scan": msgspec.json.encode(told(scan={"event_time": "yesterday"})),
    "no time zone": msgspec.json.encode(told(scan={"event_time": "2026-01-01T12:00:00"})),
    "another unit": msgspec.json.encode(told(version="1.0", unit=UNITS[2])),
}


@pytest.mark.parametrize("value", NOTHING.values(), ids=NOTHING)
def test_of_one_that_cannot_be_read_the_desk_is_told_by_its_key(value: bytes | None) -> None:
    app._count_from_0()
    before = counted()["movements"] or 0.0
    notices = recalled()
    keys = (UNITS[1].encode(), UNITS[2].encode(), b"", b"k" * 257, None)
    records = [SimpleNamespace(value=value, key=key, partition=3, offset=7) for key in keys]
    seen = read_movements([records], {})
    assert counted()["movements"] == before + len(keys)
    assert judge_movements(seen, notices, 1800.0) == []
    (hit,) = hits(seen, notices)
    assert (hit.unit, hit.recall.id, hit.record) == (UNITS[1], "R-1", records[0])


def test_of_a_product_that_cannot_be_read_small_letters_are_capitals_too() -> None:
    """By which a recall means the unit is not known: whoever is told too much can look."""
    listed = replace(RECALL, selectors=(Selector(kind="list", serials=("AB2",)),), products=())
    notices = Notices(RecallMatcher(), {}, {}, {})
    notices.recalls.put(listed)
    (movement,) = Topics().put(scanned("sn:PUMP-7.ab2", "s", 0, **GATE)).track().movements
    value = encode(movement)
    assert judged(value, notices) == []
    take_product(notices.products, Unreadable(), "PUMP-7", b"{")
    (alert,) = judged(value, notices)
    assert (alert.kind, alert.unit) == ("recalled_at_shipping", "sn:PUMP-7.ab2")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@given(
    changes=st.dictionaries(st.sampled_from(sorted(told())), ANYTHING),
    of_scan=st.dictionaries(st.sampled_from(sorted(told()["scan"])), ANYTHING, max_size=4),
)
def test_whatever_a_stranger_writes_ends_nothing(
    changes: dict[str, Any], of_scan: dict[str, Any]
) -> None:
    movement = told(scan=of_scan)
    for value in (movement, movement | changes):
        seen = read_movements(unread(msgspec.json.encode(value)), {})
        judge_movements(seen, recalled(), 1800.0)
        assert len(hits(seen, recalled())) <= 1
