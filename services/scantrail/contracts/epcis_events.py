"""Scans as EPCIS 2.0 events: pure, one scan in, one event as JSON-LD has it out.

What a scan says is told, and nothing is made up: an event is of one unit, of a carton that twenty
units were packed into there are twenty. `docs/epcis.md` has the table.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from scantrail.contracts.epcis_hash import event_hash_id, told_moment
from scantrail.contracts.epcis_uris import Uris
from scantrail.domain.vocabulary import TAKING_OUT_STEPS, BusinessStep

CONTEXT: Final = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
SCHEMA_VERSION: Final = "2.0"
QUERY_NAME: Final = "SimpleEventQuery"

#: CBV 2.0 has no `returning`: what comes back is received, and its disposition says that it did.
RETURNED: Final = "returned"

ADD, OBSERVE, DELETE = "ADD", "OBSERVE", "DELETE"
OBJECT, AGGREGATION, ASSOCIATION = "ObjectEvent", "AggregationEvent", "AssociationEvent"

#: Dispositions of CBV 2.0, section 7.2.2; others are told as URIs.
DISPOSITIONS: Final = frozenset(
    {
        "active",
        "available",
        "completeness_inferred",
        "completeness_verified",
        "conformant",
        "container_closed",
        "container_open",
        "damaged",
        "destroyed",
        "dispensed",
        "disposed",
        "encoded",
        "expired",
        "in_progress",
        "in_transit",
        "inactive",
        "mismatch_class",
        "mismatch_instance",
        "mismatch_quantity",
        "needs_replacement",
        "no_pedigree_match",
        "non_conformant",
        "non_sellable_other",
        "partially_dispensed",
        "recalled",
        "reserved",
        "retail_sold",
        "returned",
        "sellable_accessible",
        "sellable_not_accessible",
        "stolen",
        "unavailable",
        "unknown",
    }
)

#: What CBV 2.0 says of why an event is declared wrong.
DID_NOT_OCCUR, INCORRECT_DATA = "did_not_occur", "incorrect_data"

_ASSOCIATED_AT: Final = frozenset({BusinessStep.ASSEMBLING, BusinessStep.DISASSEMBLING})

_CBV_WORD: Final = re.compile(
    r"(?:urn:epcglobal:cbv:([a-z]+):|(?:https?://(?:ref|ns)\.gs1\.org/cbv/|cbv:)([A-Za-z]+)-)"
    r"([a-z_]+)"
)

#: EPCIS takes offsets up to 14 hours.
_OFFSET_MAX: Final = timedelta(hours=14)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """That a scan is void. `corrective` are the ids of the events that stand in its place."""

    at: datetime
    reason: str | None = None
    corrective: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A scan as an event tells it. `at` is when it happened, by its own clock or, where that was
    off, by the gateway's; `offset` what clocks there were ahead of UTC."""

    unit: str
    at: datetime
    offset: timedelta
    recorded_at: datetime
    business_step: BusinessStep
    read_point: str
    business_location: str | None = None
    disposition: str | None = None
    order: str | None = None
    rma: str | None = None
    parent: str | None = None
    declared: Declared | None = None


def event_of(scan: Observed, uris: Uris) -> dict[str, Any]:
    """The event of a scan, its id made by what it says."""
    kind, action = kind_and_action(scan.business_step, is_inside=scan.parent is not None)
    event: dict[str, Any] = {
        "type": kind,
        "eventTime": told_moment(scan.at),
        "eventTimeZoneOffset": told_offset(scan.offset),
    }
    unit = uris.of_unit(scan.unit)
    if scan.parent is None:
        event["epcList"] = [unit]
    else:
        event |= {"parentID": uris.of_unit(scan.parent), "childEPCs": [unit]}
    event |= {"action": action, "bizStep": cbv_step(scan.business_step)}
    if (disposition := _disposition(scan, uris)) is not None:
        event["disposition"] = disposition
    event["readPoint"] = {"id": uris.of_place("read_point", scan.read_point)}
    if scan.business_location is not None:
        event["bizLocation"] = {"id": uris.of_place("location", scan.business_location)}
    documents = [
        {"type": type_, "bizTransaction": uris.of_document(kind, reference)}
        for type_, kind, reference in (("po", "order", scan.order), ("rma", "rma", scan.rma))
        if reference is not None
    ]
    if documents:
        event["bizTransactionList"] = documents
    event |= {"eventID": event_hash_id(event), "recordTime": told_moment(scan.recorded_at)}
    if scan.declared is not None:
        event["errorDeclaration"] = _declaration(scan.declared)
    return event


