"""EPCIS 2.0 events as scans: pure, one event as it was sent in, what it claims out.

An event that cannot be a scan is refused with the field and the mend, before anything is sent; what
of an event no scan has room for is told as left out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from scantrail.contracts.epcis_events import (
    AGGREGATION,
    ASSOCIATION,
    DELETE,
    OBJECT,
    RETURNED,
    bare_word,
    cbv_step,
    kind_and_action,
    steps_of,
)
from scantrail.contracts.epcis_hash import at_millisecond
from scantrail.contracts.epcis_uris import URI_LENGTH_MAX, Uris, is_uri
from scantrail.contracts.fields import field_of
from scantrail.domain.identifiers import Identified, NotIdentified, shown
from scantrail.domain.scan import (
    CLOCK_AHEAD_MAX,
    CLOCK_BEHIND_MAX,
    is_order_reference,
    made_id,
)
from scantrail.domain.station import Station
from scantrail.domain.vocabulary import BusinessStep

#: Units of one event.
UNITS_MAX: Final = 10_000

_PLACE_LENGTH_MAX: Final = 200
_LOT: Final = re.compile(r"[ -~]{1,64}")

#: What says nothing that a scan should keep: it is the event's own, or told again by every answer.
_OF_THE_EVENT: Final = frozenset(
    {"type", "eventID", "recordTime", "@context", "eventTimeZoneOffset", "rdfs:comment", "comment"}
)

_RETURNING: Final = BusinessStep.RETURNING

_ONE_ITSELF: Final = "the parent is among its own children: leave it out"


class NotAScan(Exception):
    """An event that cannot be scans: which field, why (a fixed word), and the mend."""

    def __init__(self, reason: str, field: str, detail: str) -> None:
        super().__init__(f"{reason}: {field}: {detail}")
        self.reason, self.field, self.detail = reason, field, detail


class _Named(msgspec.Struct, frozen=True):
    id: str


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    biz_transaction: str
    type: str | None = None


class _ErrorDeclaration(msgspec.Struct, frozen=True, rename="camel"):
    declaration_time: Annotated[datetime, msgspec.Meta(tz=True)]
    reason: str | None = None
    corrective_event_ids: list[str] = msgspec.field(default_factory=list, name="correctiveEventIDs")


class _Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The fields of an event that scans keep."""

    event_time: Annotated[datetime, msgspec.Meta(tz=True)]
    event_time_zone_offset: Annotated[
        str, msgspec.Meta(pattern=r"^[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00)$")
    ]
    action: Literal["ADD", "OBSERVE", "DELETE"]
    epc_list: list[str] | None = None
    parent_id: str | None = msgspec.field(default=None, name="parentID")
    child_epcs: list[str] | None = msgspec.field(default=None, name="childEPCs")
    biz_step: str | None = None
    disposition: str | None = None
    read_point: _Named
    biz_location: _Named | None = None
    biz_transaction_list: list[_Document] = []
    error_declaration: _ErrorDeclaration | None = None
    ilmd: dict[str, Any] = {}


