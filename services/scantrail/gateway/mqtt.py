"""Readers over MQTT: each publishes to a topic of its own at a broker, at QoS 1.

1. what has arrived is taken together. Died here: nothing was told, the broker delivers it again.
2. all of it is durable. Died here: it comes again; a read with its own id, or its time, counts
   once.
3. it is acknowledged, in its order.

Where neither Kafka nor the disk takes a read, nothing is acknowledged and the connection is ended:
the broker keeps what it had sent, and sends it again on the next one.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

from scantrail.gateway.broker import KEEPALIVE_S, BrokerAway, BrokerConnection, Message
from scantrail.gateway.decoders.bodies import decode_body
from scantrail.gateway.decoders.generic import ITEMS_MAX
from scantrail.gateway.decoders.json_body import RAW_LENGTH_MAX
from scantrail.gateway.decoders.outcome import Invalid, Outcome
from scantrail.gateway.intake import Intake
from scantrail.gateway.mqtt_settings import Subscription
from scantrail.gateway.readers import ReaderSettings
from scantrail.gateway.spool import SpoolFull
from scantrail.gateway.statuses import Statuses
from scantrail.infra.failpoints import passing
from scantrail.infra.logs import logger

log = logger(__name__)

PAYLOAD_BYTES_MAX = 1 << 20
RETRY_S_FIRST = 0.5
RETRY_S_MAX = 30.0

#: Messages that are durable, and whose acknowledgement may not have reached the broker.
REMEMBERED_MESSAGES = 1_000

#: An acknowledgement has arrived where its connection lives on for so long: a silent broker is
#: asked for a sign of life after KEEPALIVE_S, and given up after as long again.
PROVEN_S = 3.0 * KEEPALIVE_S


async def follow_reader(reader: ReaderSettings, intake: Intake, statuses: Statuses) -> None:
    """Take what `reader` publishes, until cancelled.

    Where its broker is away, or a read was refused, it connects again, each time later.
    """
    if reader.address is None or reader.subscription is None:
        raise ValueError(f"reader {reader.id} has no broker")
    loop = asyncio.get_running_loop()
    deliveries = _Deliveries(reader, reader.subscription, intake, statuses)
    delay_s, why = 0.0, ""
    while True:
        started = loop.time()
        try:
            async with BrokerConnection(
                reader.address, reader.subscription, deliveries.subscribed
            ) as connection:
                await deliveries.take_from(connection)
        except BrokerAway as error:
            if deliveries.are_subscribed or str(error) != why:
                log.warning("reader's broker is away", reader=reader.id, reason=str(error))
            why = str(error)
        except SpoolFull as error:
            log.error("read refused", reader=reader.id, reason=str(error))
        finally:
            deliveries.ended()
        delay_s = next_delay_s(delay_s, loop.time() - started)
        await asyncio.sleep(delay_s)


def next_delay_s(before_s: float, lived_s: float) -> float:
    """How long to wait for the next connection, after one that lived so long and was itself waited
    for `before_s` seconds."""
    if lived_s >= RETRY_S_MAX:
        return RETRY_S_FIRST
    return min(max(2 * before_s, RETRY_S_FIRST), RETRY_S_MAX)


class _Deliveries:
    """What one reader publishes, over all its connections.

    A broker gives a packet id again once it has the acknowledgement. So a message that is marked as
    delivered before, has the id and payload of one that is durable, and whose acknowledgement may
    have been lost, is that one. It is another message once the acknowledgement is known to have
    arrived: a new message came under the id, or the connection lived for PROVEN_S after it (while
    there is none, nothing is known). Where the broker has no session, all ids are new.
    """

    def __init__(
        self,
        reader: ReaderSettings,
        subscription: Subscription,
        intake: Intake,
        statuses: Statuses,
    ) -> None:
        self.are_subscribed = False
        self._reader = reader
        self._subscription = subscription
        self._intake = intake
        self._statuses = statuses
        self._is_offline = False
        #: By packet id: the payload's digest, and since when the acknowledgement is on its way.
        self._durable = OrderedDict[int, tuple[bytes, float]]()
        self._clock = asyncio.get_running_loop().time
        self._show()

    async def take_from(self, connection: BrokerConnection) -> None:
        """Take all that comes on `connection`. BrokerAway at its end, SpoolFull without room."""
        if not connection.resumed:
            self._durable.clear()  # packet ids are given anew
        began = self._clock()
        for mid, (digest, _) in self._durable.items():
            self._durable[mid] = digest, began
        try:
            while True:
                messages = await connection.messages()
                self._forget_proven()
                await self._take(messages)
                connection.acknowledge(messages)
        finally:
            self._forget_proven()

    async def _take(self, messages: Sequence[Message]) -> None:
        passing("mqtt_arrived")
        outcomes = [told for message in messages for told in self._outcomes(message)]
        for first in range(0, len(outcomes), ITEMS_MAX):
            await self._intake.take(self._reader.id, outcomes[first : first + ITEMS_MAX])
        passing("mqtt_durable")
        self._remember(messages)

    def subscribed(self) -> None:
        """The broker has taken the subscription."""
        log.info("reader's broker connected", reader=self._reader.id)
        self.are_subscribed = True
        self._show()

    def ended(self) -> None:
        """The connection has."""
        self.are_subscribed = False
        self._show()

    def _outcomes(self, message: Message) -> list[Outcome]:
        """What a message says; nothing where it tells of no read, or of reads that are durable."""
        if not message.again:
            self._durable.pop(message.mid, None)
        if message.topic == self._subscription.status_topic:
            self._told_state(message.payload)
            return []
        if message.topic != self._subscription.topic:
            return [Invalid("wrong_topic", message.payload[:RAW_LENGTH_MAX])]
        if message.retained:  # it came when it was new, and would come at every start
            log.warning("a retained message is left out", reader=self._reader.id)
            return []
        if message.again and self._is_durable(message):
            return []
        self._set_offline(False)
        if len(message.payload) > PAYLOAD_BYTES_MAX:
            return [Invalid("too_large", message.payload[:RAW_LENGTH_MAX])]
        return decode_body(self._reader.protocol, message.payload)

    def _told_state(self, payload: bytes) -> None:
        text = payload.decode("utf-8", "replace").strip()
        self._set_offline(text in self._subscription.offline)

    def _set_offline(self, is_offline: bool) -> None:
        if is_offline and not self._is_offline:
            log.warning("reader is offline", reader=self._reader.id)
        elif self._is_offline and not is_offline:
            log.info("reader is back", reader=self._reader.id)
        self._is_offline = is_offline
        self._show()

    def _show(self) -> None:
        is_up = self.are_subscribed and not self._is_offline
        self._statuses.set_up(self._reader.id, is_up)

    def _is_durable(self, message: Message) -> bool:
        digest, _ = self._durable.get(message.mid, (b"", 0.0))
        return digest == _digest(message)

    def _remember(self, messages: Sequence[Message]) -> None:
        now = self._clock()
        for message in messages:
            if message.qos:
                self._durable[message.mid] = _digest(message), now
                self._durable.move_to_end(message.mid)
        while len(self._durable) > REMEMBERED_MESSAGES:
            self._durable.popitem(last=False)

    def _forget_proven(self) -> None:
        """Those whose acknowledgement has arrived; they are in the order of their times."""
        proven = self._clock() - PROVEN_S
        while self._durable:
            mid, (_, since) = next(iter(self._durable.items()))
            if since > proven:
                return
            del self._durable[mid]


def _digest(message: Message) -> bytes:
    return blake2b(message.payload, digest_size=16).digest()
