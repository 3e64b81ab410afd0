"""Readers that prove who they are by a certificate, at the gateway's own port."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from component.fake_outlet import FakeOutlet
from scantrail.gateway.guards import Guards
from scantrail.gateway.http import build_http
from scantrail.gateway.intake import Intake
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.scans import Known
from scantrail.infra.certificates import issue, make_authority
from scantrail.infra.child_processes import free_ports
from scantrail.infra.credentials import client_context, server_context
from scantrail.infra.tokens import new_token
from scantrail.infra.web import serve_http

HOST = "127.0.0.1"
TOKEN, DIGEST = new_token()
READERS = {
    "plain": ReaderSettings(id="plain", station="dock-1", protocol="http-generic"),
    "both": ReaderSettings(
        id="both", station="dock-1", protocol="http-generic", token_sha256=(DIGEST,)
    ),
}


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where it is, and certificates of readers by their id."""

    url: str
    trusted: str
    folder: Path

    async def send(self, reader: str, certificate: str, token: str = "") -> httpx.Response:
        path = str(self.folder / f"{certificate}.pem") if certificate else ""
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        context = client_context("X", self.trusted, path)
        async with httpx.AsyncClient(verify=context, headers=shown) as client:
            return await client.post(self.url, params={"reader": reader}, json={"barcode": "x"})


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    authority, foreign = make_authority("test"), make_authority("foreign")
    signed = {"gateway": authority, "plain": authority, "both": authority, "stolen": foreign}
    for name, by in signed.items():
        (tmp_path / f"{name}.pem").write_bytes(issue(by, name, [HOST]))
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.certificate)
    guards = Guards(READERS, is_required=True)
    app: Any = build_http(Intake("test", Known(READERS, {}), FakeOutlet()), guards)
    (port,) = free_ports(1)
    listening = asyncio.Event()
    tls = server_context("X", str(tmp_path / "gateway.pem"), str(trusted))
    serving = asyncio.create_task(serve_http(app, HOST, port, tls=tls, listening=listening.set))
    await listening.wait()
    yield Gateway(f"https://{HOST}:{port}/ingest/v1/generic", str(trusted), tmp_path)
    serving.cancel()
    await asyncio.wait({serving})


async def test_a_certificate_says_which_reader_it_is(gateway: Gateway) -> None:
    assert (await gateway.send("plain", "plain")).status_code == 200


async def test_a_reader_cannot_send_as_another(gateway: Gateway) -> None:
    answer = await gateway.send("both", "plain")
    assert (answer.status_code, answer.json()["reason"]) == (403, "bad_certificate")
    assert answer.json()["detail"] == (
        "the certificate is made out to 'plain', not to reader 'both'"
    )


async def test_a_reader_that_has_a_token_too_needs_both(gateway: Gateway) -> None:
    assert (await gateway.send("both", "both")).status_code == 401
    assert (await gateway.send("both", "both", TOKEN)).status_code == 200


@pytest.mark.parametrize("certificate", ["", "stolen"])
async def test_nobody_is_heard_without_a_certificate_of_theirs(
    gateway: Gateway, certificate: str
) -> None:
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        await gateway.send("plain", certificate, TOKEN)
