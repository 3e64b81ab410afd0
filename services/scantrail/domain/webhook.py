"""Webhooks: who is told of which alerts, how a message is signed, and when it is sent again."""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

#: From the least urgent to the most.
SEVERITIES = ("info", "warning", "critical")

#: A secret is written so, as Standard Webhooks has it: this, and base64 of 24 to 64 bytes.
SECRET_PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)

#: Seconds between two attempts, at most.
BACKOFF_S_MAX = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A receiver of alerts. No kinds: all of them."""

    id: str
    kinds: tuple[str, ...] = ()
    min_severity: str = SEVERITIES[0]

    def wants(self, kind: str, severity: str) -> bool:
        return (not self.kinds or kind in self.kinds) and _rank(severity) >= _rank(
            self.min_severity
        )


def _rank(severity: str) -> int:
    """One that nobody knows is urgent."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def secret_bytes(secret: str) -> bytes:
    """The key in a secret. Raises ValueError for what is none."""
    encoded = secret.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not base64") from error
    if not secret.startswith(SECRET_PREFIX) or len(key) not in SECRET_BYTES:
        raise ValueError("not a secret")
    return key


def make_secret(random_bytes: bytes) -> str:
    """A secret of 24 to 64 bytes."""
    return SECRET_PREFIX + base64.b64encode(random_bytes).decode()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """`webhook-signature` of a message: HMAC-SHA256 over id, timestamp (Unix seconds) and body."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(secret_bytes(secret), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def message_id(alert: str, status: str, number: int) -> str:
    """The idempotency key of the news that an alert stands so. `number` counts what happened to
    the alert: one that is open for the second time is news again."""
    return f"{alert}.{status}.{number}"


def backoff_s(attempts: int, first_s: float, roll: float) -> float:
    """Seconds until the next attempt after `attempts` failed ones: doubling, and between half and
    all of it by `roll` (0 to 1), so that many do not come at once."""
    longest = min(first_s * 2.0 ** min(attempts - 1, 30), BACKOFF_S_MAX)
    return longest * (0.5 + roll / 2)
