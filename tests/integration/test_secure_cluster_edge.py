"""Three brokers that let nobody in without a proof, one another neither, below a whole stack."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError

from faults.brokers import NODES, Cluster
from faults.links import HOST, Network
from integration.secured import (
    client_of,
    codes,
    gateway,
    secured_of,
    secured_stack,
    send,
    until_moved_once,
    while_scans_flow,
)
from scantrail.cli.rotating import KINDS
from scantrail.cli.stack import PROCESSES, Stack
from scantrail.infra.embedded_kafka import EmbeddedKafka
from scantrail.infra.settings import Settings

pytestmark = pytest.mark.long


class ThreeBrokers(EmbeddedKafka):
    """Stands where a stack has its one broker."""

    def __init__(self, stack: Stack, cache: Path, network: Network) -> None:
        super().__init__(stack.folder / "kafka", cache)
        security = secured_of(stack).keyring.broker
        self.cluster = Cluster(self.folder, cache, network, security)
        self._is_due = False

    def start(self) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cluster.start()
        self.address = self.cluster.bootstrap("others")
        return self.address

    @property
    def running(self) -> bool:
        return all(broker.running for broker in self.cluster.brokers.values())

    @property
    def lost(self) -> bool:
        """Whether they have to be started again; of one that a test kills this is not told."""
        return self._is_due

    def end(self, limit_s: float = 30.0) -> None:
        self._is_due = True

    def revive(self) -> None:
        """One after the other, as an operator does it: the others go on meanwhile."""
        self._is_due = False
        for broker in self.cluster.brokers.values():
            broker.stop()
            broker.start()

    def stop(self, limit_s: float = 30.0) -> None:
        self.cluster.kill()

    def kill(self) -> None:
        self.cluster.kill()

    def send_kill(self) -> None:
        self.cluster.kill()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, stack_cache: Path) -> Iterator[Stack]:
    with Network() as network:

        def prepare(stack: Stack) -> None:
            secured_of(stack).keyring.make()
            stack.kafka = ThreeBrokers(stack, stack_cache, network)

        shape = Settings(partitions=4, replication=3)
        folder = tmp_path_factory.mktemp("three")
        with secured_stack(folder, stack_cache, shape=shape, prepare=prepare) as running:
            yield running


#: Vote, version 0: asked by who wants to lead the controllers, for no partition (Kafka's protocol,
#: with header version 2, whose texts and lists are compact).
_VOTE = struct.pack(">hhih", 52, 0, 7, -1) + b"\0" + b"\0\1\0"
CLUSTER_AUTHORIZATION_FAILED = 31


def answer_to_a_candidate(context: ssl.SSLContext, port: int) -> int | None:
    """The error of the answer, None where nothing is answered."""
    try:
        with (
            socket.create_connection((HOST, port), timeout=10) as connection,
            context.wrap_socket(connection, server_hostname=HOST) as secured,
        ):
            secured.sendall(struct.pack(">i", len(_VOTE)) + _VOTE)
            told = b""
            while len(told) < 11 and (more := secured.recv(1024)):
                told += more
    except OSError:
        return None
    return struct.unpack(">iibh", told[:11])[3] if told else None


def cluster_of(stack: Stack) -> Cluster:
    assert isinstance(stack.kafka, ThreeBrokers)
    return stack.kafka.cluster


@pytest.mark.parametrize("proof", ["none", "a process's certificate"])
def test_no_listener_of_a_broker_lets_in_who_lacks_a_proof(stack: Stack, proof: str) -> None:
    """The one on which brokers copy from one another, and the controllers', too."""
    keyring = secured_of(stack).keyring
    context = ssl.create_default_context(cafile=str(keyring.authorities))
    if proof != "none":
        context.load_cert_chain(keyring.certificate("gateway"))
    for ports in cluster_of(stack).ports.values():
        for name, port in ports.items():
            told = answer_to_a_candidate(context, port)
            if proof == "none" or name != "controller":
                assert told is None, f"{name} answered"
            else:
                assert told == CLUSTER_AUTHORIZATION_FAILED


def test_one_broker_may_die_and_come_back(stack: Stack) -> None:
    before, meanwhile, after = (codes(start, 20) for start in ("B", "M", "A"))
    cluster = cluster_of(stack)
    with gateway(stack) as client:
        send(client, before).raise_for_status()
        until_moved_once(stack, before)
        for node in (cluster.controller(), NODES[0]):
            cluster.kill(node)
            send(client, meanwhile).raise_for_status()
            until_moved_once(stack, meanwhile)
            meanwhile = codes(f"N{node}", 20)
            cluster.start(node)
        send(client, after).raise_for_status()
    until_moved_once(stack, [*before, *after])


def test_all_proofs_are_exchanged_while_scans_flow(stack: Stack) -> None:
    """Brokers are started again one by one, each with what the others still, or already, take."""
    old = secured_of(stack).settings_of("gateway")
    old_password = old.secret("kafka_password")
    pids = {name: stack.pid(name) for name in PROCESSES if name != "tracker"}
    said: list[str] = []
    sent = asyncio.run(while_scans_flow(stack, KINDS, said))
    until_moved_once(stack, sent)
    assert {name: stack.pid(name) for name in pids} == pids, "a process was started anew"
    assert said[-1] == "the old authority is trusted no more"
    with pytest.raises(KafkaConnectionError):
        asyncio.run(_let_in(stack, old_password))


async def _let_in(stack: Stack, password: str) -> None:
    told = secured_of(stack).settings_of("gateway")
    client = client_of(replace(told, kafka_password_file="", kafka_password=password))
    try:
        await client.bootstrap()
    finally:
        await client.close()
