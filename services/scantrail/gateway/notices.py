"""Recalls and holds in the gateway's memory, and how sure it is that nothing is missing that tells
against a unit: of these, of the links by which a unit has several keys, and of the products by
which its serial is spelled.

There is no copy of recalls and holds on disk: a gateway that does not reach Kafka releases nothing
anyway.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from datetime import date
from functools import partial
from typing import NamedTuple

from scantrail.contracts.topics import Topic
from scantrail.domain.hold import Hold, HoldReason, standing
from scantrail.domain.identifiers import product_and_serial
from scantrail.domain.recall import Marks, Recall
from scantrail.domain.recall_match import RecallMatcher
from scantrail.gateway.confirmed import follow_confirmed, keep_confirming
from scantrail.infra.kafka import Mirror
from scantrail.infra.notices import Unreadable, take_hold, take_recall
from scantrail.infra.settings import Settings

#: By an id whose link is missing, what speaks against its unit is not found; nor by a serial in
#: small letters, where its product tells that they are capitals.
_CONFIRMED = (Topic.RECALLS, Topic.HOLDS, Topic.IDENTIFIERS, Topic.PRODUCTS)


class Against(NamedTuple):
    """What speaks against one unit."""

    #: the active recalls that mean it
    recalls: list[Recall]
    #: why it is held
    reasons: list[HoldReason]
    #: the active recalls that go by what was not read of it, and for which nobody decided yet
    undecided: list[Recall]


class Notices:
    """What speaks against units; each change is taken over as it comes while `follow` runs."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._recalls = RecallMatcher()
        self._holds: dict[str, Hold] = {}
        self._unreadable = Unreadable()
        self._confirmed: dict[Topic, float] = {}
        self._applies = {
            Topic.RECALLS: partial(take_recall, self._recalls, self._unreadable),
            Topic.HOLDS: partial(take_hold, self._holds, self._unreadable),
        }

    def take(self, topic: Topic, key: str, value: bytes | None) -> None:
        """Take over one record of `recalls` or of `holds`."""
        self._applies[topic](key, value)

    def confirm(self, topic: Topic, at: float) -> None:
        """All records that `topic` had when the clock showed `at` were taken."""
        self._confirmed[topic] = at

    def doubt(self, topic: Topic) -> None:
        """Records of `topic` that were taken may be lost: it is as if it never was confirmed."""
        self._confirmed.pop(topic, None)

    def against(
        self, keys: Sequence[str], *, lot: str | None = None, produced_on: date | None = None
    ) -> Against:
        """What speaks against a unit with these keys, of which these marks were read."""
        matched = [
            self._recalls.match(Marks(*product_and_serial(key), lot, produced_on)) for key in keys
        ]
        holds = [hold for key in keys if (hold := self._holds.get(key)) is not None]
        left = standing(matched, [each for hold in holds for each in hold.cleared])
        return Against(
            [*left.recalled, *left.likely],
            [reason for hold in holds for reason in hold.reasons],
            left.undecided,
        )

    def against_some_of(self, product: str, *, has_serials: bool) -> list[Recall]:
        """The active recalls by which some units of a product are recalled, or all; whether they
        may have serials, though none was read."""
        return self._recalls.meaning_some_of(product, has_serials=has_serials)

    def note_link(self, link_id: str, value: bytes | None) -> None:
        """This record of `identifiers` cannot be read; None: it can, or is deleted."""
        self._unreadable.link(link_id, value)

    def note_product(self, product_id: str, value: bytes | None) -> None:
        """This record of `products` cannot be read; None: it can, or is deleted."""
        self._unreadable.product(product_id, is_unreadable=value is not None)

    def unreadable(self, keys: Sequence[str], *, of_product: str | None) -> dict[str, list[str]]:
        """What cannot be read, and may speak against a unit with these keys, by topic: ids of
        recalls, of links and of products. `of_product` is told beside its code."""
        products = {product_and_serial(key)[0] for key in keys}
        found = self.unreadable_of(products if of_product is None else {*products, of_product})
        if links := self._unreadable.links_of(keys):
            found[Topic.IDENTIFIERS] = links
        return found

    def unreadable_of(self, products: Collection[str | None]) -> dict[str, list[str]]:
        """What cannot be read, and may speak against units of these products, by topic."""
        told = {
            Topic.RECALLS.value: self._unreadable.recalls_of(products),
            Topic.PRODUCTS.value: self._unreadable.products_of(products),
        }
        return {topic: ids for topic, ids in told.items() if ids}

    def confirmed_s(self) -> float | None:
        """Seconds since when something may be missing; None until each topic was read once."""
        if len(self._confirmed) < len(_CONFIRMED):
            return None
        return self._clock() - min(self._confirmed.values())

    async def follow(self, settings: Settings) -> None:
        """Read both topics until cancelled; waits for Kafka, at the start and whenever it is
        away."""
        async with asyncio.TaskGroup() as tasks:
            for topic in self._applies:
                tasks.create_task(
                    follow_confirmed(
                        settings,
                        topic,
                        partial(self.take, topic),
                        partial(self.confirm, topic),
                        self._clock,
                    )
                )

    async def keep_confirming(self, topic: Topic, mirror: Mirror) -> None:
        """While `mirror` follows `topic`: confirm what it has, until cancelled."""
        await keep_confirming(mirror, topic, partial(self.confirm, topic), self._clock)
