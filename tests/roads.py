"""Every road by which a purchaser's name and address can come in, as requests."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from epcis_schema import document

GTIN = "09506000134352"
STATIONS = {"dock": "receiving", "gate": "shipping"}
READER = "handheld-1"
#: Of the unit that is sold, and of another that a partner tells of.
SOLD, TOLD = "S1", "S2"

READERS = f'[[reader]]\nid = "{READER}"\nstation = "dock"\nprotocol = "http-generic"\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """A request, what it is answered, and whether the gateway is asked."""

    what: str
    method: str
    path: str
    status: int
    at_gateway: bool = False
    more: dict[str, Any] = field(default_factory=dict)


def barcode(serial: str) -> str:
    return f"01{GTIN}21{serial}"


def roads(name: str, address: str) -> Iterator[Road]:
    """In this order. What is answered 4xx is refused, and may be written down all the same."""
    who = {"name": name, "address": address}
    line = {"product": GTIN, "quantity": 1}
    keyed = {"Idempotency-Key": "order-1"}
    order = {"purchaser": who, "ship_to": who, "end_customer": who, "lines": [line]}
    for what in ("an order", "the same order, sent again"):
        yield _road(what, "PUT", "/orders/SO-1", 200, json=order, headers=keyed)
    other = {**order, "purchaser": {**who, "name": f"Dr {name}"}}
    yield _road("another by its key", "PUT", "/orders/SO-1", 422, json=other, headers=keyed)
    misspelt = {"purchaser": {**who, "nmae": name}}
    yield _road("a field nobody knows", "PUT", "/orders/SO-2", 400, json=misspelt)
    cut = f'{{"purchaser": {{"name": "{name}", "address": "{address}'.encode()
    yield _road("JSON that ends too early", "PUT", "/orders/SO-2", 400, content=cut)
    nul = {"purchaser": {**who, "name": f"{name}\0"}}
    yield _road("a letter no store takes", "PUT", "/orders/SO-2", 400, json=nul)
    yield _road("a file of orders", "POST", "/orders", 200, **_csv(name, address, "1"))
    yield _road("a file with a mistake", "POST", "/orders", 400, **_csv(name, address, "one"))
    yield _road("a party", "PUT", "/parties/p-9", 200, json=who)
    late = {"headers": {"If-Match": '"99"'}}
    yield _road("a party, too late", "PUT", "/parties/p-9", 412, json=who, **late)
    for path, status in (
        (f"/page/orders?who={quote(name)}", 200),
        (f"/?q={quote(name)}", 200),
        (f"/units/{quote(name)}", 404),
        (f"/parties/{quote(name)}", 404),
        (f"/orders/SO-1?name={quote(name)}", 200),
        (f"/nowhere/{quote(address)}", 404),
    ):
        yield _road(f"an address: {path.partition('?')[0]}", "GET", path, status)
    scan = {"code": barcode(SOLD), "station": "gate", "order": "SO-1", "scanned": True}
    yield _road("a scan with its order", "POST", "/keyed", 200, json=scan)
    typed = {"code": name, "station": "gate"}
    yield _road("a name typed as a code", "POST", "/keyed", 400, json=typed)
    event = {
        "type": "ObjectEvent",
        "eventTime": (datetime.now(UTC) - timedelta(minutes=5)).isoformat(timespec="milliseconds"),
        "eventTimeZoneOffset": "+00:00",
        "epcList": [f"https://id.gs1.org/01/{GTIN}/21/{TOLD}"],
        "action": "OBSERVE",
        "bizStep": "receiving",
        "readPoint": {"id": "urn:epc:id:sgln:9506000.13430.dock"},
        "example:consignee": who,
    }
    yield _road("an event", "POST", "/epcis/capture", 202, json=document(event))
    for what, wrong in (
        ("a refused event", {"eventTime": "2020-01-01T00:00:00Z"}),
        ("a refusal that cites it", {"bizStep": name}),
        ("an event named so", {"bizStep": "cutting", "eventID": f"urn:x:{quote(name)}:{name}"}),
    ):
        yield _road(what, "POST", "/epcis/capture", 202, json=document(event, {**event, **wrong}))
    no_event = {**document(), "type": name}
    yield _road("a document that is none", "POST", "/epcis/capture", 400, json=no_event)
    registered = {"unit": barcode(SOLD), "registrant": who}
    yield _road("a registration", "POST", "/registrations", 201, json=registered)
    claim = {"id": "C-1", "unit": barcode(SOLD), "fault": "does not start"}
    yield _road("a claim", "POST", "/claims", 201, json=claim)
    back = {"rma": "RMA-1", "order": "SO-1", "lines": [{"unit": barcode(SOLD)}]}
    yield _road("a return", "POST", "/returns", 201, json=back)
    hook = {"url": "https://receiver.invalid/", "kinds": ["recalled_at_shipping"]}
    yield _road("who is told of alerts", "PUT", "/webhooks/w-1", 200, json=hook)
    ingest = f"/ingest/v1/generic?reader={READER}"
    read = {"code": barcode("S3"), "customer": who}
    yield _road("a read", "POST", ingest, 200, at_gateway=True, json=read)


def refused_reads(name: str, address: str) -> Iterator[Road]:
    """Reads that the gateway sets aside as they came."""
    ingest = f"/ingest/v1/generic?reader={READER}"
    no_code = {"kode": barcode("S4"), "customer": {"name": name, "address": address}}
    yield _road("a read without a code", "POST", ingest, 200, at_gateway=True, json=no_code)
    label = {"code": f"SHIP TO:\n{name}\n{address}"}
    yield _road("a carrier's label", "POST", ingest, 200, at_gateway=True, json=label)


def _road(
    what: str, method: str, path: str, status: int, *, at_gateway: bool = False, **more: Any
) -> Road:
    return Road(
        what=what, method=method, path=path, status=status, at_gateway=at_gateway, more=more
    )


def _csv(name: str, address: str, quantity: str) -> dict[str, Any]:
    address = address.replace("\n", " ")  # an order is one line of the file
    text = f'order,name,address,product,quantity\nSO-3,"{name}","{address}",{GTIN},{quantity}\n'
    return {"content": text.encode(), "headers": {"Content-Type": "text/csv"}}
