"""Serials whose small letters are capitals: folded here, whoever told them, and nowhere else in the
api.

Which products fold is read before each request, and known to whatever the request then calls.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from sqlalchemy import Column, and_, func, literal, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role, role_of
from scantrail.api.problems import Problem
from scantrail.contracts.identity import identify
from scantrail.domain.identifiers import Identified, is_gtin, product_and_serial
from scantrail.domain.product import folded_key, spellings_of
from scantrail.domain.recall import Recall, Selector, SelectorKind
from scantrail.infra import tables
from scantrail.infra.database import FOLDING_LOCK, keep_folding

#: What only reads may go by products as they were so long ago.
READS_S_MAX: Final = 1.0

#: Selectors of serials; those of lots are told by nobody's `fold_case`.
_OF_SERIALS: Final = (
    SelectorKind.LIST,
    SelectorKind.RANGE,
    SelectorKind.PREFIX,
    SelectorKind.PATTERN,
)

#: The products that fold case.
FOLDING_PRODUCTS: Final = select(tables.product.c.id).where(tables.product.c.fold_case)

#: Units that are told of those that stand in the way.
_TOLD_MAX: Final = 5

_FOLDING: ContextVar[frozenset[str]] = ContextVar("folding", default=frozenset())

#: Products of which the request named a serial with small letters: whether they fold, matters.
_ASKED: ContextVar[set[str] | None] = ContextVar("asked", default=None)

#: Whether the request itself changes which products fold: it has the lock alone.
_FOLDS_ANEW: ContextVar[bool] = ContextVar("folds_anew", default=False)

#: Wherever something is told of a unit by its key. Logs of what was are none of them.
_TOLD_OF_UNITS: Final[tuple[Column[Any], ...]] = (
    tables.unit.c.unit,
    tables.identifier.c.id,
    tables.identifier.c.unit,
    tables.hold.c.id,
    tables.advance_notice_unit.c.unit,
    tables.warranty_event.c.unit,
    tables.warranty_claim.c.unit,
    tables.return_line.c.unit,
    tables.register_unit.c.unit,
)


class Folding:
    """A guard that lets everybody through, and knows which products fold case."""

    def __init__(self, engine: AsyncEngine, *, now: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._now = now
        self._known = frozenset[str]()
        self._read_at: float | None = None

    async def __call__(
        self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
    ) -> None:
        if role_of(handler) is Role.PUBLIC:
            return
        method = connection.scope["method"]  # type: ignore[typeddict-item]
        now = self._now()
        is_old = self._read_at is None or now - self._read_at > READS_S_MAX
        if is_old or method != "GET":
            async with self._engine.connect() as database:
                self._known = frozenset((await database.execute(FOLDING_PRODUCTS)).scalars())
            self._read_at = now
        _FOLDING.set(self._known)
        _ASKED.set(set())
        _FOLDS_ANEW.set(False)


async def check_still_folding(connection: AsyncConnection) -> None:
    """Raise Problem 503 where a product came to fold case, or not to, since this request was begun
    which told of its units: they may have keys that no unit has. Until its transaction ends none
    does."""
    asked = _ASKED.get()
    if _FOLDS_ANEW.get() or not asked:
        return
    await keep_folding(connection)
    now = frozenset((await connection.execute(FOLDING_PRODUCTS)).scalars())
    if asked & (_FOLDING.get() ^ now):
        raise Problem(
            503,
            "Try again",
            "a product came to fold case meanwhile: nothing was changed",
            headers={"Retry-After": "1"},
        )


def folded(key: str) -> str:
    """The one key of a unit, of whatever case its serial was told."""
    product, capitals = product_and_serial(key)[0], folded_key(key)
    if product is None or capitals == key:
        return key
    if (asked := _ASKED.get()) is not None:
        asked.add(product)
    return capitals if product in _FOLDING.get() else key


def identified(text: str, *, aim: str | None = None, product: str | None = None) -> Identified:
    """As contracts.identity.identify, with the one key of the unit. Raises NotIdentified."""
    found = identify(text, aim=aim, product=product)
    key = folded(found.key)
    if key == found.key:
        return found
    return found._replace(key=key, serial=product_and_serial(key)[1])


def keys_told(text: str) -> list[str]:
    """The one key of the unit; behind it the one that is spelled, where that is another: a scan
    may have it that was made before its product came to fold case. Raises NotIdentified."""
    spelled = identify(text).key
    return list(dict.fromkeys((folded(spelled), spelled)))


async def folding_among(connection: AsyncConnection, keys: Iterable[str]) -> frozenset[str]:
    """The products that fold case, of those of which a key has small letters: of most units nothing
    is asked."""
    small = {product_and_serial(key)[0] for key in keys if folded_key(key) != key}
    if not small:
        return frozenset()
    query = FOLDING_PRODUCTS.where(tables.product.c.id == func.any(sorted(filter(None, small))))
    return frozenset((await connection.execute(query)).scalars())


async def every_spelling(
    connection: AsyncConnection, units: Sequence[Sequence[str]]
) -> list[list[str]]:
    """For each of several units, told by its keys, all by which a recall or a hold may name it."""
    folding = await folding_among(connection, (key for keys in units for key in keys))
    return [spellings_of(keys, folding.__contains__) for keys in units]


async def folded_recall(connection: AsyncConnection, recall: Recall) -> Recall:
    """The recall with its serials in capitals too, where it means a product that folds case."""
    await keep_folding(connection)
    query = FOLDING_PRODUCTS
    if recall.products:
        query = query.where(tables.product.c.id.in_(recall.products))
    if (await connection.execute(query.limit(1))).first() is None:
        return recall
    # Behind all others, so that a place is that of the notice.
    capitals = (clause for each in recall.selectors for clause in in_capitals(each))
    return replace(recall, selectors=(*recall.selectors, *capitals))


def in_capitals(selector: Selector) -> Iterator[Selector]:
    """The clause with its serials in capitals, as far as they are others."""
    if selector.kind not in _OF_SERIALS:
        return
    known = frozenset(selector.serials)
    serials = dict.fromkeys(serial.upper() for serial in selector.serials)
    capitals = replace(
        selector,
        serials=tuple(serial for serial in serials if serial not in known),
        low=selector.low and selector.low.upper(),
        high=selector.high and selector.high.upper(),
        prefix=selector.prefix and selector.prefix.upper(),
        pattern=selector.pattern and selector.pattern.upper(),
    )
    if capitals.serials or replace(capitals, serials=selector.serials) != selector:
        yield capitals


async def check_folding(connection: AsyncConnection, product: str, *, folds: bool) -> None:
    """Raise Problem 409 where units, or notices, would be missed if the product's case were folded
    from now on, or not any more. Whatever is entered meanwhile waits, and is then told again."""
    _FOLDS_ANEW.set(True)
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": FOLDING_LOCK})
    scheme = "sgtin" if is_gtin(product) else "sn"
    found = list[str]()
    for column in _TOLD_OF_UNITS:
        query = _in_the_way(column, f"{scheme}:{product}.", folds=folds)
        found += (await connection.execute(query)).scalars()
    if found:
        units = ", ".join(dict.fromkeys(found[:_TOLD_MAX]))
        mend = (
            "PUT /identifiers, with `merge`, each with its spelling in capitals: they are one unit"
            if folds
            else "their serials have letters, and what is read in small ones would be another unit:"
            " leave fold_case as it is"
        )
        raise Problem(409, "Units in the way", f"known are {units}: {mend}", field="fold_case")
    if folds and (recalls := await _recalls_in_small_letters(connection, product)):
        raise Problem(
            409,
            "Recalls in the way",
            f"{', '.join(recalls)} names serials in small letters, by which no unit would be found:"
            " PUT it with capitals, or close it",
            field="fold_case",
        )


def _in_the_way(column: Column[Any], prefix: str, *, folds: bool) -> Any:
    serial = func.substr(column, len(prefix) + 1)
    capitals = literal(prefix).concat(func.upper(serial))
    units = tables.unit.alias()
    is_linked = _unit_of(column) == _unit_of(capitals)
    is_joined = select(units.c.unit).where(units.c.unit == column, units.c.joined == capitals)
    of_product = func.starts_with(column, prefix)
    query = select(column).order_by(column).limit(_TOLD_MAX)
    if not folds:
        return query.where(of_product, serial != func.lower(serial))
    return query.where(and_(of_product, column != capitals, ~is_linked, ~is_joined.exists()))


def _unit_of(key: Any) -> Any:
    """To which key `key` is linked; itself where it is to none."""
    links = tables.identifier.alias()
    linked = select(links.c.unit).where(links.c.id == key).scalar_subquery()
    return func.coalesce(linked, key)


async def _recalls_in_small_letters(connection: AsyncConnection, product: str) -> list[str]:
    query = text(
        """
        SELECT id FROM recall
        WHERE document ->> 'status' <> 'closed'
        AND (document -> 'products' = '[]' OR document -> 'products' @> to_jsonb(:product ::text))
        AND jsonb_path_exists(document, :small)
        ORDER BY id LIMIT :most
        """
    )
    kinds = " || ".join(f'@.kind == "{kind}"' for kind in _OF_SERIALS)
    names = ("serials[*]", "low", "high", "prefix", "pattern")
    fields = " || ".join(f'@.{name} like_regex "[a-z]"' for name in names)
    small = f"$.selectors[*] ? ({kinds}) ? ({fields})"
    told = {"product": product, "small": small, "most": _TOLD_MAX}
    return list((await connection.execute(query, told)).scalars())
