"""What names a unit: the key grammar, the check digits, and the commonest barcode read fast.

One text key per unit, whatever was scanned:

| key | it names | standard |
|---|---|---|
| `sgtin:<GTIN, 14 digits>.<serial>` | a trade item with its serial | GS1 General Specifications |
| `sscc:<18 digits>` | a logistic unit | GS1 General Specifications |
| `giai:<key>` | an individual asset, up to 30 characters | GS1 General Specifications |
| `grai:<13 digits><serial>` | a returnable asset with its serial | GS1 General Specifications |
| `imei:<14 digits>` | a mobile device, check digit and software version left off | 3GPP TS 23.003 |
| `meid:<14 HEX>` | a mobile device, check digit left off | 3GPP2 S.R0048 |
| `vin:<17 characters>` | a road vehicle | ISO 3779 |
| `sn:<product>.<serial>` | a maker's serial, unique only within its product | |
| `epc:<HEX>` | an RFID tag that decodes to nothing known | |

Serials are text: leading zeros count, case counts.
"""

import re
from datetime import date, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

#: Longest text that is looked at. A GS1 element string ends at some 90 characters, a Digital
#: Link at a few hundred.
TEXT_LENGTH_MAX: Final = 1024

#: FNC1 as readers send it: ASCII group separator.
GS: Final = "\x1d"

#: GS1 AI encodable character set 82 (GS1 General Specifications, figure 7.11-1), as the inside
#: of a regular expression's class.
CHARACTER_SET_82: Final = r"!\"%&'()*+,\-./0-9:;<=>?A-Z_a-z"

_SERIAL: Final = re.compile(rf"[{CHARACTER_SET_82}]{{1,20}}")
_ASSET: Final = re.compile(rf"[{CHARACTER_SET_82}]{{1,30}}")
_GRAI: Final = re.compile(rf"([0-9]{{13}})[{CHARACTER_SET_82}]{{1,16}}")
_VIN: Final = re.compile(r"[A-HJ-NPR-Z0-9]{17}")
_EPC_HEX: Final = re.compile(r"(?:[0-9A-F]{4}){1,31}")
_DIGITS: Final = re.compile(r"[0-9]+")
_MEID: Final = re.compile(r"[0-9A-F]{14}")

_GTIN_LENGTHS: Final = (8, 12, 13, 14)

#: A product's own name: fit for addresses; a full stop would end it in a key.
_PRODUCT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:-]{0,63}")

#: `01` GTIN, then `21` serial; before the serial expiry and lot, after it (behind GS) dates,
#: expiry and lot. What else may stand in an element string goes the slow way.
_FAST: Final = re.compile(
    rf"01([0-9]{{14}})"
    rf"(?:17([0-9]{{6}}))?(?:10([{CHARACTER_SET_82}]{{1,20}}){GS})?"
    rf"21([{CHARACTER_SET_82}]{{1,20}})"
    rf"(?:{GS}(?:11([0-9]{{6}}))?(?:17([0-9]{{6}}){GS}?)?"
    rf"(?:10([{CHARACTER_SET_82}]{{1,20}})(?:{GS}17([0-9]{{6}}))?)?)?"
)

#: What a serial ends in when the reader lost the separators: a whole expiry date of 2020 to 2049
#: at the end, or with a lot behind it.
_SWALLOWED_EXPIRY: Final = re.compile(
    r".+?17[234][0-9](?:0[1-9]|1[0-2])(?:[012][0-9]|3[01])(?:10.+)?"
)

#: Every `NotIdentified.reason`, so that it can be a metric's label.
REASONS: Final = frozenset(
    {
        "ambiguous",
        "bad_characters",
        "bad_check_digit",
        "bad_serial_format",
        "contradiction",
        "empty",
        "incomplete",
        "lost_separator",
        "not_a_unit",
        "too_long",
        "unexpected_scheme",
        "unidentified_serial",
        "unknown_scheme",
        "unreadable",
    }
)


