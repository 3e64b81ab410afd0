"""OSIP telegrams, as their specification and its one public implementation have them."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scantrail.domain.verdict import Verdict
from scantrail.gateway.conveyor_settings import OsipSettings
from scantrail.gateway.decoders.osip import (
    OsipDecoder,
    Telegram,
    encode_response,
    encode_sync,
)
from scantrail.gateway.decoders.outcome import MENDS, Invalid

NOW = datetime(2026, 3, 1, 13, 5, 9, tzinfo=timezone(timedelta(hours=1)))
SETTINGS = OsipSettings()
#: From the tests of OpenWMS.org, with barcode, actual, target, error, time.
REQUEST = (
    "###00160SPS03MFC__00001REQ_000000000S0000004711FGINIPNT000100000000"
    "????????????????????0000009020131123225959"
).ljust(160, "*")


def sent(kind: str, body: str, *, seq: int = 1, length: int = 160) -> bytes:
    return f"###{length:05}SPS03MFC__{seq:05}{kind}{body}".ljust(length, "*").encode()


def request(code: str, *, seq: int = 1, target: str = "FGINCONV") -> bytes:
    places = "FGINIPNT".ljust(20, "*") + target.ljust(20, "*")
    body = f"{code.ljust(20, '*')}{places}0000000020260301120000"
    return sent("REQ_", body, seq=seq)


def decoded(*pieces: bytes, settings: OsipSettings = SETTINGS) -> list[Telegram | Invalid]:
    decoder = OsipDecoder(settings)
    told = [each for piece in pieces for each in decoder.feed(piece)]
    return [*told, *decoder.end()]


def reasons(told: list[Telegram | Invalid]) -> list[str]:
    return [each.reason if isinstance(each, Invalid) else each.type for each in told]


def test_a_request() -> None:
    assert decoded(REQUEST.encode()) == [
        Telegram(
            type="REQ_",
            sender="SPS03",
            receiver="MFC__",
            sequence=1,
            barcode="000000000S0000004711",
            actual="FGINIPNT000100000000",
            target="",
            error="00000090",
        )
    ]


def test_barcodes_filled_from_the_left_lose_the_fill_only_where_the_project_says_so() -> None:
    filled = OsipSettings(barcode_fill="0")
    (telegram,) = decoded(REQUEST.encode(), settings=filled)
    assert isinstance(telegram, Telegram)
    assert telegram.barcode == "S0000004711"
    (telegram,) = decoded(request("000000000000"), settings=filled)
    assert isinstance(telegram, Telegram)
    assert telegram.barcode == ""


def test_longer_barcodes_move_what_stands_behind_them() -> None:
    settings = OsipSettings(telegram_length=200, barcode_length=40)
    code = "0109506000134352" + "21A1"
    body = code.ljust(40, "*") + "EXIT".ljust(20, "*") + "OUT".ljust(20, "*") + "0" * 22
    (telegram,) = decoded(sent("REQ_", body, length=200), settings=settings)
    assert isinstance(telegram, Telegram)
    assert (telegram.barcode, telegram.actual, telegram.target) == (code, "EXIT", "OUT")
    answer = encode_response(telegram, Verdict.RELEASE, NOW, settings)
    assert len(answer) == 200
    assert answer[27:107] == body.encode()[:80]


@pytest.mark.parametrize("nothing", ["", "????????????????????", "____", "    "])
def test_a_request_without_a_barcode_is_a_no_read(nothing: str) -> None:
    (telegram,) = decoded(request(nothing))
    assert isinstance(telegram, Telegram)
    assert (telegram.barcode, telegram.reply) == ("", "RES_")


def test_an_arrival_tells_barcode_and_place_and_has_no_answer() -> None:
    body = "SN1".ljust(20, "*") + "EXIT".ljust(20, "*") + "0000000020260301120000"
    (telegram,) = decoded(sent("UPD_", body))
    assert isinstance(telegram, Telegram)
    assert (telegram.barcode, telegram.actual, telegram.reply) == ("SN1", "EXIT", None)


def test_a_location_update_is_of_a_place_and_of_no_unit() -> None:
    body = "EXITS".ljust(20, "_") + "EXIT".ljust(20, "*") + "0000009020260301120000"
    (telegram,) = decoded(sent("LOCU", body))
    assert isinstance(telegram, Telegram)
    assert (telegram.barcode, telegram.actual, telegram.error) == ("", "EXIT", "00000090")
    assert telegram.reply is None


def test_the_time_is_answered_in_utc_with_the_sequence_of_the_question() -> None:
    (asked,) = decoded(sent("SYNQ", "20171123225959", seq=77))
    assert isinstance(asked, Telegram)
    answer = encode_sync(asked, NOW, SETTINGS)
    assert answer == b"###00160MFC__SPS0300077SYNC20260301120509".ljust(160, b"*")


@pytest.mark.parametrize(
    ("verdict", "target", "error"),
    [
        (Verdict.RELEASE, "FGINCONV", "00000000"),
        (Verdict.HOLD, "", "00000001"),
        (Verdict.UNKNOWN, "", "00000002"),
    ],
)
def test_a_response_tells_the_verdict_by_error_and_target(
    verdict: Verdict, target: str, error: str
) -> None:
    (asked,) = decoded(request("SN1", seq=99999))
    assert isinstance(asked, Telegram)
    answer = encode_response(asked, verdict, NOW, SETTINGS).decode()
    fields = ["SN1".ljust(20, "*"), "FGINIPNT".ljust(20, "*"), target.ljust(20, "*")]
    body = "".join(fields) + error + "20260301120509"
    assert answer == f"###00160MFC__SPS0399999RES_{body}".ljust(160, "*")


def test_a_project_may_name_both_ways_out_and_want_the_group() -> None:
    settings = OsipSettings(release_target="OUT", hold_target="CHECK", group=True)
    (asked,) = decoded(request("SN1"))
    assert isinstance(asked, Telegram)
    released = encode_response(asked, Verdict.RELEASE, NOW, settings).decode()
    held = encode_response(asked, Verdict.UNKNOWN, NOW, settings).decode()
    assert released[67:87] == "OUT".ljust(20, "*")
    assert held[67:87] == "CHECK".ljust(20, "*")
    assert held[87:115] == "*" * 20 + "00000002"
    assert len(held) == 160


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", []),
        (b"\r\n\r\n", []),
        (request("A") + b"\r\n" + request("B"), ["REQ_", "REQ_"]),
        (b"hello" + request("A"), ["osip_no_start", "REQ_"]),
        (request("A")[:100] + request("B"), ["osip_cut_short", "REQ_"]),
        (request("A")[:5] + request("B"), ["osip_bad_length", "REQ_"]),
        (request("A")[:100], ["osip_cut_short"]),
        (sent("REQ_", "A", length=170), ["osip_bad_length", "osip_no_start"]),
        (sent("REQ_", "A", length=99) + request("B"), ["osip_bad_length", "REQ_"]),
        (b"#" + request("A"), ["osip_no_start", "REQ_"]),
        (sent("HELO", ""), ["osip_unknown_type"]),
        (sent("req_", ""), ["osip_unknown_type"]),
        (request("A").replace(b"00001", b"0x001"), ["osip_bad_header"]),
        (request("\x01"), ["osip_bad_header"]),
        (request("A").replace(b"FGIN", b"F\xc4IN"), ["osip_bad_header"]),
    ],
)
def test_what_is_no_telegram_is_named_and_the_next_one_is_found(
    data: bytes, told: list[str]
) -> None:
    found = decoded(data)
    assert reasons(found) == told
    assert all(each.reason in MENDS for each in found if isinstance(each, Invalid))


@given(
    st.lists(st.sampled_from([request("A"), sent("SYNQ", "2" * 14), b"\r\n", sent("LOCU", "")])),
    st.data(),
)
def test_segments_change_nothing(pieces: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    ends = [0, *cuts, len(whole)]
    parts = [whole[a:b] for a, b in pairwise(ends)]
    assert decoded(*parts) == decoded(whole)
    assert len(decoded(whole)) == len([piece for piece in pieces if piece != b"\r\n"])


@given(st.lists(st.binary(max_size=400) | st.sampled_from([b"###00160", b"#", request("A")])))
def test_no_bytes_raise_nor_are_lost_nor_pile_up(pieces: list[bytes]) -> None:
    decoder = OsipDecoder(SETTINGS)
    for piece in pieces:
        decoder.feed(piece)
        assert len(decoder._buffer) < 160
    decoder.end()
    found = decoder.feed(request("A"))
    assert reasons(found) == ["REQ_"]


@given(st.lists(st.binary(max_size=400)))
def test_a_telegram_is_found_behind_whatever_came_before_it(pieces: list[bytes]) -> None:
    junk = [piece.replace(b"#", b"") for piece in pieces]
    assert reasons(decoded(*junk, request("A")))[-1] == "REQ_"


def test_the_answer_to_what_was_decoded_is_for_whoever_sent_it() -> None:
    (asked,) = decoded(request("SN1"))
    assert isinstance(asked, Telegram)
    answer = encode_response(asked, Verdict.HOLD, NOW.astimezone(UTC), SETTINGS)
    assert (answer[8:13], answer[13:18]) == (b"MFC__", b"SPS03")
