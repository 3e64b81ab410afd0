"""Known holes from files, for machines that reach no database of them: `make audit ADVISORIES=…`.

    python deploy/advisories.py ADVISORIES COMMAND [ARGUMENT …]

ADVISORIES is a folder, or a zip file, of advisories in the OSV format
(https://ossf.github.io/osv-schema/): the export of OSV for PyPI (`all.zip`), or a checkout of
pypa/advisory-database. The command runs with every `OSV_URL` among its arguments replaced by an
address of this machine that answers it like the `/v1/query` of OSV, as `pip-audit
--vulnerability-service osv --osv-url` asks it. The exit status is the command's; 2 where the
advisories cannot be read.
"""

import json
import subprocess
import sys
import threading
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SUFFIXES = (".json", ".yaml", ".yml")
OLD_AFTER_DAYS = 30
"""Advisories of which the newest is older than this say little of today's holes; it is said."""


class Advisories:
    """What is known of holes, by the package that has them.

    Takes one advisory at least, in the OSV format.
    """

    def __init__(self, advisories: list[dict[str, Any]]) -> None:
        self.count = len(advisories)
        self.newest = max(datetime.fromisoformat(each["modified"]) for each in advisories)
        self._of: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for advisory in advisories:
            for name in {
                canonicalize_name(each["package"]["name"]) for each in _affected(advisory)
            }:
                self._of[name].append(advisory)

    def query(self, name: str, version: str) -> list[dict[str, Any]]:
        """The advisories that hold for this version of this package of PyPI."""
        return [
            advisory
            for advisory in self._of.get(canonicalize_name(name), ())
            if any(
                canonicalize_name(each["package"]["name"]) == canonicalize_name(name)
                and holds(each, Version(version))
                for each in _affected(advisory)
            )
        ]


def _affected(advisory: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in advisory.get("affected", ()) if each["package"]["ecosystem"] == "PyPI"]


def holds(affected: dict[str, Any], version: Version) -> bool:
    """Whether an entry of `affected` names the version, or has it within a range of versions.

    As the OSV schema evaluates it. A version that PEP 440 does not know is none of PyPI's today.
    """
    if any(_version(each) == version for each in affected.get("versions", ())):
        return True
    return any(
        _within(each.get("events", ()), version)
        for each in affected.get("ranges", ())
        if each["type"] == "ECOSYSTEM"
    )


def _within(events: list[dict[str, str]], version: Version) -> bool:
    """Whether the last event at or before the version is `introduced`."""
    marks = [
        (at, what == "last_affected", what)
        for event in events
        for what, text in event.items()
        if (at := Version("0.dev0") if text == "0" else _version(text)) is not None
    ]
    inside = False
    for at, _, what in sorted(marks):
        if what == "introduced" and at <= version:
            inside = True
        elif (what == "fixed" and at <= version) or (what == "last_affected" and at < version):
            inside = False
    return inside


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def read(where: Path) -> Advisories:
    """Every advisory of a folder or a zip file.

    ValueError names the file that is none, or what is missing, and the mend.
    """
    found = []
    for name, content in _files(where):
        try:
            advisory = json.loads(content) if name.endswith(".json") else yaml.load(content, LOADER)
            if isinstance(advisory, dict) and "id" in advisory and "affected" in advisory:
                found.append(_plain(advisory))
                _affected(found[-1])
                datetime.fromisoformat(found[-1]["modified"])
        except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            raise ValueError(f"{name} is no advisory in the OSV format: {error}") from error
    if not found:
        raise ValueError(
            f"{where} has no advisories: give a folder or a zip file of OSV's for PyPI"
        )
    return Advisories(found)


def _plain(advisory: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it: YAML makes dates of what stands without quotes."""
    return json.loads(  # type: ignore[no-any-return]
        json.dumps(advisory, default=lambda moment: moment.isoformat().replace("+00:00", "Z"))
    )


def _files(where: Path) -> Iterator[tuple[str, bytes]]:
    if where.is_dir():
        for path in sorted(where.rglob("*")):
            inside = path.relative_to(where)
            hidden = any(part.startswith(".") for part in inside.parts)
            if path.suffix in SUFFIXES and path.is_file() and not hidden:
                yield str(inside), path.read_bytes()
    elif zipfile.is_zipfile(where):
        with zipfile.ZipFile(where) as archive:
            for name in archive.namelist():
                if name.endswith(SUFFIXES):
                    yield name, archive.read(name)
    else:
        raise ValueError(
            f"{where} is neither a folder nor a zip file: give one with OSV's advisories for PyPI"
        )


def serve(advisories: Advisories) -> ThreadingHTTPServer:
    """Answers POST /v1/query on a free port of the loopback address, until it is shut down."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = advisories.query(asked["package"]["name"], asked["version"])
            body = json.dumps({"vulns": found} if found else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing: the command says what was found."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def told(advisories: Advisories, where: str, now: datetime) -> str:
    """What they are; that they are old is said with the mend."""
    text = f"{advisories.count} advisories of {where}, the newest of {advisories.newest:%Y-%m-%d}"
    age = (now - advisories.newest).days
    if age <= OLD_AFTER_DAYS:
        return text
    return f"{text}: {age} days old, without the holes that were found since: bring newer ones"


def main(arguments: list[str]) -> int:
    where, *command = arguments
    try:
        advisories = read(Path(where))
    except (OSError, ValueError) as error:
        print(f"advisories: {error}", file=sys.stderr)
        return 2
    print(told(advisories, where, datetime.now(UTC)), flush=True)
    server = serve(advisories)
    url = f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    try:
        return subprocess.run(
            [url if each == "OSV_URL" else each for each in command], check=False
        ).returncode
    finally:
        server.shutdown()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
