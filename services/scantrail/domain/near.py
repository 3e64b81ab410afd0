"""Serials that a person may have typed instead of another: one slip away, or as like as letters
and digits are to the eye."""

from collections.abc import Iterator
from itertools import combinations, islice, product
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Final

#: Each letter or digit and what it is read as.
_LIKE: Final = {
    one: row.replace(one, "")
    for row in ("0OQD", "1IL", "2Z", "5S", "6G", "8B", "UV")
    for one in row
}

#: Of characters that look alike all ways of reading a serial, up to so many.
_READINGS_MAX: Final = 512

_ALPHABET: Final = digits + ascii_uppercase
_SIGNS: Final = "-_/."


def near_serials(serial: str) -> frozenset[str]:
    """All serials that are near to `serial`, itself left out: some hundreds, at most some
    thousands.

    One character is another one, is missing, or is one too many; two neighbours changed places;
    any number of characters were taken for such as look alike; all letters are of the other case.
    """
    found = set(_one_slip(serial))
    found.update(islice(_readings(serial), _READINGS_MAX))
    found.update((serial.upper(), serial.lower()))
    return frozenset(found - {serial, ""})


def _one_slip(serial: str) -> Iterator[str]:
    alphabet = _ALPHABET + _SIGNS
    if serial != serial.upper():
        alphabet += ascii_lowercase
    for place in range(len(serial) + 1):
        head, tail = serial[:place], serial[place:]
        for character in alphabet:
            yield f"{head}{character}{tail}"
            if tail:
                yield f"{head}{character}{tail[1:]}"
        if tail:
            yield head + tail[1:]
        if len(tail) > 1:
            yield f"{head}{tail[1]}{tail[0]}{tail[2:]}"


def _readings(serial: str) -> Iterator[str]:
    """Those of few characters that are read otherwise come first, wherever these stand."""
    places = [place for place, one in enumerate(serial) if one in _LIKE]
    for count in range(len(places) + 1):
        for some in combinations(places, count):
            for reading in product(*(_LIKE[serial[place]] for place in some)):
                characters = list(serial)
                for place, one in zip(some, reading, strict=True):
                    characters[place] = one
                yield "".join(characters)
