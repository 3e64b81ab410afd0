"""Scans as EPCIS events: each is valid by GS1's schema, and tells what the scan says."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epcis_schema import faults
from scantrail.contracts.epcis_events import (
    DISPOSITIONS,
    Declared,
    Observed,
    bare_word,
    cbv_step,
    document_head,
    event_of,
    query_document,
    steps_of,
    told_offset,
)
from scantrail.contracts.epcis_hash import event_hash_id
from scantrail.contracts.epcis_uris import Uris
from scantrail.domain.vocabulary import BusinessStep

BASE = "https://wms.example.com/epcis/"
URIS = Uris(BASE)
AT = datetime(2026, 3, 2, 8, 15, 0, 250_000, tzinfo=UTC)
CARTON = "sscc:095060001343520017"
SCAN = Observed(
    unit="sgtin:09506000134352.A1",
    at=AT,
    offset=timedelta(hours=1),
    recorded_at=AT + timedelta(seconds=1),
    business_step=BusinessStep.RECEIVING,
    read_point="dock-1",
    business_location="Hall A",
    disposition="in_progress",
)


def document(*events: dict[str, Any]) -> dict[str, Any]:
    return {**document_head("EPCISDocument", AT), "epcisBody": {"eventList": list(events)}}


def test_a_scan_is_an_object_event() -> None:
    event = event_of(SCAN, URIS)
    assert event == {
        "type": "ObjectEvent",
        "eventTime": "2026-03-02T08:15:00.250Z",
        "eventTimeZoneOffset": "+01:00",
        "epcList": ["https://id.gs1.org/01/09506000134352/21/A1"],
        "action": "OBSERVE",
        "bizStep": "receiving",
        "disposition": "in_progress",
        "readPoint": {"id": f"{BASE}read_point/dock-1"},
        "bizLocation": {"id": f"{BASE}location/Hall%20A"},
        "eventID": "ni:///sha-256;"
        "3bc9b204a670654870109020c59bf24aebf329a441a209c6ce267232ba62c57a?ver=CBV2.0",
        "recordTime": "2026-03-02T08:15:01.250Z",
    }
    assert event["eventID"] == event_hash_id(event)
    assert faults(document(event)) == []
    assert faults(query_document([event], AT)) == []


@pytest.mark.parametrize("step", BusinessStep)
@pytest.mark.parametrize("parent", [None, CARTON])
@pytest.mark.parametrize("disposition", [None, "damaged", "odd one", "urn:x:1"])
def test_every_step_makes_a_valid_event(
    step: BusinessStep, parent: str | None, disposition: str | None
) -> None:
    scan = replace(SCAN, business_step=step, parent=parent, disposition=disposition)
    event = event_of(replace(scan, order="4711", rma="R 9", business_location=None), URIS)
    assert faults(document(event)) == []
    assert step in steps_of(event["bizStep"])


def test_what_the_schema_has_against_a_wrong_event() -> None:
    for name, wrong in {
        "bizStep": "returning",
        "disposition": "odd",
        "eventTimeZoneOffset": "Z",
        "epcList": ["no uri"],
        "eventID": "no uri",
        "other": 1,
    }.items():
        assert faults(document({**event_of(SCAN, URIS), name: wrong})) != [], name


@pytest.mark.parametrize(
    ("step", "parent", "kind", "action"),
    [
        (BusinessStep.COMMISSIONING, None, "ObjectEvent", "ADD"),
        (BusinessStep.DECOMMISSIONING, None, "ObjectEvent", "DELETE"),
        (BusinessStep.UNPACKING, None, "ObjectEvent", "OBSERVE"),
        (BusinessStep.PACKING, CARTON, "AggregationEvent", "ADD"),
        (BusinessStep.UNPACKING, CARTON, "AggregationEvent", "DELETE"),
        (BusinessStep.RECEIVING, CARTON, "AggregationEvent", "ADD"),
        (BusinessStep.ASSEMBLING, CARTON, "AssociationEvent", "ADD"),
        (BusinessStep.DISASSEMBLING, CARTON, "AssociationEvent", "DELETE"),
        (BusinessStep.DECOMMISSIONING, CARTON, "AggregationEvent", "DELETE"),
    ],
)
def test_the_type_and_the_action(
    step: BusinessStep, parent: str | None, kind: str, action: str
) -> None:
    event = event_of(replace(SCAN, business_step=step, parent=parent), URIS)
    assert (event["type"], event["action"]) == (kind, action)
    if parent is None:
        assert "parentID" not in event
        assert "childEPCs" not in event
    else:
        assert event["parentID"] == "https://id.gs1.org/00/095060001343520017"
        assert event["childEPCs"] == ["https://id.gs1.org/01/09506000134352/21/A1"]
        assert "epcList" not in event


def test_what_comes_back_is_received_and_returned() -> None:
    back = replace(SCAN, business_step=BusinessStep.RETURNING, disposition=None)
    event = event_of(back, URIS)
    assert (event["bizStep"], event["disposition"]) == ("receiving", "returned")
    assert event_of(replace(back, disposition="damaged"), URIS)["disposition"] == "damaged"
    assert steps_of("receiving") == (BusinessStep.RECEIVING, BusinessStep.RETURNING)
    assert steps_of("returning") == ()
    assert {cbv_step(step) for step in BusinessStep} == set(BusinessStep) - {"returning"}


def test_documents_are_told_with_their_kind() -> None:
    event = event_of(replace(SCAN, order="4711", rma="https://erp.example/9"), URIS)
    assert event["bizTransactionList"] == [
        {"type": "po", "bizTransaction": f"{BASE}order/4711"},
        {"type": "rma", "bizTransaction": "https://erp.example/9"},
    ]


def test_a_void_scan_is_declared_wrong_under_the_same_id() -> None:
    declared = Declared(
        at=AT + timedelta(days=1), reason="incorrect_data", corrective=("ni:///sha-256;00",)
    )
    event = event_of(replace(SCAN, declared=declared), URIS)
    assert event["errorDeclaration"] == {
        "declarationTime": "2026-03-03T08:15:00.250Z",
        "reason": "incorrect_data",
        "correctiveEventIDs": ["ni:///sha-256;00"],
    }
    assert event["eventID"] == event_of(SCAN, URIS)["eventID"]
    assert faults(document(event)) == []
    bare = event_of(replace(SCAN, declared=Declared(at=AT)), URIS)
    assert bare["errorDeclaration"].keys() == {"declarationTime"}
    assert faults(document(bare)) == []


@pytest.mark.parametrize(
    ("told", "vocabulary", "word"),
    [
        ("receiving", "bizstep", "receiving"),
        ("urn:epcglobal:cbv:bizstep:receiving", "bizstep", "receiving"),
        ("https://ref.gs1.org/cbv/BizStep-receiving", "bizstep", "receiving"),
        ("https://ns.gs1.org/cbv/BizStep-receiving", "bizstep", "receiving"),
        ("cbv:BizStep-receiving", "bizstep", "receiving"),
        ("urn:epcglobal:cbv:disp:damaged", "disp", "damaged"),
        ("cbv:BTT-po", "btt", "po"),
        ("urn:epcglobal:cbv:disp:damaged", "bizstep", "urn:epcglobal:cbv:disp:damaged"),
        ("urn:x:1", "disp", "urn:x:1"),
    ],
)
def test_a_word_of_cbv_is_known_in_every_spelling(told: str, vocabulary: str, word: str) -> None:
    assert bare_word(told, vocabulary) == word


def test_a_disposition_in_another_spelling_is_told_by_its_short_name() -> None:
    event = event_of(replace(SCAN, disposition="urn:epcglobal:cbv:disp:damaged"), URIS)
    assert event["disposition"] == "damaged"
    assert "damaged" in DISPOSITIONS


@pytest.mark.parametrize(
    ("minutes", "told"),
    [
        (0, "+00:00"),
        (60, "+01:00"),
        (-300, "-05:00"),
        (-210, "-03:30"),
        (345, "+05:45"),
        (14 * 60, "+14:00"),
        (15 * 60, "+14:00"),
        (-0.5, "+00:00"),
    ],
)
def test_offsets(minutes: float, told: str) -> None:
    assert told_offset(timedelta(minutes=minutes)) == told


@given(
    st.text(min_size=1, max_size=60),
    st.text(min_size=1, max_size=60),
    st.text(min_size=1, max_size=60),
)
def test_whatever_places_documents_and_dispositions_are_called(
    place: str, document_: str, disposition: str
) -> None:
    try:
        "".join((place, document_, disposition)).encode()
    except UnicodeEncodeError:  # no store has such
        return
    scan = replace(SCAN, read_point=place, business_location=place, disposition=disposition)
    event = event_of(replace(scan, order=document_, rma=document_), URIS)
    assert faults(document(event)) == []
    assert event["eventID"] == event_hash_id(event)
