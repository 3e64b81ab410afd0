"""May this unit leave? Release, hold or unknown, with the reason.

The first that is true decides:

| what is so | verdict | reason |
|---|---|---|
| the code names a product that needs a serial to leave | hold | `no_serial` |
| the code names another product, some of whose units are recalled | hold | `recalled` |
| the read names no unit otherwise | unknown | why it names none, such as `bad_check_digit` |
| an active recall means the unit, or what is inside it | hold | `recalled` |
| the unit is held | hold | `held` |
| a recall goes by a lot or day that was not read, and nobody decided | hold | `recall_undecided` |
| the order asks for none of the unit's products | hold | `wrong_product` |
| as many other units as the order asks for were released for it | hold | `one_too_many` |
| a recall, a link or its product cannot be read, and may mean the unit | hold | `not_ready` |
| recalls, holds, links, products, or orders for one, were not read yet | hold | `not_ready` |
| nobody confirmed for too long that none is missing | hold | `stale` |
| the order was changed, and the change cannot be read | hold | `not_ready` |
| nobody entered the order, and it has to be known | hold | `unknown_order` |
| nothing tells the unit's product, and the order asks for some | hold | `unknown_product` |
| none of these | release | `clear` |

A product whose units leave without a serial is judged by its code as a unit is, but for how many
left: the same code at two questions may be one unit twice.

Those of the order count where a question names one. An order without lines says nothing, and a
logistic unit is not held against its order: what is in it is not known here.

What is known against a unit is told before what may be missing: both keep it here, and only the
first tells a person what to do. So is that a known order asks for something else, though it may
have been changed; an order that is not known may be what is missing.

A conveyor takes unknown for a hold, and so it takes an answer that does not come: only release
opens the gate. The shell turns a release into a hold where the question could not be recorded
(`not_recorded`), not in time (`late`), or comes from a place that nobody configured
(`unknown_station`, `unknown_reader`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from scantrail.domain.hold import HoldReason
from scantrail.domain.order import Order
from scantrail.domain.product import Product
from scantrail.domain.recall import Recall
from scantrail.domain.station import Station
from scantrail.domain.vocabulary import BusinessStep

#: Nothing is unreadable.
ALL_READABLE: Final[Mapping[str, Sequence[str]]] = MappingProxyType({})


class Verdict(StrEnum):
    """What a conveyor is told."""

    RELEASE = "release"
    HOLD = "hold"
    UNKNOWN = "unknown"


class Why(StrEnum):
    """Reasons of release and hold; those of unknown are of the read."""

    CLEAR = "clear"
    NO_SERIAL = "no_serial"
    RECALLED = "recalled"
    HELD = "held"
    RECALL_UNDECIDED = "recall_undecided"
    WRONG_PRODUCT = "wrong_product"
    ONE_TOO_MANY = "one_too_many"
    NOT_READY = "not_ready"
    STALE = "stale"
    UNKNOWN_ORDER = "unknown_order"
    UNKNOWN_PRODUCT = "unknown_product"
    NOT_RECORDED = "not_recorded"
    LATE = "late"
    UNKNOWN_STATION = "unknown_station"
    UNKNOWN_READER = "unknown_reader"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, its reason in one fixed word, and a sentence for the person at the gate."""

    verdict: Verdict
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForOrder:
    """The order for which a unit is to leave.

    `order` is what was entered, None: nothing; then a unit is held where it `must_be_known`. Where
    it `is_unreadable`, something was entered after that, which cannot be read.
    `products` are the unit's, by all its keys; `released` how many other units of each were
    released for the order.
    """

    reference: str
    order: Order | None
    products: Sequence[str]
    released: Mapping[str, int]
    must_be_known: bool = True
    is_unreadable: bool = False


def judge_unit(
    unit: str,
    recalls: Sequence[Recall],
    reasons: Sequence[HoldReason],
    asked: ForOrder | None = None,
    *,
    undecided: Sequence[Recall] = (),
    unreadable: Mapping[str, Sequence[str]] = ALL_READABLE,
    confirmed_s: float | None,
    stale_s: float,
) -> Judgement:
    """Whether `unit` may leave: by the active recalls that mean it, by why it is held, by the
    recalls of which nobody can say whether they mean it, and by the order that the question names.

    `unreadable` are, by topic, the ids of what cannot be read and may speak against it: recalls,
    links, products. `confirmed_s` seconds ago nothing was missing from what is known of these; None
    where they were never read to their end. Beyond `stale_s` nothing is released.
    """
    if recalls:
        told = "; ".join(f"{recall.id}: {recall.title}" for recall in recalls)
        return Judgement(Verdict.HOLD, Why.RECALLED, f"{unit} is recalled ({told})")
    if reasons:
        told = "; ".join(f"{reason.id}: {reason.text}" for reason in reasons)
        is_recalled = any(reason.recall is not None for reason in reasons)
        why = Why.RECALLED if is_recalled else Why.HELD
        return Judgement(Verdict.HOLD, why, f"{unit} is held ({told})")
    if undecided:
        told = "; ".join(f"{recall.id}: {recall.title}" for recall in undecided)
        detail = (
            f"{unit} may be recalled ({told}): scan a code that tells its lot and day of"
            " production, or look it up"
        )
        return Judgement(Verdict.HOLD, Why.RECALL_UNDECIDED, detail)
    if asked is not None and unit.startswith("sscc:"):
        asked = None
    return _released(unit, asked, unreadable, confirmed_s, stale_s)


