"""Where in a document a value stands that is not of its field's kind."""

import re

import msgspec

_AT = re.compile(r" - at `\$\.?(?P<place>[^`]*)`$")
#: What msgspec says of a day, for people.
_MENDS = {"Invalid RFC3339 encoded date": "it is no date: give a day as 2026-03-31"}
_NAMED = re.compile(r"field `(?P<name>[^`]+)`")


def field_of(error: msgspec.ValidationError) -> tuple[str, str, str]:
    """The field that msgspec refuses (`selectors[1].low`; "" for the whole), the place in which it
    stands, and why."""
    told = str(error)
    at, named = _AT.search(told), _NAMED.search(told)
    place = at["place"] if at else ""
    field = ".".join(part for part in (place, named["name"] if named else "") if part)
    reason = _AT.sub("", told)
    return field, place, _MENDS.get(reason, reason)