class NotIdentified(Exception):
    """A text that names no unit. `reason` is one of REASONS; `detail` is for people: what was
    understood, and what mends it. `gtin` has 14 digits where the text is a product's GTIN and says
    nothing of a serial."""

    def __init__(self, reason: str, detail: str, *, gtin: str | None = None) -> None:
        assert reason in REASONS, reason
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.gtin = gtin


class Identified(NamedTuple):
    """A text that names one unit.

    `scheme` is the key's first word. `gtin` has 14 digits and is set for `sgtin`; `product` is
    set for `sn`. `lot` (AI 10), `expiry` (AI 17) and `production` (AI 11, a
    day) are what the barcode says beside the key. `notes` are fixed words: `bad_expiry` (AI 17 is
    no date), `bad_production` (AI 11 is none), `unread_tail` (element strings after the serial that
    are not understood), `check_digit` (a VIN whose position 9 does not check,
    from where that is allowed), `undecodable_tag` (an EPC with a known header and wrong content),
    `may_be_imei` (a product's serial that would without the product be an IMEI).
    """

    key: str
    scheme: str
    gtin: str | None = None
    product: str | None = None
    serial: str | None = None
    lot: str | None = None
    expiry: date | None = None
    notes: tuple[str, ...] = ()
    production: date | None = None


def gs1_check_digit(payload: str) -> int:
    """The modulo-10 check digit of GTIN, SSCC, GLN and GRAI over ASCII digits without it (GS1
    General Specifications, 7.9.1)."""
    return -(3 * sum(map(int, payload[-1::-2])) + sum(map(int, payload[-2::-2]))) % 10


def luhn_check_digit(payload: str) -> int:
    """The Luhn check digit of ASCII digits without it (ISO/IEC 7812-1, annex B; IMEI)."""
    doubled = (2 * int(digit) for digit in payload[-1::-2])
    total = sum(value - 9 if value > 9 else value for value in doubled)
    return -(total + sum(map(int, payload[-2::-2]))) % 10


@lru_cache(maxsize=16_384)
def gs1_checks(number: str) -> bool:
    """Whether ASCII digits end in their GS1 check digit. Cached: few products, many scans."""
    return int(number[-1]) == gs1_check_digit(number[:-1])


def luhn_checks(number: str) -> bool:
    """Whether ASCII digits end in their Luhn check digit."""
    return int(number[-1]) == luhn_check_digit(number[:-1])


def is_gtin(text: str) -> bool:
    """Whether `text` is a GTIN-8, -12, -13 or -14 with a right check digit."""
    return len(text) in _GTIN_LENGTHS and _DIGITS.fullmatch(text) is not None and gs1_checks(text)


