"""What every scenario of the demo is made of: places of its own, what it does, what must come."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from scantrail.cli.floor import Floor
from scantrail.cli.site import Place
from scantrail.domain.identifiers import gs1_check_digit, luhn_check_digit

#: So long a scenario waits for what must come; the plan's two thousand units come beside.
PATIENCE_S = 120.0
LOOK_EVERY_S = 0.25

Json = Any


@dataclass(frozen=True, slots=True)
class Scenario:
    """One point of the business: `places` are stations of its own, `play` does it."""

    point: int
    name: str
    places: tuple[Place, ...]
    play: "Callable[[Scene], Awaitable[str]]"


@dataclass(slots=True)
class Outcome:
    """What a scenario proved, or what was wrong; the alerts that it must leave behind."""

    point: int
    name: str
    proved: str = ""
    wrong: list[str] = field(default_factory=list)
    alerts: list[tuple[str, str, str]] = field(default_factory=list)
    seconds: float = 0.0


class Broken(Exception):
    """Nothing that comes after it in the scenario would make sense."""


class Scene:
    """A scenario on the floor. Its products, units and documents are like no other's."""

    def __init__(self, scenario: Scenario, floor: Floor, outcome: Outcome) -> None:
        self._point = scenario.point
        self._floor = floor
        self._outcome = outcome

    # ------------------------------------------------------------------------------ what it has

    def gtin(self, number: int) -> str:
        """A product of this scenario alone, below 1000."""
        payload = f"09506000{self._point:02}{number:03}"
        return f"{payload}{gs1_check_digit(payload)}"

    def sscc(self, number: int) -> str:
        """A carton or pallet of this scenario alone."""
        payload = f"19506000{self._point:02}{number:07}"
        return f"{payload}{gs1_check_digit(payload)}"

    def imei(self, number: int) -> str:
        """A phone of this scenario alone."""
        payload = f"35209900{self._point:02}{number:04}"
        return f"{payload}{luhn_check_digit(payload)}"

    def named(self, name: str) -> str:
        """The id of a document or a party of this scenario alone."""
        return f"{name}-{self._point}"

    # ---------------------------------------------------------------------------- what it does

    async def ask(
        self, method: str, path: str, body: Json = None, *, status: int = 0, **more: Any
    ) -> Json:
        """Ask the api. Raises Broken where it answers another status (0: any success)."""
        given = {} if body is None else {"json": body}
        answer = await self._floor.api.request(method, path, **given, **more)
        is_wanted = answer.status_code == status if status else answer.is_success
        if not is_wanted:
            wanted = f", not {status}" if status else ""
            told = f"{method} {path} is {answer.status_code}{wanted}: {answer.text[:300]}"
            raise Broken(told)
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    async def scan(self, place: Place, *codes: str, **more: Any) -> None:
        """Read codes at a place as its device does, by TCP or HTTP; each is durable then."""
        if place in self._floor.text:
            await self._floor.text[place].send([code.encode() for code in codes])
            return
        for code in codes:
            now = datetime.now(UTC).isoformat()
            read = {"code": code, "timestamp": now, "event_id": secrets.token_hex(8), **more}
            refused = await self._floor.http[place].send([read])
            if refused:
                raise Broken(f"{place.station} refused {code}: {refused}")

    # ------------------------------------------------------------------------- what must be so

    def expect(self, what: str, found: Any, wanted: Any) -> None:
        """Note it as wrong where it is not so."""
        if found != wanted:
            self._outcome.wrong.append(f"{what} is {found!r}, not {wanted!r}")

    def alert(self, kind: str, subject: str, status: str = "open") -> None:
        """Of this alert there must be one in the end; `subject` is a unit, or a document."""
        self._outcome.alerts.append((kind, subject, status))

    async def until(
        self, what: str, look: Callable[[], Awaitable[Any]], wanted: Callable[[Any], bool]
    ) -> Any:
        """What `look` finds once it is as wanted. Raises Broken when patience is at its end."""
        deadline = time.monotonic() + PATIENCE_S
        while not wanted(found := await look()):
            if time.monotonic() > deadline:
                raise Broken(f"{what} does not come: there is {found!r}")
            await asyncio.sleep(LOOK_EVERY_S)
        return found

    async def comes(self, path: str, *, status: int = 200, **wanted: Any) -> Json:
        """The answer to GET once it has `status` and these values."""

        async def look() -> Any:
            answer = await self._floor.api.get(path)
            return answer.json() if answer.status_code == status else None

        def is_so(found: Any) -> bool:
            return found is not None and {**found, **wanted} == found

        return await self.until(f"{path} with {wanted}", look, is_so)

    async def unit(self, code: str, **wanted: Any) -> Json:
        """Where a unit is, by any spelling, once these values are told of it."""
        return await self.comes(f"/units/{quote(code, safe='')}", **wanted)


async def play_all(
    scenarios: Sequence[Scenario], floor: Floor, say: Callable[[str], None]
) -> list[Outcome]:
    """Play scenarios side by side; what fails of one leaves the others alone."""

    async def play(scenario: Scenario) -> Outcome:
        outcome = await _play(scenario, floor)
        say(f"{scenario.name} is {'WRONG' if outcome.wrong else 'as it must be'}")
        return outcome

    return await asyncio.gather(*map(play, scenarios))


async def _play(scenario: Scenario, floor: Floor) -> Outcome:
    outcome = Outcome(scenario.point, scenario.name)
    started = time.monotonic()
    try:
        outcome.proved = await scenario.play(Scene(scenario, floor, outcome))
    except Broken as error:
        outcome.wrong.append(str(error))
    except (ValueError, LookupError, TypeError) as error:  # an answer of another shape
        outcome.wrong.append(f"{type(error).__name__}: {error}")
    outcome.seconds = round(time.monotonic() - started, 1)
    return outcome
