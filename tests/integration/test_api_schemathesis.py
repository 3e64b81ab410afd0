"""Whatever fits the API's description, and much that does not, against the real thing."""

import asyncio
from typing import TYPE_CHECKING

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

if TYPE_CHECKING:
    from integration.conftest import Site

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

#: Of each route, of each kind: bodies and parameters that fit, and such that do not.
CASES = 3

STATION = {"site": "north", "business_step": "receiving"}
RECALL = {
    "title": "Battery",
    "reason": "may overheat",
    "selectors": [{"kind": "prefix", "prefix": "A"}],
}

#: What is there, so that not all that is read is 404.
ENTERED = {
    "/stations/dock-1": STATION,
    "/products/PUMP-7": {"name": "Pump"},
    "/recalls/R-1": RECALL,
    "/orders/4711": {"purchaser": {"name": "Ada", "address": "1 Dock Road"}},
    "/holds/sn:PUMP-7.1/check": {"text": "seal broken"},
    "/identifiers": {"ids": ["sn:PUMP-7.1", "sn:PUMP-7.2"]},
}


async def test_what_the_api_answers_is_as_it_is_described(site: "Site") -> None:
    await site.start("gateway")
    await site.start("api")
    for path, body in ENTERED.items():
        answer = await site.ask("PUT", path, json=body)
        assert answer.status_code == 200, answer.text
    asked = await asyncio.to_thread(_ask_all, f"http://127.0.0.1:{site.settings.api_port}")
    described = (await site.ask("GET", "/schema/openapi.json")).json()["paths"]
    assert len(asked) == sum(len(operations) for operations in described.values())
    assert sum(asked.values()) >= 2 * len(asked)
    assert (await site.ask("GET", "/audit/verify")).json()["verifies"]


def _ask_all(address: str) -> dict[str, int]:
    """Ask every route; how many cases each had. Raises schemathesis' failures."""
    schema = schemathesis.openapi.from_url(f"{address}/schema/openapi.json")
    asked: dict[str, int] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:
            try:
                _ask(operation, mode, asked)
            except Unsatisfiable:  # where any text will do, nothing is wrong
                assert mode is GenerationMode.NEGATIVE, operation.label
    return asked


def _ask(operation: schemathesis.APIOperation, mode: GenerationMode, asked: dict[str, int]) -> None:
    @hypothesis.settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def each(case: schemathesis.Case) -> None:
        asked[operation.label] = asked.get(operation.label, 0) + 1
        case.call_and_validate(checks=CHECKS)

    each()
