"""What EPCIS routes take and answer, with examples: for the API's description of itself."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from scantrail.api.description import Sample
from scantrail.contracts.epcis_events import CONTEXT

_CREATED = "2026-03-02T09:00:00.000Z"

_EVENT = {
    "type": "ObjectEvent",
    "eventTime": "2026-03-02T08:15:00.250Z",
    "eventTimeZoneOffset": "+01:00",
    "epcList": ["https://id.gs1.org/01/09506000134352/21/A1"],
    "action": "OBSERVE",
    "bizStep": "receiving",
    "disposition": "in_progress",
    "readPoint": {"id": "https://wms.example.com/epcis/read_point/dock-1"},
    "bizLocation": {"id": "https://wms.example.com/epcis/location/Hall%20A"},
    "eventID": "ni:///sha-256;3bc9b204a670654870109020c59bf24aebf329a441a209c6ce267232ba62c57a"
    "?ver=CBV2.0",
    "recordTime": "2026-03-02T08:15:01.000Z",
}
_HEAD = {"@context": [CONTEXT], "schemaVersion": "2.0", "creationDate": _CREATED}


class EventTold(msgspec.Struct, rename="camel"):
    """An event of EPCIS 2.0; GS1's schema tells all its fields."""

    type: str
    event_time: datetime
    event_time_zone_offset: str
    action: Literal["ADD", "OBSERVE", "DELETE"]
    event_id: Annotated[str, msgspec.Meta(pattern="^ni:///")] = msgspec.field(name="eventID")


class EventList(msgspec.Struct, rename="camel"):
    event_list: list[EventTold]


class QueryResults(msgspec.Struct, rename="camel"):
    query_name: str
    results_body: EventList


class QueryBody(msgspec.Struct, rename="camel"):
    query_results: QueryResults


class EpcisQueryDocument(msgspec.Struct, rename="camel"):
    context: list[str] = msgspec.field(name="@context")
    type: Literal["EPCISQueryDocument"]
    schema_version: str
    creation_date: datetime
    epcis_body: QueryBody


class EpcisDocument(msgspec.Struct, rename="camel"):
    context: list[str] = msgspec.field(name="@context")
    type: Literal["EPCISDocument"]
    schema_version: str
    creation_date: datetime
    epcis_body: EventList


_RESULTS = {"queryName": "SimpleEventQuery", "resultsBody": {"eventList": [_EVENT]}}

QUERY_DOCUMENT = Sample(
    kind=EpcisQueryDocument,
    example={**_HEAD, "type": "EPCISQueryDocument", "epcisBody": {"queryResults": _RESULTS}},
)
DOCUMENT = Sample(
    kind=EpcisDocument,
    example={**_HEAD, "type": "EPCISDocument", "epcisBody": {"eventList": [_EVENT]}},
    media="application/ld+json",
)


class EventSent(msgspec.Struct, rename="camel"):
    """An event of EPCIS 2.0; docs/epcis.md tells which of its fields a scan keeps."""

    type: Literal["ObjectEvent", "AggregationEvent", "AssociationEvent"]
    event_time: datetime
    event_time_zone_offset: str
    action: Literal["ADD", "OBSERVE", "DELETE"]
    read_point: dict[str, Any]
    biz_step: str | msgspec.UnsetType = msgspec.UNSET
    epc_list: list[str] | msgspec.UnsetType = msgspec.UNSET


class EventsSent(msgspec.Struct, rename="camel"):
    event_list: list[EventSent]


class DocumentSent(msgspec.Struct, rename="camel"):
    context: list[str] = msgspec.field(name="@context")
    type: Literal["EPCISDocument"]
    schema_version: str
    creation_date: datetime
    epcis_body: EventsSent


CAPTURE = Sample(kind=DocumentSent, example=DOCUMENT.example)


class ErrorTold(msgspec.Struct, rename="camel"):
    """RFC 9457: why the event at the place `event` of the document, from 0, is no scan."""

    type: str
    title: str
    status: int
    detail: str
    event: int
    reason: str
    field: str


class JobTold(msgspec.Struct, rename="camel"):
    """A capture job. `counts` are of events by what became of them."""

    capture_id: str = msgspec.field(name="captureID")
    created_at: datetime
    finished_at: datetime
    running: bool
    success: bool
    capture_error_behaviour: Literal["rollback", "proceed"]
    errors: list[ErrorTold]
    counts: dict[str, int]


class EventOutcome(msgspec.Struct, rename="camel"):
    """What became of one event: `status` is captured, already (its scans were here), rejected or
    rolled_back; `leftOut` are the fields that no scan keeps."""

    number: int
    status: Literal["captured", "already", "rejected", "rolled_back"]
    event_id: str | None = msgspec.field(name="eventID")
    scans: int
    reason: str | None
    field: str | None
    detail: str | None
    left_out: list[str]


class EventOutcomes(msgspec.Struct):
    events: list[EventOutcome]
    next: str | None


_ERROR = {
    "type": "epcisException:ValidationException",
    "title": "Event rejected",
    "status": 400,
    "detail": "stations with this read point do receiving: send that",
    "event": 0,
    "reason": "no_station_for_step",
    "field": "bizStep",
}
_JOB = {
    "captureID": "20260302T090000.000000Z-5f3c",
    "createdAt": _CREATED,
    "finishedAt": _CREATED,
    "running": False,
    "success": False,
    "captureErrorBehaviour": "proceed",
    "errors": [_ERROR],
    "counts": {"captured": 0, "already": 0, "rejected": 1, "rolled_back": 0},
}

JOB = Sample(kind=JobTold, example=_JOB)
JOBS = Sample(kind=list[JobTold], example=[_JOB])
OUTCOMES = Sample(
    kind=EventOutcomes,
    example={
        "events": [
            {
                "number": 0,
                "status": "rejected",
                "eventID": None,
                "scans": 0,
                "reason": "no_station_for_step",
                "field": "bizStep",
                "detail": _ERROR["detail"],
                "leftOut": [],
            }
        ],
        "next": None,
    },
)
