"""Reads over HTTP, and reads that were set aside and are sent again."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Litestar, Request, Response, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from scantrail.contracts.records import RejectedRead, UnreadableRecord, check_rejected_read
from scantrail.gateway.decoders.bodies import decode_body
from scantrail.gateway.decoders.generic import ITEMS_MAX, decode_generic
from scantrail.gateway.decoders.json_body import UnreadableBody
from scantrail.gateway.decoders.outcome import Invalid
from scantrail.gateway.intake import Intake, Taken
from scantrail.gateway.readers import IDENTIFIER, Protocol
from scantrail.gateway.spool import SpoolFull
from scantrail.infra.web import answer_http, problem

BODY_BYTES_MAX = 1 << 20
REPLAY_BYTES_MAX = 8 << 20  # 500 reads, whole
RETRY_AFTER_S = 5

#: Paths to which devices post in their own words, as they are made.
_DEVICES: Final[Mapping[str, Protocol]] = {"impinj": "http-impinj", "zebra": "http-zebra"}

_rejected_reads = msgspec.json.Decoder(list[RejectedRead])


def build_http(intake: Intake) -> Litestar:
    """The gateway's HTTP side: `POST /ingest/v1/generic`, `/impinj`, `/zebra` and `/replay`."""

    @post("/ingest/v1/generic", status_code=200)
    async def generic(
        request: Request[Any, Any, State],
        reader: FromQuery[str],
    ) -> Response[dict[str, Any]]:
        """One read, an array, `{"reads": […]}` or a JSON object a line; see docs/readers.md."""
        if not IDENTIFIER.fullmatch(reader):
            return _bad_reader()
        body = await request.body()
        try:
            outcomes = decode_generic(body)
        except UnreadableBody as error:
            invalid = Invalid(error.reason, body[:BODY_BYTES_MAX])
            return await _answer(intake.take(reader, [invalid], sent_as="http-generic"), told=error)
        return await _answer(intake.take(reader, outcomes, sent_as="http-generic"))

    @post("/ingest/v1/replay", status_code=200, request_max_body_size=REPLAY_BYTES_MAX)
    async def replay(request: Request[Any, Any, State]) -> Response[dict[str, Any]]:
        """Records of `reads.rejected`, once what was missing is configured."""
        try:
            reads = _rejected_reads.decode(await request.body())
            for read in reads:
                check_rejected_read(read)
        except (msgspec.MsgspecError, UnreadableRecord) as error:
            return problem(400, "Bad input", str(error), reason="not_rejected_reads")
        return await _answer(intake.replay(reads))

    return Litestar(
        [generic, replay, *(_device_path(intake, name) for name in _DEVICES)],
        request_max_body_size=BODY_BYTES_MAX,
        exception_handlers={HTTPException: answer_http},
        openapi_config=None,
        logging_config=None,
    )


def _device_path(intake: Intake, name: str) -> HTTPRouteHandler:
    """`POST /ingest/v1/{name}`: 204 once each item is durable, as a scan or with the reason why it
    is none. A device would send what was refused again, for ever; only 503 tells it to."""
    protocol = _DEVICES[name]

    @post(f"/ingest/v1/{name}", name=name)
    async def device(request: Request[Any, Any, State], reader: FromQuery[str]) -> Response[Any]:
        if not IDENTIFIER.fullmatch(reader):
            return _bad_reader()
        outcomes = decode_body(protocol, await request.body())
        for first in range(0, len(outcomes), ITEMS_MAX):
            some = outcomes[first : first + ITEMS_MAX]
            answer = await _answer(intake.take(reader, some, sent_as=protocol))
            if answer.status_code == 503:  # what was taken keeps its event ids when it comes again
                return answer
        return Response(None, status_code=204)

    return device


def _bad_reader() -> Response[dict[str, Any]]:
    told = "give the reader's id: 1 to 64 letters, digits, '.', '_' or '-'"
    return problem(400, "Bad input", told, field="reader", reason="bad_reader")


async def _answer(taking: Any, told: UnreadableBody | None = None) -> Response[dict[str, Any]]:
    try:
        taken: Taken = await taking
    except SpoolFull as error:
        detail = f"nothing was taken, send it again later: {error}"
        refusal = problem(503, "Try again", detail, reason="no_room")
        refusal.headers["Retry-After"] = str(RETRY_AFTER_S)
        return refusal
    if told is not None:
        return problem(400, "Bad input", told.detail, reason=told.reason)
    rejected = [{"index": r.index, "reason": r.reason, "detail": r.detail} for r in taken.rejected]
    return Response({"accepted": taken.accepted, "rejected": rejected})
