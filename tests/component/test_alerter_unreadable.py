"""What the alerter cannot read raises no alert, is passed over, and is counted."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from scantrail.alerter import app
from scantrail.alerter.app import Notices, judge_findings, judge_reads, read_movements, take_product
from scantrail.contracts.topics import Topic
from scantrail.domain.product import Product
from scantrail.domain.recall_match import RecallMatcher

NOTICES = Notices(RecallMatcher(), {}, {}, {})


def unread(value: bytes) -> list[list[Any]]:
    return [[SimpleNamespace(value=value, key=b"k", partition=0, offset=7)]]


PASSED_OVER: dict[Topic, Callable[[bytes], object]] = {
    Topic.MOVEMENTS: lambda value: read_movements(unread(value), {}),
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
    assert set(counted()) == {"movements", "findings", "reads.rejected", "products"}
    assert None not in counted().values()


@pytest.mark.parametrize("topic", PASSED_OVER, ids=lambda topic: topic.value)
@pytest.mark.parametrize("value", [b"no json", b"{}"])
def test_a_record_that_cannot_be_read_is_counted_by_its_topic(topic: Topic, value: bytes) -> None:
    app._count_from_0()
    before = counted()
    assert PASSED_OVER[topic](value) == []
    assert counted() == {**before, topic.value: (before[topic.value] or 0.0) + 1}


def test_of_a_product_that_cannot_be_read_the_version_before_stands_and_it_is_counted() -> None:
    app._count_from_0()
    known = {"PUMP-7": Product(id="PUMP-7", name="Pump", version=1)}
    before = counted()
    take_product(known, "PUMP-7", b"no json")
    assert known["PUMP-7"].name == "Pump"
    assert counted() == {**before, "products": (before["products"] or 0.0) + 1}
