"""The id of an EPCIS event by what it says: EPCIS Event Hash ID of CBV 2.0, section 8.9.

Pure. For the fields that events of this system have; a field that is not known is refused, since
an id that leaves out something would be another event's too. What is no content (`eventID`,
`recordTime`, `errorDeclaration`) is left out: an event and its error declaration have one id.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from scantrail.contracts.epcis_uris import canonical, is_uri

CBV: Final = "https://ref.gs1.org/cbv/"
_VERSION: Final = "CBV2.0"

_NO_CONTENT: Final = frozenset({"type", "eventID", "recordTime", "errorDeclaration", "@context"})


def event_hash_id(event: Mapping[str, Any]) -> str:
    """`ni:///sha-256;…?ver=CBV2.0` of an event as JSON has it, with CBV's words by short name.

    Raises ValueError for a field that is not known here.
    """
    return f"ni:///sha-256;{sha256(pre_hash(event).encode()).hexdigest()}?ver={_VERSION}"


def pre_hash(event: Mapping[str, Any]) -> str:
    """The text over which the digest is made."""
    unknown = event.keys() - _CANONICAL_ORDER.keys() - _NO_CONTENT
    if unknown:
        raise ValueError(f"no rule of the event hash is written here for {sorted(unknown)}")
    told = (rule(name, event[name]) for name, rule in _CANONICAL_ORDER.items() if event.get(name))
    return f"eventType={event['type']}{''.join(told)}"


def at_millisecond(moment: datetime) -> datetime:
    """A moment in UTC, rounded half up to a thousandth of a second: rule 9."""
    moment = moment.astimezone(UTC)
    off = moment.microsecond % 1000
    return moment + timedelta(microseconds=1000 - off if off >= 500 else -off)


def told_moment(moment: datetime) -> str:
    """A moment as events and their ids have it, such as 2026-03-02T08:15:00.250Z."""
    return at_millisecond(moment).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(name: str, value: str) -> str:
    return f"{name}={value.strip()}"


def _time(name: str, value: str) -> str:
    return f"{name}={told_moment(datetime.fromisoformat(value))}"


def _uri(name: str, value: str) -> str:
    return f"{name}={canonical(value.strip())}"


def _epcs(name: str, values: Sequence[str]) -> str:
    return name + "".join(sorted(_uri("epc", each) for each in values))


def _place(name: str, value: Mapping[str, str]) -> str:
    return name + _uri("id", value["id"])


def _word(prefix: str) -> Callable[[str, str], str]:
    """The rule of a word of CBV's, or of a URI in its place."""

    def rule(name: str, value: str) -> str:
        return _uri(name, value) if is_uri(value) else f"{name}={CBV}{prefix}-{value}"

    return rule


def _documents(name: str, values: Sequence[Mapping[str, str]]) -> str:
    def each() -> Iterator[str]:
        for value in values:
            kind = _word("BTT")("type", value["type"]) if "type" in value else ""
            yield kind + _uri("bizTransaction", value["bizTransaction"])

    return name + "".join(sorted(each()))


#: Table 8-3, as far as events of this system go.
_CANONICAL_ORDER: Final[dict[str, Callable[[str, Any], str]]] = {
    "eventTime": _time,
    "eventTimeZoneOffset": _text,
    "epcList": _epcs,
    "parentID": _uri,
    "childEPCs": _epcs,
    "action": _text,
    "bizStep": _word("BizStep"),
    "disposition": _word("Disp"),
    "readPoint": _place,
    "bizLocation": _place,
    "bizTransactionList": _documents,
}
