"""`POST /ingest/v1/zebra`: events of a Zebra FX or ATR reader (its IoT Connector).

An object, an array, or one object per line, each with its fields in `data` or beside it; only
`idHex` is required of a tag. Names of fields in any case, since they differ between releases.

| field | becomes |
|---|---|
| idHex | the tag's EPC |
| timestamp | when it was read; RFC 3339 with its zone, the offset's colon may be missing |
| antenna, peakRssi (dBm), direction | as they stand; what makes no sense is left out |
| eventNum | the reader's count |
| reads | how many reads of the tag this one stands for |
| eventType without idHex | a heartbeat, or another status of the reader |

The reader keeps events over an outage and sends them later, in order: the time is always its own.
"""

from collections.abc import Mapping
from typing import Any, Final

from scantrail.gateway.decoders.json_body import RefusedItem, in_small_letters, outcomes_of_body
from scantrail.gateway.decoders.json_fields import (
    antenna,
    direction,
    event_time,
    is_hex,
    number,
    whole_number,
)
from scantrail.gateway.decoders.outcome import Control, Heartbeat, Outcome
from scantrail.gateway.decoders.tag_read import tag_read

_EVENT_TYPE_LENGTH_MAX: Final = 64


def decode_zebra(body: bytes) -> list[Outcome]:
    """What each event of `body` says, in their order; an empty array is a heartbeat.

    Invalid has these reasons: of the body empty, bad_json, no_object; of an event bad_json,
    not_an_object, not_from_zebra, bad_code, bad_event_time, no_time_zone. Never raises.
    """
    return outcomes_of_body(body, _event)


def _event(item: Mapping[str, Any]) -> list[Outcome]:
    data = item.get("data")
    tag = {**item, **in_small_letters(data)} if isinstance(data, dict) else item
    id_hex = tag.get("idhex")
    if id_hex is None:
        return [_status(item)]
    if not isinstance(id_hex, str) or not is_hex(text := id_hex.strip()):
        raise RefusedItem("bad_code")
    read = tag_read(
        text,
        event_time=event_time(tag.get("timestamp")),
        antenna=antenna(tag.get("antenna")),
        rssi_dbm=number(tag.get("peakrssi")),
        sequence=whole_number(tag.get("eventnum")),
        direction=direction(tag.get("direction")),
        times_read=whole_number(tag.get("reads")) or 1,
    )
    return [read]


def _status(item: Mapping[str, Any]) -> Outcome:
    """An event that tells of a tag, in a way that is unknown here, is no status: it is kept."""
    kind = item.get("eventtype")
    if not isinstance(kind, str) or not kind or kind.lower().startswith("tag"):
        raise RefusedItem("not_from_zebra")
    if kind.lower() == "heartbeat":
        return Heartbeat()
    return Control(kind[:_EVENT_TYPE_LENGTH_MAX])
