"""What speaks against units, as it comes from `recalls` and `holds`, and what is told of it.

A record that cannot be read may mean any unit, so it is never taken for none: what was known before
stands, and `Unreadable` knows of it until a later version can be read, or it is deleted.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from scantrail.contracts.records import UnreadableRecord, alert_policies, holds, recalls
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import AlertKind
from scantrail.domain.alert_policy import AlertPolicy
from scantrail.domain.hold import Hold, HoldReason
from scantrail.domain.recall import RecallRefused
from scantrail.domain.recall_match import RecallMatcher
from scantrail.infra import metrics
from scantrail.infra.logs import logger

log = logger(__name__)

#: The reason of a hold whose record cannot be read.
UNREADABLE_REASON = "unreadable"

_GTIN_LENGTH = 14


class Unreadable:
    """Recalls and holds whose newest record cannot be read; `told` is told how many are left of a
    topic whenever that changes."""

    def __init__(self, told: Callable[[Topic, int], None] = lambda topic, left: None) -> None:
        self._told = told
        self._recalls: dict[str, frozenset[str]] = {}  # the products of each; none: any product
        self._holds: set[str] = set()
        self._policies: set[str] = set()
        for topic in (Topic.RECALLS, Topic.HOLDS, Topic.ALERT_POLICIES):
            metrics.RECORDS_UNREADABLE.labels(topic.value)  # 0: all can be read

    def recalls_of(self, products: Iterable[str | None]) -> list[str]:
        """The recalls that may mean a unit of one of these products, by id; None: not told."""
        asked = frozenset(products)
        return sorted(
            recall_id
            for recall_id, named in self._recalls.items()
            if not named or None in asked or not named.isdisjoint(asked)
        )

    def recall(self, recall_id: str, value: bytes | None) -> None:
        """Remember a recall by its record, which cannot be read; None: it can, or is deleted."""
        if value is not None:
            self._recalls[recall_id] = _products(value)
        elif self._recalls.pop(recall_id, None) is None:
            return
        self._count(Topic.RECALLS, len(self._recalls))

    def hold(self, key: str, *, is_unreadable: bool) -> None:
        """Remember a hold that cannot be read, or that it now can, or is deleted."""
        self._note(Topic.HOLDS, self._holds, key, is_unreadable=is_unreadable)

    def policy(self, key: str, *, is_unreadable: bool) -> None:
        """Remember a policy that cannot be read, or that it now can, or is deleted."""
        self._note(Topic.ALERT_POLICIES, self._policies, key, is_unreadable=is_unreadable)

    def _note(self, topic: Topic, keys: set[str], key: str, *, is_unreadable: bool) -> None:
        if is_unreadable:
            keys.add(key)
        elif key in keys:
            keys.remove(key)
        else:
            return
        self._count(topic, len(keys))

    def _count(self, topic: Topic, left: int) -> None:
        metrics.RECORDS_UNREADABLE.labels(topic.value).set(left)
        self._told(topic, left)


def take_recall(
    matcher: RecallMatcher, unreadable: Unreadable, key: str, value: bytes | None
) -> None:
    """Take over a record of `recalls`; of one that cannot be applied the version before stands."""
    if value is None:
        matcher.remove(key)
    else:
        try:
            matcher.put(recalls.decode(value))
        except (UnreadableRecord, RecallRefused) as error:
            log.error("recall cannot be applied", recall=key, reason=str(error))
            unreadable.recall(key, value)
            return
    unreadable.recall(key, None)


def take_hold(held: dict[str, Hold], unreadable: Unreadable, key: str, value: bytes | None) -> None:
    """Take over a record of `holds`; one that cannot be read holds its unit, by the version before
    where there is one."""
    if value is None:
        held.pop(key, None)
    else:
        try:
            held[key] = holds.decode(value)
        except UnreadableRecord as error:
            log.error("record cannot be read", topic=Topic.HOLDS.value, key=key, reason=str(error))
            if key not in held or not held[key].reasons:
                text = "the record of its hold cannot be read"
                held[key] = Hold(id=key, reasons=(HoldReason(id=UNREADABLE_REASON, text=text),))
            unreadable.hold(key, is_unreadable=True)
            return
    unreadable.hold(key, is_unreadable=False)


def take_policy(
    policies: dict[AlertKind, AlertPolicy], unreadable: Unreadable, key: str, value: bytes | None
) -> None:
    """Take over a record of `alert-policies`; of one that cannot be read the version before stands,
    or what holds where nobody decides: nothing is switched off by it."""
    if value is None:
        for kind in [kind for kind in policies if kind == key]:
            del policies[kind]
    else:
        try:
            policy = alert_policies.decode(value)
        except UnreadableRecord as error:
            topic = Topic.ALERT_POLICIES.value
            log.error("record cannot be read", topic=topic, key=key, reason=str(error))
            unreadable.policy(key, is_unreadable=True)
            return
        policies[policy.id] = policy
    unreadable.policy(key, is_unreadable=False)


def _products(value: bytes) -> frozenset[str]:
    """The products that an unreadable recall names; none where one of them is not sure."""
    try:
        record: Any = msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return frozenset()
    named = record.get("products") if isinstance(record, dict) else None
    if not isinstance(named, list) or not all(map(_is_product, named)):
        return frozenset()
    return frozenset(named)


def _is_product(named: Any) -> bool:
    """Whether it is a product's name as keys have it: a GTIN that is not in full is none."""
    return (
        isinstance(named, str)
        and named == named.strip() != ""
        and not (named.isdigit() and len(named) != _GTIN_LENGTH)
    )
