"""A purchaser is erased from a whole installation: no byte of it has the name or the address."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

import roads
from faults.checker import read_topics
from integration.processes import printed_by
from planted import files_with, found_in
from scantrail.cli.addresses import page_address, private_settings
from scantrail.cli.stack import Stack
from scantrail.contracts.topics import Topic
from scantrail.infra.settings import Settings
from scantrail.tracker.stores import opened_store, store_folders

WAIT_S_MAX = 60.0


@contextmanager
def installation(folder: Path, cache: Path) -> Iterator[Stack]:
    readers = folder / "readers.toml"
    readers.write_text(roads.READERS)
    settings = replace(private_settings(folder / "data", Settings()), readers_file=str(readers))
    with Stack(settings, cache=cache) as stack:
        yield stack


def until(told: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S_MAX
    while not (found := told()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)
    return found


def walked(road: roads.Road, asked: httpx.Client) -> httpx.Response | None:
    """What is answered; None while the shipping that it is about is yet to be written."""
    answer = asked.request(road.method, road.path, **road.more)
    return None if answer.status_code == 409 and "never_shipped" in answer.text else answer


def furnish(api: httpx.Client) -> None:
    for station, step in roads.STATIONS.items():
        body = {
            "site": "north",
            "business_step": step,
            "read_point": f"urn:epc:id:sgln:9506000.13430.{station}",
        }
        api.put(f"/stations/{station}", json=body).raise_for_status()
    recall = {
        "id": "R-1",
        "title": "Battery",
        "reason": "may overheat",
        "products": [roads.GTIN],
        "selectors": [{"kind": "list", "serials": [roads.SOLD]}],
    }
    api.post("/recalls", json=recall).raise_for_status()


@pytest.mark.long
@pytest.mark.alone
def test_an_erased_purchaser_is_in_no_file_and_no_record(tmp_path: Path, stack_cache: Path) -> None:
    # letters beyond ASCII, a quote and a line's end are written down in more than one way
    mark = secrets.token_hex(4)
    name, address = f"Zoë O'Quux-{mark}", f"7 Zyzzyva{mark} Road,\nYork"
    words = [name, f"Quux-{mark}", address, f"Zyzzyva{mark}"]
    planted = words[1::2]
    with installation(tmp_path, stack_cache) as stack:
        with (
            httpx.Client(base_url=page_address(stack.settings), timeout=30) as api,
            httpx.Client(base_url=stack.settings.gateway_url, timeout=30) as gateway,
        ):
            furnish(api)
            first = {"code": roads.barcode(roads.SOLD)}
            ingest = f"/ingest/v1/generic?reader={roads.READER}"
            until(lambda: gateway.post(ingest, json=first).json()["accepted"])
            until(lambda: api.get(f"/units/{roads.barcode(roads.SOLD)}").status_code == 200)
            otherwise = []
            for road in roads.roads(name, address):
                answer = until(lambda road=road: walked(road, gateway if road.at_gateway else api))
                if answer.status_code != road.status:
                    otherwise.append((road.what, answer.status_code, answer.text))
            assert not otherwise, "\n".join(str(each)[:300] for each in otherwise)
            # some wait on the gateway's disk
            assert stack.kafka is not None
            stack.kafka.kill()
            for road in roads.refused_reads(name, address):
                answer = gateway.request(road.method, road.path, **road.more)
                assert answer.status_code == road.status, (road.what, answer.text)
            in_spool = set(files_with(stack.folder / "gateway", planted))
            assert {word for _, word in in_spool} == set(planted), in_spool
            stack.kafka.start()
            sold = f"/units/{roads.barcode(roads.SOLD)}"
            until(lambda: api.get(sold).json()["order"] == "SO-1")
            until(lambda: len(api.get("/rejected").json()["rejected"]) == 2)
            until(lambda: api.get(f"/units/{roads.barcode('S3')}").status_code == 200)
            until(lambda: api.get("/alerts").json()["alerts"])

            # the search finds what is there
            with psycopg.connect(stack.settings.database_url, autocommit=True) as database:
                database.execute("ANALYZE")  # what is in a column most often is kept beside it
                database.execute("CHECKPOINT")
                assert _told(stack, planted, "postgres/data/base") == set(planted)
                query = "SELECT id FROM party WHERE name <> '(erased)' ORDER BY id"
                parties = [row[0] for row in database.execute(query)]
            assert len(parties) == 6, parties
            assert found_in(str(api.get(sold).json()).encode(), planted)
            assert _told(stack, ["SO-1"], "kafka/data"), "brokers' files are searched"

            left = set[str]()
            for party in parties:
                erased = api.delete(f"/parties/{party.replace(' ', '%20')}/personal-data")
                assert erased.status_code == 200, erased.text
                left |= set(erased.json()["still_in"])
            assert left == {"party.name", "party.address", f"topic {Topic.READS_REJECTED.value}"}
            scrubbed = printed_by(stack.settings, "db", "scrub", timeout_s=120)
            assert "log is written anew" in scrubbed

            # the trail stands
            unit = api.get(sold).json()
            assert (unit["order"], unit["purchaser"]["name"]) == ("SO-1", "(erased)")
            trail = api.get(f"{sold}/trail").json()
            assert [scan["business_step"] for scan in trail] == ["receiving", "shipping"]
            assert api.get("/orders/SO-1").json()["lines"] == [
                {"product": roads.GTIN, "quantity": 1}
            ]
            assert not found_in(str(api.get("/rejected").json()).encode(), planted)
            assert api.get("/audit/verify").json()["verifies"] is True

        records = asyncio.run(read_topics(stack.settings, *Topic))
        in_topics = {
            (topic.value, word)
            for topic, each in records.items()
            for record in each
            for part in (record.key, record.value, *(value for _, value in record.headers))
            for word in found_in(part or b"", words)
        }
        assert any(records[topic] for topic in (Topic.MOVEMENTS, Topic.ALERTS, Topic.UNITS))
        in_stores = set[str]()
        stored = 0
        for _, folder in store_folders(stack.folder):
            with opened_store(folder) as store:
                for key, state in store.states if store is not None else ():
                    stored += 1
                    in_stores |= set(found_in(key + state, words))
        assert stored
        settled = stack.folder
    found = set(files_with(settled, words))
    # what the answers told: Kafka keeps what was read and set aside for its time
    rejected = f"kafka/data/{stack.settings.topic_prefix}.{Topic.READS_REJECTED.value}.v1-0/"
    elsewhere = {(path, word) for path, word in found if not path.startswith(rejected)}
    assert not elsewhere, sorted({path for path, _ in elsewhere})
    assert {topic for topic, _ in in_topics} == {Topic.READS_REJECTED.value}
    assert any(path.startswith(rejected) for path, _ in found)
    assert not in_stores


def _told(stack: Stack, words: list[str], place: str) -> set[str]:
    return {word for _, word in files_with(stack.folder / place, words)}
