"""Recalls and shippings in every order, with alerters that die, are paused and come back.

The pieces that decide are the real ones (domain.recall_watch, the ids of alerts); Kafka, PostgreSQL
and the order in which all take their turns are played by one seed.
"""

import random
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from scantrail.domain.alert import AlertKind, alert_id
from scantrail.domain.recall import Recall, Selector
from scantrail.domain.recall_watch import Due, Taken, TakingOver, is_passed

PARTITIONS = 2
UNITS = 12
SEEDS = 1_000


@dataclass
class Kafka:
    movements: list[list[str]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    recalls: list[Recall] = field(default_factory=list)
    committed: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    generation: int = 0
    owners: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    alerts: set[str] = field(default_factory=set)
    taken: list[tuple[Due, int]] = field(default_factory=list)


class Alerter:
    """As alerter.app goes on, one step of its loop a turn; between two it may stand for long, and
    its client may join the group anew meanwhile."""

    def __init__(
        self, kafka: Kafka, number: int, *, waits_for_commit: bool, knows_assignments: bool = True
    ) -> None:
        self.kafka, self.number = kafka, number
        self.waits_for_commit, self.knows_assignments = waits_for_commit, knows_assignments
        self.taking_over = TakingOver()
        self.known: dict[str, Recall] = {}
        self.read_up_to = 0
        self.assignments = 0
        self.join()

    def join(self) -> None:
        self.rejoin()
        self.steps = [self.fetch, self.judge, self.commit, self.tell]

    def rejoin(self) -> None:
        """As the client does by itself, whatever the loop has in hand."""
        self.assignments += 1
        self.generation = self.kafka.generation
        mine = [p for p, owner in enumerate(self.kafka.owners) if owner == self.number]
        self.positions = {p: self.kafka.committed[p] for p in mine}

    def turn(self, chance: random.Random) -> None:
        step = self.steps.pop(0)
        step(chance)
        if not self.steps:
            self.steps = [self.fetch, self.judge, self.commit, self.tell]

    def fetch(self, chance: random.Random) -> None:
        self.batch: dict[int, tuple[int, list[str]]] = {}
        self.assignment = self.assignments
        for partition, position in self.positions.items():
            some = self.kafka.movements[partition][position : position + chance.randint(0, 3)]
            if some:
                self.batch[partition] = (position, some)
                self.positions[partition] = position + len(some)

    def judge(self, _: random.Random) -> None:
        for recall in self.kafka.recalls[self.read_up_to :]:
            self.known[recall.id] = recall
            self.taking_over.take(recall)
        self.read_up_to = len(self.kafka.recalls)
        self.due = self.taking_over.due(self.positions)
        self.begins = {
            p: self.batch[p][0] if p in self.batch else at for p, at in self.positions.items()
        }
        for _first, units in self.batch.values():
            for unit in units:
                for recall in self.known.values():
                    if unit in recall.selectors[0].serials:
                        kind = AlertKind.RECALLED_AT_SHIPPING
                        self.kafka.alerts.add(alert_id(kind, unit, f"out-{unit}", recall.id))

    def commit(self, _: random.Random) -> None:
        nexts = self.begins | {p: first + len(some) for p, (first, some) in self.batch.items()}
        if self.generation == self.kafka.generation and nexts.keys() <= self.positions.keys():
            for partition, position in nexts.items():
                self.kafka.committed[partition] = position
        elif self.waits_for_commit:
            self.join()

    def tell(self, _: random.Random) -> None:
        if self.assignment == self.assignments or not self.knows_assignments:
            told = [due for due in self.due if due.partition in self.begins]
            self.kafka.taken += [(due, self.begins[due.partition]) for due in told]
            self.taking_over.told(told)
        if self.generation != self.kafka.generation:
            self.join()


class Desk:
    """The projector and the api's sweep."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self.written = dict.fromkeys(range(PARTITIONS), 0)
        self.swept = set[str]()

    def write(self, chance: random.Random) -> None:
        partition = chance.randrange(PARTITIONS)
        end = len(self.kafka.movements[partition])
        self.written[partition] = min(end, self.written[partition] + chance.randint(1, 3))

    def sweep(self, _: random.Random) -> None:
        for recall in list(self.kafka.recalls):
            if recall.is_swept or recall.id in self.swept:
                continue
            latest: dict[int, Taken] = {}
            for due, position in self.kafka.taken:
                if due.recall == recall.id:
                    known = latest.get(due.partition)
                    if known is None or known.position < position:
                        latest[due.partition] = Taken(due.partition, PARTITIONS, position)
            if not is_passed(latest.values(), self.written):
                continue
            for partition, end in self.written.items():
                for unit in self.kafka.movements[partition][:end]:
                    if unit in recall.selectors[0].serials:
                        kind = AlertKind.RECALLED_ALREADY_SHIPPED
                        self.kafka.alerts.add(alert_id(kind, unit, f"out-{unit}", recall.id))
            self.swept.add(recall.id)


def play(seed: int, *, waits_for_commit: bool = True) -> tuple[Counter[str], list[str]]:
    """How often which came first, and the units that went out and of which nobody was told."""
    chance = random.Random(seed)
    kafka = Kafka()
    alerters = [Alerter(kafka, n, waits_for_commit=waits_for_commit) for n in range(2)]
    desk = Desk(kafka)
    serials = [f"u{n}" for n in range(UNITS)]
    half = UNITS // 2
    events = [("ship", serial) for serial in serials]
    events += [("recall", f"R-{n}") for n in range(2)]
    chance.shuffle(events)
    recall_of = {serial: f"R-{n // half}" for n, serial in enumerate(serials)}
    order, seen = Counter[str](), set[str]()
    # One may stand for long, and so may the projector.
    turns = ("event", "write", "sweep", "rebalance", "die", "first", "second", "rejoin")
    weights = [1.0] * len(turns)
    while events or chance.random() < 0.98:
        if chance.random() < 0.1:
            weights = [chance.choice([0.0, 0.1, 1.0]) for _ in turns]
            weights[3:5] = [0.1, 0.02]
        match chance.choices(turns, weights)[0]:
            case "event" if events:
                what, name = events.pop()
                seen.add(name)
                if what == "ship":
                    kafka.movements[chance.randrange(PARTITIONS)].append(name)
                    order["recall first" if recall_of[name] in seen else "shipped first"] += 1
                else:
                    of = tuple(serial for serial in serials if recall_of[serial] == name)
                    kafka.recalls.append(_recall(name, of))
            case "write":
                desk.write(chance)
            case "sweep":
                desk.sweep(chance)
            case "rebalance":
                kafka.generation += 1  # whoever thinks that it has them may not know yet
                kafka.owners = [chance.randrange(2)] * PARTITIONS
            case "die":
                number = chance.randrange(2)
                alerters[number] = Alerter(kafka, number, waits_for_commit=waits_for_commit)
            case "rejoin":
                alerters[chance.randrange(2)].rejoin()
            case "first":
                alerters[0].turn(chance)
            case "second":
                alerters[1].turn(chance)
    for _ in range(60):  # what was begun comes to its end
        for alerter in alerters:
            alerter.turn(chance)
        desk.write(chance)
        desk.sweep(chance)
    assert desk.swept == {"R-0", "R-1"}, seed
    ids = {
        serial: alert_id(AlertKind.RECALLED_AT_SHIPPING, serial, f"out-{serial}", recall_of[serial])
        for serial in serials
    }
    assert kafka.alerts <= set(ids.values())  # one for each at most
    return order, [serial for serial, id_ in ids.items() if id_ not in kafka.alerts]


def _recall(recall_id: str, serials: tuple[str, ...]) -> Recall:
    selectors = (Selector(kind="list", serials=serials),)
    return Recall(id=recall_id, title="Battery", reason="heats", selectors=selectors)


def test_every_recalled_unit_that_went_out_has_one_alert_whatever_came_first(
    seed: int | None,
) -> None:
    orders = Counter[str]()
    for each in range(SEEDS) if seed is None else [seed]:
        order, lost = play(each)
        assert lost == [], f"seed {each}"
        orders += order
    if seed is None:
        assert min(orders["recall first"], orders["shipped first"]) >= 1_000, orders


class Most(random.Random):
    """Every fetch takes all that it may."""

    def randint(self, a: int, b: int) -> int:
        return b


@pytest.mark.parametrize(
    ("waits_for_commit", "lost"), [(True, []), (False, ["u1"])], ids=["committed", "not-committed"]
)
def test_a_position_is_told_once_it_is_committed_or_one_that_was_paused_tells_a_lie(
    waits_for_commit: bool, lost: list[str]
) -> None:
    """The second case shows that the model sees what the order of alerter.app is for."""
    most, kafka = Most(), Kafka()
    paused, other = (Alerter(kafka, n, waits_for_commit=waits_for_commit) for n in range(2))
    desk = Desk(kafka)
    kafka.movements[0].append("u0")
    paused.fetch(most)  # and stands still with it
    kafka.generation, kafka.owners = 1, [1] * PARTITIONS
    other.join()
    kafka.movements[0].append("u1")
    for _ in range(4):
        other.turn(most)
    kafka.recalls.append(_recall("R-0", ("u0", "u1")))
    paused.steps = [paused.judge, paused.commit, paused.tell]
    for _ in range(2 if waits_for_commit else 3):  # its commit fails
        paused.turn(most)
    desk.written[0] = 1  # PostgreSQL is behind
    desk.sweep(most)
    for _ in range(8):
        other.turn(most)
    desk.written[0] = 2
    desk.sweep(most)
    told = {
        unit: alert_id(AlertKind.RECALLED_AT_SHIPPING, unit, f"out-{unit}", "R-0")
        for unit in ("u0", "u1")
    }
    assert [unit for unit, id_ in told.items() if id_ not in kafka.alerts] == lost


@pytest.mark.parametrize(
    ("knows_assignments", "lost"), [(True, []), (False, ["u1"])], ids=["known", "not-known"]
)
def test_of_a_batch_that_is_older_than_the_assignment_nothing_is_told(
    knows_assignments: bool, lost: list[str]
) -> None:
    """Its commit is accepted, for the partition is ours again; another judged behind the batch
    meanwhile, without the recall, and what that one judged we do not judge."""
    most, kafka = Most(), Kafka()
    slow, other = (
        Alerter(kafka, n, waits_for_commit=True, knows_assignments=knows_assignments)
        for n in range(2)
    )
    desk = Desk(kafka)
    kafka.movements[0].append("u0")
    slow.fetch(most)  # and waits for Kafka
    kafka.generation, kafka.owners = 1, [1] * PARTITIONS
    slow.rejoin()
    other.join()
    kafka.movements[0].append("u1")
    for _ in range(4):
        other.turn(most)
    kafka.generation, kafka.owners = 2, [0] * PARTITIONS
    slow.rejoin()
    kafka.recalls.append(_recall("R-0", ("u0", "u1")))
    for step in (slow.judge, slow.commit, slow.tell):
        step(most)
    desk.written[0] = 1  # PostgreSQL is behind
    desk.sweep(most)
    slow.steps = [slow.fetch, slow.judge, slow.commit, slow.tell]
    for _ in range(8):
        slow.turn(most)
    desk.written[0] = 2
    desk.sweep(most)
    told = {
        unit: alert_id(AlertKind.RECALLED_AT_SHIPPING, unit, f"out-{unit}", "R-0")
        for unit in ("u0", "u1")
    }
    assert [unit for unit, id_ in told.items() if id_ not in kafka.alerts] == lost


def taken(*positions: int, count: int = 2) -> list[Taken]:
    return [Taken(partition, count, position) for partition, position in enumerate(positions)]


@pytest.mark.parametrize(
    ("told", "written", "expected"),
    [
        ([], {}, False),
        (taken(0, 0), {}, True),  # nothing ever moved
        (taken(5, 0), {0: 5}, True),
        (taken(5, 0), {0: 4}, False),
        (taken(5), {0: 9, 1: 9}, False),  # of the other partition nobody told
        (taken(5, 7), {0: 9, 1: 6}, False),
        (taken(5, 7), {0: 9, 1: 7}, True),
    ],
    ids=["nothing", "empty", "idle", "behind", "one-untold", "one-behind", "passed"],
)
def test_the_desk_looks_once_every_partition_is_written_up_to_its_position(
    told: list[Taken], written: dict[int, int], expected: bool
) -> None:
    assert is_passed(told, written) is expected


def test_what_is_due_is_told_once_for_each_assignment_and_version() -> None:
    watch = TakingOver()
    recall = _recall("R-1", ("1",))
    assert watch.due([0, 1]) == []
    watch.take(recall)
    due = watch.due([0, 1])
    assert due == [Due("R-1", 1, 0), Due("R-1", 1, 1)]
    watch.told(due[:1])
    assert watch.due([0, 1]) == due[1:]
    watch.told(due)
    assert watch.due([0, 1]) == []
    assert watch.due([1, 2]) == [Due("R-1", 1, 2)]
    assert watch.due([0, 1, 2]) == [Due("R-1", 1, 0), Due("R-1", 1, 2)]  # 0 was away meanwhile
    watch.take(replace(recall, version=2))
    assert len(watch.due([0])) == 1
    watch.take(replace(recall, version=2, is_swept=True))
    assert watch.due([0]) == []
