"""GS1's JSON Schema of EPCIS 2.0, formats included: without them it takes any name of a field."""

import json
import re
from functools import cache, partial
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator, FormatChecker

SCHEMA = Path(__file__).parent / "data" / "epcis" / "EPCIS-JSON-Schema.json"

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-F]{2})+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@cache
def _validator() -> Draft7Validator:
    formats = FormatChecker(formats=())
    for name, pattern in (("uri", _URI), ("date-time", _TIME)):
        formats.checks(name)(partial(_fits, pattern))
    return Draft7Validator(json.loads(SCHEMA.read_text()), format_checker=formats)


def _fits(pattern: re.Pattern[str], told: Any) -> bool:
    return not isinstance(told, str) or pattern.fullmatch(told) is not None


def document(*events: Any) -> dict[str, Any]:
    """A document with these events."""
    return {
        "@context": ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-03-02T09:00:00Z",
        "epcisBody": {"eventList": list(events)},
    }


def faults(document: Any) -> list[str]:
    """What GS1's schema has against a document."""
    return [
        f"{error.json_path}: {error.message[:300]}" for error in _validator().iter_errors(document)
    ]
