"""The command line."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx

from scantrail import __version__
from scantrail.cli.addresses import page_address
from scantrail.cli.demo import run_demo
from scantrail.cli.demo_plan import UNITS
from scantrail.cli.simulate import simulate
from scantrail.cli.up import run_up
from scantrail.contracts.identity import identify
from scantrail.domain.identifiers import NotIdentified
from scantrail.infra.database import migrate
from scantrail.infra.logs import configure_logging
from scantrail.infra.settings import Settings, SettingsError, load_settings
from scantrail.infra.topic_admin import apply_topics


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exits with its status."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    try:
        settings = load_settings()
        sys.exit(_run(asked, settings))
    except SettingsError as error:
        sys.exit(f"scantrail {asked.command}: {error}")
    except httpx.HTTPError as error:
        sys.exit(f"scantrail {asked.command}: the api does not answer: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scantrail", description="Where every serialised unit is, and who has it."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start everything on this machine, without Docker")
    up.add_argument("--empty", action="store_true", help="without the simulated site")
    demo = commands.add_parser("demo", help="drive 2,000 units through, and check every answer")
    demo.add_argument("--seed", type=int, default=17, help="another seed, another day")
    demo.add_argument("--units", type=int, default=UNITS, help="how many units, 200 or more")
    commands.add_parser("simulate", help="be the devices of the simulated site")
    topics = commands.add_parser("topics", help="the topics in Kafka")
    topics.add_argument("action", choices=["apply"], help="create what is missing")
    db = commands.add_parser("db", help="the query database")
    db.add_argument("action", choices=["migrate"], help="bring it to the newest shape")
    commands.add_parser("config", help="print every setting, secrets hidden")
    name = commands.add_parser("identify", help="say which unit each text names, a JSON line each")
    name.add_argument("text", nargs="+")
    rejected = commands.add_parser("rejected", help="reads and scans that were set aside")
    actions = rejected.add_subparsers(dest="action", required=True)
    shown = actions.add_parser("list", help="print them, a JSON line each")
    again = actions.add_parser("replay", help="send a reader's reads through the gateway again")
    shown.add_argument("--reader", help="only this reader's")
    again.add_argument("--reader", required=True, help="whose reads")
    for action in (shown, again):
        action.add_argument("--reason", help="only those set aside for this reason")
    return parser


def _run(asked: argparse.Namespace, settings: Settings) -> int:
    match asked.command:
        case "up":
            return run_up(settings, empty=asked.empty)
        case "demo":
            if asked.units < 200:
                raise SettingsError(f"--units {asked.units}: give 200 or more")
            cache = Path(settings.data_dir) / "cache"
            return run_demo(settings, seed=asked.seed, units=asked.units, cache=cache)
        case "simulate":
            configure_logging("simulate", settings.log_level)
            asyncio.run(simulate(settings))
        case "topics":
            created = asyncio.run(apply_topics(settings))
            print("\n".join(created) or "all topics are there")
        case "db":
            migrate(settings)
            print("the database has the newest shape")
        case "config":
            for variable, value, meaning in settings.describe():
                print(f"{variable}={value}  # {meaning}")
        case "identify":
            for text in asked.text:
                print(json.dumps(_identified(text), default=str))
        case "rejected":
            return _rejected(asked, settings)
    return 0


def _identified(text: str) -> dict[str, object]:
    try:
        found = identify(text)
    except NotIdentified as error:
        return {"input": text, "error": error.detail, "reason": error.reason}
    return {
        "input": text,
        "key": found.key,
        "scheme": found.scheme,
        "gtin": found.gtin,
        "serial": found.serial,
        "lot": found.lot,
        "expiry": found.expiry,
        "notes": list(found.notes),
    }


def _rejected(asked: argparse.Namespace, settings: Settings) -> int:
    chosen = {
        name: value
        for name, value in (("reader", asked.reader), ("reason", asked.reason))
        if value is not None
    }
    with httpx.Client(base_url=page_address(settings), timeout=60) as api:
        if asked.action == "replay":
            answer = api.post("/rejected/replay", json=chosen)
            print(answer.text)
            return 0 if answer.status_code == 200 and not answer.json()["rejected"] else 1
        after = ""
        while True:
            page = api.get("/rejected", params={**chosen, "after": after, "limit": 1000}).json()
            for row in page["rejected"]:
                print(json.dumps(row))
            if page["next"] is None:
                return 0
            after = page["next"]


if __name__ == "__main__":
    main()
