"""docs/scenarios.md against the code: each point, its requests, its tests, its scenario."""

import re
import shlex
from pathlib import Path

import httpx
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from scantrail.api.access import routes_of
from scantrail.api.app import build_api
from scantrail.api.outbox import Outbox
from scantrail.cli import scenarios
from scantrail.infra.settings import Settings

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "scenarios.md").read_text()
#: The text of each point, by its number.
POINTS = {
    int(number): text
    for number, text in re.findall(r"^## (\d+)\. (.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
POINTS_IN_ALL = 11


def commands(text: str) -> list[list[str]]:
    """The words of each curl in a text's fences."""
    fences = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [
        shlex.split(command)
        for fence in fences
        for command in re.findall(r"^curl (?:[^'\n]|'[^']*')*$", fence, re.MULTILINE)
    ]


def test_each_point_has_its_requests_tests_and_scenario() -> None:
    assert list(POINTS) == list(range(1, POINTS_IN_ALL + 1))
    for point, text in POINTS.items():
        assert commands(text), point
        assert "- Test: `tests/" in text, point
        assert "- Demo: " in text, point


@pytest.mark.parametrize("named", re.findall(r"^- Test: `([^`]+)`$", PAGE, re.MULTILINE))
def test_each_test_that_is_named_is_there(named: str) -> None:
    path, _, name = named.partition("::")
    assert re.search(rf"^(?:async )?def {name}\(", (TOP / path).read_text(), re.MULTILINE)


def test_each_scenario_stands_at_its_point() -> None:
    told = {
        (point, name)
        for point, text in POINTS.items()
        for name in re.findall(r"^- Demo: `([a-z_]+)`$", text, re.MULTILINE)
    }
    played = {
        (scenario.point, scenario.play.__module__.rpartition(".")[2])
        for scenario in scenarios.SCENARIOS
    }
    assert told == played


def test_every_request_is_one_that_the_api_takes() -> None:
    engine = create_async_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    settings = Settings()
    app = build_api(engine, Outbox(settings, engine), httpx.AsyncClient(), settings)
    known = [
        (
            method,
            re.compile(re.sub(r"\{[^}]+:path\}", ".+", re.sub(r"\{[^}]+:str\}", "[^/]+", path))),
        )
        for path, handler in routes_of(app)
        for method in handler.http_methods
    ]
    for words in commands(PAGE):
        method = (
            words[words.index("-X") + 1] if "-X" in words else "POST" if "-d" in words else "GET"
        )
        (address,) = [word for word in words if word.startswith(("$api/", "${ingest}"))]
        if address.startswith("$api"):
            path = address.removeprefix("$api").partition("?")[0]
            assert any(m == method and p.fullmatch(path) for m, p in known), (method, path)
