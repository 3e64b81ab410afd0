"""Reads over HTTP, reads that were set aside and are sent again, and what the api tells: opening
stock, what was typed, corrections.
"""

import hmac
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import msgspec
from litestar import Litestar, Request, Response, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from scantrail.contracts.captured import CAPTURED_READS_MAX, CapturedRead
from scantrail.contracts.corrections import CORRECTION_READS_MAX, CorrectionRead
from scantrail.contracts.keyed import KeyedRead
from scantrail.contracts.records import RejectedRead, UnreadableRecord, check_rejected_read
from scantrail.contracts.stock import STOCK_READS_MAX, StockRead
from scantrail.gateway.decoders.bodies import decode_body
from scantrail.gateway.decoders.generic import ITEMS_MAX, decode_generic
from scantrail.gateway.decoders.json_body import UnreadableBody
from scantrail.gateway.decoders.outcome import Invalid
from scantrail.gateway.guards import Guards
from scantrail.gateway.intake import Intake, Taken
from scantrail.gateway.readers import IDENTIFIER, Protocol
from scantrail.gateway.spool import SpoolFull
from scantrail.infra import metrics
from scantrail.infra.web import answer_http, certified_as, problem

BODY_BYTES_MAX = 1 << 20
REPLAY_BYTES_MAX = 8 << 20  # 500 reads, whole
STOCK_BYTES_MAX = 8 << 20  # 1,000 lines, each with the longest words in the largest letters
RETRY_AFTER_S = 5

#: Paths to which devices post in their own words, as they are made.
_DEVICES: Final[Mapping[str, Protocol]] = {"impinj": "http-impinj", "zebra": "http-zebra"}

_rejected_reads = msgspec.json.Decoder(list[RejectedRead])
_keyed_read = msgspec.json.Decoder(KeyedRead)
_correction_reads = msgspec.json.Decoder(
    Annotated[list[CorrectionRead], msgspec.Meta(min_length=1, max_length=CORRECTION_READS_MAX)]
)
_captured_reads = msgspec.json.Decoder(
    Annotated[list[CapturedRead], msgspec.Meta(max_length=CAPTURED_READS_MAX)]
)
_stock_reads = msgspec.json.Decoder(
    Annotated[list[StockRead], msgspec.Meta(max_length=STOCK_READS_MAX)]
)


def build_http(
    intake: Intake,
    guards: Guards,
    *more: HTTPRouteHandler,
    service_token: Callable[[], str] = lambda: "",
) -> Litestar:
    """The gateway's HTTP side: `POST /ingest/v1/generic`, `/impinj`, `/zebra`, `/replay`,
    `/stock`, `/keyed`, `/corrections` and `/captured`, and what `more` there is.

    `service_token` says what the api must show by now for `/replay` and those behind it (empty:
    nothing).
    """

    @post("/ingest/v1/generic", status_code=200)
    async def generic(
        request: Request[Any, Any, State],
        reader: FromQuery[str],
    ) -> Response[dict[str, Any]]:
        """One read, an array, `{"reads": […]}` or a JSON object a line; see docs/readers.md."""
        if (refusal := refusal_of(guards, reader, request)) is not None:
            return refusal
        body = await request.body()
        try:
            outcomes = decode_generic(body)
            guards.count(reader, len(outcomes))
        except UnreadableBody as error:
            guards.count(reader, 1)
            invalid = Invalid(error.reason, body[:BODY_BYTES_MAX])
            return await _answer(intake.take(reader, [invalid], sent_as="http-generic"), told=error)
        return await _answer(intake.take(reader, outcomes, sent_as="http-generic"))

    @post("/ingest/v1/replay", status_code=200, request_max_body_size=REPLAY_BYTES_MAX)
    async def replay(request: Request[Any, Any, State]) -> Response[dict[str, Any]]:
        """Records of `reads.rejected`, once what was missing is configured."""
        if (refusal := _refusal_of_api(request, service_token)) is not None:
            return refusal
        try:
            reads = _rejected_reads.decode(await request.body())
            for read in reads:
                check_rejected_read(read)
        except (msgspec.MsgspecError, UnreadableRecord) as error:
            return problem(400, "Bad input", str(error), reason="not_rejected_reads")
        return await _answer(intake.replay(reads))

    @post("/ingest/v1/stock", status_code=200, request_max_body_size=STOCK_BYTES_MAX)
    async def stock(request: Request[Any, Any, State]) -> Response[dict[str, Any]]:
        """Opening stock, which the api has read out of a file: see docs/api.md."""
        if (refusal := _refusal_of_api(request, service_token)) is not None:
            return refusal
        try:
            reads = _stock_reads.decode(await request.body())
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return problem(400, "Bad input", str(error), reason="not_stock")
        return await _answer(intake.take_stock(reads))

    @post("/ingest/v1/keyed", status_code=200)
    async def keyed(request: Request[Any, Any, State]) -> Response[dict[str, Any]]:
        """What a person typed, and the api has compared with the units that are known."""
        if (refusal := _refusal_of_api(request, service_token)) is not None:
            return refusal
        try:
            read = _keyed_read.decode(await request.body())
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return problem(400, "Bad input", str(error), reason="not_keyed")
        return await _answer(intake.take_keyed(read))

    @post("/ingest/v1/corrections", status_code=200)
    async def corrections(request: Request[Any, Any, State]) -> Response[dict[str, Any]]:
        """A scan that voids another, and the one that is right: see docs/desk.md."""
        if (refusal := _refusal_of_api(request, service_token)) is not None:
            return refusal
        try:
            reads = _correction_reads.decode(await request.body())
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return problem(400, "Bad input", str(error), reason="not_corrections")
        return await _answer(intake.take_corrections(reads))

    @post("/ingest/v1/captured", status_code=200, request_max_body_size=STOCK_BYTES_MAX)
    async def captured(
        request: Request[Any, Any, State], is_check: FromQuery[bool] = False
    ) -> Response[dict[str, Any]]:
        """Units of EPCIS events; with `is_check` nothing is taken, and told what would be refused:
        see docs/epcis.md."""
        if (refusal := _refusal_of_api(request, service_token)) is not None:
            return refusal
        try:
            reads = _captured_reads.decode(await request.body())
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return problem(400, "Bad input", str(error), reason="not_captured")
        return await _answer(intake.take_captured(reads, is_check=is_check))

    own = (generic, replay, stock, keyed, corrections, captured)
    return Litestar(
        [*own, *(_device_path(intake, guards, name) for name in _DEVICES), *more],
        request_max_body_size=BODY_BYTES_MAX,
        exception_handlers={HTTPException: answer_http},
        openapi_config=None,
        logging_config=None,
    )


