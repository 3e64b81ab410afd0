"""Who is let in as which reader, and how much it may send."""

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from scantrail.gateway.app import _readers
from scantrail.gateway.guards import BURST_S, Guards
from scantrail.gateway.readers import ReaderSettings
from scantrail.infra.settings import Settings
from scantrail.infra.tokens import new_token

TOKEN, DIGEST = new_token()
NEXT, NEXT_DIGEST = new_token()


def reader(name: str, **settings: object) -> ReaderSettings:
    return ReaderSettings(id=name, station="dock", protocol="http-generic", **settings)  # type: ignore[arg-type]


READERS = {
    "open": reader("open"),
    "closed": reader("closed", token_sha256=(DIGEST, NEXT_DIGEST)),
    "other": reader("other", token_sha256=(new_token()[1],)),
}


def basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


@pytest.mark.parametrize(
    ("reader_id", "shown", "is_let_in"),
    [
        ("open", None, True),
        ("open", "Bearer anything", True),
        ("nobody", None, True),
        ("closed", f"Bearer {TOKEN}", True),
        ("closed", f"bearer  {TOKEN} ", True),
        ("closed", f"Bearer {NEXT}", True),
        ("closed", basic("closed", TOKEN), True),
        ("closed", None, False),
        ("closed", "", False),
        ("closed", TOKEN, False),
        ("closed", "Bearer", False),
        ("closed", f"Bearer {DIGEST}", False),
        ("closed", f"Bearer {TOKEN[:-1]}", False),
        ("closed", "Bearer \udcff", False),
        ("closed", basic("other", TOKEN), False),
        ("closed", "Basic %%%", False),
        ("closed", f"Basic {base64.b64encode(bytes([255])).decode()}", False),
        ("other", f"Bearer {TOKEN}", False),
    ],
    # The tokens are new each time, and all workers of a run must know a test by the same name.
    ids=[
        *("open", "open-with-any", "unknown", "token", "small-letters", "next-token", "basic"),
        *("nothing", "empty", "no-scheme", "no-token", "digest", "cut", "not-ascii"),
        *("basic-of-another", "basic-not-base64", "basic-not-utf8", "token-of-another"),
    ],
)
def test_a_reader_is_who_its_token_says(reader_id: str, shown: str | None, is_let_in: bool) -> None:
    assert Guards(READERS).lets_in(reader_id, shown) is is_let_in


def test_where_tokens_are_required_nobody_is_let_in_without() -> None:
    guards = Guards(READERS, is_required=True)
    shown = {name: guards.lets_in(name, f"Bearer {TOKEN}") for name in (*READERS, "nobody")}
    assert shown == {"open": False, "closed": True, "other": False, "nobody": False}


def test_a_reader_waits_once_it_has_sent_more_than_its_rate_and_a_burst() -> None:
    now = 1000.0
    readers = {"fast": reader("fast"), "slow": reader("slow", reads_per_s_max=20)}
    guards = Guards(readers, now=lambda: now)
    guards.count("fast", 1_000_000)
    assert guards.wait_s("fast") == 0
    guards.count("slow", int(20 * BURST_S))
    assert guards.wait_s("slow") == 0
    guards.count("slow", 50)
    assert guards.wait_s("slow") == pytest.approx(2.5)
    now += 2
    assert guards.wait_s("slow") == pytest.approx(0.5)
    now += 1000
    guards.count("slow", int(20 * BURST_S) + 20)
    assert guards.wait_s("slow") == pytest.approx(1), "what was not sent is not saved up for ever"
    assert guards.wait_s("nobody") == 0


def test_where_tokens_are_required_a_gateway_does_not_start_without_them(tmp_path: Path) -> None:
    path = tmp_path / "readers.toml"
    table = '[[reader]]\nid = "gate"\nstation = "gate"\nprotocol = "http-impinj"\n'
    path.write_text(table)
    settings = Settings(readers_file=str(path), reader_tokens="required")
    for readers_file in (str(path), ""):
        with pytest.raises(SystemExit, match="needs SCANTRAIL_SERVICE_TOKEN too"):
            _readers(replace(settings, readers_file=readers_file))
    settings = replace(settings, service_token="s3cret")
    with pytest.raises(SystemExit, match=r"reader 'gate' has no\n? *token_sha256"):
        _readers(settings)
    certified = replace(settings, tls_client_ca="ca.pem")
    assert list(_readers(certified)) == ["gate"], "a certificate says who it is"
    path.write_text(f'{table}token_sha256 = "{DIGEST}"')
    assert list(_readers(settings)) == ["gate"]
