"""How urgent alerts of each kind are here, and which are not raised: decided over the API.

The alerter reads what is decided by the topic, and judges by it from then on. What was raised
before stays as it was raised.
"""

from dataclasses import replace
from typing import Any

import msgspec
from litestar import Request, Response, get, put
from litestar.params import FromPath
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scantrail.api.access import Role
from scantrail.api.alert_samples import POLICIES, POLICY, POLICY_TOLD
from scantrail.api.bodies import (
    AlertPolicyBody,
    PolicyExceptionBody,
    checked_id,
    decode_body,
    product_key,
)
from scantrail.api.changes import Answer, Change, Changes
from scantrail.api.paging import Cursor, Limit, after, page
from scantrail.api.preconditions import with_etag
from scantrail.api.problems import Problem, bad_field
from scantrail.contracts.records import encode
from scantrail.contracts.topics import Topic
from scantrail.domain.alert import SEVERITY, AlertKind
from scantrail.domain.alert_policy import (
    GUARDED,
    AlertPolicy,
    PolicyException,
    PolicyRefused,
    check_policy,
)
from scantrail.infra.tables import alert_policy

AnyRequest = Request[Any, Any, Any]


def build_alert_policies(engine: AsyncEngine, changes: Changes) -> list[Any]:
    """The route handlers."""
    outbox = changes.outbox

    @put("/alert-policies/{kind:str}", role=Role.QUALITY, takes=POLICY, tells=POLICY_TOLD)
    async def put_policy(kind: FromPath[str], request: AnyRequest) -> Response[Any]:
        """Decide how urgent alerts of a kind are, or that they are not raised: instead of all that
        was decided about the kind before. An empty decision is none."""
        of = _kind(kind)
        body = decode_body(await request.body(), AlertPolicyBody)
        new = AlertPolicy(
            id=of,
            severity=body.severity,
            exceptions=tuple(
                _exception(each, f"exceptions[{place}]")
                for place, each in enumerate(body.exceptions)
            ),
        )
        try:
            check_policy(new)
        except PolicyRefused as error:
            raise bad_field(error.field, error.reason) from error

        async def write(change: Change) -> Answer:
            version = (
                await change.connection.execute(
                    upsert(alert_policy)
                    .values(id=of.value, version=1, document={})
                    .on_conflict_do_update(
                        index_elements=[alert_policy.c.id],
                        set_={"version": alert_policy.c.version + 1},
                    )
                    .returning(alert_policy.c.version)
                )
            ).scalar_one()
            change.note("alert_policy", of.value, old=version - 1, new=version)
            stored = replace(new, version=version)
            await change.connection.execute(
                alert_policy.update()
                .where(alert_policy.c.id == of.value)
                .values(document=msgspec.to_builtins(stored))
            )
            await change.publish(Topic.ALERT_POLICIES, of.value, encode(stored))
            return Answer(_shown(of, stored))

        return await changes.make(request, write)

    @get("/alert-policies/{kind:str}", role=Role.READ, tells=POLICY_TOLD)
    async def get_policy(kind: FromPath[str]) -> Response[Any]:
        """What is decided about one kind; `version` is 0 where nobody did."""
        of = _kind(kind)
        async with engine.connect() as connection:
            decided = await _decided(connection)
            waiting = await outbox.waiting(connection, Topic.ALERT_POLICIES)
        policy = decided.get(of)
        told = {**_shown(of, policy), "published": of.value not in waiting}
        return with_etag(told, policy.version if policy else 0)

    @get("/alert-policies", role=Role.READ, tells=POLICIES)
    async def list_policies(cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
        """Every kind of alerts there is, whether somebody decided about it or not."""
        begin = after(cursor, "alert_policies")
        async with engine.connect() as connection:
            decided = await _decided(connection)
            waiting = await outbox.waiting(connection, Topic.ALERT_POLICIES)
        kinds = [kind for kind in sorted(AlertKind) if kind.value > begin][:limit]
        rows = [
            {**_shown(kind, decided.get(kind)), "published": kind.value not in waiting}
            for kind in kinds
        ]
        return page("alert_policies", rows, limit)

    return [put_policy, get_policy, list_policies]


def _exception(body: PolicyExceptionBody, where: str) -> PolicyException:
    product, site = body.product, body.site
    return PolicyException(
        severity=body.severity,
        product=None if product is None else product_key(product, f"{where}.product"),
        site=None if site is None else checked_id(site, f"{where}.site"),
    )


async def _decided(connection: AsyncConnection) -> dict[AlertKind, AlertPolicy]:
    rows = await connection.execute(select(alert_policy.c.document))
    policies = [msgspec.convert(document, AlertPolicy) for document in rows.scalars()]
    return {policy.id: policy for policy in policies}


def _shown(kind: AlertKind, policy: AlertPolicy | None) -> dict[str, Any]:
    decided = policy or AlertPolicy(id=kind, version=0)
    return {
        **msgspec.to_builtins(decided),
        "default": SEVERITY[kind],
        "can_be_off": kind not in GUARDED,
    }


def _kind(name: str) -> AlertKind:
    try:
        return AlertKind(name)
    except ValueError as error:
        known = ", ".join(sorted(AlertKind))
        detail = f"there are no alerts of kind {name!r}: there are {known}"
        raise Problem(404, "Not found", detail) from error
