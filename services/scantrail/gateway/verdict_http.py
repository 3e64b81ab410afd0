"""`POST /verdict/v1`: may this unit leave?"""

from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from scantrail.contracts.records import NAME_LENGTH_MAX
from scantrail.gateway.decoders.outcome import Read
from scantrail.gateway.guards import Guards
from scantrail.gateway.http import refusal_of
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
        if asked.station is not None and not 0 < len(asked.station) <= NAME_LENGTH_MAX:
            told = f"give the station's id: 1 to {NAME_LENGTH_MAX} letters"
            return problem(400, "Bad input", told, field="station", reason="bad_station")
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
