"""Any spelling of any identifier, to the one key of the unit it names.

The commonest barcode takes the compiled fast path of `domain.identifiers`. Behind it: biip reads
element strings and Digital Links, epcpy tags and EPC URNs, python-stdnum MEIDs, vininfo VINs
(`docs/decisions/0003-identity-libraries.md` says why, and what each gets wrong). Text without a
mark of its own (AIM identifier, separator, brackets, URI) is taken for an element string only when
its check digit proves it.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, NoReturn, TypeVar

from biip import ParseConfig
from biip.gs1_application_identifiers import GS1ApplicationIdentifier
from biip.gs1_digital_link_uris import GS1DigitalLinkURI
from biip.gs1_element_strings import GS1ElementString
from stdnum import meid
from stdnum.exceptions import ValidationError
from vininfo import Vin

from scantrail.contracts.epc import EPC_HEX, MARKED_EPC_HEX, TAG_BITS, epc_hex, epc_urn
from scantrail.contracts.libraries import safely
from scantrail.domain.identifiers import (
    CHARACTER_SET_82,
    GS,
    TEXT_LENGTH_MAX,
    Identified,
    NotIdentified,
    check_serial,
    fast_element_string,
    giai,
    grai,
    gs1_checks,
    has_swallowed_expiry,
    imei,
    luhn_checks,
    parse_key,
    product_serial,
    sgtin,
    shown,
    sscc,
)

T = TypeVar("T")

#: AIM identifiers (ISO/IEC 15424) of symbols that hold GS1 element strings.
GS1_AIM: Final = frozenset({"]C1", "]d2", "]Q3", "]J1", "]e0", "]e1", "]e2"})

#: AIM identifiers of symbols that hold a GTIN and nothing else, with its length in digits.
_GTIN_AIM: Final = {"]E0": 13, "]E3": 13, "]E4": 8, "]I1": 14}

_AIM: Final = re.compile(r"\][A-Za-z][0-9A-Za-z]")
_CONTROL: Final = re.compile(r"[\x00-\x1c\x1e\x1f\x7f]")
_CHARACTER_82: Final = re.compile(f"[{CHARACTER_SET_82}]")
#: As readers write FNC1; in a serial nobody writes it.
_WRITTEN_FNC1: Final = re.compile("<(?:GS|FNC1|0x1D)>", re.IGNORECASE)
_BRACKETED: Final = re.compile(r"\(([0-9]{2,4})\)")
_WEB_ADDRESS: Final = re.compile(r"https?://", re.IGNORECASE)
_EPC_URN: Final = re.compile(r"urn:epc:([a-z]+):(.+)", re.IGNORECASE)
#: 16 digits as on labels of places (AI 410 to 417, a GLN) and of contents (AI 02, a GTIN).
_GS1_LABEL: Final = re.compile("(?=[0-9]{16}$)(41[0-7]|02)([0-9]+)")
_DIGITS: Final = re.compile(r"[0-9]+")
_GROUPED_DIGITS: Final = re.compile(r"[0-9]+(?:[ -]+[0-9]+)+")
_MEID_HEX: Final = re.compile(
    r"[A-F][0-9A-F](?:[ -]?[0-9A-F]){12}(?:[ -]?[0-9A-F])?", re.IGNORECASE
)
_VIN: Final = re.compile(r"[A-HJ-NPR-Z0-9]{13}[0-9]{4}", re.IGNORECASE)

#: Words of Digital Link 1.1, gone since 1.2 but still printed, and their numbers.
_LINK_WORDS: Final = {
    "gtin": "01",
    "ser": "21",
    "lot": "10",
    "cpv": "22",
    "sscc": "00",
    "giai": "8004",
    "grai": "8003",
}

_AI_LENGTH_MAX: Final = 4
_ELEMENTS_MAX: Final = 20
_SERIAL_LENGTH_MAX: Final = 20

#: Stands for a product that is not known.
_ANY_PRODUCT: Final = "x"

_BIIP: Final = ParseConfig(gs1_element_strings_verify_date=False)


def identify(
    text: str,
    *,
    aim: str | None = None,
    product: str | None = None,
    schemes: frozenset[str] | None = None,
    is_plain: bool = True,
) -> Identified:
    """The unit that `text` names.

    `text` is what a reader sent or a person typed: an element string with or without AIM
    identifier, bracketed, a Digital Link with any host, an EPC URN, tag URN or tag in hex, an
    IMEI, IMEISV, MEID or VIN, or a unit key. `aim` is the symbol's AIM identifier where the
    gateway has taken it off. `product` says that the reader expects plain serials of that product:
    then whatever has no mark of its own, and is no GTIN, is one. `schemes` says which of SCHEMES
    text without a mark can be (None: any): it settles what would be ambiguous, comes before a plain
    serial, and refuses the others. Where not `is_plain`, `product` has no plain serials, only such
    as are marked (AI 21); then `schemes` are told too.

    Raises NotIdentified, and nothing else, whatever the text (1 MB, NUL, half a code).
    """
    if text[:1] == "]" and _AIM.match(text):
        aim, text = text[:3], text[3:]
    if "<" in text:
        text = _WRITTEN_FNC1.sub(GS, text)
    found = fast_element_string(text) if aim not in _GTIN_AIM else None
    if found is not None:
        return found
    return _identify_slowly(_cleaned(text), aim, product, schemes, is_plain)


def readings(text: str, *, aim: str | None = None) -> tuple[Identified, ...]:
    """Every unit that `text` can name: several where `identify` refuses it as `ambiguous`.

    Each is of one scheme that bare digits fit: 16 of them an IMEISV or a GIAI (AI 8004),
    18 an MEID in decimal or an SSCC.
    """
    try:
        return (identify(text, aim=aim),)
    except NotIdentified as error:
        if error.reason != "ambiguous":
            return ()
    digits = text.strip().replace(" ", "").replace("-", "")
    if len(digits) == 18:
        return Identified(f"meid:{_decimal_meid(digits)}", "meid"), sscc(digits)
    return (imei(digits), *([giai(digits[4:])] if digits.startswith("8004") else []))


def serial_in(text: str, *, aim: str | None = None) -> str | None:
    """The serial in a text that names no product; None where it has none."""
    try:
        return identify(text, aim=aim, product=_ANY_PRODUCT).serial
    except NotIdentified:
        return None


def _cleaned(text: str) -> str:
    """`text` without white space around it and without a separator before or behind it."""
    if len(text) > TEXT_LENGTH_MAX:
        raise NotIdentified(
            "too_long", f"{len(text)} characters; no identifier has over {TEXT_LENGTH_MAX}"
        )
    text = text.strip(" \t\r\n")
    if not text.strip(GS):
        raise NotIdentified("empty", "nothing was read; scan again")
    if not text.isascii():
        raise NotIdentified(
            "bad_characters",
            f"{shown(text)} has characters that no identifier has; scan again,"
            " or set the reader's encoding",
        )
    if control := _CONTROL.search(text):
        raise NotIdentified(
            "bad_characters",
            f"control character {ord(control[0]):#04x} in {shown(text)}; scan again, or set the"
            " reader's start and end bytes",
        )
    return text


def _identify_slowly(
    text: str,
    aim: str | None,
    product: str | None,
    schemes: frozenset[str] | None = None,
    is_plain: bool = True,
) -> Identified:
    """Text in the order of how surely it says what it is; the first that fits decides."""
    if aim in _GTIN_AIM:
        _refuse_gtin(text[: _GTIN_AIM[aim]], f"the symbol {aim} holds")
    # A Digital Link in a GS1 symbol is against the standard, and is printed all the same.
    if (aim in GS1_AIM or GS in text) and not _WEB_ADDRESS.match(text):
        return _element_string(text, product)
    if _BRACKETED.match(text):
        return _unit_of(_bracketed(text), text, product)
    if _WEB_ADDRESS.match(text):
        return _digital_link(text)
    if urn := _EPC_URN.fullmatch(text):
        return epc_urn(urn[1].lower(), urn[2])
    if text.startswith("vin:"):
        return _vin(text[4:])
    if text.startswith("epc:") and MARKED_EPC_HEX.fullmatch(text[4:]):
        return epc_hex(text[4:])
    if (key := parse_key(text)) is not None:
        return key
    if _is_proven_element_string(text):
        return _element_string(text, product)
    if len(text) > _SERIAL_LENGTH_MAX and (found := _long_element_string(text)):
        return found
    if aim is None and EPC_HEX.fullmatch(text) and (schemes is None or "epc" in schemes):
        return epc_hex(text)
    if schemes is not None:
        return _expected(text, product if is_plain else None, schemes)
    if product is not None:
        return _expected_serial(text, product)
    return _device_or_vehicle(text)


# ------------------------------------------------------------------------------ GS1 structures


def _is_proven_element_string(text: str) -> bool:
    """Whether unmarked text is an SSCC (AI 00), or begins with a GTIN (AI 01) or GRAI (AI 8003),
    whose check digit is right, or with a GTIN that a serial follows though it is wrong."""
    if text.startswith("01") and _DIGITS.fullmatch(text[:16]) and len(text) >= 16:
        return gs1_checks(text[2:16]) or text[16:18] == "21"
    if text.startswith("00") and _DIGITS.fullmatch(text) and len(text) == 20:
        return gs1_checks(text[2:])
    if text.startswith("80030") and _DIGITS.fullmatch(text[:18]) and len(text) > 18:
        return gs1_checks(text[5:18])
    return False


def _element_string(text: str, product: str | None) -> Identified:
    return _unit_of(_elements(text), text, product)


def _elements(text: str) -> Iterator[tuple[str, str]]:
    """The application identifiers of an element string and their values, in order.

    biip reads each one; where one ends is judged here, since biip cuts a value that is too long
    at its greatest length and reads the rest as the next identifier. An identifier that follows
    the serial behind its separator and is not understood comes as `("", rest)`.
    """
    rest = text.strip(GS)
    serial_is_bounded = False
    while rest:
        try:
            element = _element_at(rest)
        except NotIdentified:
            if not serial_is_bounded:
                raise
            yield "", rest
            return
        ai, value = element.ai.ai, element.value
        rest = rest[len(ai) + len(value) :]
        if rest and not _CHARACTER_82.match(rest) and not rest.startswith(GS):
            raise NotIdentified(
                "bad_characters", f"{shown(rest[0])} in {shown(text)} is outside GS1 set 82"
            )
        if rest and element.ai.separator_required and not rest.startswith(GS):
            raise NotIdentified(
                "lost_separator",
                f"AI {ai} in {shown(text)} runs on past its greatest length; make the reader send"
                " FNC1 as GS (0x1D), or set its gs_aliases",
            )
        if ai == "21":
            if not rest and has_swallowed_expiry(text, value):
                raise NotIdentified(
                    "lost_separator",
                    f"serial {shown(value)} ends in what looks like an expiry date (AI 17); make"
                    " the reader send FNC1 as GS (0x1D). If it is the whole serial, enter it as"
                    " (01)…(21)…",
                )
            serial_is_bounded = rest.startswith(GS)
        rest = rest.lstrip(GS)
        yield ai, value


def _element_at(text: str) -> GS1ElementString:
    """The first application identifier of `text` with its value.

    Raises NotIdentified: unreadable (no such identifier), incomplete (its value does not fit).
    """
    is_cut = len(text) < _AI_LENGTH_MAX and _DIGITS.fullmatch(text)
    reason = "incomplete" if is_cut else "unreadable"
    safely(lambda: GS1ApplicationIdentifier.extract(text), text, reason)
    return safely(lambda: GS1ElementString.extract(text, config=_BIIP), text, "incomplete")


@lru_cache(maxsize=4_096)
def _long_element_string(text: str) -> Identified | None:
    """The unit of unmarked text too long for a serial that reads as an element string with a GTIN
    and a serial, or an SSCC, in any order; None when it does not, and so may be a tag."""
    if not text[0].isdigit() or text[:2] in TAG_BITS:
        return None
    try:
        found = _element_string(text, None)
    except NotIdentified:
        return None
    return found if found.scheme in ("sgtin", "sscc") else None


def _bracketed(text: str) -> Iterator[tuple[str, str]]:
    """The elements of `(01)…(21)…`, as printed below a barcode. biip's own reader drops blanks
    inside values and ends a value at any bracket."""
    parts = _BRACKETED.split(text)
    for ai, value in zip(parts[1::2], parts[2::2], strict=True):
        value = value.strip(" ")
        element = _element_at(ai + value)
        if element.ai.ai != ai:
            raise NotIdentified("unreadable", f"({ai}) is no application identifier of GS1")
        if element.value != value:
            raise NotIdentified(
                "bad_characters", f"({ai}){shown(value)} is too long, or outside GS1 set 82"
            )
        yield ai, value


def _digital_link(text: str) -> Identified:
    """The unit of a GS1 Digital Link (URI Syntax 1.1 to 1.4), uncompressed."""
    address, mark, query = text.partition("?")
    segments = address.removesuffix("/").split("/")
    for place in range(len(segments) - 2, 2, -2):  # a serial may read like one of the words
        segments[place] = _LINK_WORDS.get(segments[place], segments[place])
    link = "/".join(segments) + mark + query
    parsed = safely(lambda: GS1DigitalLinkURI.parse(link, config=_BIIP), text, "incomplete")
    return _unit_of(((item.ai.ai, item.value) for item in parsed.element_strings), text, None)


def _unit_of(elements: Iterator[tuple[str, str]], text: str, product: str | None) -> Identified:
    """The unit that application identifiers name: SGTIN, else SSCC, GIAI, GRAI, else with
    `product` its serial."""
    found: dict[str, str] = {}
    for count, (ai, value) in enumerate(elements):
        if count >= _ELEMENTS_MAX:
            raise NotIdentified(
                "too_long", f"more than {_ELEMENTS_MAX} application identifiers in {shown(text)}"
            )
        if found.setdefault(ai, value) != value:
            raise NotIdentified(
                "contradiction", f"AI {ai} stands twice with two values in {shown(text)}"
            )
    if "01" in found and "21" in found:
        notes = ("unread_tail",) if "" in found else ()
        return sgtin(
            found["01"],
            found["21"],
            lot=found.get("10"),
            yymmdd=found.get("17"),
            produced_yymmdd=found.get("11"),
            notes=notes,
        )
    if "00" in found:
        return sscc(found["00"])
    if "8004" in found:
        return giai(found["8004"])
    if "8003" in found:
        if not found["8003"].startswith("0"):
            raise NotIdentified("incomplete", f"GRAI (8003) {found['8003']} should begin with 0")
        return grai(found["8003"][1:])
    if "21" in found:
        if product is not None:
            return product_serial(product, found["21"])
        raise NotIdentified(
            "unidentified_serial",
            f"serial {shown(found['21'])} (AI 21) without a GTIN; scan or name the product too",
        )
    if "01" in found:
        lost = (
            ""
            if GS in text or "21" not in found.get("10", "")
            else (
                "; if the label has a serial behind the lot, make the reader send FNC1 as GS (0x1D)"
            )
        )
        _refuse_gtin(found["01"], "the code holds", lost)
    names = ", ".join(f"({ai}) {value}" for ai, value in found.items())
    raise NotIdentified("not_a_unit", f"{names or 'nothing'}: a code that names no unit")


def _refuse_gtin(text: str, what: str, more: str = "") -> NoReturn:
    """A GTIN names a product, not a unit of it; one with a wrong check digit not even that."""
    if not _DIGITS.fullmatch(text):
        raise NotIdentified("incomplete", f"{what} {shown(text)}, which is no GTIN; scan again")
    if not gs1_checks(text):
        raise NotIdentified("bad_check_digit", f"{what} GTIN {text}, whose check digit is wrong")
    raise NotIdentified(
        "not_a_unit",
        f"{what} GTIN {text.zfill(14)}: a product, not one unit of it; scan its serial{more}",
        gtin=None if more else text.zfill(14),
    )


# ------------------------------------------------------------------------- devices and vehicles


def _device_or_vehicle(text: str) -> Identified:
    """Unmarked text without a product: what its length and check digit say it is."""
    digits = text.replace(" ", "").replace("-", "") if _GROUPED_DIGITS.fullmatch(text) else text
    if _DIGITS.fullmatch(digits):
        return _bare_digits(digits)
    if _MEID_HEX.fullmatch(text):
        number = safely(lambda: meid.validate(text), text, "bad_check_digit")
        return Identified(f"meid:{number}", "meid", serial=number)
    if _VIN.fullmatch(text):
        return _vin(text)
    _refuse_serial(text)


def _expected(text: str, product: str | None, schemes: frozenset[str]) -> Identified:
    """Unmarked text at a reader that says which schemes it can be: the one that it fits."""
    digits = text.replace(" ", "").replace("-", "") if _GROUPED_DIGITS.fullmatch(text) else text
    fitting: list[Identified] = []
    refusal: NotIdentified | None = None
    for scheme, is_like, read in _UNMARKED:
        told = text if scheme == "vin" else digits
        if scheme not in schemes or not is_like.fullmatch(told):
            continue
        try:
            fitting.append(read(told))
        except NotIdentified as error:
            refusal = refusal or error
    if len(fitting) > 1:
        keys = " or ".join(found.key for found in fitting)
        raise NotIdentified("ambiguous", f"{shown(text)} is {keys}; enter one of these")
    if fitting:
        return fitting[0]
    if product is not None:
        return _expected_serial(text, product)
    if refusal is not None:
        raise refusal
    raise NotIdentified(
        "unexpected_scheme",
        f"{shown(text)} is none of what is expected here ({', '.join(sorted(schemes))}): scan"
        " again, or mend the `schemes` of the reader or of the product",
    )


def _meid_of(text: str) -> Identified:
    """Raises NotIdentified."""
    if len(text) in (14, 15) and not _DIGITS.fullmatch(text):
        number = safely(lambda: meid.validate(text), text, "bad_check_digit")
    elif not (found := _decimal_meid(text[:18])) or (len(text) == 19 and not luhn_checks(text)):
        raise NotIdentified("bad_check_digit", f"{text} is no MEID in decimal; scan again")
    else:
        number = found
    return Identified(f"meid:{number}", "meid", serial=number)


def _sscc_of(text: str) -> Identified:
    return sscc(text[-18:])


def _expected_serial(text: str, product: str) -> Identified:
    """Unmarked text at a reader that expects plain serials of `product`."""
    if len(text) in (13, 14) and _DIGITS.fullmatch(text) and gs1_checks(text):
        _refuse_gtin(text, "the text is")
    found = product_serial(product, text)
    if len(text) == 15 and _DIGITS.fullmatch(text) and luhn_checks(text):
        return found._replace(notes=("may_be_imei",))
    return found


def _bare_digits(digits: str) -> Identified:
    match len(digits):
        case 15:
            return imei(digits)
        case 16 if digits.startswith("01"):
            raise NotIdentified(
                "ambiguous",
                f"{digits} is an IMEISV, or a GTIN (AI 01) with a wrong check digit; scan again, or"
                " enter the IMEI of 15 digits",
            )
        case 16 if (label := _GS1_LABEL.fullmatch(digits)) and gs1_checks(label[2]):
            raise NotIdentified(
                "not_a_unit", f"{digits} (AI {label[1]}) labels a place or a content, not a unit"
            )
        case 16 if digits.startswith("8004"):
            raise NotIdentified(
                "ambiguous",
                f"{digits} is an IMEISV, or a GIAI (AI 8004): enter the IMEI of 15 digits, or"
                f" (8004){digits[4:]}",
            )
        case 16:
            return imei(digits)
        case 12 | 13 | 14 if gs1_checks(digits) or len(digits) > 12:
            _refuse_gtin(digits, "the text is")
        case 18:
            return _eighteen_digits(digits)
        case 19 if luhn_checks(digits) and (number := _decimal_meid(digits[:18])):
            return Identified(f"meid:{number}", "meid", serial=number)
        case 20 if digits.startswith("00"):
            return sscc(digits[2:])
    _refuse_serial(digits)


def _eighteen_digits(digits: str) -> Identified:
    """An MEID in decimal, or an SSCC without its AI; nothing when they could be both."""
    number = _decimal_meid(digits)
    if number is None:
        return sscc(digits)
    if gs1_checks(digits):
        raise NotIdentified(
            "ambiguous",
            f"{digits} is MEID {number} or SSCC {digits}; enter meid:{number} or (00){digits}",
        )
    return Identified(f"meid:{number}", "meid", serial=number)


def _decimal_meid(digits: str) -> str | None:
    """The 14 hex digits of an MEID's 18 decimal ones; None outside the range of MEIDs, whose
    first hex digit is A to F (3GPP2 S.R0048)."""
    try:
        number = meid.validate(digits)
    except ValidationError:
        return None
    return number if number >= "A" else None


def _vin(text: str) -> Identified:
    """The vehicle of a VIN (ISO 3779). Position 9 is a check digit in North America (49 CFR
    565.15), where a wrong one is an error; elsewhere it need not be one."""
    vin = safely(lambda: Vin(text), text, "incomplete")
    notes: tuple[str, ...] = ()
    if not safely(lambda: vin.verify_checksum(check_year=False), text, "unreadable"):
        if vin.num[0] in "12345":
            raise NotIdentified(
                "bad_check_digit", f"VIN {vin.num}: position 9 does not check; scan again"
            )
        notes = ("check_digit",)
    return Identified(f"vin:{vin.num}", "vin", serial=vin.num, notes=notes)


def _refuse_serial(text: str) -> NoReturn:
    """Text that may be a maker's serial: without its product it is not guessed."""
    check_serial(text)
    raise NotIdentified(
        "unidentified_serial",
        f"{text} may be a maker's serial; scan or name its product, or set the reader's product",
    )


#: Schemes of text that says nothing of its own scheme, how it looks then, and how it is read.
_UNMARKED: Final[tuple[tuple[str, re.Pattern[str], Callable[[str], Identified]], ...]] = (
    ("imei", re.compile(r"[0-9]{15,16}"), imei),
    ("meid", re.compile(r"[0-9A-Fa-f]{14,15}|[0-9]{18,19}"), _meid_of),
    ("sscc", re.compile(r"(?:00)?[0-9]{18}"), _sscc_of),
    ("vin", _VIN, _vin),
)

#: What a reader may expect of text without a mark.
SCHEMES: Final = frozenset(scheme for scheme, _, _ in _UNMARKED) | {"epc"}
