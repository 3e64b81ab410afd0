"""EPCIS events become scans: what can be is found out for all of a document before any is sent.

1. each event is read, its station found, and what is known of its scans already.
2. the gateway is asked which of them it would refuse. Died here: nothing happened.
3. what is fit is sent. Died here: some scans are made, and nobody is told; the document, sent
   again, makes the same, which count once.
4. why scans are void is written, and committed with the job.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

import httpx
import msgspec
from sqlalchemy import DateTime, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from scantrail.api.access import Caller
from scantrail.api.folding import folded
from scantrail.api.handing_on import hand_on
from scantrail.api.problems import Problem
from scantrail.contracts.captured import CAPTURE_READER, CAPTURED_READS_MAX, CapturedRead
from scantrail.contracts.epcis_capture import Claim, NotAScan, claim_of, station_of
from scantrail.contracts.epcis_uris import Uris
from scantrail.contracts.records import encode
from scantrail.domain.scan import made_id
from scantrail.domain.station import Station
from scantrail.infra.tables import scan_void
from scantrail.infra.tables import station as stations

#: Events that are read before others have their turn.
YIELD_EVERY: Final = 100

_AWAY: Final = "send the document again, no scan is made twice"

#: Of scans that are to be made, those that are here: by their id, or because somebody saw the same
#: unit at the same station at the same time, as where a partner sends back what was told to him.
_KNOWN = text("""
    SELECT told.place, m.unit, m.event_id, m.station, EXISTS (
        SELECT FROM movement c WHERE c.unit = m.unit AND c.corrects = m.event_id
    ) AS is_void
    FROM unnest(:units, :ids, :stations, :times, :parents)
        WITH ORDINALITY AS told(unit, id, station, at, parent, place)
    LEFT JOIN identifier i ON i.id = told.unit
    LEFT JOIN identifier p ON p.id = told.parent
    LEFT JOIN unit u ON u.unit = told.unit
    JOIN movement m ON m.unit IN (told.unit, i.unit, u.joined)
        AND m.derived_from IS NULL AND m.corrects IS NULL AND m.same_as IS NULL
        AND (m.event_id = told.id OR (
            m.station = told.station
            AND date_trunc('milliseconds', interval '500 microseconds' +
                CASE WHEN m.clock_skew_s IS NULL THEN m.event_time ELSE m.record_time END
            ) = told.at
            AND m.parent IS NOT DISTINCT FROM coalesce(p.unit, told.parent)
        ))
    ORDER BY told.place, m.event_id <> told.id, m.forwarded_from IS NOT NULL
""").bindparams(
    *(bindparam(name, type_=ARRAY(Text)) for name in ("units", "ids", "stations", "parents")),
    bindparam("times", type_=ARRAY(DateTime(timezone=True))),
)


class ErrorBehaviour(StrEnum):
    """What becomes of a document's other events where one cannot be scans."""

    ROLLBACK = "rollback"  # nothing of them is sent
    PROCEED = "proceed"  # they are sent


class EventStatus(StrEnum):
    """What became of an event."""

    CAPTURED = "captured"
    ALREADY = "already"  # all its scans were here
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"  # it was fit, but another one of its document was not


@dataclass(slots=True)
class Event:
    """An event of the document, and what becomes of it."""

    number: int
    told: Any
    claim: Claim | None = None
    station: Station | None = None
    reads: list[CapturedRead] = field(default_factory=list)
    refused: NotAScan | None = None
    #: the events of the same document that this one declares wrong
    of: list["Event"] = field(default_factory=list)
    status: EventStatus = EventStatus.REJECTED

    @property
    def event_id(self) -> str | None:
        """The id that the event itself tells."""
        told = self.told.get("eventID") if isinstance(self.told, dict) else None
        return told[:1024] if isinstance(told, str) else None


class _Seen(NamedTuple):
    """A scan that is here."""

    unit: str
    event_id: str
    station: str
    is_void: bool


