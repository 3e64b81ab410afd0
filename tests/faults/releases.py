"""Processes of a next release: whatever they write has one more field than this one knows.

`python -m faults.releases PROCESS` runs the process so.
"""

import importlib
import sys
from typing import Any

import msgspec

from scantrail.contracts import records

FIELD = "of_the_next_release"


def write_more() -> None:
    """Before anything takes the functions by their names: on every topic a field of records, in the
    tracker's table and its changelog one more place at the end of a state."""
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


def main() -> None:
    _, process = sys.argv
    write_more()
    importlib.import_module(f"scantrail.{process}.__main__").main()


if __name__ == "__main__":
    main()
