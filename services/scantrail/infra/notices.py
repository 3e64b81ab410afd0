"""What speaks against units, as it comes from `recalls` and `holds`, by what is known of their keys
from `identifiers` and `products`, and what is told of it.

A record that cannot be read may mean any unit, so it is never taken for none: what was known before
stands, and `Unreadable` knows of it until a later version can be read, or it is deleted.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

import msgspec

from scantrail.contracts.identity import identify
from scantrail.contracts.records import UnreadableRecord, alert_policies, holds, products, recalls
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import AlertKind
from scantrail.domain.alert_policy import AlertPolicy
from scantrail.domain.hold import Hold, HoldReason
from scantrail.domain.identifiers import NotIdentified
from scantrail.domain.product import Product
from scantrail.domain.recall import RecallRefused
from scantrail.domain.recall_match import RecallMatcher
from scantrail.infra import metrics
from scantrail.infra.logs import logger

log = logger(__name__)

#: The reason of a hold whose record cannot be read.
UNREADABLE_REASON = "unreadable"

_GTIN_LENGTH = 14


class Unreadable:
    """What has a newest record that cannot be read; `told` is told how many are left of a topic
    whenever that changes."""

    def __init__(self, told: Callable[[Topic, int], None] = lambda topic, left: None) -> None:
        self._told = told
        self._recalls: dict[str, frozenset[str]] = {}  # the products of each; none: any product
        self._links: dict[str, frozenset[str]] = {}  # the keys of each; none: any key
        self._holds: set[str] = set()
        self._products: set[str] = set()
        self._policies: set[str] = set()
        for topic in (
            Topic.RECALLS,
            Topic.IDENTIFIERS,
            Topic.HOLDS,
            Topic.PRODUCTS,
            Topic.ALERT_POLICIES,
        ):
            metrics.RECORDS_UNREADABLE.labels(topic.value)  # 0: all can be read

    def recalls_of(self, products: Iterable[str | None]) -> list[str]:
        """The recalls that may mean a unit of one of these products, by id; None: not told."""
        asked = frozenset(products)
        return sorted(
            recall_id
            for recall_id, named in self._recalls.items()
            if not named or None in asked or not named.isdisjoint(asked)
        )

    def links_of(self, keys: Collection[str]) -> list[str]:
        """The links that may be of a unit with these keys, by the id that each is of."""
        return sorted(
            link_id
            for link_id, named in self._links.items()
            if not named or not named.isdisjoint(keys)
        )

    def products_of(self, products: Iterable[str | None]) -> list[str]:
        """Which of these products cannot be read: what their units' keys are is not sure."""
        return sorted(each for each in set(products) if each in self._products)

    def recall(self, recall_id: str, value: bytes | None) -> None:
        """Remember a recall by its record, which cannot be read; None: it can, or is deleted."""
        named = None if value is None else _products(value)
        self._note_named(Topic.RECALLS, self._recalls, recall_id, named)

    def link(self, link_id: str, value: bytes | None) -> None:
        """Remember a link by its record, which cannot be read; None: it can, or is deleted."""
        named = None if value is None else _keys(link_id, value)
        self._note_named(Topic.IDENTIFIERS, self._links, link_id, named)

    def product(self, key: str, *, is_unreadable: bool) -> None:
        """Remember a product that cannot be read, or that it now can, or is deleted."""
        self._note(Topic.PRODUCTS, self._products, key, is_unreadable=is_unreadable)

    def hold(self, key: str, *, is_unreadable: bool) -> None:
        """Remember a hold that cannot be read, or that it now can, or is deleted."""
        self._note(Topic.HOLDS, self._holds, key, is_unreadable=is_unreadable)

    def policy(self, key: str, *, is_unreadable: bool) -> None:
        """Remember a policy that cannot be read, or that it now can, or is deleted."""
        self._note(Topic.ALERT_POLICIES, self._policies, key, is_unreadable=is_unreadable)

    def _note_named(
        self,
        topic: Topic,
        known: dict[str, frozenset[str]],
        key: str,
        named: frozenset[str] | None,
    ) -> None:
        if named is not None:
            known[key] = named
        elif known.pop(key, None) is None:
            return
        self._count(topic, len(known))

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


def take_product(
    known: dict[str, Product], unreadable: Unreadable, key: str, value: bytes | None
) -> None:
    """Take over a record of `products`; of one that cannot be read the version before stands, but
    that small letters of its serials may be capitals: so no recall that lists these is missed."""
    if value is None:
        known.pop(key, None)
    else:
        try:
            known[key] = products.decode(value)
        except UnreadableRecord as error:
            topic = Topic.PRODUCTS.value
            log.error("record cannot be read", topic=topic, key=key, reason=str(error))
            known[key] = replace(known.get(key, Product(id=key, name=key)), fold_case=True)
            unreadable.product(key, is_unreadable=True)
            return
    unreadable.product(key, is_unreadable=False)


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
    named = _fields(value).get("products")
    if not isinstance(named, list) or not all(map(_is_product, named)):
        return frozenset()
    return frozenset(named)


def _keys(link_id: str, value: bytes) -> frozenset[str]:
    """Both keys that an unreadable link names; none where one of them is not sure."""
    told = _fields(value)
    if told.get("id") != link_id or not _is_key(link_id) or not _is_key(told.get("unit")):
        return frozenset()
    return frozenset({link_id, told["unit"]})


def _fields(value: bytes) -> dict[str, Any]:
    """What an unreadable record tells by names; nothing where it tells nothing so."""
    try:
        record: Any = msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _is_key(named: Any) -> bool:
    """Whether it is a unit's key as reads have it."""
    try:
        return isinstance(named, str) and identify(named).key == named
    except NotIdentified:
        return False


def _is_product(named: Any) -> bool:
    """Whether it is a product's name as keys have it: a GTIN that is not in full is none."""
    return (
        isinstance(named, str)
        and named == named.strip() != ""
        and not (named.isdigit() and len(named) != _GTIN_LENGTH)
    )
