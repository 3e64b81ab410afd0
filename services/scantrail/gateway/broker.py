"""A connection to an MQTT broker, for one reader's topic: paho-mqtt in the gateway's event loop.

The broker keeps the reader's messages under the subscription's `client_id` for as long as it likes
(clean session off; from MQTT 5 on, a session that does not expire), also while this gateway is
away. A message of QoS 1 is acknowledged when it is told to be, and else comes again on the next
connection, with its packet id and marked as a duplicate.
"""

import asyncio
import ssl
import struct
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self

from paho.mqtt import MQTTException
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from scantrail.gateway.mqtt_settings import Subscription

CONNECT_S_MAX = 5.0
KEEPALIVE_S = 15
TICK_S = 1.0

#: Messages, and bytes of them, that are taken and not yet acknowledged; then nothing more is read.
IN_HAND_MAX = 100
IN_HAND_BYTES_MAX = 8 << 20

_NEVER = 0xFFFFFFFF

#: What paho-mqtt raises on a connection that broke, and on bytes that are no MQTT.
_UNREADABLE = (OSError, MQTTException, LookupError, ValueError, struct.error)


class BrokerAway(Exception):
    """The broker cannot be reached, refuses the gateway, or has gone. The text says which."""


class Message(NamedTuple):
    """What a reader published, as the broker delivered it; `mid` is its packet id (0 with QoS 0).

    `retained`: the broker's copy of an old message. `again`: delivered before.
    """

    mid: int
    topic: str
    payload: bytes
    qos: int
    retained: bool = False
    again: bool = False


