"""Serials that are given here to units that have none, and their labels.

A serial is a number in 28 characters that the eye does not take for each other, and one character
that checks them (ISO/IEC 7064, the hybrid system, modulus 29,28): one wrong character is always
found, and of neighbours that changed places 998 in 1,000.
"""

from typing import Final

from stdnum.iso7064 import mod_37_36

from scantrail.domain.identifiers import is_gtin

#: 28 of them, so that 29 is prime, as the system asks. No B, I, L, O, Q, S, U and Z.
ALPHABET: Final = "0123456789ACDEFGHJKMNPRTVWXY"

#: Characters of a number; 28 to the power of 7 is 13 thousand million.
_WIDTH: Final = 7

MINTED_MAX: Final = len(ALPHABET) ** _WIDTH


def minted_serial(number: int) -> str:
    """The serial with that number, from 0 on; 8 characters. Raises ValueError beyond MINTED_MAX."""
    if not 0 <= number < MINTED_MAX:
        raise ValueError(f"no serial has number {number}: there are {MINTED_MAX}")
    body = ""
    for _ in range(_WIDTH):
        number, place = divmod(number, len(ALPHABET))
        body = ALPHABET[place] + body
    return body + mod_37_36.calc_check_digit(body, ALPHABET)


def is_minted(serial: str) -> bool:
    """Whether it is a serial as they are given here, and checks."""
    return len(serial) == _WIDTH + 1 and bool(mod_37_36.is_valid(serial, ALPHABET))


def label(product: str, serial: str, name: str) -> str:
    """A unit's label in ZPL II, 50 by 25 mm at 8 dots a mm: a Data Matrix, and the same in letters.

    Of a product that has a GTIN it is a GS1 DataMatrix, `01` and `21` behind FNC1; else it holds
    the unit's key, which every reader here understands.
    """
    if is_gtin(product):
        coded, shown = f"_101{product}21{serial}", f"(01){product}"
    else:
        coded, shown = f"sn:{product}.{serial}".replace("_", "__"), product
    lines = [
        "^XA",
        "^CI28",  # names are UTF-8
        "^PW400^LL200",
        # quality 200 is ECC 200; _ begins an escape: _1 is FNC1, __ is _
        f"^FO24,32^BXN,6,200,,,,_,1^FD{coded}^FS",
        f"^FO190,32^A0N,26,22^FB200,2^FH_^FD{_hex(name)}^FS",
        f"^FO190,104^A0N,20,18^FH_^FD{_hex(shown)}^FS",
        f"^FO190,136^A0N,34,30^FH_^FD{_hex(serial)}^FS",
        "^XZ",
    ]
    return "\n".join(lines) + "\n"


def _hex(text: str) -> str:
    """As ^FH reads it: what would be a command of the printer's is its code in hex."""
    return "".join(f"_{ord(one):02X}" if one in "^~_\\" else one for one in text)
