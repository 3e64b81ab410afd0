"""When the certificates of a process end, as its metrics tell."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from scantrail.infra.certificates import issue, make_authority
from scantrail.infra.child_processes import free_ports
from scantrail.infra.health import Health
from scantrail.infra.process import health_server
from scantrail.infra.settings import Settings


def told(shown_to: str) -> float | None:
    name = "scantrail_certificate_ends_timestamp_seconds"
    return REGISTRY.get_sample_value(name, {"shown_to": shown_to})


def test_a_certificate_that_was_exchanged_is_told_anew_and_a_lost_one_as_ended(
    tmp_path: Path,
) -> None:
    authority = make_authority("test")
    path = tmp_path / "certificate.pem"
    port, health_port = free_ports(2)
    settings = Settings(
        listen_host="127.0.0.1",
        api_port=port,
        api_health_port=health_port,
        tls_certificate=str(path),
    )
    path.write_bytes(issue(authority, "api", ["localhost"], days=3))
    with health_server(settings, "api", Health()):
        for days in (3, 40):
            path.write_bytes(issue(authority, "api", ["localhost"], days=days))
            ends = (datetime.now(UTC) + timedelta(days=days)).timestamp()
            assert told("clients") == pytest.approx(ends, abs=60)
        path.write_text("no certificate")
        assert told("clients") == 0
        path.unlink()
        assert told("clients") == 0
    assert told("kafka") is None
