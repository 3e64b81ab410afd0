"""A model of the tracker's batches on one unit, searched state by state.

Two workers, a source of few scans, the changelog and the outputs. A worker may be killed, or paused
and overtaken, between any two steps of a batch; a paused one goes on at any later time. The
projector keeps one row for each event, that of the highest version. Where everything is read and
at rest the invariants must hold:

I1 every scan is in history; I2 the current state is made of all of them; I5 whoever restores next
has all of them; I7 versions are gapless, and none is given to two scans.
"""

from collections import deque
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

NOTHING_READ = (-1, -1)


class Design(NamedTuple):
    """What is tried: the order of steps, the guards, and the faults it has to bear."""

    scans: tuple[str, ...] = ("a", "b")
    derived: tuple[str, ...] = ()  # a second source topic
    outputs_first: bool = True
    drops_known_ids: bool = True
    restores_highest: bool = True  # by source offset; else the last record
    checks_contiguity: bool = True
    exits_on_foreign_tail: bool = True
    rewrites_at_start: bool = True
    fence: bool = False  # the broker refuses what an overtaken worker writes to the changelog
    keeps_disk: bool = True
    #: never, any time, after pauses, an owner lives; while owned: and it knows of every record
    compaction: str = "while owned"
    crashes: int = 1
    pauses: int = 1


class Known(NamedTuple):
    """The state of the unit: accepted scans by version, and the last offset of each source."""

    ids: tuple[str, ...] = ()
    offsets: tuple[int, int] = NOTHING_READ


class Output(NamedTuple):
    scan: str
    version: int
    ids: tuple[str, ...]


class Change(NamedTuple):
    offset: int
    known: Known


class Store(NamedTuple):
    """What is on a worker's disk; `position` is the next changelog offset to read."""

    known: Known = Known()
    position: int = 0


class Step(Enum):
    """What a worker does next."""

    READ = auto()
    SEND = auto()
    CHANGELOG = auto()
    SEND_LATE = auto()  # the mutant's outputs after the changelog
    STORE = auto()
    EXIT = auto()


class Batch(NamedTuple):
    """What is in hand: outputs unsent, the state they end in, and the source position after."""

    outputs: tuple[Output, ...]
    known: Known
    position: tuple[int, int]


class Role(Enum):
    IDLE = auto()
    OWNER = auto()
    PAUSED = auto()  # overtaken, and may go on


class Worker(NamedTuple):
    role: Role = Role.IDLE
    position: tuple[int, int] = (0, 0)
    store: Store = Store()
    step: Step = Step.READ
    batch: Batch | None = None
    acknowledged: int = 0


class World(NamedTuple):
    committed: tuple[int, int]
    changelog: tuple[Change, ...]
    end: int  # next changelog offset
    outputs: tuple[Output, ...]
    workers: tuple[Worker, ...]
    crashes: int
    pauses: int


class Counterexample(NamedTuple):
    broken: str
    steps: list[str]
    states: int

    def __str__(self) -> str:
        told = "\n".join(f"{number}. {step}" for number, step in enumerate(self.steps, 1))
        return f"{self.broken} ({self.states} states)\n{told}"


Moves = Iterator[tuple[str, World]]


class SearchTooLarge(Exception):
    """The design has more states than the search may visit."""


