"""Records that cannot be read of what speaks against units, as each process takes them."""

from prometheus_client import REGISTRY

from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.hold import Hold, HoldReason
from scantrail.domain.product import Product
from scantrail.domain.recall import Recall, Selector
from scantrail.domain.recall_match import RecallMatcher
from scantrail.infra.notices import Unreadable, take_hold, take_product, take_recall

PUMP = Product(id="PUMP-7", name="pump")
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


def test_links_and_products_are_told_and_counted_as_recalls_are() -> None:
    told = list[tuple[str, int]]()
    unreadable = Unreadable(lambda topic, left: told.append((topic, left)))
    known = dict[str, Product]()
    unreadable.link("sn:A.1", b"{")
    unreadable.link("sn:A.2", None)
    take_product(known, unreadable, "PUMP-7", b"{")
    take_product(known, unreadable, "PUMP-8", None)
    assert unreadable_records("identifiers") == unreadable_records("products") == 1
    assert unreadable.products_of([None, "PUMP-7", "PUMP-8"]) == ["PUMP-7"]
    unreadable.link("sn:A.1", None)
    take_product(known, unreadable, "PUMP-7", encode(PUMP))
    assert told == [("identifiers", 1), ("products", 1), ("identifiers", 0), ("products", 0)]
    assert unreadable_records("identifiers") == unreadable_records("products") == 0
    assert known == {"PUMP-7": PUMP}


def test_of_a_product_that_cannot_be_read_the_version_before_stands_but_it_may_fold_case() -> None:
    unreadable, known = Unreadable(), dict[str, Product]()
    for before, named in ((None, "PUMP-7"), (encode(PUMP), "pump")):
        take_product(known, unreadable, "PUMP-7", before)
        take_product(known, unreadable, "PUMP-7", b"{")
        assert (known["PUMP-7"].name, known["PUMP-7"].fold_case) == (named, True)
        take_product(known, unreadable, "PUMP-7", None)
        assert known == {}


def test_of_a_hold_the_version_before_stands_and_one_without_any_has_a_reason() -> None:
    unreadable, held = Unreadable(), dict[str, Hold]()
    hold = Hold(id="sn:A.1", reasons=(HoldReason(id="QA-1", text="scratched"),))
    take_hold(held, unreadable, "sn:A.1", encode(hold))
    take_hold(held, unreadable, "sn:A.1", b"{")
    take_hold(held, unreadable, "sn:A.2", b"{")
    assert held["sn:A.1"] == hold
    assert [reason.id for reason in held["sn:A.2"].reasons] == ["unreadable"]