def _device_path(intake: Intake, guards: Guards, name: str) -> HTTPRouteHandler:
    """`POST /ingest/v1/{name}`: 204 once each item is durable, as a scan or with the reason why it
    is none. A device would send what was refused again, for ever; only 503 tells it to."""
    protocol = _DEVICES[name]

    @post(f"/ingest/v1/{name}", name=name)
    async def device(request: Request[Any, Any, State], reader: FromQuery[str]) -> Response[Any]:
        if (refusal := refusal_of(guards, reader, request)) is not None:
            return refusal
        outcomes = decode_body(protocol, await request.body())
        guards.count(reader, len(outcomes))
        for first in range(0, len(outcomes), ITEMS_MAX):
            some = outcomes[first : first + ITEMS_MAX]
            answer = await _answer(intake.take(reader, some, sent_as=protocol))
            if answer.status_code == 503:  # what was taken keeps its event ids when it comes again
                return answer
        return Response(None, status_code=204)

    return device


def refusal_of(
    guards: Guards, reader: str, request: Request[Any, Any, State]
) -> Response[dict[str, Any]] | None:
    """Why a request is not looked at; what it sends is not read then."""
    if not IDENTIFIER.fullmatch(reader):
        told = "give the reader's id: 1 to 64 letters, digits, '.', '_' or '-'"
        return problem(400, "Bad input", told, field="reader", reason="bad_reader")
    certified = certified_as(request)
    if certified is not None and certified != reader:
        metrics.REFUSED.labels("bad_certificate").inc()
        told = f"the certificate is made out to {certified!r}, not to reader {reader!r}"
        return problem(403, "Not allowed", told, field="reader", reason="bad_certificate")
    shown = request.headers.get("Authorization")
    if not guards.lets_in(reader, shown, is_certified=certified is not None):
        metrics.REFUSED.labels("bad_token").inc()
        return _unauthorized(
            f"the token is none of reader {reader!r}: `scantrail token` makes one; its digest goes"
            " into the readers' file, the token itself into the device (Bearer, or Basic with the"
            " reader's id as user)"
        )
    # A browser may show of itself what it was asked for elsewhere: only a token that was looked at
    # says that the page is the reader's.
    if _is_of_a_page(request) and not guards.asks_for_token(reader):
        metrics.REFUSED.labels("of_a_page").inc()
        told = "a browser sends this for a page: give the reader a token, and have the page show it"
        return problem(403, "Not allowed", told, reason="of_a_page")
    if (wait_s := guards.wait_s(reader)) > 0:
        metrics.REFUSED.labels("too_fast").inc()
        told = "the reader sends more than its reads_per_s_max: send it again later"
        refusal = problem(429, "Too many reads", told, reason="too_fast")
        refusal.headers["Retry-After"] = str(math.ceil(wait_s))
        return refusal
    return None


def _refusal_of_api(
    request: Request[Any, Any, State], service_token: Callable[[], str]
) -> Response[dict[str, Any]] | None:
    """Why a request is none of the api's, which is no browser; None where it is."""
    if _is_of_a_page(request):
        return problem(403, "Not allowed", "this is asked for by the api, and by no page")
    shown = request.headers.get("Authorization", "").encode(errors="replace")
    tokens = service_token().split()  # two while one is exchanged for the other
    if not tokens or any([hmac.compare_digest(shown, f"Bearer {t}".encode()) for t in tokens]):
        return None
    return _unauthorized("this is asked for by the api: set SCANTRAIL_SERVICE_TOKEN of both alike")


def _is_of_a_page(request: Request[Any, Any, State]) -> bool:
    """Whether a browser says that it sends for a page: no reader and no service is one."""
    return "origin" in request.headers or "sec-fetch-site" in request.headers


def _unauthorized(told: str) -> Response[dict[str, Any]]:
    refusal = problem(401, "Not authorized", told, reason="bad_token")
    refusal.headers["WWW-Authenticate"] = 'Bearer realm="scantrail"'
    return refusal


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
