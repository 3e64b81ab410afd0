"""Ids of events by what they say: made by the algorithm's reference implementation (release 1.9.3
of the PyPI package epcis-event-hash-generator), and by its rules."""

from datetime import UTC, datetime
from typing import Any

import pytest

from scantrail.contracts.epcis_hash import at_millisecond, event_hash_id, pre_hash

LINK = "https://id.gs1.org"
RECEIVED = {
    "type": "ObjectEvent",
    "eventTime": "2026-03-02T08:15:00.250Z",
    "eventTimeZoneOffset": "+01:00",
    "recordTime": "2026-03-02T08:15:01Z",
    "epcList": [f"{LINK}/01/09506000134352/21/A1"],
    "action": "OBSERVE",
    "bizStep": "receiving",
    "disposition": "in_progress",
    "readPoint": {"id": "https://wms.example.com/epcis/read_point/dock-1"},
    "bizLocation": {"id": "https://wms.example.com/epcis/location/Hall%20A"},
}
SHIPPED = {
    "type": "ObjectEvent",
    "eventTime": "2026-03-02T08:15:00+02:00",
    "eventTimeZoneOffset": "+02:00",
    "epcList": [f"{LINK}/01/09506000134352/21/A%2F1"],
    "action": "OBSERVE",
    "bizStep": "shipping",
    "disposition": "https://wms.example.com/epcis/disposition/odd",
    "readPoint": {"id": "urn:epc:id:sgln:9506000.13430.gate-1"},
    "bizTransactionList": [
        {"type": "po", "bizTransaction": "https://wms.example.com/epcis/order/4711"},
        {"type": "rma", "bizTransaction": "https://wms.example.com/epcis/rma/9"},
    ],
}
PACKED = {
    "type": "AggregationEvent",
    "eventTime": "2026-03-02T08:15:00Z",
    "eventTimeZoneOffset": "+00:00",
    "parentID": f"{LINK}/00/095060001343520017",
    "childEPCs": [f"{LINK}/01/09506000134352/21/B", f"{LINK}/01/09506000134352/21/A"],
    "action": "ADD",
    "bizStep": "packing",
    "readPoint": {"id": "https://loc.example.com/414/9506000134307/254/X1?a=b"},
}
TAKEN_APART = {
    "type": "AssociationEvent",
    "eventTime": "2026-03-02T08:15:00Z",
    "eventTimeZoneOffset": "-05:00",
    "parentID": "urn:gsma:imei:49015420-323751-0",
    "childEPCs": [f"{LINK}/8004/9506000ABC"],
    "action": "DELETE",
    "bizStep": "disassembling",
    "readPoint": {"id": "urn:x:a"},
    "errorDeclaration": {
        "declarationTime": "2026-03-03T08:15:00Z",
        "reason": "did_not_occur",
    },
}
BY_URNS = {
    "type": "ObjectEvent",
    "eventTime": "2026-03-02T08:15:00Z",
    "eventTimeZoneOffset": "+00:00",
    "epcList": [
        "urn:epc:id:sgtin:9506000.013435.A1",
        "urn:epc:id:grai:9506000.13431.5",
        "urn:epc:id:giai:9506000.55(a)",
        "urn:epc:id:sscc:9506000.0134352001",
    ],
    "action": "OBSERVE",
    "bizStep": "storing",
    "readPoint": {"id": "urn:epc:id:sgln:9506000.13430.0"},
    "bizTransactionList": [
        {"type": "desadv", "bizTransaction": "https://a.example/1"},
        {"type": "inv", "bizTransaction": "https://a.example/0"},
    ],
}


@pytest.mark.parametrize(
    ("event", "digest"),
    [
        (RECEIVED, "3bc9b204a670654870109020c59bf24aebf329a441a209c6ce267232ba62c57a"),
        (SHIPPED, "c874f697c277b7b6b3d0b08637178e00126757272298d16a4cbbbd343b4bd2bd"),
        (PACKED, "75b5b0239f31d5ee3694fe6f226f7288d4ed49cc1a07356f6ad335d987b9f85c"),
        (TAKEN_APART, "94d090b567fa01835e718b5bd277bae408371ee561f59d2bddddc5e09b27c3e2"),
        (BY_URNS, "4fb2a2f7ba31e9acf60375fba3a5958e7da3bd12d8013a6fa0169136f84e7699"),
    ],
)
def test_an_event_has_the_id_that_the_reference_gives(event: dict[str, Any], digest: str) -> None:
    assert event_hash_id(event) == f"ni:///sha-256;{digest}?ver=CBV2.0"


def test_the_text_that_is_hashed_has_the_canonical_order() -> None:
    assert pre_hash(dict(reversed(SHIPPED.items()))) == (
        "eventType=ObjectEventeventTime=2026-03-02T06:15:00.000ZeventTimeZoneOffset=+02:00"
        "epcListepc=https://id.gs1.org/01/09506000134352/21/A%2F1action=OBSERVE"
        "bizStep=https://ref.gs1.org/cbv/BizStep-shipping"
        "disposition=https://wms.example.com/epcis/disposition/odd"
        "readPointid=https://id.gs1.org/414/9506000134307/254/gate-1"
        "bizTransactionListtype=https://ref.gs1.org/cbv/BTT-po"
        "bizTransaction=https://wms.example.com/epcis/order/4711"
        "type=https://ref.gs1.org/cbv/BTT-rma"
        "bizTransaction=https://wms.example.com/epcis/rma/9"
    )


def test_what_is_no_content_leaves_the_id_as_it_is() -> None:
    declared = {"errorDeclaration": {"declarationTime": "2026-03-03T00:00:00Z"}}
    more = {"eventID": "urn:uuid:1", "recordTime": "2026-03-03T00:00:00Z", **declared}
    assert event_hash_id(RECEIVED | more) == event_hash_id(RECEIVED)


@pytest.mark.parametrize("name", sorted(RECEIVED.keys() - {"recordTime"}))
def test_every_other_field_is_in_it(name: str) -> None:
    others = {
        "type": "AggregationEvent",
        "eventTime": "2026-03-02T08:15:00.251Z",
        "eventTimeZoneOffset": "+02:00",
        "epcList": [f"{LINK}/01/09506000134352/21/A2"],
        "action": "ADD",
        "bizStep": "storing",
        "disposition": "damaged",
        "readPoint": {"id": "urn:x:1"},
        "bizLocation": {"id": "urn:x:1"},
    }
    assert event_hash_id(RECEIVED | {name: others[name]}) != event_hash_id(RECEIVED)


def test_a_field_without_a_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="sensorElementList"):
        event_hash_id(RECEIVED | {"sensorElementList": []})


@pytest.mark.parametrize(
    ("microsecond", "told"), [(0, 0), (499, 0), (500, 1000), (141_500, 142_000), (1_499, 1000)]
)
def test_times_are_rounded_half_up(microsecond: int, told: int) -> None:
    moment = datetime(2026, 3, 2, 8, 15, tzinfo=UTC).replace(microsecond=microsecond)
    assert at_millisecond(moment).microsecond == told


def test_the_last_half_millisecond_of_a_second_is_the_next_second() -> None:
    moment = datetime(2026, 3, 2, 8, 15, 59, 999_600, tzinfo=UTC)
    assert at_millisecond(moment) == datetime(2026, 3, 2, 8, 16, tzinfo=UTC)
