"""Tags in hex and EPC URNs, to the unit they name (EPC Tag Data Standard 1.13), by epcpy."""

import re
import warnings
from enum import Enum
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from scantrail.contracts.libraries import safely
from scantrail.domain.identifiers import Identified, NotIdentified, giai, grai, sgtin, shown, sscc

with warnings.catch_warnings():
    # epcpy has string escapes that Python warns of where its bytecode is not cached yet.
    warnings.simplefilter("ignore")
    from epcpy.epc_schemes.base_scheme import TagEncodable
    from epcpy.epc_schemes.giai import GIAI, GIAIFilterValue
    from epcpy.epc_schemes.grai import GRAI, GRAIFilterValue
    from epcpy.epc_schemes.sgtin import SGTIN, SGTINFilterValue
    from epcpy.epc_schemes.sscc import SSCC, SSCCFilterValue
    from epcpy.utils.parsers import epc_pure_identity_to_gs1_key, hex_to_tag_encodable

#: A tag's EPC as hex digits: of 96 bits or more where nothing says that it is one.
EPC_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{4}){6,31}")
MARKED_EPC_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{4}){1,31}")

_TAG_URN: Final = re.compile(r"(sgtin|sscc|giai|grai)-([0-9]+):[0-7]\.(.+)", re.IGNORECASE)
_RAW_URN: Final = re.compile(r"[0-9]+\.x([0-9A-F]+)", re.IGNORECASE)
_URN_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_URN_PART: Final = re.compile(r"(?:[!'()*+,\-.0-9:;=A-Z_a-z]|%(?:22|25|26|2F|3C|3E|3F))+")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]*")
_DIGITS: Final = re.compile(r"[0-9]+")

#: How many parts the URN of a scheme has, the last one being the serial.
_URN_PARTS: Final = {"sgtin": 3, "sscc": 2, "giai": 2, "grai": 3}

#: EPC headers (table 14-1) that name a unit, with their bits, and
#: those of locations.
TAG_BITS: Final = {"30": 96, "31": 96, "33": 96, "34": 96, "36": 198, "37": 170, "38": 202}
_LOCATION_HEADERS: Final = frozenset({"32", "39"})

_TAG_FILTERS: Final[dict[type[TagEncodable], type[Enum]]] = {
    SGTIN: SGTINFilterValue,
    SSCC: SSCCFilterValue,
    GIAI: GIAIFilterValue,
    GRAI: GRAIFilterValue,
}


def epc_hex(text: str) -> Identified:
    """The unit of a tag's EPC in hex. Raises NotIdentified: not_a_unit, incomplete."""
    outcome = _decoded_tag(text.upper())
    if isinstance(outcome, Identified):
        return outcome
    raise NotIdentified(*outcome)


@lru_cache(maxsize=65_536)
def _decoded_tag(tag: str) -> Identified | tuple[str, str]:
    """The unit of a tag's EPC (upper-case hex), or why there is none. A tag stands in the field
    and is read again and again: decoding takes some 50 µs, the cache some 0.1."""
    header = tag[:2]
    if header in _LOCATION_HEADERS:
        return "not_a_unit", f"tag {tag} marks a location (SGLN), not a unit"
    if not tag.strip("0"):
        return "not_a_unit", "a blank tag, all zeros; write its EPC"
    if header not in TAG_BITS:
        return Identified(f"epc:{tag}", "epc", serial=tag)
    if 4 * len(tag) < TAG_BITS[header]:
        return "incomplete", f"tag {tag} has {4 * len(tag)} bits of {TAG_BITS[header]}; read again"
    try:
        scheme = safely(lambda: hex_to_tag_encodable(tag), tag, "unreadable")
        if not _encodes(scheme, tag):
            raise NotIdentified("unreadable", f"tag {tag} is not what its content encodes to")
        return _epc_identity(scheme.epc_uri.removeprefix("urn:epc:id:"))
    except NotIdentified:
        return Identified(f"epc:{tag}", "epc", serial=tag, notes=("undecodable_tag",))


