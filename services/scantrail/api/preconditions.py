"""ETag and If-Match (RFC 9110): a change of an entity that is not as its caller last saw it."""

import re
from collections.abc import Iterable
from typing import Any

from litestar import Request, Response

from scantrail.api.problems import Problem, bad_field

AnyRequest = Request[Any, Any, Any]

_TAG = re.compile(r'\s*(?P<weak>W/)?"(?P<tag>[\x21\x23-\x7e]*)"\s*')


def etag_of(version: int) -> str:
    """The ETag of a version."""
    return f'"{version}"'


def with_etag(document: dict[str, Any], version: int) -> Response[Any]:
    """A GET's answer, with the ETag that a change gives as If-Match; none of version 0."""
    return Response(document, headers={"ETag": etag_of(version)} if version else {})


class Precondition:
    """What a request says of the version that it changes: If-Match, or If-None-Match: *."""

    def __init__(
        self, if_match: str | None, if_none_match: str | None, *, is_demanded: bool
    ) -> None:
        """Raises Problem 400 for a header that cannot be read."""
        self._tags = None if if_match is None else _tags(if_match)
        if if_none_match not in (None, "*"):
            raise bad_field("If-None-Match", "give *, or leave it out")
        self._only_new = if_none_match == "*"
        self._is_demanded = is_demanded
        self._is_checked = False

    @classmethod
    def of(cls, request: AnyRequest, *, is_demanded: bool) -> "Precondition":
        """That of a request's headers."""
        headers = request.headers
        return cls(headers.get("if-match"), headers.get("if-none-match"), is_demanded=is_demanded)

    def check(self, version: int) -> None:
        """Raises Problem 412 where `version` (0: none) is another, 428 where none was told."""
        self._is_checked = True
        if self._only_new and version:
            raise self._failed("If-None-Match", version, "it exists: read it first")
        if self._tags is None:
            if self._is_demanded and version and not self._only_new:
                raise Problem(
                    428,
                    "Version wanted",
                    f"give the version that you change: If-Match: {etag_of(version)}, as GET tells",
                    field="If-Match",
                    version=version,
                    headers={"ETag": etag_of(version)},
                )
            return
        if not version:
            raise self._failed("If-Match", version, "there is none to be changed")
        if "*" not in self._tags and etag_of(version) not in self._tags:
            told = f"it is of version {version} meanwhile: read it, and change that"
            raise self._failed("If-Match", version, told)

    def finish(self) -> None:
        """Raises Problem 400 where a header was sent and nothing had a version to check it by."""
        if not self._is_checked and (self._tags is not None or self._only_new):
            field = "If-Match" if self._tags is not None else "If-None-Match"
            raise bad_field(field, "what is changed here has no version: leave the header out")

    def check_many(self, versions: Iterable[int]) -> None:
        """Many are changed together, and no header can be of all: raises Problem 400 where one was
        sent, 428 where it is demanded and one of them exists."""
        self.finish()
        if self._is_demanded and any(versions):
            detail = "here the version of each is wanted: change those that exist one by one"
            raise Problem(428, "Version wanted", detail, field="If-Match")

    @staticmethod
    def _failed(field: str, version: int, detail: str) -> Problem:
        headers = {"ETag": etag_of(version)} if version else {}
        return Problem(
            412, "Another version", detail, field=field, version=version, headers=headers
        )


def _tags(header: str) -> frozenset[str]:
    """The strong tags of an If-Match, or "*"; a weak one matches nothing."""
    if header.strip() == "*":
        return frozenset("*")
    tags, at = set(), 0
    while found := _TAG.match(header, at):
        if not found["weak"]:
            tags.add(f'"{found["tag"]}"')
        at = found.end()
        if at == len(header):
            return frozenset(tags)
        if header[at] != ",":
            break
        at += 1
    raise bad_field("If-Match", f"give the ETag as GET tells it, such as {etag_of(1)}, or *")
