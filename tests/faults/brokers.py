"""Three brokers, each a controller too; each kind of client has listeners and links of its own."""

import base64
import json
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faults.links import HOST, Link, Mode, Network
from scantrail.infra.broker_security import BrokerSecurity
from scantrail.infra.child_processes import free_ports, write_private
from scantrail.infra.embedded_kafka import EmbeddedKafka

NODES = (1, 2, 3)

#: Whose connections can be cut apart from those of all others.
CLIENTS = ("gateway", "tracker", "others")

_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
inter.broker.listener.name=INTERNAL
listeners={listeners}
advertised.listeners={advertised}
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
offsets.topic.num.partitions=4
offsets.topic.replication.factor=3
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=4000
replica.fetch.wait.max.ms=100
controller.quorum.election.timeout.ms=1000
controller.quorum.fetch.timeout.ms=2000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=33554432
"""


class Broker(EmbeddedKafka):
    """One of the three."""

    def __init__(
        self, folder: Path, cache: Path, *, node: int, cluster: "Cluster", ports: Mapping[str, int]
    ) -> None:
        super().__init__(
            folder, cache, port=ports["others"], heap_mb=384, security=cluster.security
        )
        self.node = node
        self._cluster = cluster
        self._ports = ports

    def _cluster_id(self) -> str:
        return self._cluster.id

    def _write_properties(self, port: int, *, data: str) -> None:
        ports = self._ports
        public = {name: self._cluster.links[self.node, name].port for name in CLIENTS}
        names = (*CLIENTS, "internal", "controller")
        listeners = [f"{name.upper()}://{HOST}:{ports[name]}" for name in names]
        told = {**public, "internal": ports["internal"]}
        advertised = [f"{name.upper()}://{HOST}:{number}" for name, number in told.items()]
        voters = [f"{n}@{HOST}:{self._cluster.ports[n]['controller']}" for n in NODES]
        told = _PROPERTIES.format(
            node=self.node,
            voters=",".join(voters),
            listeners=",".join(listeners),
            advertised=",".join(advertised),
            data=data,
        )
        if (security := self._cluster.security) is None:
            protocols = ",".join(f"{name.upper()}:PLAINTEXT" for name in names)
            told += f"listener.security.protocol.map={protocols}\n"
        else:
            listed = map(str.upper, names)
            told += security.properties(*listed, quorum="CONTROLLER", seen_from=self.folder)
        write_private(self.folder / "server.properties", told)


class Cluster:
    """The brokers, and the links through which clients reach them; with `security` they let nobody
    in without a proof, one another neither."""

    def __init__(
        self, folder: Path, cache: Path, network: Network, security: BrokerSecurity | None = None
    ) -> None:
        self.security = security
        self.id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        names = (*CLIENTS, "internal", "controller")
        chosen = iter(free_ports(len(NODES) * (len(names) + len(CLIENTS))))
        self.ports = {node: {name: next(chosen) for name in names} for node in NODES}
        self.links: dict[tuple[int, str], Link] = {
            (node, name): network.link(next(chosen), self.ports[node][name])
            for node in NODES
            for name in CLIENTS
        }
        self.brokers = {
            node: Broker(
                folder / f"kafka-{node}", cache, node=node, cluster=self, ports=self.ports[node]
            )
            for node in NODES
        }

    def start(self, *nodes: int) -> None:
        """These, or all, at once: one alone is no quorum."""
        with ThreadPoolExecutor(len(NODES)) as pool:
            list(pool.map(lambda node: self.brokers[node].start(), nodes or NODES))

    def kill(self, *nodes: int) -> None:
        for node in nodes or NODES:
            self.brokers[node].kill()

    def controller(self) -> int:
        """The node that leads the controllers' quorum, as it itself and its voters last noted."""
        noted = []
        for broker in self.brokers.values():
            state = broker.folder / "data" / "__cluster_metadata-0" / "quorum-state"
            told = json.loads(state.read_text())
            noted.append((told["leaderEpoch"], told["leaderId"]))
        _, leader = max(noted)
        assert leader in NODES, f"the quorum has no leader: {noted}"
        return int(leader)

    def bootstrap(self, client: str) -> str:
        """Where such clients begin."""
        return ",".join(f"{HOST}:{self.links[node, client].port}" for node in NODES)

    def set(self, client: str, mode: Mode, delay_s: float = 0.0) -> None:
        """All links of such clients."""
        for node in NODES:
            self.links[node, client].set(mode, delay_s)
