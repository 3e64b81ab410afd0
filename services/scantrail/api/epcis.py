"""EPCIS 2.0 queries: events by unit, time, step and location, in pages or as one file."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response, get
from litestar.params import QueryParameter
from litestar.response import Stream
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api import epcis_samples as samples
from scantrail.api.access import Role
from scantrail.api.bodies import told_time
from scantrail.api.epcis_queries import (
    FIRST,
    Asked,
    Place,
    find_events,
)
from scantrail.api.folding import folded
from scantrail.api.histories import keys_of
from scantrail.api.paging import LIMIT_MAX, after, cursor_behind
from scantrail.api.problems import Problem, bad_field
from scantrail.contracts.epcis_events import (
    bare_word,
    cbv_step,
    document_head,
    query_document,
    steps_of,
)
from scantrail.contracts.epcis_uris import URI_LENGTH_MAX, Uris, canonical
from scantrail.domain.identifiers import NotIdentified
from scantrail.domain.vocabulary import BusinessStep

AnyRequest = Request[Any, Any, Any]

#: Told with every answer: which versions it is of, and how EPCs are spelled.
HEADERS: Final = {
    "GS1-EPCIS-Version": "2.0",
    "GS1-CBV-Version": "2.0",
    "GS1-EPC-Format": "Always_GS1_Digital_Link",
}

LD_JSON: Final = "application/ld+json"

#: Values of one parameter, which `|` divides.
VALUES_MAX: Final = 100

_EVENTS: Final = "/epcis/events"
_TOKEN, _PER_PAGE = "nextPageToken", "perPage"


def _values(description: str) -> QueryParameter:
    return QueryParameter(description=f"{description}; several with | between them")


def _time(description: str) -> QueryParameter:
    told = f"{description}: a time that ends in Z or an offset such as +01:00"
    return QueryParameter(description=told, format="date-time")


AnyEpc = Annotated[
    list[str] | None,
    _values("units, by Digital Link, EPC URN or any other spelling"),
]
BizStep = Annotated[list[str] | None, _values("business steps, by CBV's short name")]
BizLocation = Annotated[
    list[str] | None,
    _values("locations, by URI or by the name that they have here"),
]
EventFrom = Annotated[str | None, _time("events from then on")]
EventUntil = Annotated[str | None, _time("events before then")]
RecordFrom = Annotated[str | None, _time("what was recorded from then on")]
RecordUntil = Annotated[str | None, _time("what was recorded before then")]
PerPage = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="events of a page at most")]
NextPageToken = Annotated[
    str | None,
    QueryParameter(description="as the `Link` of the page before has it"),
]


def build_epcis(engine: AsyncEngine, base: str) -> list[Any]:
    """The route handlers. `base` is how the installation's own URIs begin."""
    uris = Uris(base)

    @get(_EVENTS, role=Role.READ, tells=samples.QUERY_DOCUMENT)
    async def get_events(
        request: AnyRequest,
        MATCH_anyEPC: AnyEpc = None,
        GE_eventTime: EventFrom = None,
        LT_eventTime: EventUntil = None,
        GE_recordTime: RecordFrom = None,
        LT_recordTime: RecordUntil = None,
        EQ_bizStep: BizStep = None,
        EQ_bizLocation: BizLocation = None,
        perPage: PerPage = 30,
        nextPageToken: NextPageToken = None,
    ) -> Response[Any]:
        """Events that fit all that is asked for, in the order in which they were recorded: an
        EPCISQueryDocument.

        A page may have fewer events than asked for; `Link` with rel="next" leads to the following
        one, and there is none without.
        """
        check_parameters(request, (*_FILTERS, _PER_PAGE, _TOKEN))
        behind = place_of(nextPageToken)
        asked = await asked_for(
            engine,
            uris,
            any_epc=MATCH_anyEPC,
            times=(GE_eventTime, LT_eventTime, GE_recordTime, LT_recordTime),
            biz_step=EQ_bizStep,
            biz_location=EQ_bizLocation,
        )
        found = await find_events(engine, uris, asked, behind=behind, limit=perPage)
        headers = dict(HEADERS)
        if found.next is not None:
            headers["Link"] = next_link(request, _EVENTS, token_of(found.next))
        document = query_document(list(found.events), datetime.now(UTC))
        return Response(document, media_type=_media(request), headers=headers)

    @get("/epcis/export", role=Role.READ, tells=samples.DOCUMENT)
    async def export_events(
        request: AnyRequest,
        MATCH_anyEPC: AnyEpc = None,
        GE_eventTime: EventFrom = None,
        LT_eventTime: EventUntil = None,
        GE_recordTime: RecordFrom = None,
        LT_recordTime: RecordUntil = None,
        EQ_bizStep: BizStep = None,
        EQ_bizLocation: BizLocation = None,
    ) -> Stream:
        """All events of a query as one file: an EPCISDocument.

        It is sent as it is read. A file that does not end as JSON does was cut: ask again.
        """
        check_parameters(request, _FILTERS)
        now = datetime.now(UTC)
        asked = await asked_for(
            engine,
            uris,
            any_epc=MATCH_anyEPC,
            times=(GE_eventTime, LT_eventTime, GE_recordTime, LT_recordTime),
            biz_step=EQ_bizStep,
            biz_location=EQ_bizLocation,
        )
        if asked.record_until is None or asked.record_until > now:
            asked = replace(asked, record_until=now)
        first = await find_events(engine, uris, asked, behind=FIRST, limit=LIMIT_MAX)

        async def content() -> AsyncIterator[bytes]:
            head = msgspec.json.encode(document_head("EPCISDocument", now))
            yield head[:-1] + b',"epcisBody":{"eventList":['
            page, comma = first, b""
            while True:
                if page.events:
                    yield comma + msgspec.json.encode(page.events)[1:-1]
                    comma = b",\n"
                if page.next is None:
                    break
                page = await find_events(engine, uris, asked, behind=page.next, limit=LIMIT_MAX)
            yield b"]}}\n"

        name = f'attachment; filename="epcis-{now:%Y%m%dT%H%M%SZ}.jsonld"'
        headers = {**HEADERS, "Content-Disposition": name}
        return Stream(content(), media_type=LD_JSON, headers=headers)

    return [get_events, export_events]


