"""Serials and lots as labels and notices print them, and as unit keys have them.

Keys have characters of GS1 set 82 alone, no blank among them, an IMEI without its check digit, a
VIN in capitals. A notice says the same in other spellings, and means the same units.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final
from unicodedata import category, normalize

from scantrail.contracts.identity import readings
from scantrail.domain.identifiers import (
    Identified,
    NotIdentified,
    is_gtin,
    luhn_check_digit,
    product_and_serial,
    product_id,
)
from scantrail.domain.recall import DIGIT, RecallRefused, Selector, SelectorKind, text_range

#: A listed serial as unit keys have it, where that is not as it is printed.
Forms = tuple[str, ...]

#: Dashes of word processors that NFKC leaves as they are.
_DASHES: Final = {code: "-" for code in (*range(0x2010, 0x2016), 0x2212)}

_BLANKS: Final = re.compile(r"[ \t]+")

#: Text without these, and neither as long as nor shaped like what follows, is of no scheme.
_MARKS: Final = frozenset("](:<\x1d")
_UNMARKED_LENGTH_MIN: Final = 14
_UNMARKED: Final = re.compile(r"[0-9].*|[0-9A-Fa-f -]+|[A-Za-z0-9]{17}", re.DOTALL)

_SEVERAL: Final = re.compile(r"[,;][ \t]|[ \t][,;]|[\t\r\n]")
_SPAN: Final = re.compile(r"[ \t](?:-+|to|thru|through|bis|\.\.+)[ \t]|\.\.\.", re.IGNORECASE)
#: As a spreadsheet shows a long number: its last digits are lost.
_CUT: Final = re.compile(r"[0-9](?:[.,][0-9]+)?E\+[0-9]{2}", re.IGNORECASE)

_GROUPED: Final = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+")

#: What a notice writes for characters that it leaves open.
_WILDCARDS: Final = "*?#"

_GTIN_LENGTHS: Final = (12, 13, 14)
_GTIN_CODE: Final = re.compile(r"(?:01|\(01\) *)([0-9]{14})")

_DEVICE: Final = re.compile(r"(?!00)[0-9]{8}[0-9#]{7}")
_DEVICE_LENGTH: Final = 14
_TYPE_LENGTH: Final = 8

#: VINs, and patterns of them; position 9 is a check digit (49 CFR 565.15), or left open.
_VEHICLE: Final = re.compile(
    r"(?=.{0,7}[A-Z])[A-HJ-NPR-Z0-9#]{8}[0-9X*?#][A-HJ-NPR-Z0-9#]{4}[0-9#]{4}"
)
_CHECK_PLACE: Final = 8
_CHECK_DIGITS: Final = "0123456789X"
_WITH_CHECK_DIGIT: Final = "12345"


def plain_of(text: str) -> str:
    """A text without blanks and what nobody sees around and in it, its dashes and full-width
    characters as a keyboard has them."""
    plain = text.strip()
    if plain.isascii():
        return plain
    plain = normalize("NFKC", plain).translate(_DASHES)
    return "".join(each for each in plain if category(each) != "Cf").strip()


def flaw_of(plain: str) -> str | None:
    """Why a text cannot be one serial; None where it can."""
    if (flaw := lot_flaw_of(plain)) is not None:
        return flaw
    if _GROUPED.fullmatch(plain):
        return f"{plain} is a number in groups: give its digits alone"
    if _SPAN.search(plain) and not reads_of(plain):
        return f"{plain!r} is a range: make it a clause of kind range, with low and high"
    return None


def lot_flaw_of(plain: str) -> str | None:
    """Why a text cannot be one lot; None where it can."""
    if _CUT.fullmatch(plain):
        return f"{plain} is a number that a spreadsheet has cut: give all its digits, as text"
    if _SEVERAL.search(plain):
        return f"{plain!r} is several: one to each entry"
    return None


def joined_of(plain: str) -> str:
    """The text without blanks inside, which no key has; a marked code as it is."""
    return _BLANKS.sub("", plain) if _MARKS.isdisjoint(plain) else plain


def forms_of(serial: str) -> tuple[str, ...]:
    """A serial as it is printed, without the blanks around it, and its other forms; nothing for a
    blank one."""
    plain = plain_of(serial)
    return (plain, *other_forms(plain)) if plain else ()


def other_forms(plain: str) -> Forms:
    """A plain serial as unit keys have it, where that is another: of one that may be an MEID or an
    SSCC, both."""
    return forms_and_product(plain)[0]


def forms_and_product(plain: str) -> tuple[Forms, str | None]:
    """The other forms of a plain serial, and the product that it names beside it, as a barcode
    does."""
    joined = joined_of(plain)
    if joined == plain and not may_be_marked(plain):
        return (), None
    texts = dict.fromkeys((plain, joined))
    found = [product_and_serial(each.key) for text in texts for each in reads_of(text)]
    forms = dict.fromkeys(serial for _, serial in found)
    forms[joined] = None
    products = {product for product, _ in found}
    named = products.pop() if len(products) == 1 else None
    return tuple(form for form in forms if form != plain), named


def reads_of(plain: str) -> tuple[Identified, ...]:
    """Every unit that a plain text names by itself."""
    return readings(plain) if may_be_marked(plain) else ()


def may_be_marked(plain: str) -> bool:
    """Whether it is worth asking of which unit a text is; of most serials it is not, and a list
    may have a million."""
    if not _MARKS.isdisjoint(plain):
        return True
    return len(plain) >= _UNMARKED_LENGTH_MIN and _UNMARKED.fullmatch(plain) is not None


def product_named(name: str) -> str:
    """A product's id, of a name as it is written. Raises NotIdentified, also for a GTIN in groups,
    or in a code (AI 01), which would be another product."""
    plain = plain_of(name)
    digits = _digits_of(plain)
    if digits != plain and len(digits) in _GTIN_LENGTHS and is_gtin(digits):
        raise NotIdentified("bad_characters", f"{plain!r} is a GTIN in groups: write {digits}")
    if (code := _GTIN_CODE.fullmatch(plain)) and is_gtin(code[1]):
        raise NotIdentified("bad_characters", f"{plain!r} is a code (AI 01): write {code[1]}")
    return product_id(plain)


def other_clauses(clause: Selector) -> Iterator[Selector]:
    """Clauses that mean, beside this one, the same units as keys have them: without blanks, IMEIs
    without check digits, VINs whatever theirs is."""
    match clause.kind:
        case SelectorKind.RANGE if clause.low and clause.high:
            found = _ranges(clause.low, clause.high)
            others = (replace(clause, low=low, high=high) for low, high in found)
            yield from (each for each in others if each != clause and is_range(each))
        case SelectorKind.LOT_RANGE if clause.low and clause.high:
            joined = replace(clause, low=joined_of(clause.low), high=joined_of(clause.high))
            if joined != clause and is_range(joined):
                yield joined
        case SelectorKind.PREFIX if clause.prefix:
            for form in other_forms(clause.prefix):
                yield replace(clause, prefix=form)
        case SelectorKind.PATTERN if clause.pattern:
            for form in dict.fromkeys(_patterns(clause.pattern)):
                if form != clause.pattern:
                    yield replace(clause, pattern=form)


def is_range(clause: Selector) -> bool:
    """Whether something can lie between its bounds."""
    try:
        text_range(clause, "")
    except RecallRefused:
        return False
    return True


def leaves_open(clause: Selector) -> bool:
    """Whether a bound has what stands for other characters."""
    return not set(_WILDCARDS).isdisjoint((clause.low or "") + (clause.high or ""))


def check_texts(clause: Selector, where: str) -> None:
    """Raise RecallRefused for bounds, prefixes and patterns that stand for what they do not say:
    taken as they are, they would mean no unit."""
    for name in ("low", "high", "prefix", "pattern"):
        if (flaw := flaw_of(getattr(clause, name) or "")) is not None:
            raise RecallRefused(f"{where}.{name}", flaw)
    if leaves_open(clause):
        told = "the bounds leave characters open: write both in full, or give a pattern"
        raise RecallRefused(where, told)
    prefix = clause.prefix or ""
    if not set(_WILDCARDS).isdisjoint(prefix):
        told = f"{prefix} leaves characters open: give what stands before them, or a pattern"
        raise RecallRefused(f"{where}.prefix", told)


def _ranges(low: str, high: str) -> dict[tuple[str, str], None]:
    """Pairs of bounds that mean the same units, or that mean none."""
    low_joined, high_joined = joined_of(low), joined_of(high)
    found: dict[tuple[str, str], None] = {(low_joined, high_joined): None}
    lows, highs = _by_kind(low), _by_kind(high)
    found |= {(lows[kind], highs[kind]): None for kind in lows.keys() & highs.keys()}
    found |= dict.fromkeys(_device_ranges(_digits_of(low), _digits_of(high)))
    found |= dict.fromkeys(_vehicle_ranges(low_joined.upper(), high_joined.upper()))
    return found


def _by_kind(bound: str) -> dict[tuple[str, str | None], str]:
    """What a bound can name: the serial by its scheme and its product."""
    found = {}
    for each in reads_of(bound):
        product, serial = product_and_serial(each.key)
        found[each.key.partition(":")[0], product] = serial
    return found


def _digits_of(text: str) -> str:
    """A number that may be printed in groups."""
    return text.replace("-", "").replace(" ", "")


def _device_ranges(low: str, high: str) -> Iterator[tuple[str, str]]:
    """Of IMEIs of one type whose last digit need not be a check digit, since they are but bounds:
    the devices whose whole IMEI lies between."""
    if not (_DEVICE.fullmatch(low) and _DEVICE.fullmatch(high)) or DIGIT in low + high:
        return
    if low[:_TYPE_LENGTH] != high[:_TYPE_LENGTH]:
        return
    first, last = low[:_DEVICE_LENGTH], high[:_DEVICE_LENGTH]
    above = luhn_check_digit(first) < int(low[_DEVICE_LENGTH:])
    below = luhn_check_digit(last) > int(high[_DEVICE_LENGTH:])
    yield (
        f"{int(first) + above:0{_DEVICE_LENGTH}}",
        f"{int(last) - below:0{_DEVICE_LENGTH}}",
    )


def _vehicle_ranges(low: str, high: str) -> Iterator[tuple[str, str]]:
    """Of VINs that have a check digit: each has its own, so that it takes a range for each."""
    if not (_VEHICLE.fullmatch(low) and _VEHICLE.fullmatch(high)):
        return
    if low[:_CHECK_PLACE] != high[:_CHECK_PLACE] or not _has_check_digits(low, high):
        return
    for digit in _CHECK_DIGITS:
        yield _checked(low, digit), _checked(high, digit)


def _has_check_digits(low: str, high: str) -> bool:
    """Elsewhere than in North America position 9 may be a part of the number as any other."""
    if low[_CHECK_PLACE] in _WILDCARDS and high[_CHECK_PLACE] in _WILDCARDS:
        return True
    if low[0] in _WITH_CHECK_DIGIT:
        return True
    found = (*reads_of(low), *reads_of(high))
    return len(found) == 2 and not any("check_digit" in each.notes for each in found)


def _patterns(pattern: str) -> Iterator[str]:
    joined = joined_of(pattern)
    yield joined
    if _DEVICE.fullmatch(joined):
        yield joined[:_DEVICE_LENGTH]
    if _VEHICLE.fullmatch(joined) and joined[_CHECK_PLACE] == DIGIT:
        yield _checked(joined, "X")


def _checked(vin: str, digit: str) -> str:
    return vin[:_CHECK_PLACE] + digit + vin[_CHECK_PLACE + 1 :]
