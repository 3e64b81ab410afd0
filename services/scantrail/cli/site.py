"""The simulated site: its products, its stations, and the readers that stand at them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scantrail.domain.identifiers import gs1_check_digit
from scantrail.domain.vocabulary import BusinessStep

OWNER = "acme"
CARRIER = "swift-haulage"
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Place:
    """A station of the simulated site and the one reader at it.

    `protocol` is `listen` (the reader connects to the gateway), `connect` (the gateway connects to
    the reader) or `http`.
    """

    station: str
    name: str
    site: str
    step: BusinessStep
    location: str | None
    protocol: str
    party: str | None = None
    #: what is scanned there before its units: it says where they are
    label: str | None = None

    @property
    def reader(self) -> str:
        return f"{self.station}-reader"

    @property
    def body(self) -> dict[str, Any]:
        """What `PUT /stations/{id}` takes."""
        return {
            "name": self.name,
            "site": self.site,
            "business_step": self.step.value,
            "business_location": None if self.label else self.location,
            "possessing_party": self.party,
            "repeat_window_s": 10,
        }


DOCK = Place("dock-1", "Dock 1", "north", BusinessStep.RECEIVING, "Dock 1", "listen", OWNER)
SHELF = Place(
    "shelf-a",
    "Hall A",
    "north",
    BusinessStep.STORING,
    "Hall A, aisle 4",
    "connect",
    label="L-Hall A, aisle 4",
)
LINE = Place("line-1", "Line 1", "north", BusinessStep.ASSEMBLING, "Line 1", "http")
STAGE = Place("stage-1", "Staging", "north", BusinessStep.STAGING_OUTBOUND, "Staging", "listen")
PACK = Place("pack-1", "Packing", "north", BusinessStep.PACKING, "Packing", "http")
GATE = Place("gate-1", "Gate 1", "north", BusinessStep.SHIPPING, None, "http", CARRIER)
SOUTH = Place("dock-9", "Dock 9", "south", BusinessStep.RECEIVING, "Dock 9", "listen", OWNER)
PLACES = (DOCK, SHELF, LINE, STAGE, PACK, GATE, SOUTH)

_DEFAULT_PORTS = {DOCK.reader: 9101, SHELF.reader: 9102, STAGE.reader: 9103, SOUTH.reader: 9104}


def _gtin(payload: str) -> str:
    return f"{payload}{gs1_check_digit(payload)}"


#: GTIN-14 and name of what is handled there.
PRODUCTS = {
    _gtin("0950600013435"): "Phone, 128 GB",
    _gtin("0950600013436"): "Laptop, 14 inch",
    _gtin("0950600013437"): "Watch, steel",
}


#: In which order its stations are expected; in between there may be others.
STEPS = (DOCK.step, SHELF.step, GATE.step)


def readers_toml(ports: Mapping[str, int], places: Sequence[Place] = PLACES) -> str:
    """The readers' file of a site; `ports` by reader id, for those over TCP."""
    tables = []
    for place in places:
        lines = ["[[reader]]", f'id = "{place.reader}"', f'station = "{place.station}"']
        if place.protocol == "http":
            lines.append('protocol = "http-generic"')
        else:
            lines += [
                'protocol = "tcp"',
                f'mode = "{place.protocol}"',
                f'address = "{HOST}:{ports[place.reader]}"',
                'ack = "\\u0006"',
            ]
        if place.label:
            lines += ["[reader.context]", "location = 'L-(.+)'"]
        tables.append("\n".join(lines))
    head = "# The readers of the simulated site. docs/readers.md tells how to add your own.\n"
    return head + "\n" + "\n\n".join(tables) + "\n"


def tcp_readers(places: Sequence[Place] = PLACES) -> list[str]:
    """Ids of the readers that need a port."""
    return [place.reader for place in places if place.protocol != "http"]


SIMULATED_READERS = readers_toml(_DEFAULT_PORTS)

#: What an installation without the simulated site begins with.
FIRST_READERS = f"""# Your readers. docs/readers.md tells what each key means.

# A scanner that connects to us and sends text, CR LF behind each code.
[[reader]]
id = "scanner-1"
station = "my-dock"
protocol = "tcp"
mode = "listen"
address = "{HOST}:{_DEFAULT_PORTS[DOCK.reader]}"

# Anything that can post JSON.
[[reader]]
id = "handheld-1"
station = "my-shelf"
protocol = "http-generic"

[[reader]]
id = "handheld-2"
station = "my-gate"
protocol = "http-generic"
"""
