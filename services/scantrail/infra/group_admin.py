"""Members that are known to be dead are taken out of their consumer groups."""

import asyncio
import time
from collections.abc import Iterable

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest

from scantrail.infra.credentials import kafka_access
from scantrail.infra.settings import Settings

_LIMIT_S = 10.0
_RETRY_S = 0.05

#: A broker that has just started reads its groups first.
_NOT_YET = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)


async def remove_members(settings: Settings, groups: Iterable[str]) -> int:
    """Let every member leave its group, which those that were killed did not; how many there were.

    A group would wait for them until their sessions run out. A member that lives after all joins
    again. Raises KafkaError where the groups cannot be told within 10 s.
    """
    client = AIOKafkaClient(bootstrap_servers=settings.kafka_bootstrap, **kafka_access(settings))
    try:
        await client.bootstrap()
        deadline = time.monotonic() + _LIMIT_S
        return sum([await _empty(client, group, deadline) for group in groups])
    finally:
        await client.close()


async def _empty(client: AIOKafkaClient, group: str, deadline: float) -> int:
    while True:
        try:
            node = await client.coordinator_lookup(CoordinationType.GROUP, group)
            answer = await client.send(node, DescribeGroupsRequest(groups=[group]))
            error_code, *_, members = answer.groups[0]
            if error_code:
                raise for_code(error_code)
        except _NOT_YET:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_RETRY_S)
        else:
            break
    for member_id, *_ in members:
        await client.send(node, LeaveGroupRequest(group, member_id))
    return len(members)
