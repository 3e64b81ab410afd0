"""Webhooks: who wants what, signatures, and the time between attempts."""

import pytest

from scantrail.domain.webhook import (
    BACKOFF_S_MAX,
    Webhook,
    backoff_s,
    make_secret,
    message_id,
    secret_bytes,
    sign,
)

#: The example that Standard Webhooks gives for its signature.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_a_signature_is_that_of_standard_webhooks() -> None:
    signed = sign(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("change", ["id", "time", "body", "secret"])
def test_each_part_is_signed(change: str) -> None:
    other = {"id": "m-2", "time": 2, "body": b"{ }", "secret": make_secret(b"x" * 24)}[change]
    parts = {"secret": SECRET, "id": "m-1", "time": 1, "body": b"{}"}
    changed = {**parts, change: other}
    first, second = (sign(p["secret"], p["id"], p["time"], p["body"]) for p in (parts, changed))  # type: ignore[arg-type]
    assert first != second


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_%%", make_secret(b"x" * 23), make_secret(b"x" * 65), "x" * 40]
)
def test_what_is_no_secret(secret: str) -> None:
    with pytest.raises(ValueError, match="not"):
        secret_bytes(secret)


@pytest.mark.parametrize(
    ("kinds", "least", "kind", "severity", "wanted"),
    [
        ((), "info", "out_of_sequence", "info", True),
        (("out_of_sequence",), "info", "out_of_sequence", "warning", True),
        (("out_of_sequence",), "info", "duplicate_serial", "critical", False),
        ((), "warning", "out_of_sequence", "info", False),
        ((), "critical", "out_of_sequence", "warning", False),
        ((), "critical", "out_of_sequence", "critical", True),
        ((), "critical", "out_of_sequence", "fatal", True),  # unknown: rather told than not
    ],
)
def test_who_wants_what(
    kinds: tuple[str, ...], least: str, kind: str, severity: str, wanted: bool
) -> None:
    assert Webhook(id="w", kinds=kinds, min_severity=least).wants(kind, severity) is wanted


def test_an_alert_that_is_open_again_is_other_news() -> None:
    assert message_id("a", "open", 1) != message_id("a", "open", 3)


def test_attempts_come_at_doubling_distances_and_not_all_at_once() -> None:
    assert [backoff_s(n, 5.0, 1.0) for n in (1, 2, 3)] == [5.0, 10.0, 20.0]
    assert [backoff_s(n, 5.0, 0.0) for n in (1, 2, 3)] == [2.5, 5.0, 10.0]
    assert backoff_s(10_000, 5.0, 1.0) == BACKOFF_S_MAX
