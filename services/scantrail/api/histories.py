"""What a unit's warranty and its returns are told from: its scans, events, orders, replacements."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Row, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from scantrail.api.queries import HAPPENED_AT
from scantrail.domain.claim import ClaimState
from scantrail.domain.custody import Outcome
from scantrail.domain.identifiers import product_and_serial
from scantrail.domain.product import Product, policy_at
from scantrail.domain.returns import ENDS, StepScan
from scantrail.domain.vocabulary import BusinessStep
from scantrail.domain.warranty import (
    Cover,
    Happening,
    HappeningKind,
    WarrantyStart,
    WarrantyTerm,
    cover_of,
    inherited,
)
from scantrail.infra.tables import (
    movement,
    product,
    replacement,
    sales_order,
    sales_order_line,
    site,
    warranty_claim,
    warranty_event,
    warranty_term,
)

#: Of these outcomes the scan did nothing to the unit.
_IDLE = tuple(each.value for each in (Outcome.CORRECTED, Outcome.VOIDED, Outcome.NOT_INSIDE))

_KINDS = {
    BusinessStep.SHIPPING: HappeningKind.SHIPPED,
    BusinessStep.DEPARTING: HappeningKind.SHIPPED,
    BusinessStep.RECEIVING: HappeningKind.ARRIVED,
    BusinessStep.ARRIVING: HappeningKind.ARRIVED,
    BusinessStep.COMMISSIONING: HappeningKind.ARRIVED,
    BusinessStep.RETURNING: HappeningKind.RETURNED,
    BusinessStep.VOID_SHIPPING: HappeningKind.SHIPPING_VOIDED,
}

#: A chain of replacements longer than this is followed no further.
_REPLACEMENTS_MAX = 20


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of one unit, its own first, and its product where one of them tells it."""

    every: tuple[str, ...]
    product: str | None

    @property
    def unit(self) -> str:
        return self.every[0]


#: Up from a key to the one into which its unit was joined, then down to all that are its.
_KEYS = text("""
WITH RECURSIVE up(unit, steps) AS (
    SELECT coalesce((SELECT unit FROM identifier WHERE id = :key), :key), 0
    UNION ALL
    SELECT unit.joined, steps + 1 FROM up JOIN unit USING (unit)
    WHERE unit.joined IS NOT NULL AND steps < :steps_max
), own AS (SELECT unit FROM up ORDER BY steps DESC LIMIT 1),
linked AS (
    SELECT unit FROM own UNION SELECT id FROM identifier JOIN own USING (unit)
), joined AS (SELECT unit.unit FROM unit JOIN linked ON unit.joined = linked.unit)
SELECT (SELECT unit FROM own), array(
    SELECT unit FROM linked UNION SELECT unit FROM joined ORDER BY 1
)
""")


async def keys_of(connection: AsyncConnection, key: str) -> Keys:
    """Of the unit that has `key`: also ids that were linked, or joined into it."""
    asked = {"key": key, "steps_max": _REPLACEMENTS_MAX}
    own, others = (await connection.execute(_KEYS, asked)).one()
    return as_keys((own, *others, key))


def as_keys(every: Iterable[str]) -> Keys:
    """Of one unit these, its own first."""
    keys = tuple(dict.fromkeys(every))
    told = (product_and_serial(each)[0] for each in keys)
    return Keys(keys, next((name for name in told if name is not None), None))


