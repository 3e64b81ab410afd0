"""What `scantrail rejected …` prints, for people and for programs."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from scantrail.cli.rejected import (
    Refused,
    list_rejected,
    replay_rejected,
    show_rejected,
    told_of_replay,
)


def row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"id-{number}",
        "source": "read",
        "reader": "handheld-1",
        "station": "my-shelf",
        "reason": "unknown_station",
        "detail": "station my-shelf is not configured",
        "payload": '{"read": "AB-77", "reader": "handheld-1"}',
        "record_time": "2026-05-04T10:00:00+00:00",
        "replayed_at": None,
        **more,
    }


def api(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return httpx.Client(base_url="http://api/", transport=httpx.MockTransport(answer))


def pages(*rows: dict[str, Any]) -> httpx.Client:
    """One row a page."""

    def answer(request: httpx.Request) -> httpx.Response:
        after = request.url.params["cursor"]
        at = [None, *(each["id"] for each in rows)].index(after or None)
        following = rows[at : at + 1]
        return httpx.Response(
            200, json={"rejected": following, "next": following[0]["id"] if following else None}
        )

    return api(answer)


def shown(capsys: pytest.CaptureFixture[str], client: httpx.Client, *, as_json: bool) -> list[str]:
    assert list_rejected(client, reader=None, reason=None, as_json=as_json) == 0
    return capsys.readouterr().out.splitlines()


def test_programs_get_a_json_line_each_of_all_pages(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(1), row(2)]
    lines = shown(capsys, pages(*rows), as_json=True)
    assert [json.loads(line) for line in lines] == rows
    assert shown(capsys, pages(), as_json=True) == []


def test_people_get_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    payload = json.dumps({"read": "1" * 100})
    told = row(1, station=None, payload=payload, replayed_at="2026-05-04T11:00:00+00:00")
    head, line = shown(capsys, pages(told), as_json=False)
    assert head.split() == [
        "id",
        "time",
        "reader",
        "station",
        "reason",
        "replayed",
        "detail",
        "read",
    ]
    for name, value in {
        "reader": "handheld-1",
        "reason": "unknown_station",
        "replayed": "yes",
        "detail": "station my-shelf is not configured",
        "read": "1" * 79 + "…",
    }.items():
        assert line[head.rindex(f"  {name}") + 2 :].startswith(value), name
    assert shown(capsys, pages(), as_json=False) == ["nothing was set aside"]


@pytest.mark.parametrize("payload", ["\\xff{}", "7", '{"unit": "x"}'])
def test_a_scan_and_what_is_no_record_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str], payload: str
) -> None:
    for source in ("scan", "read"):
        lines = shown(capsys, pages(row(1, source=source, payload=payload)), as_json=False)
        assert lines[1].endswith(f"  {payload}")


def test_a_terminal_does_not_obey_what_a_device_sent(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, pages(row(1, payload="\x1b[2J\r\n", detail="a\x07")), as_json=False)
    assert len(lines) == 2
    assert lines[1].endswith(r"\x1b[2J\r\n")
    assert "\x07" not in lines[1]


@pytest.mark.parametrize(
    ("replayed", "refused", "words"),
    [
        (0, [], ["no read of r-1 waits to be replayed"]),
        (1, [], ["1 read of r-1 went through"]),
        (
            497,
            [
                {"id": "r-1.1", "reason": "unknown_station", "detail": "dock-1"},
                {"id": "r-1.5", "reason": "no_code", "detail": "empty"},
                {"id": "r-1.6", "reason": "unknown_station", "detail": "dock-1"},
            ],
            [
                "497 reads of r-1 went through",
                "3 reads refused again:",
                "  2 × unknown_station: dock-1",  # noqa: RUF001
                "  1 × no_code: empty",  # noqa: RUF001
            ],
        ),
    ],
)
def test_a_replay_is_told_in_words(
    replayed: int, refused: list[dict[str, Any]], words: list[str]
) -> None:
    assert told_of_replay("r-1", replayed, refused).splitlines() == words


@pytest.mark.parametrize("as_json", [False, True])
def test_a_replay_asks_for_every_page_and_ends_with_status_1_where_any_is_refused(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    refusal = {"id": "r-1.7", "reason": "no_code", "detail": "empty"}
    answers = [
        {"replayed": 499, "rejected": [refusal], "next": "r-1.7"},
        {"replayed": 3, "rejected": [], "next": None},
    ]
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        return httpx.Response(200, json=answers[len(asked) - 1])

    client = api(answer)
    assert replay_rejected(client, reader="r-1", reason="no_code", as_json=as_json) == 1
    assert [each["cursor"] for each in asked] == ["", "r-1.7"]
    assert all(each["reason"] == "no_code" for each in asked)
    out = capsys.readouterr().out
    if as_json:
        assert json.loads(out) == {"replayed": 502, "rejected": [refusal]}
    else:
        assert out == told_of_replay("r-1", 502, [refusal]) + "\n"


def test_a_refusal_of_the_api_is_told_as_it_is() -> None:
    problem = {"title": "Gateway away", "status": 503, "detail": "nothing was replayed"}
    client = api(lambda _: httpx.Response(503, json=problem))
    with pytest.raises(Refused, match=r"^Gateway away: nothing was replayed$"):
        replay_rejected(client, reader="r-1", reason=None, as_json=False)


@pytest.mark.parametrize(("status", "body"), [(200, "<html>"), (404, "[]"), (500, '{"a": 1}')])
def test_another_program_at_the_apis_address_is_told(status: int, body: str) -> None:
    client = api(lambda request: httpx.Response(status, text=body))
    with pytest.raises(Refused, match=r"what answers at http://api/rejected.* is not Scantrail"):
        list_rejected(client, reader=None, reason=None, as_json=True)


def one(asked: list[str], *rows: dict[str, Any]) -> httpx.Client:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        if not rows:
            told = {"title": "Not found", "detail": "take `id` as it is listed"}
            return httpx.Response(404, json=told)
        return httpx.Response(200, json=rows[0])

    return api(answer)


def test_one_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []
    long = json.dumps({"read": "\x1d" + "1" * 100})
    told = row(1, id="r/1/7#ab", payload=long, detail="a\nb")
    assert show_rejected(one(asked, told), "r/1/7#ab", as_json=False) == 0
    assert asked == ["/rejected/r%2F1%2F7%23ab"]
    lines = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["read"].strip() == "\\x1d" + "1" * 100
    assert lines["detail"].strip() == "a\\nb"
    assert "replayed_at" not in lines
    assert show_rejected(one(asked, told), "r/1/7#ab", as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == told
    scan = row(2, source="scan", payload="{")
    assert show_rejected(one(asked, scan), "id-2", as_json=False) == 0
    assert "read:" not in capsys.readouterr().out
    with pytest.raises(Refused, match="take `id` as it is listed"):
        show_rejected(one(asked), "x", as_json=False)