async def capture_events(
    connection: AsyncConnection,
    gateway: httpx.AsyncClient,
    uris: Uris,
    caller: Caller,
    told: Sequence[Any],
    behaviour: ErrorBehaviour,
) -> list[Event]:
    """Make scans of the events of a document, in their order. Raises Problem 503 where the gateway
    is away."""
    now = datetime.now(UTC)
    events = [Event(number, each) for number, each in enumerate(told)]
    places = await _places(connection, uris)
    for event in events:
        if event.number and event.number % YIELD_EVERY == 0:
            await asyncio.sleep(0)
        try:
            event.claim, event.station = _understood(event.told, uris, now, places, caller)
        except NotAScan as refusal:
            event.refused = refusal
    await _make_reads(connection, events)
    await _ask_gateway(gateway, events, is_check=True)
    _refuse_voids(events)
    if behaviour is ErrorBehaviour.ROLLBACK and any(event.refused for event in events):
        for event in events:
            if event.refused is None:
                event.status, event.reads = EventStatus.ROLLED_BACK, []
        return events
    for event in events:
        if event.refused is None:
            event.status = EventStatus.CAPTURED if event.reads else EventStatus.ALREADY
    await _ask_gateway(gateway, events, is_check=False)
    await _write_voids(connection, caller, events)
    return events


async def _places(connection: AsyncConnection, uris: Uris) -> dict[str, list[Station]]:
    """The stations by the URI of their read point."""
    found: dict[str, list[Station]] = {}
    for document in (await connection.execute(select(stations.c.document))).scalars():
        station = msgspec.convert(document, Station)
        found.setdefault(uris.of_place("read_point", station.read_point), []).append(station)
    return found


def _understood(
    told: Any, uris: Uris, now: datetime, places: Mapping[str, list[Station]], caller: Caller
) -> tuple[Claim, Station]:
    """What an event says, and where it happened. Raises NotAScan."""
    if not isinstance(told, dict):
        raise NotAScan("bad_field", "", "an event is a JSON object")
    claim = claim_of(told, uris, now)
    station = station_of(claim, places.get(claim.read_point, []))
    try:
        caller.check_site(station.site)
    except Problem as problem:
        raise NotAScan("other_site", "readPoint.id", problem.body["detail"]) from problem
    return claim, station


async def _make_reads(connection: AsyncConnection, events: Sequence[Event]) -> None:
    """What is to be sent of each event: what is not here, and what voids those that are."""
    wanted = [(event, read) for event in events for read in _reads_of(event)]
    told: dict[tuple[str, str], Event] = {}
    for some in _portions(wanted):
        known = await _known(connection, [read for _, read in some])
        for place, (event, read) in enumerate(some):
            seen, claim = known.get(place), event.claim
            if claim is None or event.refused is not None:
                continue
            earlier = told.get((read.unit, read.id))
            if claim.voids is None:
                told[read.unit, read.id] = event
                if seen is None:
                    event.reads.append(read)
            elif seen is not None:
                if not seen.is_void:
                    event.reads.append(_void(seen, read))
            elif earlier is not None:
                event.of.append(earlier)
                here = _Seen(read.unit, f"{CAPTURE_READER}/{read.id}", read.station, False)
                event.reads.append(_void(here, read))
            else:
                event.refused, event.reads = _never_told(read.unit), []


def _refuse_voids(events: Sequence[Event]) -> None:
    """What voids an event of the same document that is refused voids nothing."""
    for event in events:
        if event.refused is None and any(each.refused for each in event.of):
            event.refused, event.reads = _never_told(event.reads[0].unit), []


def _portions(
    wanted: Sequence[tuple[Event, CapturedRead]],
) -> Iterator[Sequence[tuple[Event, CapturedRead]]]:
    """As many at a time as the gateway takes."""
    for first in range(0, len(wanted), CAPTURED_READS_MAX):
        yield wanted[first : first + CAPTURED_READS_MAX]