async def scans_of(connection: AsyncConnection, keys: Keys) -> Sequence[Any]:
    """The scans that count, with `happened_at`, `purchaser` of their order and the `time_zone`."""
    corrections = movement.alias()
    is_voided = (
        select(corrections.c.unit)
        .where(corrections.c.unit.in_(keys.every), corrections.c.corrects == movement.c.event_id)
        .exists()
    )
    query = (
        select(
            movement.c.event_id,
            movement.c.business_step,
            movement.c.order_ref,
            movement.c.rma,
            HAPPENED_AT.label("happened_at"),
            sales_order.c.purchaser,
            site.c.time_zone,
        )
        .outerjoin(sales_order, sales_order.c.ref == movement.c.order_ref)
        .outerjoin(site, site.c.id == movement.c.site)
        .where(movement.c.unit.in_(keys.every), movement.c.outcome.not_in(_IDLE), ~is_voided)
        .order_by("happened_at", movement.c.event_id)
    )
    rows: Sequence[Any] = (await connection.execute(query)).all()
    return rows


def step_scans(rows: Iterable[Any]) -> list[StepScan]:
    """The same, as a return needs them; what is told of other steps is left out."""
    known = set(BusinessStep)
    return [
        StepScan(
            event_id=row.event_id,
            at=row.happened_at,
            step=BusinessStep(row.business_step),
            order=row.order_ref,
            purchaser=row.purchaser,
            rma=row.rma,
        )
        for row in rows
        if row.business_step in known
    ]


async def default_zone(connection: AsyncConnection) -> tzinfo:
    """That of all sites, where they have one; else UTC."""
    zones = (await connection.execute(select(site.c.time_zone).distinct().limit(2))).scalars().all()
    return ZoneInfo(zones[0]) if len(zones) == 1 else UTC


async def terms_of(connection: AsyncConnection, name: str | None) -> list[WarrantyTerm]:
    """All terms of a product, the oldest first."""
    query = (
        select(warranty_term)
        .where(warranty_term.c.product == name)
        .order_by(warranty_term.c.valid_from)
    )
    return [
        WarrantyTerm(
            product=row.product,
            valid_from=row.valid_from,
            months=row.months,
            start=WarrantyStart(row.start),
        )
        for row in await connection.execute(query)
    ]


async def cover_for(
    connection: AsyncConnection,
    keys: Keys,
    *,
    proof: str | None = None,
    until: datetime | None = None,
    depth: int = 0,
) -> Cover | None:
    """The unit's cover, or what it has of the unit that it replaced; None where it was not sold.

    `proof` is an order whose line stands for its shipping, beside those that claims named before.
    `until`: as it was then.
    """
    happenings = await _sales(connection, keys, proof)
    before: Row[Any] | None = None
    for row in await connection.execute(_EVENTS, {"keys": list(keys.every)}):
        if row.kind != _REPLACES:
            kind = HappeningKind(row.kind)
            happenings.append(Happening(kind=kind, at=row.at, text=row.note, unit=row.unit))
        elif until is None or row.at < until:
            before = row  # the newest comes last
    if until is not None:
        happenings = [each for each in happenings if each.at <= until]
    own = None
    sales = [each for each in happenings if each.kind is HappeningKind.SHIPPED]
    if sales:
        terms = await terms_of(connection, keys.product)
        knows_zones = all(each.zone is not None for each in sales)
        zone = UTC if knows_zones else await default_zone(connection)
        own = cover_of(keys.unit, happenings, terms, zone)
    if before is None or depth == _REPLACEMENTS_MAX:
        return own
    old = await keys_of(connection, before.unit)
    passed = await cover_for(connection, old, until=before.at, depth=depth + 1)
    return own if passed is None else inherited(passed, own)


_REPLACES = "replaces"

#: What happened to a unit's warranty beside its scans, and whose place it took, as it happened.
_EVENTS = text(f"""
SELECT kind, at, note, NULL AS unit FROM warranty_event WHERE unit = ANY(:keys)
UNION ALL
SELECT 'replaced', at, NULL, replaced_by FROM replacement WHERE unit = ANY(:keys)
UNION ALL
SELECT '{_REPLACES}', at, NULL, unit FROM replacement WHERE replaced_by = ANY(:keys)
UNION ALL
SELECT 'taken_back', at, NULL, NULL FROM return_decision JOIN return_line USING (rma, line)
WHERE unit = ANY(:keys) AND state IN ({", ".join(f"'{state}'" for state in sorted(ENDS))})
ORDER BY at
""")


