"""What the pages say, against the code: settings, metrics, links.

`python tests/unit/test_docs.py` writes the tables of docs/settings.md and docs/metrics.md anew.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram

from scantrail.infra import metrics
from scantrail.infra.settings import ENV_PREFIX, Settings

TOP = Path(__file__).parents[2]
MEND = "write the tables anew: .venv/bin/python tests/unit/test_docs.py"

#: Hosts are the business of pip's and Docker's own configuration. In parts: not named here either.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pypi", "python", "org"),
        ("files", "pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("repo1", "maven", "org"),
        ("repo", "maven", "apache", "org"),
        ("proxy", "golang", "org"),
        ("crates", "io"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("quay", "io"),
    )
)

_NOT_OURS = {"__pycache__", "dist", "node_modules"}
_TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def settings_table() -> str:
    """Every setting, its default, its meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for f in fields(Settings):
        meaning = f.metadata["meaning"]
        choices = f.metadata["choices"]
        if choices:
            meaning += f" ({', '.join(choices)})"
        if f.metadata["secret"]:
            meaning += "; hidden where settings are shown"
        default = f"`{f.default}`" if f.default != "" else "none"
        rows.append(f"| `{ENV_PREFIX}{f.name.upper()}` | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def metrics_table() -> str:
    """Every metric, its type, its labels, its meaning."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for collector in vars(metrics).values():
        if not isinstance(collector, Counter | Gauge | Histogram):
            continue
        [described] = collector.describe()
        name = described.name + ("_total" if isinstance(collector, Counter) else "")
        labels = ", ".join(f"`{label}`" for label in collector._labelnames)
        rows.append(f"| `{name}` | {described.type} | {labels} | {described.documentation} |")
    return "\n".join(rows) + "\n"


TABLES = {"docs/settings.md": settings_table, "docs/metrics.md": metrics_table}


def project_files() -> Iterator[Path]:
    """What belongs to the project: not what was installed, cached or made by running it."""
    for folder, folders, names in os.walk(TOP):
        folders[:] = [f for f in folders if f == ".ci" or not (f.startswith(".") or f in _NOT_OURS)]
        yield from (Path(folder, name) for name in names)


PAGES = sorted(path for path in project_files() if path.suffix == ".md")


@pytest.mark.parametrize("page", TABLES)
def test_the_table_is_that_of_the_code(page: str) -> None:
    found = _TABLE.search((TOP / page).read_text())
    assert found is not None, f"{page} has no table: {MEND}"
    assert found[0].splitlines() == TABLES[page]().splitlines(), f"{page} is old: {MEND}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = _FENCE.sub("", page.read_text())
    targets = [link.partition("#")[0] for link in _LINK.findall(text) if "://" not in link]
    lost = [target for target in targets if target and not (page.parent / target).exists()]
    assert lost == [], f"{page.relative_to(TOP)}: mend or remove these links"


def test_the_pages_name_only_settings_and_metrics_that_are_there() -> None:
    known = {ENV_PREFIX + f.name.upper() for f in fields(Settings)} | {ENV_PREFIX + "CONFIG"}
    table = metrics_table()
    for page in PAGES:
        text = page.read_text()
        assert set(re.findall(r"SCANTRAIL_[A-Z_]+[A-Z]", text)) <= known, page
        for name in re.findall(r"`(scantrail_[a-z_]+)[`{]", text):
            assert f"`{name}`" in table, f"{page.relative_to(TOP)}: there is no metric {name}"


def test_no_file_names_a_package_registry() -> None:
    named = []
    for path in project_files():
        text = path.read_bytes().decode("utf-8", "replace").lower()
        named += [f"{path.relative_to(TOP)}: {host}" for host in REGISTRY_HOSTS if host in text]
    assert named == []


def write_tables() -> None:
    for page, table in TABLES.items():
        text = (TOP / page).read_text()
        found = _TABLE.search(text)
        assert found is not None, f"{page} has no table"
        (TOP / page).write_text(text[: found.start()] + table() + text[found.end() :])


if __name__ == "__main__":
    write_tables()