_KNOWN: Final = frozenset(each.encode_name for each in msgspec.structs.fields(_Event))


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What an event says of its units. `steps` are those that its business step can be here (None:
    it tells none). `read_point` is a URI. `voids`: the event is declared wrong, and why."""

    units: tuple[Identified, ...]
    kind: str
    action: str
    at: datetime
    read_point: str
    steps: tuple[BusinessStep, ...] | None
    parent: str | None = None
    disposition: str | None = None
    location: str | None = None
    order: str | None = None
    rma: str | None = None
    lot: str | None = None
    voids: str | None = None
    voided_at: datetime | None = None
    #: ids of the events that stand in its place, where it is declared wrong
    corrective: tuple[str, ...] = ()
    #: fields of the event that no scan keeps
    left_out: tuple[str, ...] = ()

    def id_of(self, unit: str) -> str:
        """The id of the scan of one of the units: the same whenever the event is sent, and also
        that of its error declaration."""
        told = (self.kind, self.action, self.at.astimezone(UTC).isoformat(), self.read_point)
        of = (self.disposition, self.location, self.order, self.rma, self.parent)
        return made_id(unit, *told, self.steps and tuple(map(str, self.steps)), *of)


def claim_of(event: Mapping[str, Any], uris: Uris, now: datetime) -> Claim:
    """What an event says. Raises NotAScan."""
    kind = event.get("type")
    if kind in ("TransactionEvent", "TransformationEvent"):
        raise NotAScan(
            "no_scan_of_it",
            "type",
            f"{kind} tells of documents or of what becomes of units, which no scan does: send what"
            " was seen as ObjectEvent, AggregationEvent or AssociationEvent",
        )
    if kind not in (OBJECT, AGGREGATION, ASSOCIATION):
        told = f"give {OBJECT}, {AGGREGATION} or {ASSOCIATION}"
        raise NotAScan("bad_field", "type", told)
    for field in ("parentID", "childEPCs") if kind == OBJECT else ("epcList",):
        if field in event:
            raise NotAScan("bad_field", field, f"an {kind} has no {field}: send another type")
    try:
        told_event = msgspec.convert(event, _Event)
    except msgspec.ValidationError as error:
        field, _, why = field_of(error)
        raise NotAScan("bad_field", field, why) from error
    at = at_millisecond(told_event.event_time)
    _check_time(at, now)
    declared = told_event.error_declaration
    units = _units(kind, told_event, uris)
    order, rma, documents_left = _documents(told_event.biz_transaction_list, uris)
    lot, ilmd_left = _lot(told_event.ilmd)
    if told_event.parent_id is None:
        parent = None
    else:
        parent = _identified(told_event.parent_id, "parentID", uris).key
    if parent in {unit.key for unit in units}:
        raise NotAScan("bad_field", "childEPCs", _ONE_ITSELF)
    return Claim(
        units=units,
        kind=str(kind),
        action=told_event.action,
        at=at,
        read_point=uris.of_place("read_point", _uri(told_event.read_point.id, "readPoint.id")),
        steps=_steps(told_event),
        parent=parent,
        disposition=_disposition(told_event, uris),
        location=_location(told_event.biz_location, uris),
        order=order,
        rma=rma,
        lot=lot,
        voids=_voids(declared),
        voided_at=None if declared is None else declared.declaration_time,
        corrective=_corrective(declared),
        left_out=(
            *sorted(event.keys() - _KNOWN - _OF_THE_EVENT),
            *documents_left,
            *ilmd_left,
        ),
    )


def station_of(claim: Claim, there: Sequence[Station]) -> Station:
    """The station at which an event happened, of `there`: those with its read point. Raises
    NotAScan."""
    if not there:
        raise NotAScan(
            "unknown_read_point",
            "readPoint.id",
            f"no station has the read point {claim.read_point}: PUT /stations/{{id}} with it as"
            " `read_point` and the event's step as `business_step`, and send the event again",
        )
    fitting = [each for each in there if claim.steps is None or each.business_step in claim.steps]
    if not fitting:
        steps = ", ".join(sorted({cbv_step(each.business_step) for each in there}))
        raise NotAScan(
            "no_station_for_step",
            "bizStep",
            f"stations with this read point do {steps}: send that, or PUT /stations/{{id}} with"
            " this read point and the event's step",
        )
    if len(fitting) > 1 and claim.steps is not None:
        # of what CBV calls receiving: the disposition tells what comes back from what is new
        comes_back = claim.disposition == RETURNED
        fitting = [s for s in fitting if (s.business_step is _RETURNING) == comes_back] or fitting
    if len(fitting) != 1:
        names = ", ".join(sorted(each.id for each in there))
        raise NotAScan(
            "ambiguous_station",
            "readPoint.id",
            f"stations {names} have this read point and step: give each its own read_point, or name"
            " the step",
        )
    station = fitting[0]
    _check_action(claim, station)
    return station


def _check_action(claim: Claim, station: Station) -> None:
    """Raises NotAScan where the station's step would say the opposite of the event's action."""
    step = station.business_step
    _, action = kind_and_action(step, is_inside=claim.parent is not None)
    if claim.parent is None:
        if action != claim.action:
            raise NotAScan(
                "action_and_step",
                "action",
                f"at {station.id} ({step.value}) the action of an {OBJECT} is {action}: ADD begins"
                " a unit (commissioning), DELETE ends it (decommissioning), else it is OBSERVE",
            )
    elif (action == DELETE) != (claim.action == DELETE):
        raise NotAScan(
            "action_and_step",
            "action",
            f"{station.id} ({step.value}) {'takes units out' if action == DELETE else 'puts in'}:"
            " DELETE goes with unpacking, disassembling and decommissioning, ADD and OBSERVE with"
            " all others",
        )


def _check_time(at: datetime, now: datetime) -> None:
    if at - now > CLOCK_AHEAD_MAX:
        raise NotAScan("to_come", "eventTime", f"{at.isoformat()} is to come: mend the clock")
    if now - at > CLOCK_BEHIND_MAX:
        raise NotAScan(
            "too_old",
            "eventTime",
            f"{at.isoformat()} is more than {CLOCK_BEHIND_MAX.days} days ago, and such a scan would"
            " count as one of now: enter what is on site as opening stock, or scan it",
        )


def _units(kind: str, event: _Event, uris: Uris) -> tuple[Identified, ...]:
    name = "epcList" if kind == OBJECT else "childEPCs"
    told = event.epc_list if kind == OBJECT else event.child_epcs
    if not told:
        detail = "name at least one unit: quantities without serials make no scan"
        if kind != OBJECT and event.action == DELETE:
            detail = "name the units that were taken out: what was inside is not guessed"
        raise NotAScan("no_units", name, detail)
    if len(told) > UNITS_MAX:
        raise NotAScan("too_many", name, f"give at most {UNITS_MAX}, the rest as another event")
    if kind != OBJECT and event.parent_id is None:
        raise NotAScan(
            "no_parent", "parentID", f"name what they are inside of, or send it as {OBJECT}"
        )
    found: dict[str, Identified] = {}
    for place, each in enumerate(told):
        unit = _identified(each, f"{name}[{place}]", uris)
        found.setdefault(unit.key, unit)
    return tuple(found.values())


def _identified(uri: str, field: str, uris: Uris) -> Identified:
    try:
        return uris.unit(_uri(uri, field))
    except NotIdentified as error:
        raise NotAScan(error.reason, field, error.detail) from error


def _uri(told: str, field: str) -> str:
    if not is_uri(told):
        raise NotAScan(
            "not_a_uri",
            field,
            f"{shown(told)}: give a GS1 Digital Link or an EPC URN, of at most {URI_LENGTH_MAX}"
            " characters",
        )
    return told


def _steps(event: _Event) -> tuple[BusinessStep, ...] | None:
    if event.biz_step is None:
        return None
    word = bare_word(event.biz_step, "bizstep")
    steps = steps_of(word)
    if not steps:
        known = ", ".join(dict.fromkeys(cbv_step(step) for step in BusinessStep))
        raise NotAScan("unknown_step", "bizStep", f"{shown(word)}: give one of {known}, or none")
    return steps


def _disposition(event: _Event, uris: Uris) -> str | None:
    if event.disposition is None:
        return None
    word = uris.disposition(bare_word(event.disposition, "disp"))
    return _printable(word, "disposition")


def _location(told: _Named | None, uris: Uris) -> str | None:
    if told is None:
        return None
    return _printable(uris.place("location", _uri(told.id, "bizLocation.id")), "bizLocation.id")


def _printable(text: str, field: str) -> str:
    if not text.strip() or len(text) > _PLACE_LENGTH_MAX or not text.isprintable():
        told = f"give 1 to {_PLACE_LENGTH_MAX} printable characters"
        raise NotAScan("bad_field", field, told)
    return text


def _documents(
    told: Sequence[_Document], uris: Uris
) -> tuple[str | None, str | None, tuple[str, ...]]:
    """The order, the return authorisation, and which documents no scan keeps."""
    found: dict[str, str] = {}
    left: list[str] = []
    for place, each in enumerate(told):
        field = f"bizTransactionList[{place}]"
        kind = {"po": "order", "rma": "rma"}.get(bare_word(each.type or "", "btt"))
        if kind is None or kind in found:
            left.append(field)
            continue
        reference = uris.document(kind, each.biz_transaction)
        if not is_order_reference(reference):
            raise NotAScan(
                "bad_field",
                f"{field}.bizTransaction",
                "the reference in it has 1 to 128 printable characters without spaces around",
            )
        found[kind] = reference
    return found.get("order"), found.get("rma"), tuple(left)


def _lot(ilmd: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """The lot, and what else of the master data no scan keeps."""
    lot = ilmd.get("cbvmda:lotNumber")
    if lot is not None and not (isinstance(lot, str) and _LOT.fullmatch(lot)):
        raise NotAScan("bad_field", "ilmd.cbvmda:lotNumber", "give 1 to 64 printable characters")
    return lot, tuple(f"ilmd.{name}" for name in sorted(ilmd) if name != "cbvmda:lotNumber")


def _voids(declared: _ErrorDeclaration | None) -> str | None:
    """Why the event is declared wrong; None where it is not."""
    if declared is None:
        return None
    return bare_word(declared.reason or "error_declaration", "er")


def _corrective(declared: _ErrorDeclaration | None) -> tuple[str, ...]:
    return () if declared is None else tuple(declared.corrective_event_ids)


def events_in(document: Any) -> list[Any] | None:
    """The events of an EPCISDocument or an EPCISQueryDocument; None where it is neither."""
    match document:
        case {"type": "EPCISDocument", "epcisBody": {"eventList": list(events)}}:
            return events
        case {
            "type": "EPCISQueryDocument",
            "epcisBody": {"queryResults": {"resultsBody": {"eventList": list(events)}}},
        }:
            return events
    return None
