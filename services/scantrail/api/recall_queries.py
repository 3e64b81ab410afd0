"""Which units a recall means, as PostgreSQL tells it: domain.recall_match over the whole table.

A unit whose product folds case is meant by the capitals of its serial, too (domain.product's
spellings_of): a scan that waited while its product came to fold case brought it in small letters.
"""

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    collate,
    false,
    func,
    or_,
    select,
    true,
)

from scantrail.api.folding import FOLDING_PRODUCTS
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
    lists = _lists(recall)
    return or_(_means(recall, unit.c.serial, lists), _means_in_capitals(recall, lists))


def meant_units(recall: Recall) -> list[Select[Any]]:
    """The keys of all rows that `means`, in parts of which indexes find each: where a recall lists
    serials, none goes through the table."""
    lists = _lists(recall)
    small = unit.alias("small")
    # Few: no product comes to fold case while others are known than such as were joined.
    in_capitals = select(small.c.serial).where(is_in_small_letters(small))
    if recall.products:
        in_capitals = in_capitals.where(small.c.product.in_(recall.products))
    return [
        select(unit.c.unit).where(_means(recall, unit.c.serial, lists)),
        select(unit.c.unit).where(
            unit.c.serial == any_(func.array(in_capitals.scalar_subquery())),
            _means_in_capitals(recall, lists),
        ),
    ]


def is_in_small_letters(table: Any) -> ColumnElement[bool]:
    """Whether the serial of a row of `unit` has small letters, and its product folds case."""
    return and_(
        table.c.product.is_not(None),
        table.c.product.in_(FOLDING_PRODUCTS),
        table.c.serial != capitals_of(table),
    )


def capitals_of(table: Any) -> ColumnElement[str]:
    """The serial of a row of `unit` in capitals, whatever the language of the database."""
    return func.upper(collate(table.c.serial, "C"))


def _means_in_capitals(recall: Recall, lists: Sequence[BindParameter[Any]]) -> ColumnElement[bool]:
    return and_(is_in_small_letters(unit), _means(recall, capitals_of(unit), lists))


def _lists(recall: Recall) -> list[BindParameter[Any]]:
    """What each selector lists, as one parameter, however much it is and wherever it is asked."""
    return [
        bindparam("told", list(each.serials or each.lots), ARRAY(Text), unique=True)
        for each in recall.selectors
    ]


def _means(
    recall: Recall, serial: ColumnElement[str], lists: Sequence[BindParameter[Any]]
) -> ColumnElement[bool]:
    clauses = [
        _clause(selector, serial, told)
        for selector, told in zip(recall.selectors, lists, strict=True)
    ]
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


def _clause(
    selector: Selector, serial: ColumnElement[str], told: BindParameter[Any]
) -> ColumnElement[bool]:
    kind = SelectorKind(selector.kind)
    text: Any = unit.c.lot if kind in BY_LOT else serial
    match kind:
        case SelectorKind.ALL:
            return true()
        case SelectorKind.LIST | SelectorKind.LOT:
            listed: ColumnElement[bool] = text == any_(told)  # which PostgreSQL hashes
            return listed
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
