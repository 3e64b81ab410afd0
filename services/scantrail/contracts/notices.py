"""Notices of recalls as people word them, and the recalls that are meant.

    {"id": "R-1", "title": "Battery may overheat", "reason": "cells of lot 7 fail",
     "products": ["9506000134352"],
     "selectors": [{"kind": "range", "low": "AB001", "high": "AB099"},
                   {"kind": "date", "from": "2026-01-01", "to": "2026-01-31"}]}

Serials are entered as they are printed: with blanks around them, an IMEI with its check digit, a
VIN in small letters, a whole barcode. A recall has them so, and as unit keys have them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from scantrail.contracts.fields import field_of
from scantrail.contracts.identity import readings
from scantrail.domain.identifiers import (
    TEXT_LENGTH_MAX,
    NotIdentified,
    product_and_serial,
    product_id,
)
from scantrail.domain.recall import (
    Recall,
    RecallRefused,
    RecallStatus,
    Selector,
    SelectorKind,
    check_notice,
    text_range,
)

#: A listed serial as unit keys have it, where that is not as it is printed.
Forms = tuple[str, ...]


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

_WRITTEN = {"first_day": "from", "last_day": "to"}

#: Of long lists so many entries are told; the rest is counted.
LISTED_MAX = 1000

#: Text without these, and neither as long as nor shaped like what follows, is of no scheme.
_MARKS = frozenset("](:<\x1d")
_UNMARKED_LENGTH_MIN = 14
_UNMARKED = re.compile(r"[0-9].*|[0-9A-Fa-f -]+|[A-Za-z0-9]{17}", re.DOTALL)


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
    judged, but for what no clause can say. Raises RecallRefused."""
    serials = dict[str, Forms]()
    clauses = []
    for place, form in enumerate(selectors):
        where = f"selectors[{place}]"
        found = listed(form.serials, f"{where}.serials")
        clauses.append(_clause(form, where, found))
        serials |= found
    # Behind all others, so that a place is that of the notice.
    clauses += [other for clause in list(clauses) for other in _other_ranges(clause)]
    recall = Recall(
        id=recall_id,
        title=title,
        reason=reason,
        selectors=tuple(clauses),
        products=tuple(dict.fromkeys(_product(name, n) for n, name in enumerate(products))),
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


def forms_of(serial: str) -> tuple[str, ...]:
    """A serial as it is printed, without the blanks around it, and its other forms; nothing for a
    blank one."""
    plain = serial.strip()
    return (plain, *other_forms(plain)) if plain else ()


def other_forms(plain: str) -> Forms:
    """A serial without blanks around it, as unit keys have it, where that is another: of one that
    may be an MEID or an SSCC, both."""
    if not may_be_marked(plain):
        return ()
    meant = dict.fromkeys(product_and_serial(found.key)[1] for found in readings(plain))
    return tuple(form for form in meant if form != plain)


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


def may_be_marked(plain: str) -> bool:
    """Whether it is worth asking of which unit a text is; of most serials it is not, and a list
    may have a million."""
    if not _MARKS.isdisjoint(plain):
        return True
    return len(plain) >= _UNMARKED_LENGTH_MIN and _UNMARKED.fullmatch(plain) is not None


def listed(serials: Iterable[str], where: str) -> dict[str, Forms]:
    """Each serial of a list as it is printed, without blanks around it, and its other forms; blank
    ones are left out. Raises RecallRefused."""
    found = dict[str, Forms]()
    for place, serial in enumerate(serials):
        if len(serial) > TEXT_LENGTH_MAX:
            raise RecallRefused(f"{where}[{place}]", "no serial is that long: one to each entry")
        plain = serial.strip()
        if plain and plain not in found:
            found[plain] = other_forms(plain)
    return found


def _decoded(document: Mapping[str, Any]) -> NoticeForm:
    try:
        return msgspec.convert(document, NoticeForm)
    except msgspec.ValidationError as error:
        field, _, reason = field_of(error)
        raise RecallRefused(field, reason) from error


def _clause(form: SelectorForm, where: str, serials: Mapping[str, Forms]) -> Selector:
    told = Selector(**msgspec.structs.asdict(form))
    _check_purpose(told, where)
    return replace(
        told,
        serials=list_of(serials).serials,
        low=told.low and told.low.strip(),
        high=told.high and told.high.strip(),
        prefix=told.prefix and told.prefix.strip(),
        pattern=told.pattern and told.pattern.strip(),
        lots=tuple(dict.fromkeys(lot.strip() for lot in told.lots if lot.strip())),
    )


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


def _other_ranges(clause: Selector) -> Iterator[Selector]:
    """The range between the same bounds as unit keys have them: of IMEIs without check digits."""
    if clause.kind != SelectorKind.RANGE or not clause.low or not clause.high:
        return
    lows, highs = (_by_kind(bound) for bound in (clause.low, clause.high))
    for kind in lows.keys() & highs.keys():
        other = replace(clause, low=lows[kind], high=highs[kind])
        if (other.low, other.high) != (clause.low, clause.high) and _is_range(other):
            yield other


def _by_kind(bound: str) -> dict[tuple[str, str | None], str]:
    """What a bound can name: the serial by its scheme and its product."""
    found = {}
    for each in readings(bound) if may_be_marked(bound) else ():
        product, serial = product_and_serial(each.key)
        found[each.key.partition(":")[0], product] = serial
    return found


def _is_range(clause: Selector) -> bool:
    try:
        text_range(clause, "")
    except RecallRefused:
        return False
    return True


def _product(name: str, place: int) -> str:
    try:
        return product_id(name.strip())
    except NotIdentified as error:
        raise RecallRefused(f"products[{place}]", error.detail) from error
