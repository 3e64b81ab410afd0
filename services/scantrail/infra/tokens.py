"""Tokens: random texts of which only the digest is kept."""

import secrets
from hashlib import sha256


def new_token() -> tuple[str, str]:
    """A token, and the digest that is kept: the token itself stands nowhere here."""
    token = secrets.token_urlsafe(32)
    return token, digest_of(token)


def digest_of(token: str) -> str:
    """SHA-256 of a token as 64 hex digits."""
    # One round: a token of 256 random bits cannot be guessed, however fast.
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
