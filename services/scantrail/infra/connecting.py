"""Kafka clients are started so that nothing half open is left behind."""

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

#: So long a client that is not wanted any more may take until it is connected.
BEGIN_S_MAX: Final = 5.0


async def begin(client: AIOKafkaProducer | AIOKafkaConsumer | AIOKafkaAdminClient) -> None:
    """Start `client`; where that fails, or is cancelled, it is stopped. Raises KafkaError.

    Cancelled while it connects, aiokafka would forget the connection: it is let come to its end.
    """
    starting = asyncio.ensure_future(client.start())
    try:
        await asyncio.shield(starting)
    except BaseException:
        await asyncio.wait({starting}, timeout=BEGIN_S_MAX)
        starting.cancel()
        await (client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())
        raise