def _encodes(scheme: TagEncodable, tag: str) -> bool:
    """Whether a decoded tag encodes to the same bits. epcpy skips zero characters inside a serial
    and drops what stands behind one, and would give a wrong serial."""
    bits = f"{int(tag, 16):0{4 * len(tag)}b}"
    encoded: str = scheme.binary(
        binary_coding_scheme=scheme.header_to_schemes()[bits[:8]],
        filter_value=_TAG_FILTERS[type(scheme)](str(int(bits[8:11], 2))),
    )
    return bits.startswith(encoded) and "1" not in bits[len(encoded) :]


def epc_urn(kind: str, body: str) -> Identified:
    """The unit of `urn:epc:<kind>:<body>` (EPC Tag Data Standard 1.13, sections 6 and 12).

    Raises NotIdentified: unknown_scheme, not_a_unit, incomplete, bad_characters, bad_check_digit.
    """
    if kind == "id":
        return _epc_identity(body)
    if kind == "tag" and (tag := _TAG_URN.fullmatch(body)):
        if (
            tag[2] == "96"
            and tag[1].lower() != "sscc"
            and not _NUMBER.fullmatch(tag[3].rpartition(".")[2])
        ):
            raise NotIdentified(
                "incomplete", f"{shown(body)}: a 96-bit tag holds a number without leading zeros"
            )
        return _epc_identity(f"{tag[1]}:{tag[3]}")
    if kind == "raw" and (raw := _RAW_URN.fullmatch(body)) and EPC_HEX.fullmatch(raw[1]):
        return epc_hex(raw[1])
    if kind in ("class", "idpat", "pat"):
        raise NotIdentified("not_a_unit", f"urn:epc:{kind} names a class of units, not one")
    raise NotIdentified("unknown_scheme", f"no unit scheme in urn:epc:{kind}:{shown(body)}")


def _epc_identity(body: str) -> Identified:
    """The unit of `<scheme>:<parts>`, the tail of an EPC pure identity URI.

    epcpy gives the numbers; the serial is read here, since epcpy ends a GIAI at a colon and
    leaves escapes in small letters as they are.
    """
    scheme, _, parts = body.partition(":")
    scheme = scheme.lower()
    if scheme in ("sgln", "pgln", "lgtin"):
        raise NotIdentified("not_a_unit", f"{scheme.upper()} {shown(parts)} names no unit")
    if scheme not in _URN_PARTS:
        raise NotIdentified("unknown_scheme", f"EPC scheme {shown(scheme)} is none of a unit")
    numbers = parts.split(".", _URN_PARTS[scheme] - 1)
    if len(numbers) != _URN_PARTS[scheme] or not all(map(_DIGITS.fullmatch, numbers[:-1])):
        raise NotIdentified("incomplete", f"{scheme.upper()} {shown(parts)} has a part too few")
    last = _URN_ESCAPE.sub(lambda escape: escape[0].upper(), numbers[-1])
    if not _URN_PART.fullmatch(last):
        raise NotIdentified(
            "bad_characters",
            f"{scheme.upper()} {shown(parts)}: its serial is empty or not escaped",
        )
    if scheme == "giai":
        if not 6 <= len(numbers[0]) <= 12:
            raise NotIdentified("incomplete", f"GIAI {shown(parts)}: company prefix of 6 to 12")
        return giai(numbers[0] + unquote(last))
    shape = ".".join(numbers[:-1]) + "." + (last if scheme == "sscc" else "0")
    urn = f"urn:epc:id:{scheme}:{shape}"
    number: str = safely(lambda: epc_pure_identity_to_gs1_key(urn), body, "incomplete")
    if scheme == "sscc":
        return sscc(number)
    if scheme == "grai":
        return grai(number[:13] + unquote(last))
    return sgtin(number, unquote(last))
