"""`scantrail secrets`: passwords, certificates and rights, of what runs here or elsewhere."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from scantrail.cli.rotating import KINDS, Rotation
from scantrail.cli.secured import Secured, secrets_folder
from scantrail.infra.credentials import run_clients
from scantrail.infra.database import migrate
from scantrail.infra.keyring import FOLDERS, Keyring, keep
from scantrail.infra.settings import Settings, SettingsError
from scantrail.infra.topic_admin import apply_topics

SECRETS_HELP = """\
make writes a folder of passwords and certificates, and leaves what is there as it is.
apply gives Kafka's principals and PostgreSQL's roles their passwords and rights, no others, and
makes topics and tables. rotate exchanges passwords, certificates or the authority that signs them
while everything runs. docs/security.md says who has what, docs/operations.md when to rotate."""


def add_secrets(parser: argparse.ArgumentParser) -> None:
    """The actions and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True)
    made = actions.add_parser("make", help="write passwords and certificates that are missing")
    made.add_argument("folder", type=Path)
    made.add_argument("--host", action="append", default=[], help="certificates are for it too")
    made.add_argument("--listeners", help="of Kafka's brokers, commas between")
    made.add_argument(
        "--quorum", help="the one of them on which several controllers elect their leader"
    )
    made.add_argument(
        "--readers", type=Path, help="a readers' file, copied to the gateway's with a token each"
    )
    made.add_argument(
        "--owner",
        action="append",
        default=[],
        metavar="NAME=USER:GROUP",
        help="whose numbers read the folder of NAME",
    )
    applied = actions.add_parser("apply", help="make principals, roles, rights, topics, tables")
    applied.add_argument("folder", type=Path)
    rotated = actions.add_parser("rotate", help="exchange them while everything runs")
    rotated.add_argument("kind", choices=KINDS)
    rotated.add_argument("folder", type=Path, nargs="?", help="that of what runs here")


def run_secrets(asked: argparse.Namespace, settings: Settings, say: Callable[[str], None]) -> None:
    """Raises SettingsError."""
    if asked.action == "make":
        make_secrets(
            asked.folder, asked.host, asked.listeners, asked.quorum, asked.owner, asked.readers
        )
        say(f"the secrets are in {asked.folder}")
    elif asked.action == "apply":
        apply_secrets(settings, _there(asked.folder), say)
    else:
        folder = asked.folder or secrets_folder(settings.data_dir)
        Rotation(settings, _there(folder).keyring, say).rotate(asked.kind)


def make_secrets(
    folder: Path,
    hosts: Sequence[str],
    listeners: str | None,
    quorum: str | None,
    owners: Sequence[str],
    readers: Path | None,
) -> None:
    """Write what is missing; with `listeners` also what containers are told, and with `readers`
    that file for the gateway, with a token for each over HTTP."""
    named = listeners.split(",") if listeners else []
    if quorum is not None and quorum not in named:
        raise SettingsError(f"--quorum {quorum}: give one of those of --listeners")
    keyring = Keyring(folder.absolute(), hosts)
    try:
        for owner in owners:
            _give(keyring.folder, owner)
        if named:
            keyring.make_for_containers(named, quorum)
        else:
            keyring.make()
        if readers:
            told = Secured(keyring.folder).readers(readers.read_text())
            keep(keyring.folder / "gateway" / "readers.toml", told)
    except OSError as error:
        raise SettingsError(f"{error.filename}: {error.strerror}: give another folder") from error


def apply_secrets(settings: Settings, secured: Secured, say: Callable[[str], None]) -> None:
    """All that is made in Kafka and PostgreSQL; `settings` have the addresses of both, and the
    owner of the tables."""
    admin = secured.owner(settings)
    secured.open_kafka()
    say("Kafka's principals have their passwords and rights")
    created = run_clients(apply_topics(admin))
    say(f"topics are there ({len(created)} new)")
    migrate(admin)
    secured.open_database(admin)
    say("tables are there, and PostgreSQL's roles have their passwords and rights")


def _there(folder: Path) -> Secured:
    if not (folder / "authority.key").exists():
        raise SettingsError(
            f"{folder} has no secrets: `scantrail up --secure` or `scantrail secrets make` makes"
            " them"
        )
    return Secured(folder.absolute())


def _give(folder: Path, owner: str) -> None:
    name, _, numbers = owner.partition("=")
    user, _, group = numbers.partition(":")
    if name not in FOLDERS or not (user.isdecimal() and group.isdecimal()):
        raise SettingsError(
            f"--owner {owner}: give NAME=USER:GROUP with numbers; NAME is one of"
            f" {', '.join(FOLDERS)}"
        )
    (folder / name).mkdir(parents=True, exist_ok=True)
    os.chown(folder / name, int(user), int(group))
