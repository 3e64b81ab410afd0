"""Messages to webhooks, over real sockets: what is sent, what is not, and what is said of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from scantrail.api.delivering import Message, NotSent, is_public, post_message, webhook_client
from scantrail.domain.webhook import make_secret, sign
from scantrail.infra.settings import Settings

SECRET = make_secret(b"s" * 32)
SETTINGS = Settings(webhook_private_addresses="allow", webhook_timeout_s=5.0)
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver:
    """Answers each request with fixed bytes (none: never), and keeps what it was sent."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.port = 0
        self.connections: set[asyncio.Task[None] | None] = set()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head[1:])
                if name
            }
            body = await reader.readexactly(int(headers["content-length"]))
            self.requests.append((headers, body))
            if self.answer is None:
                await reader.read()
            else:
                writer.write(self.answer)
                await writer.drain()
        writer.transport.abort()  # also of what the sender did not read
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def receiving(answer: bytes | None = OK) -> AsyncIterator[Receiver]:
    receiver = Receiver(answer)
    server = await asyncio.start_server(receiver.take, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        await asyncio.gather(*filter(None, receiver.connections))


def message(port: int, host: str = "127.0.0.1") -> Message:
    url = f"http://{host}:{port}/alerts?of=us"
    return Message(id="a.open.1", url=url, secret=SECRET, body=b'{"type":"alert.raised"}')


async def post(told: Message, settings: Settings = SETTINGS) -> None:
    async with webhook_client(settings) as client:
        await post_message(client, told, settings)


async def test_a_message_is_signed_and_names_itself() -> None:
    async with receiving() as receiver:
        told = message(receiver.port, "localhost")
        await post(told)
    ((headers, body),) = receiver.requests
    assert (headers["webhook-id"], body) == (told.id, told.body)
    assert headers["host"] == f"localhost:{receiver.port}"
    assert headers["content-type"] == "application/json"
    signed = sign(SECRET, told.id, int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == signed


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", "answered 500"),
        (b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", "answered 410"),
        (b"\x00\x01\x02\r\n\r\n", "not reached: RemoteProtocolError"),
        (b"", "not reached: RemoteProtocolError"),
    ],
)
async def test_what_is_no_success_is_told(answer: bytes, reason: str) -> None:
    async with receiving(answer) as receiver:
        with pytest.raises(NotSent, match=reason):
            await post(message(receiver.port))


async def test_a_redirect_is_not_followed() -> None:
    async with receiving() as other:
        moved = f"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:{other.port}/\r\n\r\n"
        async with receiving(moved.encode()) as receiver:
            with pytest.raises(NotSent, match="answered 307; redirects are not followed"):
                await post(message(receiver.port))
    assert other.requests == []


async def test_a_receiver_that_does_not_answer_is_left_in_time() -> None:
    async with receiving(None) as receiver:
        with pytest.raises(NotSent, match=r"no answer within 0\.2 s|not reached: ReadTimeout"):
            await post(message(receiver.port), replace(SETTINGS, webhook_timeout_s=0.2))


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    endless = b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n" + b"x" * (1 << 18)
    async with receiving(endless) as receiver:
        await post(message(receiver.port))
        assert len(receiver.requests) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_address_that_is_not_public_is_refused(host: str) -> None:
    async with receiving() as receiver:
        with pytest.raises(NotSent, match="not public"):
            await post(
                message(receiver.port, host), replace(SETTINGS, webhook_private_addresses="refuse")
            )
    assert receiver.requests == []


async def test_a_host_that_nobody_knows_is_told() -> None:
    with pytest.raises(NotSent, match=r"host no\.invalid is not found"):
        await post(message(80, "no.invalid"))


async def test_a_name_that_no_host_can_have_ends_no_sender() -> None:
    with pytest.raises(NotSent, match="not reached: InvalidCodepoint"):
        await post(message(80, "xn--a"))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fd00::1", False),
        ("fe80::1%eth0", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
    ],
)
def test_which_addresses_are_public(address: str, expected: bool) -> None:
    assert is_public(address) is expected
