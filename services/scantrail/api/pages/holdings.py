"""What lies where, and for how long: counted over all units, seldom, and told with its age."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from scantrail.api.pages.seldom import Seldom
from scantrail.domain.vocabulary import Phase
from scantrail.infra.tables import unit


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
    """A part of the tree: its name, its own units, and what is below."""

    name: str
    own: Place | None = None
    below: "dict[str, Branch]" = field(default_factory=dict)

    @property
    def units(self) -> int:
        """Here and below."""
        return (self.own.units if self.own else 0) + sum(b.units for b in self.below.values())


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


def tree_of(places: Iterable[Place]) -> dict[str, Branch]:
    """Sites, and below each its locations: `Hall A, aisle 4` is aisle 4 of Hall A. Pure."""
    sites: dict[str, Branch] = {}
    for place in places:
        branch = sites.setdefault(place.site, Branch(place.site))
        for part in place.location.replace("/", ",").split(","):
            name = part.strip() or place.location
            branch = branch.below.setdefault(name, Branch(name))
        branch.own = place
    return sites


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
