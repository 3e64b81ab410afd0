"""Notices of recalls as people word them, and the recalls that are meant.

    {"id": "R-1", "title": "Battery may overheat", "reason": "cells of lot 7 fail",
     "products": ["9506000134352"],
     "selectors": [{"kind": "range", "low": "AB001", "high": "AB099"},
                   {"kind": "date", "from": "2026-01-01", "to": "2026-01-31"}]}

Serials are entered as they are printed: with blanks around them, an IMEI with its check digit, a
VIN in small letters, a whole barcode. A recall has them so, and as unit keys have them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from scantrail.contracts.fields import field_of
from scantrail.contracts.printed import (
    Forms,
    check_texts,
    flaw_of,
    forms_and_product,
    is_range,
    joined_of,
    leaves_open,
    lot_flaw_of,
    other_clauses,
    plain_of,
    product_named,
)
from scantrail.domain.identifiers import TEXT_LENGTH_MAX, NotIdentified
from scantrail.domain.recall import (
    DIGIT,
    Recall,
    RecallRefused,
    RecallStatus,
    Selector,
    SelectorKind,
    check_notice,
)


class SelectorForm(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"first_day": "from", "last_day": "to"},
):
    """A clause of a notice: of `list` the serials, of `range` and `lot_range` low and high, of
    `prefix` the first characters, of `pattern` the serial with # for each open digit, of `lot` the
    lots, of `date` from and to, of which one may be missing; of `all` nothing."""

    kind: str
    serials: tuple[str, ...] = ()
    low: str | None = None
    high: str | None = None
    prefix: str | None = None
    pattern: str | None = None
    lots: tuple[str, ...] = ()
    first_day: date | None = None
    last_day: date | None = None


class NoticeForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A notice. Without products it is of any; without a title it is called by its id."""

    id: str
    selectors: tuple[SelectorForm, ...]
    products: tuple[str, ...] = ()
    title: str | None = None
    reason: str = ""
    remedy: str | None = None
    status: RecallStatus = RecallStatus.ACTIVE


#: By what each kind of clause goes.
_GOES_BY = {
    SelectorKind.LIST: ("serials",),
    SelectorKind.RANGE: ("low", "high"),
    SelectorKind.PREFIX: ("prefix",),
    SelectorKind.PATTERN: ("pattern",),
    SelectorKind.LOT: ("lots",),
    SelectorKind.LOT_RANGE: ("low", "high"),
    SelectorKind.DATE: ("first_day", "last_day"),
    SelectorKind.ALL: (),
}

_RANGES = (SelectorKind.RANGE, SelectorKind.LOT_RANGE)

_WRITTEN = {"first_day": "from", "last_day": "to"}

#: Of long lists so many entries are told; the rest is counted.
LISTED_MAX = 1000


def notice_of(document: Mapping[str, Any] | NoticeForm) -> Recall:
    """The recall of a notice: a JSON object, or the same decoded.

    Raises RecallRefused with the field and the mend. A notice that means all units of any product
    is none that could be entered (domain.recall.check_recall), and is taken here.
    """
    form = document if isinstance(document, NoticeForm) else _decoded(document)
    recall, _ = read_notice(
        form.id.strip(),
        form.title if form.title is not None else form.id,
        form.reason,
        form.products,
        form.selectors,
        status=form.status,
        remedy=form.remedy,
    )
    check_notice(recall)
    return recall


class Read(NamedTuple):
    """A notice as it was read, and each listed serial with its other forms."""

    recall: Recall
    listed: dict[str, Forms]


def read_notice(
    recall_id: str,
    title: str,
    reason: str,
    products: Sequence[str],
    selectors: Sequence[SelectorForm],
    *,
    status: RecallStatus = RecallStatus.ACTIVE,
    remedy: str | None = None,
) -> Read:
    """The recall of a notice; of a million serials it takes seconds. What its clauses say is not
    judged, but for what no clause can say. One that lists barcodes of a product, and nothing else,
    names that product. Raises RecallRefused."""
    serials = dict[str, Forms]()
    clauses, others, codes = list[Selector](), list[Selector](), dict[str | None, str]()
    for place, form in enumerate(selectors):
        where = f"selectors[{place}]"
        found = listed(form.serials, f"{where}.serials")
        clause = _clause(form, where, found.forms)
        more = list(other_clauses(clause))
        codes = _codes_of(clause, where, found) | codes
        if more and clause.kind in _RANGES and (leaves_open(clause) or not is_range(clause)):
            clause = more.pop(0)  # between bounds as they are printed nothing lies
        check_texts(clause, where)
        serials |= found.forms
        clauses.append(clause)
        others += more
    named = tuple(dict.fromkeys(_product(name, n) for n, name in enumerate(products)))
    if not named and len(codes) == 1:
        named = tuple(each for each in codes if each is not None)
    _check_codes(codes, named)
    clauses += others  # behind all others, so that a place is that of the notice
    recall = Recall(
        id=recall_id,
        title=title,
        reason=reason,
        selectors=tuple(clauses),
        products=named,
        status=status,
        remedy=remedy,
    )
    return Read(recall, serials)


