"""The demo's plan: what happens to each unit, and what must be known of it in the end.

It is the oracle: it knows lives, not folds, and shares no rule with the tracker.
"""

import random
from collections import Counter
from dataclasses import dataclass, field

from scantrail.cli.site import (
    CARRIER,
    DOCK,
    GATE,
    LINE,
    OWNER,
    PACK,
    PRODUCTS,
    SHELF,
    SOUTH,
    STAGE,
    Place,
)
from scantrail.domain.identifiers import gs1_check_digit, luhn_check_digit

UNITS = 2_000
CLONES = 20
RECALLED = 50
RECALLED_AT_STAGING = 20
#: Units that are packed and shipped without a scan of their own at the gate, so many in a carton.
PACKED = 60
PACKED_RECALLED = 5
PER_CARTON = 5
#: Units that leave by their IMEI, of which somebody says only afterwards whose it is.
RENAMED = 20
RENAMED_RECALLED = 5
#: Units that are shipped without ever having been stored.
HASTY = 10
REDELIVERED_SHARE = 0.01
LATE_SHARE = 0.01

RECALL_ID = "R-2026-17"


@dataclass(slots=True)
class Life:
    """One unit: the places that scan it, or at GATE the carton it is in, in the order of events."""

    gtin: str
    serial: str
    spelling: int
    path: list[Place]
    order: str | None = None
    #: the SSCC of the carton that is scanned in its place at GATE
    carton: str | None = None
    #: what is scanned in place of the unit's own code at GATE, and joined to it later
    imei: str | None = None
    cloned: bool = False
    recalled: bool = False
    hasty: bool = False
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
    def trail(self) -> list[str]:
        """The stations that its trail shows: joining is a scan at LINE."""
        return [place.station for place in self.path] + [LINE.station] * (self.imei is not None)

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
        """Scans that are delivered, doubles included: a carton's, not those of what is in it."""
        own = sum(len(life.trail) + len(life.redelivered) for life in self.lives)
        return own - sum(life.carton is not None for life in self.lives) + len(self.cartons)

    @property
    def cartons(self) -> dict[str, str]:
        """The order under which each carton is shipped, by SSCC."""
        return {life.carton: life.order for life in self.lives if life.carton and life.order}

    @property
    def movements(self) -> int:
        return sum(len(life.trail) for life in self.lives)

    @property
    def alerts(self) -> Counter[tuple[str, str]]:
        """(kind, unit or document) of each alert that must be raised, and how often: once for each
        unit, and for each read that lacks its serial."""
        duplicates = {("duplicate_serial", life.key) for life in self.lives if life.cloned}
        recalled = {
            ("recalled_at_shipping", life.key)
            for life in self.lives
            if life.recalled and {STAGE, GATE} & set(life.path)
        }
        hasty = {("out_of_sequence", life.key) for life in self.lives if life.hasty}
        unread = [each for each in self.malformed if each.reason == "serial_missing"]
        # such a read begins 01 and the GTIN
        missing = [(each.reason, f"product {each.text[2:16]}") for each in unread]
        return Counter(duplicates | recalled | hasty) + Counter(missing)


def order_ref(number: int) -> str:
    return f"SO-{number:05}"


def sscc(number: int) -> str:
    payload = f"09506000{number:09}"
    return f"{payload}{gs1_check_digit(payload)}"


def imei(number: int) -> str:
    payload = f"35693803{number:06}"
    return f"{payload}{luhn_check_digit(payload)}"


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
    for life in recalled[RECALLED_AT_STAGING:][:PACKED_RECALLED]:
        _pack(life, len(rest))
    for number, life in enumerate(recalled[RECALLED_AT_STAGING + PACKED_RECALLED :]):
        if number < RENAMED_RECALLED:
            life.path.append(GATE)
            life.order = order_ref(len(rest) // PER_CARTON)
            life.imei = imei(units + number)
    assembled, shipped = rest[: len(rest) // 2], rest[len(rest) // 4 :]
    for life in assembled:
        life.path.append(LINE)
    loose = len(shipped) - PACKED
    for number, life in enumerate(shipped):
        if number >= loose:
            _pack(life, number)
            continue
        life.path += [STAGE, GATE]
        life.order = order_ref(number // PER_CARTON)
    movements = sum(len(life.path) for life in lives)
    late = [life for life in assembled if STAGE in life.path]
    for life in late[: round(movements * LATE_SHARE)]:
        life.late = True
    punctual = [life for life in shipped if not life.late and not life.carton]
    for life in punctual[: round(movements * REDELIVERED_SHARE)]:
        life.redelivered.append(GATE)
    plain = [life for life in punctual if not life.redelivered]
    for number, life in enumerate(plain[:RENAMED]):
        life.imei = imei(number)
    for life in plain[RENAMED:][:HASTY]:
        life.path.remove(SHELF)
        life.hasty = True
    return Plan(lives, _malformed(gtins[0]))


def _pack(life: Life, number: int) -> None:
    life.path += [PACK, GATE]
    life.carton = sscc(number // PER_CARTON)
    life.order = order_ref(number // PER_CARTON)


def _malformed(gtin: str) -> list[Malformed]:
    wrong = f"{gtin[:-1]}{(int(gtin[-1]) + 1) % 10}"
    text = [
        *[(f"01{wrong}21{n:05}".encode(), "bad_check_digit") for n in range(5)],
        *[(f"01{gtin}21{'Q' * (21 + n)}".encode(), "lost_separator") for n in range(3)],
        *[(f"]d201{gtin[: 6 + n]}".encode(), "incomplete") for n in range(3)],
        *[(f"01{gtin}".encode() + b"10LOT%d" % n, "serial_missing") for n in range(4)],
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
