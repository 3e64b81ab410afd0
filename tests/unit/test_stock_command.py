"""`scantrail stock`: a file in parts, and what is told of it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from scantrail.cli import stock
from scantrail.cli.rejected import Refused
from scantrail.cli.stock import enter_stock


def api(answer: Any, seen: list[httpx.Request]) -> httpx.Client:
    def told(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(*answer) if isinstance(answer, tuple) else answer(request)

    return httpx.Client(base_url="http://api/", transport=httpx.MockTransport(told))


def test_a_long_file_goes_in_parts_and_its_lines_keep_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stock, "LINES", 2)
    file = tmp_path / "a.csv"
    file.write_text("code\n1\n2\n3\nbad\n5\n")
    seen = list[httpx.Request]()

    def answer(request: httpx.Request) -> httpx.Response:
        lines = request.content.decode().split("\n")
        wrong = [
            {"line": n, "field": "code", "detail": "no"}
            for n, line in enumerate(lines, start=1)
            if line == "bad"
        ]
        body = {"accepted": 1, "already": 0, "rejected": wrong}
        return httpx.Response(200, json=body)

    at = datetime(2026, 3, 1, tzinfo=UTC)
    told: dict[str, Any] = {"station": "s", "batch": "b/1", "at": at, "as_json": True}
    assert enter_stock(api(answer, seen), file, **told) == 1
    assert json.loads(capsys.readouterr().out) == {
        "accepted": 3,
        "already": 0,
        "rejected": [{"line": 5, "field": "code", "detail": "no"}],
    }
    assert [request.content for request in seen] == [b"code\n1\n2", b"code\n3\nbad", b"code\n5\n"]
    assert seen[0].url.raw_path.startswith(b"/stock/b%2F1/csv?station=s&at=2026-03-01T00")


def test_what_the_api_refuses_ends_the_command(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("code\n1\n")
    told: dict[str, Any] = {"station": "s", "batch": None, "at": None, "as_json": False}
    problem = {"title": "Bad input", "detail": "no such column"}
    with pytest.raises(Refused, match="no such column"):
        enter_stock(api(lambda _: httpx.Response(400, json=problem), []), file, **told)
    with pytest.raises(Refused, match="cannot be read"):
        enter_stock(api((200,), []), tmp_path / "none.csv", **told)
