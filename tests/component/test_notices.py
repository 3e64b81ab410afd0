"""Records of `recalls` and `holds` that cannot be read, as each process takes them."""

from prometheus_client import REGISTRY

from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.hold import Hold, HoldReason
from scantrail.domain.recall import Recall, Selector
from scantrail.domain.recall_match import RecallMatcher
from scantrail.infra.notices import Unreadable, take_hold, take_recall

RECALL = Recall(id="R-1", title="t", reason="r", selectors=(Selector(kind="prefix", prefix="R"),))


def unreadable_records(topic: str) -> float | None:
    return REGISTRY.get_sample_value("scantrail_records_unreadable", {"topic": topic})


def test_each_change_is_told_and_counted_by_topic() -> None:
    told = list[tuple[str, int]]()
    unreadable = Unreadable(lambda topic, left: told.append((topic, left)))
    matcher, held = RecallMatcher(), dict[str, Hold]()
    take_recall(matcher, unreadable, "R-0", encode(RECALL))
    take_recall(matcher, unreadable, "R-1", b"{")
    take_recall(matcher, unreadable, "R-2", b"{")
    assert unreadable_records("recalls") == 2
    take_recall(matcher, unreadable, "R-1", encode(RECALL))
    take_recall(matcher, unreadable, "R-2", None)
    take_hold(held, unreadable, "sn:A.1", b"{")
    take_hold(held, unreadable, "sn:A.2", None)
    assert unreadable_records("holds") == 1
    take_hold(held, unreadable, "sn:A.1", None)
    assert told == [
        *((Topic.RECALLS, left) for left in (1, 2, 1, 0)),
        *((Topic.HOLDS, left) for left in (1, 0)),
    ]
    assert unreadable_records("recalls") == unreadable_records("holds") == 0
    assert held == {}


def test_of_a_hold_the_version_before_stands_and_one_without_any_has_a_reason() -> None:
    unreadable, held = Unreadable(), dict[str, Hold]()
    hold = Hold(id="sn:A.1", reasons=(HoldReason(id="QA-1", text="scratched"),))
    take_hold(held, unreadable, "sn:A.1", encode(hold))
    take_hold(held, unreadable, "sn:A.1", b"{")
    take_hold(held, unreadable, "sn:A.2", b"{")
    assert held["sn:A.1"] == hold
    assert [reason.id for reason in held["sn:A.2"].reasons] == ["unreadable"]
