"""What an owner decided about a product's serials, what they bring and cost, and what another
policy would change: in words for people, with the numbers of this installation. Pure."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

from scantrail.api.product_figures import Figures
from scantrail.domain.product import Captured, Policy, Serials


class Choice(StrEnum):
    """What an owner may decide about serials, as people say it."""

    RECEIVING = "mandatory, from receiving on"
    SHIPPING = "mandatory, at shipping only"
    WARRANTY = "mandatory, at a warranty claim only"
    OPTIONAL = "optional"
    NONE = "not used: the order is the proof of purchase"


def choice_of(policy: Policy) -> Choice:
    """What was chosen."""
    if policy.serials is Serials.OPTIONAL:
        return Choice.OPTIONAL
    if policy.serials is Serials.NOT_USED:
        return Choice.NONE
    return {
        Captured.RECEIVING: Choice.RECEIVING,
        Captured.SHIPPING: Choice.SHIPPING,
        Captured.WARRANTY: Choice.WARRANTY,
    }[policy.captured]


def why_serials(*, is_regulated: bool, is_entered: bool) -> str:
    """Whether serials are mandated or chosen."""
    if is_regulated:
        return (
            "Mandated: the product is regulated, and the register enters each unit by its serial."
        )
    if not is_entered:
        return (
            "Nobody decided: the product was not entered, and a code without a serial is set aside."
        )
    return "Chosen: no regulation was entered for the product, so that its owner decides."


class Told(NamedTuple):
    """A figure, its value in words, and where it comes from."""

    name: str
    value: str
    source: str


def costs(figures: Figures) -> list[Told]:
    """What serials cost here."""
    mean = figures.scans_per_unit
    return [
        Told(
            "Scans per unit",
            "no unit yet" if mean is None else f"{mean:.1f}",
            f"{_n(figures.scans)} scans in the histories of {_n(figures.units)} units, those that"
            " came with a carton included.",
        ),
        Told(
            "Codes without the serial that is wanted",
            _n(figures.serial_missing),
            "Alerts of kind serial missing, one for each such read.",
        ),
    ]


def brings(figures: Figures) -> list[Told]:
    """What serials bring here."""
    reasons = (
        (figures.without_scan, "with every scan voided"),
        (figures.missing, "held as lost or stolen"),
        (figures.unfolded, "with a scan that could not be folded"),
        (figures.with_nobody_known, "shipped for no order that was entered"),
    )
    why = ", ".join(f"{_n(count)} {reason}" for count, reason in reasons if count)
    of_units = f"of {_n(figures.units)}"
    return [
        Told(
            "Units known one by one",
            _n(figures.units),
            f"Units with a scan: {_n(figures.on_site)} on site, {_n(figures.shipped)} shipped,"
            f" {_n(figures.gone)} decommissioned. A unit with several ids counts once.",
        ),
        Told(
            "Units with unknown place",
            f"{_n(figures.unknown_place)} {of_units}",
            f"{why[0].upper()}{why[1:]}."
            if why
            else "Of each the place, or the purchaser, is told by a scan and its order.",
        ),
        Told(
            "Claims matched by serial",
            f"{_n(figures.claims_by_serial)} of {_n(figures.claims)}",
            "Warranty claims that name the unit; the others go by an order's line.",
        ),
        Told(
            "Recalls matched by serial",
            f"{_n(figures.recalled)} {of_units}",
            f"Units that active recalls found one by one, those left to a person included;"
            f" {_s(figures.recalls, 'active recall')} {_name(figures.recalls)} the product.",
        ),
        Told(
            "Duplicates caught",
            _n(figures.duplicates),
            "Alerts of one serial in two places whose cause was not withdrawn.",
        ),
    ]


class Change(NamedTuple):
    """Another policy and what it would change, a sentence each."""

    choice: Choice
    effects: list[str]


def changes(now: Choice, figures: Figures, *, is_regulated: bool = False) -> list[Change]:
    """What every other policy would change."""
    return [
        Change(
            choice,
            [
                *(_OF_REGISTER if is_regulated and choice not in _FOR_REGISTER else ()),
                *effects(figures, now),
            ],
        )
        for choice, effects in _EFFECTS.items()
        if choice is not now
    ]


_FOR_REGISTER: Final = frozenset({Choice.RECEIVING})
_OF_REGISTER: Final = (
    "The register would lack whatever comes or goes without its serial: the regulation leaves no"
    " such choice.",
)


def _receiving(figures: Figures, now: Choice) -> list[str]:
    told = [
        "Each unit is scanned when it comes, and known from then on: its place, a recall that means"
        " it, and a serial that is here twice.",
        f"A code without a serial is set aside at every station, and waits for a person. At present"
        f" {_s(figures.units, 'unit')} {_are(figures.units)} known by serial, and orders ask for"
        f" {_s(figures.pieces, 'piece')}.",
    ]
    if now is Choice.NONE:
        told.append("An order's line proves no purchase any more: a claim needs the unit's serial.")
    return told


def _shipping(figures: Figures, now: Choice) -> list[str]:
    per_unit = f", {figures.scans_per_unit:.1f} for a unit" if figures.units else ""
    told = [
        f"A unit needs one scan, when it leaves: {_n(figures.shipped)} for those that are shipped"
        f" now, where {_s(figures.scans, 'scan')} {_are(figures.scans)} kept of all{per_unit}.",
        f"Where each unit on site stands is not known before: {_s(figures.on_site, 'unit')}"
        f" {_are(figures.on_site)} on site now. A recall holds them at the gate, where their"
        " serials are read first.",
        f"Who has which unit stays known, for recalls and claims: {_n(figures.shipped)} shipped"
        f" now, {_n(figures.claims_by_serial)} of {_s(figures.claims, 'claim')} matched by serial.",
        "A serial that is here twice shows only when it leaves a second time: so far"
        f" {_s(figures.duplicates, 'duplicate')} {_were(figures.duplicates)} caught, whichever"
        " way.",
    ]
    if now is Choice.NONE:
        told.append("An order's line proves no purchase any more: a claim needs the unit's serial.")
    return told


def _optional(figures: Figures, now: Choice) -> list[str]:
    return [
        f"A code without a serial is taken as it is: the {_s(figures.serial_missing, 'alert')} of a"
        " serial that is missing would not have been raised, and no read waits for a person.",
        "What goes unscanned has no place here, and is found by no recall: as long as one is"
        f" active, a gate holds it. How many that would be nobody can tell;"
        f" {_s(figures.units, 'unit')}"
        f" {_are(figures.units)} known now.",
        f"An order's line proves the purchase too: {_s(figures.lines, 'line')} with"
        f" {_s(figures.pieces, 'piece')} were entered. {_n(figures.claims_by_serial)} of"
        f" {_s(figures.claims, 'claim')} {_were(figures.claims_by_serial)} matched by serial, which"
        " stays where it is told.",
    ]


def _none(figures: Figures, now: Choice) -> list[str]:
    per_unit = f": {figures.scans_per_unit:.1f} for each unit" if figures.units else ""
    return [
        f"No unit is scanned any more; {_s(figures.scans, 'scan')} {_are(figures.scans)}"
        f" kept{per_unit}.",
        "Nothing tells where a unit is, or which purchaser has which: of"
        f" {_s(figures.units, 'unit')} that is known for"
        f" {_n(figures.units - figures.unknown_place)} now.",
        f"A recall stops the product as a whole: of {_s(figures.units, 'unit')}"
        f" {_n(figures.recalled)} {_are(figures.recalled)} meant by active recalls now; without"
        " serials a gate holds each of them.",
        f"The order is the proof of purchase: {_s(figures.lines, 'line')} with"
        f" {_s(figures.pieces, 'piece')} were entered. A claim goes by the purchaser and the"
        f" quantity, where {_n(figures.claims_by_serial)} of {_s(figures.claims, 'claim')}"
        f" {_were(figures.claims_by_serial)} matched by serial.",
        f"A copied serial is not seen: {_s(figures.duplicates, 'duplicate')}"
        f" {_were(figures.duplicates)} caught so far.",
    ]


_EFFECTS: Final[dict[Choice, Callable[[Figures, Choice], list[str]]]] = {
    Choice.RECEIVING: _receiving,
    Choice.OPTIONAL: _optional,
    Choice.SHIPPING: _shipping,
    Choice.NONE: _none,
}


def _n(count: int) -> str:
    return f"{count:,}"


def _s(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _name(count: int) -> str:
    return "names" if count == 1 else "name"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
