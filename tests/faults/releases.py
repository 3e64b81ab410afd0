"""Releases other than this one, whose processes take the place of this one's.

`python -m faults.releases NAME PROCESS` runs the process so.
"""

import importlib
import sys
import zlib
from typing import Any

import msgspec

from scantrail.contracts import records
from scantrail.domain import custody

FIELD = "of_the_next_release"

#: What a release with a defect says where it fails.
DEFECT = "a defect of this release"


def write_more() -> None:
    """Whatever is written has one more field than this release knows: on every topic a field of
    records, in the tracker's table and its changelog one more place at the end of a state."""
    encode, encode_state = records.encode, records._encode_state

    def with_field(record: Any) -> bytes:
        told = encode(record)
        if isinstance(record, dict | str) or not told.endswith(b"}"):
            return told
        return told[:-1] + f',"{FIELD}":{{"a":[1]}}}}'.encode()

    def with_place(state: Any) -> bytes:
        return msgspec.msgpack.encode([*msgspec.msgpack.decode(encode_state(state)), FIELD])

    records.encode = with_field
    records._encode_state = with_place


def fail_on_some() -> None:
    """The tracker's code raises on one in eight scans of picking, by their units."""
    right = custody.observe

    def wrong(known: Any, scan: Any, *, offset: int) -> Any:
        if scan.station == "pick" and zlib.crc32(scan.unit.encode()) % 8 == 0:
            raise RuntimeError(DEFECT)
        return right(known, scan, offset=offset)

    custody.observe = wrong


RELEASES = {"next": write_more, "defect": fail_on_some}


def main() -> None:
    _, name, process = sys.argv
    RELEASES[name]()
    importlib.import_module(f"scantrail.{process}.__main__").main()


if __name__ == "__main__":
    main()
