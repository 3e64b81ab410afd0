"""The demo's plan: what happens to each unit, and what must be known of it in the end.

It is the oracle: it knows lives, not folds, and shares no rule with the tracker.
"""

import random
from dataclasses import dataclass, field

from scantrail.cli.site import (
    CARRIER,
    DOCK,
    GATE,
    LINE,
    OWNER,
    PRODUCTS,
    SHELF,
    SOUTH,
    STAGE,
    Place,
)

UNITS = 2_000
CLONES = 20
RECALLED = 50
RECALLED_AT_STAGING = 20
REDELIVERED_SHARE = 0.01
LATE_SHARE = 0.01

RECALL_ID = "R-2026-17"


@dataclass(slots=True)
class Life:
    """One unit: the places that really scan it, in the order of events."""

    gtin: str
    serial: str
    spelling: int
    path: list[Place]
    order: str | None = None
    cloned: bool = False
    recalled: bool = False
    #: the scan at LINE reaches the gateway after all later ones
    late: bool = False
    #: places whose HTTP scan is delivered twice
    redelivered: list[Place] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"sgtin:{self.gtin}.{self.serial}"

    @property
    def code(self) -> str:
        """What the scanner reads: one of the spellings of the same unit."""
        return (
            f"01{self.gtin}21{self.serial}",
            f"]d201{self.gtin}21{self.serial}\x1d17280630",
            f"(01){self.gtin}(21){self.serial}",
            f"https://id.example.org/01/{self.gtin}/21/{self.serial}",
        )[self.spelling]

    @property
    def location(self) -> str | None:
        return self.path[-1].location

    @property
    def custody(self) -> str:
        return CARRIER if GATE in self.path else OWNER


@dataclass(frozen=True, slots=True)
class Malformed:
    """A read that must be rejected: `sent` at `place`, for `reason`."""

    place: Place
    sent: bytes
    reason: str

    @property
    def text(self) -> str:
        """What is kept of it: the AIM identifier is taken off."""
        return self.sent.decode().removeprefix("]d2")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that will happen."""

    lives: list[Life]
    malformed: list[Malformed]

    @property
    def scans(self) -> int:
        """Scans that are delivered, doubles included."""
        return sum(len(life.path) + len(life.redelivered) for life in self.lives)

    @property
    def movements(self) -> int:
        return sum(len(life.path) for life in self.lives)

    @property
    def alerts(self) -> set[tuple[str, str]]:
        """(kind, unit) of each alert that must be raised, once."""
        duplicates = {("duplicate_serial", life.key) for life in self.lives if life.cloned}
        recalled = {
            ("recalled_at_shipping", life.key)
            for life in self.lives
            if life.recalled and STAGE in life.path
        }
        return duplicates | recalled


def order_ref(number: int) -> str:
    return f"SO-{number:05}"


def purchaser(ref: str) -> dict[str, str]:
    """Name and address of who bought under `ref`."""
    number = int(ref.removeprefix("SO-"))
    return {"name": f"Customer {number}", "address": f"{number} Harbour Street, Rotterdam"}


def make_plan(seed: int, *, units: int = UNITS) -> Plan:
    """A plan of `units` lives; the same seed makes the same plan."""
    chance = random.Random(seed)
    gtins = list(PRODUCTS)
    lives = [
        Life(gtins[n % len(gtins)], f"{n:05}{chance.choice('ABCXYZ')}", n % 4, [DOCK, SHELF])
        for n in range(units)
    ]
    places = list(range(units))
    chance.shuffle(places)
    shuffled = [lives[place] for place in places]
    cloned, rest = shuffled[:CLONES], shuffled[CLONES:]
    recalled, rest = rest[:RECALLED], rest[RECALLED:]
    for life in cloned:
        life.cloned = True
        life.path.append(SOUTH)
    for number, life in enumerate(recalled):
        life.recalled = True
        if number < RECALLED_AT_STAGING:
            life.path.append(STAGE)  # the alert stops it there
    assembled, shipped = rest[: len(rest) // 2], rest[len(rest) // 4 :]
    for life in assembled:
        life.path.append(LINE)
    for number, life in enumerate(shipped):
        life.path += [STAGE, GATE]
        life.order = order_ref(number // 5)
    movements = sum(len(life.path) for life in lives)
    late = [life for life in assembled if GATE in life.path]
    for life in late[: round(movements * LATE_SHARE)]:
        life.late = True
    punctual = [life for life in shipped if not life.late]
    for life in punctual[: round(movements * REDELIVERED_SHARE)]:
        life.redelivered.append(GATE)
    return Plan(lives, _malformed(gtins[0]))


def _malformed(gtin: str) -> list[Malformed]:
    wrong = f"{gtin[:-1]}{(int(gtin[-1]) + 1) % 10}"
    text = [
        *[(f"01{wrong}21{n:05}".encode(), "bad_check_digit") for n in range(5)],
        *[(f"01{gtin}21{'Q' * (21 + n)}".encode(), "lost_separator") for n in range(3)],
        *[(f"]d201{gtin[: 6 + n]}".encode(), "incomplete") for n in range(3)],
        *[(f"01{gtin}".encode() + b"10LOT%d" % n, "not_a_unit") for n in range(4)],
    ]
    now = "2026-01-01T00:00:00"
    items = [
        *[(f'{{"rssi": -{n}}}'.encode(), "no_code") for n in range(5)],
        *[
            (f'{{"code": "01{gtin}21TZ{n}", "timestamp": "{now}"}}'.encode(), "no_time_zone")
            for n in range(5)
        ],
        *[(b"<scan n='%d'/>" % n, "bad_json") for n in range(5)],
    ]
    return [Malformed(DOCK, *told) for told in text] + [Malformed(LINE, *told) for told in items]