def kind_and_action(step: BusinessStep, *, is_inside: bool) -> tuple[str, str]:
    """The type and the action of the event of a scan: `is_inside` says that it names a parent."""
    if is_inside:
        kind = ASSOCIATION if step in _ASSOCIATED_AT else AGGREGATION
        is_parting = step in TAKING_OUT_STEPS or step is BusinessStep.DECOMMISSIONING
        return kind, DELETE if is_parting else ADD
    if step is BusinessStep.COMMISSIONING:
        return OBJECT, ADD
    return OBJECT, DELETE if step is BusinessStep.DECOMMISSIONING else OBSERVE


def cbv_step(step: BusinessStep) -> str:
    """The step as CBV 2.0 calls it."""
    return (BusinessStep.RECEIVING if step is BusinessStep.RETURNING else step).value


def steps_of(word: str) -> tuple[BusinessStep, ...]:
    """The steps that CBV 2.0 calls so; none where none is."""
    return tuple(step for step in BusinessStep if cbv_step(step) == word)


def bare_word(told: str, vocabulary: str) -> str:
    """A word of CBV's, however it is told: `receiving`, `urn:epcglobal:cbv:bizstep:receiving`,
    `https://ref.gs1.org/cbv/BizStep-receiving`, `cbv:BizStep-receiving`. Others as they are.

    `vocabulary` is `bizstep`, `disp`, `btt` or `er`.
    """
    found = _CBV_WORD.fullmatch(told)
    if found is None or vocabulary != (found[1] or found[2]).lower():
        return told
    return found[3]


def told_offset(offset: timedelta) -> str:
    """An offset as EPCIS has it, such as +01:00; one beyond its bounds as the bound."""
    seconds = max(-_OFFSET_MAX, min(_OFFSET_MAX, offset)).total_seconds()
    minutes = int(abs(seconds) // 60)
    return f"{'-' if seconds < 0 and minutes else '+'}{minutes // 60:02}:{minutes % 60:02}"


def document_head(kind: str, created_at: datetime) -> dict[str, Any]:
    """An EPCISDocument or EPCISQueryDocument, but for its body."""
    return {
        "@context": [CONTEXT],
        "type": kind,
        "schemaVersion": SCHEMA_VERSION,
        "creationDate": told_moment(created_at),
    }


def query_document(events: list[Mapping[str, Any]], created_at: datetime) -> dict[str, Any]:
    """What a query answers."""
    results = {"queryName": QUERY_NAME, "resultsBody": {"eventList": events}}
    head = document_head("EPCISQueryDocument", created_at)
    return {**head, "epcisBody": {"queryResults": results}}


def _disposition(scan: Observed, uris: Uris) -> str | None:
    if scan.disposition is None:
        return RETURNED if scan.business_step is BusinessStep.RETURNING else None
    word = bare_word(scan.disposition, "disp")
    return word if word in DISPOSITIONS else uris.of_disposition(word)


def _declaration(declared: Declared) -> dict[str, Any]:
    told: dict[str, Any] = {"declarationTime": told_moment(declared.at)}
    if declared.reason is not None:
        told["reason"] = declared.reason
    if declared.corrective:
        told["correctiveEventIDs"] = list(declared.corrective)
    return told