def list_of(serials: Mapping[str, Forms]) -> Selector:
    """The clause that lists these serials, in all their forms."""
    forms = dict.fromkeys(serials)
    for others in serials.values():
        forms.update(dict.fromkeys(others))
    return Selector(kind=SelectorKind.LIST, serials=tuple(forms))


def told_of(selector: Selector) -> dict[str, Any]:
    """A clause as a notice words it; of what it lists the beginning, with the `count` of all, and
    of serials the SHA-256 of their lines."""
    names = _GOES_BY[SelectorKind(selector.kind)]
    told: dict[str, Any] = {"kind": str(selector.kind)}
    for name in names:
        value = getattr(selector, name)
        if isinstance(value, tuple):
            told |= {name: list(value[:LISTED_MAX]), "count": len(value)}
        else:
            told[_WRITTEN.get(name, name)] = value.isoformat() if isinstance(value, date) else value
    if selector.kind == SelectorKind.LIST:
        told["sha256"] = sha256("\n".join(selector.serials).encode()).hexdigest()
    return told


def clause_of(told: Mapping[str, Any]) -> Selector:
    """The clause that told_of tells, as far as it does, or that a record has."""
    named = {name: told[written] for name, written in _WRITTEN.items() if written in told}
    return msgspec.convert({**told, **named}, Selector)


class Listed(NamedTuple):
    """The serials of a list, each with its other forms, and the products that they name as barcodes
    do, each with the field that does so first; None: that of those which name none."""

    forms: dict[str, Forms]
    codes: dict[str | None, str]


def listed(serials: Iterable[str], where: str) -> Listed:
    """Each serial of a list as it is printed, without blanks around it; blank ones are left out.
    Raises RecallRefused."""
    forms, codes = dict[str, Forms](), dict[str | None, str]()
    for place, serial in enumerate(serials):
        if len(serial) > TEXT_LENGTH_MAX:
            raise RecallRefused(f"{where}[{place}]", "no serial is that long: one to each entry")
        plain = plain_of(serial)
        if not plain or plain in forms:
            continue
        flaw = flaw_of(plain)
        if flaw is None and DIGIT in plain:
            flaw = f"{DIGIT} stands for a digit in a pattern alone: make {plain} one"
        if flaw is not None:
            raise RecallRefused(f"{where}[{place}]", flaw)
        forms[plain], product = forms_and_product(plain)
        if product not in codes:
            codes[product] = f"{where}[{place}]"
    return Listed(forms, codes)


def _decoded(document: Mapping[str, Any]) -> NoticeForm:
    try:
        return msgspec.convert(document, NoticeForm)
    except msgspec.ValidationError as error:
        field, _, reason = field_of(error)
        raise RecallRefused(field, reason) from error


def _clause(form: SelectorForm, where: str, serials: Mapping[str, Forms]) -> Selector:
    told = Selector(**msgspec.structs.asdict(form))
    _check_purpose(told, where)
    lots = [plain_of(lot) for lot in told.lots]
    for place, lot in enumerate(lots):
        if (flaw := lot_flaw_of(lot)) is not None:
            raise RecallRefused(f"{where}.lots[{place}]", flaw)
    return replace(
        told,
        serials=list_of(serials).serials,
        low=told.low and plain_of(told.low),
        high=told.high and plain_of(told.high),
        prefix=told.prefix and plain_of(told.prefix),
        pattern=told.pattern and plain_of(told.pattern),
        lots=tuple(dict.fromkeys(form for lot in lots if lot for form in (lot, joined_of(lot)))),
    )


def _codes_of(clause: Selector, where: str, found: Listed) -> dict[str | None, str]:
    """The products that a clause's texts name, each with a field that does so."""
    if clause.kind == SelectorKind.LIST:
        return found.codes
    texts = {name: getattr(clause, name) for name in ("low", "high", "prefix")}
    named = {forms_and_product(text)[1]: f"{where}.{name}" for name, text in texts.items() if text}
    return named or {None: where}


def _check_codes(codes: Mapping[str | None, str], named: Sequence[str]) -> None:
    """Raises RecallRefused for a code of another product than the one that is recalled: its serial
    would be recalled of that."""
    for product, field in codes.items():
        if product is None or (product,) == tuple(named):
            continue
        if product in named:
            mend = "one of several: make a recall of each"
        elif named:
            mend = "which the notice does not: make a recall of it, or give the serial alone"
        else:
            mend = "and not all do: let `products` name that one, or make a recall of each"
        raise RecallRefused(field, f"its code names product {product}, {mend}")


def _check_purpose(told: Selector, where: str) -> None:
    """Raises RecallRefused for a clause that says what its kind does not go by: left out, the
    notice would mean other units than it says."""
    goes_by = _GOES_BY.get(told.kind)  # type: ignore[call-overload]  # a word is its own value
    if goes_by is None:
        return
    for name in dict.fromkeys(name for names in _GOES_BY.values() for name in names):
        if name not in goes_by and getattr(told, name) not in (None, ()):
            raise RecallRefused(
                f"{where}.{_WRITTEN.get(name, name)}",
                f"a clause of kind {told.kind} does not go by it: make it a clause of its own",
            )


def _product(name: str, place: int) -> str:
    try:
        return product_named(name)
    except NotIdentified as error:
        raise RecallRefused(f"products[{place}]", error.detail) from error
