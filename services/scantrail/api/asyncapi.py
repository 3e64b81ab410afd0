"""The topics' description of themselves, AsyncAPI 3.0, for whoever subscribes."""

from functools import cache
from typing import Any

import msgspec
from litestar import Response, get

from scantrail import __version__
from scantrail.api.access import Role
from scantrail.contracts.asyncapi import asyncapi_document
from scantrail.contracts.described import described_topics
from scantrail.infra.settings import Settings

ASYNCAPI = "/schema/asyncapi.json"


def build_asyncapi(settings: Settings) -> list[Any]:
    """The route handlers."""

    @cache
    def document() -> bytes:
        told = asyncapi_document(
            described_topics(),
            prefix=settings.topic_prefix,
            partitions=settings.partitions,
            version=__version__,
        )
        return msgspec.json.encode(told)

    @get(ASYNCAPI, role=Role.PUBLIC, include_in_schema=False)
    async def tell() -> Response[bytes]:
        """The topics that others may read: keys, values, headers, examples."""
        return Response(document(), media_type="application/json")

    return [tell]