def search(design: Design, *, states_max: int = 400_000) -> Counterexample | None:
    """The shortest way to a broken invariant, None where there is none."""
    start = World((0, 0), (), 0, (), (Worker(), Worker()), design.crashes, design.pauses)
    came_from: dict[World, tuple[World, str] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        world = waiting.popleft()
        if broken := broken_invariant(design, world):
            return Counterexample(broken, _way_to(world, came_from), len(came_from))
        for told, after in moves(design, world):
            if after not in came_from and len(after.outputs) <= 14 and after.end <= 12:
                came_from[after] = (world, told)
                waiting.append(after)
        if len(came_from) > states_max:
            raise SearchTooLarge(f"{design} has more than {states_max} states")
    return None


def _way_to(world: World, came_from: dict[World, tuple[World, str] | None]) -> list[str]:
    steps = []
    while (before := came_from[world]) is not None:
        world, told = before
        steps.append(told)
    return steps[::-1]


def moves(design: Design, world: World) -> Moves:
    """Everything that may happen next, each with the world after it."""
    for number, worker in enumerate(world.workers):
        if worker.role is Role.IDLE:
            if all(other.role is not Role.OWNER for other in world.workers):
                yield f"worker {number} starts", _take_over(design, world, number)
            continue
        yield from _work(design, world, number)
        if worker.role is Role.OWNER:
            yield from _disturb(design, world, number)
        else:
            yield f"worker {number} notices, exits", _exit(design, world, number)
    if len(world.changelog) > 1 and _may_compact(design, world):
        yield "the changelog is compacted", world._replace(changelog=world.changelog[-1:])


def _put(world: World, number: int, worker: Worker) -> World:
    workers = list(world.workers)
    workers[number] = worker
    return world._replace(workers=tuple(workers))


def _exit(design: Design, world: World, number: int) -> World:
    store = world.workers[number].store if design.keeps_disk else Store()
    return _put(world, number, Worker(store=store))


def restored(design: Design, changelog: tuple[Change, ...], store: Store) -> Known:
    known = store.known
    for change in changelog:
        unread = change.offset >= store.position
        higher = not design.restores_highest or change.known.offsets >= known.offsets
        if unread and higher:
            known = change.known
    return known


def _take_over(design: Design, world: World, number: int) -> World:
    known = restored(design, world.changelog, world.workers[number].store)
    if design.rewrites_at_start and world.changelog and world.changelog[-1].known != known:
        world = _append(world, known)
    owner = Worker(Role.OWNER, world.committed, Store(known, world.end))
    return _put(world, number, owner)


def _append(world: World, known: Known) -> World:
    change = Change(world.end, known)
    return world._replace(changelog=(*world.changelog, change), end=world.end + 1)


def _disturb(design: Design, world: World, number: int) -> Moves:
    if world.crashes:
        killed = world._replace(crashes=world.crashes - 1)
        yield f"worker {number} is killed", _exit(design, killed, number)
    other = 1 - number
    if world.pauses and world.workers[other].role is Role.IDLE:
        paused = world.workers[number]._replace(role=Role.PAUSED)
        after = _put(world._replace(pauses=world.pauses - 1), number, paused)
        step = paused.step.name.lower()
        yield (
            f"worker {number} is paused before {step}, worker {other} takes over",
            _take_over(design, after, other),
        )


def _may_compact(design: Design, world: World) -> bool:
    paused = any(worker.role is Role.PAUSED for worker in world.workers)
    owned = any(
        worker.role is Role.OWNER and worker.store.position == world.end for worker in world.workers
    )
    allowed = {
        "never": False,
        "any time": True,
        "after pauses": not paused,
        "an owner lives": not paused and any(worker.role is Role.OWNER for worker in world.workers),
        "while owned": not paused and owned,
    }
    return allowed[design.compaction]


def _work(design: Design, world: World, number: int) -> Moves:
    worker = world.workers[number]
    who = f"worker {number}"
    if worker.step is Step.READ:
        yield from _read(design, world, number)
        return
    assert worker.batch is not None
    batch = worker.batch
    match worker.step:
        case Step.SEND | Step.SEND_LATE:
            sent, *unsent = batch.outputs
            following = Step.CHANGELOG if worker.step is Step.SEND else Step.STORE
            after = worker._replace(
                step=worker.step if unsent else following,
                batch=batch._replace(outputs=tuple(unsent)),
            )
            told = world._replace(outputs=(*world.outputs, sent))
            yield f"{who} sends {sent.scan} as version {sent.version}", _put(told, number, after)
        case Step.CHANGELOG:
            yield from _write_changelog(design, world, number, batch)
        case Step.STORE:
            store = Store(batch.known, worker.acknowledged + 1)
            after = Worker(worker.role, batch.position, store)
            yield f"{who} stores version {len(batch.known.ids)}", _put(world, number, after)
        case Step.EXIT:
            yield f"{who} saw a foreign record, exits unstored", _exit(design, world, number)


def _write_changelog(design: Design, world: World, number: int, batch: Batch) -> Moves:
    worker = world.workers[number]
    if design.fence and worker.role is Role.PAUSED:
        yield f"worker {number} is refused by the broker", _exit(design, world, number)
        return
    following = Step.SEND_LATE if batch.outputs else Step.STORE
    if design.checks_contiguity and worker.store.position != world.end:
        following = Step.EXIT
    after = worker._replace(step=following, acknowledged=world.end)
    told = f"worker {number} writes version {len(batch.known.ids)} to the changelog"
    yield told, _put(_append(world, batch.known), number, after)


def _read(design: Design, world: World, number: int) -> Moves:
    worker = world.workers[number]
    if worker.role is Role.OWNER:
        if worker.position != world.committed:
            yield f"worker {number} commits", world._replace(committed=worker.position)
        if design.exits_on_foreign_tail and worker.store.position != world.end:
            yield f"worker {number} sees a foreign tail, exits", _exit(design, world, number)
    for topic, source in enumerate((design.scans, design.derived)):
        first = worker.position[topic]
        for end in range(first + 1, min(first + 2, len(source)) + 1):
            position = _at(worker.position, topic, end)
            batch = _fold(design, worker.store.known, topic, source[first:end], position)
            told = f"worker {number} folds {', '.join(source[first:end])}"
            if batch.known == worker.store.known:
                after = worker._replace(position=position)
            else:
                sends = design.outputs_first and batch.outputs
                step = Step.SEND if sends else Step.CHANGELOG
                after = worker._replace(step=step, batch=batch)
            yield told, _put(world, number, after)


def _at(pair: tuple[int, int], topic: int, value: int) -> tuple[int, int]:
    return (value, pair[1]) if topic == 0 else (pair[0], value)


def _fold(
    design: Design, known: Known, topic: int, scans: tuple[str, ...], position: tuple[int, int]
) -> Batch:
    ids, offsets = known
    outputs = []
    for offset, scan in enumerate(scans, position[topic] - len(scans)):
        if offset <= offsets[topic]:
            continue  # replayed
        offsets = _at(offsets, topic, offset)
        is_known = scan in ids
        if not is_known:
            ids = (*ids, scan)
        if not (is_known and design.drops_known_ids):
            version = ids.index(scan) + 1
            outputs.append(Output(scan, version, ids[:version]))
    return Batch(tuple(outputs), Known(ids, offsets), position)


def is_quiet(design: Design, world: World) -> bool:
    """Everything is read and committed, one worker is at rest, and none is paused."""
    if world.committed != (len(design.scans), len(design.derived)):
        return False
    if any(worker.role is Role.PAUSED for worker in world.workers):
        return False
    owners = [worker for worker in world.workers if worker.role is Role.OWNER]
    if not owners or owners[0].step is not Step.READ:
        return False
    return not design.exits_on_foreign_tail or owners[0].store.position == world.end


def broken_invariant(design: Design, world: World) -> str | None:
    """The name of the first invariant that does not hold, with what was found."""
    if not is_quiet(design, world):
        return None
    accepted = set(design.scans) | set(design.derived)
    rows = dict[str, int]()
    for output in world.outputs:
        rows[output.scan] = max(output.version, rows.get(output.scan, 0))
    if set(rows) != accepted:
        return f"I1 lost from history: {sorted(accepted - set(rows))}"
    current = max(world.outputs, key=lambda output: output.version)
    if set(current.ids) != accepted:
        return f"I2 the current state lacks {sorted(accepted - set(current.ids))}"
    for worker in world.workers:
        if worker.role is Role.OWNER and set(worker.store.known.ids) != accepted:
            return f"I2 the table lacks {sorted(accepted - set(worker.store.known.ids))}"
        for store in (worker.store, Store()):
            lacking = accepted - set(restored(design, world.changelog, store).ids)
            if lacking and (design.keeps_disk or store == Store()):
                return f"I5 whoever restores next lacks {sorted(lacking)}"
    if sorted(rows.values()) != list(range(1, len(accepted) + 1)):
        return f"I7 versions are {rows}"
    given = dict[int, str]()
    for output in world.outputs:
        if given.setdefault(output.version, output.scan) != output.scan:
            return f"I7 version {output.version} was given to two scans"
    return None
