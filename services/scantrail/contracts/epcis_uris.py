"""Units, places and documents as URIs, the way EPCIS 2.0 events name them, and back.

| what | as |
|---|---|
| `sgtin:`, `sscc:`, `giai:`, `grai:` | canonical GS1 Digital Link URI (URI Syntax 1.2, 4.11) |
| `imei:` | `urn:gsma:imei:<8 digits>-<6 digits>-0` (RFC 7254) |
| `epc:` of 96 bits and more | `urn:epc:raw:<bits>.x<HEX>` (Tag Data Standard 1.13, 12) |
| other keys | `<base>unit/<key>` |
| a GLN, and any URI that a place or a document has for its name | Digital Link, the URI itself |
| other places and documents | `<base>read_point/<name>`, `<base>location/…`, `<base>order/…` |

`base` is the installation's own (CBV 2.0 allows URIs of the end user's): nobody else's names begin
with it. An EPC URN needs the length of a company prefix, which a barcode does not tell.
"""

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from scantrail.contracts.epc import epc_urn
from scantrail.contracts.identity import identify
from scantrail.domain.identifiers import (
    Identified,
    NotIdentified,
    gs1_check_digit,
    gs1_checks,
    parse_key,
    shown,
)

LINK: Final = "https://id.gs1.org/"

#: Longest URI that is looked at.
URI_LENGTH_MAX: Final = 1024

_URI: Final = re.compile(
    r"(?:https?://|urn:[A-Za-z0-9][A-Za-z0-9-]{0,31}:)"
    r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+"
)
_GLN: Final = re.compile(r"[0-9]{13}")
_IMEI_URN: Final = re.compile(r"urn:gsma:imei:([0-9]{8})-([0-9]{6})-[0-9](?:;.*)?", re.IGNORECASE)
#: Numbers that are the same everywhere, in a URI of another installation.
_FOREIGN: Final = re.compile(r"https?://[^?#]+/unit/((?:vin|meid|epc)%3A[A-Z0-9]+)")
_EPC_URN: Final = re.compile(r"urn:epc:id:([a-z]+:.+)", re.IGNORECASE)
_SGLN: Final = re.compile(r"sgln:([0-9]{6,12})\.([0-9]{0,6})\.(.+)", re.IGNORECASE)
_CBV_DOCUMENT: Final = re.compile(r"urn:epcglobal:cbv:bt:[0-9]{13}:(.+)", re.IGNORECASE)
#: Characters that a Digital Link keeps as they are beside letters, digits and `_.-~`.
_KEPT: Final = "';="
#: 96 bits in hex digits: what has fewer is no tag that readers of URNs know.
_RAW_LENGTH_MIN: Final = 24


class _Key(NamedTuple):
    """A GS1 key in a Digital Link: its value, and its qualifiers, the finest first."""

    value: re.Pattern[str]
    qualifiers: tuple[str, ...] = ()


#: The keys and qualifiers of a constrained canonical Digital Link (CBV 2.0, 8.9.2).
_KEYS: Final = {
    "00": _Key(re.compile(r"[0-9]{18}")),
    "01": _Key(re.compile(r"[0-9]{8}|[0-9]{12,14}"), ("21", "10", "235")),
    "253": _Key(re.compile(r"[0-9]{13}.{0,17}")),
    "255": _Key(re.compile(r"[0-9]{13,25}")),
    "401": _Key(re.compile(r".{1,30}")),
    "402": _Key(re.compile(r"[0-9]{17}")),
    "414": _Key(re.compile(r"[0-9]{13}"), ("254",)),
    "417": _Key(re.compile(r"[0-9]{13}")),
    "8003": _Key(re.compile(r"[0-9]{14}.{0,16}")),
    "8004": _Key(re.compile(r".{1,30}")),
    "8006": _Key(re.compile(r"[0-9]{18}"), ("21", "10")),
    "8010": _Key(re.compile(r".{1,30}"), ("8011",)),
    "8017": _Key(re.compile(r"[0-9]{18}")),
    "8018": _Key(re.compile(r"[0-9]{18}")),
}


def is_uri(text: str) -> bool:
    """Whether `text` is a web address or a URN, as EPCIS takes it for a name."""
    return len(text) <= URI_LENGTH_MAX and _URI.fullmatch(text) is not None


@lru_cache(maxsize=16_384)
def canonical(uri: str) -> str:
    """`uri` as the constrained canonical Digital Link of the GS1 key that it has, as far as it has
    one; others as they are. EPC URNs of units and of places are Digital Links then. Cached: few
    places, and each event's URIs are looked at twice."""
    if urn := _EPC_URN.fullmatch(uri):
        return _of_urn(urn[1]) or uri
    if uri.startswith(("https://", "http://")):
        return _of_link(uri) or uri
    return uri


