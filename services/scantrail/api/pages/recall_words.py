"""What a recall says and does, in words for people."""

from collections.abc import Mapping
from typing import Any

from scantrail.domain.recall import SelectorKind

#: What a clause can name.
KINDS = {
    SelectorKind.LIST.value: "serials, one by one",
    SelectorKind.RANGE.value: "a range of serials",
    SelectorKind.PREFIX.value: "serials that begin alike",
    SelectorKind.PATTERN.value: "a pattern of serials",
    SelectorKind.LOT.value: "lots",
    SelectorKind.LOT_RANGE.value: "a range of lots",
    SelectorKind.DATE.value: "days of production",
    SelectorKind.ALL.value: "every unit of the products",
}

#: Parts of a recall by which one version differs from the next.
_PARTS = {
    "status": "status",
    "title": "title",
    "reason": "reason",
    "products": "products",
    "selectors": "clauses",
    "remedy": "what to do",
}

#: Of what is listed so many are named.
_NAMED_MAX = 5


def clause_words(told: Mapping[str, Any]) -> str:
    """A clause as `contracts.notices.told_of` tells it, with or without its list."""
    match told["kind"]:
        case SelectorKind.LIST:
            return f"listed serials: {_listed(told, 'serials')}"
        case SelectorKind.RANGE:
            return f"serials {told['low']} to {told['high']}, both included"
        case SelectorKind.PREFIX:
            return f"serials that begin with {told['prefix']}"
        case SelectorKind.PATTERN:
            return f"serials like {told['pattern']}, where each # is a digit"
        case SelectorKind.LOT:
            return f"lots: {_listed(told, 'lots')}"
        case SelectorKind.LOT_RANGE:
            return f"lots {told['low']} to {told['high']}, both included"
        case SelectorKind.DATE:
            first, last = told["from"], told["to"]
            days = (f"from {first}" if first else "", f"to {last}" if last else "")
            included = "both days included" if first and last else "that day included"
            return f"produced {' '.join(filter(None, days))}, {included}"
    return "every unit of the products"


def _listed(told: Mapping[str, Any], name: str) -> str:
    named = told.get(name) or []
    count = told["count"]
    if not named:
        return f"{count:,}"
    more = count - len(named[:_NAMED_MAX])
    return ", ".join(named[:_NAMED_MAX]) + (f" and {more:,} more" if more else "")


def changed_parts(earlier: Mapping[str, Any] | None, later: Mapping[str, Any]) -> list[str]:
    """What the later version says otherwise than the earlier one; nothing where there was none."""
    if earlier is None:
        return []
    return [word for part, word in _PARTS.items() if earlier.get(part) != later.get(part)]


def effects(
    counts: Mapping[str, Any],
    undecided: Mapping[str, int],
    *,
    goes_by_marks: bool,
    has_products: bool,
) -> list[str]:
    """What happens when a recall with these counts becomes active: a sentence each."""
    on_site, shipped, gone = counts["on_site"], counts["shipped"]["units"], counts["gone"]
    told = [
        f"{_units(on_site)} on site {_are(on_site)} held: no gateway lets one leave."
        if on_site
        else "No unit on site is meant: none is held.",
        f"{_units(shipped)} shipped: an alert each, {counts['in_transit']:,} of them in transit."
        if shipped
        else "No shipped unit is meant: no alert is raised.",
    ]
    if here := undecided.get("on_site"):
        told.append(
            f"{_units(here)} on site, of which nobody told lot or day, {_are(here)} held until a"
            " person decides."
        )
    if out := undecided.get("shipped"):
        told.append(
            f"{_units(out)} shipped, of which nobody told lot or day: no alert is raised, look at"
            " them below."
        )
    if gone:
        told.append(f"{_units(gone)} gone: nothing happens to {'it' if gone == 1 else 'them'}.")
    if goes_by_marks:
        whose = "its products" if has_products else "any product"
        told.append(f"Until all units on site were looked at, every unit of {whose} is held.")
    told.append("Units that are scanned from then on are held, or raise an alert, as well.")
    return told


def _units(count: int) -> str:
    return f"{count:,} unit{'' if count == 1 else 's'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
