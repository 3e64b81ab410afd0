"""What lies where, and for how long: counted over all units, seldom, and told with its age."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.pages.seldom import Seldom
from scantrail.domain.vocabulary import Phase
from scantrail.infra.tables import unit

#: Parts of a location; what follows is one name with the last.
LEVELS_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Units at one location: how many, since when on the average, and the oldest."""

    site: str
    location: str
    units: int
    since_mean: datetime
    since_oldest: datetime


@dataclass(frozen=True, slots=True)
class Counted:
    """All of it, as it was then."""

    at: datetime
    places: tuple[Place, ...] = ()
    shipped: int = 0
    gone: int = 0


@dataclass(slots=True)
class Branch:
    """A part of the tree: its name, how many units are at no part of it, what is below; of all
    these their number and stay."""

    name: str
    path: tuple[str, ...] = ()
    own: int = 0
    below: "dict[str, Branch]" = field(default_factory=dict)
    units: int = 0
    since_oldest: datetime | None = None
    _since_sum: float = 0.0

    @property
    def since_mean(self) -> datetime:
        """Since when its units, those below among them, are where they are, on the average."""
        return _moment(self._since_sum / self.units)

    @property
    def at(self) -> str:
        """Where it is at its site, as a location is written."""
        return ", ".join(self.path[1:])

    def first(self, count: int, skip: int = 0) -> "list[Branch]":
        """Some of what is below."""
        return list(islice(self.below.values(), skip, skip + count))

    def add(self, place: Place) -> None:
        """Count what lies here, or below."""
        self.units += place.units
        self._since_sum += place.since_mean.timestamp() * place.units
        self.since_oldest = min(self.since_oldest or place.since_oldest, place.since_oldest)

    def sort(self) -> None:
        """Aisle 9 comes before aisle 10."""
        self.below = dict(sorted(self.below.items(), key=lambda each: _natural(each[0])))
        for each in self.below.values():
            each.sort()


class Holdings(Seldom[Counted]):
    """Counts units by location."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(self._by_place, "units by location")
        self._engine = engine

    async def _by_place(self) -> Counted:
        place = func.coalesce(unit.c.business_location, unit.c.read_point)
        since = func.extract("epoch", unit.c.since)
        query = (
            select(unit.c.phase, unit.c.site, place, func.count(), func.avg(since), func.min(since))
            .where(unit.c.phase.is_not(None), unit.c.joined.is_(None))
            .group_by(unit.c.phase, unit.c.site, place)
        )
        async with self._engine.connect() as connection:
            await connection.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))
            rows = (await connection.execute(query)).all()
        by_phase = {Phase.SHIPPED: 0, Phase.GONE: 0}
        places = []
        for phase, site, location, units, mean, oldest in rows:
            if phase in by_phase:
                by_phase[phase] += units
                continue
            places.append(Place(site, location, units, _moment(mean), _moment(oldest)))
        places.sort(key=lambda each: (each.site, each.location))
        return Counted(
            datetime.now(UTC), tuple(places), by_phase[Phase.SHIPPED], by_phase[Phase.GONE]
        )


def tree_of(places: Iterable[Place]) -> Branch:
    """All sites, and below each its locations: `Hall A, aisle 4` is aisle 4 of Hall A. Pure."""
    root = Branch("")
    for place in places:
        branch = root
        branch.add(place)
        for name in (place.site, *parts_of(place.location)):
            if name not in branch.below:
                branch.below[name] = Branch(name, (*branch.path, name))
            branch = branch.below[name]
            branch.add(place)
        branch.own += place.units  # two spellings of one place are two rows
    root.sort()
    return root


def branch_of(root: Branch, site: str, at: str) -> Branch | None:
    """The branch of a site, or of a place there; without a site, the tree. Pure."""
    found: Branch | None = root
    for name in (site, *(parts_of(at) if at else ())) if site else ():
        found = found.below.get(name) if found else None
    return found


def parts_of(location: str) -> list[str]:
    """The parts of a location, from the largest on; a label may have anything on it. Pure."""
    parts = [part.strip() for part in location.replace("/", ",").split(",")]
    named = [part for part in parts if part] or [location.strip() or "without a name"]
    head, tail = named[: LEVELS_MAX - 1], named[LEVELS_MAX - 1 :]
    return [*head, ", ".join(tail)] if tail else head


def _natural(name: str) -> list[tuple[int, int, str]]:
    """For sorting: numbers in a name as numbers."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def how_long(stay: timedelta) -> str:
    """A stay in one word and a number, as people say it. Pure."""
    seconds = max(stay.total_seconds(), 0.0)
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = round(seconds / size)
            return f"{count} {word}{'' if count == 1 else 's'}"
    return "under a minute"


def _moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(float(epoch), UTC)
