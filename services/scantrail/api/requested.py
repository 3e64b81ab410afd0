"""What is sent to each route, with an example: for the API's description of itself."""

from typing import Any

from scantrail.api import bodies
from scantrail.api.description import Sample


def _sample(kind: Any, **example: Any) -> Sample:
    return Sample(kind=kind, example=example)


STATION = _sample(
    bodies.StationBody, site="north", business_step="receiving", business_location="Hall A"
)
ORDER = _sample(
    bodies.OrderBody,
    purchaser={"name": "Ada Byron", "address": "1 Dock Road, York"},
    lines=[{"product": "09506000134352", "quantity": 2}],
)
IDENTIFIERS = _sample(bodies.IdentifiersBody, ids=["490154203237518", "010950600013435221A1"])
RESOLUTION = _sample(bodies.ResolutionBody, product="09506000134352")
HOLD = _sample(bodies.HoldBody, text="inspection 7: seal broken")
VOID = _sample(
    bodies.VoidBody,
    unit="010950600013435221A1",
    reason="the carton stayed in Hall A",
    scan={"station": "dock-1"},
)
REPLAY = _sample(bodies.ReplayBody, reader="dock-1-reader", reason="unknown_station")
TOKEN = _sample(bodies.TokenBody, id="quality-7", role="quality", sites=["north"])
