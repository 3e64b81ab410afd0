"""`scantrail rejected …`: reads and scans that were set aside, shown and sent again."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

PAGE = 1000
READ_LENGTH_MAX = 80
_HEAD = ("id", "time", "reader", "station", "reason", "replayed", "detail", "read")


class Refused(Exception):
    """The api refused the request. The text is its own."""


def list_rejected(
    api: httpx.Client, *, reader: str | None, reason: str | None, as_json: bool
) -> int:
    """Print what was set aside, as a table or a JSON line each; the exit status."""
    found = False
    for rows in _pages(api, _chosen(reader, reason)):
        found = found or bool(rows)
        if as_json:
            for row in rows:
                print(json.dumps(row))
        elif rows:
            print("\n".join(table([_HEAD, *map(_cells, rows)])))
    if not found and not as_json:
        print("nothing was set aside")
    return 0


def show_rejected(api: httpx.Client, row_id: str, *, as_json: bool) -> int:
    """Print one that was set aside, whole: a line for each thing that is told of it, or JSON."""
    row = answer_of(api.get(f"/rejected/{quote(row_id, safe='')}"))
    if as_json:
        print(json.dumps(row))
        return 0
    told = {name: value for name, value in row.items() if value is not None}
    told |= {"read": _as_read(row)} if row["source"] == "read" else {}
    lines = table([(f"{name}:", _printable(str(value))) for name, value in told.items()])
    print("\n".join(lines))
    return 0


def replay_rejected(api: httpx.Client, *, reader: str, reason: str | None, as_json: bool) -> int:
    """Send a reader's reads through the gateway again, and tell; the exit status.

    It is 1 where some were refused again.
    """
    chosen, replayed = _chosen(reader, reason), 0
    refused: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = answer_of(api.post("/rejected/replay", json={**chosen, "cursor": cursor}))
        replayed += answer["replayed"]
        refused += answer["rejected"]
        cursor = answer["next"]
    if as_json:
        print(json.dumps({"replayed": replayed, "rejected": refused}))
    else:
        print(told_of_replay(reader, replayed, refused))
    return 1 if refused else 0


def told_of_replay(reader: str, replayed: int, refused: Sequence[dict[str, Any]]) -> str:
    """What `POST /rejected/replay` answered, in words."""
    if not replayed and not refused:
        return f"no read of {reader} waits to be replayed"
    lines = [f"{_reads(replayed)} of {reader} went through"]
    if refused:
        lines.append(f"{_reads(len(refused))} refused again:")
        reasons = Counter((each["reason"], each["detail"]) for each in refused)
        lines += [
            f"  {count} \N{MULTIPLICATION SIGN} {reason}: {_printable(detail)}"
            for (reason, detail), count in reasons.most_common()
        ]
    return "\n".join(lines)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines in which the cells of each column begin at the same place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _pages(api: httpx.Client, chosen: dict[str, str]) -> Iterator[list[dict[str, Any]]]:
    cursor: str | None = ""
    while cursor is not None:
        asked = {**chosen, "cursor": cursor, "limit": str(PAGE)}
        page = answer_of(api.get("/rejected", params=asked))
        yield page["rejected"]
        cursor = page["next"]


def answer_of(response: httpx.Response) -> Any:
    """What the api answered. Raises Refused."""
    try:
        body = response.json()
        told = f"{body['title']}: {body['detail']}" if response.is_error else ""
    except (ValueError, LookupError, TypeError) as error:
        raise Refused(f"what answers at {response.url} is not Scantrail's api") from error
    if response.is_error:
        raise Refused(told)
    return body


def _chosen(reader: str | None, reason: str | None) -> dict[str, str]:
    both = {"reader": reader, "reason": reason}
    return {name: value for name, value in both.items() if value is not None}


def _cells(row: dict[str, Any]) -> list[str]:
    read = _printable(_as_read(row))
    if len(read) > READ_LENGTH_MAX:
        read = read[: READ_LENGTH_MAX - 1] + "…"
    replayed = "yes" if row["replayed_at"] else ""
    told = (row["reader"], row["station"], row["reason"], replayed, row["detail"])
    return [
        _printable(row["id"]),
        _local(_read_at(row)),
        *(_printable(text or "") for text in told),
        read,
    ]


def _read_at(row: dict[str, Any]) -> str:
    """When it was first set aside; `record_time` is of the last replay in vain."""
    try:
        return str(json.loads(row["payload"])["first_record_time"] or row["record_time"])
    except (ValueError, KeyError, TypeError):
        return str(row["record_time"])


def _as_read(row: dict[str, Any]) -> str:
    """What the device sent, out of its record; a scan that was set aside as it is."""
    if row["source"] == "read":
        try:
            return str(json.loads(row["payload"])["read"])
        except (ValueError, KeyError, TypeError):
            pass
    return str(row["payload"])


def _local(time: str) -> str:
    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M:%S}"


def _printable(text: str) -> str:
    """A terminal is not to obey what a device sent."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _reads(count: int) -> str:
    return "1 read" if count == 1 else f"{count} reads"
