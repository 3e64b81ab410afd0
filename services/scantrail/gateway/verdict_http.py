"""`POST /verdict/v1`: may this unit leave?"""

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from scantrail.contracts.records import NAME_LENGTH_MAX
from scantrail.domain.scan import ORDER_LENGTH_MAX
from scantrail.gateway.decoders.outcome import MENDS, Read
from scantrail.gateway.guards import Guards
from scantrail.gateway.http import refusal_of
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.verdicts import NAMELESS, Verdicts
from scantrail.infra.web import problem

QUESTION_BYTES_MAX = 16 << 10


class QuestionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was read, and where: at a station, or by a reader that has one."""

    read: str
    station: str | None = None
    reader: str | None = None
    order: str | None = None


_question = msgspec.json.Decoder(QuestionBody)


def build_verdict(verdicts: Verdicts, guards: Guards) -> HTTPRouteHandler:
    """The route handler."""

    @post("/verdict/v1", status_code=200, request_max_body_size=QUESTION_BYTES_MAX)
    async def verdict(request: Request[Any, Any, State]) -> Response[Any]:
        """`release`, `hold` or `unknown`, with the reason; only release lets the unit go."""
        try:
            asked = _question.decode(await request.body())
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return problem(400, "Bad input", str(error), reason="bad_question")
        reader = NAMELESS if asked.reader is None else asked.reader
        if (refusal := refusal_of(guards, reader, request)) is not None:
            return refusal
        if asked.station is None and asked.reader is None:
            told = "give the station at which the unit waits, or a reader that has one"
            return problem(400, "Bad input", told, field="station", reason="no_station")
        if (refusal := _refusal(asked, guards.reader(reader))) is not None:
            return refusal
        guards.count(reader, 1)
        read = Read(asked.read, order=asked.order)
        judged = await verdicts.ask(asked.reader, read, station=asked.station)
        return Response(
            {
                "verdict": judged.verdict,
                "reason": judged.reason,
                "detail": judged.detail,
                "deadline_ms": verdicts.deadline_ms,
            }
        )

    return verdict


def _refusal(asked: QuestionBody, reader: ReaderSettings | None) -> Response[Any] | None:
    """Why a question cannot be recorded as it is told; `reader` is as it is configured.

    A question tells where a unit is: who may ask as one reader must not tell it of another, nor of
    a station that is not that reader's.
    """

    def refused(field: str, reason: str, told: str) -> Response[Any]:
        return problem(400, "Bad input", told, field=field, reason=reason)

    if asked.reader is not None and reader is not None:
        if not reader.protocol.startswith("http-"):
            told = f"{reader.id} has protocol {reader.protocol}, and a question comes over HTTP:"
            mend = " give the station alone, or a reader whose protocol begins with http-"
            return refused("reader", "wrong_protocol", told + mend)
        stations = dict.fromkeys((reader.station, *reader.antennas.values()))
        if asked.station is not None and asked.station not in stations:
            told = f"{asked.station!r} is none of {reader.id}: leave it out, or give one of"
            return refused("station", "wrong_station", f"{told} {', '.join(stations)}")
    if asked.station is not None and not _is_name(asked.station):
        told = f"give the station's id: 1 to {NAME_LENGTH_MAX} letters"
        return refused("station", "bad_station", told)
    if asked.order is not None and ("\0" in asked.order or len(asked.order) > ORDER_LENGTH_MAX):
        return refused("order", "bad_order", MENDS["bad_order"])
    return None


def _is_name(text: str) -> bool:
    return 0 < len(text) <= NAME_LENGTH_MAX and text.isprintable()