class BrokerConnection:
    """Open with `async with`; BrokerAway where the broker cannot be reached or refuses.

    `resumed` says whether the broker had a session of this client. `subscribed` is called once it
    has taken the subscription, which may be after the first messages of that session.
    """

    def __init__(
        self,
        address: tuple[str, int],
        subscription: Subscription,
        subscribed: Callable[[], None],
    ) -> None:
        self.resumed = False
        self._address = address
        self._subscription = subscription
        self._subscribed = subscribed
        self._loop = asyncio.get_running_loop()
        self._accepted: asyncio.Future[None] = self._loop.create_future()
        self._arrived = asyncio.Event()
        self._messages = deque[Message]()
        self._in_hand = self._in_hand_bytes = 0
        self._paused = False
        self._awaited = set[int | None]()
        self._why: str | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._client = self._made_client()

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(2 * CONNECT_S_MAX):
                await self._connect()
                await self._accepted
            if self._why is not None:
                raise ConnectionError(self._why)
        except (OSError, UnicodeError) as error:  # TimeoutError, ssl.SSLError; a host that is none
            self._close()
            raise BrokerAway(str(error) or "no answer") from error
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    async def messages(self) -> list[Message]:
        """What has arrived, in its order, at least one. BrokerAway once the connection has ended
        and all that came on it was told."""
        await self._arrived.wait()
        if not self._messages:
            raise BrokerAway(self._why)
        messages = list(self._messages)
        self._messages.clear()
        if self._why is None:
            self._arrived.clear()
        return messages

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell the broker, in their order, that it may forget these."""
        for message in messages:
            self._in_hand -= 1
            self._in_hand_bytes -= len(message.payload)
            if message.qos:
                self._client.ack(message.mid, message.qos)
        if self._paused and not self._is_full():
            self._paused = False
            self._resume()

    # --------------------------------------------------------------------------------- the client

    def _made_client(self) -> Client:
        told = self._subscription
        is_5 = told.mqtt_version == "5"
        client = Client(
            CallbackAPIVersion.VERSION2,
            told.client_id,
            clean_session=None if is_5 else False,
            protocol=MQTTv5 if is_5 else MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_S_MAX
        if told.username is not None:
            client.username_pw_set(told.username, told.password)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    async def _connect(self) -> None:
        """paho-mqtt connects, and shakes hands over TLS, in a thread of its own; what follows, up
        to the broker's answers, is the loop's."""
        thread = ThreadPoolExecutor(1, "mqtt")
        try:
            await self._loop.run_in_executor(thread, self._connect_waiting)
        finally:
            thread.shutdown(wait=False)
        self._client.on_socket_close = self._on_socket_close
        self._client.on_socket_register_write = self._on_socket_register_write
        self._client.on_socket_unregister_write = self._on_socket_unregister_write
        self._resume()
        if self._client.want_write():
            self._client.loop_write()
        self._ticking = asyncio.create_task(self._tick())

    def _connect_waiting(self) -> None:
        with_5: dict[str, Any] = {}
        if self._subscription.mqtt_version == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = _NEVER
            properties.ReceiveMaximum = IN_HAND_MAX
            with_5 = {"clean_start": False, "properties": properties}
        if self._subscription.tls:
            context = ssl.create_default_context(cafile=self._subscription.ca_file)
            self._client.tls_set_context(context)
        self._client.connect(*self._address, KEEPALIVE_S, **with_5)

    async def _tick(self) -> None:
        """Asks the broker for a sign of life where it is silent."""
        while True:
            await asyncio.sleep(TICK_S)
            self._client.loop_misc()

    def _close(self) -> None:
        """Without a will of our own: the broker keeps the session."""
        if self._ticking is not None:
            self._ticking.cancel()
        self._client.disconnect()
        self._client.loop_write()
        if (connection := self._client.socket()) is not None:  # it takes nothing any more
            self._on_socket_close(self._client, None, connection)
            self._on_socket_unregister_write(self._client, None, connection)
            connection.close()

    def _is_full(self) -> bool:
        return self._in_hand >= IN_HAND_MAX or self._in_hand_bytes >= IN_HAND_BYTES_MAX

    def _resume(self) -> None:
        if (connection := self._client.socket()) is not None:
            self._loop.add_reader(connection, self._read)
            self._loop.call_soon(self._read)  # what TLS holds already, no selector tells

    def _read(self) -> None:
        while not self._paused and (connection := self._client.socket()) is not None:
            try:
                self._client.loop_read()
            except _UNREADABLE as error:
                self._end(f"what came cannot be read: {error!r}")
                self._loop.remove_reader(connection)
                return
            if not (isinstance(connection, ssl.SSLSocket) and connection.pending()):
                return

    def _end(self, why: str) -> None:
        """The first reason is the one that is told."""
        self._why = self._why or why
        self._arrived.set()
        self._answered()

    def _answered(self) -> None:
        if not self._accepted.done():
            self._accepted.set_result(None)

    # ------------------------------------------------------------------------------ what it tells

    def _on_connect(
        self, client: Client, _: Any, flags: ConnectFlags, reason: ReasonCode, *_more: Any
    ) -> None:
        if reason.is_failure:
            self._end(f"the broker refuses the gateway: {reason}")
            return
        self.resumed = flags.session_present
        told = self._subscription
        shared = f"$share/{told.shared}/" if told.shared else ""
        filters = [shared + told.topic, *([told.status_topic] if told.status_topic else [])]
        self._awaited = {client.subscribe(each, qos=1)[1] for each in filters}
        self._answered()

    def _on_subscribe(
        self, _client: Client, _: Any, mid: int, reasons: list[ReasonCode], *_more: Any
    ) -> None:
        for reason in reasons:
            if reason.value != 1:
                self._end(f"the broker refuses the subscription at QoS 1: {reason}")
                return
        self._awaited.discard(mid)
        if not self._awaited:
            self._subscribed()

    def _on_message(self, _client: Client, _: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        payload = bytes(message.payload)
        self._in_hand += 1
        self._in_hand_bytes += len(payload)
        self._messages.append(
            Message(message.mid, topic, payload, message.qos, message.retain, message.dup)
        )
        self._arrived.set()
        if self._is_full() and (connection := self._client.socket()) is not None:
            self._paused = True
            self._loop.remove_reader(connection)

    def _on_disconnect(
        self, _client: Client, _: Any, flags: DisconnectFlags, reason: ReasonCode, *_more: Any
    ) -> None:
        told = f": {reason}" if flags.is_disconnect_packet_from_server else ""
        self._end(f"the connection has ended{told}")

    def _on_socket_close(self, _client: Client, _: Any, connection: Any) -> None:
        self._loop.remove_reader(connection)

    def _on_socket_register_write(self, client: Client, _: Any, connection: Any) -> None:
        self._loop.add_writer(connection, client.loop_write)

    def _on_socket_unregister_write(self, _client: Client, _: Any, connection: Any) -> None:
        self._loop.remove_writer(connection)
