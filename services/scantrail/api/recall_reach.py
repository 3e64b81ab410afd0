"""How far a recall reached: whose holders were notified, what came back, what was mended.

What comes back is told by scans. That a unit was remedied is a clearance in `holds`: gateway and
alerter let it pass from then on, whatever version the recall has.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from litestar import Request, Response, get, post
from litestar.params import FromPath
from sqlalchemy import and_, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api import recall_bodies as bodies
from scantrail.api.access import Role
from scantrail.api.bodies import decode_body, maybe_note, unit_keys
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.histories import keys_of
from scantrail.api.holds import change_hold
from scantrail.api.problems import Problem, bad_field
from scantrail.api.recall_counts import COUNT_S_MAX, count_reach, counting, meant_by
from scantrail.api.recall_store import active_since, load_recall, mark_for_look
from scantrail.api.recall_sweep import RecallSweep
from scantrail.domain.hold import CLEARED_MAX, Hold, not_remedied, remedied
from scantrail.domain.recall import Recall, RecallStatus
from scantrail.domain.vocabulary import Phase
from scantrail.infra.tables import recall_reach, unit

AnyRequest = Request[Any, Any, Any]

#: Units of one request; each that is remedied leaves for a topic.
UNITS_MAX = 1_000


def build_recall_reach(engine: AsyncEngine, changes: Changes, sweep: RecallSweep) -> list[Any]:
    """The route handlers."""

    @get("/recalls/{recall_id:str}/reach", role=Role.READ, tells=bodies.REACH_TOLD)
    async def get_reach(recall_id: FromPath[str]) -> dict[str, Any]:
        """Of the units that are shipped, or were when the recall became active and came back: how
        many were notified, returned, remedied, and their share."""
        async with counting(engine) as connection:
            recall = await load_recall(connection, recall_id)
            since = await active_since(connection, recall_id)
            counts = await count_reach(connection, recall, since)
        share = {
            name: round(counts[name] / counts["to_reach"], 3) if counts["to_reach"] else None
            for name in ("notified", "returned", "remedied")
        }
        head = {"recall": recall.id, "version": recall.version, "active_since": since}
        return {**head, **counts, "share": share}

    @post(
        "/recalls/{recall_id:str}/notified",
        status_code=200,
        role=Role.QUALITY,
        takes=bodies.REACH,
        tells=bodies.REACHED,
    )
    async def post_notified(recall_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Say that who has these units was told of the recall."""
        body = _checked(decode_body(await request.body(), bodies.ReachBody))

        async def write(change: Change) -> Answer:
            recall = await _of_active(change, recall_id, body)
            told: dict[str, Any] = {"notified_at": None, "notified_note": None}
            if not body.take_back:
                told = {"notified_at": datetime.now(UTC), "notified_note": body.note}
            if body.all_shipped:
                units = await _note_all_shipped(change.connection, recall, told)
            else:
                keys = await _named(change.connection, recall, body.units)
                await _note(change.connection, recall_id, keys, told)
                units = len(keys)
            change.note("recall_reach", recall_id)
            return Answer({"recall": recall_id, "units": units, "left": 0})

        return await changes.make(request, write)

    @post(
        "/recalls/{recall_id:str}/remedied",
        status_code=200,
        role=Role.QUALITY,
        takes=bodies.REACH,
        tells=bodies.REACHED,
    )
    async def post_remedied(recall_id: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Say that these units were mended: the recall holds them no more. Taken back, the desk
        looks at them as if it had never been said. Of `all_shipped` a thousand at a time: ask again
        while any are `left`."""
        body = _checked(decode_body(await request.body(), bodies.ReachBody))

        async def write(change: Change) -> Answer:
            recall = await _of_active(change, recall_id, body)
            told: dict[str, Any] = {"remedied_at": None, "remedied_note": None}
            if not body.take_back:
                told = {"remedied_at": datetime.now(UTC), "remedied_note": body.note}
            left = 0
            if body.all_shipped:
                keys, left = await _some_shipped(change.connection, recall, body)
            else:
                keys = await _named(change.connection, recall, body.units)
            change.note("recall_reach", recall_id)
            await mark_for_look(change.connection, keys)
            for key in keys:
                await _clear(change, key, recall_id, take_back=body.take_back)
            await _note(change.connection, recall_id, keys, told)
            return Answer({"recall": recall_id, "units": len(keys), "left": left})

        made = await changes.make(request, write)
        sweep.kick()
        return made

    return [get_reach, post_notified, post_remedied]


def _checked(body: bodies.ReachBody) -> bodies.ReachBody:
    """Raises Problem 400."""
    maybe_note(body.note)
    if body.all_shipped == bool(body.units):
        raise bad_field("units", "name the units, or say all_shipped")
    if len(body.units) > UNITS_MAX:
        raise bad_field("units", f"give at most {UNITS_MAX}, and the rest as another request")
    return body


async def _of_active(change: Change, recall_id: str, body: bodies.ReachBody) -> Recall:
    """A recall of which units may be reached. Raises Problem 404, and 409 for a draft."""
    await change.connection.execute(
        text(f"SET LOCAL statement_timeout = {int(COUNT_S_MAX * 1000)}")
    )
    recall = await load_recall(change.connection, recall_id)
    change.expect(recall.version)
    if recall.status is RecallStatus.DRAFT and not body.take_back:
        raise Problem(409, "Draft", f"recall {recall_id!r} is a draft: activate it first")
    return recall


async def _named(
    connection: AsyncConnection, recall: Recall, spellings: Sequence[str]
) -> list[str]:
    """The units' own keys. Raises Problem 400, and 409 for one that the recall does not mean."""
    named = list[list[str]]()
    for place, spelling in enumerate(spellings):
        keys = unit_keys(spelling, f"units[{place}]")
        named.append([(await keys_of(connection, key)).unit for key in keys])
    every = {key for keys in named for key in keys}
    query = select(unit.c.unit).where(unit.c.unit.in_(every), meant_by(recall).either)
    meant = set((await connection.execute(query)).scalars())
    for place, keys in enumerate(named):
        if meant.isdisjoint(keys):
            raise Problem(
                409,
                "Not of the recall",
                f"recall {recall.id} does not mean {keys[0]}, or no scan told of it yet",
                field=f"units[{place}]",
            )
    return sorted(meant)


def _are_shipped(recall: Recall) -> Any:
    return and_(meant_by(recall).is_meant, unit.c.phase == Phase.SHIPPED.value)


async def _some_shipped(
    connection: AsyncConnection, recall: Recall, body: bodies.ReachBody
) -> tuple[list[str], int]:
    """Shipped units that are not remedied yet (with `take_back`: that are), a thousand at most, and
    how many are left."""
    reached = recall_reach.c
    is_remedied = reached.remedied_at.is_not(None)
    query = (
        select(unit.c.unit, func.count().over().label("all"))
        .outerjoin(recall_reach, and_(reached.recall == recall.id, reached.unit == unit.c.unit))
        .where(_are_shipped(recall), is_remedied if body.take_back else ~is_remedied)
        .order_by(unit.c.unit)
        .limit(UNITS_MAX)
    )
    rows = (await connection.execute(query)).all()
    return [row.unit for row in rows], rows[0].all - len(rows) if rows else 0


async def _note(
    connection: AsyncConnection, recall_id: str, keys: Sequence[str], told: dict[str, Any]
) -> None:
    rows = [{"recall": recall_id, "unit": key, **told} for key in keys]
    if rows:
        new = upsert(recall_reach)
        await connection.execute(
            new.on_conflict_do_update(
                index_elements=["recall", "unit"],
                set_={name: new.excluded[name] for name in told},
            ),
            rows,
        )


async def _note_all_shipped(
    connection: AsyncConnection, recall: Recall, told: dict[str, Any]
) -> int:
    """In one statement: they may be a hundred thousand. How many they are."""
    if told["notified_at"] is None:
        of_recall = and_(
            recall_reach.c.recall == recall.id,
            recall_reach.c.unit.in_(select(unit.c.unit).where(_are_shipped(recall))),
        )
        taken = update(recall_reach).where(of_recall).values(**told)
        return await _count_of(connection, taken.returning(recall_reach.c.unit))
    found = select(
        literal(recall.id),
        unit.c.unit,
        *(literal(value, recall_reach.c[name].type) for name, value in told.items()),
    ).where(_are_shipped(recall))
    new = upsert(recall_reach).from_select(["recall", "unit", *told], found)
    changed = new.on_conflict_do_update(
        index_elements=["recall", "unit"], set_={name: new.excluded[name] for name in told}
    )
    return await _count_of(connection, changed.returning(recall_reach.c.unit))


async def _count_of(connection: AsyncConnection, changing: Any) -> int:
    """How many rows a statement changes."""
    query = select(func.count()).select_from(changing.cte("changed"))
    return int((await connection.execute(query)).scalar_one())


async def _clear(change: Change, key: str, recall_id: str, *, take_back: bool) -> None:
    """Let the recall hold the unit no more; what else holds it stays, what the recall means inside
    it too. Taken back, the unit is again one for which the recall has to be decided."""

    def changed(hold: Hold) -> Hold:
        return (not_remedied if take_back else remedied)(hold, recall_id)

    known, new = await change_hold(change.connection, change.publish, key, changed)
    if len(new.cleared) > CLEARED_MAX:
        told = f"{key} is cleared of {CLEARED_MAX} recalls: take some back"
        raise Problem(409, "Too many", told)
    if new.version != known.version:
        change.note("hold", key, old=known.version, new=new.version)
