"""The commands of the command line."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import httpx
from aiokafka.errors import KafkaError
from sqlalchemy.exc import SQLAlchemyError

from scantrail import __version__
from scantrail.api.access import Role
from scantrail.api.taking_over import CannotTakeOver, take_over
from scantrail.cli.addresses import api_headers, page_address
from scantrail.cli.check import CHECK_HELP, CannotCheck, check
from scantrail.cli.decode import CannotDecode, bytes_of_hex, print_decoded, reader_of
from scantrail.cli.demo import run_demo
from scantrail.cli.demo_plan import UNITS
from scantrail.cli.folder_lock import settings_in_force
from scantrail.cli.folding import FoldedByApi
from scantrail.cli.months import MONTHS_HELP, keep_months
from scantrail.cli.rebuild import REBUILD_HELP, told_of_rebuild
from scantrail.cli.recall_match import CannotMatch, load_notices, match_lines
from scantrail.cli.refold import refold_unit, told_of_refold
from scantrail.cli.rejected import (
    Refused,
    list_rejected,
    replay_rejected,
    show_rejected,
)
from scantrail.cli.scrub import SCRUB_HELP, scrub
from scantrail.cli.secrets_command import SECRETS_HELP, add_secrets, run_secrets
from scantrail.cli.simulate import simulate
from scantrail.cli.stock import enter_stock
from scantrail.cli.taking_over import TAKE_OVER_HELP, told_of_take_over
from scantrail.cli.tokens import (
    TokenRefused,
    list_people,
    make_person,
    revoke_person,
    verify_audit,
)
from scantrail.cli.up import run_up
from scantrail.contracts.identity import identify
from scantrail.domain.identifiers import NotIdentified
from scantrail.domain.refolding import CannotRefold
from scantrail.gateway.readers_file import ReaderSettingsError
from scantrail.infra.credentials import https_checks
from scantrail.infra.database import migrate
from scantrail.infra.database_roles import apply_roles
from scantrail.infra.logs import configure_logging
from scantrail.infra.months import CannotThin
from scantrail.infra.rights import ROLES, role_of
from scantrail.infra.settings import Settings, SettingsError, load_settings
from scantrail.infra.tokens import new_token
from scantrail.infra.topic_admin import apply_topics, topic_faults
from scantrail.projector.rebuilding import CannotRebuild, rebuild_database

#: These start an installation of their own; the others speak to the one that runs here, if any.
_STARTING = ("up", "demo")


def run(arguments: Sequence[str] | None) -> int | str:
    """Run one command: its exit status, or the sentence that says why it could not be run."""
    asked = _parser().parse_args(arguments)
    try:
        return _run(asked)
    except (
        SettingsError,
        Refused,
        TokenRefused,
        CannotCheck,
        CannotRefold,
        CannotRebuild,
        CannotTakeOver,
        CannotThin,
        CannotDecode,
        CannotMatch,
        ReaderSettingsError,
    ) as error:
        return f"scantrail {asked.command}: {error}"
    except NotIdentified as error:
        return f"scantrail {asked.command}: {error.detail}"
    except httpx.HTTPError as error:
        return f"scantrail {asked.command}: the api does not answer: {error}"
    except SQLAlchemyError as error:
        return f"scantrail {asked.command}: PostgreSQL refuses: {str(error).splitlines()[0]}"
    except KafkaError as error:
        return f"scantrail {asked.command}: Kafka refuses: {error}"
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scantrail", description="Where every serialised unit is, and who has it."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start everything on this machine, without Docker")
    up.add_argument("--empty", action="store_true", help="without the simulated site")
    up.add_argument(
        "--secure",
        action="store_true",
        help="with TLS, a password and the least rights for each process, and tokens",
    )
    demo = commands.add_parser("demo", help="drive 2,000 units through, and check every answer")
    demo.add_argument("--seed", type=int, default=17, help="another seed, another day")
    demo.add_argument("--secure", action="store_true", help="as `scantrail up --secure`")
    demo.add_argument("--units", type=int, default=UNITS, help="how many units, 200 or more")
    commands.add_parser("simulate", help="be the devices of the simulated site")
    topics = commands.add_parser("topics", help="the topics in Kafka")
    topics.add_argument(
        "action",
        choices=["apply", "check"],
        help="create what is missing, or say what is not as it must be",
    )
    db = commands.add_parser("db", help="the query database")
    shapes = db.add_subparsers(dest="action", required=True)
    shapes.add_parser("migrate", help="bring it to the newest shape")
    shapes.add_parser(
        "months",
        help="make the months to come of the history, and remove what may go of old ones",
        description=MONTHS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shapes.add_parser("roles", help="give the processes' roles their rights, and no other")
    shapes.add_parser(
        "rebuild",
        help="make the rows that come from topics anew, and exchange them",
        description=REBUILD_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shapes.add_parser(
        "take-over",
        help="after PostgreSQL alone was restored: take over from Kafka what people entered since",
        description=TAKE_OVER_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shapes.add_parser(
        "scrub",
        help="let PostgreSQL's files go of what was erased",
        description=SCRUB_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    config = commands.add_parser(
        "config", help="print every setting as it is in force here, secrets hidden"
    )
    config.add_argument("name", nargs="?", help="only the value of this one, secret or not")
    _add_tokens(commands.add_parser("token", help="tokens: of a reader over HTTP, or of people"))
    add_secrets(
        commands.add_parser(
            "secrets",
            help="passwords, certificates and rights of processes",
            description=SECRETS_HELP,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    audit = commands.add_parser("audit", help="who changed what")
    audit.add_argument("action", choices=["verify"], help="check the chain of hashes")
    name = commands.add_parser("identify", help="say which unit each text names, a JSON line each")
    name.add_argument("text", nargs="+")
    decode = commands.add_parser(
        "decode", help="say what a reader's bytes from standard input mean, a JSON line each"
    )
    decode.add_argument("--reader", required=True, type=Path, help="the readers' file")
    decode.add_argument("--id", required=True, help="whose bytes they are, by that file")
    decode.add_argument("--hex", action="store_true", help="standard input is hex digits")
    recall = commands.add_parser("recall", help="which units a recall means")
    asked = recall.add_subparsers(dest="action", required=True).add_parser(
        "match", help="decide about units from standard input, a JSON line each"
    )
    asked.add_argument("file", type=Path, help="the notice, or a list of them, as JSON")
    checked = commands.add_parser(
        "check",
        help="compare what the tracker, its changelog and the database say of each unit",
        description=CHECK_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    checked.add_argument(
        "--history", action="store_true", help="each movement too: some minutes for each million"
    )
    again = commands.add_parser(
        "refold", help="fold a unit anew from its whole history, with what came too late"
    )
    again.add_argument("unit", help="any spelling of its identifier")
    stock = commands.add_parser("stock", help="enter what was on site before anything was scanned")
    stock.add_argument(
        "file", type=Path, help="CSV: code, or product and serial; location, lot, produced_on"
    )
    stock.add_argument("--station", required=True, help="one with business step stock_taking")
    stock.add_argument("--batch", help="under this name no line is taken twice; the file's name")
    stock.add_argument("--at", type=_time, help="when the units were there; the file's own time")
    stock.add_argument("--json", action="store_true", help="as JSON")
    rejected = commands.add_parser("rejected", help="reads and scans that were set aside")
    actions = rejected.add_subparsers(dest="action", required=True)
    shown = actions.add_parser("list", help="print them")
    one = actions.add_parser("show", help="print one of them, whole")
    one.add_argument("id", help="as it is listed")
    one.add_argument("--json", action="store_true", help="as JSON, whoever reads it")
    replayed = actions.add_parser("replay", help="send a reader's reads through the gateway again")
    shown.add_argument("--reader", help="only this reader's")
    replayed.add_argument("--reader", required=True, help="whose reads")
    for action in (shown, replayed):
        action.add_argument("--reason", help="only those set aside for this reason")
        action.add_argument("--json", action="store_true", help="as JSON, whoever reads it")
    return parser


def _add_tokens(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action")
    actions.add_parser("reader", help="make one for a reader over HTTP, and its digest (default)")
    person = actions.add_parser("person", help="make one with which a person asks the api")
    person.add_argument("id", help="a reference to the person, not a name: it stands in the audit")
    roles = [role.value for role in Role if role is not Role.PUBLIC]
    person.add_argument("--role", required=True, choices=roles)
    person.add_argument("--site", action="append", default=[], help="may change only this one")
    actions.add_parser("list", help="whose tokens there are")
    actions.add_parser("revoke", help="let one count no more").add_argument("id")


def _run(asked: argparse.Namespace) -> int:
    if asked.command == "decode":  # needs nothing that runs, and no settings
        reader = reader_of(asked.reader, asked.id)
        data = sys.stdin.buffer.read()
        return print_decoded(reader, bytes_of_hex(data) if asked.hex else data)
    if asked.command == "recall":  # nor does this
        return match_lines(load_notices(asked.file), sys.stdin.buffer, sys.stdout)
    settings = load_settings()
    running = None
    if asked.command not in _STARTING:
        running = settings_in_force(Path(settings.data_dir))
        if running is not None:  # what is set in this terminal wins
            settings = load_settings(running.environ() | os.environ)
    match asked.command:
        case "up":
            return run_up(settings, empty=asked.empty, secure=asked.secure)
        case "demo":
            if asked.units < 200:
                raise SettingsError(f"--units {asked.units}: give 200 or more")
            cache = Path(settings.data_dir) / "cache"
            return run_demo(
                settings, seed=asked.seed, units=asked.units, cache=cache, secure=asked.secure
            )
        case "simulate":
            configure_logging("simulate", settings.log_level)
            asyncio.run(simulate(settings))
        case "topics" if asked.action == "check":
            faults = asyncio.run(topic_faults(settings))
            print("\n".join(faults) or "all topics are as they must be")
            return 1 if faults else 0
        case "topics":
            created = asyncio.run(apply_topics(settings))
            print("\n".join(created) or "all topics are there")
        case "db" if asked.action == "rebuild":
            say = partial(print, flush=True)
            print(told_of_rebuild(asyncio.run(rebuild_database(settings, say))))
        case "db" if asked.action == "months":
            keep_months(settings, partial(print, flush=True))
        case "db" if asked.action == "roles":
            apply_roles(settings, {})
            print("roles have their rights: " + ", ".join(map(role_of, ROLES)))
        case "db" if asked.action == "take-over":
            say = partial(print, file=sys.stderr, flush=True)
            taken = asyncio.run(take_over(settings, say))
            print(told_of_take_over(taken))
            return 1 if taken.unreadable else 0
        case "db" if asked.action == "scrub":
            return scrub(settings, partial(print, flush=True))
        case "db":
            migrate(settings)
            print("the database has the newest shape")
        case "config":
            _print_config(settings, asked.name, runs_here=running is not None)
        case "token" if asked.action == "person":
            print(make_person(settings, asked.id, asked.role, asked.site))
        case "token" if asked.action == "revoke":
            print(revoke_person(settings, asked.id))
        case "token" if asked.action == "list":
            print(list_people(settings))
        case "secrets":
            run_secrets(asked, settings, partial(print, flush=True))
        case "audit":
            status, told = verify_audit(settings)
            print(told)
            return status
        case "token":
            token, digest = new_token()
            print(f"the reader sends:       Authorization: Bearer {token}")
            print(f'its [[reader]] table:   token_sha256 = "{digest}"')
        case "identify":
            with _api(settings, timeout=5) as api:
                folded = FoldedByApi(api)
                for text in asked.text:
                    print(json.dumps(_identified(text, folded), default=str))
        case "check":
            say = partial(print, file=sys.stderr, flush=True)
            done = asyncio.run(check(settings, say, history=asked.history))
            print(done.told())
            return 1 if done.differences else 0
        case "refold":
            key = identify(asked.unit).key
            print(told_of_refold(asyncio.run(refold_unit(settings, key))))
        case "stock":
            with _api(settings, timeout=120) as api:
                return enter_stock(
                    api,
                    asked.file,
                    station=asked.station,
                    batch=asked.batch,
                    at=asked.at,
                    as_json=asked.json,
                )
        case "rejected":
            work = replay_rejected if asked.action == "replay" else list_rejected
            is_read = asked.action in ("list", "show")
            as_json = asked.json or (is_read and not sys.stdout.isatty())
            with _api(settings, timeout=60) as api:
                if asked.action == "show":
                    return show_rejected(api, asked.id, as_json=as_json)
                return work(api, reader=asked.reader, reason=asked.reason, as_json=as_json)
    return 0


def _api(settings: Settings, *, timeout: float) -> httpx.Client:
    return httpx.Client(
        base_url=page_address(settings),
        timeout=timeout,
        headers=api_headers(settings),
        verify=https_checks(settings),
    )


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise argparse.ArgumentTypeError("end the time in Z or an offset such as +01:00")
    return at


def _print_config(settings: Settings, name: str | None, *, runs_here: bool) -> None:
    if not runs_here:
        told = f"nothing runs in {settings.data_dir}; it will choose addresses of its own"
        print(f"scantrail config: {told}", file=sys.stderr)
    if name is not None:
        print(settings.value(name))
        return
    if runs_here:
        print(f"# Scantrail runs here; its data are in {settings.data_dir}")
    for variable, value, meaning in settings.describe():
        print(f"{variable}={value}  # {meaning}")


def _identified(text: str, folded: FoldedByApi) -> dict[str, object]:
    try:
        found = folded(identify(text))
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
        "production": found.production,
        "notes": list(found.notes),
    }
