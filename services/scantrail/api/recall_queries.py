"""Which units a recall means, as PostgreSQL tells it: domain.recall_match over the whole table."""

import re
from typing import Any

from sqlalchemy import ColumnElement, and_, collate, false, func, or_, true

from scantrail.domain.recall import (
    BY_LOT,
    BY_UNREAD_MARKS,
    DIGIT,
    Recall,
    Selector,
    SelectorKind,
    text_range,
)
from scantrail.infra.tables import unit


def means(recall: Recall) -> ColumnElement[bool]:
    """Whether a row of `unit` is meant; NULL where the notice goes by a lot or a day of production
    that nobody told.

    A key that does not tell its product is meant by its serial alone. Rows of keys that were joined
    into others are judged too, by their own serials: their `joined` is the unit.
    """
    clauses = [_clause(selector) for selector in recall.selectors]
    if not recall.products:
        return or_(false(), *clauses)
    by_serial = [
        clause
        for clause, selector in zip(clauses, recall.selectors, strict=True)
        if selector.kind not in (*BY_UNREAD_MARKS, SelectorKind.ALL)
    ]
    return or_(
        and_(
            unit.c.product.is_not(None), unit.c.product.in_(recall.products), or_(false(), *clauses)
        ),
        and_(unit.c.product.is_(None), or_(false(), *by_serial)),
    )


def _clause(selector: Selector) -> ColumnElement[bool]:
    kind = SelectorKind(selector.kind)
    text: Any = unit.c.lot if kind in BY_LOT else unit.c.serial
    match kind:
        case SelectorKind.ALL:
            return true()
        case SelectorKind.LIST:
            return _any_of(text, selector.serials)
        case SelectorKind.LOT:
            return _any_of(text, selector.lots)
        case SelectorKind.PREFIX:
            prefix = selector.prefix or ""
            return func.left(text, len(prefix)) == prefix
        case SelectorKind.PATTERN:
            fits: ColumnElement[bool] = text.regexp_match(_regular(selector.pattern or ""))
            return fits
        case SelectorKind.DATE:
            first, last = selector.first_day, selector.last_day
            bounds = [unit.c.produced_on >= first] if first is not None else []
            return and_(*bounds, *([unit.c.produced_on <= last] if last is not None else []))
    return _between(text, selector)


def _any_of(text: Any, told: tuple[str, ...]) -> ColumnElement[bool]:
    """One parameter, however many there are; PostgreSQL hashes it."""
    listed: ColumnElement[bool] = text == func.any(list(told))
    return listed


def _between(text: Any, selector: Selector) -> ColumnElement[bool]:
    """Of the same length, with the same prefix, digits are in the order of their numbers."""
    told = text_range(selector, "selectors")
    low, high = (f"{told.prefix}{number:0{told.digits}}" for number in (told.low, told.high))
    return and_(
        func.char_length(text) == len(low),
        collate(text, "C") >= low,
        collate(text, "C") <= high,
        func.left(text, len(told.prefix)) == told.prefix,
        func.right(text, told.digits).regexp_match("^[0-9]+$"),
    )


def _regular(pattern: str) -> str:
    """A pattern as a regular expression of PostgreSQL's."""
    parts = ("[0-9]" if each == DIGIT else re.escape(each) for each in pattern)
    return f"^{''.join(parts)}$"
