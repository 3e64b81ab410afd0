"""`POST /ingest/v1/impinj`: events of an Impinj R700 (its IoT device interface).

Its webhook sends arrays, an empty one when there is nothing to tell; its stream and MQTT single
objects. Names of fields in any case.

| event | field | becomes |
|---|---|---|
| tagInventoryEvent | epcHex, else epc (base64, also the kind for addresses) | the tag |
| | lastSeenTime, else the event's timestamp | when it was read; RFC 3339 with its zone |
| | antennaPort | the antenna |
| | peakRssiCdbm | RSSI in hundredths of dBm |
| overflowEvent | eventsPurged | how many reads the reader lost |
| any other eventType | | a status of the reader |

The hostname and the antenna's name say nothing here: who the reader is, its address here tells.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from scantrail.gateway.decoders.json_body import RefusedItem, in_small_letters, outcomes_of_body
from scantrail.gateway.decoders.json_fields import (
    antenna,
    event_time,
    first_of,
    is_hex,
    number,
    whole_number,
)
from scantrail.gateway.decoders.outcome import Control, Lost, Outcome, Read
from scantrail.gateway.decoders.tag_read import tag_read

_EVENT_TYPE_LENGTH_MAX: Final = 64
_FOR_ADDRESSES: Final = str.maketrans("-_", "+/")


def decode_impinj(body: bytes) -> list[Outcome]:
    """What each event of `body` says, in their order; an empty array is a heartbeat.

    Invalid has these reasons: of the body empty, bad_json, no_object; of an event bad_json,
    not_an_object, not_from_impinj, no_code, bad_code, bad_event_time, no_time_zone, bad_count.
    Never raises.
    """
    return outcomes_of_body(body, _event)


def _event(item: Mapping[str, Any]) -> list[Outcome]:
    found: list[Outcome] = []
    if (purged := item.get("overflowevent")) is not None:
        found.append(_lost(purged))
    if (seen := item.get("taginventoryevent")) is not None:
        found.append(_read(seen, item.get("timestamp")))
    return found or [_status(item.get("eventtype"))]


def _read(seen: Any, timestamp: Any) -> Read:
    if not isinstance(seen, dict):
        raise RefusedItem("not_from_impinj")
    tag = in_small_letters(seen)
    rssi_cdbm = number(tag.get("peakrssicdbm"))
    at = first_of(tag, "lastseentime")
    return tag_read(
        _epc(tag),
        event_time=event_time(timestamp if at is None else at),
        antenna=antenna(tag.get("antennaport")),
        rssi_dbm=None if rssi_cdbm is None else rssi_cdbm / 100,
    )


def _epc(tag: Mapping[str, Any]) -> str:
    """In hex. Raises RefusedItem: no_code, bad_code."""
    epc_hex, epc = tag.get("epchex"), tag.get("epc")
    if epc_hex is None and epc is None:
        raise RefusedItem("no_code")
    if epc_hex is not None:
        if isinstance(epc_hex, str) and is_hex(text := epc_hex.strip()):
            return text
        raise RefusedItem("bad_code")
    if not isinstance(epc, str):
        raise RefusedItem("bad_code")
    text = epc.strip().rstrip("=").translate(_FOR_ADDRESSES)
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedItem("bad_code") from error
    if not decoded:
        raise RefusedItem("bad_code")
    return decoded.hex()


def _lost(purged: Any) -> Lost:
    told = in_small_letters(purged).get("eventspurged") if isinstance(purged, dict) else None
    count = whole_number(told)
    if count is None:
        raise RefusedItem("bad_count")
    return Lost(count)


def _status(event_type: Any) -> Control:
    """An event that tells of a tag, in a way that is unknown here, is no status: it is kept."""
    if not isinstance(event_type, str) or not event_type or event_type.lower().startswith("tag"):
        raise RefusedItem("not_from_impinj")
    return Control(event_type[:_EVENT_TYPE_LENGTH_MAX])