_FILTERS: Final = (
    "MATCH_anyEPC",
    "GE_eventTime",
    "LT_eventTime",
    "GE_recordTime",
    "LT_recordTime",
    "EQ_bizStep",
    "EQ_bizLocation",
)


async def asked_for(
    engine: AsyncEngine,
    uris: Uris,
    *,
    any_epc: Sequence[str] | None,
    times: Sequence[str | None],
    biz_step: Sequence[str] | None,
    biz_location: Sequence[str] | None,
) -> Asked:
    """What the parameters of a query mean. Raises Problem 400."""
    moments = [_moment(told, name) for told, name in zip(times, _FILTERS[1:5], strict=True)]
    keys = [key for each in _each(any_epc, "MATCH_anyEPC") for key in _keys(each, uris)]
    steps = [step for each in _each(biz_step, "EQ_bizStep") for step in _steps(each)]
    locations = [
        name
        for each in _each(biz_location, "EQ_bizLocation")
        for name in (each, canonical(each), uris.place("location", each))
    ]
    units: tuple[str, ...] | None = None
    if any_epc is not None:
        async with engine.connect() as connection:
            units = await _every_key(connection, keys)
    return Asked(
        units=units,
        event_from=moments[0],
        event_until=moments[1],
        record_from=moments[2],
        record_until=moments[3],
        steps=None if biz_step is None else tuple(dict.fromkeys(steps)),
        locations=None if biz_location is None else tuple(dict.fromkeys(locations)),
    )


def check_parameters(request: AnyRequest, known: Sequence[str]) -> None:
    """A filter that is not known would let everything through. Raises Problem 400."""
    for name in request.query_params:
        if name not in known:
            raise bad_field(name, f"this query does not know it: it knows {', '.join(known)}")


def place_of(token: str | None) -> Place:
    """Where a page begins. Raises Problem 400 for a token that is none of these queries'."""
    try:
        told = after(token, "epcis")
        if not told:
            return FIRST
        at, _, event_id = told.partition(" ")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError("a time without its offset")
    except (Problem, ValueError) as error:
        raise bad_field(_TOKEN, "give it as the `Link` of the page before has it") from error
    return Place(moment, event_id)


def token_of(place: Place) -> str:
    """The token of the page behind a place."""
    at = place.record_time.astimezone(UTC).isoformat()
    return cursor_behind("epcis", f"{at} {place.event_id}")


def next_link(request: AnyRequest, path: str, token: str) -> str:
    """The header that leads to the following page: what was asked for, with its token."""
    told = [pair for pair in request.query_params.multi_items() if pair[0] != _TOKEN]
    return f'<{path}?{urlencode([*told, (_TOKEN, token)])}>; rel="next"'


def _media(request: AnyRequest) -> str:
    return LD_JSON if LD_JSON in request.headers.get("accept", "") else "application/json"


def _each(told: Sequence[str] | None, name: str) -> list[str]:
    """The values of a parameter, which `|` divides. Raises Problem 400."""
    if told is None:
        return []
    values = [each for text in told for each in text.split("|")]
    if len(values) > VALUES_MAX:
        raise bad_field(name, f"give at most {VALUES_MAX} values")
    for each in values:
        if not each or len(each) > URI_LENGTH_MAX or not each.isprintable():
            told_length = f"1 to {URI_LENGTH_MAX} printable characters"
            raise bad_field(name, f"give values of {told_length}, with | between them")
    return values


def _moment(told: str | None, name: str) -> datetime | None:
    if told is None:
        return None
    # in an address + stands for a blank
    text = told.replace(" ", "+") if "T" in told else told
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise bad_field(name, "give a time such as 2026-03-02T08:15:00Z") from error
    if moment.tzinfo is None:
        raise bad_field(name, "end the time in Z or an offset such as +01:00 (%2B01:00)")
    return told_time(moment, name)


def _keys(told: str, uris: Uris) -> tuple[str, str]:
    """The key as it is kept, and as it was before its product came to fold case."""
    try:
        key = uris.unit(told).key
        return folded(key), key
    except NotIdentified as error:
        raise bad_field("MATCH_anyEPC", error.detail) from error


def _steps(told: str) -> tuple[BusinessStep, ...]:
    steps = steps_of(bare_word(told, "bizstep"))
    if not steps:
        known = ", ".join(dict.fromkeys(cbv_step(step) for step in BusinessStep))
        raise bad_field("EQ_bizStep", f"scans here have none such: give some of {known}")
    return steps


async def _every_key(connection: AsyncConnection, keys: Sequence[str]) -> tuple[str, ...]:
    """All keys that the units have of which these are."""
    found: list[str] = []
    for key in keys:
        found += (await keys_of(connection, key)).every
    return tuple(dict.fromkeys(found))