async def replacements_of(connection: AsyncConnection, keys: Keys) -> dict[str, str | None]:
    """Whose place the unit took last (`replaces`), and which one took its own (`replaced_by`)."""
    query = (
        select(replacement)
        .where(or_(replacement.c.unit.in_(keys.every), replacement.c.replaced_by.in_(keys.every)))
        .order_by(replacement.c.at)
    )
    found: dict[str, str | None] = {"replaces": None, "replaced_by": None}
    for row in await connection.execute(query):
        if row.unit in keys.every:
            found["replaced_by"] = row.replaced_by
        else:
            found["replaces"] = row.unit
    return found


async def _sales(connection: AsyncConnection, keys: Keys, proof: str | None) -> list[Happening]:
    scans = await scans_of(connection, keys)
    told = [
        Happening(
            kind=_KINDS[BusinessStep(row.business_step)],
            at=row.happened_at,
            order=row.order_ref,
            purchaser=row.purchaser,
            zone=row.time_zone and ZoneInfo(row.time_zone),
        )
        for row in scans
        if row.business_step in _KINDS
    ]
    if not any(each.kind is HappeningKind.SHIPPED for each in told):
        told += await _proven(connection, keys, proof)
    return told


async def _proven(connection: AsyncConnection, keys: Keys, proof: str | None) -> list[Happening]:
    """Of a unit that no scan tells to have left: the orders whose lines stand for that."""
    claims = select(warranty_claim.c.order_ref).where(
        warranty_claim.c.unit.in_(keys.every),
        warranty_claim.c.line.is_not(None),
        warranty_claim.c.state != ClaimState.REFUSED.value,
    )
    registrations = select(warranty_event.c.order_ref).where(
        warranty_event.c.unit.in_(keys.every), warranty_event.c.order_ref.is_not(None)
    )
    query = select(sales_order).where(
        or_(
            sales_order.c.ref == proof,
            sales_order.c.ref.in_(claims),
            sales_order.c.ref.in_(registrations),
        )
    )
    return [
        Happening(
            kind=HappeningKind.SHIPPED,
            at=row.ordered_at,
            order=row.ref,
            purchaser=row.purchaser,
        )
        for row in await connection.execute(query)
    ]


@dataclass(frozen=True, slots=True)
class Proof:
    """A line of an order that has a product: `bought` units in all lines of it together."""

    line: int
    bought: int


async def line_of(connection: AsyncConnection, order: str, name: str | None) -> Proof | None:
    """The line of an order that has a product; None where none has."""
    lines = sales_order_line
    query = select(func.min(lines.c.line), func.sum(lines.c.quantity)).where(
        lines.c.ref == order, lines.c.product == name
    )
    line, bought = (await connection.execute(query)).one()
    return None if line is None else Proof(line, int(bought))


async def lines_prove(connection: AsyncConnection, name: str | None, order: str) -> bool:
    """Whether an order's line stands for the shipping of a product's units: where, by what held
    when it was ordered, units may go without being scanned."""
    query = (
        select(product.c.document, sales_order.c.ordered_at)
        .join_from(product, sales_order, sales_order.c.ref == order)
        .where(product.c.id == name)
    )
    row = (await connection.execute(query)).first()
    if row is None:
        return False
    known = policy_at(msgspec.convert(row.document, Product), row.ordered_at)
    return not known.needs_serial_at(BusinessStep.SHIPPING)


async def purchaser_of(connection: AsyncConnection, order: str) -> str | None:
    """The id of the party that bought; None where there is no such order."""
    query = select(sales_order.c.purchaser).where(sales_order.c.ref == order)
    found: str | None = (await connection.execute(query)).scalar()
    return found


def plain(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows as JSON has them."""
    return [dict(row._mapping) for row in rows]
