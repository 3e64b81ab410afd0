"""How many pages may listen for news at once."""

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from scantrail.api.pages import live as of_pages
from scantrail.api.pages.live import Live, build_live
from scantrail.api.problems import Problem, answer_problem
from scantrail.infra.database import connect_database
from scantrail.infra.settings import Settings


async def test_one_page_too_many_is_told_to_come_later_and_another_may_once_one_went(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(of_pages, "LISTENERS_MAX", 2)
    settings = Settings(database_url="postgresql://nobody@127.0.0.1:9/none")
    engine = connect_database(settings)  # which is not asked
    live = Live(settings, engine)
    app = Litestar(build_live(live), exception_handlers={Problem: answer_problem})
    pages = [live.events() for _ in range(2)]
    for page in pages:
        assert (await anext(page)).event == "open"
    async with AsyncTestClient(app) as client:
        answer = await client.get("/page/live")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert "2 pages" in answer.json()["detail"]
    await pages[0].aclose()
    assert not live.is_full
    await pages[1].aclose()
    await engine.dispose()
