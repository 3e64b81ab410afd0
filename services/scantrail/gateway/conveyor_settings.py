"""What the readers' file says of a conveyor: how its questions come, and how it is answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from scantrail.domain.verdict import Verdict
from scantrail.gateway.contexts import Refuse

#: One line for each verdict, the reason behind it: `HOLD recalled`.
ANSWERS_DEFAULT: Final[Mapping[Verdict, str]] = {
    verdict: f"{verdict.upper()} {{reason}}\r\n" for verdict in Verdict
}

TELEGRAM_LENGTH_DEFAULT: Final = 160
BARCODE_LENGTH_DEFAULT: Final = 20

#: Characters of a location in a telegram.
LOCATION_LENGTH: Final = 20

_TELEGRAM_LENGTHS: Final = (160, 2048)
_BARCODE_LENGTHS: Final = (8, 80)
_OSIP_KEYS: Final = (
    "barcode_fill",
    "barcode_length",
    "group",
    "hold_target",
    "locations",
    "release_target",
    "telegram_length",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OsipSettings:
    """How a controller's telegrams are made, which each project decides for itself.

    All have `telegram_length` characters, `barcode_length` of them for a barcode, filled from the
    left with `barcode_fill` where the project does that. A release names `release_target` as the
    place to go to (None: the one that was asked for), anything else `hold_target` (None: no place).
    With `group`, an answer has a location group behind the target. `locations` are the stations of
    places: of those a question asks for, and of those whose `UPD_` confirms an exit.
    """

    telegram_length: int = TELEGRAM_LENGTH_DEFAULT
    barcode_length: int = BARCODE_LENGTH_DEFAULT
    barcode_fill: str | None = None
    release_target: str | None = None
    hold_target: str | None = None
    group: bool = False
    locations: Mapping[str, str] = field(default_factory=dict)


def verdict_answers(value: Any, refuse: Refuse) -> Mapping[Verdict, str]:
    """What answers each verdict: `true` means a line, a table has a text for each of the three.

    `{reason}` in a text stands for the reason's word.
    """
    if value is True:
        return ANSWERS_DEFAULT
    if not isinstance(value, dict):
        refuse("verdict", "true, or a table [reader.verdict] with release, hold and unknown")
    for name in value:
        if name not in list(Verdict):
            known = ", ".join(Verdict)
            refuse("verdict", f"unknown key {name!r}; one of {known}", inside=name)
    answers = {}
    for verdict in Verdict:
        text = value.get(verdict.value)
        if not isinstance(text, str) or not text or not _is_bytes(text):
            told = f"a text of bytes is expected for {verdict}, not {text!r}"
            refuse("verdict", told, inside=verdict.value)
        answers[verdict] = text
    if answers[Verdict.RELEASE] in (answers[Verdict.HOLD], answers[Verdict.UNKNOWN]):
        refuse("verdict", "what answers release must answer nothing else", inside="release")
    return answers


def osip_settings(table: Any, refuse: Refuse) -> OsipSettings:
    """The settings of a reader's table `osip`, checked."""
    if not isinstance(table, dict):
        refuse("osip", "a table [reader.osip] with lines such as hold_target = 'X' is expected")
    values: dict[str, Any] = {}
    for name, value in table.items():
        match name:
            case "telegram_length":
                low, high = _TELEGRAM_LENGTHS
                fits, wanted = type(value) is int and low <= value <= high, f"{low} to {high}"
            case "barcode_length":
                low, high = _BARCODE_LENGTHS
                fits, wanted = type(value) is int and low <= value <= high, f"{low} to {high}"
            case "barcode_fill":
                fits, wanted = _is_field(value, 1), "one character"
            case "release_target" | "hold_target":
                fits, wanted = _is_field(value, LOCATION_LENGTH), "1 to 20 ASCII characters"
            case "group":
                fits, wanted = isinstance(value, bool), "true or false"
            case "locations":
                fits, wanted = isinstance(value, dict) and bool(value), "a table of stations"
            case _:
                known = ", ".join(_OSIP_KEYS)
                refuse("osip", f"unknown key {name!r}; one of {known}", inside=name)
        if not fits:
            refuse("osip", f"{wanted} is expected for {name}, not {value!r}", inside=name)
        values[name] = value
    for place, station in values.get("locations", {}).items():
        if not _is_field(place, LOCATION_LENGTH) or not isinstance(station, str) or not station:
            told = f"1 to 20 characters and a station's id are expected, not {place!r}, {station!r}"
            refuse("osip", told, inside=place)
    settings = OsipSettings(**values)
    # A question's fields, and the answer's, are not to run into each other.
    if settings.telegram_length < 129 + settings.barcode_length:
        refuse("osip", "no room for a barcode of this length", inside="barcode_length")
    return settings


def _is_field(value: Any, length_max: int) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= length_max
        and value.isascii()
        and value.isprintable()
    )


def _is_bytes(text: str) -> bool:
    return all(ord(character) < 256 for character in text)
