"""How the serials of a product look, as its owner writes it.

A format is as long as the serial: `#` stands for a digit, `@` for a letter, `$` for either, and
every other character for itself. A product has several where its makers have. No regular
expression: nobody at a desk reads one, and some take minutes for one serial.
"""

from collections.abc import Iterable
from typing import Final

from scantrail.domain.identifiers import NotIdentified, check_serial, shown

#: More than a product's makers have.
FORMATS_MAX: Final = 20

#: None of them can stand in a serial (GS1 set 82), so none is ever meant literally.
_PLACES: Final = {"#": "0", "@": "A", "$": "A"}


class BadFormat(Exception):
    """A format that no serial fits. The text says the mend."""


def check_format(serial_format: str, *, folds_case: bool) -> None:
    """Raise BadFormat for what no serial can look like; where case is folded, small letters too."""
    try:
        check_serial("".join(_PLACES.get(character, character) for character in serial_format))
    except NotIdentified as error:
        raise BadFormat(
            f"format {shown(serial_format)}: write 1 to 20 characters, # for a digit, @ for a"
            " letter, $ for either, and all others as they stand in the serial (GS1 set 82)"
        ) from error
    if folds_case and serial_format != serial_format.upper():
        raise BadFormat(f"format {shown(serial_format)}: write it in capitals, as case is folded")


def fits(serial: str, serial_formats: Iterable[str]) -> bool:
    """Whether a serial is of one of these formats."""
    return any(
        len(serial) == len(one) and all(map(_stands_for, one, serial)) for one in serial_formats
    )


def _stands_for(place: str, character: str) -> bool:
    if place == "#":
        return character.isascii() and character.isdigit()
    if place == "@":
        return character.isascii() and character.isalpha()
    if place == "$":
        return character.isascii() and character.isalnum()
    return place == character
