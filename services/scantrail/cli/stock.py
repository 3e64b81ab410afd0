"""`scantrail stock FILE.csv`: opening stock, entered line by line; what is refused is told."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from scantrail.cli.rejected import Refused, answer_of

#: Lines of one request: what was taken is told while the rest is still to go.
LINES = 5_000


def enter_stock(
    api: httpx.Client,
    file: Path,
    *,
    station: str,
    batch: str | None,
    at: datetime | None,
    as_json: bool,
) -> int:
    """Enter the units of `file`, and tell; the exit status: 1 where some lines were refused.

    `batch` is the file's name where none is told, `at` its own time: sent again, no line is taken
    twice. Raises Refused.
    """
    try:
        text = file.read_bytes()
        changed_at = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from error
    told: dict[str, Any] = {"accepted": 0, "already": 0, "rejected": []}
    asked = {"station": station, "at": (at or changed_at).isoformat()}
    address = f"/stock/{quote(batch or file.name, safe='')}/csv"
    for first, part in _parts(text):
        answer = answer_of(api.post(address, params=asked, content=part))
        told["accepted"] += answer["accepted"]
        told["already"] += answer["already"]
        told["rejected"] += [{**each, "line": each["line"] + first} for each in answer["rejected"]]
    print(json.dumps(told) if as_json else told_of_stock(file.name, told))
    return 1 if told["rejected"] else 0


def told_of_stock(name: str, told: dict[str, Any]) -> str:
    """What became of the lines of a file, in words."""
    lines = [f"{name}: {told['accepted']} units taken, {told['already']} had been before"]
    refused = told["rejected"]
    if refused:
        lines.append(f"{len(refused)} lines were refused; mend them and send the file again:")
        lines += [
            f"  line {each['line']}: {each['field'] and each['field'] + ': '}{each['detail']}"
            for each in refused
        ]
        fields = Counter(each["field"] or "the line" for each in refused)
        if len(refused) > 20:
            lines.append("in all: " + ", ".join(f"{n} of {field}" for field, n in fields.items()))
    return "\n".join(lines)


def _parts(text: bytes) -> Iterator[tuple[int, bytes]]:
    """The file in parts, each with the first line, and how many lines are missing before it."""
    head, _, rest = text.partition(b"\n")
    lines = rest.split(b"\n")
    for first in range(0, len(lines), LINES):
        yield first, b"\n".join((head, *lines[first : first + LINES]))