def _reads_of(event: Event) -> Iterator[CapturedRead]:
    claim, station = event.claim, event.station
    if claim is None or station is None:
        return
    parent = None if claim.parent is None else folded(claim.parent)
    for found in claim.units:
        key = folded(found.key)
        yield CapturedRead(
            id=claim.id_of(key),
            unit=key,
            station=station.id,
            at=claim.at,
            text=key,
            parent=parent,
            location=claim.location,
            disposition=claim.disposition,
            order=claim.order,
            rma=claim.rma,
            lot=found.lot or claim.lot,
            produced_on=found.production,
        )


def _void(seen: _Seen, read: CapturedRead) -> CapturedRead:
    """What voids a scan that is here."""
    return CapturedRead(
        id=f"{made_id(seen.event_id)}/void",
        unit=seen.unit,
        station=seen.station,
        at=read.at,
        text=read.text,
        corrects=seen.event_id,
    )


def _never_told(unit: str) -> NotAScan:
    return NotAScan(
        "unknown_event",
        "errorDeclaration",
        f"no scan of {unit} tells of this event: send it as it was told, with nothing changed"
        " but errorDeclaration; or void the scan by POST /scans/{event id}/void",
    )


async def _known(connection: AsyncConnection, reads: Sequence[CapturedRead]) -> dict[int, _Seen]:
    """Of reads, by their place, the scan that is here."""
    told = {
        "units": [read.unit for read in reads],
        "ids": [f"{CAPTURE_READER}/{read.id}" for read in reads],
        "stations": [read.station for read in reads],
        "times": [read.at for read in reads],
        "parents": [read.parent for read in reads],
    }
    found: dict[int, _Seen] = {}
    for row in await connection.execute(_KNOWN, told):
        seen = _Seen(row.unit, row.event_id, row.station, row.is_void)
        found.setdefault(row.place - 1, seen)
    return found


async def _ask_gateway(
    gateway: httpx.AsyncClient, events: Sequence[Event], *, is_check: bool
) -> None:
    """Send what there is of events that are not refused; refuse those of which the gateway refuses
    something."""
    wanted = [(event, read) for event in events if not event.refused for read in event.reads]
    path = "captured?is_check=true" if is_check else "captured"
    for some in _portions(wanted):
        content = encode([read for _, read in some])
        refused = await hand_on(gateway, path, content, away=_AWAY)
        for place, refusal in refused.items():
            event, read = some[place]
            told = f"{read.unit}: {refusal['detail']}"
            event.refused = event.refused or NotAScan(refusal["reason"], "", told)
            event.status = EventStatus.REJECTED


async def _write_voids(
    connection: AsyncConnection, caller: Caller, events: Sequence[Event]
) -> None:
    """Of scans that are voided, why, by whom, and what stands in their place."""
    by_id = {
        event_id: event
        for event in events
        if (event_id := event.event_id) is not None and event.refused is None
    }
    rows = [
        _told_void(event, read, by_id, caller)
        for event in events
        if event.refused is None
        for read in event.reads
        if read.corrects is not None
    ]
    if rows:
        await connection.execute(upsert(scan_void).on_conflict_do_nothing(), rows)


def _told_void(
    event: Event, read: CapturedRead, by_id: Mapping[str, Event], caller: Caller
) -> dict[str, Any]:
    claim = event.claim
    assert claim is not None
    right = _right(claim.corrective, read.unit, by_id)
    return {
        "event_id": read.corrects,
        "unit": read.unit,
        "voided_by": f"{CAPTURE_READER}/{read.id}",
        "replaced_by": right and f"{CAPTURE_READER}/{right.id}",
        "replaced_unit": right and right.unit,
        "reason": claim.voids,
        "who": caller.id,
        "at": claim.voided_at,
    }


def _right(corrective: Iterable[str], unit: str, by_id: Mapping[str, Event]) -> CapturedRead | None:
    """The scan of an event of the same document that stands in the place of one of `unit`."""
    for each in corrective:
        if (event := by_id.get(each)) is not None:
            reads = list(_reads_of(event))
            of_unit = [read for read in reads if read.unit == unit]
            return of_unit[0] if of_unit else reads[0] if len(reads) == 1 else None
    return None