def expiry_date(yymmdd: str) -> date | None:
    """The date of AI 17, six digits YYMMDD. Day 00 is the month's last day; the century is 20,
    since nothing in a warehouse expired before 2000. None when it is no date."""
    year, month, day = 2000 + int(yymmdd[:2]), int(yymmdd[2:4]), int(yymmdd[4:])
    try:
        if day:
            return date(year, month, day)
        after = date(year + month // 12, month % 12 + 1, 1) if 1 <= month <= 12 else None
    except ValueError:
        return None
    return after - timedelta(days=1) if after else None


def sgtin(
    gtin: str,
    serial: str,
    *,
    lot: str | None = None,
    yymmdd: str | None = None,
    produced_yymmdd: str | None = None,
    notes: tuple[str, ...] = (),
) -> Identified:
    """The unit of a GTIN (8, 12, 13 or 14 digits, checked here) and its serial (AI 21).

    `yymmdd` is AI 17 as it stands, `produced_yymmdd` AI 11. Raises NotIdentified:
    bad_check_digit, incomplete, too_long, bad_characters.
    """
    gtin14 = gtin.zfill(14)
    _check_gs1(gtin14, "GTIN")
    check_serial(serial)
    expiry = expiry_date(yymmdd) if yymmdd else None
    if yymmdd and expiry is None:
        notes = ("bad_expiry", *notes)
    production = expiry_date(produced_yymmdd) if produced_yymmdd else None
    if produced_yymmdd and production is None:
        notes = ("bad_production", *notes)
    key = f"sgtin:{gtin14}.{serial}"
    return Identified(key, "sgtin", gtin14, None, serial, lot, expiry, notes, production)


def product_id(name: str) -> str:
    """A product's id as keys and records have it: GTINs of any length are one, of 14 digits.

    Raises NotIdentified: bad_check_digit, bad_characters.
    """
    if is_gtin(name):
        return name.zfill(14)
    if len(name) in _GTIN_LENGTHS and _DIGITS.fullmatch(name):
        _check_gs1(name, "GTIN")
    if _PRODUCT.fullmatch(name) is None:
        raise NotIdentified(
            "bad_characters",
            f"{shown(name)} cannot be a product's id: 1 to 64 of A-Z a-z 0-9 _ : -, beginning"
            " with a letter or a digit; rename the product",
        )
    return name


def product_serial(product: str, serial: str) -> Identified:
    """The unit of a product and its maker's serial: `sgtin` when `product` is a GTIN, else `sn`.

    Raises NotIdentified: incomplete, too_long, bad_characters (of either), bad_check_digit.
    """
    if is_gtin(product):
        return sgtin(product, serial)
    check_serial(serial)
    product = product_id(product)
    return Identified(f"sn:{product}.{serial}", "sn", product=product, serial=serial)


def sscc(number: str) -> Identified:
    """The logistic unit of 18 digits (AI 00). Raises NotIdentified: bad_check_digit."""
    _check_gs1(number, "SSCC")
    return Identified(f"sscc:{number}", "sscc", serial=number)


def giai(key: str) -> Identified:
    """The asset of AI 8004. Raises NotIdentified: bad_characters (also of the length)."""
    if _ASSET.fullmatch(key) is None:
        raise NotIdentified(
            "bad_characters", f"GIAI {shown(key)}: 1 to 30 characters of GS1 set 82 are expected"
        )
    return Identified(f"giai:{key}", "giai", serial=key)


def grai(key: str) -> Identified:
    """The returnable asset of AI 8003 without its leading zero: 13 digits, then a serial of 1 to
    16 characters. Raises NotIdentified: bad_check_digit, not_a_unit, incomplete."""
    match = _GRAI.fullmatch(key)
    if match is None:
        if len(key) == 13 and _DIGITS.fullmatch(key) and gs1_checks(key):
            raise NotIdentified(
                "not_a_unit", f"GRAI {key} names an asset type; its serial is missing"
            )
        raise NotIdentified(
            "incomplete", f"GRAI {shown(key)}: 13 digits and a serial of 1 to 16 are expected"
        )
    _check_gs1(match[1], "GRAI")
    return Identified(f"grai:{key}", "grai", serial=key[13:])


def imei(number: str) -> Identified:
    """The device of an IMEI (15 digits, Luhn checked) or IMEISV (16, no check digit).

    Raises NotIdentified: bad_check_digit.
    """
    if len(number) == 15 and not luhn_checks(number):
        raise NotIdentified(
            "bad_check_digit",
            f"15 digits {number} read as an IMEI should end in {luhn_check_digit(number[:14])};"
            " scan again, or name the product when it is a maker's serial",
        )
    return Identified(f"imei:{number[:14]}", "imei", serial=number[:14])


def parse_key(text: str) -> Identified | None:
    """The unit of a unit key as this project writes it; None when `text` is no key at all.

    Other forms of the same unit come back in their one form (`sn:` of a GTIN is an `sgtin:`).
    `epc:` is taken as it stands: whoever can decode tags does so first. A VIN is not judged here.
    Raises NotIdentified as the constructors do; incomplete when the part after the scheme cannot
    be one.
    """
    scheme, colon, rest = text.partition(":")
    if not colon:
        return None
    match scheme:
        case "sgtin" if len(rest) > 14 and rest[14] == "." and _DIGITS.fullmatch(rest[:14]):
            return sgtin(rest[:14], rest[15:])
        case "sn" if "." in rest:
            product, _, serial = rest.partition(".")
            return product_serial(product, serial)
        case "sscc" if len(rest) == 18 and _DIGITS.fullmatch(rest):
            return sscc(rest)
        case "giai":
            return giai(rest)
        case "grai":
            return grai(rest)
        case "imei" if len(rest) == 14 and _DIGITS.fullmatch(rest):
            return Identified(text, "imei", serial=rest)
        case "meid" if _MEID.fullmatch(rest):
            return Identified(text, "meid", serial=rest)
        case "vin" if _VIN.fullmatch(rest):
            return Identified(text, "vin", serial=rest)
        case "epc" if _EPC_HEX.fullmatch(rest):
            return Identified(text, "epc", serial=rest)
        case "sgtin" | "sn" | "sscc" | "imei" | "meid" | "vin" | "epc":
            raise NotIdentified(
                "incomplete", f"{shown(text)} begins as a unit key but is not a whole one"
            )
    return None


def product_and_serial(unit: str) -> tuple[str | None, str]:
    """(product or None, serial) of a unit's key, which is not judged: recalls go by these.

    A key without a product (`imei:`, `vin:` …) is its own serial. A returnable asset's type is a
    number of 13 digits, which counts as a product of 14.
    """
    scheme, _, name = unit.partition(":")
    if scheme == "grai":
        return "0" + name[:13], name[13:]
    if scheme in ("sgtin", "sn"):
        product, dot, serial = name.partition(".")
        if dot:
            return product, serial
    return None, name


def fast_element_string(text: str) -> Identified | None:
    """The unit of an element string `01<GTIN>21<serial>` with expiry and lot before or after.

    None when the text is another one, or needs a closer look (a wrong check digit, a serial that
    may have swallowed what followed it): the slow way then gives the reason.
    """
    match = _FAST.fullmatch(text)
    if match is None:
        return None
    gtin, expiry_before, lot_before, serial, produced, expiry_after, lot_after, expiry_last = (
        match.groups()
    )
    if not gs1_checks(gtin) or (
        "17" in serial and expiry_before is None and has_swallowed_expiry(text, serial)
    ):
        return None
    yymmdd = expiry_before or expiry_after or expiry_last
    expiry: date | None = None
    notes: tuple[str, ...] = ()
    if yymmdd is not None:
        if (expiry_before and (expiry_after or expiry_last)) or (expiry_after and expiry_last):
            return None
        expiry = expiry_date(yymmdd)
        notes = () if expiry else ("bad_expiry",)
    production: date | None = None
    if produced is not None:
        production = expiry_date(produced)
        notes = notes if production else ("bad_production", *notes)
    if lot_before is not None and lot_after is not None:
        return None
    return Identified(
        f"sgtin:{gtin}.{serial}",
        "sgtin",
        gtin,
        None,
        serial,
        lot_before or lot_after,
        expiry,
        notes,
        production,
    )


def has_swallowed_expiry(text: str, serial: str) -> bool:
    """Whether `serial`, last in an element string without any separator, ends in what looks like
    the expiry (and lot) that should have stood behind a separator."""
    return GS not in text and _SWALLOWED_EXPIRY.fullmatch(serial) is not None


def _check_gs1(number: str, name: str) -> None:
    if not gs1_checks(number):
        raise NotIdentified(
            "bad_check_digit",
            f"{name} {number} should end in {gs1_check_digit(number[:-1])}; scan again, or correct"
            " the label",
        )


def check_serial(serial: str) -> None:
    """Refuse what cannot be a serial (AI 21): 1 to 20 characters of GS1 set 82.

    Raises NotIdentified: incomplete, too_long, bad_characters.
    """
    if _SERIAL.fullmatch(serial):
        return
    if not serial:
        raise NotIdentified("incomplete", "the serial is empty; scan again")
    if len(serial) > 20:
        raise NotIdentified(
            "too_long", f"serial {shown(serial)} has {len(serial)} characters, 20 are allowed"
        )
    raise NotIdentified(
        "bad_characters",
        f"serial {shown(serial)} has a character outside GS1 set 82 (letters without accents,"
        " digits, !\"%&'()*+,-./:;<=>?_)",
    )


def shown(text: str) -> str:
    """`text` fit to be read in a message: short, control characters escaped."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
