"""What is emptied where a name stands in what a machine wrote down, and what is not."""

import pytest

from reads import rejected_read
from scantrail.api import erasure
from scantrail.contracts.records import encode
from unit.world import NOON


def emptied(name: str, read: str, **more: str) -> bytes | None:
    told = rejected_read(read, NOON, reason="no_code", detail="give a code", **more)
    return erasure._emptied(encode(told), erasure._whole(erasure._forms([name])))


@pytest.mark.parametrize(
    "read",
    [
        "Zoë O'Quux",
        "to: zoë o'quux, York",
        r'{"customer": "Zoë O\'Quux"}'.replace("\\", ""),
        r'{"customer": "Zo\u00eb O' + "'" + r'Quux"}',
        r'{"label": "to\nZoë O' + "'" + r'Quux\nYork"}',
    ],
)
def test_a_name_is_found_however_it_is_written(read: str) -> None:
    found = emptied("Zoë O'Quux", read)
    assert found is not None
    assert b"Quux" not in found
    assert b"(erased)" in found


def test_a_quote_and_a_new_line_are_found_with_their_escapes() -> None:
    address = 'Room "7",\nYork'
    for read in (address, r'{"to": "Room \"7\",\nYork"}'):
        found = emptied(address, read)
        assert found is not None
        assert b"Room" not in found


@pytest.mark.parametrize("read", ["Quuxette", "MCQUUX", "(01)09506000134352(21)1"])
def test_a_part_of_another_word_is_none(read: str) -> None:
    assert emptied("Quux", read) is None


def test_a_name_in_another_field_goes_too() -> None:
    found = emptied("Ada Quux", "0109506000134352", order="for Ada Quux")
    assert found is not None
    assert b"Quux" not in found


def test_words_of_the_record_itself_are_no_names() -> None:
    assert emptied("sequence", "0109506000134352") is None