def judge_product(
    product: Product,
    recalls: Sequence[Recall],
    asked: ForOrder | None = None,
    *,
    unreadable: Mapping[str, Sequence[str]] = ALL_READABLE,
    confirmed_s: float | None,
    stale_s: float,
) -> Judgement:
    """Whether a unit may leave of which only its product was read; `recalls` are those by which
    some of the product's units are recalled, the rest is as in judge_unit."""
    unit = f"a unit of {product.id} without a serial"
    if product.needs_serial_at(BusinessStep.SHIPPING):
        told = f"units of {product.id} ({product.name}) need their serial to leave: scan the unit's"
        return Judgement(Verdict.HOLD, Why.NO_SERIAL, f"{told} own code")
    if recalls:
        told = "; ".join(f"{recall.id}: {recall.title}" for recall in recalls)
        return Judgement(Verdict.HOLD, Why.RECALLED, f"{unit} may be recalled ({told})")
    return _released(unit, asked, unreadable, confirmed_s, stale_s)


def _released(
    unit: str,
    asked: ForOrder | None,
    unreadable: Mapping[str, Sequence[str]],
    confirmed_s: float | None,
    stale_s: float,
) -> Judgement:
    """The release of a unit against which nothing is known, unless its order asks for another, or
    something may be missing."""
    if asked is not None and (misfit := _misfit(unit, asked)) is not None:
        return misfit
    unsure = _unsure(unit, unreadable, confirmed_s, stale_s)
    if unsure is not None:
        return unsure
    if asked is not None and (untold := _untold(unit, asked)) is not None:
        return untold
    return Judgement(Verdict.RELEASE, Why.CLEAR, f"nothing is known against {unit}")


def _unsure(
    unit: str,
    unreadable: Mapping[str, Sequence[str]],
    confirmed_s: float | None,
    stale_s: float,
) -> Judgement | None:
    """The hold of a unit of which something may be missing that speaks against it."""
    if unreadable:
        told = [f"in topic {topic} of {', '.join(ids)}" for topic, ids in unreadable.items()]
        detail = f"{unit} may be recalled: what is {'; '.join(told)} cannot be read; PUT it again"
        return Judgement(Verdict.HOLD, Why.NOT_READY, detail)
    if confirmed_s is None:
        return Judgement(
            Verdict.HOLD, Why.NOT_READY, "not all that is known of the unit has been read yet"
        )
    if confirmed_s > stale_s:
        return Judgement(
            Verdict.HOLD,
            Why.STALE,
            f"what is known of the unit was last confirmed {confirmed_s:.0f} s ago, at most"
            f" {stale_s:g} s are allowed: look whether Kafka is away",
        )
    return None


def _misfit(unit: str, asked: ForOrder) -> Judgement | None:
    """The hold of a unit that its order does not ask for, or not any more."""
    order = asked.order
    if order is None or not order.lines or not asked.products:
        return None
    product = order.ordered_of(asked.products)
    if product is None:
        told = f"{unit} is of {asked.products[0]}, for which order {asked.reference} has no line"
        return Judgement(Verdict.HOLD, Why.WRONG_PRODUCT, told)
    quantity = order.quantity_of(product)
    if asked.released[product] >= quantity:
        told = (
            f"order {asked.reference} asks for {quantity} of {product}, and"
            f" {asked.released[product]} other units of it were released"
        )
        return Judgement(Verdict.HOLD, Why.ONE_TOO_MANY, told)
    return None


def _untold(unit: str, asked: ForOrder) -> Judgement | None:
    """The hold of a unit of which nobody can say whether its order asks for it."""
    if asked.is_unreadable:
        told = f"what was entered last of order {asked.reference} cannot be read: PUT it again"
        return Judgement(Verdict.HOLD, Why.NOT_READY, told)
    if asked.order is None:
        if not asked.must_be_known:
            return None
        told = f"order {asked.reference} was not entered: PUT /orders, or read its label again"
        return Judgement(Verdict.HOLD, Why.UNKNOWN_ORDER, told)
    if asked.order.lines and not asked.products:
        told = (
            f"nothing tells of which product {unit} is, and order {asked.reference} asks for"
            " products: PUT /identifiers links it"
        )
        return Judgement(Verdict.HOLD, Why.UNKNOWN_PRODUCT, told)
    return None


def asked_at(station: Station) -> Station:
    """The station as the scan of a question claims it: a unit that waits to leave.

    A station that is configured for another step, such as shipping, says only where it is: a
    question hands nothing over, and what the step would claim happens later or never.
    """
    if station.business_step is BusinessStep.STAGING_OUTBOUND:
        return station
    return _standing_at(station, BusinessStep.STAGING_OUTBOUND)


def held_at(station: Station) -> Station:
    """The station as the scan of a hold claims it: the unit was taken out of the flow there."""
    return _standing_at(station, BusinessStep.HOLDING)


def _standing_at(station: Station, step: BusinessStep) -> Station:
    return replace(
        station,
        business_step=step,
        business_location=None,
        disposition=None,
        possessing_party=None,
    )
