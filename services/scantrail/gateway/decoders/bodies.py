"""Which decoder understands the bodies of which protocol, over HTTP or MQTT."""

from collections.abc import Callable, Mapping
from typing import Final

from scantrail.gateway.decoders.generic import decode_generic, decode_redelivered
from scantrail.gateway.decoders.impinj import decode_impinj
from scantrail.gateway.decoders.json_body import RAW_LENGTH_MAX, UnreadableBody
from scantrail.gateway.decoders.outcome import Invalid, Outcome
from scantrail.gateway.decoders.zebra import decode_zebra
from scantrail.gateway.readers import Protocol

_DECODERS: Final[Mapping[Protocol, Callable[[bytes], list[Outcome]]]] = {
    "http-generic": decode_generic,
    "http-impinj": decode_impinj,
    "http-zebra": decode_zebra,
    "mqtt-generic": decode_redelivered,
    "mqtt-impinj": decode_impinj,
    "mqtt-zebra": decode_zebra,
}


def decode_body(protocol: Protocol, body: bytes) -> list[Outcome]:
    """What each item of a body over HTTP, or of a message over MQTT, says, in their order.

    A body of which nothing can be read is one Invalid. KeyError for a protocol that has no bodies.
    """
    try:
        return _DECODERS[protocol](body)
    except UnreadableBody as error:
        return [Invalid(error.reason, body[:RAW_LENGTH_MAX])]