def _of_urn(body: str) -> str | None:
    if place := _SGLN.fullmatch(body):
        number = place[1] + place[2]
        if len(number) != 12:
            return None
        extension = unquote(place[3])
        more = "" if extension == "0" else f"/254/{quote(extension, safe=_KEPT)}"
        return f"{LINK}414/{number}{gs1_check_digit(number)}{more}"
    try:
        return gs1_link(epc_urn("id", body).key)
    except NotIdentified:
        return None


def _of_link(uri: str) -> str | None:
    path = uri.partition("://")[2].partition("#")[0].partition("?")[0].rstrip("/")
    parts = path.split("/")[1:]
    for place, (name, value) in enumerate(pairwise(parts)):
        key = _KEYS.get(name)
        if key is None or not key.value.fullmatch(unquote(value)):
            continue
        told = dict(zip(parts[place + 2 :: 2], parts[place + 3 :: 2], strict=False))
        finest = next((each for each in key.qualifiers if each in told), None)
        more = "" if finest is None else f"/{finest}/{_requoted(told[finest])}"
        return f"{LINK}{name}/{value.zfill(14) if name == '01' else _requoted(value)}{more}"
    return None


def _requoted(part: str) -> str:
    return quote(unquote(part), safe=_KEPT)


def gs1_link(key: str) -> str | None:
    """The Digital Link of a unit's key; None where it is no GS1 key."""
    scheme, _, name = key.partition(":")
    match scheme:
        case "sgtin":
            return f"{LINK}01/{name[:14]}/21/{quote(name[15:], safe=_KEPT)}"
        case "sscc":
            return f"{LINK}00/{name}"
        case "giai":
            return f"{LINK}8004/{quote(name, safe=_KEPT)}"
        case "grai":
            return f"{LINK}8003/0{name[:13]}{quote(name[13:], safe=_KEPT)}"
    return None


class Uris:
    """URIs of one installation, whose own begin with `base`."""

    def __init__(self, base: str) -> None:
        self._base = base

    def of_unit(self, key: str) -> str:
        """The URI of a unit's key."""
        if (link := gs1_link(key)) is not None:
            return link
        scheme, _, name = key.partition(":")
        if scheme == "imei":
            return f"urn:gsma:imei:{name[:8]}-{name[8:]}-0"
        if scheme == "epc" and len(name) >= _RAW_LENGTH_MIN:
            return f"urn:epc:raw:{4 * len(name)}.x{name}"
        return self._own("unit", key)

    def unit(self, uri: str) -> Identified:
        """The unit that a URI names: one of `of_unit`, a Digital Link of any host, an EPC URN; any
        other spelling too. Raises NotIdentified."""
        if (name := self._named("unit", uri)) is not None:
            key = parse_key(name)
            if key is None:
                raise NotIdentified("unknown_scheme", f"{shown(uri)} has no unit's key behind unit")
            return key
        if found := _FOREIGN.fullmatch(uri):
            return identify(unquote(found[1]))
        if found := _IMEI_URN.fullmatch(uri):
            return identify(f"imei:{found[1]}{found[2]}")
        return identify(uri)

    def of_place(self, kind: str, name: str) -> str:
        """The URI of a `read_point` or of a `location`."""
        if _GLN.fullmatch(name) and gs1_checks(name):
            return f"{LINK}414/{name}"
        return canonical(name) if is_uri(name) else self._own(kind, name)

    def place(self, kind: str, uri: str) -> str:
        """The name of the place of a URI of `of_place`; the URI itself, where it is none."""
        if (name := self._named(kind, uri)) is not None:
            return name
        link = canonical(uri)
        gln = link.removeprefix(f"{LINK}414/")
        return gln if _GLN.fullmatch(gln) else link

    def of_document(self, kind: str, reference: str) -> str:
        """The URI of an `order` or of a return authorisation, `rma`."""
        return reference if is_uri(reference) else self._own(kind, reference)

    def document(self, kind: str, uri: str) -> str:
        """The reference in a URI of `of_document`, or in `urn:epcglobal:cbv:bt:<GLN>:<reference>`;
        else the URI itself."""
        if (reference := self._named(kind, uri)) is not None:
            return reference
        told = _CBV_DOCUMENT.fullmatch(uri)
        return unquote(told[1]) if told else uri

    def of_disposition(self, word: str) -> str:
        """The URI of a disposition that is none of CBV's."""
        return word if is_uri(word) else self._own("disposition", word)

    def disposition(self, uri: str) -> str:
        """The word of a URI of `of_disposition`; the URI itself, where it is none."""
        told = self._named("disposition", uri)
        return uri if told is None else told

    def _own(self, kind: str, name: str) -> str:
        return f"{self._base}{kind}/{quote(name, safe='')}"

    def _named(self, kind: str, uri: str) -> str | None:
        """The name behind the installation's own `kind`; None where the URI is none of these."""
        begin = f"{self._base}{kind}/"
        return unquote(uri[len(begin) :]) if uri.startswith(begin) else None
