"""Who may send as which reader over HTTP, and how many reads."""

import base64
import binascii
import hmac
import time
from collections.abc import Callable, Mapping

from scantrail.gateway.readers import ReaderSettings
from scantrail.infra import metrics
from scantrail.infra.rates import Buckets
from scantrail.infra.tokens import digest_of

#: Reads that may come at once, in seconds of a reader's rate: what it kept while we were away.
BURST_S = 10.0


#: Why a request is not looked at. Each is counted from 0 on.
REFUSALS = (
    "bad_certificate",
    "bad_token",
    "of_a_page",
    "too_fast",
    "too_many_connections",
    "wrong_peer",
)


class Guards:
    """What is let in, by the readers' file.

    A reader that has tokens needs one of them. Where `is_required`, one that has none is let in
    under no circumstances, nor is one that nobody configured.
    """

    def __init__(
        self,
        readers: Mapping[str, ReaderSettings],
        *,
        is_required: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._readers = readers
        self._is_required = is_required
        self._buckets = Buckets(burst_s=BURST_S, now=now)
        for reason in REFUSALS:
            metrics.REFUSED.labels(reason)

    def reader(self, reader_id: str) -> ReaderSettings | None:
        """The reader as it is configured, where it is."""
        return self._readers.get(reader_id)

    def asks_for_token(self, reader_id: str) -> bool:
        """Whether the reader is let in with its token alone."""
        return bool(self._tokens(reader_id))

    def lets_in(
        self, reader_id: str, authorization: str | None, *, is_certified: bool = False
    ) -> bool:
        """Whether `authorization`, a request's header, shows a token of the reader: as Bearer, or
        as the password of Basic with the reader's id as its name. One that has none needs none
        where a certificate has said that it is this reader."""
        tokens = self._tokens(reader_id)
        if not tokens:
            return is_certified or not self._is_required
        shown = digest_of(_token(reader_id, authorization or ""))
        return any([hmac.compare_digest(shown, token) for token in tokens])

    def _tokens(self, reader_id: str) -> tuple[str, ...]:
        reader = self._readers.get(reader_id)
        return reader.token_sha256 if reader else ()

    def wait_s(self, reader_id: str) -> float:
        """Seconds until the reader may send again: 0 where it may now."""
        rate = self._rate(reader_id)
        return 0.0 if rate is None else self._buckets.wait_s(reader_id, rate)

    def count(self, reader_id: str, reads: int) -> None:
        """Count what a reader has sent. One that sends too many at once waits longer for it."""
        rate = self._rate(reader_id)
        if rate is not None:
            self._buckets.count(reader_id, rate, reads)

    def _rate(self, reader_id: str) -> float | None:
        reader = self._readers.get(reader_id)
        return reader.reads_per_s_max if reader else None


def _token(reader_id: str, authorization: str) -> str:
    scheme, _, shown = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return shown.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        name, _, password = base64.b64decode(shown, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return password if name == reader_id else ""
